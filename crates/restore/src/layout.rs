//! Where each file of a set goes: a place inside the datadir, or, only when told so, an absolute one outside.
//!
//! Nothing in a set can make a restore write outside the datadir, except by `--map` and `--outside keep`.

use std::path::{Path, PathBuf};

use reseed_repository::{AbsPath, RelPath};

use crate::options::Outside;

/// Where a file goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Relative to the datadir.
    Inside(PathBuf),
    /// Absolute.
    Outside(PathBuf),
}

#[derive(Debug, Clone, Copy)]
pub struct Layout<'o> {
    outside: Outside,
    maps: &'o [(PathBuf, PathBuf)],
}

impl<'o> Layout<'o> {
    pub fn new(outside: Outside, maps: &'o [(PathBuf, PathBuf)]) -> Layout<'o> {
        Layout { outside, maps }
    }

    /// The place of a file that has the name `path` in the set and lay at `outside` when not in the datadir.
    pub fn place(&self, path: &RelPath, outside: Option<&AbsPath>) -> Place {
        let inside = || Place::Inside(path.as_path().to_owned());
        let Some(old) = outside.map(AbsPath::as_path) else { return inside() };
        let fits = self.maps.iter().filter(|(from, _)| old.starts_with(from));
        // The longest directory in components, not in bytes.
        if let Some((from, to)) = fits.max_by_key(|(from, _)| from.components().count()) {
            let rest = old.strip_prefix(from).unwrap_or(Path::new(""));
            return Place::Outside(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) });
        }
        match self.outside {
            Outside::Inside => inside(),
            Outside::Keep => Place::Outside(old.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, outside: Option<&str>, policy: Outside, maps: &[(&str, &str)]) -> Place {
        let maps: Vec<_> = maps.iter().map(|(from, to)| (from.into(), to.into())).collect();
        let outside = outside.map(|path| AbsPath::new(path).unwrap());
        Layout::new(policy, &maps).place(&RelPath::new(path).unwrap(), outside.as_ref())
    }

    #[test]
    fn a_file_of_the_datadir_stays_in_it() {
        assert_eq!(
            place("db/t.ibd", None, Outside::Keep, &[("/", "/new")]),
            Place::Inside("db/t.ibd".into())
        );
    }

    #[test]
    fn an_outside_file_goes_inside_unless_told_otherwise() {
        let place = |policy, maps: &[_]| place("db/t.ibd", Some("/fast/db/t.ibd"), policy, maps);
        assert_eq!(place(Outside::Inside, &[]), Place::Inside("db/t.ibd".into()));
        assert_eq!(place(Outside::Keep, &[]), Place::Outside("/fast/db/t.ibd".into()));
        let maps = [("/fast", "/new"), ("/fast/db", "/newer")];
        assert_eq!(place(Outside::Inside, &maps), Place::Outside("/newer/t.ibd".into()));
        // A directory is meant, not a prefix of its name.
        assert_eq!(place(Outside::Inside, &[("/fa", "/x")]), Place::Inside("db/t.ibd".into()));
        let whole = [("/fast/db/t.ibd", "/new/u.ibd")];
        assert_eq!(place(Outside::Inside, &whole), Place::Outside("/new/u.ibd".into()));
    }
}

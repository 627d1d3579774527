//! What a restore writes down before it changes names in a datadir, so that the next one can undo it if it is
//! killed half-way. Within a datadir it is also the marker that keeps an unfinished one from being taken for whole.
//!
//! One entry a line: `aside NAME`, `up NAME`; the first line gives the format.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use reseed_io::{IoError, Op, write};

use crate::error::RestoreError;

/// Name of the marker within a datadir.
pub(super) const MARKER: &str = "reseed-unfinished-restore";
const FIRST_LINE: &[u8] = b"reseed restore journal 1";
const LIMIT: u64 = 16 << 20;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Journal {
    /// The directory that takes, or took, what was there before.
    pub aside: Option<OsString>,
    /// The entries that are moved up, once everything old is aside.
    pub up: Vec<OsString>,
}

pub(super) fn write(path: &Path, journal: &Journal) -> Result<(), RestoreError> {
    let mut bytes = FIRST_LINE.to_vec();
    bytes.push(b'\n');
    let aside = journal.aside.iter().map(|name| ("aside ", name));
    for (word, name) in aside.chain(journal.up.iter().map(|name| ("up ", name))) {
        if name.as_bytes().contains(&b'\n') {
            let path = name.to_string_lossy().into_owned();
            return Err(RestoreError::BadPath { path, reason: "it has a line break in its name" });
        }
        bytes.extend_from_slice(word.as_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'\n');
    }
    Ok(write::write_atomic(path, &bytes, 0o600)?)
}

/// `None` when there is none, or it is not one of ours.
pub(super) fn read(path: &Path) -> Result<Option<Journal>, RestoreError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(IoError::new(Op::Stat, path, e).into()),
    };
    if !meta.is_file() || meta.len() > LIMIT {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(|e| IoError::new(Op::Read, path, e))?;
    let mut lines = bytes.split(|&b| b == b'\n');
    if lines.next() != Some(FIRST_LINE) {
        return Ok(None);
    }
    let mut journal = Journal::default();
    for line in lines.filter(|line| !line.is_empty()) {
        let name = |rest: &[u8]| {
            let plain = !rest.is_empty() && !rest.contains(&b'/') && rest != b"." && rest != b"..";
            plain.then(|| OsString::from_vec(rest.to_vec()))
        };
        match (line.strip_prefix(b"aside "), line.strip_prefix(b"up ")) {
            (Some(rest), _) => journal.aside = name(rest),
            (_, Some(rest)) => journal.up.extend(name(rest)),
            _ => return Ok(None),
        }
    }
    Ok(Some(journal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        assert_eq!(read(&path).unwrap(), None);
        let journal = Journal {
            aside: Some(".reseed-aside-1".into()),
            up: vec!["mysql".into(), OsString::from_vec(vec![b'a', 0xff, b' '])],
        };
        write(&path, &journal).unwrap();
        assert_eq!(read(&path).unwrap(), Some(journal));
        assert!(write(&path, &Journal { aside: None, up: vec!["a\nb".into()] }).is_err());
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        fs::write(&path, "reseed restore journal 1\nup ../x\nup ..\nup ok\nup \n").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().up, [OsString::from("ok")]);
        fs::write(&path, "something else\nup ok\n").unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }
}

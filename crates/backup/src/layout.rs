//! Where a server keeps its files, as its variables say, and which of them a backup is made of.
//!
//! Pure path rules: nothing here touches the disk or the server.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use reseed_terms::Flavour;

/// The server's directories and files, made absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub flavour: Flavour,
    pub datadir: PathBuf,
    /// The files of the system tablespace, in their order.
    pub system: Vec<PathBuf>,
    pub undo_dir: PathBuf,
    /// Where `ib_logfile0` or `#innodb_redo` lies.
    pub redo_dir: PathBuf,
    pub aria_log_dir: PathBuf,
    /// Tablespace files that the server names (MySQL), wherever they lie.
    pub named_spaces: Vec<PathBuf>,
}

/// The settings that a [`Layout`] is made from, paths absolute.
#[derive(Debug, Clone)]
pub struct Directories<'a> {
    pub datadir: &'a Path,
    pub data_home: &'a Path,
    /// `innodb_data_file_path` as configured.
    pub data_file_path: &'a str,
    pub undo_dir: &'a Path,
    pub log_home: &'a Path,
    pub aria_log_dir: &'a Path,
}

impl Layout {
    /// About how many bytes a copy will read: the files of all databases, and InnoDB's own. What cannot be looked at
    /// now does not count; the copy itself will say so.
    pub fn about_bytes(&self) -> u64 {
        let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
        let bytes =
            |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len().min(meta.blocks() * 512));
        let is_undo = |name: &str| name.starts_with("undo");
        let mut sum: u64 = self.system.iter().chain(&self.named_spaces).map(|path| bytes(path)).sum();
        for entry in entries(&self.datadir).filter(|entry| entry.path().is_dir()) {
            if !entry.file_name().to_string_lossy().starts_with('#') {
                let inside = entries(&entry.path()).map(|entry| entry.path());
                sum += inside
                    .filter(|path| !self.named_spaces.contains(path))
                    .map(|path| bytes(&path))
                    .sum::<u64>();
            }
        }
        let undo = entries(&self.undo_dir).filter(|entry| is_undo(&entry.file_name().to_string_lossy()));
        let undo = undo.map(|entry| entry.path()).filter(|path| !self.named_spaces.contains(path));
        sum + undo.map(|path| bytes(&path)).sum::<u64>()
    }

    pub fn new(flavour: Flavour, directories: &Directories<'_>) -> Layout {
        let home = directories.data_home;
        Layout {
            flavour,
            datadir: clean(directories.datadir),
            system: system_files(directories.data_file_path).map(|name| clean(&home.join(name))).collect(),
            undo_dir: clean(directories.undo_dir),
            redo_dir: match flavour {
                Flavour::MariaDb => clean(directories.log_home),
                Flavour::MySql => clean(&directories.log_home.join("#innodb_redo")),
            },
            aria_log_dir: clean(directories.aria_log_dir),
            named_spaces: Vec::new(),
        }
    }

    /// The path that the set calls a file by: relative to the datadir, or, outside it, what its last components
    /// are: `db/t.ibd` for a table's file, the bare name for everything else.
    pub fn path_in_set(&self, real: &Path, within_database: bool) -> PathBuf {
        if let Ok(relative) = real.strip_prefix(&self.datadir) {
            return relative.to_path_buf();
        }
        let name = real.file_name().unwrap_or(OsStr::new("unnamed"));
        match real.parent().and_then(Path::file_name) {
            Some(database) if within_database => Path::new(database).join(name),
            _ => PathBuf::from(name),
        }
    }

    /// `Some(real)` for a file that lies outside the datadir.
    pub fn outside(&self, real: &Path) -> Option<PathBuf> {
        (!real.starts_with(&self.datadir)).then(|| real.to_path_buf())
    }
}

/// File names of `innodb_data_file_path`: `ibdata1:12M;/raid/ibdata2:10M:autoextend:max:1G`. The size that follows
/// the name is the first colon followed by a digit.
fn system_files(spec: &str) -> impl Iterator<Item = &str> {
    spec.split(';').filter(|part| !part.trim().is_empty()).map(|part| {
        let part = part.trim();
        let end = part
            .match_indices(':')
            .map(|(at, _)| at)
            .find(|at| part.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit))
            .unwrap_or(part.len());
        part.get(..end).unwrap_or(part)
    })
}

/// Without `.` components and trailing slashes; `..` is kept, for only the file system knows what it means.
pub fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

/// What a file in a directory of the server is to a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A tablespace of InnoDB other than the system's and the undo log's.
    Space,
    Undo,
    /// Says where a tablespace outside the datadir lies (MariaDB).
    SpaceLink,
    AriaControl,
    AriaLog,
    /// A file of another engine, or of the server's dictionary.
    Engine,
    /// Known, and on purpose not part of a backup.
    Skip,
    /// Not known: not part of a backup, but worth a word.
    Unknown,
}

/// A file in a database's directory.
pub fn class_in_database(flavour: Flavour, name: &OsStr) -> Class {
    let bytes = name.as_bytes();
    let extension =
        bytes.iter().rposition(|byte| *byte == b'.').and_then(|dot| bytes.get(dot + 1..)).unwrap_or(b"");
    let temporary = bytes.starts_with(b"#sql");
    match extension {
        b"ibd" => Class::Space,
        b"isl" if flavour == Flavour::MariaDb => Class::SpaceLink,
        // What is left of an ALTER that was under way: the server that runs the restored files knows nothing of it.
        _ if temporary => Class::Skip,
        b"MYD" | b"MYI" | b"MRG" | b"CSV" | b"CSM" | b"ARZ" | b"ARM" => Class::Engine,
        b"frm" | b"par" | b"opt" | b"TRG" | b"TRN" | b"MAD" | b"MAI" if flavour == Flavour::MariaDb => {
            Class::Engine
        }
        b"sdi" if flavour == Flavour::MySql => Class::Engine,
        // Left by FLUSH TABLES … FOR EXPORT, or by an upgrade.
        b"cfg" | b"cfp" | b"bak" | b"BAK" | b"tmp" | b"TMD" | b"MAF" => Class::Skip,
        _ => Class::Unknown,
    }
}

/// A file directly in the datadir.
pub fn class_at_top(flavour: Flavour, name: &OsStr) -> Class {
    let bytes = name.as_bytes();
    match flavour {
        Flavour::MariaDb => match bytes {
            b"aria_log_control" => Class::AriaControl,
            _ if bytes.starts_with(b"aria_log.") && all_digits(bytes.get(9..)) => Class::AriaLog,
            _ if bytes.starts_with(b"aws-kms-key") => Class::Engine,
            _ => Class::Skip,
        },
        Flavour::MySql => match bytes {
            b"mysql.ibd" => Class::Space,
            _ if bytes.ends_with(b".ibd") => Class::Space,
            _ if bytes.ends_with(b".ibu") => Class::Undo,
            // Marks a truncation of an undo tablespace that did not end.
            _ if bytes.starts_with(b"undo_") && bytes.ends_with(b"_trunc.log") => Class::Engine,
            _ if bytes.starts_with(b"undo_") && all_digits(bytes.get(5..)) => Class::Undo,
            _ => Class::Skip,
        },
    }
}

/// A file in the undo directory.
pub fn is_undo_name(flavour: Flavour, name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    match flavour {
        Flavour::MariaDb => bytes.len() == 7 && bytes.starts_with(b"undo") && all_digits(bytes.get(4..)),
        Flavour::MySql => class_at_top(flavour, name) == Class::Undo,
    }
}

/// Directories in the datadir that are databases.
pub fn is_database(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !bytes.starts_with(b"#") && !bytes.starts_with(b".") && bytes != b"lost+found"
}

fn all_digits(bytes: Option<&[u8]>) -> bool {
    bytes.is_some_and(|bytes| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout<'a>(datadir: &'a str, home: &'a str, files: &'a str) -> Layout {
        let datadir = Path::new(datadir);
        Layout::new(
            Flavour::MariaDb,
            &Directories {
                datadir,
                data_home: Path::new(home),
                data_file_path: files,
                undo_dir: datadir,
                log_home: datadir,
                aria_log_dir: datadir,
            },
        )
    }

    #[test]
    fn files_inside_are_called_by_their_place_in_the_datadir() {
        let plain = layout("/data/", "/data/", "ibdata1:12M:autoextend");
        assert_eq!(plain.system, [Path::new("/data/ibdata1")]);
        assert_eq!(plain.path_in_set(Path::new("/data/db/t.ibd"), true), Path::new("db/t.ibd"));
        assert_eq!(plain.outside(Path::new("/data/db/t.ibd")), None);
    }

    #[test]
    fn a_system_tablespace_of_several_files_outside() {
        let split = layout("/data", "/raid", "ibdata1:12M;/ssd/ibdata2:10M:autoextend:max:1G");
        assert_eq!(split.system, [Path::new("/raid/ibdata1"), Path::new("/ssd/ibdata2")]);
        assert_eq!(split.path_in_set(&split.system[1], false), Path::new("ibdata2"));
        assert_eq!(split.outside(&split.system[0]), Some(PathBuf::from("/raid/ibdata1")));
        assert_eq!(split.path_in_set(Path::new("/else/db/t.ibd"), true), Path::new("db/t.ibd"));
    }

    #[test]
    fn what_belongs_to_a_backup() {
        use Class::{AriaLog, Engine, Skip, Space, SpaceLink, Undo, Unknown};
        let maria = |name: &str| class_in_database(Flavour::MariaDb, OsStr::new(name));
        let mysql = |name: &str| class_in_database(Flavour::MySql, OsStr::new(name));
        assert_eq!(maria("t#P#p0.ibd"), Space);
        assert_eq!(maria("t.isl"), SpaceLink);
        assert_eq!(maria("#sql-alter-1-2.ibd"), Space);
        assert_eq!(maria("#sql-alter-1-2.frm"), Skip);
        assert_eq!(maria("t.frm"), Engine);
        assert_eq!(maria("t.sdi"), Unknown);
        assert_eq!(mysql("t_123.sdi"), Engine);
        assert_eq!(mysql("core.4711"), Unknown);
        let top = |name: &str| class_at_top(Flavour::MySql, OsStr::new(name));
        assert_eq!((top("undo_001"), top("extra.ibu"), top("mysql.ibd")), (Undo, Undo, Space));
        assert_eq!((top("auto.cnf"), top("ibtmp1"), top("undo_1_trunc.log")), (Skip, Skip, Engine));
        assert_eq!(class_at_top(Flavour::MariaDb, OsStr::new("aria_log.00000001")), AriaLog);
        assert_eq!(class_at_top(Flavour::MariaDb, OsStr::new("aria_log.old")), Skip);
        assert!(is_undo_name(Flavour::MariaDb, OsStr::new("undo001")));
        assert!(!is_undo_name(Flavour::MariaDb, OsStr::new("undo_001")));
        assert!(!is_database(OsStr::new("#innodb_redo")) && is_database(OsStr::new("a-b")));
    }
}

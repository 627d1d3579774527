//! `--keep`: files that an old datadir holds beside its data, carried over into the new one: option files,
//! certificates. What belongs to the data is never carried over, whatever the pattern.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use glob::{MatchOptions, Pattern};
use reseed_io::{DataFile, IoError, Op, OutFile, ReadMode, place, write};

use crate::error::RestoreError;
use crate::old::{HEAD, known_space};

/// How deep a datadir's files lie.
const DEPTH: usize = 8;
const PIECE: usize = 1 << 20;
/// How many files a note names.
const NAMED: usize = 5;
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};
/// Of files that a storage engine or the server itself makes for tables, logs and replication.
const DATA_EXTENSIONS: &[&str] = &[
    "ibd", "ibu", "ibt", "frm", "myd", "myi", "mad", "mai", "csv", "csm", "arm", "arz", "mrg", "trg", "trn",
    "par", "isl", "opt", "sdi", "cfp", "index", "sst", "dblwr", "info", "pid", "sock", "lock",
];
const DATA_PREFIXES: &[&str] =
    &["#", "ib_", "ibdata", "ibtmp", "aria_log", "undo", "tc.log", "ddl_recovery", "ddl-recovery"];
/// The first bytes of binary and relay logs, plain and encrypted.
const LOG_MAGIC: [&[u8]; 2] = [b"\xfebin", b"\xfdbin"];
const AUTO_CNF: &str = "auto.cnf";

/// Which files of the old datadir to carry over: a path below it, in which `*` stops at a slash and `**` does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepPattern(Pattern);

/// A pattern that cannot fit any file below a datadir.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepPatternError {
    #[error("{0}")]
    Malformed(String),
    #[error("it must be a path below the datadir, without `..`")]
    NotBelow,
}

impl FromStr for KeepPattern {
    type Err = KeepPatternError;

    fn from_str(text: &str) -> Result<KeepPattern, KeepPatternError> {
        let below = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
        if text.is_empty() || !below {
            return Err(KeepPatternError::NotBelow);
        }
        Pattern::new(text).map(KeepPattern).map_err(|error| KeepPatternError::Malformed(error.to_string()))
    }
}

/// What was carried over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Below the datadir.
    pub files: Vec<PathBuf>,
    pub notes: Vec<String>,
}

/// Copies what fits the patterns out of the old datadir, whose entries are `top`, into the new one. `uuid` is the
/// `server_uuid` of the server that was backed up.
///
/// # Errors
/// When a file cannot be read or written.
pub fn keep(
    old: &Path,
    top: Vec<std::ffi::OsString>,
    new: &Path,
    patterns: &[KeepPattern],
    uuid: &str,
) -> Result<Kept, RestoreError> {
    let mut kept = Kept::default();
    let (mut data, mut fitted) = (Vec::new(), BTreeSet::new());
    let mut paths: Vec<PathBuf> = top.into_iter().map(PathBuf::from).collect();
    while let Some(path) = paths.pop() {
        let from = old.join(&path);
        let Ok(meta) = fs::symlink_metadata(&from) else { continue };
        if meta.is_dir() {
            if path.components().count() < DEPTH {
                paths.extend(place::names(&from)?.into_iter().map(|name| path.join(name)));
            }
            continue;
        }
        // A link to a directory is a database that lies elsewhere, or leads to something that is no datadir.
        let is_file = meta.is_file() || meta.is_symlink() && fs::metadata(&from).is_ok_and(|to| to.is_file());
        let fits = |pattern: &KeepPattern| pattern.0.matches_path_with(&path, OPTIONS);
        let fitting: Vec<usize> =
            patterns.iter().enumerate().filter(|(_, pattern)| fits(pattern)).map(|(at, _)| at).collect();
        if !is_file || fitting.is_empty() {
            continue;
        }
        fitted.extend(fitting);
        if belongs_to_data(&path, &from) || fs::symlink_metadata(new.join(&path)).is_ok() {
            data.push(path);
        } else if path == Path::new(AUTO_CNF) && !has_own_uuid(&from, uuid) {
            kept.notes.push(format!(
                "{AUTO_CNF} was not kept: its server_uuid is that of the server that was backed up; the server makes a \
                 new one"
            ));
        } else {
            make_parents(old, new, &path)?;
            carry(&from, &new.join(&path), &meta)?;
            kept.files.push(path);
        }
    }
    kept.files.sort();
    if !data.is_empty() {
        data.sort();
        let named: Vec<String> = data.iter().take(NAMED).map(|path| path.display().to_string()).collect();
        let more = data.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        kept.notes.push(format!("not kept, as they belong to the data: {}{more}", named.join(", ")));
    }
    for (at, pattern) in patterns.iter().enumerate() {
        if !fitted.contains(&at) {
            kept.notes.push(format!("no file of the old datadir fits --keep {}", pattern.0));
        }
    }
    Ok(kept)
}

fn belongs_to_data(path: &Path, full: &Path) -> bool {
    let lower = |text: &OsStr| text.to_string_lossy().to_ascii_lowercase();
    let is_internal = |part: Component<'_>| part.as_os_str().to_string_lossy().starts_with('#');
    let name = path.file_name().map(lower).unwrap_or_default();
    let extension = path.extension().map(lower).unwrap_or_default();
    if path.components().any(is_internal)
        || DATA_EXTENSIONS.contains(&extension.as_str())
        || DATA_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    {
        return true;
    }
    let mut head = Vec::with_capacity(HEAD);
    // What cannot be read says so when it is copied.
    let read = fs::File::open(full).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head));
    read.is_ok() && (LOG_MAGIC.iter().any(|magic| head.starts_with(magic)) || known_space(&head).is_some())
}

/// Two servers of one topology with one UUID cannot be told apart.
fn has_own_uuid(file: &Path, uuid: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let own = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        matches!(name.trim(), "server-uuid" | "server_uuid").then(|| value.trim())
    });
    own.is_some_and(|own| !uuid.is_empty() && !own.eq_ignore_ascii_case(uuid))
}

fn make_parents(old: &Path, new: &Path, path: &Path) -> Result<(), RestoreError> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
    above.reverse();
    for dir in above.into_iter().filter(|dir| fs::symlink_metadata(new.join(dir)).is_err()) {
        let (from, to) = (old.join(dir), new.join(dir));
        let meta = fs::metadata(&from).map_err(|e| IoError::new(Op::Stat, &from, e))?;
        write::make_dir(&to, meta.mode() & 0o777)?;
        write::set_mode(&to, meta.mode() & 0o777)?;
        if place::effective_user() == 0 {
            write::set_owner(&to, meta.uid(), meta.gid())?;
        }
    }
    Ok(())
}

/// A copy with the owner, as far as that can be given, and the mode. A link stays a link.
fn carry(from: &Path, to: &Path, meta: &Metadata) -> Result<(), RestoreError> {
    if meta.is_symlink() {
        let target = fs::read_link(from).map_err(|e| IoError::new(Op::Read, from, e))?;
        return Ok(symlink(target, to).map_err(|e| IoError::new(Op::Create, to, e))?);
    }
    let source = DataFile::open(from, ReadMode::Cached)?;
    let target = OutFile::create_new(to, 0o600)?;
    let (mut piece, mut at) = (vec![0; PIECE], 0);
    loop {
        let read = source.read_at(at, &mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        target.write_all_at(at, bytes)?;
        at += bytes.len() as u64;
    }
    if place::effective_user() == 0 {
        target.set_owner(meta.uid(), meta.gid())?;
    }
    target.set_mode(meta.mode() & 0o777)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_below_the_datadir() {
        for good in ["my.cnf", "*.pem", "ssl/**/*.pem", "**/*.pem", "[a-c]?.cnf"] {
            assert!(good.parse::<KeepPattern>().is_ok(), "{good}");
        }
        for bad in ["", "/etc/my.cnf", "../my.cnf", "ssl/../../x", "[a", "***"] {
            assert!(bad.parse::<KeepPattern>().is_err(), "{bad}");
        }
        let fits = |pattern: &str, path: &str| {
            pattern.parse::<KeepPattern>().unwrap().0.matches_path_with(Path::new(path), OPTIONS)
        };
        assert!(fits("*.pem", "ca.pem") && !fits("*.pem", "ssl/ca.pem") && fits("**/*.pem", "ssl/a/ca.pem"));
        assert!(fits("**/*.pem", "ca.pem") && fits("*", ".my.cnf"));
    }

    #[test]
    fn data_is_never_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fs::create_dir_all(old.join("shop")).unwrap();
        fs::create_dir_all(old.join("#innodb_redo")).unwrap();
        fs::create_dir_all(old.join("ssl")).unwrap();
        fs::create_dir(&new).unwrap();
        let mut tablespace = vec![0_u8; 16384];
        tablespace[24..26].copy_from_slice(&8_u16.to_be_bytes());
        let files: [(&str, &[u8]); 17] = [
            ("ibdata1", b"x"),
            ("ib_logfile0", b"x"),
            ("ib_buffer_pool", b"x"),
            ("undo_001", b"x"),
            ("general.space", &tablespace),
            ("shop/t.ibd", b"x"),
            ("shop/t.MYD", b"x"),
            ("shop/db.opt", b"x"),
            ("#innodb_redo/#ib_redo1", b"x"),
            ("binlog.000007", b"\xfebin\x00\x00"),
            ("binlog.index", b"./binlog.000007\n"),
            ("relay-log.info", b"7\n"),
            ("mysqld.pid", b"1\n"),
            ("taken", b"old"),
            ("my.cnf", b"[mysqld]\n"),
            ("ssl/ca.pem", b"-----BEGIN"),
            ("auto.cnf", b"[auto]\nserver-uuid=AAAA-1\n"),
        ];
        for (path, bytes) in files {
            fs::write(old.join(path), bytes).unwrap();
        }
        fs::write(new.join("taken"), "new").unwrap();
        symlink("/etc/hostname", old.join("link.pem")).unwrap();
        symlink("/etc", old.join("elsewhere")).unwrap();
        let all: Vec<KeepPattern> = ["**/*", "*.key"].iter().map(|text| text.parse().unwrap()).collect();
        let top = || place::names(&old).unwrap();
        let kept = keep(&old, top(), &new, &all, "aaaa-1").unwrap();
        let names: Vec<String> = kept.files.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(names, ["link.pem", "my.cnf", "ssl/ca.pem"]);
        assert_eq!(fs::read_to_string(new.join("my.cnf")).unwrap(), "[mysqld]\n");
        assert_eq!(fs::read_to_string(new.join("taken")).unwrap(), "new");
        assert!(kept.notes.iter().any(|note| note.contains("and 9 more")), "{:?}", kept.notes);
        assert!(kept.notes.iter().any(|note| note.starts_with("auto.cnf was not kept")), "{:?}", kept.notes);
        assert!(kept.notes.iter().any(|note| note.ends_with("--keep *.key")), "{:?}", kept.notes);
        // One of its own is.
        let own = ["auto.cnf".parse().unwrap()];
        assert_eq!(keep(&old, top(), &new, &own, "bbbb-2").unwrap().files, [PathBuf::from("auto.cnf")]);
    }
}

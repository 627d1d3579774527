//! The final inventory: which copies hold, which files are to be copied again, renamed or struck off, now that no
//! DDL can run. Pure: compares what was copied with what is there and what the redo said.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use reseed_terms::{Lsn, SpaceId};

use crate::scan::{Found, FoundKind, Identity};
use crate::space_log::SpaceLog;

/// A tablespace file as it was copied.
#[derive(Debug, Clone)]
pub struct CopiedSpace {
    pub path: PathBuf,
    pub identity: Identity,
    /// The server's LSN before the scan that led to this copy: what the redo says later may have come after it.
    pub since: Lsn,
    /// Copied while no DDL could run.
    pub under_lock: bool,
}

/// When the comparison is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// DDL goes on: only what is worth doing early.
    Before,
    /// Nothing is created, renamed or dropped any more: what is decided now is final.
    UnderLock,
}

/// Why a tablespace is copied (again).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was not there when the copy began.
    New,
    /// Another file bears its number now.
    Replaced,
    /// Its number was dropped and came back: DISCARD and IMPORT TABLESPACE write pages without redo.
    Imported,
    /// An undo tablespace, or the system's, was cut.
    Truncated,
    /// Pages were written without redo.
    Loaded,
    /// Its first page is not written and the redo does not know its name.
    Nameless,
}

/// What is to be done so that the copies are those of this moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Indices into the files given.
    pub copy: Vec<(usize, Reason)>,
    /// Copied spaces with the index of the file that now holds them under another name.
    pub rename: Vec<(SpaceId, usize)>,
    pub strike: Vec<SpaceId>,
}

impl Differences {
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.copy.is_empty() && self.rename.is_empty() && self.strike.is_empty()
    }
}

/// The number of a found tablespace: from its first page, or, while that is not written, from the redo.
pub fn space_of(found: &Found, log: &SpaceLog) -> Option<SpaceId> {
    match found.head {
        Some(head) => Some(head.space),
        None => log.space_named(&found.real),
    }
}

/// Compares. `files` are all files found now; only tablespaces are looked at, and not the system's, whose files
/// never come or go while the server runs.
pub fn compare(
    copied: &HashMap<SpaceId, CopiedSpace>,
    files: &[Found],
    log: &SpaceLog,
    moment: Moment,
) -> Differences {
    let mut differences = Differences::default();
    let mut present = HashSet::new();
    for (index, file) in files.iter().enumerate() {
        if !matches!(file.kind, FoundKind::Space | FoundKind::Undo) {
            continue;
        }
        let Some(space) = space_of(file, log) else {
            if moment == Moment::UnderLock {
                differences.copy.push((index, Reason::Nameless));
            }
            continue;
        };
        present.insert(space);
        let Some(copy) = copied.get(&space) else {
            differences.copy.push((index, Reason::New));
            continue;
        };
        if let Some(reason) = outdated(space, copy, file, log, moment) {
            differences.copy.push((index, reason));
        } else if copy.path != file.path {
            differences.rename.push((space, index));
        }
    }
    if moment == Moment::UnderLock {
        differences.strike = copied.keys().filter(|space| !present.contains(space)).copied().collect();
        differences.strike.sort_unstable();
    }
    differences
}

fn outdated(
    space: SpaceId,
    copy: &CopiedSpace,
    file: &Found,
    log: &SpaceLog,
    moment: Moment,
) -> Option<Reason> {
    let history = log.get(space);
    let after = |at: Option<Lsn>| at.is_some_and(|at| at >= copy.since);
    // Whenever its deletion was logged, the import that brought the number back may have been writing during our
    // copy; only under the lock is it known to be over.
    if history.is_some_and(|history| history.deleted.is_some()) && !copy.under_lock {
        return (moment == Moment::UnderLock).then_some(Reason::Imported);
    }
    if copy.identity != file.stamp.identity {
        return Some(Reason::Replaced);
    }
    let history = history?;
    if after(history.trimmed) {
        return Some(Reason::Truncated);
    }
    if after(history.loaded) {
        return Some(Reason::Loaded);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Head, Stamp};
    use reseed_redo::{LogVisitor, MtrSpan, SpaceEvent};

    fn identity(inode: u64) -> Identity {
        Identity { device: 1, inode, born: None }
    }

    fn found(path: &str, space: Option<u32>, inode: u64) -> Found {
        Found {
            path: path.into(),
            real: format!("/data/{path}").into(),
            outside: None,
            through_link: false,
            kind: FoundKind::Space,
            stamp: Stamp { identity: identity(inode), size: 65536, modified: (0, 0), changed: (0, 0) },
            mode: 0o660,
            head: space.map(|space| Head { space: SpaceId(space), flags: 0x15 }),
        }
    }

    fn copied(list: &[(u32, &str, u64)]) -> HashMap<SpaceId, CopiedSpace> {
        list.iter()
            .map(|(space, path, inode)| {
                let copy = CopiedSpace {
                    path: (*path).into(),
                    identity: identity(*inode),
                    since: Lsn(100),
                    under_lock: false,
                };
                (SpaceId(*space), copy)
            })
            .collect()
    }

    fn log(events: &[(u64, SpaceEvent<'_>)]) -> SpaceLog {
        let mut log = SpaceLog::default();
        for (at, event) in events {
            log.space(&MtrSpan(Lsn(*at)..Lsn(at + 1)), event.clone());
        }
        log
    }

    #[test]
    fn nothing_happened() {
        let files = [found("db/a.ibd", Some(5), 50)];
        let differences =
            compare(&copied(&[(5, "db/a.ibd", 50)]), &files, &SpaceLog::default(), Moment::UnderLock);
        assert!(differences.is_empty());
    }

    #[test]
    fn two_tables_swap_their_names() {
        let files = [found("db/a.ibd", Some(6), 60), found("db/b.ibd", Some(5), 50)];
        let before = copied(&[(5, "db/a.ibd", 50), (6, "db/b.ibd", 60)]);
        let differences = compare(&before, &files, &SpaceLog::default(), Moment::UnderLock);
        assert_eq!(differences.rename, [(SpaceId(6), 0), (SpaceId(5), 1)]);
        assert!(differences.copy.is_empty() && differences.strike.is_empty());
    }

    #[test]
    fn truncate_drops_one_number_and_makes_another() {
        let files = [found("db/a.ibd", Some(9), 90)];
        let before = copied(&[(5, "db/a.ibd", 50)]);
        let differences = compare(&before, &files, &SpaceLog::default(), Moment::UnderLock);
        assert_eq!(differences.copy, [(0, Reason::New)]);
        assert_eq!(differences.strike, [SpaceId(5)]);
        let early = compare(&before, &files, &SpaceLog::default(), Moment::Before);
        assert!(early.strike.is_empty(), "a file may be missing for a moment while it is renamed");
    }

    #[test]
    fn an_unwritten_first_page_is_known_by_the_redo() {
        let files = [found("db/new.ibd", None, 90), found("db/odd.ibd", None, 91)];
        let log = log(&[(150, SpaceEvent::Create { space: SpaceId(9), path: b"./db/new.ibd" })]);
        let early = compare(&HashMap::new(), &files, &log, Moment::Before);
        assert_eq!(early.copy, [(0, Reason::New)]);
        let last = compare(&HashMap::new(), &files, &log, Moment::UnderLock);
        assert_eq!(last.copy, [(0, Reason::New), (1, Reason::Nameless)]);
    }

    #[test]
    fn an_imported_tablespace_waits_for_the_lock() {
        let files = [found("db/a.ibd", Some(5), 50)];
        let mut before = copied(&[(5, "db/a.ibd", 50)]);
        let log = log(&[
            (20, SpaceEvent::Delete { space: SpaceId(5), path: b"./db/a.ibd" }),
            (150, SpaceEvent::Modify { space: SpaceId(5), path: b"./db/a.ibd" }),
        ]);
        assert!(compare(&before, &files, &log, Moment::Before).is_empty());
        let last = compare(&before, &files, &log, Moment::UnderLock);
        assert_eq!(last.copy, [(0, Reason::Imported)]);
        if let Some(copy) = before.get_mut(&SpaceId(5)) {
            copy.under_lock = true;
        }
        assert!(compare(&before, &files, &log, Moment::UnderLock).is_empty());
    }

    #[test]
    fn a_cut_undo_tablespace_is_copied_again() {
        let mut file = found("undo001", Some(1), 10);
        file.kind = FoundKind::Undo;
        let before = copied(&[(1, "undo001", 10)]);
        let trim =
            |at| log(&[(at, SpaceEvent::Trim { space: SpaceId(1), first_gone: reseed_redo::PageNo(640) })]);
        let files = [file];
        assert_eq!(compare(&before, &files, &trim(150), Moment::Before).copy, [(0, Reason::Truncated)]);
        assert!(
            compare(&before, &files, &trim(50), Moment::UnderLock).is_empty(),
            "cut before the copy began"
        );
    }

    #[test]
    fn another_file_with_the_same_number() {
        let files = [found("db/a.ibd", Some(5), 51)];
        let differences =
            compare(&copied(&[(5, "db/a.ibd", 50)]), &files, &SpaceLog::default(), Moment::UnderLock);
        assert_eq!(differences.copy, [(0, Reason::Replaced)]);
    }
}

//! What the redo has said about whole tablespaces since the backup began: which were created, renamed, dropped or
//! truncated, by space id. The final inventory asks it which copies are no longer to be trusted.
//!
//! It must never touch a file: names in the redo are hints for files whose page 0 is not written yet, nothing more.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use reseed_redo::{ChangeKind, LogVisitor, Lsn, MtrSpan, PageChange, PageNo, SpaceEvent, SpaceId};

/// Records of page 0 kept per tablespace. The first mini-transaction of a new tablespace writes its flags, and is
/// far shorter; what comes later is of no use here.
const PAGE_ZERO_LIMIT: usize = 2 * 1024;

/// One change of a page 0, kept so that a tablespace whose first page is not on disk yet can be recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageZeroChange {
    pub start: Lsn,
    pub end: Lsn,
    pub kind: ChangeKind,
    pub bytes: Vec<u8>,
}

/// What the redo said about one tablespace. Each LSN is that of the latest such event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpaceHistory {
    /// The last name it was given.
    pub path: Vec<u8>,
    pub deleted: Option<Lsn>,
    pub trimmed: Option<Lsn>,
    /// Pages were written without redo.
    pub loaded: Option<Lsn>,
    /// When it was last named by anything but a deletion.
    pub named: Option<Lsn>,
    page_zero: Vec<PageZeroChange>,
    page_zero_bytes: usize,
}

impl SpaceHistory {
    /// Deleted, and not heard of again.
    pub fn is_gone(&self) -> bool {
        self.deleted.is_some_and(|deleted| self.named.is_none_or(|named| named <= deleted))
    }

    /// Changes of page 0 since it was last initialised in this log; empty when it was not.
    pub fn page_zero(&self) -> &[PageZeroChange] {
        &self.page_zero
    }
}

/// The histories of all tablespaces that the captured redo speaks of.
#[derive(Debug, Clone, Default)]
pub struct SpaceLog {
    spaces: HashMap<SpaceId, SpaceHistory>,
    /// Who ever had a name, by its last two components: thousands of new tables are looked up under the lock.
    by_name: HashMap<Vec<u8>, Vec<SpaceId>>,
    /// Births and deaths in their order.
    census: Vec<(Lsn, SpaceId, Census)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Census {
    Created,
    Deleted,
}

/// What a stretch of the redo did to the number of tablespaces.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Made, and still there at its end.
    pub created: Vec<SpaceId>,
    /// Dropped, and not made again.
    pub deleted: Vec<SpaceId>,
}

impl SpaceLog {
    pub fn get(&self, space: SpaceId) -> Option<&SpaceHistory> {
        self.spaces.get(&space)
    }

    /// Births and deaths from `from` on and before `end`. The log may reach further than a backup does.
    pub fn changes(&self, from: Lsn, end: Lsn) -> Changes {
        let mut last: BTreeMap<SpaceId, Census> = BTreeMap::new();
        for (at, space, what) in &self.census {
            if (from..end).contains(at) {
                last.insert(*space, *what);
            }
        }
        let of = |wanted| last.iter().filter(|(_, what)| **what == wanted).map(|(space, _)| *space).collect();
        Changes { created: of(Census::Created), deleted: of(Census::Deleted) }
    }

    /// The tablespace that the redo last gave this path, if it is not gone. Paths are compared by their last two
    /// components, since the server writes `./db/t.ibd` for some and absolute paths for others.
    pub fn space_named(&self, path: &Path) -> Option<SpaceId> {
        use std::os::unix::ffi::OsStrExt;
        let wanted = last_two(path.as_os_str().as_bytes());
        let holders = self.by_name.get(wanted)?.iter().filter_map(|space| {
            let history = self.spaces.get(space)?;
            (!history.is_gone() && last_two(&history.path) == wanted)
                .then(|| (history.named.unwrap_or(Lsn::ZERO), *space))
        });
        holders.max_by_key(|(named, _)| *named).map(|(_, space)| space)
    }

    fn entry(&mut self, space: SpaceId) -> &mut SpaceHistory {
        self.spaces.entry(space).or_default()
    }

    fn name(&mut self, space: SpaceId, at: Lsn, path: &[u8]) -> &mut SpaceHistory {
        let holders = self.by_name.entry(last_two(path).to_vec()).or_default();
        if !holders.contains(&space) {
            holders.push(space);
        }
        let history = self.entry(space);
        history.path = path.to_vec();
        history.named = Some(at);
        history
    }
}

/// `db/t.ibd` of `./db/t.ibd` or `/elsewhere/db/t.ibd`.
fn last_two(path: &[u8]) -> &[u8] {
    let mut slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
    let _file = slashes.next();
    let start = slashes.next().unwrap_or(0);
    path.get(start..).unwrap_or(path)
}

impl LogVisitor for SpaceLog {
    fn page(&mut self, change: PageChange<'_>) {
        if change.id.page != PageNo(0) {
            return;
        }
        if change.kind == ChangeKind::Init {
            let history = self.entry(change.id.space);
            history.page_zero.clear();
            history.page_zero_bytes = 0;
        }
        let Some(history) = self.spaces.get_mut(&change.id.space) else { return };
        let collecting = change.kind == ChangeKind::Init || !history.page_zero.is_empty();
        if collecting && history.page_zero_bytes + change.bytes.len() <= PAGE_ZERO_LIMIT {
            history.page_zero_bytes += change.bytes.len();
            history.page_zero.push(PageZeroChange {
                start: change.start,
                end: change.end,
                kind: change.kind,
                bytes: change.bytes.to_vec(),
            });
        } else if collecting {
            // A gap would make what follows useless, and what was kept already holds the flags.
            history.page_zero_bytes = PAGE_ZERO_LIMIT;
        }
    }

    fn space(&mut self, span: &MtrSpan, event: SpaceEvent<'_>) {
        let at = span.0.start;
        match event {
            SpaceEvent::Create { space, path } => {
                self.name(space, at, path);
                self.census.push((at, space, Census::Created));
            }
            SpaceEvent::Modify { space, path } => {
                self.name(space, at, path);
            }
            SpaceEvent::Rename { space, to, .. } => {
                self.name(space, at, to);
            }
            SpaceEvent::Delete { space, .. } => {
                self.entry(space).deleted = Some(at);
                self.census.push((at, space, Census::Deleted));
            }
            SpaceEvent::Trim { space, .. } => self.entry(space).trimmed = Some(at),
            SpaceEvent::IndexLoad { space, .. } => self.entry(space).loaded = Some(at),
            SpaceEvent::Extend { .. } | SpaceEvent::Checkpoint { .. } | SpaceEvent::TableMetadata { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lsn: u64) -> MtrSpan {
        MtrSpan(Lsn(lsn)..Lsn(lsn + 10))
    }

    #[test]
    fn a_name_belongs_to_the_space_that_had_it_last() {
        let mut log = SpaceLog::default();
        log.space(&at(10), SpaceEvent::Create { space: SpaceId(5), path: b"./db/t.ibd" });
        log.space(
            &at(20),
            SpaceEvent::Rename { space: SpaceId(5), from: b"./db/t.ibd", to: b"./db/#sql-ib7.ibd" },
        );
        log.space(&at(30), SpaceEvent::Create { space: SpaceId(6), path: b"./db/t.ibd" });
        assert_eq!(log.space_named(Path::new("db/t.ibd")), Some(SpaceId(6)));
        assert_eq!(log.space_named(Path::new("/data/db/#sql-ib7.ibd")), Some(SpaceId(5)));
        log.space(&at(40), SpaceEvent::Delete { space: SpaceId(5), path: b"./db/#sql-ib7.ibd" });
        assert_eq!(log.space_named(Path::new("db/#sql-ib7.ibd")), None);
        assert!(log.get(SpaceId(5)).unwrap().is_gone());
        assert_eq!(log.space_named(Path::new("other/t.ibd")), None);
    }

    #[test]
    fn a_space_named_again_after_its_deletion_is_not_gone() {
        let mut log = SpaceLog::default();
        log.space(&at(10), SpaceEvent::Delete { space: SpaceId(5), path: b"./db/t.ibd" });
        assert!(log.get(SpaceId(5)).unwrap().is_gone());
        log.space(&at(20), SpaceEvent::Modify { space: SpaceId(5), path: b"./db/t.ibd" });
        let history = log.get(SpaceId(5)).unwrap();
        assert!(!history.is_gone() && history.deleted == Some(Lsn(10)));
    }

    #[test]
    fn only_what_happened_within_the_stretch_counts() {
        let mut log = SpaceLog::default();
        let create = |space| SpaceEvent::Create { space: SpaceId(space), path: b"./db/t.ibd" };
        let delete = |space| SpaceEvent::Delete { space: SpaceId(space), path: b"./db/t.ibd" };
        for (lsn, event) in [
            (10, create(1)),
            (20, create(2)),
            (25, create(3)),
            (30, delete(2)),
            (40, delete(1)),
            (50, create(4)),
        ] {
            log.space(&at(lsn), event);
        }
        let changes = log.changes(Lsn(20), Lsn(40));
        assert_eq!(changes, Changes { created: vec![SpaceId(3)], deleted: vec![SpaceId(2)] });
    }

    #[test]
    fn page_zero_is_kept_from_its_last_init_on() {
        let mut log = SpaceLog::default();
        let change = |start, kind, bytes: &'static [u8]| PageChange {
            id: reseed_terms::PageId::new(5, 0),
            start: Lsn(start),
            end: Lsn(start + 5),
            kind,
            bytes,
        };
        log.page(change(1, ChangeKind::Delta, b"before"));
        assert!(log.get(SpaceId(5)).is_none());
        log.page(change(10, ChangeKind::Init, b"i"));
        log.page(change(20, ChangeKind::Init, b"i"));
        log.page(change(30, ChangeKind::Delta, b"flags"));
        let starts: Vec<u64> = log.get(SpaceId(5)).unwrap().page_zero().iter().map(|c| c.start.0).collect();
        assert_eq!(starts, [20, 30]);
    }
}

//! What events of whole tablespaces make void: a deletion everything before it, a truncation everything before it
//! behind the new end.

use std::collections::HashMap;

use reseed_redo::{Lsn, PageNo, SpaceId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trimmed {
    first_gone: PageNo,
    at: Lsn,
}

#[derive(Debug, Default)]
struct OfSpace {
    deleted: Lsn,
    trims: Vec<Trimmed>,
}

/// By tablespace, up to which LSN changes are void.
#[derive(Debug, Default)]
pub struct Voids(HashMap<SpaceId, OfSpace>);

impl Voids {
    pub fn delete(&mut self, space: SpaceId, at: Lsn) {
        let entry = self.0.entry(space).or_default();
        entry.deleted = entry.deleted.max(at);
    }

    pub fn trim(&mut self, space: SpaceId, first_gone: PageNo, at: Lsn) {
        self.0.entry(space).or_default().trims.push(Trimmed { first_gone, at });
    }

    /// Changes of this page that start before the returned LSN are void. Zero: none is. An undo tablespace starts
    /// anew when it is truncated; the system tablespace keeps what is left of it.
    pub fn of(&self, space: SpaceId, page: PageNo) -> Lsn {
        let Some(entry) = self.0.get(&space) else { return Lsn::ZERO };
        let gone = |trim: &&Trimmed| space.0 != 0 || page >= trim.first_gone;
        let trimmed = entry.trims.iter().filter(gone).map(|trim| trim.at).max();
        trimmed.unwrap_or(Lsn::ZERO).max(entry.deleted)
    }

    /// The LSN of the tablespace's last deletion.
    pub fn deleted(&self, space: SpaceId) -> Option<Lsn> {
        self.0.get(&space).map(|entry| entry.deleted).filter(|lsn| *lsn > Lsn::ZERO)
    }

    /// What a page of the copy must be newer than in order to count: it lies behind the end of a truncation.
    pub fn trimmed(&self, space: SpaceId, page: PageNo) -> Lsn {
        let Some(entry) = self.0.get(&space) else { return Lsn::ZERO };
        entry
            .trims
            .iter()
            .filter(|trim| page >= trim.first_gone)
            .map(|trim| trim.at)
            .max()
            .unwrap_or(Lsn::ZERO)
    }

    pub fn is_trimmed(&self, space: SpaceId) -> bool {
        self.0.get(&space).is_some_and(|entry| !entry.trims.is_empty())
    }
}

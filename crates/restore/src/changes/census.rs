//! What a redo log says of tablespaces as a whole, and what it carries beside pages.

use std::collections::HashMap;

use reseed_redo::mysql::{MysqlError, TableMetadata};
use reseed_redo::{LogVisitor, Lsn, MtrSpan, PageChange, PageNo, SpaceEvent, SpaceId};

use super::Voids;
use crate::error::RestoreError;

/// What the redo says of one tablespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSpace {
    pub space: SpaceId,
    /// Number of page changes.
    pub changes: u64,
    /// Start of the last mini-transaction that changed a page.
    pub last_change: Lsn,
    pub last_page: PageNo,
    /// The last name that the redo gave it.
    pub name: Option<Vec<u8>>,
    /// The redo creates it.
    pub created: bool,
    /// The redo lets the file grow to this many bytes at least (MySQL).
    pub extended_to: u64,
}

impl SeenSpace {
    fn new(space: SpaceId) -> SeenSpace {
        SeenSpace {
            space,
            changes: 0,
            last_change: Lsn::ZERO,
            last_page: PageNo(0),
            name: None,
            created: false,
            extended_to: 0,
        }
    }

    /// It has page changes that count: some after the tablespace's last deletion.
    pub fn is_alive(&self, voids: &Voids) -> bool {
        self.changes > 0 && voids.deleted(self.space).is_none_or(|deleted| self.last_change >= deleted)
    }
}

/// A [`LogVisitor`] that counts and remembers, but keeps no page change.
#[derive(Debug, Default)]
pub struct Census {
    from: Lsn,
    pub(super) voids: Voids,
    spaces: HashMap<SpaceId, SeenSpace>,
    pub(super) metadata: TableMetadata,
    /// The first piece of metadata that could not be understood.
    bad_metadata: Option<(Lsn, MysqlError)>,
    pub(super) records: u64,
}

impl Census {
    /// What starts before `from` (the checkpoint) is in the pages already and is left out.
    pub fn new(from: Lsn) -> Census {
        Census { from, ..Census::default() }
    }

    /// Page changes seen.
    pub fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn counts(&self, start: Lsn) -> bool {
        start >= self.from
    }

    /// # Errors
    /// When the redo carries metadata that could not be understood.
    pub fn check(&mut self) -> Result<(), RestoreError> {
        match self.bad_metadata.take() {
            Some((lsn, error)) => Err(RestoreError::Redo { lsn, source: error.into() }),
            None => Ok(()),
        }
    }

    fn seen(&mut self, space: SpaceId) -> &mut SeenSpace {
        self.spaces.entry(space).or_insert_with(|| SeenSpace::new(space))
    }

    fn named(&mut self, space: SpaceId, name: &[u8]) {
        self.seen(space).name = Some(name.to_vec());
    }

    /// By number.
    pub(super) fn take_spaces(&mut self) -> Vec<SeenSpace> {
        let mut spaces: Vec<SeenSpace> = std::mem::take(&mut self.spaces).into_values().collect();
        spaces.sort_unstable_by_key(|seen| seen.space);
        spaces
    }
}

impl LogVisitor for Census {
    fn page(&mut self, change: PageChange<'_>) {
        if !self.counts(change.start) {
            return;
        }
        self.records += 1;
        let seen = self.seen(change.id.space);
        seen.changes += 1;
        seen.last_change = change.start;
        seen.last_page = seen.last_page.max(change.id.page);
    }

    fn space(&mut self, span: &MtrSpan, event: SpaceEvent<'_>) {
        let start = span.0.start;
        let counts = self.counts(start);
        match event {
            SpaceEvent::Create { space, path } => {
                self.named(space, path);
                self.seen(space).created |= counts;
            }
            SpaceEvent::Modify { space, path } => self.named(space, path),
            SpaceEvent::Rename { space, to, .. } => self.named(space, to),
            SpaceEvent::Delete { space, path } => {
                self.named(space, path);
                if counts {
                    self.voids.delete(space, start);
                }
            }
            SpaceEvent::Extend { space, offset, size } if counts => {
                let seen = self.seen(space);
                seen.extended_to = seen.extended_to.max(offset.saturating_add(size));
            }
            SpaceEvent::Trim { space, first_gone } if counts => self.voids.trim(space, first_gone, start),
            SpaceEvent::TableMetadata { table, version, kind, payload } if counts => {
                if let Err(error) = self.metadata.add(table, version, kind, payload) {
                    self.bad_metadata.get_or_insert((start, error));
                }
            }
            _ => {}
        }
    }
}

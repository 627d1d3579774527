//! What a redo log tells its reader, whichever server wrote it: changes of single pages, and events of whole
//! tablespaces. The seam between the formats and everything that uses them.

use std::ops::Range;

use reseed_terms::{Lsn, PageId, PageNo, SpaceId};

/// One mini-transaction, as far as a page's reader needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtrSpan(pub Range<Lsn>);

/// What a change does to what came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The page starts anew from zeros: earlier changes and the page on disk are void.
    Init,
    /// The page is freed: its content does not matter until the next `Init`.
    Free,
    /// Builds on what is there.
    Delta,
}

/// Changes of one page by one mini-transaction. Self-contained: `bytes` may be stored and applied later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageChange<'a> {
    pub id: PageId,
    /// Compared with the page's LSN: a page whose LSN is larger already has this change.
    pub start: Lsn,
    /// End of the mini-transaction: the page's LSN afterwards.
    pub end: Lsn,
    pub kind: ChangeKind,
    /// In the log format's own encoding, understood by that format's applier only.
    pub bytes: &'a [u8],
}

impl<'a> PageChange<'a> {
    /// The change without its address: what an applier takes.
    pub fn change(&self) -> Change<'a> {
        Change { start: self.start, end: self.end, kind: self.kind, bytes: self.bytes }
    }
}

/// One change of a page that is known from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    pub start: Lsn,
    pub end: Lsn,
    pub kind: ChangeKind,
    pub bytes: &'a [u8],
}

/// What an applier did to a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Changes that were applied.
    pub count: u64,
    /// Changes that the page already had.
    pub skipped: u64,
    /// The end of the last change that was applied: what the page is to be sealed with. `None`: the page is as it was.
    pub lsn: Option<Lsn>,
    /// The last change freed the page: its content does not matter, and it need not be written.
    pub freed: bool,
}

/// Something that happened to a tablespace as a whole. Paths are as the server wrote them, not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpaceEvent<'a> {
    Create {
        space: SpaceId,
        path: &'a [u8],
    },
    /// MariaDB names each tablespace that was changed since the checkpoint.
    Modify {
        space: SpaceId,
        path: &'a [u8],
    },
    Rename {
        space: SpaceId,
        from: &'a [u8],
        to: &'a [u8],
    },
    Delete {
        space: SpaceId,
        path: &'a [u8],
    },
    /// The file grew by zeros from byte `offset` by `size` bytes (MySQL).
    Extend {
        space: SpaceId,
        offset: u64,
        size: u64,
    },
    /// The tablespace ends before `first_gone`: what came before this mini-transaction is void there (MariaDB).
    Trim {
        space: SpaceId,
        first_gone: PageNo,
    },
    /// Pages of an index were written without redo (MySQL).
    IndexLoad {
        space: SpaceId,
        index: u64,
    },
    /// The end of what a checkpoint writes about itself (MariaDB).
    Checkpoint {
        checkpoint: Lsn,
    },
    /// Metadata that only the redo carries (MySQL): AUTO_INCREMENT counters, corrupt-index flags.
    TableMetadata {
        table: u64,
        version: u64,
        kind: u8,
        payload: &'a [u8],
    },
}

/// Receives the content of mini-transactions, in log order.
pub trait LogVisitor {
    fn page(&mut self, change: PageChange<'_>);
    /// `span` is the mini-transaction that the event is part of.
    fn space(&mut self, span: &MtrSpan, event: SpaceEvent<'_>);
}

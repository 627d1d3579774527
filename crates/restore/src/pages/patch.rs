//! Brings pages up to the redo's end: the bytes of a stretch of a tablespace go in as they were copied and come out
//! as they are to be written. Knows pages and changes; must never know files or where the bytes come from.

use std::ops::Range;

use reseed_innodb::bytes::all_zero;
use reseed_innodb::{
    Flavour, PageError, PageSize, SpaceFormat, encryption, expand_page, fil, fsp, seal_page,
};
use reseed_redo::{Applied, Applier, Change, ChangeKind, Lsn, PageId, PageNo, RedoFormat, SpaceId};

use crate::changes::{Changes, Gathered};
use crate::error::RestoreError;

/// What was done, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pages that redo changed.
    pub changed: u64,
    /// Pages that were not in the copy and that redo made.
    pub created: u64,
    pub applied: u64,
    /// Changes that a page already had.
    pub skipped: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.changed += other.changed;
        self.created += other.created;
        self.applied += other.applied;
        self.skipped += other.skipped;
    }
}

/// A stretch of whole pages in memory.
#[derive(Debug)]
pub struct Stretch<'b> {
    pub space: SpaceId,
    /// Number of the first page in `bytes`.
    pub first: u64,
    pub bytes: &'b mut Vec<u8>,
}

/// One worker's tools.
#[derive(Debug)]
pub struct Patcher<'s> {
    changes: &'s Changes,
    gathered: Gathered<'s>,
    applier: Applier,
    server_page: PageSize,
    flavour: Flavour,
    /// No page may be newer than this.
    end: Lsn,
    expanded: Vec<u8>,
    pub counts: Counts,
}

/// Pages that lie behind the stretch and have been made by the redo: number of the first, and their bytes.
pub type Extra<'f> = dyn FnMut(u64, &[u8]) -> Result<(), RestoreError> + 'f;

/// Where pages lie that are to be changed, by number within the tablespace.
pub trait PagePlace {
    /// False: it was never written.
    fn read(&mut self, number: u64, page: &mut [u8]) -> Result<bool, RestoreError>;
    fn write(&mut self, number: u64, page: &[u8]) -> Result<(), RestoreError>;
}

/// How many bytes of extra pages are gathered before they are handed on.
const EXTRA: usize = 1 << 20;

impl<'s> Patcher<'s> {
    pub fn new(
        changes: &'s Changes,
        format: RedoFormat,
        server_page: PageSize,
        flavour: Flavour,
        end: Lsn,
    ) -> Patcher<'s> {
        Patcher {
            changes,
            gathered: Gathered::new(),
            applier: Applier::new(format, server_page),
            server_page,
            flavour,
            end,
            expanded: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Applies what the redo has for page 0, which must be the first of the stretch if it is in it at all, and tells
    /// the format of the tablespace. A first page that was never flushed is made from the redo, in the size that it
    /// turns out to have. `None`: there is no first page, neither copied nor in the redo.
    pub fn first_page(
        &mut self,
        path: &str,
        stretch: Stretch<'_>,
    ) -> Result<Option<SpaceFormat>, RestoreError> {
        let Stretch { space, bytes, .. } = stretch;
        let id = PageId { space, page: PageNo(0) };
        let fail = |source| RestoreError::Page { path: path.to_owned(), page: id, source };
        let head = bytes.get(..fsp::FLAGS + 4).filter(|head| !all_zero(head));
        let copied =
            head.map(|head| SpaceFormat::from_page0(head, self.flavour)).transpose().map_err(fail)?;
        let changes = self.changes;
        changes.gather(space, 0..1, &mut self.gathered)?;
        let Some(copied) = copied else { return self.make_first_page(path, id, bytes) };
        let size = copied.physical().bytes();
        let changes = self.changes.seen(space).is_some_and(|seen| seen.is_alive(self.changes.voids()));
        if changes && encryption(bytes, &copied).is_encrypted() {
            let what = format!("redo of an encrypted tablespace ({path}), other than by --apply server");
            return Err(RestoreError::Unsupported { what });
        }
        let page = bytes.get_mut(..size).ok_or(PageError::Length { expected: size, got: 0 }).map_err(fail)?;
        for (_, changes) in self.gathered.pages() {
            let applied =
                patch_page(&mut self.applier, &mut self.expanded, path, id, &copied, page, changes)?;
            self.counts.count(applied, true);
        }
        self.check_lsns(path, space, 0, page, size)?;
        let now = SpaceFormat::from_page0(page, self.flavour).map_err(fail)?;
        // Page compression can be switched in place: pages of before stay as they were.
        Ok(Some(if copied.may_be_page_compressed() { copied } else { now }))
    }

    fn make_first_page(
        &mut self,
        path: &str,
        id: PageId,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<SpaceFormat>, RestoreError> {
        let fail = |source| RestoreError::Page { path: path.to_owned(), page: id, source };
        let unknown = SpaceFormat::unknown(self.flavour, self.server_page);
        let mut page = vec![0; self.server_page.bytes()];
        let mut lsn = None;
        for (_, changes) in self.gathered.pages() {
            let applied = apply(&mut self.applier, path, id, &unknown, &mut page, changes)?;
            lsn = applied.lsn;
            self.counts.count(applied, false);
        }
        let Some(lsn) = lsn else { return Ok(None) };
        let format = SpaceFormat::from_page0(&page, self.flavour).map_err(fail)?;
        // A tablespace with smaller pages than the server's has its first page in that size too.
        page.truncate(format.physical().bytes());
        seal_page(&mut page, &format, id, lsn).map_err(fail)?;
        if bytes.len() < page.len() {
            bytes.resize(page.len(), 0);
        }
        for (place, byte) in bytes.iter_mut().zip(&page) {
            *place = *byte;
        }
        Ok(Some(format))
    }

    /// Applies what the redo has for `pages`, which begin with the stretch and may go on behind it. Page 0 has been
    /// done before.
    pub fn patch(
        &mut self,
        path: &str,
        format: &SpaceFormat,
        stretch: Stretch<'_>,
        pages: Range<u64>,
        extra: &mut Extra<'_>,
    ) -> Result<(), RestoreError> {
        let Stretch { space, first, bytes } = stretch;
        let size = format.physical().bytes();
        if bytes.len() % size != 0 {
            return Err(RestoreError::SetInconsistent {
                path: path.to_owned(),
                reason: format!("its pages have {size} bytes, and it does not end with a whole one"),
            });
        }
        self.clear_trimmed(space, first, bytes, size);
        let changes = self.changes;
        let mut behind = Behind { size, next: 0, bytes: Vec::new(), extra };
        let mut from = pages.start.max(1);
        while from < pages.end {
            let next = changes.gather(space, from..pages.end, &mut self.gathered)?;
            for (number, changes) in self.gathered.pages() {
                let id = PageId { space, page: number };
                let number = u64::from(number.0);
                let at = number.checked_sub(first).and_then(|pages| usize::try_from(pages).ok());
                let at = at.and_then(|pages| pages.checked_mul(size));
                let page = at.and_then(|at| bytes.get_mut(at..at.checked_add(size)?));
                let (applier, expanded) = (&mut self.applier, &mut self.expanded);
                match page {
                    Some(page) => {
                        let applied = patch_page(applier, expanded, path, id, format, page, changes)?;
                        self.counts.count(applied, true);
                    }
                    None => {
                        let mut page = vec![0; size];
                        let applied = patch_page(applier, expanded, path, id, format, &mut page, changes)?;
                        if applied.lsn.is_some() && !applied.freed {
                            behind.push(number, &page)?;
                        }
                        self.counts.count(applied, false);
                    }
                }
            }
            from = next;
        }
        behind.flush()?;
        self.check_lsns(path, space, first, bytes, size)
    }

    /// Applies what the redo has for `pages` to pages that lie elsewhere, one by one. Page 0 has been done before.
    pub fn touch(
        &mut self,
        path: &str,
        format: &SpaceFormat,
        space: SpaceId,
        pages: Range<u64>,
        place: &mut dyn PagePlace,
    ) -> Result<(), RestoreError> {
        let size = format.physical().bytes();
        let changes = self.changes;
        let mut page = vec![0; size];
        let mut from = pages.start.max(1);
        while from < pages.end {
            let next = changes.gather(space, from..pages.end, &mut self.gathered)?;
            for (number, changes) in self.gathered.pages() {
                let id = PageId { space, page: number };
                let there = place.read(u64::from(number.0), &mut page)?;
                let trimmed = self.changes.voids().trimmed(space, number);
                if !there || (trimmed > Lsn::ZERO && fil::lsn(&page) <= trimmed) {
                    page.fill(0);
                }
                let (applier, expanded) = (&mut self.applier, &mut self.expanded);
                let applied = patch_page(applier, expanded, path, id, format, &mut page, changes)?;
                if applied.lsn.is_some() && !applied.freed {
                    place.write(u64::from(number.0), &page)?;
                }
                self.counts.count(applied, there);
            }
            from = next;
        }
        Ok(())
    }

    /// A tablespace was truncated during the backup: what was copied before that from behind the new end is nothing.
    fn clear_trimmed(&self, space: SpaceId, first: u64, bytes: &mut [u8], size: usize) {
        let voids = self.changes.voids();
        if !voids.is_trimmed(space) {
            return;
        }
        for (number, page) in (first..).zip(bytes.chunks_exact_mut(size)) {
            let trimmed = voids.trimmed(space, PageNo(number as u32));
            if trimmed > Lsn::ZERO && fil::lsn(page) <= trimmed {
                page.fill(0);
            }
        }
    }

    fn check_lsns(
        &self,
        path: &str,
        space: SpaceId,
        first: u64,
        bytes: &[u8],
        size: usize,
    ) -> Result<(), RestoreError> {
        for (number, page) in (first..).zip(bytes.chunks_exact(size)) {
            let lsn = fil::lsn(page);
            if lsn > self.end {
                let page = PageId { space, page: PageNo(number as u32) };
                return Err(RestoreError::PageFromFuture { path: path.to_owned(), page, lsn, end: self.end });
            }
        }
        Ok(())
    }
}

impl Counts {
    fn count(&mut self, applied: Applied, copied: bool) {
        self.applied += applied.count;
        self.skipped += applied.skipped;
        if applied.lsn.is_some() && !applied.freed {
            if copied {
                self.changed += 1;
            } else {
                self.created += 1;
            }
        }
    }
}

/// Pages behind the stretch, joined where they follow each other.
struct Behind<'e, 'f> {
    /// Of a page.
    size: usize,
    /// Number of the page that would follow.
    next: u64,
    bytes: Vec<u8>,
    extra: &'e mut Extra<'f>,
}

impl Behind<'_, '_> {
    fn push(&mut self, number: u64, page: &[u8]) -> Result<(), RestoreError> {
        if number != self.next || self.bytes.len() >= EXTRA {
            self.flush()?;
        }
        self.bytes.extend_from_slice(page);
        self.next = number + 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RestoreError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let pages = (self.bytes.len() / self.size) as u64;
        (self.extra)(self.next - pages, &self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}

fn apply<'c>(
    applier: &mut Applier,
    path: &str,
    id: PageId,
    format: &SpaceFormat,
    page: &mut [u8],
    changes: impl IntoIterator<Item = Change<'c>>,
) -> Result<Applied, RestoreError> {
    applier.apply(id, format, page, changes).map_err(|source| RestoreError::Apply {
        path: path.to_owned(),
        page: id,
        source,
    })
}

/// One page: expanded where it is stored compressed, changed, sealed. A compressed page that changed is stored
/// plain: every server takes that, and writes it compressed again when it next changes.
fn patch_page<'c>(
    applier: &mut Applier,
    expanded: &mut Vec<u8>,
    path: &str,
    id: PageId,
    format: &SpaceFormat,
    page: &mut [u8],
    changes: impl IntoIterator<Item = Change<'c>>,
) -> Result<Applied, RestoreError> {
    let fail = |source| RestoreError::Page { path: path.to_owned(), page: id, source };
    if !format.may_be_page_compressed() || all_zero(page) {
        let applied = apply(applier, path, id, format, page, changes)?;
        if let (Some(lsn), false) = (applied.lsn, applied.freed) {
            seal_page(page, format, id, lsn).map_err(fail)?;
        }
        return Ok(applied);
    }
    let mut changes = changes.into_iter().peekable();
    // MySQL's redo may begin with the making of a page that the copy already has, and is newer than.
    let newer = format.flavour() == Flavour::MySql;
    let anew =
        |change: &Change<'_>| change.kind == ChangeKind::Init && !(newer && change.start < fil::lsn(page));
    if changes.peek().is_some_and(anew) {
        // What the page was does not matter, not even that it might not expand.
        expanded.clear();
        expanded.resize(page.len(), 0);
    } else {
        expand_page(page, format, id.page, expanded).map_err(fail)?;
    }
    let applied = apply(applier, path, id, format, expanded, changes)?;
    if let (Some(lsn), false) = (applied.lsn, applied.freed) {
        seal_page(expanded, format, id, lsn).map_err(fail)?;
        page.copy_from_slice(expanded);
    }
    Ok(applied)
}

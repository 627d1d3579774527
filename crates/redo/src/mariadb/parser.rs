//! From captured redo to the changes of pages and the events of tablespaces.

use reseed_innodb::bytes::{all_zero, be4, be8};
use reseed_terms::{Capture, Lsn, PageId, RedoFormat, SpaceId};

use super::blocks::{self, Seen};
use super::frame::{self, Frame};
use super::record::{self, Raw};
use super::ring::{CAPTURED_LAP, TAIL};
use crate::{ChangeKind, LogVisitor, MtrSpan, PageChange, RedoError, SpaceEvent};

/// Bytes that were pushed and not yet consumed.
#[derive(Debug, Clone, Default)]
struct Pending {
    bytes: Vec<u8>,
    used: usize,
}

impl Pending {
    fn push(&mut self, bytes: &[u8]) {
        // Moving the rest down is paid for by the bytes that were consumed since the last time.
        if self.used * 2 >= self.bytes.len() {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or(&[])
    }

    fn consume(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes).min(self.bytes.len());
    }
}

/// Reads a captured ring.
#[derive(Debug, Clone)]
pub struct RingParser {
    pending: Pending,
    position: Lsn,
    end: Lsn,
}

impl RingParser {
    /// # Errors
    /// When the capture is not one of a ring that starts at its checkpoint.
    pub fn new(capture: &Capture) -> Result<RingParser, RedoError> {
        if capture.format != RedoFormat::MariadbRing {
            return Err(RedoError::WrongFormat { format: capture.format });
        }
        if capture.first != capture.checkpoint {
            let what = "the capture does not start at its checkpoint";
            return Err(RedoError::Corrupt { lsn: capture.first, what });
        }
        Ok(RingParser { pending: Pending::default(), position: capture.first, end: capture.end })
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.push(bytes);
    }

    pub fn position(&self) -> Lsn {
        self.position
    }

    /// # Errors
    /// See [`LogParser::next_mtr`](crate::LogParser::next_mtr).
    pub fn next_mtr(&mut self, visitor: &mut dyn LogVisitor) -> Result<Option<MtrSpan>, RedoError> {
        let start = self.position;
        let corrupt = |what| RedoError::Corrupt { lsn: start, what };
        let rest = self.pending.rest();
        if start >= self.end || rest.is_empty() {
            return Ok(None);
        }
        let records = match frame::scan(rest) {
            Frame::Whole { records } if rest.len() >= records + TAIL => records,
            Frame::Whole { .. } | Frame::Short => return Ok(None),
            Frame::Empty => return Err(corrupt("no mini-transaction is here")),
            Frame::Bad => return Err(corrupt("a record's length is impossible")),
        };
        let end = start.checked_add((records + TAIL) as u64).ok_or_else(|| corrupt("past the last LSN"))?;
        if end > self.end {
            return Err(corrupt("a mini-transaction reaches over the end of the capture"));
        }
        let body = rest.get(..records).unwrap_or(&[]);
        if rest.get(records) != Some(&CAPTURED_LAP) {
            return Err(corrupt("the byte that ends a mini-transaction is not 1"));
        }
        if be4(rest, records + 1) != Some(crc32c::crc32c(body)) {
            return Err(corrupt("a mini-transaction's checksum does not fit"));
        }
        let span = MtrSpan(start..end);
        visit(body, &span, visitor)?;
        self.pending.consume(records + TAIL);
        self.position = end;
        Ok(Some(span))
    }
}

/// Reads captured blocks.
#[derive(Debug, Clone)]
pub struct BlockParser {
    /// Redo without framing; its first byte has the LSN `position`.
    pending: Pending,
    /// Part of a block.
    carry: Vec<u8>,
    /// The block that is due next, and how much of its redo is already pending, for it may come again.
    block: Lsn,
    have: usize,
    position: Lsn,
    end: Lsn,
}

impl BlockParser {
    /// # Errors
    /// When the capture is not one of blocks that starts with the checkpoint's block.
    pub fn new(capture: &Capture) -> Result<BlockParser, RedoError> {
        if capture.format != RedoFormat::MariadbBlocks {
            return Err(RedoError::WrongFormat { format: capture.format });
        }
        if capture.first != blocks::block_of(capture.checkpoint) {
            let what = "the capture does not start with its checkpoint's block";
            return Err(RedoError::Corrupt { lsn: capture.first, what });
        }
        let within = usize::try_from(capture.checkpoint.since(capture.first)).unwrap_or(0);
        let Some(have) = within.checked_sub(blocks::HEADER) else {
            let what = "the checkpoint points into a block's header";
            return Err(RedoError::Corrupt { lsn: capture.checkpoint, what });
        };
        Ok(BlockParser {
            pending: Pending::default(),
            carry: Vec::new(),
            block: capture.first,
            // What lies before the checkpoint counts as had.
            have,
            position: capture.checkpoint,
            end: capture.end,
        })
    }

    /// # Errors
    /// When a block is damaged or not the one that is due.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), RedoError> {
        if !self.carry.is_empty() {
            let wanted = blocks::SIZE - self.carry.len();
            let (now, later) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
            self.carry.extend_from_slice(now);
            bytes = later;
            if self.carry.len() < blocks::SIZE {
                return Ok(());
            }
            let block = std::mem::take(&mut self.carry);
            let pushed = self.push_block(&block);
            self.carry = block;
            self.carry.clear();
            pushed?;
        }
        let whole = bytes.chunks_exact(blocks::SIZE);
        self.carry.extend_from_slice(whole.remainder());
        for block in whole {
            self.push_block(block)?;
        }
        Ok(())
    }

    fn push_block(&mut self, block: &[u8]) -> Result<(), RedoError> {
        let lsn = self.block;
        let corrupt = |what| RedoError::Corrupt { lsn, what };
        let (used, full) = match blocks::look(block, lsn) {
            Seen::Full => (blocks::SIZE - blocks::TRAILER, true),
            Seen::Partial(used) => (used, false),
            Seen::WrongNumber => return Err(corrupt("another block's number")),
            Seen::BadChecksum => return Err(corrupt("a block's checksum does not fit")),
            Seen::BadLength => return Err(corrupt("a block's length is impossible")),
        };
        if let Some(new) = block.get(blocks::HEADER + self.have..used) {
            self.pending.push(new);
            self.have += new.len();
        } else if full || !self.pending.rest().is_empty() {
            // Less than it held before.
            return Err(corrupt("a block has shrunk"));
        }
        if full {
            self.block = lsn.checked_add(blocks::SIZE as u64).ok_or_else(|| corrupt("past the last LSN"))?;
            self.have = 0;
        }
        Ok(())
    }

    pub fn position(&self) -> Lsn {
        self.position
    }

    /// # Errors
    /// See [`LogParser::next_mtr`](crate::LogParser::next_mtr).
    pub fn next_mtr(&mut self, visitor: &mut dyn LogVisitor) -> Result<Option<MtrSpan>, RedoError> {
        let past = |lsn| RedoError::Corrupt { lsn, what: "past the last LSN" };
        loop {
            let start = self.position;
            let corrupt = |what| RedoError::Corrupt { lsn: start, what };
            let rest = self.pending.rest();
            if start >= self.end {
                return Ok(None);
            }
            // Zeros between mini-transactions fill up.
            let zeros = rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len());
            if zeros > 0 {
                self.position = blocks::advance(start, zeros as u64).ok_or_else(|| past(start))?;
                self.pending.consume(zeros);
                continue;
            }
            if rest.is_empty() {
                return Ok(None);
            }
            let records = match frame::scan(rest) {
                Frame::Whole { records } => records,
                Frame::Short => return Ok(None),
                Frame::Empty => return Err(corrupt("no mini-transaction is here")),
                Frame::Bad => return Err(corrupt("a record's length is impossible")),
            };
            if rest.get(records) != Some(&0) {
                return Err(corrupt("the byte that ends a mini-transaction is not 0"));
            }
            let end = blocks::advance(start, records as u64 + 1).ok_or_else(|| past(start))?;
            if end > self.end {
                return Err(corrupt("a mini-transaction reaches over the end of the capture"));
            }
            let span = MtrSpan(start..end);
            visit(rest.get(..records).unwrap_or(&[]), &span, visitor)?;
            self.pending.consume(records + 1);
            self.position = end;
            return Ok(Some(span));
        }
    }
}

/// Records of one page that follow each other. The first carries the page's address and sets the place from which
/// the others count, so that they can be applied without what came before.
struct Run {
    id: PageId,
    begin: usize,
    kind: ChangeKind,
    /// False while it holds nothing but remarks.
    changes: bool,
    /// Whether records of the same page may follow.
    open: bool,
}

/// Shows the records of one mini-transaction to `visitor`.
fn visit(body: &[u8], span: &MtrSpan, visitor: &mut dyn LogVisitor) -> Result<(), RedoError> {
    let start = span.0.start;
    let corrupt = |what| RedoError::Corrupt { lsn: start, what };
    let mut run: Option<Run> = None;
    let mut pages = false;
    let mut at = 0;
    while at < body.len() {
        let found = body.get(at..).and_then(record::next).ok_or_else(|| corrupt("a record is cut short"))?;
        if found.top_bit() && !pages {
            file_record(&found, span, visitor)?;
            at += found.length;
            continue;
        }
        pages = true;
        let kind = found.kind();
        if kind == record::RESERVED {
            return Err(RedoError::UnknownRecord { lsn: start, record: found.head });
        }
        if found.top_bit() {
            let Some(run) = run.as_mut().filter(|run| run.open) else {
                return Err(corrupt("a record of the same page has no page before it"));
            };
            if kind == record::FREE_PAGE || kind == record::INIT_PAGE {
                return Err(corrupt("a page is begun or freed without its address"));
            }
            if kind == record::EXTENDED && found.body.first() == Some(&record::TRIM_PAGES) {
                return Err(corrupt("a tablespace is cut without its address"));
            }
            run.changes |= kind != record::OPTION;
            at += found.length;
            continue;
        }
        emit(&mut run, body, at, span, visitor);
        let (id, rest) =
            record::page_id(found.body).ok_or_else(|| corrupt("a page's address is cut short"))?;
        let delta = ChangeKind::Delta;
        let (change, changes, open) = match kind {
            record::FREE_PAGE => (ChangeKind::Free, true, false),
            record::INIT_PAGE => (ChangeKind::Init, true, true),
            record::EXTENDED if rest.first() == Some(&record::TRIM_PAGES) => {
                visitor.space(span, SpaceEvent::Trim { space: id.space, first_gone: id.page });
                (delta, false, false)
            }
            record::OPTION => (delta, false, true),
            _ => (delta, true, true),
        };
        run = Some(Run { id, begin: at, kind: change, changes, open });
        at += found.length;
    }
    emit(&mut run, body, at, span, visitor);
    Ok(())
}

fn emit(run: &mut Option<Run>, body: &[u8], end: usize, span: &MtrSpan, visitor: &mut dyn LogVisitor) {
    if let Some(Run { id, begin, kind, changes: true, .. }) = run.take() {
        let bytes = body.get(begin..end).unwrap_or(&[]);
        visitor.page(PageChange { id, start: span.0.start, end: span.0.end, kind, bytes });
    }
}

fn file_record(found: &Raw<'_>, span: &MtrSpan, visitor: &mut dyn LogVisitor) -> Result<(), RedoError> {
    let lsn = span.0.start;
    let corrupt = |what| RedoError::Corrupt { lsn, what };
    let (id, rest) =
        record::page_id(found.body).ok_or_else(|| corrupt("a file record's address is cut short"))?;
    let path = |path: &[u8]| {
        if path.is_empty() || path.contains(&0) {
            return Err(corrupt("a file record's path is impossible"));
        }
        if id.space == SpaceId(0) || id.page.0 != 0 {
            return Err(corrupt("a file record's address is impossible"));
        }
        Ok(())
    };
    let space = id.space;
    let event = match found.head & 0xF0 {
        0x80 => SpaceEvent::Create { space, path: rest },
        0x90 => SpaceEvent::Delete { space, path: rest },
        0xA0 => {
            let cut = rest.iter().position(|byte| *byte == 0);
            let cut = cut.ok_or_else(|| corrupt("a rename has one path only"))?;
            let (from, to) = (rest.get(..cut).unwrap_or(&[]), rest.get(cut + 1..).unwrap_or(&[]));
            path(from)?;
            path(to)?;
            visitor.space(span, SpaceEvent::Rename { space, from, to });
            return Ok(());
        }
        0xB0 => SpaceEvent::Modify { space, path: rest },
        0xF0 => {
            if let (8, Some(checkpoint)) = (rest.len(), be8(rest, 0)) {
                visitor.space(span, SpaceEvent::Checkpoint { checkpoint: Lsn(checkpoint) });
            } else if !all_zero(rest) {
                return Err(corrupt("a checkpoint record's length is impossible"));
            }
            return Ok(());
        }
        _ => return Err(RedoError::UnknownRecord { lsn, record: found.head }),
    };
    path(rest)?;
    visitor.space(span, event);
    Ok(())
}

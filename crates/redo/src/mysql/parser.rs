//! From a captured run of blocks to mini-transactions and their records, shown to a visitor.
//!
//! Changes are shown run by run: consecutive records of one page in one mini-transaction are one
//! [`PageChange`], whose bytes are these records exactly as logged. That costs no copy and no allocation.

use std::ops::Range;

use reseed_terms::{Capture, Lsn, PageId};

use super::block::{Block, BlockError, SIZE};
use super::codec::Reader;
use super::error::MysqlError;
use super::lsn;
use super::record::{self, Outline, ScanError};
use super::record_type::RecordType;
use crate::visit::{ChangeKind, LogVisitor, MtrSpan, PageChange, SpaceEvent};

/// No mini-transaction of a server is longer: it must fit the log many times over.
const LONGEST_MTR: usize = 1 << 28;
/// Payload already shown is thrown away once there is so much of it.
const KEEP: usize = 1 << 20;

/// One record of the mini-transaction that is being read, and where it lies in `payload`.
#[derive(Debug, Clone, Copy)]
struct Seen {
    outline: Outline,
    at: usize,
}

/// Reads a capture. Feed it with [`MysqlParser::push`], ask it with [`MysqlParser::next_mtr`].
#[derive(Debug, Clone)]
pub struct MysqlParser {
    checkpoint: Lsn,
    end_sn: u64,
    end: Lsn,
    creator: String,
    /// LSN of the next block.
    next_block: Lsn,
    /// Bytes of the next block, while it is not whole.
    held: Vec<u8>,
    /// Payload from a mini-transaction's start on.
    payload: Vec<u8>,
    /// SN of `payload[0]`.
    payload_sn: u64,
    /// Start of the current mini-transaction in `payload`.
    at: usize,
    /// End of its last whole record.
    scanned: usize,
    records: Vec<Seen>,
    /// A mini-transaction's start was found.
    started: bool,
    /// The last block pushed was not full; its payload starts here.
    partial: Option<usize>,
}

impl MysqlParser {
    /// Reading starts with the first mini-transaction that starts in the checkpoint's block or later, and ends with
    /// the last one that ends at or before the capture's end.
    pub fn new(capture: &Capture) -> MysqlParser {
        MysqlParser {
            checkpoint: capture.checkpoint,
            end_sn: lsn::to_sn(capture.end),
            end: capture.end,
            creator: capture.creator.clone(),
            next_block: lsn::block_of(capture.first),
            held: Vec::new(),
            payload: Vec::new(),
            payload_sn: 0,
            at: 0,
            scanned: 0,
            records: Vec::new(),
            started: false,
            partial: None,
        }
    }

    /// Where the next mini-transaction starts: everything before was shown.
    pub fn position(&self) -> Lsn {
        if self.started { self.lsn_of(self.at) } else { self.next_block }
    }

    fn lsn_of(&self, at: usize) -> Lsn {
        lsn::from_sn(self.payload_sn.saturating_add(at as u64))
    }

    /// Appends the next bytes of the run, cut anywhere. The last block, while it was not full, may come again, whole,
    /// when it has grown.
    ///
    /// # Errors
    /// When the bytes are not the blocks that belong there.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), MysqlError> {
        self.forget_shown();
        if !self.held.is_empty() {
            let missing = SIZE.saturating_sub(self.held.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(missing);
            self.held.extend_from_slice(head);
            bytes = rest;
            if self.held.len() < SIZE {
                return Ok(());
            }
            let held = std::mem::take(&mut self.held);
            self.block(&held)?;
        }
        let mut blocks = bytes.chunks_exact(SIZE);
        for block in &mut blocks {
            self.block(block)?;
        }
        self.held.extend_from_slice(blocks.remainder());
        Ok(())
    }

    fn forget_shown(&mut self) {
        if self.at < KEEP {
            return;
        }
        let keep = self.partial.map_or(self.at, |from| from.min(self.at));
        self.payload.drain(..keep);
        self.payload_sn = self.payload_sn.saturating_add(keep as u64);
        self.at -= keep;
        self.scanned -= keep;
        self.partial = self.partial.map(|from| from - keep);
        for seen in &mut self.records {
            seen.at -= keep;
        }
    }

    fn block(&mut self, bytes: &[u8]) -> Result<(), MysqlError> {
        if let Some(from) = self.partial.take() {
            // The block before was not full: this is the same one, grown.
            let lsn = Lsn(self.next_block.0.saturating_sub(SIZE as u64));
            let grown = Block::check(bytes, lsn)
                .map_err(|_| MysqlError::Block { lsn: self.next_block, source: BlockError::AfterPartial })?;
            let had = self.payload.len().saturating_sub(from);
            if !self.started {
                self.next_block = lsn;
                return self.block(bytes);
            }
            self.payload.extend_from_slice(grown.payload.get(had..).unwrap_or_default());
            self.partial = (!grown.is_full()).then_some(from);
            return Ok(());
        }
        let lsn = self.next_block;
        let block = Block::check(bytes, lsn).map_err(|source| match source {
            BlockError::Encrypted => MysqlError::Encrypted,
            source => MysqlError::Block { lsn, source },
        })?;
        self.next_block = Lsn(lsn.0.saturating_add(SIZE as u64));
        let mut from = self.payload.len();
        if self.started {
            self.payload.extend_from_slice(block.payload);
        } else if lsn >= lsn::block_of(self.checkpoint)
            && let Some(first) = block.first_mtr
        {
            let skip = usize::from(first).saturating_sub(lsn::BLOCK_HEADER as usize);
            self.payload_sn = lsn::to_sn(lsn).saturating_add(skip as u64);
            self.payload.extend_from_slice(block.payload.get(skip..).unwrap_or_default());
            self.started = true;
            // Where the whole payload would start: what is skipped is never in `payload`.
            from = 0;
            if !block.is_full() {
                // A grown copy of this block must skip the same bytes: keep them as if they were shown.
                let mut whole = block.payload.to_vec();
                std::mem::swap(&mut self.payload, &mut whole);
                self.payload_sn = lsn::to_sn(lsn);
                self.at = skip;
                self.scanned = skip;
            }
        }
        self.partial = (!block.is_full()).then_some(from);
        Ok(())
    }

    /// Shows the next mini-transaction. `None`: push more, or the capture's end is reached.
    ///
    /// # Errors
    /// When the redo is damaged or holds a record of an unknown type.
    pub fn next_mtr(&mut self, visitor: &mut dyn LogVisitor) -> Result<Option<MtrSpan>, MysqlError> {
        if !self.started || !self.scan_mtr()? {
            return Ok(None);
        }
        let span = MtrSpan(self.lsn_of(self.at)..self.lsn_of(self.scanned));
        if self.payload_sn.saturating_add(self.scanned as u64) > self.end_sn {
            // Behind the end; stays there, so that every later call finds the same.
            return Ok(None);
        }
        self.show(&span, visitor)?;
        self.records.clear();
        self.at = self.scanned;
        Ok(Some(span))
    }

    /// Collects records up to the end of the mini-transaction; false when it is not there yet.
    fn scan_mtr(&mut self) -> Result<bool, MysqlError> {
        if self.is_complete() {
            return Ok(true);
        }
        loop {
            let rest = self.payload.get(self.scanned..).unwrap_or_default();
            let outline = match record::scan(rest) {
                Ok(outline) => outline,
                Err(ScanError::Short) if self.payload.len() - self.at > LONGEST_MTR => {
                    let lsn = self.lsn_of(self.at);
                    return Err(MysqlError::EndlessMtr { lsn, limit: LONGEST_MTR as u64 });
                }
                Err(ScanError::Short) => return Ok(false),
                Err(error) => return Err(self.damaged(error)),
            };
            if outline.single && !self.records.is_empty() {
                let what = "it is a mini-transaction of its own within another one";
                return Err(self.damaged(ScanError::Damaged(outline.kind as u8, what)));
            }
            self.records.push(Seen { outline, at: self.scanned });
            self.scanned += outline.len;
            if self.is_complete() {
                return Ok(true);
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.records
            .last()
            .is_some_and(|seen| seen.outline.single || seen.outline.kind == RecordType::MULTI_REC_END)
    }

    fn damaged(&self, error: ScanError) -> MysqlError {
        let lsn = self.lsn_of(self.scanned);
        match error {
            ScanError::Unknown(number) => {
                MysqlError::UnknownRecord { number, lsn, creator: self.creator.clone() }
            }
            ScanError::Damaged(number, what) => MysqlError::DamagedRecord { number, lsn, what },
            ScanError::Short => MysqlError::DamagedRecord { number: 0, lsn, what: "it is cut short" },
        }
    }

    fn show(&self, span: &MtrSpan, visitor: &mut dyn LogVisitor) -> Result<(), MysqlError> {
        let mut run: Option<(PageId, Range<usize>, ChangeKind)> = None;
        for seen in &self.records {
            let (outline, bytes) = (seen.outline, seen.at..seen.at + seen.outline.len);
            let kind = match outline.kind {
                // Effects from before the checkpoint are in the pages, even within a mini-transaction.
                _ if self.lsn_of(seen.at) < self.checkpoint => continue,
                RecordType::MULTI_REC_END | RecordType::DUMMY_RECORD | RecordType::TEST => continue,
                RecordType::FILE_CREATE
                | RecordType::FILE_RENAME
                | RecordType::FILE_DELETE
                | RecordType::FILE_EXTEND
                | RecordType::INDEX_LOAD
                | RecordType::TABLE_DYNAMIC_META => {
                    self.end_run(run.take(), span, visitor);
                    let body = self.payload.get(seen.at + outline.body..bytes.end).unwrap_or_default();
                    let event = event_of(&outline, body).ok_or_else(|| MysqlError::DamagedRecord {
                        number: outline.kind as u8,
                        lsn: self.lsn_of(seen.at),
                        what: "its content is not readable",
                    })?;
                    visitor.space(span, event);
                    continue;
                }
                RecordType::INIT_FILE_PAGE | RecordType::INIT_FILE_PAGE2 => ChangeKind::Init,
                _ => ChangeKind::Delta,
            };
            let page = PageId::new(outline.space, outline.page);
            match &mut run {
                Some((id, range, _))
                    if *id == page && range.end == bytes.start && kind == ChangeKind::Delta =>
                {
                    range.end = bytes.end;
                }
                _ => {
                    self.end_run(run.take(), span, visitor);
                    run = Some((page, bytes, kind));
                }
            }
        }
        self.end_run(run, span, visitor);
        Ok(())
    }

    fn end_run(
        &self,
        run: Option<(PageId, Range<usize>, ChangeKind)>,
        span: &MtrSpan,
        visitor: &mut dyn LogVisitor,
    ) {
        if let Some((id, range, kind)) = run {
            let start = self.lsn_of(range.start);
            let bytes = self.payload.get(range).unwrap_or_default();
            visitor.page(PageChange { id, start, end: span.0.end, kind, bytes });
        }
    }

    /// To be called when everything was pushed and shown.
    ///
    /// # Errors
    /// When the capture does not reach its end.
    pub fn finish(&self) -> Result<(), MysqlError> {
        let found = self.position();
        if lsn::to_sn(found) < self.end_sn {
            return Err(MysqlError::EndMissing { found, needed: self.end });
        }
        Ok(())
    }
}

/// Length of the record that `bytes`, from a [`PageChange`], start with: a change may hold several.
pub fn record_len(bytes: &[u8]) -> Option<usize> {
    record::scan(bytes).ok().map(|outline| outline.len)
}

fn event_of<'a>(outline: &Outline, body: &'a [u8]) -> Option<SpaceEvent<'a>> {
    let space = reseed_terms::SpaceId(outline.space);
    let mut reader = Reader::new(body);
    Some(match outline.kind {
        RecordType::FILE_CREATE => {
            reader.u32().ok()?;
            SpaceEvent::Create { space, path: path(&mut reader)? }
        }
        RecordType::FILE_RENAME => {
            SpaceEvent::Rename { space, from: path(&mut reader)?, to: path(&mut reader)? }
        }
        RecordType::FILE_DELETE => SpaceEvent::Delete { space, path: path(&mut reader)? },
        RecordType::FILE_EXTEND => {
            SpaceEvent::Extend { space, offset: reader.u64().ok()?, size: reader.u64().ok()? }
        }
        RecordType::INDEX_LOAD => SpaceEvent::IndexLoad { space, index: reader.u64().ok()? },
        RecordType::TABLE_DYNAMIC_META => {
            let table = reader.much_compressed64().ok()?;
            let version = reader.much_compressed64().ok()?;
            let kind = reader.u8().ok()?;
            SpaceEvent::TableMetadata { table, version, kind, payload: body.get(reader.used()..)? }
        }
        _ => return None,
    })
}

/// A path without the NUL that ends it.
fn path<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let bytes = record::string(reader).ok()?;
    Some(bytes.strip_suffix(&[0]).unwrap_or(bytes))
}

#[cfg(test)]
mod tests;

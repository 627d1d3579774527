//! The redo log that a restored server finds: one small file with a checkpoint and the metadata that only redo
//! carries. The server recovers exactly these records, writes a checkpoint and makes its own files.

use reseed_terms::{Capture, Lsn, ServerVersion};

use super::block::{SIZE, build};
use super::codec::be16;
use super::error::MysqlError;
use super::file::{FileHeader, Flags, HEAD, checkpoint_block};
use super::lsn::{BLOCK, BLOCK_HEADER, BLOCK_TRAILER, PAYLOAD, align_up};
use super::metadata::TableMetadata;

/// The smallest file that servers accept.
const SMALLEST: u64 = 65536;
/// The largest.
const LARGEST: u64 = 16 << 30;

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanLog {
    /// Where it goes, within the directory `#innodb_redo`, which must hold nothing else.
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// For bytes 26 to 33 of the first page of the system tablespace.
    pub flush_lsn: Lsn,
}

/// Makes the log that follows redo applied up to `end`. `page_size` is the server's.
///
/// # Errors
/// When there is more metadata than a log file can hold.
pub fn clean_log(
    version: &ServerVersion,
    end: Lsn,
    page_size: u64,
    metadata: &TableMetadata,
) -> Result<CleanLog, MysqlError> {
    let start = align_up(end);
    let checkpoint = Lsn(start.0.saturating_add(BLOCK_HEADER));
    let blocks = blocks(start, &metadata.records());
    let unit = page_size.max(1);
    let size = ((HEAD + blocks.len()) as u64).max(SMALLEST).div_ceil(unit).saturating_mul(unit);
    if size > LARGEST {
        return Err(MysqlError::CleanLogTooLarge { bytes: size, limit: LARGEST });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    bytes.extend(head(version, start, checkpoint, Flags::default(), uuid(end)));
    bytes.extend(blocks);
    bytes.resize(size as usize, 0);
    Ok(CleanLog { name: "#ib_redo0", bytes, flush_lsn: checkpoint })
}

/// A log's own number: any but 0, the same in all files of a set.
fn uuid(lsn: Lsn) -> u32 {
    crc32c::crc32c(&lsn.0.to_be_bytes()) | 1
}

fn head(version: &ServerVersion, start: Lsn, checkpoint: Lsn, flags: Flags, uuid: u32) -> Vec<u8> {
    let creator = format!("MySQL {}.{}.{}", version.major, version.minor, version.patch);
    let header = FileHeader { uuid, start, creator, flags };
    let mut bytes = Vec::with_capacity(HEAD);
    bytes.extend(header.to_bytes());
    bytes.extend(checkpoint_block(checkpoint));
    bytes.extend([0; SIZE]);
    bytes.extend(checkpoint_block(checkpoint));
    bytes
}

/// The 2048 bytes in front of the blocks of one file, of a captured log that is laid out for a server to recover.
/// `start` is the LSN of the file's first block, `end` that after its last; `is_last`: no file follows.
pub fn server_log_head(
    version: &ServerVersion,
    capture: &Capture,
    start: Lsn,
    end: Lsn,
    is_last: bool,
) -> Vec<u8> {
    let checkpoint = Some(capture.checkpoint).filter(|lsn| (start..end).contains(lsn)).unwrap_or(Lsn::ZERO);
    let flags = if is_last { Flags::default() } else { Flags::full() };
    head(version, start, checkpoint, flags, uuid(capture.first))
}

/// Ends a log at `end`, which lies in the block at `lsn`: what the block holds beyond is cut off. `end` must be the
/// end of a mini-transaction.
pub fn cut_last_block(block: &mut [u8; SIZE], lsn: Lsn, end: Lsn) {
    let used = end.since(lsn).clamp(BLOCK_HEADER, BLOCK - BLOCK_TRAILER) as usize;
    let header = BLOCK_HEADER as usize;
    let first = be16(block, 6);
    let first = if usize::from(first) > used { 0 } else { first };
    let payload = block.get(header..used).unwrap_or_default().to_vec();
    *block = build(lsn, &payload, first);
}

/// The records in blocks; the last block is never full, so that the log has an end.
fn blocks(start: Lsn, records: &[Vec<u8>]) -> Vec<u8> {
    let payload_len = PAYLOAD as usize;
    let payload = records.concat();
    let mut starts = Vec::with_capacity(records.len() + 1);
    let mut at = 0;
    for record in records {
        starts.push(at);
        at += record.len();
    }
    starts.push(at);
    let mut starts = starts.into_iter().peekable();
    let mut bytes = Vec::new();
    for n in 0..=payload.len() / payload_len {
        let range = n * payload_len..payload.len().min((n + 1) * payload_len);
        while starts.next_if(|at| *at < range.start).is_some() {}
        let is_last = n == payload.len() / payload_len;
        // In the last block the place where the next mini-transaction will start counts, too.
        let first = starts
            .peek()
            .filter(|at| **at < range.end || is_last)
            .map_or(0, |at| (at - range.start + BLOCK_HEADER as usize) as u16);
        let lsn = Lsn(start.0.saturating_add((n * SIZE) as u64));
        bytes.extend(build(lsn, payload.get(range).unwrap_or_default(), first));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use reseed_terms::RedoFormat;

    use super::super::block::Block;
    use super::super::file::{FileHead, newest_checkpoint};
    use super::super::metadata::counter_payload;
    use super::super::parser::MysqlParser;
    use super::*;
    use crate::visit::{LogVisitor, MtrSpan, PageChange, SpaceEvent};

    #[derive(Debug, Default)]
    struct Metadata(TableMetadata);

    impl LogVisitor for Metadata {
        fn page(&mut self, change: PageChange<'_>) {
            panic!("{change:?}");
        }

        fn space(&mut self, _: &MtrSpan, event: SpaceEvent<'_>) {
            match event {
                SpaceEvent::TableMetadata { table, version, kind, payload } => {
                    self.0.add(table, version, kind, payload).unwrap();
                }
                event => panic!("{event:?}"),
            }
        }
    }

    fn version() -> ServerVersion {
        ServerVersion::parse("9.7.4-log").unwrap()
    }

    #[test]
    fn without_metadata_it_is_one_empty_block() {
        let log = clean_log(&version(), Lsn(100_000), 16384, &TableMetadata::default()).unwrap();
        assert_eq!(log.bytes.len(), 65536);
        let head = FileHead::parse(&log.bytes).unwrap();
        assert_eq!(head.header.start, Lsn(100_352));
        assert_eq!(head.header.creator, "MySQL 9.7.4");
        let state = newest_checkpoint(&[(head, 65536)]).unwrap();
        assert_eq!(state.checkpoint, Lsn(100_364));
        assert_eq!(log.flush_lsn, Lsn(100_364));
        let block = Block::check(&log.bytes[HEAD..], Lsn(100_352)).unwrap();
        assert_eq!((block.length, block.first_mtr), (12, Some(12)));
        assert!(log.bytes[HEAD + SIZE..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_log_is_cut_at_its_end() {
        let mut block = build(Lsn(8192), &[7; 496], 300);
        cut_last_block(&mut block, Lsn(8192), Lsn(8192 + 300));
        let cut = Block::check(&block, Lsn(8192)).unwrap();
        assert_eq!((cut.length, cut.first_mtr, cut.payload.len()), (300, Some(300), 288));
        cut_last_block(&mut block, Lsn(8192), Lsn(8192 + 20));
        let cut = Block::check(&block, Lsn(8192)).unwrap();
        assert_eq!((cut.length, cut.first_mtr, cut.payload.len()), (20, None, 8));
        let mut whole = build(Lsn(8192), &[7; 496], 300);
        cut_last_block(&mut whole, Lsn(8192), Lsn(9000));
        assert_eq!(whole, build(Lsn(8192), &[7; 496], 300));
    }

    #[test]
    fn heads_of_a_log_laid_out_for_a_server() {
        let capture = Capture {
            format: RedoFormat::MysqlBlocks,
            first: Lsn(8192),
            checkpoint: Lsn(8300),
            checkpoint_end: Lsn(8300),
            end: Lsn(200_000),
            bytes: 0,
            creator: String::new(),
        };
        let second = 8192 + 63488;
        let first =
            FileHead::parse(&server_log_head(&version(), &capture, Lsn(8192), Lsn(second), false)).unwrap();
        let last =
            FileHead::parse(&server_log_head(&version(), &capture, Lsn(second), Lsn(1 << 20), true)).unwrap();
        assert!(first.header.flags.is_full() && !last.header.flags.is_full());
        assert_eq!(first.header.uuid, last.header.uuid);
        assert_eq!((first.checkpoints, last.checkpoints), ([Some(Lsn(8300)); 2], [None; 2]));
        let state = newest_checkpoint(&[(first, 65536), (last, 1 << 20)]).unwrap();
        assert_eq!(state.checkpoint, Lsn(8300));
    }

    #[test]
    fn metadata_comes_back_whatever_fills_the_blocks() {
        for tables in [1, 60, 61, 62, 63, 64, 65, 200, 20_000] {
            let mut metadata = TableMetadata::default();
            for table in 0..tables {
                metadata.add(table + 0x4000, 3, 2, &counter_payload(table)).unwrap();
            }
            let log = clean_log(&version(), Lsn(1 << 30), 65536, &metadata).unwrap();
            assert_eq!(log.bytes.len() % 65536, 0);
            let mut parser = MysqlParser::new(&Capture {
                format: RedoFormat::MysqlBlocks,
                first: Lsn(1 << 30),
                checkpoint: log.flush_lsn,
                checkpoint_end: log.flush_lsn,
                end: Lsn(u64::MAX),
                bytes: 0,
                creator: String::new(),
            });
            let mut lsn = 1 << 30;
            for block in log.bytes[HEAD..].chunks_exact(SIZE) {
                parser.push(block).unwrap();
                if !Block::check(block, Lsn(lsn)).unwrap().is_full() {
                    break;
                }
                lsn += 512;
            }
            let mut back = Metadata::default();
            while parser.next_mtr(&mut back).unwrap().is_some() {}
            assert_eq!(back.0, metadata, "{tables} tables");
        }
    }
}

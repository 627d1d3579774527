//! Redo to be put behind the end of a captured log that a server is to recover: it says that tablespaces were
//! deleted. A backup leaves out tables that an ALTER TABLE was still building; without this the server would look for
//! their files.

use reseed_innodb::bytes::{be2, be4, put};
use reseed_terms::{Lsn, RedoFormat, SpaceId};

use super::blocks::{HEADER, SIZE, TRAILER};
use super::ring::CAPTURED_LAP;
use super::varint;
use crate::RedoError;

const FILE_DELETE: u8 = 0x90;
/// Lengths up to this stand in the record's first byte.
const SHORT: usize = 15;

/// Appends the deletions to `tail`: the last bytes of the capture, which end at `end`. Blocks: the last block, whole,
/// with nothing in it behind `end` (see [`cut_last_block`](super::cut_last_block)); it is rewritten, and others may
/// follow it.
///
/// # Errors
/// When `tail` is not such a block, or the log is not MariaDB's.
pub fn append_deletions(
    format: RedoFormat,
    end: Lsn,
    deleted: &[(SpaceId, Vec<u8>)],
    tail: &mut Vec<u8>,
) -> Result<(), RedoError> {
    match format {
        RedoFormat::MariadbRing => {
            for (space, path) in deleted {
                let record = record(*space, path);
                tail.extend_from_slice(&record);
                tail.push(CAPTURED_LAP);
                tail.extend_from_slice(&crc32c::crc32c(&record).to_be_bytes());
            }
            Ok(())
        }
        RedoFormat::MariadbBlocks => blocks(end, deleted, tail),
        RedoFormat::MysqlBlocks => Err(RedoError::WrongFormat { format }),
    }
}

/// One FILE_DELETE, without the end of its mini-transaction.
fn record(space: SpaceId, path: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(path.len() + 6);
    varint::encode(space.0, &mut body);
    // The page number, which means nothing here.
    body.push(0);
    body.extend_from_slice(path);
    let mut record = Vec::with_capacity(body.len() + 3);
    if body.len() <= SHORT {
        record.push(FILE_DELETE | body.len() as u8);
    } else {
        record.push(FILE_DELETE);
        // The length counts its own bytes, of which there are one or two.
        let own = if body.len() + 1 - SHORT < 0x80 { 1 } else { 2 };
        varint::encode((body.len() + own - SHORT) as u32, &mut record);
    }
    record.extend_from_slice(&body);
    record
}

fn blocks(end: Lsn, deleted: &[(SpaceId, Vec<u8>)], tail: &mut Vec<u8>) -> Result<(), RedoError> {
    let bad = || RedoError::Corrupt { lsn: end, what: "the redo's end does not lie in its last block" };
    let used = (end.0 % SIZE as u64) as usize;
    let start = tail.len().checked_sub(SIZE).ok_or_else(bad)?;
    let mut block: [u8; SIZE] = tail.get(start..).and_then(|block| block.try_into().ok()).ok_or_else(bad)?;
    if !(HEADER..=SIZE - TRAILER).contains(&used) {
        return Err(bad());
    }
    tail.truncate(start);
    let mut at = used;
    let mut first = be2(&block, 6).map_or(0, usize::from);
    for (space, path) in deleted {
        let mut bytes = record(*space, path);
        bytes.push(0);
        if at == SIZE - TRAILER {
            seal(&mut block, SIZE, first);
            tail.extend_from_slice(&block);
            block = next(&block);
            (at, first) = (HEADER, 0);
        }
        if first == 0 {
            first = at;
        }
        for byte in bytes {
            if at == SIZE - TRAILER {
                seal(&mut block, SIZE, first);
                tail.extend_from_slice(&block);
                block = next(&block);
                (at, first) = (HEADER, 0);
            }
            if let Some(place) = block.get_mut(at) {
                *place = byte;
            }
            at += 1;
        }
    }
    let length = if at == SIZE - TRAILER { SIZE } else { at };
    seal(&mut block, length, first);
    tail.extend_from_slice(&block);
    Ok(())
}

fn seal(block: &mut [u8; SIZE], length: usize, first: usize) {
    let _ = put(block, 4, &(length as u16).to_be_bytes());
    let _ = put(block, 6, &(first as u16).to_be_bytes());
    let sum = crc32c::crc32c(block.get(..SIZE - TRAILER).unwrap_or(&[]));
    let _ = put(block, SIZE - TRAILER, &sum.to_be_bytes());
}

/// The empty block after this one, with its checkpoint number.
fn next(block: &[u8; SIZE]) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let number = be4(block, 0).unwrap_or(0) & 0x7FFF_FFFF;
    // Numbers go from 1 to 2^30.
    let number = if number >= 0x4000_0000 { 1 } else { number + 1 };
    let _ = put(&mut bytes, 0, &number.to_be_bytes());
    let _ = put(&mut bytes, 8, &be4(block, 8).unwrap_or(0).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use reseed_terms::Capture;

    use super::*;
    use crate::mariadb::{BlockParser, RingParser};
    use crate::{LogVisitor, MtrSpan, PageChange, SpaceEvent};

    #[derive(Default)]
    struct Deleted(Vec<(SpaceId, Vec<u8>)>);

    impl LogVisitor for Deleted {
        fn page(&mut self, _: PageChange<'_>) {}

        fn space(&mut self, _: &MtrSpan, event: SpaceEvent<'_>) {
            if let SpaceEvent::Delete { space, path } = event {
                self.0.push((space, path.to_vec()));
            }
        }
    }

    /// Names of all lengths around the places where the length's own form changes.
    fn many() -> Vec<(SpaceId, Vec<u8>)> {
        let lengths = (6..30).chain(120..160).chain([400, 700]);
        lengths
            .map(|length| {
                let name = format!("./{}.ibd", "x".repeat(length - 6));
                (SpaceId(length as u32 * 900), name.into_bytes())
            })
            .collect()
    }

    fn capture(format: RedoFormat, first: u64, end: u64) -> Capture {
        Capture {
            format,
            first: Lsn(first),
            checkpoint: Lsn(end),
            checkpoint_end: Lsn(end),
            end: Lsn(u64::MAX),
            bytes: 0,
            creator: String::new(),
        }
    }

    #[test]
    fn a_ring_is_read_to_its_new_end() {
        let mut tail = Vec::new();
        append_deletions(RedoFormat::MariadbRing, Lsn(50_000), &many(), &mut tail).unwrap();
        let mut parser = RingParser::new(&capture(RedoFormat::MariadbRing, 50_000, 50_000)).unwrap();
        parser.push(&tail);
        let mut seen = Deleted::default();
        while parser.next_mtr(&mut seen).unwrap().is_some() {}
        assert_eq!(seen.0, many());
        assert_eq!(parser.position(), Lsn(50_000 + tail.len() as u64));
    }

    #[test]
    fn blocks_are_read_to_their_new_end() {
        for used in [12_usize, 13, 300, 500, 507, 508] {
            let start = 512_u64 * 100;
            let mut block = [0; SIZE];
            assert!(put(&mut block, 0, &101_u32.to_be_bytes()));
            assert!(put(&mut block, 8, &7_u32.to_be_bytes()));
            // What was there: padding.
            seal(&mut block, used, if used > HEADER { HEADER } else { 0 });
            let mut tail = block.to_vec();
            append_deletions(RedoFormat::MariadbBlocks, Lsn(start + used as u64), &many(), &mut tail)
                .unwrap();
            assert!(tail.len() > SIZE && tail.len() % SIZE == 0);
            let mut parser =
                BlockParser::new(&capture(RedoFormat::MariadbBlocks, start, start + HEADER as u64)).unwrap();
            parser.push(&tail).unwrap();
            let mut seen = Deleted::default();
            while parser.next_mtr(&mut seen).unwrap().is_some() {}
            assert_eq!(seen.0, many(), "from {used}");
        }
        assert!(append_deletions(RedoFormat::MariadbBlocks, Lsn(5), &many(), &mut vec![0; SIZE]).is_err());
    }
}

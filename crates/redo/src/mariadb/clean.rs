//! Logs to give to a server: the clean one that a restored datadir starts from, and the captured one in the
//! server's own format.

use reseed_terms::{Capture, Lsn, RedoFormat, ServerVersion};

use super::log_file::start_offset;
use super::ring::CAPTURED_LAP;
use crate::RedoError;

const FORMAT_RING: u32 = 0x5068_7973;
const FORMAT_BLOCKS: u32 = 0x5048_5953;
/// The server looks for this word at the begin of the creator: it then drops the temporary tables that a backup
/// brings along.
const CREATOR: &str = "Backup ";
/// Length of a mini-transaction that is a checkpoint record only.
const CHECKPOINT_MTR: u64 = 16;

/// What a restored datadir gets in place of its redo log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanLog {
    /// The content of `ib_logfile0`. May be extended with zeros to any size that the server accepts.
    pub file: Vec<u8>,
    /// To be stamped on page 0 of the system tablespace (`innodb::set_flush_lsn`), for versions that take the LSN to
    /// go on from there.
    pub flush_lsn: Option<Lsn>,
}

/// The clean log for a server of `version` whose pages are all of LSN `end` or before.
///
/// 10.5 to 10.7 are given an empty file and the LSN in the system tablespace; 10.8 and later the smallest log that
/// says: everything up to `end` is in the data files.
///
/// # Errors
/// When `end` is smaller than any LSN of a server.
pub fn clean_log(version: &ServerVersion, end: Lsn) -> Result<CleanLog, RedoError> {
    let start = start_offset(RedoFormat::MariadbRing);
    let checkpoint = end.0.checked_sub(CHECKPOINT_MTR).filter(|checkpoint| *checkpoint >= start);
    let checkpoint =
        Lsn(checkpoint.ok_or(RedoError::Corrupt { lsn: end, what: "no server's LSN is so small" })?);
    if !version.at_least(10, 8, 0) {
        return Ok(CleanLog { file: Vec::new(), flush_lsn: Some(end) });
    }
    let mut file = ring_head(version_number(version).as_str(), checkpoint, checkpoint, checkpoint);
    let mut record = vec![0xFA, 0, 0];
    record.extend_from_slice(&checkpoint.0.to_be_bytes());
    let sum = crc32c::crc32c(&record);
    file.extend_from_slice(&record);
    file.push(CAPTURED_LAP);
    file.extend_from_slice(&sum.to_be_bytes());
    Ok(CleanLog { file, flush_lsn: None })
}

/// The begin of an `ib_logfile0` that holds `capture`: the captured bytes follow it, up to `capture.end` (blocks: up
/// to the end of the last block). Used to let the server do the recovery, and to lay a set out raw.
///
/// # Errors
/// When the capture is not MariaDB's.
pub fn server_log_head(version: &ServerVersion, capture: &Capture) -> Result<Vec<u8>, RedoError> {
    match capture.format {
        RedoFormat::MariadbRing => {
            let Capture { first, checkpoint, checkpoint_end, .. } = capture;
            Ok(ring_head(&version_number(version), *first, *checkpoint, *checkpoint_end))
        }
        RedoFormat::MariadbBlocks => Ok(blocks_head(&version_number(version), capture)),
        RedoFormat::MysqlBlocks => Err(RedoError::WrongFormat { format: capture.format }),
    }
}

fn version_number(version: &ServerVersion) -> String {
    format!("{}.{}.{}", version.major, version.minor, version.patch)
}

fn ring_head(version: &str, first: Lsn, checkpoint: Lsn, checkpoint_end: Lsn) -> Vec<u8> {
    let mut header = vec![0; 512];
    fill(&mut header, 0, &FORMAT_RING.to_be_bytes());
    fill(&mut header, 8, &first.0.to_be_bytes());
    fill(&mut header, 16, creator(version, "").as_bytes());
    seal(&mut header);
    header.resize(4096, 0);
    let mut slot = vec![0; 64];
    fill(&mut slot, 0, &checkpoint.0.to_be_bytes());
    fill(&mut slot, 8, &checkpoint_end.0.to_be_bytes());
    seal(&mut slot);
    header.extend_from_slice(&slot);
    header.resize(12288, 0);
    header
}

fn blocks_head(version: &str, capture: &Capture) -> Vec<u8> {
    let start = start_offset(RedoFormat::MariadbBlocks);
    let mut header = vec![0; 512];
    fill(&mut header, 0, &FORMAT_BLOCKS.to_be_bytes());
    fill(&mut header, 4, &2_u32.to_be_bytes());
    fill(&mut header, 8, &capture.first.0.to_be_bytes());
    fill(&mut header, 16, creator(version, "-MariaDB").as_bytes());
    seal(&mut header);
    let mut slot = vec![0; 512];
    // An even number belongs into this slot.
    fill(&mut slot, 0, &2_u64.to_be_bytes());
    fill(&mut slot, 8, &capture.checkpoint.0.to_be_bytes());
    fill(&mut slot, 16, &(start + capture.checkpoint.since(capture.first)).to_be_bytes());
    fill(&mut slot, 24, &(16_u64 << 20).to_be_bytes());
    fill(&mut slot, 496, &capture.checkpoint_end.0.to_be_bytes());
    seal(&mut slot);
    header.extend_from_slice(&slot);
    header.resize(usize::try_from(start).unwrap_or(2048), 0);
    header
}

fn creator(version: &str, suffix: &str) -> String {
    let mut text = format!("{CREATOR}{version}{suffix}");
    // One byte of the 32 ends the text.
    text.truncate(31);
    text
}

fn fill(block: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in block.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

fn seal(block: &mut [u8]) {
    let at = block.len().saturating_sub(4);
    let sum = crc32c::crc32c(block.get(..at).unwrap_or(&[]));
    fill(block, at, &sum.to_be_bytes());
}

//! The first 2048 bytes of a `#ib_redoN` file, and the newest checkpoint of a set of files.
//!
//! | offset | content |
//! |---|---|
//! | 0 | header: format (4), log uuid (4), start LSN (8), creator (32, ends with NUL), flags (4); CRC-32C at 508 |
//! | 512, 1536 | checkpoint: LSN at 8 (0 = none); CRC-32C at 508 |
//! | 1024 | encryption information, all zero in a plain log; no checksum |
//! | 2048 | blocks |

use reseed_terms::Lsn;

use super::block::{SIZE, seal};
use super::codec::{be32, be64};
use super::error::MysqlError;
use super::lsn::BLOCK;

/// Bytes before the first block.
pub const HEAD: usize = 2048;
/// The only format that is read and written: MySQL 8.0.30 to 9.7.
pub const FORMAT: u32 = 6;
const CHECKPOINTS: [usize; 2] = [512, 1536];
const ENCRYPTION: usize = 1024;
const CREATOR: usize = 16;
const CREATOR_LEN: usize = 32;
const FLAGS: usize = 48;
const CHECKSUM: usize = 508;

/// State of the log, in its newest file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    const NO_LOGGING: u32 = 1;
    const CRASH_UNSAFE: u32 = 2;
    const NOT_INITIALIZED: u32 = 4;
    const FILE_FULL: u32 = 8;

    /// Those of every file but the newest.
    pub(super) fn full() -> Flags {
        Flags(Flags::FILE_FULL)
    }

    /// A later file follows.
    pub fn is_full(self) -> bool {
        self.0 & Flags::FILE_FULL != 0
    }

    /// # Errors
    /// When the log does not carry every change.
    pub fn check_complete(self) -> Result<(), MysqlError> {
        match self.0 {
            flags if flags & Flags::CRASH_UNSAFE != 0 => Err(MysqlError::CrashUnsafe),
            flags if flags & Flags::NO_LOGGING != 0 => Err(MysqlError::LoggingDisabled),
            flags if flags & Flags::NOT_INITIALIZED != 0 => Err(MysqlError::NotInitialized),
            _ => Ok(()),
        }
    }
}

/// What the first 512 bytes of a redo file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    /// Equal in all files of a set.
    pub uuid: u32,
    /// LSN of the byte at offset 2048.
    pub start: Lsn,
    pub creator: String,
    pub flags: Flags,
}

impl FileHeader {
    /// Reads the header from the first 512 (or more) bytes of a file.
    ///
    /// # Errors
    /// When the header is damaged or its format is not ours.
    pub fn parse(bytes: &[u8]) -> Result<FileHeader, MysqlError> {
        let short = MysqlError::HeaderTooShort { found: bytes.len(), needed: SIZE };
        let bytes = bytes.get(..SIZE).ok_or(short)?;
        let stored = be32(bytes, CHECKSUM);
        let computed = crc32c::crc32c(bytes.get(..CHECKSUM).unwrap_or_default());
        let format = be32(bytes, 0);
        if stored != computed {
            return Err(MysqlError::HeaderChecksum { stored, computed });
        }
        if format != FORMAT {
            return Err(MysqlError::UnsupportedFormat { format, servers: servers_of(format) });
        }
        let start = Lsn(be64(bytes, 8));
        if !start.0.is_multiple_of(BLOCK) {
            return Err(MysqlError::HeaderStart { start });
        }
        let creator = bytes.get(CREATOR..CREATOR + CREATOR_LEN).unwrap_or_default();
        let creator = creator.split(|b| *b == 0).next().unwrap_or_default();
        Ok(FileHeader {
            uuid: be32(bytes, 4),
            start,
            creator: String::from_utf8_lossy(creator).into_owned(),
            flags: Flags(be32(bytes, FLAGS)),
        })
    }

    /// The 512 bytes that [`FileHeader::parse`] reads. A creator longer than 31 bytes is cut.
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        put(&mut bytes, 0, &FORMAT.to_be_bytes());
        put(&mut bytes, 4, &self.uuid.to_be_bytes());
        put(&mut bytes, 8, &self.start.0.to_be_bytes());
        let creator = self.creator.as_bytes();
        put(&mut bytes, CREATOR, creator.get(..CREATOR_LEN - 1).unwrap_or(creator));
        put(&mut bytes, FLAGS, &self.flags.0.to_be_bytes());
        seal(&mut bytes);
        bytes
    }
}

/// A checkpoint block, both of which a file has.
pub(super) fn checkpoint_block(checkpoint: Lsn) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    put(&mut bytes, 8, &checkpoint.0.to_be_bytes());
    seal(&mut bytes);
    bytes
}

/// Copies `value` to `at`; what does not fit is left out.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}

fn servers_of(format: u32) -> &'static str {
    match format {
        0 => "MySQL before 5.7.9, or MariaDB",
        1 => "MySQL 5.7",
        2..=4 => "MySQL 8.0.1 to 8.0.27",
        5 => "MySQL 8.0.28 and 8.0.29",
        _ => "no server known to this version of reseed",
    }
}

/// Everything in front of a file's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHead {
    pub header: FileHeader,
    /// The checkpoints whose blocks are whole; they count only within their own file.
    pub checkpoints: [Option<Lsn>; 2],
}

impl FileHead {
    /// Reads the first 2048 bytes of a file.
    ///
    /// # Errors
    /// When the header is damaged, its format is not ours, or the log is encrypted.
    pub fn parse(bytes: &[u8]) -> Result<FileHead, MysqlError> {
        let head =
            bytes.get(..HEAD).ok_or(MysqlError::HeaderTooShort { found: bytes.len(), needed: HEAD })?;
        let header = FileHeader::parse(head)?;
        let block = |at: usize| head.get(at..at + SIZE).unwrap_or_default();
        if block(ENCRYPTION).iter().any(|b| *b != 0) {
            return Err(MysqlError::Encrypted);
        }
        let checkpoints = CHECKPOINTS.map(|at| {
            let bytes = block(at);
            let whole = be32(bytes, CHECKSUM) == crc32c::crc32c(bytes.get(..CHECKSUM).unwrap_or_default());
            Some(Lsn(be64(bytes, 8))).filter(|lsn| whole && lsn.0 != 0)
        });
        Ok(FileHead { header, checkpoints })
    }

    /// LSN after the last byte of a file of `size` bytes.
    pub fn end(&self, size: u64) -> Lsn {
        file_end(self.header.start, size)
    }
}

pub(super) fn file_end(start: Lsn, size: u64) -> Lsn {
    Lsn(start.0.saturating_add(size.saturating_sub(HEAD as u64)))
}

/// The newest checkpoint of a log, and what its newest file says of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    pub checkpoint: Lsn,
    pub creator: String,
    pub flags: Flags,
    pub uuid: u32,
}

/// Finds the newest checkpoint over all in-use files of a log (head and size of each).
///
/// # Errors
/// When there is none, or when the newest file says that the log does not carry every change.
pub fn newest_checkpoint(files: &[(FileHead, u64)]) -> Result<LogState, MysqlError> {
    let (newest, _) =
        files.iter().max_by_key(|(head, _)| head.header.start).ok_or(MysqlError::NoCheckpoint)?;
    newest.header.flags.check_complete()?;
    let checkpoint = files
        .iter()
        .flat_map(|(head, size)| {
            let range = head.header.start..head.end(*size);
            head.checkpoints.into_iter().flatten().filter(move |lsn| range.contains(lsn))
        })
        .max()
        .ok_or(MysqlError::NoCheckpoint)?;
    Ok(LogState {
        checkpoint,
        creator: newest.header.creator.clone(),
        flags: newest.header.flags,
        uuid: newest.header.uuid,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(start: u64, checkpoints: [u64; 2], flags: u32) -> Vec<u8> {
        let header =
            FileHeader { uuid: 7, start: Lsn(start), creator: "MySQL 9.7.4".to_owned(), flags: Flags(flags) };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(checkpoint_block(Lsn(checkpoints[0])));
        bytes.extend([0; SIZE]);
        bytes.extend(checkpoint_block(Lsn(checkpoints[1])));
        bytes
    }

    #[test]
    fn a_header_comes_back() {
        let head = FileHead::parse(&head(8192, [8204, 0], 8)).unwrap();
        assert_eq!(head.header.start, Lsn(8192));
        assert_eq!(head.header.creator, "MySQL 9.7.4");
        assert!(head.header.flags.is_full());
        assert_eq!(head.checkpoints, [Some(Lsn(8204)), None]);
        assert_eq!(head.end(65536), Lsn(8192 + 65536 - 2048));
    }

    #[test]
    fn refusals_are_named() {
        let good = head(8192, [8204, 0], 0);
        let sealed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            let mut block: [u8; SIZE] = bytes[..SIZE].try_into().unwrap();
            seal(&mut block);
            bytes[..SIZE].copy_from_slice(&block);
            FileHead::parse(&bytes).unwrap_err()
        };
        assert!(
            matches!(sealed(3, 5), MysqlError::UnsupportedFormat { format: 5, servers } if servers.contains("8.0.28"))
        );
        assert!(matches!(sealed(3, 7), MysqlError::UnsupportedFormat { format: 7, .. }));
        assert!(matches!(sealed(15, 1), MysqlError::HeaderStart { .. }));
        let mut encrypted = good.clone();
        encrypted[1024 + 48] = b'l';
        assert_eq!(FileHead::parse(&encrypted).unwrap_err(), MysqlError::Encrypted);
        let mut damaged = good.clone();
        damaged[20] ^= 1;
        assert!(matches!(FileHead::parse(&damaged).unwrap_err(), MysqlError::HeaderChecksum { .. }));
        assert!(matches!(FileHead::parse(&good[..2047]).unwrap_err(), MysqlError::HeaderTooShort { .. }));
        assert_eq!(Flags(1).check_complete(), Err(MysqlError::LoggingDisabled));
        assert_eq!(Flags(3).check_complete(), Err(MysqlError::CrashUnsafe));
        assert_eq!(Flags(4).check_complete(), Err(MysqlError::NotInitialized));
        assert_eq!(Flags(8).check_complete(), Ok(()));
    }

    #[test]
    fn the_newest_checkpoint_counts_only_within_its_file() {
        let size = 65536;
        let (first, second) = (8192, 8192 + size - 2048);
        let files = [
            (FileHead::parse(&head(first, [9000, second + 100], 8)).unwrap(), size),
            (FileHead::parse(&head(second, [0, 8888], 0)).unwrap(), size),
        ];
        assert_eq!(newest_checkpoint(&files).unwrap().checkpoint, Lsn(9000));
        let files = [
            files[0].clone(),
            (FileHead::parse(&head(second, [second + 12, second + 50], 0)).unwrap(), size),
        ];
        assert_eq!(newest_checkpoint(&files).unwrap().checkpoint, Lsn(second + 50));
        assert_eq!(newest_checkpoint(&files[..0]), Err(MysqlError::NoCheckpoint));
        let disabled = [(FileHead::parse(&head(first, [9000, 0], 1)).unwrap(), size)];
        assert_eq!(newest_checkpoint(&disabled), Err(MysqlError::LoggingDisabled));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2100), at in 0usize..2048) {
            let _ = FileHead::parse(&bytes);
            let mut bytes = head(8192, [8204, 0], 0);
            bytes[at] ^= 0x55;
            let _ = FileHead::parse(&bytes);
        }
    }
}

//! The redo log of the new datadir: a clean one that says "everything is in the data files", or the captured one in
//! the server's own format for the server to apply.

use std::io::Read;
use std::path::{Path, PathBuf};

use reseed_io::{Cancel, IoError, Op, OutFile, write};
use reseed_redo::mysql::TableMetadata;
use reseed_redo::{Capture, Lsn, RedoFormat, SpaceId, mariadb, mysql};
use reseed_repository::Manifest;
use reseed_terms::Flavour;

use crate::error::RestoreError;

const MARIADB_LOG: &str = "ib_logfile0";
/// Where MySQL 8.0.30 and later keep the log's files.
pub(crate) const MYSQL_DIR: &str = "#innodb_redo";
const MYSQL_BUFFER_POOL_LIST: &str = "ib_buffer_pool";
const FILE_MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o750;
const PIECE: usize = 1 << 20;
const BLOCK: u64 = 512;
/// Blocks that one MySQL log file gets; the largest file that servers accept is 16 GiB.
const MYSQL_FILE: u64 = 1 << 30;
/// MySQL accepts no smaller log file, and sizes in whole pages only: 64 KiB is whole pages of any size.
const MYSQL_UNIT: u64 = 64 << 10;
/// Room that a server gets behind the redo that it is to apply.
const ROOM: u64 = 96 << 20;

/// A log that fits pages of which none is newer than the set's redo.
#[derive(Debug)]
pub struct CleanLog {
    /// Relative to the datadir.
    path: PathBuf,
    bytes: Vec<u8>,
    /// To be stamped on the system tablespace.
    pub flush_lsn: Option<Lsn>,
}

impl CleanLog {
    /// `metadata` is what the set's redo carries beside pages.
    ///
    /// # Errors
    /// When the manifest's numbers are not of a server.
    pub fn new(manifest: &Manifest, metadata: &TableMetadata) -> Result<CleanLog, RestoreError> {
        let end = manifest.capture.end;
        let version = &manifest.server.version;
        let fail = |source| RestoreError::Redo { lsn: end, source };
        match version.flavour {
            Flavour::MariaDb => {
                let log = mariadb::clean_log(version, end).map_err(fail)?;
                Ok(CleanLog { path: MARIADB_LOG.into(), bytes: log.file, flush_lsn: log.flush_lsn })
            }
            Flavour::MySql => {
                let page_size = u64::from(manifest.server.page_size);
                let log = mysql::clean_log(version, end, page_size, metadata).map_err(|e| fail(e.into()))?;
                let path = Path::new(MYSQL_DIR).join(log.name);
                Ok(CleanLog { path, bytes: log.bytes, flush_lsn: Some(log.flush_lsn) })
            }
        }
    }

    /// Writes the log into the datadir `data`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, data: &Path, owner: Option<(u32, u32)>) -> Result<(), RestoreError> {
        let file = create(&data.join(&self.path), owner)?;
        file.write_all_at(0, &self.bytes)?;
        Ok(file.sync()?)
    }
}

/// MySQL looks at its start for the list of pages that its buffer pool held, and calls it an error when there is
/// none. Sets do not hold it; an empty list is one.
///
/// # Errors
/// When it cannot be written.
pub fn write_buffer_pool_list(data: &Path, owner: Option<(u32, u32)>) -> Result<(), RestoreError> {
    let path = data.join(MYSQL_BUFFER_POOL_LIST);
    if path.exists() {
        return Ok(());
    }
    Ok(create(&path, owner)?.sync()?)
}

fn create(path: &Path, owner: Option<(u32, u32)>) -> Result<OutFile, RestoreError> {
    let dir = write::parent(path);
    if !dir.is_dir() {
        write::make_dir(dir, DIR_MODE)?;
        if let Some((uid, gid)) = owner {
            write::set_owner(dir, uid, gid)?;
        }
    }
    let file = OutFile::create_new(path, FILE_MODE)?;
    file.set_mode(FILE_MODE)?;
    if let Some((uid, gid)) = owner {
        file.set_owner(uid, gid)?;
    }
    Ok(file)
}

/// Lays the captured redo down where a server looks for it, with room for the server to go on. `deleted`: tablespaces
/// that the redo changes and whose files the set does not hold, with their names (MariaDB): the log ends with saying
/// that they are gone.
///
/// # Errors
/// When the redo cannot be read or written.
pub fn write_for_server(
    data: &Path,
    manifest: &Manifest,
    redo: Box<dyn Read + Send + '_>,
    deleted: &[(SpaceId, Vec<u8>)],
    owner: Option<(u32, u32)>,
    cancel: &Cancel,
) -> Result<(), RestoreError> {
    let mut captured = Captured::new(&manifest.capture, redo, cancel);
    match manifest.capture.format {
        RedoFormat::MariadbRing | RedoFormat::MariadbBlocks => {
            let (file, end) = mariadb_log(&data.join(MARIADB_LOG), manifest, &mut captured, owner)?;
            let end = append_deletions(&file, end, &manifest.capture, deleted)?;
            file.set_len((end + ROOM).next_multiple_of(4096))?;
            file.sync()?;
        }
        RedoFormat::MysqlBlocks => mysql_logs(&data.join(MYSQL_DIR), manifest, &mut captured, owner)?,
    }
    captured.finish()
}

/// Lays the captured redo down as backup tools leave it for their own preparation: one file, as long as its content.
///
/// # Errors
/// When the redo cannot be read or written.
pub fn write_for_tool(
    path: &Path,
    manifest: &Manifest,
    redo: Box<dyn Read + Send + '_>,
    cancel: &Cancel,
) -> Result<(), RestoreError> {
    let mut captured = Captured::new(&manifest.capture, redo, cancel);
    match manifest.capture.format {
        RedoFormat::MariadbRing | RedoFormat::MariadbBlocks => {
            mariadb_log(path, manifest, &mut captured, None)?.0.sync()?;
        }
        RedoFormat::MysqlBlocks => {
            let capture = &manifest.capture;
            let file = create(path, None)?;
            let version = &manifest.server.version;
            let head = mysql::server_log_head(version, capture, capture.first, Lsn(u64::MAX), true);
            file.write_all_at(0, &head)?;
            captured.copy(&file, head.len() as u64, u64::MAX)?;
            file.sync()?;
        }
    }
    captured.finish()
}

/// The file and where its content ends.
fn mariadb_log(
    path: &Path,
    manifest: &Manifest,
    captured: &mut Captured<'_>,
    owner: Option<(u32, u32)>,
) -> Result<(OutFile, u64), RestoreError> {
    let capture = &manifest.capture;
    let file = create(path, owner)?;
    let head = mariadb::server_log_head(&manifest.server.version, capture)
        .map_err(|source| RestoreError::Redo { lsn: capture.first, source })?;
    file.write_all_at(0, &head)?;
    let end = captured.copy(&file, head.len() as u64, u64::MAX)?;
    Ok((file, end))
}

/// Tells where the log ends then.
fn append_deletions(
    file: &OutFile,
    end: u64,
    capture: &Capture,
    deleted: &[(SpaceId, Vec<u8>)],
) -> Result<u64, RestoreError> {
    if deleted.is_empty() {
        return Ok(end);
    }
    let kept = if capture.format == RedoFormat::MariadbBlocks { BLOCK } else { 0 };
    let at = end.saturating_sub(kept);
    let mut tail = vec![0; usize::try_from(kept).unwrap_or(0)];
    file.read_at(at, &mut tail)?;
    mariadb::append_deletions(capture.format, capture.end, deleted, &mut tail)
        .map_err(|source| RestoreError::Redo { lsn: capture.end, source })?;
    file.write_all_at(at, &tail)?;
    Ok(at + tail.len() as u64)
}

fn mysql_logs(
    dir: &Path,
    manifest: &Manifest,
    captured: &mut Captured<'_>,
    owner: Option<(u32, u32)>,
) -> Result<(), RestoreError> {
    let capture = &manifest.capture;
    let mut start = capture.first;
    for number in 0_u64.. {
        let file = create(&dir.join(format!("#ib_redo{number}")), owner)?;
        let head_len = mysql::file::HEAD as u64;
        // A file that another follows is full to its last byte, and its size is in whole units.
        let room = MYSQL_FILE - head_len;
        let is_last = captured.left <= room;
        let content = captured.left.min(room);
        let size =
            if is_last { (head_len + content + ROOM).next_multiple_of(MYSQL_UNIT) } else { MYSQL_FILE };
        let end = Lsn(start.0 + (size - head_len));
        file.write_all_at(
            0,
            &mysql::server_log_head(&manifest.server.version, capture, start, end, is_last),
        )?;
        captured.copy(&file, head_len, content)?;
        file.set_len(size)?;
        file.sync()?;
        start = end;
        if is_last {
            break;
        }
    }
    Ok(())
}

/// The captured bytes up to the capture's end, the last block cut there.
struct Captured<'r> {
    redo: Box<dyn Read + Send + 'r>,
    capture: &'r Capture,
    at: Lsn,
    left: u64,
    cancel: &'r Cancel,
}

impl<'r> Captured<'r> {
    fn new(capture: &'r Capture, redo: Box<dyn Read + Send + 'r>, cancel: &'r Cancel) -> Captured<'r> {
        let bytes = capture.end.since(capture.first);
        let left = match capture.format {
            RedoFormat::MariadbRing => bytes,
            RedoFormat::MariadbBlocks | RedoFormat::MysqlBlocks => bytes.next_multiple_of(BLOCK),
        };
        Captured { redo, capture, at: capture.first, left, cancel }
    }

    /// Copies up to `limit` bytes to `to`, from `offset` on; tells where they end.
    fn copy(&mut self, to: &OutFile, mut offset: u64, limit: u64) -> Result<u64, RestoreError> {
        let mut piece = vec![0; PIECE];
        let mut left = self.left.min(limit);
        while left > 0 {
            self.cancel.check()?;
            let want = usize::try_from(left.min(PIECE as u64)).unwrap_or(PIECE);
            let buffer = piece.get_mut(..want).unwrap_or_default();
            self.redo.read_exact(buffer).map_err(|e| IoError::at(Op::Read, "the redo", offset, e))?;
            self.at = Lsn(self.at.0 + want as u64);
            self.left -= want as u64;
            left -= want as u64;
            if self.left == 0 {
                self.cut(buffer)?;
            }
            to.write_all_at(offset, buffer)?;
            to.start_writeback(offset, want as u64);
            offset += want as u64;
        }
        Ok(offset)
    }

    fn cut(&self, buffer: &mut [u8]) -> Result<(), RestoreError> {
        let Some(block) = buffer.last_chunk_mut::<{ BLOCK as usize }>() else { return Ok(()) };
        let start = Lsn(self.at.0.saturating_sub(BLOCK));
        match self.capture.format {
            RedoFormat::MariadbRing => Ok(()),
            RedoFormat::MariadbBlocks => mariadb::cut_last_block(block, start, self.capture.end)
                .map_err(|source| RestoreError::Redo { lsn: start, source }),
            RedoFormat::MysqlBlocks => {
                mysql::cut_last_block(block, start, self.capture.end);
                Ok(())
            }
        }
    }

    /// Reads to the end: only then has everything been compared with its hash.
    fn finish(mut self) -> Result<(), RestoreError> {
        std::io::copy(&mut self.redo, &mut std::io::sink())
            .map_err(|e| IoError::at(Op::Read, "the redo", self.at.0, e))?;
        Ok(())
    }
}

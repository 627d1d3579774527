//! A set laid out as the family's own backup tool leaves an unprepared backup: pages as they were copied, the
//! captured redo as one log file, and the few text files that the tool reads. For interchange, and for comparing our
//! apply with the tool's.

use std::path::{Path, PathBuf};

use reseed_io::{Cancel, OutFile, Progress};
use reseed_repository::{FileEntry, FileKind, Manifest};
use reseed_terms::{Flavour, Lsn};

use crate::changes::Changes;
use crate::error::RestoreError;
use crate::layout::Layout;
use crate::log;
use crate::options::{Apply, NewServer, Occupied, Options, Outside};
use crate::pages::pass::pass;
use crate::pages::scene::Scene;
use crate::plan::Plan;
use crate::redo::page_size;
use crate::run::Job;
use crate::source::Source;

const FILE_MODE: u32 = 0o640;

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    pub directory: PathBuf,
    pub files: u64,
    pub bytes: u64,
    /// How the tool is called on it.
    pub prepare: String,
    pub notes: Vec<String>,
}

/// Lays `source` out in `directory`, which must be missing or empty. Written beside and renamed, as a datadir is.
/// `now`: as [`Options::now`].
///
/// # Errors
/// Whatever went wrong; nothing then has the directory's name.
pub fn export_raw(
    source: &dyn Source,
    directory: &Path,
    threads: usize,
    now: &str,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<ExportReport, RestoreError> {
    let options = Options {
        datadir: directory.to_owned(),
        occupied: Occupied::Refuse,
        keep: Vec::new(),
        // Nothing is applied here either.
        apply: Apply::Server,
        outside: Outside::Inside,
        maps: Vec::new(),
        owner: None,
        threads,
        memory: 0,
        hand_over: None,
        new_server: NewServer::default(),
        now: now.to_owned(),
    };
    let mut job = Job::new(&options, progress, cancel)?;
    let manifest = source.manifest();
    job.check_space(source.files())?;
    let changes = Changes::none();
    let plan = Plan::as_it_was(source.files(), Layout::new(Outside::Inside, &[]))?;
    let paths = job.lay_out(&plan)?;
    progress.start("pages", Some(plan.raw));
    let scene = Scene {
        plan: &plan,
        paths,
        old: Vec::new(),
        held: Vec::new(),
        changes: &changes,
        redo: manifest.capture.format,
        server_page: page_size(manifest)?,
        flavour: manifest.server.version.flavour,
        end: manifest.capture.end,
        flush_lsn: None,
        owner: None,
        threads: job.threads,
        progress,
        cancel,
    };
    let done = pass(&scene, source)?;
    progress.finish();
    let data = job.target.data();
    let names = Names::of(manifest);
    log::write_for_tool(&data.join(names.log), manifest, source.redo()?, cancel)?;
    for (name, text) in texts(manifest, source.files(), &names) {
        write_text(&data.join(name), &text)?;
    }
    job.finish_tree(&plan)?;
    cancel.check()?;
    let directory = job.target.datadir().to_owned();
    let mut notes = job.notes;
    notes.extend(done.notes);
    job.target.publish()?;
    let prepare = names.prepare(&directory);
    Ok(ExportReport { directory, files: plan.files.len() as u64, bytes: done.written.bytes, prepare, notes })
}

fn write_text(path: &Path, text: &str) -> Result<(), RestoreError> {
    let file = OutFile::create_new(path, FILE_MODE)?;
    file.write_all_at(0, text.as_bytes())?;
    Ok(file.sync()?)
}

/// The names that the tool of this version gives its files.
struct Names {
    log: &'static str,
    checkpoints: &'static str,
    info: &'static str,
    binlog: &'static str,
    tool: &'static str,
}

impl Names {
    fn of(manifest: &Manifest) -> Names {
        let version = &manifest.server.version;
        match version.flavour {
            Flavour::MariaDb if version.at_least(11, 1, 0) => Names {
                log: "ib_logfile0",
                checkpoints: "mariadb_backup_checkpoints",
                info: "mariadb_backup_info",
                binlog: "mariadb_backup_binlog_info",
                tool: "mariadb-backup",
            },
            Flavour::MariaDb => Names {
                log: "ib_logfile0",
                checkpoints: "xtrabackup_checkpoints",
                info: "xtrabackup_info",
                binlog: "xtrabackup_binlog_info",
                tool: "mariadb-backup",
            },
            Flavour::MySql => Names {
                log: "xtrabackup_logfile",
                checkpoints: "xtrabackup_checkpoints",
                info: "xtrabackup_info",
                binlog: "xtrabackup_binlog_info",
                tool: "xtrabackup",
            },
        }
    }

    fn prepare(&self, directory: &Path) -> String {
        let at = directory.display();
        format!("{} --defaults-file={at}/backup-my.cnf --prepare --target-dir={at}", self.tool)
    }
}

fn texts(manifest: &Manifest, files: &[FileEntry], names: &Names) -> Vec<(&'static str, String)> {
    let mut texts = vec![
        ("backup-my.cnf", options_file(manifest, files)),
        (names.checkpoints, checkpoints(manifest)),
        (names.info, info(manifest, names)),
    ];
    if let Some(binlog) = &manifest.coordinates.binlog {
        let gtid = &manifest.coordinates.gtid;
        texts.push((names.binlog, format!("{}\t{}\t{gtid}\n", binlog.file, binlog.position)));
    }
    texts
}

/// The settings that the tool's server code must have for these files.
fn options_file(manifest: &Manifest, files: &[FileEntry]) -> String {
    let settings = &manifest.server.settings;
    let given = |name: &str, default: &str| settings.get(name).map_or(default, String::as_str).to_owned();
    let undo = files.iter().filter(|file| file.kind == FileKind::UndoTablespace).count();
    let mut lines = vec![
        "# Written by reseed for the preparation of this backup.".to_owned(),
        "[mysqld]".to_owned(),
        format!("innodb_checksum_algorithm={}", given("innodb_checksum_algorithm", "crc32")),
        format!("innodb_data_file_path={}", data_file_path(manifest, files)),
        format!("innodb_page_size={}", manifest.server.page_size),
        "innodb_undo_directory=./".to_owned(),
    ];
    match manifest.server.version.flavour {
        Flavour::MariaDb => {
            lines.push(format!("innodb_log_file_size={}", given("innodb_log_file_size", "50331648")));
            lines.push(format!("innodb_undo_tablespaces={undo}"));
            lines.push("innodb_compression_level=6".to_owned());
        }
        Flavour::MySql => {
            lines.push("innodb_data_home_dir=./".to_owned());
            lines.push(format!("innodb_undo_tablespaces={undo}"));
            lines.push(format!("server_id={}", manifest.server.server_id));
            lines.push(format!("server_uuid={}", manifest.server.uuid));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The names and sizes that the files really have: what the server was told may name directories, and sizes that the
/// last file has outgrown.
fn data_file_path(manifest: &Manifest, files: &[FileEntry]) -> String {
    let mut system: Vec<&FileEntry> =
        files.iter().filter(|file| file.kind == FileKind::SystemTablespace).collect();
    system.sort_by_key(|file| file.first_page);
    let count = system.len();
    let told = manifest.server.settings.get("innodb_data_file_path");
    if let (1, Some(told)) = (count, told.filter(|told| !told.contains('/') && !told.contains(';'))) {
        return told.clone();
    }
    let parts = system.iter().enumerate().map(|(at, file)| {
        let name = String::from_utf8_lossy(file.path.file_name()).into_owned();
        let size = file.size >> 10;
        if at + 1 == count { format!("{name}:{size}K:autoextend") } else { format!("{name}:{size}K") }
    });
    parts.collect::<Vec<_>>().join(";")
}

fn checkpoints(manifest: &Manifest) -> String {
    let capture = &manifest.capture;
    // The tool starts an incremental from here. What it would find at the end of a backup of its own is the newest
    // checkpoint; any LSN that no page of this backup lacks is right, and so is the one before its redo.
    let Lsn(to) = capture.checkpoint;
    let Lsn(last) = capture.end;
    match manifest.server.version.flavour {
        Flavour::MariaDb => format!(
            "backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = {to}\nlast_lsn = {last}\nrecover_binlog_info = 0\n"
        ),
        Flavour::MySql => format!(
            "backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = {last}\nlast_lsn = {last}\nflushed_lsn = {last}\n\
             redo_memory = 0\nredo_frames = 0\n"
        ),
    }
}

fn info(manifest: &Manifest, names: &Names) -> String {
    let binlog = manifest.coordinates.binlog.as_ref().map_or_else(String::new, |binlog| {
        let gtid = &manifest.coordinates.gtid;
        let gtid =
            if gtid.is_empty() { String::new() } else { format!(", GTID of the last change '{gtid}'") };
        format!("filename '{}', position '{}'{gtid}", binlog.file, binlog.position)
    });
    let time = |stamp: reseed_repository::Timestamp| stamp.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let version = manifest.server.version.as_str();
    let lines = [
        ("uuid", manifest.server.uuid.clone()),
        ("name", manifest.name.to_string()),
        ("tool_name", names.tool.to_owned()),
        ("tool_command", format!("export of set {}", manifest.id)),
        ("tool_version", manifest.tool.clone()),
        ("ibbackup_version", version.to_owned()),
        ("server_version", version.to_owned()),
        ("start_time", time(manifest.start)),
        ("end_time", time(manifest.end)),
        ("lock_time", "0".to_owned()),
        ("binlog_pos", binlog),
        ("innodb_from_lsn", "0".to_owned()),
        ("innodb_to_lsn", manifest.capture.checkpoint.to_string()),
        ("partial", "N".to_owned()),
        ("incremental", "N".to_owned()),
        ("format", "file".to_owned()),
        ("compressed", "N".to_owned()),
    ];
    lines.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
}

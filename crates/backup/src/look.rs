//! The first look: is this a server that can be backed up, with this account, by this user, and does its data lie
//! here? Everything that can be refused is refused now, before a lock is taken or a page is read.

use std::io;
use std::path::Path;

use reseed_repository::{AbsPath, Owner, ServerFacts as StoredFacts};
use reseed_server::{KillPolicy, Purpose, Server, ServerFacts, Stop};
use reseed_terms::Flavour;

use crate::error::{BackupError, Refusal};
use crate::layout::{Directories, Layout};
use crate::options::BackupOptions;

/// Engines that keep data of their own in ways that are not known here.
const FOREIGN_ENGINES: [&str; 5] = ["ROCKSDB", "TOKUDB", "NDBCLUSTER", "MROONGA", "COLUMNSTORE"];

/// Server variables that a restore asks for, or a person who reads the manifest.
const SETTINGS: [&str; 16] = [
    "innodb_data_file_path",
    "innodb_data_home_dir",
    "innodb_undo_directory",
    "innodb_undo_tablespaces",
    "innodb_log_group_home_dir",
    "innodb_log_file_size",
    "innodb_redo_log_capacity",
    "innodb_checksum_algorithm",
    "innodb_directories",
    "lower_case_table_names",
    "aria_log_dir_path",
    "log_bin",
    "binlog_format",
    "gtid_domain_id",
    "gtid_mode",
    "version_comment",
];

/// What is known of the server before anything is done.
pub(crate) struct Looked {
    pub server: Server,
    pub facts: ServerFacts,
    pub layout: Layout,
}

pub(crate) fn look(options: &BackupOptions, stop: Stop) -> Result<Looked, BackupError> {
    let server = Server::connect(options.connect.clone(), stop)?;
    let facts = server.facts()?;
    facts.check_supported()?;
    let purpose = Purpose {
        replica: facts.replicas.as_ref().is_none_or(|replicas| !replicas.is_empty()),
        kill: options.kill != KillPolicy::Never,
        pause_applier: options.safe,
        ..Purpose::backup()
    };
    let missing = server.preflight(purpose)?;
    if !missing.is_empty() {
        let user = server.account().unwrap_or_else(|_| options.connect.user.clone());
        return Err(BackupError::MissingPrivileges { user, missing });
    }
    refuse_unsupported(&server, &facts)?;
    let innodb = &facts.innodb;
    let mut layout = Layout::new(
        facts.flavour(),
        &Directories {
            datadir: &facts.datadir,
            data_home: &innodb.data_home,
            data_file_path: &innodb.data_file_path,
            undo_dir: &innodb.undo_dir,
            log_home: &innodb.log_home,
            aria_log_dir: &facts.aria_log_dir,
        },
    );
    check_datadir(&server, &facts, &layout)?;
    if facts.flavour() == Flavour::MySql {
        layout.named_spaces = named_spaces(&server, &layout)?;
    }
    Ok(Looked { server, facts, layout })
}

fn refuse_unsupported(server: &Server, facts: &ServerFacts) -> Result<(), BackupError> {
    let refuse = |refusal| {
        Err(BackupError::Refused {
            server: format!("{} ({})", server.options().target, facts.version),
            refusal,
        })
    };
    if facts.innodb.redo_encrypted {
        return refuse(Refusal::EncryptedRedo);
    }
    // MariaDB has not heeded the variable since before 10.5.
    if facts.flavour() == Flavour::MySql && facts.variables.get("innodb_log_checksums") == Some("OFF") {
        return refuse(Refusal::RedoUnchecked);
    }
    let names = server.encrypted_tablespaces()?;
    if !names.is_empty() {
        return refuse(Refusal::EncryptedSpaces { names });
    }
    let foreign = facts
        .other_engines
        .keys()
        .find(|engine| FOREIGN_ENGINES.iter().any(|foreign| engine.eq_ignore_ascii_case(foreign)));
    if let Some(engine) = foreign {
        return refuse(Refusal::Engine { engine: engine.clone() });
    }
    Ok(())
}

/// The datadir must be readable here, and be this server's. That its redo log fits the server's own numbers is seen
/// to where the log is opened.
fn check_datadir(server: &Server, facts: &ServerFacts, layout: &Layout) -> Result<(), BackupError> {
    let other = |reason: String| BackupError::NotThisServer {
        server: server.options().target.to_string(),
        datadir: layout.datadir.clone(),
        reason,
    };
    match std::fs::read_dir(&layout.datadir) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(other(format!(
                "there is no such directory on this host, so the server ({}) runs elsewhere",
                facts.hostname
            )));
        }
        Err(source) => return Err(BackupError::unreadable(&layout.datadir, source)),
    }
    for path in &layout.system {
        match std::fs::File::open(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(other(format!("{} is not there", path.display())));
            }
            Err(source) => return Err(BackupError::unreadable(path, source)),
        }
    }
    if let Some(uuid) = &facts.server_uuid {
        let path = layout.datadir.join("auto.cnf");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let found =
                    text.lines().find_map(|line| line.trim().strip_prefix("server-uuid=")).unwrap_or("");
                if !found.trim().eq_ignore_ascii_case(uuid) {
                    return Err(other(format!(
                        "auto.cnf there has the server_uuid {found}, the server says {uuid}"
                    )));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(other("auto.cnf is not there".to_owned()));
            }
            Err(source) => return Err(BackupError::unreadable(&path, source)),
        }
    }
    Ok(())
}

/// Tablespace files outside the datadir, which no directory listing shows.
fn named_spaces(server: &Server, layout: &Layout) -> Result<Vec<std::path::PathBuf>, BackupError> {
    let rows = server.query(
        "SELECT file_name FROM information_schema.files \
         WHERE file_type IN ('TABLESPACE', 'UNDO LOG') AND file_name IS NOT NULL",
    )?;
    let mut paths: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            use std::os::unix::ffi::OsStrExt;
            let name = std::ffi::OsStr::from_bytes(row.bytes(0)?);
            Some(crate::layout::clean(&layout.datadir.join(name)))
        })
        .filter(|path| path.file_name().is_none_or(|name| name != "ibtmp1"))
        .filter(|path| !layout.system.contains(path))
        .collect();
    paths.sort();
    Ok(paths)
}

/// What the manifest says about the server.
pub(crate) fn stored_facts(facts: &ServerFacts) -> Result<StoredFacts, BackupError> {
    let variables = &facts.variables;
    let settings = SETTINGS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), variables.get(name)?.to_owned())))
        .collect();
    let datadir = AbsPath::from_path(&facts.datadir)
        .map_err(|source| reseed_repository::RepositoryError::Path { path: facts.datadir.clone(), source })?;
    Ok(StoredFacts {
        version: facts.version.clone(),
        uuid: facts
            .server_uuid
            .clone()
            .or_else(|| variables.get("server_uid").map(str::to_owned))
            .unwrap_or_default(),
        server_id: facts.server_id,
        datadir,
        page_size: facts.innodb.page_size,
        settings,
    })
}

/// Who owns the datadir.
pub(crate) fn owner(datadir: &Path) -> Option<Owner> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(datadir).ok()?;
    let name_in = |file: &str, id: u32| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
            })
            .unwrap_or_default()
    };
    Some(Owner {
        uid: metadata.uid(),
        gid: metadata.gid(),
        user: name_in("/etc/passwd", metadata.uid()),
        group: name_in("/etc/group", metadata.gid()),
    })
}

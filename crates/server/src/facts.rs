//! What a server is and how it is set up, asked in one go. It judges only whether reseed can work with it at all.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use reseed_terms::{Flavour, ServerVersion};
use serde::{Deserialize, Serialize};

use crate::error::ServerError;
use crate::replica::{self, ReplicaState};
use crate::session::Session;

/// The oldest servers whose redo and statements reseed knows.
const OLDEST_MARIADB: (u16, u16, u16) = (10, 5, 0);
const OLDEST_MYSQL: (u16, u16, u16) = (8, 0, 30);

/// Servers that speak the protocol and are not of the two families.
const STRANGERS: &[&str] =
    &["TiDB", "OceanBase", "Vitess", "SingleStore", "MemSQL", "StarRocks", "Doris", "PolarDB", "ClickHouse"];

/// A service that runs the server and keeps its files to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Managed {
    Aurora,
    Rds,
    CloudSql,
    Azure,
}

/// InnoDB's settings that say where its files are and how they look. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InnodbFacts {
    pub page_size: u32,
    /// Where the files of `data_file_path` lie.
    pub data_home: PathBuf,
    /// As configured, e.g. `ibdata1:12M:autoextend`.
    pub data_file_path: String,
    pub undo_dir: PathBuf,
    /// Directory of `ib_logfile0`, or of `#innodb_redo`.
    pub log_home: PathBuf,
    /// Bytes that the redo log may take in all: MariaDB `innodb_log_file_size`, MySQL `innodb_redo_log_capacity`.
    pub redo_capacity: u64,
    /// MySQL `innodb_directories`, without the defaults.
    pub directories: Vec<PathBuf>,
    pub doublewrite_dir: Option<PathBuf>,
    pub temp_data_file_path: String,
    pub temp_tablespaces_dir: Option<PathBuf>,
    pub checksum_algorithm: String,
    pub undo_tablespaces: Option<u32>,
    /// MariaDB `innodb_encrypt_log`, MySQL `innodb_redo_log_encrypt`.
    pub redo_encrypted: bool,
    /// MySQL `innodb_undo_log_encrypt`.
    pub undo_encrypted: bool,
    /// MariaDB `innodb_encrypt_tables` is not OFF, MySQL `default_table_encryption` is ON. Existing tables may be
    /// encrypted without: see `Server::encrypted_tablespaces`.
    pub tables_encrypted_by_default: bool,
    /// MySQL: false after `ALTER INSTANCE DISABLE INNODB REDO_LOG`.
    pub redo_enabled: bool,
    /// MariaDB 13 `innodb_log_archive`.
    pub log_archive: bool,
}

/// The binary log's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinlogFacts {
    pub format: String,
    /// Absolute path without the number.
    pub basename: PathBuf,
    pub index: PathBuf,
    /// Seconds after which binary logs are removed; `None`: never.
    pub expire_seconds: Option<u64>,
    /// MySQL `log_replica_updates`, MariaDB `log_slave_updates`.
    pub replica_updates: bool,
}

/// All that reseed asks of a server before it does anything.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    pub version: ServerVersion,
    pub version_comment: String,
    pub percona: bool,
    pub managed: Option<Managed>,
    pub hostname: String,
    pub port: u16,
    pub socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub server_id: u32,
    /// MySQL only.
    pub server_uuid: Option<String>,
    pub datadir: PathBuf,
    pub innodb: InnodbFacts,
    /// MariaDB: where `aria_log_control` and the Aria logs lie.
    pub aria_log_dir: PathBuf,
    pub aria_encrypted: bool,
    /// `None` when the server writes no binary log.
    pub binlog: Option<BinlogFacts>,
    /// MySQL: `gtid_mode` is ON. MariaDB always has GTIDs.
    pub gtid_mode: bool,
    /// MariaDB.
    pub gtid_domain_id: Option<u32>,
    pub lower_case_table_names: u8,
    pub tmp_dirs: Vec<PathBuf>,
    /// Absolute path of relay logs without the number.
    pub relay_log_basename: Option<PathBuf>,
    pub relay_log_index: Option<PathBuf>,
    /// Files and directories that are no data although they may lie in the datadir: error, slow and general logs.
    pub log_files: Vec<PathBuf>,
    pub read_only: bool,
    /// Galera is on.
    pub galera: bool,
    /// MySQL: this server is a member of a replication group.
    pub group_replication: bool,
    /// Tables of users in other engines than InnoDB, counted by engine.
    pub other_engines: BTreeMap<String, u64>,
    /// This server as a replica, one entry a channel or connection. `None` when the privilege to see it is missing.
    pub replicas: Option<Vec<ReplicaState>>,
    /// Every global variable as the server shows it.
    pub variables: Variables,
}

impl ServerFacts {
    pub fn flavour(&self) -> Flavour {
        self.version.flavour
    }

    fn names_itself(&self, name: &str) -> bool {
        self.version.as_str().contains(name) || self.version_comment.contains(name)
    }

    /// MySQL: a channel that finds its place by file stands still only under a global read lock; without one its
    /// coordinates would not belong to the data.
    pub fn needs_read_lock_for_channels(&self) -> bool {
        self.version.flavour == Flavour::MySql
            && self
                .replicas
                .iter()
                .flatten()
                .any(|state| !state.channel.by_gtid && !state.channel.source_host.is_empty())
    }

    /// Whether users have tables that only a lock keeps still while they are copied.
    pub fn has_other_engines(&self) -> bool {
        self.other_engines.values().any(|count| *count > 0)
    }

    /// Whether reseed can back this server up.
    ///
    /// # Errors
    /// `Unsupported`, with a sentence that says why and what works instead.
    pub fn check_supported(&self) -> Result<(), ServerError> {
        let refuse = |reason: &str| {
            Err(ServerError::Unsupported {
                server: format!("{} ({})", self.version.as_str(), self.version_comment),
                reason: reason.to_owned(),
            })
        };
        match self.managed {
            Some(Managed::Aurora) => {
                return refuse(
                    "Amazon Aurora has no datadir that a backup tool could read; use its snapshots or a logical dump, \
                     and `reseed hand-over --dialect aurora-mysql` to replicate into it",
                );
            }
            Some(Managed::Rds) => {
                return refuse(
                    "Amazon RDS gives no access to the server's files; use its snapshots or a logical dump, and \
                     `reseed hand-over --dialect rds-mysql` or `rds-mariadb` to replicate into it",
                );
            }
            Some(Managed::CloudSql) => {
                return refuse(
                    "Google Cloud SQL gives no access to the server's files; use its backups or a logical dump",
                );
            }
            Some(Managed::Azure) => {
                return refuse(
                    "Azure Database gives no access to the server's files; use its backups or a logical dump",
                );
            }
            None => {}
        }
        if let Some(name) = STRANGERS.iter().find(|name| self.names_itself(name)) {
            return refuse(&format!(
                "{name} speaks like MySQL and keeps its data otherwise; use its own backup tool"
            ));
        }
        let version = (self.version.major, self.version.minor, self.version.patch);
        match self.version.flavour {
            Flavour::MariaDb if version < OLDEST_MARIADB => refuse(
                "reseed reads the redo of MariaDB 10.5 and later; use the mariadb-backup of that series",
            ),
            Flavour::MySql if version < OLDEST_MYSQL && self.version.major < 8 => {
                refuse("reseed reads the redo of MySQL 8.0.30 and later; use Percona XtraBackup 2.4")
            }
            Flavour::MySql if version < OLDEST_MYSQL => refuse(
                "reseed reads the redo of MySQL 8.0.30 and later (redo format 6); use Percona XtraBackup 8.0, or \
                 upgrade within 8.0",
            ),
            Flavour::MySql if !self.innodb.redo_enabled => refuse(
                "InnoDB's redo logging is disabled, so no consistent copy can be made; run ALTER INSTANCE ENABLE \
                 INNODB REDO_LOG first",
            ),
            _ if self.innodb.log_archive => {
                refuse("innodb_log_archive is ON, a layout that reseed does not read")
            }
            _ => Ok(()),
        }
    }
}

/// Global variables by name.
#[derive(Debug, Clone, Default)]
pub struct Variables(HashMap<String, String>);

impl Variables {
    pub(crate) fn read(session: &mut Session) -> Result<Variables, ServerError> {
        let rows = session.query("SHOW GLOBAL VARIABLES")?;
        Ok(Variables(
            rows.iter().filter_map(|row| Some((row.text(0)?.to_ascii_lowercase(), row.text(1)?))).collect(),
        ))
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Variables {
        Variables(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// True for ON, 1, YES.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| matches!(value.to_ascii_uppercase().as_str(), "ON" | "1" | "YES" | "TRUE"))
    }

    /// A value that is not empty.
    fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str, datadir: &Path) -> Option<PathBuf> {
        self.filled(name).map(|value| absolute(value, datadir))
    }
}

/// A path as the server means it: relative ones start at the datadir, `./` and trailing slashes say nothing.
fn absolute(value: &str, datadir: &Path) -> PathBuf {
    datadir.join(value).components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

pub(crate) fn gather(session: &mut Session, version: &ServerVersion) -> Result<ServerFacts, ServerError> {
    let variables = Variables::read(session)?;
    let redo_enabled = match session.first("SHOW GLOBAL STATUS LIKE 'Innodb_redo_log_enabled'")? {
        Some(row) => row.text(1).as_deref() != Some("OFF"),
        None => true,
    };
    let other_engines = count_other_engines(session)?;
    let replicas = match replica::states(session, version) {
        Ok(states) => Some(states),
        Err(error) if error.is_privilege() => None,
        Err(error) => return Err(error),
    };
    let mut facts = from_variables(version.clone(), variables, redo_enabled)?;
    facts.other_engines = other_engines;
    facts.replicas = replicas;
    Ok(facts)
}

fn count_other_engines(session: &mut Session) -> Result<BTreeMap<String, u64>, ServerError> {
    let rows = session.query(
        "SELECT engine, COUNT(*) FROM information_schema.tables \
         WHERE table_type IN ('BASE TABLE', 'SEQUENCE') AND engine IS NOT NULL AND engine <> 'InnoDB' \
         AND table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') GROUP BY engine",
    )?;
    Ok(rows.iter().filter_map(|row| Some((row.text(0)?, row.text(1)?.parse().ok()?))).collect())
}

fn from_variables(
    version: ServerVersion,
    variables: Variables,
    redo_enabled: bool,
) -> Result<ServerFacts, ServerError> {
    let missing = |name: &str| ServerError::Answer {
        statement: "SHOW GLOBAL VARIABLES".to_owned(),
        reason: format!("{name} is missing or malformed"),
    };
    let v = &variables;
    let datadir = absolute(v.filled("datadir").ok_or_else(|| missing("datadir"))?, Path::new("/"));
    let maria = version.flavour == Flavour::MariaDb;
    let version_comment = v.get("version_comment").unwrap_or_default().to_owned();
    let redo_capacity = if maria {
        let file: u64 = v.number("innodb_log_file_size").ok_or_else(|| missing("innodb_log_file_size"))?;
        file.saturating_mul(v.number("innodb_log_files_in_group").unwrap_or(1))
    } else {
        v.number("innodb_redo_log_capacity").unwrap_or(0)
    };
    let innodb = InnodbFacts {
        page_size: v.number("innodb_page_size").ok_or_else(|| missing("innodb_page_size"))?,
        data_home: v.path("innodb_data_home_dir", &datadir).unwrap_or_else(|| datadir.clone()),
        data_file_path: v.get("innodb_data_file_path").unwrap_or("ibdata1:12M:autoextend").to_owned(),
        undo_dir: v.path("innodb_undo_directory", &datadir).unwrap_or_else(|| datadir.clone()),
        log_home: v.path("innodb_log_group_home_dir", &datadir).unwrap_or_else(|| datadir.clone()),
        redo_capacity,
        directories: v
            .filled("innodb_directories")
            .map(|list| list.split(';').filter(|d| !d.is_empty()).map(|d| absolute(d, &datadir)).collect())
            .unwrap_or_default(),
        doublewrite_dir: v.path("innodb_doublewrite_dir", &datadir),
        temp_data_file_path: v.get("innodb_temp_data_file_path").unwrap_or_default().to_owned(),
        temp_tablespaces_dir: v.path("innodb_temp_tablespaces_dir", &datadir),
        checksum_algorithm: v.get("innodb_checksum_algorithm").unwrap_or_default().to_owned(),
        undo_tablespaces: v.number("innodb_undo_tablespaces"),
        redo_encrypted: v.is_on("innodb_encrypt_log") || v.is_on("innodb_redo_log_encrypt"),
        undo_encrypted: v.is_on("innodb_undo_log_encrypt"),
        tables_encrypted_by_default: v.is_on("default_table_encryption")
            || v.filled("innodb_encrypt_tables").is_some_and(|value| value != "OFF"),
        redo_enabled,
        log_archive: v.is_on("innodb_log_archive"),
    };
    let binlog = v.is_on("log_bin").then(|| BinlogFacts {
        format: v.get("binlog_format").unwrap_or("ROW").to_owned(),
        basename: v.path("log_bin_basename", &datadir).unwrap_or_else(|| datadir.join("binlog")),
        index: v.path("log_bin_index", &datadir).unwrap_or_else(|| datadir.join("binlog.index")),
        expire_seconds: expire_seconds(v),
        replica_updates: v.is_on("log_replica_updates") || v.is_on("log_slave_updates"),
    });
    let log_files = ["log_error", "slow_query_log_file", "general_log_file", "log_slow_query_file"]
        .iter()
        .filter(|name| v.filled(name).is_some_and(|value| value != "stderr"))
        .filter_map(|name| v.path(name, &datadir))
        .collect();
    Ok(ServerFacts {
        percona: version_comment.contains("Percona"),
        managed: managed(v, &version_comment, &datadir),
        hostname: v.get("hostname").unwrap_or_default().to_owned(),
        port: v.number("port").unwrap_or(0),
        socket: v.path("socket", &datadir),
        pid_file: v.path("pid_file", &datadir),
        server_id: v.number("server_id").unwrap_or(0),
        server_uuid: v.filled("server_uuid").map(str::to_owned),
        aria_log_dir: v.path("aria_log_dir_path", &datadir).unwrap_or_else(|| datadir.clone()),
        aria_encrypted: v.is_on("aria_encrypt_tables"),
        gtid_mode: maria || v.is_on("gtid_mode"),
        gtid_domain_id: v.number("gtid_domain_id"),
        lower_case_table_names: v.number("lower_case_table_names").unwrap_or(0),
        tmp_dirs: ["tmpdir", "replica_load_tmpdir", "slave_load_tmpdir", "innodb_tmpdir"]
            .iter()
            .filter_map(|name| v.filled(name))
            .flat_map(|list| list.split(':'))
            .filter(|dir| !dir.is_empty())
            .map(|dir| absolute(dir, &datadir))
            .collect(),
        relay_log_basename: v.path("relay_log_basename", &datadir).or_else(|| v.path("relay_log", &datadir)),
        relay_log_index: v.path("relay_log_index", &datadir),
        log_files,
        read_only: v.get("read_only").is_some_and(|value| !matches!(value, "OFF" | "0")),
        galera: v.is_on("wsrep_on"),
        group_replication: v.filled("group_replication_group_name").is_some(),
        other_engines: BTreeMap::new(),
        replicas: None,
        version,
        version_comment,
        datadir,
        innodb,
        binlog,
        variables,
    })
}

/// Retention of binary logs: seconds where the server counts in them, else days, which MariaDB writes as a fraction.
pub(crate) fn expire_seconds(v: &Variables) -> Option<u64> {
    if v.get("binlog_expire_logs_auto_purge") == Some("OFF") {
        return None;
    }
    let seconds = v.number::<u64>("binlog_expire_logs_seconds").filter(|seconds| *seconds > 0);
    let days = v.number::<f64>("expire_logs_days").filter(|days| *days > 0.0);
    seconds.or(days.map(|days| (days * 86_400.0) as u64))
}

fn managed(v: &Variables, comment: &str, datadir: &Path) -> Option<Managed> {
    if v.get("aurora_version").is_some() || v.get("aurora_server_id").is_some() {
        Some(Managed::Aurora)
    } else if datadir.starts_with("/rdsdbdata")
        || v.get("basedir").is_some_and(|dir| dir.starts_with("/rdsdbbin"))
    {
        Some(Managed::Rds)
    } else if comment.contains("(Google)") || v.get("cloudsql_iam_authentication").is_some() {
        Some(Managed::CloudSql)
    } else if comment.contains("Azure") || v.get("azure_server_name").is_some() {
        Some(Managed::Azure)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: &str, more: &[(&str, &str)]) -> ServerFacts {
        let mut pairs = vec![
            ("datadir", "/var/lib/mysql/"),
            ("innodb_page_size", "16384"),
            ("innodb_log_file_size", "100663296"),
            ("innodb_redo_log_capacity", "104857600"),
        ];
        pairs.extend_from_slice(more);
        from_variables(ServerVersion::parse(version).unwrap(), Variables::of(&pairs), true).unwrap()
    }

    #[test]
    fn relative_paths_start_at_the_datadir() {
        let facts = facts(
            "10.11.6-MariaDB",
            &[
                ("innodb_undo_directory", "./"),
                ("innodb_data_home_dir", ""),
                ("innodb_log_group_home_dir", "redo"),
                ("log_bin", "ON"),
                ("log_bin_basename", "/logs/bin"),
                ("expire_logs_days", "1.500000"),
                ("log_error", "stderr"),
                ("slow_query_log_file", "slow.log"),
            ],
        );
        assert_eq!(facts.datadir, Path::new("/var/lib/mysql"));
        assert_eq!(facts.innodb.undo_dir, Path::new("/var/lib/mysql"));
        assert_eq!(facts.innodb.data_home, Path::new("/var/lib/mysql"));
        assert_eq!(facts.innodb.log_home, Path::new("/var/lib/mysql/redo"));
        assert_eq!(facts.log_files, [Path::new("/var/lib/mysql/slow.log")]);
        let binlog = facts.binlog.unwrap();
        assert_eq!(binlog.basename, Path::new("/logs/bin"));
        assert_eq!(binlog.expire_seconds, Some(129_600));
    }

    #[test]
    fn servers_that_cannot_be_backed_up_are_told_why() {
        let refusal = |version: &str, more: &[(&str, &str)]| {
            facts(version, more).check_supported().unwrap_err().to_string()
        };
        insta::assert_snapshot!(refusal("8.0.28", &[("aurora_version", "3.04.0"), ("version_comment", "MySQL Community Server")]), @"8.0.28 (MySQL Community Server) is not supported: Amazon Aurora has no datadir that a backup tool could read; use its snapshots or a logical dump, and `reseed hand-over --dialect aurora-mysql` to replicate into it");
        insta::assert_snapshot!(refusal("8.0.40", &[("basedir", "/rdsdbbin/mysql-8.0.40/")]), @"8.0.40 () is not supported: Amazon RDS gives no access to the server's files; use its snapshots or a logical dump, and `reseed hand-over --dialect rds-mysql` or `rds-mariadb` to replicate into it");
        insta::assert_snapshot!(refusal("10.4.30-MariaDB", &[]), @"10.4.30-MariaDB () is not supported: reseed reads the redo of MariaDB 10.5 and later; use the mariadb-backup of that series");
        insta::assert_snapshot!(refusal("8.0.29", &[]), @"8.0.29 () is not supported: reseed reads the redo of MySQL 8.0.30 and later (redo format 6); use Percona XtraBackup 8.0, or upgrade within 8.0");
        insta::assert_snapshot!(refusal("5.7.44", &[]), @"5.7.44 () is not supported: reseed reads the redo of MySQL 8.0.30 and later; use Percona XtraBackup 2.4");
        insta::assert_snapshot!(refusal("8.0.11-TiDB-v7.5.0", &[("version_comment", "TiDB Server")]), @"8.0.11-TiDB-v7.5.0 (TiDB Server) is not supported: TiDB speaks like MySQL and keeps its data otherwise; use its own backup tool");
        assert!(facts("8.0.36-28", &[("version_comment", "Percona Server (GPL)")]).check_supported().is_ok());
        assert!(facts("9.7.4", &[]).check_supported().is_ok());
    }
}

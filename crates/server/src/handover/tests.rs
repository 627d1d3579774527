use reseed_terms::{BinlogPosition, DelayedBy, ReplicaChannel};

use super::*;

fn mysql() -> Coordinates {
    Coordinates {
        binlog: Some(BinlogPosition { file: "binlog.000007".to_owned(), position: 4711 }),
        gtid: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7".to_owned(),
        gtid_mode: true,
        ..Coordinates::default()
    }
}

fn mariadb() -> Coordinates {
    Coordinates {
        binlog: Some(BinlogPosition { file: "binlog.000007".to_owned(), position: 4711 }),
        gtid: "0-1-100,7-1-3".to_owned(),
        gtid_current: "0-1-100,7-1-3".to_owned(),
        gtid_slave: "0-9-90".to_owned(),
        ..Coordinates::default()
    }
}

fn channel(name: &str, host: &str, by_gtid: bool) -> ReplicaChannel {
    ReplicaChannel {
        name: name.to_owned(),
        source_host: host.to_owned(),
        source_port: 3307,
        source_user: "repl".to_owned(),
        applied: Some(BinlogPosition { file: "bin.000002".to_owned(), position: 157 }),
        by_gtid,
        ..ReplicaChannel::default()
    }
}

fn options() -> HandoverOptions {
    HandoverOptions {
        source_host: Some("db1.example".to_owned()),
        source_user: Some("re'pl".to_owned()),
        ..HandoverOptions::default()
    }
}

fn text(coordinates: &Coordinates, version: &str, options: &HandoverOptions) -> String {
    match statements(coordinates, &ServerVersion::parse(version).unwrap(), options) {
        Ok(handover) => handover.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

/// Only the statements, each on one line.
fn sql(coordinates: &Coordinates, version: &str, options: &HandoverOptions) -> String {
    match statements(coordinates, &ServerVersion::parse(version).unwrap(), options) {
        Ok(handover) => handover
            .statements
            .iter()
            .map(|statement| statement.sql.split_whitespace().collect::<Vec<_>>().join(" ") + ";")
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn mariadb_by_gtid_in_full() {
    insta::assert_snapshot!(text(&mariadb(), "10.11.6-MariaDB", &options()), @r"
-- NOTE: start the restored server with skip-slave-start and event-scheduler=DISABLED, with a server_id of its own
-- FILL IN: <PASSWORD> stands for the password of the replication account.
-- Nothing that came along with the data may replicate
STOP ALL SLAVES;
-- Forget the sources that it knew
RESET SLAVE ALL;
-- What the data contains
SET GLOBAL gtid_slave_pos = '0-1-100,7-1-3';
-- The source and where to begin: GTID 0-1-100,7-1-3
CHANGE MASTER TO
  MASTER_HOST = 'db1.example',
  MASTER_PORT = 3306,
  MASTER_USER = 're''pl',
  MASTER_PASSWORD = '<PASSWORD>',
  MASTER_USE_GTID = slave_pos;
-- Go
START SLAVE;
-- Settings to look at:
--   SET GLOBAL read_only = ON;  -- a replica that is written to will differ from its source (also in the option file)
--   SET GLOBAL gtid_strict_mode = ON;  -- an event out of order is then an error and not a silent difference (also in the option file)
--   SELECT event_schema, event_name FROM information_schema.events WHERE status = 'ENABLED';  -- events that run on the source were copied as enabled: ALTER EVENT ... DISABLE ON SLAVE before event_scheduler = ON
");
}

#[test]
fn mysql_by_gtid_in_full() {
    insta::assert_snapshot!(text(&mysql(), "9.7.4", &options()), @r"
-- NOTE: start the restored server with skip-replica-start and event-scheduler=DISABLED, with a server_id of its own
-- NOTE: the restored server needs gtid_mode=ON and enforce_gtid_consistency=ON
-- FILL IN: <PASSWORD> stands for the password of the replication account.
-- Nothing that came along with the data may replicate
STOP REPLICA;
-- Forget the sources and channels that it knew
RESET REPLICA ALL;
-- Forget the GTIDs that were written while the server started
RESET BINARY LOGS AND GTIDS;
-- What the data contains
SET GLOBAL gtid_purged = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7';
-- The source and where to begin: the first transaction that is not in gtid_purged
CHANGE REPLICATION SOURCE TO
  SOURCE_HOST = 'db1.example',
  SOURCE_PORT = 3306,
  SOURCE_USER = 're''pl',
  SOURCE_PASSWORD = '<PASSWORD>',
  SOURCE_AUTO_POSITION = 1,
  GET_SOURCE_PUBLIC_KEY = 1;
-- Go
START REPLICA;
-- Settings to look at:
--   SET PERSIST super_read_only = ON;  -- a replica that is written to will differ from its source
--   SET PERSIST_ONLY relay_log_recovery = ON;  -- after a crash unread relay logs are fetched again instead of trusted; counts from the next start
--   SELECT event_schema, event_name FROM information_schema.events WHERE status = 'ENABLED';  -- events that run on the source were copied as enabled: ALTER EVENT ... DISABLE ON SLAVE before event_scheduler = ON
");
}

#[test]
fn mysql_words_by_version() {
    insta::assert_snapshot!(sql(&mysql(), "8.0.36", &options()), @r"
STOP REPLICA;
RESET REPLICA ALL;
RESET MASTER;
SET GLOBAL gtid_purged = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7';
CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db1.example', SOURCE_PORT = 3306, SOURCE_USER = 're''pl', SOURCE_PASSWORD = '<PASSWORD>', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1;
START REPLICA;
");
    insta::assert_snapshot!(sql(&mysql(), "8.4.0", &options()), @r"
STOP REPLICA;
RESET REPLICA ALL;
RESET BINARY LOGS AND GTIDS;
SET GLOBAL gtid_purged = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7';
CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db1.example', SOURCE_PORT = 3306, SOURCE_USER = 're''pl', SOURCE_PASSWORD = '<PASSWORD>', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1;
START REPLICA;
");
}

#[test]
fn by_file_and_position() {
    let by_file = HandoverOptions { position: Some(Position::File), ..options() };
    insta::assert_snapshot!(sql(&mariadb(), "11.8.6-MariaDB", &by_file), @r"
STOP ALL SLAVES;
RESET SLAVE ALL;
SET GLOBAL gtid_slave_pos = '0-1-100,7-1-3';
CHANGE MASTER TO MASTER_HOST = 'db1.example', MASTER_PORT = 3306, MASTER_USER = 're''pl', MASTER_PASSWORD = '<PASSWORD>', MASTER_LOG_FILE = 'binlog.000007', MASTER_LOG_POS = 4711, MASTER_USE_GTID = no;
START SLAVE;
");
    insta::assert_snapshot!(sql(&mysql(), "9.7.4", &by_file), @r"
STOP REPLICA;
RESET REPLICA ALL;
RESET BINARY LOGS AND GTIDS;
SET GLOBAL gtid_purged = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7';
CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db1.example', SOURCE_PORT = 3306, SOURCE_USER = 're''pl', SOURCE_PASSWORD = '<PASSWORD>', SOURCE_AUTO_POSITION = 0, SOURCE_LOG_FILE = 'binlog.000007', SOURCE_LOG_POS = 4711, GET_SOURCE_PUBLIC_KEY = 1;
START REPLICA;
");
    let no_gtid = Coordinates { gtid: String::new(), gtid_mode: false, ..mysql() };
    insta::assert_snapshot!(sql(&no_gtid, "9.7.4", &options()), @r"
STOP REPLICA;
RESET REPLICA ALL;
CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db1.example', SOURCE_PORT = 3306, SOURCE_USER = 're''pl', SOURCE_PASSWORD = '<PASSWORD>', SOURCE_AUTO_POSITION = 0, SOURCE_LOG_FILE = 'binlog.000007', SOURCE_LOG_POS = 4711, GET_SOURCE_PUBLIC_KEY = 1;
START REPLICA;
");
    let first_day = Coordinates { gtid: String::new(), gtid_slave: String::new(), ..mariadb() };
    insta::assert_snapshot!(sql(&first_day, "10.5.23-MariaDB", &options()), @r"
STOP ALL SLAVES;
RESET SLAVE ALL;
SET GLOBAL gtid_slave_pos = '';
CHANGE MASTER TO MASTER_HOST = 'db1.example', MASTER_PORT = 3306, MASTER_USER = 're''pl', MASTER_PASSWORD = '<PASSWORD>', MASTER_LOG_FILE = 'binlog.000007', MASTER_LOG_POS = 4711, MASTER_USE_GTID = no;
START SLAVE;
");
}

#[test]
fn a_given_password_is_quoted_and_channel_and_tls_are_named() {
    let all = HandoverOptions {
        password: SourcePassword::Given(Password::new(r"it's \ 'x'; DROP DATABASE d; --")),
        channel: Some("n'1".to_owned()),
        source_port: Some(3310),
        tls: Tls::On,
        ..options()
    };
    insta::assert_snapshot!(sql(&mariadb(), "10.11.6-MariaDB", &all), @r"
STOP ALL SLAVES;
RESET SLAVE ALL;
SET GLOBAL gtid_slave_pos = '0-1-100,7-1-3';
CHANGE MASTER 'n''1' TO MASTER_HOST = 'db1.example', MASTER_PORT = 3310, MASTER_USER = 're''pl', MASTER_PASSWORD = 'it''s \\ ''x''; DROP DATABASE d; --', MASTER_USE_GTID = slave_pos, MASTER_SSL = 1;
START SLAVE 'n''1';
");
    insta::assert_snapshot!(sql(&mysql(), "8.4.3", &all), @r"
STOP REPLICA;
RESET REPLICA ALL;
RESET BINARY LOGS AND GTIDS;
SET GLOBAL gtid_purged = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7';
CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db1.example', SOURCE_PORT = 3310, SOURCE_USER = 're''pl', SOURCE_PASSWORD = 'it''s \\ ''x''; DROP DATABASE d; --', SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1 FOR CHANNEL 'n''1';
START REPLICA FOR CHANNEL 'n''1';
");
    let off = HandoverOptions { tls: Tls::Off, ..options() };
    insta::assert_snapshot!(sql(&mariadb(), "11.8.6-MariaDB", &off), @r"
STOP ALL SLAVES;
RESET SLAVE ALL;
SET GLOBAL gtid_slave_pos = '0-1-100,7-1-3';
CHANGE MASTER TO MASTER_HOST = 'db1.example', MASTER_PORT = 3306, MASTER_USER = 're''pl', MASTER_PASSWORD = '<PASSWORD>', MASTER_USE_GTID = slave_pos, MASTER_SSL = 0, MASTER_SSL_VERIFY_SERVER_CERT = 0;
START SLAVE;
");
    insta::assert_snapshot!(sql(&mysql(), "9.7.4", &off), @r"
STOP REPLICA;
RESET REPLICA ALL;
RESET BINARY LOGS AND GTIDS;
SET GLOBAL gtid_purged = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7';
CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db1.example', SOURCE_PORT = 3306, SOURCE_USER = 're''pl', SOURCE_PASSWORD = '<PASSWORD>', SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1;
START REPLICA;
");
    assert!(!text(&mariadb(), "10.11.6-MariaDB", &all).contains("FILL IN"));
}

#[test]
fn beside_the_server_that_was_backed_up() {
    let of_source = HandoverOptions { of: Of::Source, ..HandoverOptions::default() };
    let mut replica = mariadb();
    replica.channels = vec![channel("", "top.example", true), channel("eu", "eu.example", false)];
    insta::assert_snapshot!(sql(&replica, "10.11.6-MariaDB", &of_source), @r"
STOP ALL SLAVES;
RESET SLAVE ALL;
SET GLOBAL gtid_slave_pos = '0-9-90';
CHANGE MASTER TO MASTER_HOST = 'top.example', MASTER_PORT = 3307, MASTER_USER = 'repl', MASTER_PASSWORD = '<PASSWORD>', MASTER_USE_GTID = slave_pos;
CHANGE MASTER 'eu' TO MASTER_HOST = 'eu.example', MASTER_PORT = 3307, MASTER_USER = 'repl', MASTER_PASSWORD = '<PASSWORD>', MASTER_LOG_FILE = 'bin.000002', MASTER_LOG_POS = 157, MASTER_USE_GTID = no;
START SLAVE;
START SLAVE 'eu';
");
    let mut replica = mysql();
    replica.channels = vec![channel("", "top.example", true), channel("eu", "eu.example", false)];
    insta::assert_snapshot!(sql(&replica, "9.7.4", &of_source), @r"
STOP REPLICA;
RESET REPLICA ALL;
RESET BINARY LOGS AND GTIDS;
SET GLOBAL gtid_purged = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7';
CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'top.example', SOURCE_PORT = 3307, SOURCE_USER = 'repl', SOURCE_PASSWORD = '<PASSWORD>', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1;
CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'eu.example', SOURCE_PORT = 3307, SOURCE_USER = 'repl', SOURCE_PASSWORD = '<PASSWORD>', SOURCE_AUTO_POSITION = 0, SOURCE_LOG_FILE = 'bin.000002', SOURCE_LOG_POS = 157, GET_SOURCE_PUBLIC_KEY = 1 FOR CHANNEL 'eu';
START REPLICA;
START REPLICA FOR CHANNEL 'eu';
");
    let one = HandoverOptions {
        channel: Some("eu".to_owned()),
        source_host: Some("10.0.0.9".to_owned()),
        ..of_source.clone()
    };
    insta::assert_snapshot!(sql(&replica, "9.7.4", &one), @r"
STOP REPLICA;
RESET REPLICA ALL;
RESET BINARY LOGS AND GTIDS;
SET GLOBAL gtid_purged = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7';
CHANGE REPLICATION SOURCE TO SOURCE_HOST = '10.0.0.9', SOURCE_PORT = 3307, SOURCE_USER = 'repl', SOURCE_PASSWORD = '<PASSWORD>', SOURCE_AUTO_POSITION = 0, SOURCE_LOG_FILE = 'bin.000002', SOURCE_LOG_POS = 157, GET_SOURCE_PUBLIC_KEY = 1 FOR CHANNEL 'eu';
START REPLICA FOR CHANNEL 'eu';
");
    let unknown = HandoverOptions { channel: Some("us".to_owned()), ..of_source.clone() };
    insta::assert_snapshot!(sql(&replica, "9.7.4", &unknown), @r#"error: the server that was backed up has no channel "us"; it has "", "eu""#);
    insta::assert_snapshot!(sql(&mysql(), "9.7.4", &of_source), @"error: the server that was backed up is not a replica, so it has no source");
}

#[test]
fn filters_and_delay_are_told() {
    let mut replica = mysql();
    let mut source = channel("", "top.example", true);
    source.delay = DelayedBy(3600);
    source.filters = vec![("Replicate_Do_DB".to_owned(), "shop".to_owned())];
    replica.channels = vec![source];
    let of_source = HandoverOptions { of: Of::Source, ..HandoverOptions::default() };
    let handover = statements(&replica, &ServerVersion::parse("9.7.4").unwrap(), &of_source).unwrap();
    insta::assert_snapshot!(handover.notes.join("\n"), @r"
start the restored server with skip-replica-start and event-scheduler=DISABLED, with a server_id of its own
the restored server needs gtid_mode=ON and enforce_gtid_consistency=ON
the server that was backed up stays 3600 s behind its source on purpose; this replica will not
the server that was backed up filters what it replicates: Replicate_Do_DB = shop; set the same here, or rows will be changed that it does not have
");
}

#[test]
fn managed_services() {
    let dialect = |dialect| HandoverOptions { dialect: Some(dialect), ..options() };
    insta::assert_snapshot!(sql(&mysql(), "8.0.36", &dialect(Dialect::RdsMysql)), @r"
CALL mysql.rds_stop_replication;
CALL mysql.rds_reset_external_master;
CALL mysql.rds_set_external_master('db1.example', 3306, 're''pl', '<PASSWORD>', 'binlog.000007', 4711, 0);
CALL mysql.rds_start_replication;
");
    insta::assert_snapshot!(sql(&mysql(), "8.4.3", &dialect(Dialect::RdsMysql)), @r"
CALL mysql.rds_stop_replication;
CALL mysql.rds_reset_external_source;
CALL mysql.rds_set_external_source('db1.example', 3306, 're''pl', '<PASSWORD>', 'binlog.000007', 4711, 0);
CALL mysql.rds_start_replication;
");
    let by_gtid = HandoverOptions { position: Some(Position::Gtid), ..dialect(Dialect::RdsMysql) };
    insta::assert_snapshot!(sql(&mysql(), "8.0.36", &by_gtid), @r"
CALL mysql.rds_stop_replication;
CALL mysql.rds_reset_external_master;
CALL mysql.rds_set_external_master_with_auto_position('db1.example', 3306, 're''pl', '<PASSWORD>', 0, 0);
CALL mysql.rds_start_replication;
");
    insta::assert_snapshot!(sql(&mysql(), "8.4.3", &by_gtid), @r"
CALL mysql.rds_stop_replication;
CALL mysql.rds_reset_external_source;
CALL mysql.rds_set_external_source_gtid_purged('3e11fa47-71ca-11e1-9e33-c80aa9429562', 1, 5);
CALL mysql.rds_set_external_source_gtid_purged('3e11fa47-71ca-11e1-9e33-c80aa9429562', 7, 7);
CALL mysql.rds_set_external_source_with_auto_position('db1.example', 3306, 're''pl', '<PASSWORD>', 0, 0);
CALL mysql.rds_start_replication;
");
    let mut tagged = mysql();
    tagged.gtid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:daily:1-3".to_owned();
    let error = statements(&tagged, &ServerVersion::parse("9.7.4").unwrap(), &by_gtid).unwrap_err();
    assert!(matches!(error, HandoverError::TaggedGtid { .. }), "{error}");
    insta::assert_snapshot!(sql(&mariadb(), "10.11.6-MariaDB", &dialect(Dialect::RdsMariadb)), @r"
CALL mysql.rds_stop_replication;
CALL mysql.rds_reset_external_master;
CALL mysql.rds_set_external_master_gtid('db1.example', 3306, 're''pl', '<PASSWORD>', '0-1-100,7-1-3', 0);
CALL mysql.rds_start_replication;
");
    let by_file = HandoverOptions { position: Some(Position::File), ..dialect(Dialect::RdsMariadb) };
    insta::assert_snapshot!(sql(&mariadb(), "10.11.6-MariaDB", &by_file), @r"
CALL mysql.rds_stop_replication;
CALL mysql.rds_reset_external_master;
CALL mysql.rds_set_external_master('db1.example', 3306, 're''pl', '<PASSWORD>', 'binlog.000007', 4711, 0);
CALL mysql.rds_start_replication;
");
    insta::assert_snapshot!(text(&mysql(), "8.0.36", &dialect(Dialect::AuroraMysql)), @r"
-- NOTE: the first two calls say that nothing was set up when that is so; they are needed only where something was
-- NOTE: an account of the plugin caching_sha2_password needs an encrypted connection: the last argument but the delay is then 1
-- FILL IN: <PASSWORD> stands for the password of the replication account.
-- Stop what replicates now
CALL mysql.rds_stop_replication;
-- Forget the source that it knew
CALL mysql.rds_reset_external_source;
-- What the data contains
CALL mysql.rds_gtid_purged('3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7');
-- The source; it begins at the first transaction that is not in gtid_purged
CALL mysql.rds_set_external_source_with_auto_position('db1.example', 3306, 're''pl', '<PASSWORD>', 0);
-- Go
CALL mysql.rds_start_replication;
-- Settings to look at:
--   CALL mysql.rds_set_configuration('binlog retention hours', 24);  -- on a managed source: keep binary logs for longer than the load of the data takes
");
    let aurora_file = HandoverOptions { position: Some(Position::File), ..dialect(Dialect::AuroraMysql) };
    insta::assert_snapshot!(sql(&mysql(), "8.0.36", &aurora_file), @r"
CALL mysql.rds_stop_replication;
CALL mysql.rds_reset_external_source;
CALL mysql.rds_set_external_source('db1.example', 3306, 're''pl', '<PASSWORD>', 'binlog.000007', 4711, 0);
CALL mysql.rds_start_replication;
");
    let named = HandoverOptions { channel: Some("c".to_owned()), ..dialect(Dialect::AuroraMysql) };
    insta::assert_snapshot!(sql(&mysql(), "8.0.36", &named), @"error: aurora-mysql takes no named channel and no more than one source");
}

/// The forms of the services' own documentation, parameter by parameter, with TLS. Names in the parameters' order:
/// host_name, host_port, replication_user_name, replication_user_password, then
/// * `rds_set_external_master|source`: mysql_binary_log_file_name, mysql_binary_log_file_location, ssl_encryption
/// * `…_with_auto_position`: ssl_encryption, delay on RDS for MySQL; ssl_encryption alone on Aurora
/// * `rds_set_external_master_gtid` (RDS for MariaDB): gtid, ssl_encryption
#[test]
fn managed_services_as_they_are_documented() {
    let set = |coordinates: &Coordinates, version: &str, dialect, position| {
        let options =
            HandoverOptions { dialect: Some(dialect), position: Some(position), tls: Tls::On, ..options() };
        let version = ServerVersion::parse(version).unwrap();
        let handover = statements(coordinates, &version, &options).unwrap();
        let calls: Vec<String> = handover.statements.iter().map(|s| s.sql.clone()).collect();
        assert_eq!(calls.first().unwrap(), "CALL mysql.rds_stop_replication");
        assert_eq!(calls.last().unwrap(), "CALL mysql.rds_start_replication");
        calls[1..calls.len() - 1].join("; ")
    };
    let account = "'db1.example', 3306, 're''pl', '<PASSWORD>'";
    let file = "'binlog.000007', 4711";
    let uuid = "'3e11fa47-71ca-11e1-9e33-c80aa9429562'";
    let gtids = "'3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7'";
    let (mysql, mariadb) = (mysql(), mariadb());
    for (version, word) in
        [("8.0.36", "master"), ("8.4.0", "source"), ("8.4.9", "source"), ("9.7.4", "source")]
    {
        let reset = format!("CALL mysql.rds_reset_external_{word}");
        assert_eq!(
            set(&mysql, version, Dialect::RdsMysql, Position::File),
            format!("{reset}; CALL mysql.rds_set_external_{word}({account}, {file}, 1)")
        );
        // A range a call, and none before 8.0.37.
        let purged: String = [(1, 5), (7, 7)]
            .iter()
            .filter(|_| version != "8.0.36")
            .map(|(from, to)| {
                format!(" CALL mysql.rds_set_external_source_gtid_purged({uuid}, {from}, {to});")
            })
            .collect();
        assert_eq!(
            set(&mysql, version, Dialect::RdsMysql, Position::Gtid),
            format!(
                "{reset};{purged} CALL mysql.rds_set_external_{word}_with_auto_position({account}, 1, 0)"
            )
        );
    }
    for version in ["10.6.20-MariaDB", "10.11.6-MariaDB", "11.8.3-MariaDB"] {
        let reset = "CALL mysql.rds_reset_external_master";
        assert_eq!(
            set(&mariadb, version, Dialect::RdsMariadb, Position::File),
            format!("{reset}; CALL mysql.rds_set_external_master({account}, {file}, 1)")
        );
        assert_eq!(
            set(&mariadb, version, Dialect::RdsMariadb, Position::Gtid),
            format!("{reset}; CALL mysql.rds_set_external_master_gtid({account}, '0-1-100,7-1-3', 1)")
        );
    }
    for version in ["8.0.36", "8.4.3"] {
        let reset = "CALL mysql.rds_reset_external_source";
        assert_eq!(
            set(&mysql, version, Dialect::AuroraMysql, Position::File),
            format!("{reset}; CALL mysql.rds_set_external_source({account}, {file}, 1)")
        );
        assert_eq!(
            set(&mysql, version, Dialect::AuroraMysql, Position::Gtid),
            format!(
                "{reset}; CALL mysql.rds_gtid_purged({gtids}); \
                 CALL mysql.rds_set_external_source_with_auto_position({account}, 1)"
            )
        );
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    insta::assert_snapshot!(sql(&mysql(), "9.7.4", &HandoverOptions::default()), @"error: the host of the source is not known");
    let no_user = HandoverOptions { source_user: None, ..options() };
    insta::assert_snapshot!(sql(&mysql(), "9.7.4", &no_user), @"error: the user for replication is not known");
    let no_binlog = Coordinates { binlog: None, ..mysql() };
    insta::assert_snapshot!(sql(&no_binlog, "9.7.4", &options()), @"error: the server that was backed up writes no binary log, so nothing can replicate from it");
    let by_gtid = HandoverOptions { position: Some(Position::Gtid), ..options() };
    let no_gtid = Coordinates { gtid: String::new(), gtid_mode: false, ..mysql() };
    insta::assert_snapshot!(sql(&no_gtid, "9.7.4", &by_gtid), @"error: the backup has no GTIDs to position by");
    let other = HandoverOptions { dialect: Some(Dialect::RdsMariadb), ..options() };
    insta::assert_snapshot!(sql(&mysql(), "9.7.4", &other), @"error: the backup is of MySQL and rds-mariadb is spoken by MariaDB");
}

#[test]
fn a_comment_cannot_become_a_statement() {
    let mut sly = mariadb();
    sly.gtid = "0-1-1\nDROP DATABASE d".to_owned();
    let script = text(&sly, "10.11.6-MariaDB", &options());
    let lines: Vec<&str> = script.lines().filter(|line| line.starts_with("DROP")).collect();
    // Inside the quotes of the statement the line break is data; outside it would not be.
    assert_eq!(lines, ["DROP DATABASE d';"]);
}

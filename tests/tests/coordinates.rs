//! Every kind of coordinates that a backup may have, on both families: each set is restored, handed over as the
//! documents say, and must catch up with equal tables.
//!
//! | where the set is from | the new server becomes a replica of | cases |
//! |---|---|---|
//! | a source | that source | GTID on (with gaps, and several domains), GTID off |
//! | a replica | its source, or the replica itself | GTID on, GTID off |
//! | a replica of two sources | both | channels, connections with domains of their own |
//! | a replica that is held back and filters | its source | what is not taken over is told |

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reseed_tests::server::{REPLICATION_PASSWORD, REPLICATION_USER};
use reseed_tests::trip::{NAME, on_restored, pipe_into_client};
use reseed_tests::{Builder, Kit, Reseed, Server, ServerKind, Trip, oracle, replication};

const LIMIT: Duration = Duration::from_secs(180);

fn to_be_had(name: &str) -> Result<bool> {
    let there = ServerKind::named(name)?.ensure()?;
    if !there {
        eprintln!("SKIPPED: {name} is not to be had");
    }
    Ok(there)
}

/// A small server that others may replicate from.
fn builder(name: &str, id: u32, gtid: bool) -> Result<Builder> {
    let builder = Kit::server(name)?.server_id(id).gtid(gtid).redo_mib(48);
    Ok(if ServerKind::named(name)?.is_mariadb() { builder.option("log_slave_updates=ON") } else { builder })
}

/// Writes rows `from..from + 200` of `schema.t`.
fn write(server: &Server, schema: &str, from: u32) -> Result<()> {
    let rows: Vec<String> = (from..from + 200).map(|id| format!("({id}, 'row {id}')")).collect();
    server.sql(&[
        &format!("CREATE DATABASE IF NOT EXISTS {schema}"),
        &format!("CREATE TABLE IF NOT EXISTS {schema}.t (id INT PRIMARY KEY, c VARCHAR(40)) ENGINE=InnoDB"),
        &format!("INSERT INTO {schema}.t VALUES {}", rows.join(", ")),
    ])
}

/// The last row of what `write` wrote.
fn last(from: u32) -> u32 {
    from + 199
}

/// Waits until a row has come through replication, which must not break meanwhile.
fn arrives(replica: &Server, schema: &str, id: u32) -> Result<()> {
    let mut session = replica.session()?;
    let mariadb = replica.kind().is_mariadb();
    let statement = if mariadb { "SHOW ALL SLAVES STATUS" } else { "SHOW REPLICA STATUS" };
    let since = Instant::now();
    loop {
        // The table itself may have to come first.
        if session.value(&format!("SELECT COUNT(*) FROM {schema}.t WHERE id = {id}")).is_ok_and(|n| n == "1")
        {
            return Ok(());
        }
        let channels = session.named_rows(statement)?;
        ensure!(!channels.is_empty(), "the server is not a replica");
        for channel in &channels {
            for error in ["Last_SQL_Error", "Last_IO_Error"] {
                let text = channel.get(error).map_or("", String::as_str);
                ensure!(text.is_empty(), "replication broke: {text}");
            }
        }
        if since.elapsed() > LIMIT {
            bail!("row {id} of {schema}.t never came: {channels:#?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn follow(source: &Server, replica: &Server, gtid: bool) -> Result<()> {
    let mut statements = replication::from_the_beginning(source);
    if !gtid && source.kind().is_mariadb() {
        let logs = source.rows("SHOW BINARY LOGS")?;
        let first = logs.first().and_then(|log| log.first()).context("no binary log")?;
        let by_file = format!("MASTER_LOG_FILE='{first}', MASTER_LOG_POS=4, MASTER_USE_GTID=no");
        for statement in &mut statements {
            *statement = statement.replace("MASTER_USE_GTID=slave_pos", &by_file);
        }
    }
    replica.sql(&statements.iter().map(String::as_str).collect::<Vec<_>>())
}

/// One more source under a name.
fn follow_named(name: &str, source: &Server, replica: &Server) -> Result<()> {
    let (port, password) = (source.port(), REPLICATION_PASSWORD.replace('\'', "''"));
    if replica.kind().is_mariadb() {
        return replica.sql(&[
            &format!(
                "CHANGE MASTER '{name}' TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, \
                 MASTER_USER='{REPLICATION_USER}', MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos"
            ),
            &format!("START SLAVE '{name}'"),
        ]);
    }
    replica.sql(&[
        &format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, \
             SOURCE_USER='{REPLICATION_USER}', SOURCE_PASSWORD='{password}', GET_SOURCE_PUBLIC_KEY=1, \
             SOURCE_AUTO_POSITION=1 FOR CHANNEL '{name}'"
        ),
        &format!("START REPLICA FOR CHANNEL '{name}'"),
    ])
}

/// A set of one server, and what is made from it.
struct Set<'a> {
    trip: Trip,
    of: &'a Server,
}

impl<'a> Set<'a> {
    fn take(of: &'a Server, more: &[&str]) -> Result<Set<'a>> {
        let trip = Trip::new()?;
        trip.backup(of)?.args(["--compress=none", "--no-read-back"]).args(more).run()?.expect_success()?;
        Ok(Set { trip, of })
    }

    fn restored(&self, id: u32) -> Result<Server> {
        let datadir = self.trip.place(&format!("data-{id}"));
        self.trip.restore(&datadir)?.run()?.expect_success()?;
        on_restored(self.of, &datadir, id).start()
    }

    /// Becomes a replica of the server that was backed up. Returns the script.
    fn of_server(&self, server: &Server, more: &[&str]) -> Result<String> {
        let script = self.trip.hand_over(self.of, more)?;
        pipe_into_client(server, &script)?;
        Ok(script)
    }

    /// Becomes a replica of the source or sources of the server that was backed up, whose places the set knows.
    fn of_source(&self, server: &Server) -> Result<String> {
        let script = Reseed::new(["hand-over", "--name", NAME, "latest", "--of", "source", "--repo"])?
            .arg(self.trip.repo())
            .env("RESEED_SOURCE_PASSWORD", REPLICATION_PASSWORD)
            .run()?
            .expect_success()?
            .stdout;
        pipe_into_client(server, &script)?;
        Ok(script)
    }
}

/// As the kit's own, which looks at one unnamed connection only.
fn nothing_skipped(replica: &Server) -> Result<()> {
    if !replica.kind().is_mariadb() {
        return replication::assert_nothing_skipped(replica);
    }
    let skipped = replica.rows("SHOW GLOBAL STATUS LIKE 'Slave_skipped_errors'")?;
    ensure!(skipped.iter().all(|row| row.get(1).is_some_and(|count| count == "0")), "{skipped:?}");
    for connection in replica.session()?.named_rows("SHOW ALL SLAVES STATUS")? {
        ensure!(connection.get("Skip_Counter").is_some_and(|count| count == "0"), "{connection:?}");
    }
    Ok(())
}

fn contains(script: &str, words: &[&str]) -> Result<()> {
    words.iter().try_for_each(|word| {
        ensure!(script.contains(word), "no {word:?} in\n{script}");
        Ok(())
    })
}

/// Leaves out one number: MySQL's set of GTIDs then has a gap, MariaDB's numbers of a domain a leap. MariaDB also gets
/// events of a second domain.
fn make_gap(source: &Server) -> Result<Option<String>> {
    if source.kind().is_mariadb() {
        source.sql(&[
            "SET SESSION gtid_seq_no = 5000",
            "INSERT INTO d.t VALUES (100000, 'after a leap')",
            "SET SESSION gtid_domain_id = 7",
            "INSERT INTO d.t VALUES (100001, 'of another domain')",
        ])?;
        return Ok(None);
    }
    let uuid = source.value("SELECT @@GLOBAL.server_uuid")?;
    source.sql(&[
        &format!("SET GTID_NEXT = '{uuid}:4711'"),
        "INSERT INTO d.t VALUES (100000, 'after the gap')",
        "SET GTID_NEXT = 'AUTOMATIC'",
    ])?;
    Ok(Some(uuid))
}

/// A source and its replica: the set of the source, and the set of the replica both ways.
fn source_and_replica(name: &str, gtid: bool) -> Result<()> {
    if !to_be_had(name)? {
        return Ok(());
    }
    let source = builder(name, 1, gtid)?.start()?;
    let replica = builder(name, 2, gtid)?.start()?;
    follow(&source, &replica, gtid)?;
    write(&source, "d", 1)?;
    let gap = if gtid { make_gap(&source)? } else { None };
    write(&source, "d", 1000)?;
    replication::wait_until_caught_up(&source, &replica)?;

    let of_source = Set::take(&source, &[])?;
    // By file and position the replica is to stand still.
    let of_replica = Set::take(&replica, if gtid { &[] } else { &["--safe"] })?;
    write(&source, "d", 2000)?;

    let (plain, beside, below) = (of_source.restored(3)?, of_replica.restored(4)?, of_replica.restored(5)?);
    // MariaDB has GTIDs in any case.
    let by_file: &[&str] = if gtid { &[] } else { &["--position", "file"] };
    let script = of_source.of_server(&plain, by_file)?;
    match (&gap, gtid, source.kind().is_mariadb()) {
        (Some(uuid), ..) => contains(&script, &[":4711", uuid, "SOURCE_AUTO_POSITION = 1"])?,
        (None, true, true) => contains(&script, &["0-1-5", "7-1-", "MASTER_USE_GTID = slave_pos"])?,
        (None, _, true) => contains(&script, &["_LOG_FILE", "_LOG_POS", "MASTER_USE_GTID = no"])?,
        _ => contains(&script, &["_LOG_FILE", "_LOG_POS"])?,
    }
    let script = of_replica.of_source(&beside)?;
    if !gtid {
        contains(&script, &["_LOG_FILE"])?;
    }
    of_replica.of_server(&below, by_file)?;
    if let Some(uuid) = &gap {
        // What was left out comes late, and must not be taken for known.
        source.sql(&[
            &format!("SET GTID_NEXT = '{uuid}:4710'"),
            "INSERT INTO d.t VALUES (100002, 'in the gap')",
            "SET GTID_NEXT = 'AUTOMATIC'",
        ])?;
    }
    write(&source, "d", 3000)?;
    for server in [&replica, &plain, &beside, &below] {
        arrives(server, "d", last(3000))?;
        replication::assert_nothing_skipped(server)?;
        oracle::assert_equal(&source, server)?;
    }
    let sources = |server: &Server| -> Result<String> {
        let status = replication::status(&mut server.session()?, server.kind().is_mariadb())?;
        Ok(status.get("Source_Port").context("no port")?.clone())
    };
    ensure!(sources(&beside)? == source.port().to_string(), "beside the replica");
    ensure!(sources(&below)? == replica.port().to_string(), "below the replica");
    Ok(())
}

/// A replica of two sources: whoever is made from it replicates from both, each from its own place.
fn two_sources(name: &str) -> Result<()> {
    if !to_be_had(name)? {
        return Ok(());
    }
    let mariadb = ServerKind::named(name)?.is_mariadb();
    let of_domain = |id: u32| -> Result<Server> {
        let builder = builder(name, id, true)?;
        if mariadb { builder.option(&format!("gtid_domain_id={id}")) } else { builder }.start()
    };
    let (one, two, replica) = (of_domain(11)?, of_domain(12)?, of_domain(2)?);
    write(&one, "one", 1)?;
    write(&two, "two", 1)?;
    follow_named("first", &one, &replica)?;
    follow_named("second", &two, &replica)?;
    arrives(&replica, "one", last(1))?;
    arrives(&replica, "two", last(1))?;
    let set = Set::take(&replica, &[])?;
    write(&one, "one", 1000)?;
    write(&two, "two", 1000)?;
    let beside = set.restored(4)?;
    let script = set.of_source(&beside)?;
    contains(&script, &["'first'", "'second'", &one.port().to_string(), &two.port().to_string()])?;
    if mariadb {
        contains(&script, &["11-11-", "12-12-"])?;
    }
    write(&one, "one", 2000)?;
    write(&two, "two", 2000)?;
    for server in [&replica, &beside] {
        arrives(server, "one", last(2000))?;
        arrives(server, "two", last(2000))?;
        nothing_skipped(server)?;
    }
    oracle::assert_equal(&replica, &beside)?;
    Ok(())
}

/// A replica that is held back on purpose and filters: both are told, and the new one is beside it, not behind.
fn held_back_and_filtered(name: &str) -> Result<()> {
    if !to_be_had(name)? {
        return Ok(());
    }
    let source = builder(name, 1, true)?.start()?;
    let replica = builder(name, 2, true)?.option("replicate_ignore_db=left_out").start()?;
    follow(&source, &replica, true)?;
    write(&source, "d", 1)?;
    // The filter goes by the database that is in use, as far as a statement is replicated as one.
    let left_out = |id: u32| {
        source.sql(&[
            "CREATE DATABASE IF NOT EXISTS left_out",
            "USE left_out",
            &format!("CREATE TABLE t_{id} (id INT PRIMARY KEY) ENGINE=InnoDB"),
            &format!("INSERT INTO t_{id} VALUES ({id})"),
        ])
    };
    left_out(1)?;
    arrives(&replica, "d", last(1))?;
    replication::wait_until_caught_up(&source, &replica)?;
    replica.sql(if source.kind().is_mariadb() {
        &["STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY=3600", "START SLAVE"]
    } else {
        &["STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY=3600", "START REPLICA"]
    })?;
    write(&source, "d", 1000)?;

    let set = Set::take(&replica, &[])?;
    // With the filter that its server was started with, as the note asks for.
    let beside = set.restored(4)?;
    let script = set.of_source(&beside)?;
    contains(&script, &["3600 s behind", "Replicate_Ignore_DB = left_out"])?;
    left_out(2)?;
    write(&source, "d", 2000)?;
    arrives(&beside, "d", last(2000))?;
    replication::assert_nothing_skipped(&beside)?;
    let behind = replica.value("SELECT COUNT(*) FROM d.t")?;
    ensure!(behind == "200", "the replica was to stay behind, and has {behind} rows");
    // The one difference that there is to be.
    source.sql(&["SET SESSION sql_log_bin = 0", "DROP DATABASE left_out"])?;
    oracle::assert_equal(&source, &beside)?;
    Ok(())
}

#[test]
fn mariadb_10_11_source_and_replica_with_domains_and_a_leap() -> Result<()> {
    source_and_replica("mariadb-10.11", true)
}

#[test]
fn mariadb_11_8_source_and_replica_with_domains_and_a_leap() -> Result<()> {
    source_and_replica("mariadb-11.8", true)
}

#[test]
fn mariadb_10_5_source_and_replica_by_file() -> Result<()> {
    source_and_replica("mariadb-10.5", false)
}

#[test]
fn mariadb_10_11_two_connections_with_domains() -> Result<()> {
    two_sources("mariadb-10.11")
}

#[test]
fn mariadb_10_11_held_back_and_filtered() -> Result<()> {
    held_back_and_filtered("mariadb-10.11")
}

#[test]
fn mysql_9_7_source_and_replica_with_a_gap() -> Result<()> {
    source_and_replica("mysql-9.7", true)
}

#[test]
fn mysql_9_7_source_and_replica_by_file() -> Result<()> {
    source_and_replica("mysql-9.7", false)
}

#[test]
fn mysql_9_7_two_channels() -> Result<()> {
    two_sources("mysql-9.7")
}

#[test]
fn mysql_9_7_held_back_and_filtered() -> Result<()> {
    held_back_and_filtered("mysql-9.7")
}

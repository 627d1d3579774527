//! Attaching: the hand-over on real servers, and what is said when replication cannot run. A fresh server has the
//! same data as another fresh one, so the coordinates of a source before its first write are those of a restored
//! replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reseed_server::attach::{AttachError, AttachOptions, Broken, Outcome, Step, source_lacks};
use reseed_server::handover::{self, HandoverOptions, Of, Position, SourcePassword};
use reseed_server::{ConnectOptions, Password, Server as Live, Stop, ThreadState};
use reseed_terms::Coordinates;
use reseed_tests::server::{REPLICATION_PASSWORD, REPLICATION_USER};
use reseed_tests::{Builder, Kit, Server, ServerKind, oracle, replication};

fn to_be_had(name: &str) -> Result<bool> {
    let there = ServerKind::named(name)?.ensure()?;
    if !there {
        eprintln!("SKIPPED: {name} is not to be had");
    }
    Ok(there)
}

fn live(server: &Server) -> Result<Live> {
    Ok(Live::connect(ConnectOptions::socket(server.socket(), "root"), Stop::never())?)
}

fn builder(name: &str, id: u32) -> Result<Builder> {
    Ok(Kit::server(name)?.server_id(id))
}

fn of(source: &Server) -> HandoverOptions {
    HandoverOptions {
        source_host: Some("127.0.0.1".to_owned()),
        source_port: Some(source.port()),
        source_user: Some(REPLICATION_USER.to_owned()),
        password: SourcePassword::Given(Password::new(REPLICATION_PASSWORD)),
        ..HandoverOptions::default()
    }
}

/// Follows with the source's own word, impatiently: what is broken must show at once.
fn options(source: &Server) -> AttachOptions {
    AttachOptions {
        source: Some(ConnectOptions::socket(source.socket(), "root")),
        every: Duration::from_millis(20),
        deadline: Some(Duration::from_secs(120)),
        ..AttachOptions::default()
    }
}

fn attach(
    replica: &Server,
    coordinates: &Coordinates,
    handover: &HandoverOptions,
    options: &AttachOptions,
) -> Result<Outcome> {
    let replica = live(replica)?;
    let handover = handover::statements(coordinates, replica.version(), handover)?;
    Ok(replica.attach(&handover, options, &mut |_: &Step| {})?)
}

fn broken(outcome: Outcome) -> Result<Broken> {
    match outcome {
        Outcome::Broken(broken) => Ok(broken),
        other => bail!("replication was to be broken: {other:?}"),
    }
}

fn assert_caught_up(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::CaughtUp { .. }), "{outcome:?}");
}

fn write(source: &Server, from: u32) -> Result<()> {
    source.sql(&[
        "CREATE DATABASE IF NOT EXISTS d",
        "CREATE TABLE IF NOT EXISTS d.t (a INT PRIMARY KEY, b VARCHAR(50)) ENGINE=InnoDB",
        &format!("INSERT INTO d.t SELECT seq, UUID() FROM (WITH RECURSIVE s(seq) AS (SELECT {from} UNION ALL SELECT seq + 1 FROM s WHERE seq < {from} + 500) SELECT seq FROM s) AS r"),
    ])
}

fn assert_same(source: &Server, replica: &Server) -> Result<()> {
    replication::assert_nothing_skipped(replica)?;
    assert!(oracle::assert_equal(source, replica)? > 0);
    Ok(())
}

/// A server that feeds replicas of its own, with the same data as every other from here.
fn fresh(name: &str, id: u32) -> Result<Server> {
    let builder = builder(name, id)?;
    let builder =
        if ServerKind::named(name)?.is_mariadb() { builder.option("log_slave_updates=ON") } else { builder };
    let server = builder.start()?;
    server.sql(&["SET SESSION sql_log_bin = 0", "CREATE DATABASE common"])?;
    Ok(server)
}

/// By GTID beside others, by file under a name, of a replica and of its source; behind, and then no more.
fn every_coordinate_case(name: &str) -> Result<()> {
    if !to_be_had(name)? {
        return Ok(());
    }
    let (source, replica, beside, below) =
        (fresh(name, 1)?, fresh(name, 2)?, fresh(name, 3)?, fresh(name, 4)?);
    // Both families have a GTID after one event; the replicas get it as part of their data.
    source.sql(&["CREATE DATABASE event"])?;
    for server in [&replica, &beside, &below] {
        server.sql(&["SET SESSION sql_log_bin = 0", "CREATE DATABASE event"])?;
    }
    let start = live(&source)?.coordinates()?;
    let by_gtid = HandoverOptions { position: Some(Position::Gtid), ..of(&source) };
    assert_caught_up(&attach(&replica, &start, &by_gtid, &options(&source))?);

    // A backup of the replica becomes a replica of its source, or of the replica.
    let of_replica = live(&replica)?.coordinates()?;
    assert_eq!(of_replica.channels.len(), 1, "{of_replica:?}");
    let of_source = HandoverOptions { of: Of::Source, source_host: None, source_port: None, ..of(&source) };
    assert_caught_up(&attach(&beside, &of_replica, &of_source, &options(&source))?);
    assert_caught_up(&attach(&below, &of_replica, &of(&replica), &options(&replica))?);
    write(&source, 1)?;
    for (server, above) in [(&replica, &source), (&beside, &source), (&below, &replica)] {
        assert_caught_up(&live(server)?.follow(&options(above), &mut |_| {})?);
        assert_same(&source, server)?;
    }

    // What is set up is not overwritten, and a server that feeds others is not attached at all.
    let error = attach(&below, &start, &of(&source), &options(&source)).err().context("attached twice")?;
    assert!(matches!(error.downcast_ref(), Some(AttachError::AlreadyReplica { .. })), "{error}");
    let error =
        attach(&replica, &start, &of(&source), &options(&source)).err().context("it feeds another")?;
    assert!(matches!(error.downcast_ref(), Some(AttachError::FeedsReplicas { count: 1 })), "{error}");

    // By file and under a name, from where the data stands now.
    let now = live(&source)?.coordinates()?;
    let by_file =
        HandoverOptions { position: Some(Position::File), channel: Some("c'1".to_owned()), ..of(&source) };
    let replace = AttachOptions { replace: true, ..options(&source) };
    assert_caught_up(&attach(&below, &now, &by_file, &replace)?);
    write(&source, 1000)?;
    assert_caught_up(&live(&below)?.follow(&options(&source), &mut |_| {})?);
    assert!(oracle::assert_equal(&source, &below)? > 0);

    // An applier that is held up is behind at the deadline, and not broken.
    let mut holder = beside.session()?;
    holder.exec("BEGIN")?;
    holder.rows("SELECT * FROM d.t WHERE a = 5 FOR UPDATE")?;
    source.sql(&["UPDATE d.t SET b = 'later' WHERE a = 5"])?;
    let soon = AttachOptions { deadline: Some(Duration::from_millis(500)), ..options(&source) };
    let outcome = live(&beside)?.follow(&soon, &mut |_| {})?;
    assert!(matches!(outcome, Outcome::Behind { .. }), "{outcome:?}");
    holder.exec("ROLLBACK")?;
    assert_caught_up(&live(&beside)?.follow(&options(&source), &mut |_| {})?);
    assert_same(&source, &beside)
}

fn what_is_broken_is_explained(name: &str) -> Result<()> {
    if !to_be_had(name)? {
        return Ok(());
    }
    let source = builder(name, 1)?.start()?;
    let before = live(&source)?.coordinates()?;
    write(&source, 1)?;
    let replica = builder(name, 2)?.start()?;

    let placeholder = HandoverOptions { password: SourcePassword::Placeholder, ..of(&source) };
    let error = attach(&replica, &before, &placeholder, &options(&source)).err().context("no password")?;
    assert!(matches!(error.downcast_ref(), Some(AttachError::NoPassword)), "{error}");

    let wrong = HandoverOptions { password: SourcePassword::Given(Password::new("wrong")), ..of(&source) };
    let told = broken(attach(&replica, &before, &wrong, &options(&source))?)?;
    assert_eq!(told.error, 1045, "{told:?}");
    assert!(told.cause.contains("refuses the replication account"), "{told:?}");

    let again = AttachOptions { replace: true, ..options(&source) };
    let twin = builder(name, 1)?.start()?;
    let told = broken(attach(&twin, &before, &of(&source), &options(&source))?)?;
    assert!(told.cause.contains("the same server_id (1)"), "{told:?}");
    // Found without asking the source too: the receiver says it.
    let alone = AttachOptions { source: None, ..options(&source) };
    let told = broken(attach(&twin, &before, &of(&source), &alone)?)?;
    assert!(told.cause.contains("the same server_id"), "{told:?}");
    drop(twin);

    // A row that is here before its event.
    replica.sql(&[
        "SET SESSION sql_log_bin = 0",
        "CREATE DATABASE IF NOT EXISTS d",
        "CREATE TABLE IF NOT EXISTS d.t (a INT PRIMARY KEY, b VARCHAR(50)) ENGINE=InnoDB",
        "INSERT INTO d.t VALUES (7, 'mine')",
    ])?;
    let told = broken(attach(&replica, &before, &of(&source), &again)?)?;
    assert_eq!(told.error, 1062, "{told:?}");

    // Incident 1236: the source has purged what is needed.
    let rotate = "FLUSH BINARY LOGS";
    source.sql(&[rotate, rotate])?;
    let newest = live(&source)?.binary_logs()?.last().context("binary logs")?.0.clone();
    // The sender of a replica that is being told to go may hold the log that it reads a little longer.
    let since = Instant::now();
    while live(&source)?.binary_logs()?.first().is_none_or(|oldest| oldest.0 != newest) {
        ensure!(since.elapsed() < Duration::from_secs(60), "the binary logs before {newest} stay");
        source.sql(&[&format!("PURGE BINARY LOGS TO '{newest}'")])?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let lacking = source_lacks(&live(&source)?, &before, before.gtid_mode)?;
    assert!(lacking.is_some());
    replica.sql(&["SET SESSION sql_log_bin = 0", "DROP DATABASE d"])?;
    let told = broken(attach(&replica, &before, &of(&source), &again)?)?;
    assert_eq!(told.error, 1236, "{told:?}");
    assert!(told.cause.contains("already removed") && told.cause.contains(&newest), "{told:?}");
    assert!(told.remedy.contains("take a new backup"), "{told:?}");
    Ok(())
}

#[test]
fn mariadb_10_5_attaches() -> Result<()> {
    every_coordinate_case("mariadb-10.5")
}

#[test]
fn mariadb_10_11_attaches() -> Result<()> {
    every_coordinate_case("mariadb-10.11")
}

#[test]
fn mariadb_11_8_attaches() -> Result<()> {
    every_coordinate_case("mariadb-11.8")
}

#[test]
fn mysql_9_7_attaches() -> Result<()> {
    every_coordinate_case("mysql-9.7")
}

/// Without GTIDs a replica's own place is a file and a position, which mean something only while it stands still.
#[test]
fn mysql_9_7_attaches_without_gtids() -> Result<()> {
    if !to_be_had("mysql-9.7")? {
        return Ok(());
    }
    let start = |id| builder("mysql-9.7", id)?.gtid(false).option("gtid_mode=OFF").start();
    let (source, replica) = (start(1)?, start(2)?);
    let before = live(&source)?.coordinates()?;
    assert!(!before.gtid_mode);
    assert_caught_up(&attach(&replica, &before, &of(&source), &options(&source))?);
    write(&source, 1)?;
    assert_caught_up(&live(&replica)?.follow(&options(&source), &mut |_| {})?);
    let paused = live(&replica)?.pause_applier(Duration::from_secs(60))?;
    write(&source, 1000)?;
    let of_replica = live(&replica)?.coordinates()?;
    assert!(live(&replica)?.facts()?.needs_read_lock_for_channels());
    paused.resume()?;
    assert_caught_up(&live(&replica)?.follow(&options(&source), &mut |_| {})?);
    assert_same(&source, &replica)?;

    // Whoever is stopped while it stands still leaves it running.
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let stop = Stop::when(move || seen.load(Ordering::SeqCst));
    let stoppable = Live::connect(ConnectOptions::socket(replica.socket(), "root"), stop)?;
    let paused = stoppable.pause_applier(Duration::from_secs(60))?;
    assert!(live(&replica)?.replica_states()?.iter().all(|state| state.applier == ThreadState::Stopped));
    asked.store(true, Ordering::SeqCst);
    drop(paused);
    assert!(live(&replica)?.replica_states()?.iter().all(|state| state.applier == ThreadState::Running));

    // The place noted while it stood still is before what was written then.
    let applied = of_replica.channels[0].applied.clone().context("a place by file")?;
    let end = live(&source)?.binlog_position()?.context("the source's place")?;
    assert!(applied.file <= end.file && applied.position < end.position, "{applied:?} {end:?}");
    Ok(())
}

#[test]
fn mariadb_10_11_explains() -> Result<()> {
    what_is_broken_is_explained("mariadb-10.11")
}

#[test]
fn mysql_9_7_explains() -> Result<()> {
    what_is_broken_is_explained("mysql-9.7")
}

//! The `server` crate against real servers: facts, logins, locks with their limits, coordinates, the redo consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reseed_server::findings::Verdict;
use reseed_server::{
    ConnectOptions, KillPolicy, LockOptions, LockSession, Purpose, QueryKind, Server as Live, ServerError,
    Stage, Stop, preflight,
};
use reseed_terms::Flavour;
use reseed_tests::session::error_code;
use reseed_tests::{Kit, Server, ServerKind};

/// Long enough for any lock that is free, on a busy machine.
const PATIENT: Duration = Duration::from_secs(60);
/// For a lock that is not free.
const SHORT: Duration = Duration::from_millis(1500);

fn started(name: &str) -> Result<Option<(Server, Live)>> {
    if !ServerKind::named(name)?.ensure()? {
        eprintln!("SKIPPED: {name} is not to be had");
        return Ok(None);
    }
    let server = Kit::server(name)?.start()?;
    server.sql(&[
        "CREATE DATABASE d",
        "CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(100)) ENGINE=InnoDB",
        "CREATE TABLE d.m (a INT PRIMARY KEY) ENGINE=MyISAM",
        "INSERT INTO d.t VALUES (1, 'x')",
    ])?;
    let live = Live::connect(as_root(&server), Stop::never())?;
    Ok(Some((server, live)))
}

fn as_root(server: &Server) -> ConnectOptions {
    ConnectOptions::socket(server.socket(), "root")
}

fn locks(live: &Live, wait: Duration) -> Result<LockSession> {
    Ok(live.lock_session(LockOptions { wait, kill: KillPolicy::Never })?)
}

/// The lock that blocks the most, as a backup takes it.
fn last_lock(session: &mut LockSession, flavour: Flavour) -> Result<(), ServerError> {
    match flavour {
        Flavour::MariaDb => {
            session.stage(Stage::Start)?;
            session.stage(Stage::Flush)?;
            session.stage(Stage::BlockDdl)?;
            session.stage(Stage::BlockCommit)
        }
        Flavour::MySql => session.lock_instance(),
    }
}

/// A statement that keeps `last_lock` waiting for as long as its session lives.
fn in_the_way(flavour: Flavour) -> &'static [&'static str] {
    match flavour {
        Flavour::MariaDb => &["LOCK TABLES d.m WRITE"],
        Flavour::MySql => &["FLUSH TABLES d.t FOR EXPORT"],
    }
}

fn facts_are_the_servers_own(server: &Server, live: &Live) -> Result<()> {
    let facts = live.facts()?;
    facts.check_supported()?;
    assert_eq!(facts.datadir, server.datadir());
    assert_eq!(facts.port, server.port());
    assert_eq!(facts.socket.as_deref(), Some(server.socket().as_path()));
    assert_eq!(facts.innodb.page_size, server.page_size());
    assert_eq!(facts.innodb.redo_capacity, 96 << 20);
    assert_eq!(facts.innodb.undo_dir, server.datadir());
    assert!(facts.innodb.redo_enabled && !facts.innodb.redo_encrypted && facts.managed.is_none());
    let binlog = facts.binlog.as_ref().context("the kit's servers write binary logs")?;
    assert_eq!(binlog.basename, server.datadir().join("binlog"));
    assert_eq!(binlog.format, "ROW");
    assert_eq!(facts.other_engines.get("MyISAM"), Some(&1));
    assert_eq!(facts.server_uuid.is_some(), facts.flavour() == Flavour::MySql);
    assert_eq!(facts.replicas.as_deref(), Some(&[][..]));
    assert!(live.encrypted_tablespaces()?.is_empty());
    let tables = live.other_tables()?;
    assert!(tables.iter().any(|t| t.schema == "d" && t.name == "m" && t.engine == "MyISAM" && !t.system));
    if facts.flavour() == Flavour::MySql {
        assert!(live.tablespace_files()?.iter().any(|file| file.path.ends_with("d/t.ibd")));
    }
    let redo = live.redo_position()?;
    assert!(redo.checkpoint <= redo.flushed && redo.flushed <= redo.current, "{redo:?}");
    live.flush_engine_logs()?;
    Ok(())
}

fn coordinates_are_the_servers_own(server: &Server, live: &Live) -> Result<()> {
    let (before, lsn) = live.coordinates_with_lsn()?;
    let binlog = before.binlog.clone().context("the kit's servers write binary logs")?;
    assert_eq!(live.binlog_position()?, Some(binlog.clone()));
    assert!(!before.gtid.is_empty() && before.channels.is_empty(), "{before:?}");
    server.sql(&["INSERT INTO d.t VALUES (2, 'y')"])?;
    let (after, later) = live.coordinates_with_lsn()?;
    assert!(later > lsn);
    assert_ne!(after.gtid, before.gtid);
    assert!(after.binlog.is_some_and(|at| at.file == binlog.file && at.position > binlog.position));
    let logs = live.binary_logs()?;
    assert_eq!(logs.last().map(|(file, _)| file.as_str()), Some(binlog.file.as_str()));
    Ok(())
}

fn privileges_are_found_missing_all_at_once(server: &Server, live: &Live) -> Result<()> {
    server.sql(&[
        "CREATE USER poor@localhost IDENTIFIED BY 'p'",
        "CREATE USER rich@localhost IDENTIFIED BY 'r'",
    ])?;
    let poor = Live::connect(as_root_of(server, "poor").with_password("p"), Stop::never())?;
    let missing = poor.preflight(Purpose::backup())?;
    let grant = preflight::grant_statement(&missing).context("a new account has no privileges")?;
    assert!(matches!(poor.require(Purpose::backup()), Err(ServerError::Privileges { .. })));
    // The statement is exact: it runs, and whoever has been granted it lacks nothing and can do it all.
    server.sql(&[grant.trim_end_matches(';')])?;
    let poor = Live::connect(as_root_of(server, "poor").with_password("p"), Stop::never())?;
    assert_eq!(poor.preflight(Purpose::backup())?, vec![]);
    poor.facts()?;
    let mut session = poor.lock_session(LockOptions { wait: PATIENT, kill: KillPolicy::Never })?;
    last_lock(&mut session, live.flavour())?;
    poor.coordinates_with_lsn()?;
    poor.flush_engine_logs()?;
    poor.blockers()?;
    poor.encrypted_tablespaces()?;
    poor.binary_logs()?;
    if live.flavour() == Flavour::MySql {
        poor.redo_consumer()?.unregister()?;
    }
    session.release()?;
    let rich = Live::connect(as_root_of(server, "rich").with_password("r"), Stop::never())?;
    let missing = rich.preflight(Purpose::attach())?;
    let grant = preflight::grant_statement(&missing).context("a new account has no privileges")?;
    server.sql(&[grant.trim_end_matches(';')])?;
    let rich = Live::connect(as_root_of(server, "rich").with_password("r"), Stop::never())?;
    assert_eq!(rich.preflight(Purpose::attach())?, vec![]);
    rich.replica_states()?;
    Ok(())
}

fn as_root_of(server: &Server, user: &str) -> ConnectOptions {
    ConnectOptions::socket(server.socket(), user)
}

fn locks_are_held_and_measured(server: &Server, live: &Live) -> Result<()> {
    let mut session = locks(live, PATIENT)?;
    last_lock(&mut session, live.flavour())?;
    session.check()?;
    let mut other = server.session()?;
    other.exec("SET SESSION lock_wait_timeout = 1")?;
    assert!(other.exec("CREATE TABLE d.new (a INT)").is_err(), "DDL ran under the lock");
    if live.flavour() == Flavour::MariaDb {
        let first = live.coordinates_with_lsn()?;
        assert!(other.exec("INSERT INTO d.t VALUES (50, 'z')").is_err(), "a commit ran under the lock");
        assert_eq!(live.coordinates_with_lsn()?.0, first.0);
    }
    let times = session.release()?;
    let last = times.last().context("a lock was taken")?;
    assert!(last.held > 0.9, "{times:?}");
    other.exec("CREATE TABLE d.new (a INT)")?;
    other.exec("DROP TABLE d.new")?;

    let mut session = locks(live, PATIENT)?;
    session.flush_tables_with_read_lock()?;
    assert!(
        other.exec("INSERT INTO d.t VALUES (51, 'z')").is_err(),
        "a write ran under the global read lock"
    );
    session.unlock_tables()?;
    session.flush_tables_read_lock(&[("d".to_owned(), "m".to_owned())])?;
    assert!(other.exec("INSERT INTO d.m VALUES (51)").is_err(), "a write ran under the table's lock");
    other.exec("INSERT INTO d.t VALUES (52, 'z')")?;
    session.release()?;
    Ok(())
}

/// What a wait that was given up must leave: nothing.
fn assert_nothing_left(server: &Server, id: u32) -> Result<()> {
    let left =
        server.rows(&format!("SELECT id, info FROM information_schema.processlist WHERE id = {id}"))?;
    assert!(left.is_empty(), "{left:?}");
    server.sql(&["SET SESSION lock_wait_timeout = 60", "CREATE TABLE d.free (a INT)", "DROP TABLE d.free"])
}

fn a_wait_has_its_limit_and_leaves_nothing(server: &Server, live: &Live) -> Result<()> {
    let mut holder = server.session()?;
    for statement in in_the_way(live.flavour()) {
        holder.exec(statement)?;
    }
    let mut session = locks(live, SHORT)?;
    let id = session.id();
    match last_lock(&mut session, live.flavour()) {
        Err(ServerError::LockWait { lock, limit, blockers }) => {
            assert_eq!(limit, SHORT);
            assert!(lock.contains("BACKUP"), "{lock}");
            if live.flavour() == Flavour::MySql {
                assert!(blockers.iter().any(|b| b.id == u64::from(holder.id())), "{blockers:?}");
            }
        }
        other => bail!("the lock was to be waited for in vain: {other:?}"),
    }
    assert!(matches!(session.check(), Err(ServerError::ConnectionLost { .. })));
    holder.exec("UNLOCK TABLES")?;
    assert_nothing_left(server, id)
}

fn a_wait_can_be_stopped(server: &Server, live: &Live) -> Result<()> {
    let mut holder = server.session()?;
    for statement in in_the_way(live.flavour()) {
        holder.exec(statement)?;
    }
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let stoppable = Live::connect(as_root(server), Stop::when(move || seen.load(Ordering::SeqCst)))?;
    let mut session = locks(&stoppable, PATIENT)?;
    let id = session.id();
    let flavour = live.flavour();
    let waiting = std::thread::spawn(move || last_lock(&mut session, flavour));
    // The wish to stop comes while it waits: the server itself says when that is.
    wait_until(live, &format!("id = {id} AND state LIKE '%ait%lock%'"))?;
    asked.store(true, Ordering::SeqCst);
    let result = waiting.join().map_err(|_| anyhow::anyhow!("the waiting thread panicked"))?;
    assert!(matches!(result, Err(ServerError::Stopped { .. })), "{result:?}");
    holder.exec("UNLOCK TABLES")?;
    assert_nothing_left(server, id)
}

fn queries_in_the_way_are_killed_only_if_allowed(server: &Server, live: &Live) -> Result<()> {
    server.sql(&["INSERT INTO d.m VALUES (900)"])?;
    // MariaDB's global read lock lets readers go on; MySQL's waits for them to close their tables.
    let (in_the_way, kind) = match live.flavour() {
        Flavour::MariaDb => ("UPDATE d.m SET a = a WHERE SLEEP(600) = 0", QueryKind::All),
        Flavour::MySql => ("SELECT SLEEP(600) FROM d.m", QueryKind::Select),
    };
    let mut busy = server.session()?;
    let id = busy.id();
    let running = std::thread::spawn(move || busy.exec(in_the_way));
    wait_until(live, &format!("id = {id} AND info LIKE '%SLEEP%'"))?;
    let kill = KillPolicy::Queries { after: Duration::from_millis(200), kind };
    let mut session = live.lock_session(LockOptions { wait: PATIENT, kill })?;
    session.flush_tables_with_read_lock()?;
    assert!(session.killed().iter().any(|blocker| blocker.id == u64::from(id)), "{:?}", session.killed());
    session.release()?;
    let _ = running.join();
    Ok(())
}

/// Waits until the server lists a session like this.
fn wait_until(live: &Live, like: &str) -> Result<()> {
    let statement = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE {like}");
    for _ in 0..3000 {
        if live.query(&statement)?.first().and_then(|row| row.text(0)).as_deref() == Some("1") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("no session with {like}: {:?}", live.query("SHOW FULL PROCESSLIST")?)
}

/// What would make a backup wait or a restore drag on is found and named.
fn findings_name_what_is_in_the_way(server: &Server, live: &Live) -> Result<()> {
    let facts = live.facts()?;
    let verdict = |name: &str| -> Result<Verdict> {
        let findings = live.findings(&facts)?;
        let found = findings.iter().find(|finding| finding.name == name);
        Ok(found.with_context(|| format!("{name} was not looked at: {findings:?}"))?.verdict)
    };
    for name in ["binary-log", "encryption", "prepared-xa", "tables", "history", "uncommitted-rows", "ddl"] {
        assert_eq!(verdict(name)?, Verdict::Fine, "{name}");
    }
    assert_eq!(verdict("engines")?, Verdict::Slow);
    let mut xa = server.session()?;
    for statement in ["XA START 'x'", "INSERT INTO d.t VALUES (700, 'xa')", "XA END 'x'", "XA PREPARE 'x'"] {
        xa.exec(statement)?;
    }
    assert_eq!(verdict("prepared-xa")?, Verdict::Slow);
    let mut ddl = server.session()?;
    let id = ddl.id();
    let waiting = std::thread::spawn(move || ddl.exec("ALTER TABLE d.t ADD COLUMN c INT"));
    wait_until(live, &format!("id = {id} AND state LIKE '%metadata lock%'"))?;
    assert_eq!(verdict("ddl")?, Verdict::Slow);
    xa.exec("XA ROLLBACK 'x'")?;
    waiting.join().map_err(|_| anyhow::anyhow!("the waiting thread panicked"))??;
    server.sql(&["ALTER TABLE d.t DROP COLUMN c"])
}

fn a_lost_session_is_a_lost_lock(server: &Server, live: &Live) -> Result<()> {
    let mut session = locks(live, PATIENT)?;
    last_lock(&mut session, live.flavour())?;
    server.sql(&[&format!("KILL CONNECTION {}", session.id())])?;
    let check = session.check();
    assert!(matches!(check, Err(ServerError::ConnectionLost { .. })), "{check:?}");
    assert!(session.release().is_err());
    Ok(())
}

fn all_of_it(name: &str) -> Result<()> {
    let Some((mut server, live)) = started(name)? else {
        return Ok(());
    };
    facts_are_the_servers_own(&server, &live)?;
    coordinates_are_the_servers_own(&server, &live)?;
    privileges_are_found_missing_all_at_once(&server, &live)?;
    locks_are_held_and_measured(&server, &live)?;
    a_wait_has_its_limit_and_leaves_nothing(&server, &live)?;
    a_wait_can_be_stopped(&server, &live)?;
    queries_in_the_way_are_killed_only_if_allowed(&server, &live)?;
    findings_name_what_is_in_the_way(&server, &live)?;
    a_lost_session_is_a_lost_lock(&server, &live)?;
    logins(&server)?;
    if live.flavour() == Flavour::MySql {
        the_redo_consumer_is_one_at_a_time(&live)?;
        a_waiting_ddl_does_not_stop_the_lock_on_tables(&server, &live)?;
    }
    drop(live);
    server.stop()
}

fn logins(server: &Server) -> Result<()> {
    let tcp = |user: &str, password: &str| {
        Live::connect(
            ConnectOptions::tcp("127.0.0.1", server.port(), user).with_password(password),
            Stop::never(),
        )
    };
    server.sql(&["CREATE USER tcp@'%' IDENTIFIED BY 'it''s \\\\ ö'"])?;
    // The first login of caching_sha2_password needs the server's key, the second finds the password cached.
    tcp("tcp", "it's \\ ö")?;
    tcp("tcp", "it's \\ ö")?;
    let refused = tcp("tcp", "wrong");
    assert!(matches!(refused, Err(ServerError::Login { code: 1045, .. })), "{refused:?}");
    assert!(matches!(
        Live::connect(ConnectOptions::socket("/nonexistent/s", "root"), Stop::never()),
        Err(ServerError::Connect { .. })
    ));
    if server.kind().is_mariadb() {
        server.sql(&[
            "INSTALL SONAME 'auth_ed25519'",
            "CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret')",
            "CREATE USER root2@localhost IDENTIFIED VIA unix_socket AS 'root'",
        ])?;
        tcp("ed", "secret")?;
    }
    Ok(())
}

fn the_redo_consumer_is_one_at_a_time(live: &Live) -> Result<()> {
    let mut consumer = live.redo_consumer()?;
    assert!(live.redo_consumer().is_err(), "two consumers");
    let position = live.redo_position()?;
    consumer.advance(position.flushed)?;
    consumer.unregister()?;
    drop(live.redo_consumer()?);
    live.redo_consumer()?.unregister()?;
    Ok(())
}

/// The trap of the global read lock: a DDL that waits for the instance lock holds the global intention lock, so that
/// FLUSH TABLES WITH READ LOCK waits behind it, or kills it. The lock on single tables, asked for by the session that
/// holds the instance lock, meets neither.
fn a_waiting_ddl_does_not_stop_the_lock_on_tables(server: &Server, live: &Live) -> Result<()> {
    let mut session = locks(live, PATIENT)?;
    session.lock_instance()?;
    let mut ddl = server.session()?;
    let id = ddl.id();
    let waiting = std::thread::spawn(move || ddl.exec("CREATE TABLE d.waits (a INT)"));
    wait_until(live, &format!("id = {id} AND state LIKE '%backup lock%'"))?;
    session.flush_tables_read_lock(&[("d".to_owned(), "m".to_owned())])?;
    let mut other = server.session()?;
    other.exec("SET SESSION lock_wait_timeout = 1")?;
    assert!(other.exec("INSERT INTO d.m VALUES (1000)").is_err(), "a write ran under the table's lock");
    // The server gives up the instance lock along with the tables.
    session.unlock_tables()?;
    waiting.join().map_err(|_| anyhow::anyhow!("the waiting thread panicked"))??;
    other.exec("INSERT INTO d.m VALUES (1000)")?;
    let times = session.release()?;
    assert_eq!(times.len(), 2, "{times:?}");

    // The global read lock waits behind such a DDL, and from the session of the instance lock it kills it.
    let mut session = locks(live, PATIENT)?;
    session.lock_instance()?;
    let mut ddl = server.session()?;
    let id = ddl.id();
    let waiting = std::thread::spawn(move || ddl.run("CREATE TABLE d.dies (a INT)"));
    wait_until(live, &format!("id = {id} AND state LIKE '%backup lock%'"))?;
    let mut outside = locks(live, SHORT)?;
    let refused = outside.flush_tables_with_read_lock();
    assert!(matches!(refused, Err(ServerError::LockWait { .. })), "{refused:?}");
    session.flush_tables_with_read_lock()?;
    let killed = waiting.join().map_err(|_| anyhow::anyhow!("the waiting thread panicked"))?;
    assert_eq!(killed.err().map(|error| error_code(&error)), Some(1213));
    session.release()?;

    // After a global read lock it keeps it.
    let mut session = locks(live, PATIENT)?;
    session.lock_instance()?;
    session.flush_tables_with_read_lock()?;
    session.unlock_tables()?;
    assert!(other.exec("CREATE TABLE d.more (a INT)").is_err(), "DDL ran under the instance lock");
    session.release()?;
    Ok(())
}

#[test]
fn mariadb_10_5() -> Result<()> {
    all_of_it("mariadb-10.5")
}

#[test]
fn mariadb_10_11() -> Result<()> {
    all_of_it("mariadb-10.11")
}

#[test]
fn mariadb_11_8() -> Result<()> {
    all_of_it("mariadb-11.8")
}

#[test]
fn mysql_9_7() -> Result<()> {
    all_of_it("mysql-9.7")
}

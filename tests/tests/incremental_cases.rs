//! What is hard for a chain of incremental sets, all in one chain: files that are replaced by others of the same number,
//! pages whose LSNs are older than the table, undo tablespaces that are cut in place, formats whose pages are not what
//! they look like, names that change hands. The source is quiet at each backup: a restore of any set of the chain has the
//! very rows that the source had then.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reseed_tests::server::Builder;
use reseed_tests::trip::NAME;
use reseed_tests::{Kit, Reseed, Server, Session, Trip};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
const ROWS: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
    SELECT i, i % 7, CONCAT(REPEAT(LEFT(SHA2(i, 256), 32), 12), RAND(i)) FROM n";
const COLUMNS: &str = "(id INT PRIMARY KEY, k INT, c VARCHAR(500), KEY (k))";

/// A set, and what the source had when it was taken.
struct Taken {
    id: String,
    stored: u64,
    sums: BTreeMap<String, String>,
}

struct Chain {
    plain: Builder,
    source: Server,
    trip: Trip,
    sets: Vec<Taken>,
}

impl Chain {
    fn start(name: &str) -> Result<Chain> {
        let trip = Trip::new()?;
        let far = trip.place("far");
        fs::create_dir_all(&far)?;
        let plain = Kit::server(name)?
            .option("innodb_undo_log_truncate=ON")
            .option("innodb_max_undo_log_size=10M")
            .option("innodb_purge_rseg_truncate_frequency=1");
        let (plain, source) = if name.starts_with("mariadb") {
            let plain = plain.init("innodb_undo_tablespaces=3");
            (plain.clone(), plain.start()?)
        } else {
            let directories = format!("innodb_directories={}", far.display());
            (plain.clone(), plain.option(&directories).start()?)
        };
        let chain = Chain { plain, source, trip, sets: Vec::new() };
        chain.prepare()?;
        Ok(chain)
    }

    fn is_mariadb(&self) -> bool {
        self.source.kind().is_mariadb()
    }

    fn far(&self) -> PathBuf {
        self.trip.place("far")
    }

    fn prepare(&self) -> Result<()> {
        let far = format!("DATA DIRECTORY='{}'", self.far().display());
        let pages = if self.is_mariadb() { "PAGE_COMPRESSED=1" } else { "COMPRESSION='zlib'" };
        let ranges = "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (500), PARTITION p1 VALUES LESS THAN MAXVALUE)";
        let mut tables = vec![
            ("imported", ""),
            ("zip8", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8"),
            ("zip4", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4"),
            ("pages", pages),
            ("far", far.as_str()),
            ("far_again", far.as_str()),
            ("again", ""),
            ("optimized", ""),
            ("truncated", ""),
            ("parts", ranges),
            ("exchanged", ""),
            ("left_", ""),
            ("right_", ""),
            ("undone", ""),
            ("still", ""),
            ("plain", "ENGINE=MyISAM"),
        ];
        if self.is_mariadb() {
            tables.push(("aria", "ENGINE=Aria TRANSACTIONAL=1"));
        }
        let mut session = self.source.session()?;
        session.exec("CREATE DATABASE cases")?;
        session.exec("USE cases")?;
        for (name, options) in tables {
            session.exec(&format!("CREATE TABLE cases.{name} {COLUMNS} {options}"))?;
            session.exec(&format!("INSERT INTO cases.{name} {ROWS}"))?;
        }
        session.exec("DELETE FROM cases.exchanged WHERE id >= 500")?;
        for table in ["still", "undone"] {
            for more in [1000, 2000, 4000] {
                session.exec(&format!(
                    "INSERT INTO cases.{table} SELECT id + {more}, k, c FROM cases.{table}"
                ))?;
            }
        }
        Ok(())
    }

    fn sql(&self, statements: &[&str]) -> Result<()> {
        self.source.sql(statements)
    }

    /// Puts a copy of the table's file aside, as the manual says.
    fn export(&self, table: &str) -> Result<()> {
        let mut session = self.source.session()?;
        session.exec(&format!("FLUSH TABLES cases.{table} FOR EXPORT"))?;
        for suffix in ["ibd", "cfg"] {
            let name = format!("{table}.{suffix}");
            fs::copy(self.source.datadir().join("cases").join(&name), self.trip.place(&name))
                .with_context(|| format!("cannot copy {name}"))?;
        }
        session.exec("UNLOCK TABLES")
    }

    fn import(&self, table: &str) -> Result<()> {
        self.sql(&[&format!("ALTER TABLE cases.{table} DISCARD TABLESPACE")])?;
        for suffix in ["ibd", "cfg"] {
            let name = format!("{table}.{suffix}");
            fs::copy(self.trip.place(&name), self.source.datadir().join("cases").join(&name))?;
        }
        self.sql(&[&format!("ALTER TABLE cases.{table} IMPORT TABLESPACE")])
    }

    /// Undo of more bytes than an undo tablespace may have.
    fn much_undo(&self) -> Result<()> {
        let mut session = self.source.session()?;
        session.exec("BEGIN")?;
        for _ in 0..4 {
            session.exec("UPDATE cases.undone SET c = CONCAT(REVERSE(LEFT(c, 390)), RAND()), k = k + 1")?;
        }
        session.exec("COMMIT")
    }

    /// Waits until the server has cut an undo tablespace. Purge works as long as there is something to purge.
    fn cut_undo(&self) -> Result<()> {
        let since = Instant::now();
        let mut session = self.source.session()?;
        if !self.is_mariadb() {
            return cut_undo_of_mysql(&mut session, since);
        }
        let sql = "SELECT variable_value FROM information_schema.global_status \
             WHERE variable_name = 'INNODB_UNDO_TRUNCATIONS'";
        let before = session.value(sql)?;
        self.much_undo()?;
        while session.value(sql)? == before {
            ensure!(since.elapsed() < LIMIT, "no undo tablespace was truncated");
            session.exec("UPDATE cases.undone SET k = k + 1 WHERE id < 10")?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn backup(&mut self, more: &[&str]) -> Result<Value> {
        let finished = self.trip.backup(&self.source)?.arg("--json").args(more).run()?.expect_success()?;
        let set: Value = serde_json::from_str(&finished.stdout)?;
        self.sets.push(Taken {
            id: set["id"].as_str().context("no id")?.to_owned(),
            stored: set["bytes_stored"].as_u64().context("no size")?,
            sums: self.source.checksums()?,
        });
        Ok(set)
    }

    fn incremental(&mut self) -> Result<()> {
        let set = self.backup(&["--incremental"])?;
        ensure!(set["kind"] == "incremental", "{set:#}");
        Ok(())
    }

    fn restore(&self, id: &str, datadir: &Path) -> Result<Server> {
        Reseed::new(["restore", "--repo"])?
            .arg(self.trip.repo())
            .args(["--name", NAME, id, "--datadir"])
            .arg(datadir)
            .run()?
            .expect_success()?;
        self.plain.clone().server_id(2).on_datadir(datadir).start()
    }

    /// Every set of the chain, restored.
    fn prove(mut self) -> Result<()> {
        println!("stored: {:?}", self.sets.iter().map(|set| set.stored).collect::<Vec<_>>());
        self.source.stop()?;
        for set in &self.sets {
            let datadir = self.trip.place(&format!("restored-{}", set.id));
            let mut restored = self.restore(&set.id, &datadir)?;
            let found = restored.checksums()?;
            ensure!(found == set.sums, "{}: {:?}\nand not {:?}", set.id, found, set.sums);
            check_tables(&restored).with_context(|| set.id.clone())?;
            restored.stop()?;
            fs::remove_dir_all(&datadir)?;
        }
        Ok(())
    }

    fn run(mut self) -> Result<()> {
        self.export("imported")?;
        self.sql(&["UPDATE cases.imported SET c = 'not in the copy' WHERE id % 3 = 0"])?;
        // Or else the pages are in the redo only.
        self.source.restart()?;
        self.backup(&[])?;

        // Pages that are older than the full set come back; an undo tablespace is cut and has its size again.
        self.import("imported")?;
        self.cut_undo()?;
        self.sql(&[
            "UPDATE cases.zip8 SET k = k + 100 WHERE id % 90 = 0",
            "UPDATE cases.zip4 SET c = CONCAT(id, REPEAT('z', 300)) WHERE id % 90 = 0",
            "UPDATE cases.pages SET c = CONCAT(id, REPEAT('p', 90)) WHERE id % 90 = 0",
            "UPDATE cases.far SET k = k + 1 WHERE id < 20",
            "UPDATE cases.plain SET k = k + 1 WHERE id < 20",
            "TRUNCATE TABLE cases.truncated",
            "INSERT INTO cases.truncated VALUES (1, 1, 'one')",
        ])?;
        self.incremental()?;

        // Other files under old names, old files under other names; the undo is larger than ever when the set is taken.
        self.source.kill()?;
        self.source.start()?;
        let far = format!("DATA DIRECTORY='{}'", self.far().display());
        let recreated = format!("CREATE TABLE cases.far_again {COLUMNS} {far}");
        let mut reader = self.source.session()?;
        reader.exec("START TRANSACTION WITH CONSISTENT SNAPSHOT")?;
        self.much_undo()?;
        self.sql(&[
            "DROP TABLE cases.again",
            &format!("CREATE TABLE cases.again {COLUMNS}"),
            "INSERT INTO cases.again SELECT id, k + 1, REVERSE(c) FROM cases.still WHERE id < 1000",
            "DROP TABLE cases.far_again",
            &recreated,
            "INSERT INTO cases.far_again SELECT id, k + 2, c FROM cases.still WHERE id < 500",
            "DELETE FROM cases.optimized WHERE id % 2 = 0",
            "OPTIMIZE TABLE cases.optimized",
            "ALTER TABLE cases.parts EXCHANGE PARTITION p0 WITH TABLE cases.exchanged",
            "RENAME TABLE cases.left_ TO cases.between_, cases.right_ TO cases.left_, cases.between_ TO cases.right_",
            "UPDATE cases.left_ SET k = -1 WHERE id = 7",
            "UPDATE cases.right_ SET k = -2 WHERE id = 9",
            "ALTER TABLE cases.zip8 ADD COLUMN e INT DEFAULT 5",
        ])?;
        self.incremental()?;

        // The large undo is cut; the copy is imported a second time, and grows; formats change.
        reader.exec("COMMIT")?;
        drop(reader);
        self.cut_undo()?;
        self.import("imported")?;
        self.sql(&[
            "UPDATE cases.imported SET k = k + 1 WHERE id = 500",
            "DELETE FROM cases.zip4 WHERE id > 300",
            "ALTER TABLE cases.zip8 ROW_FORMAT=DYNAMIC KEY_BLOCK_SIZE=0",
            "ALTER TABLE cases.optimized ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8",
            "ALTER TABLE cases.parts TRUNCATE PARTITION p1",
            "ALTER TABLE cases.parts EXCHANGE PARTITION p0 WITH TABLE cases.exchanged",
            "DELETE FROM cases.pages WHERE id BETWEEN 100 AND 800",
        ])?;
        if self.is_mariadb() {
            self.sql(&[
                "ALTER TABLE cases.pages PAGE_COMPRESSION_LEVEL=9",
                "UPDATE cases.pages SET k = k + 1 WHERE id > 900",
                "UPDATE cases.aria SET k = k + 1 WHERE id > 900",
            ])?;
        } else {
            self.sql(&[
                "CREATE TABLESPACE shared ADD DATAFILE 'shared.ibd'",
                "ALTER TABLE cases.truncated TABLESPACE shared",
                "INSERT INTO cases.truncated VALUES (2, 2, 'two')",
            ])?;
        }
        self.incremental()?;

        // Nothing at all, after a checkpoint.
        self.source.restart()?;
        self.incremental()?;
        self.incremental()?;
        let (full, last) = (&self.sets[0], &self.sets[self.sets.len() - 1]);
        ensure!(last.stored * 5 < full.stored, "an idle hour: {} of {}", last.stored, full.stored);
        self.prove()
    }
}

/// MariaDB warns of entries that are marked as deleted while it is about to purge them, on a server that was never
/// restored too. What is wrong stays.
fn check_tables(server: &Server) -> Result<()> {
    let since = Instant::now();
    loop {
        let complaints = server.check_tables()?;
        if complaints.is_empty() {
            return Ok(());
        }
        ensure!(since.elapsed() < LIMIT, "CHECK TABLE: {complaints:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn cut_undo_of_mysql(session: &mut Session, since: Instant) -> Result<()> {
    session.exec("CREATE UNDO TABLESPACE spare ADD DATAFILE 'spare.ibu'")?;
    for (set, state) in [("innodb_undo_001 SET INACTIVE", "empty"), ("innodb_undo_001 SET ACTIVE", "active")]
    {
        session.exec(&format!("ALTER UNDO TABLESPACE {set}"))?;
        let sql = "SELECT state FROM information_schema.innodb_tablespaces WHERE name = 'innodb_undo_001'";
        while session.value(sql)? != state {
            ensure!(since.elapsed() < LIMIT, "the undo tablespace did not become {state}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    session.exec("ALTER UNDO TABLESPACE spare SET INACTIVE")?;
    while session.run("DROP UNDO TABLESPACE spare").is_err() {
        ensure!(since.elapsed() < LIMIT, "the undo tablespace cannot be dropped");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn mariadb_10_11() -> Result<()> {
    Chain::start("mariadb-10.11")?.run()
}

#[test]
fn mysql_9_7() -> Result<()> {
    Chain::start("mysql-9.7")?.run()
}

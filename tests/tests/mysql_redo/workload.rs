//! Statements that make the server log every type of redo record: all row formats, wide and narrow rows, off-page
//! columns, R-trees, full text, instant columns, DDL, truncated undo logs, rollbacks.
//!
//! The choices come from a seed. A statement that the server refuses (a row too large for a small page, a duplicate)
//! is part of the load.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reseed_tests::{Server, Session};

use crate::tables::{COLUMNS, definitions};

/// SplitMix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn pick<'a>(&mut self, from: &'a [String]) -> &'a str {
        let at = self.below(from.len() as u64) as usize;
        from.get(at).map_or("dyn", String::as_str)
    }
}

/// The rows' keys lie below this.
const KEYS: u64 = 30_000;

pub struct Load {
    session: Session,
    /// Holds snapshots open, so that purge falls behind and catches up.
    reader: Session,
    random: Random,
    page_size: u32,
    /// Tables with the common columns.
    plain: Vec<String>,
    /// Tables that instant ALTERs work on, with the extra columns that each has now.
    instant: Vec<(String, Vec<String>)>,
    made: u64,
    done: u64,
    refused: u64,
    /// Why, and how often.
    refusals: BTreeMap<String, (u64, String)>,
}

impl Load {
    pub fn new(server: &Server, seed: u64) -> Result<Load> {
        let mut load = Load {
            session: server.session()?,
            reader: server.session()?,
            random: Random(seed),
            page_size: server.page_size(),
            plain: Vec::new(),
            instant: vec![("inst_d".to_owned(), Vec::new()), ("inst_r".to_owned(), Vec::new())],
            made: 0,
            done: 0,
            refused: 0,
            refusals: BTreeMap::new(),
        };
        load.session.exec("CREATE DATABASE IF NOT EXISTS t CHARACTER SET latin1")?;
        for session in [&mut load.session, &mut load.reader] {
            session.exec("USE t")?;
            session.exec("SET SESSION innodb_strict_mode=0, sql_mode='', cte_max_recursion_depth=100000")?;
        }
        Ok(load)
    }

    /// Creates the tables and some rows in each, for a server that is stopped afterwards.
    pub fn prepare_and_forget(mut self) -> Result<()> {
        self.prepare()
    }

    /// Takes over tables that [`Load::prepare_and_forget`] made.
    pub fn continue_with_tables(&mut self) {
        definitions(self.page_size, &mut self.plain);
        for algorithm in ["zlib", "lz4"] {
            if self.session.run(&format!("DO (SELECT COUNT(*) FROM tpc_{algorithm})")).is_ok() {
                self.plain.push(format!("tpc_{algorithm}"));
            }
        }
    }

    fn prepare(&mut self) -> Result<()> {
        self.session.exec("CREATE TABLE nums (n INT PRIMARY KEY)")?;
        self.session.exec(
            "INSERT INTO nums WITH RECURSIVE s AS (SELECT 0 n UNION ALL SELECT n+1 FROM s WHERE n<1999) SELECT n FROM s",
        )?;
        for (name, columns, options) in definitions(self.page_size, &mut self.plain) {
            self.session.exec(&format!("CREATE TABLE {name} ({columns}) {options}"))?;
        }
        // Needs a file system with holes, and pages larger than its blocks.
        for algorithm in ["zlib", "lz4"] {
            let sql = format!("CREATE TABLE tpc_{algorithm} ({COLUMNS}) COMPRESSION='{algorithm}'");
            if self.session.run(&sql).is_ok() {
                self.plain.push(format!("tpc_{algorithm}"));
            }
        }
        self.session.exec("CREATE UNDO TABLESPACE u3 ADD DATAFILE 'u3.ibu'")?;
        for _ in 0..60 {
            self.insert(60);
        }
        Ok(())
    }

    fn try_sql(&mut self, sql: &str) {
        self.done += 1;
        if let Err(error) = self.session.run(sql) {
            self.refused += 1;
            let text = error.to_string();
            let known = self.refusals.entry(text.chars().take(60).collect()).or_insert((0, text));
            known.0 += 1;
        }
    }

    /// Bytes of redo that the server has written.
    fn lsn(&mut self) -> Result<u64> {
        let rows = self.session.rows("SHOW GLOBAL STATUS LIKE 'Innodb_redo_log_current_lsn'")?;
        let value = rows.first().and_then(|row| row.get(1)).context("no LSN")?;
        value.parse().context("LSN is no number")
    }

    /// Runs until `bytes` of redo are written.
    pub fn run(&mut self, bytes: u64) -> Result<()> {
        let start = self.lsn()?;
        self.reader.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").ok();
        let ddl = [
            Load::alter_undo,
            Load::truncate,
            Load::add_index,
            Load::rebuild,
            Load::create_and_drop,
            Load::general_tablespace,
            Load::rename,
            Load::exchange,
            Load::grow_spatial,
            Load::delete_lowest,
        ];
        // Every kind of DDL once, spread over the load; then the dice decide.
        let mut due: Vec<fn(&mut Load)> = ddl.to_vec();
        for step in 1.. {
            let written = self.lsn()? - start;
            if written >= bytes && due.is_empty() && step > 20 {
                break;
            }
            if written * 10 >= bytes * (10 - due.len().min(10) as u64) / 2
                && let Some(next) = due.pop()
            {
                next(self);
            }
            if step % 40 == 0 {
                self.reader.run("COMMIT").ok();
                self.reader.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").ok();
            }
            // Compressed pages are logged whole, or as the order to compress them again.
            if step % 5 == 0 {
                let whole = if step % 10 == 0 { "ON" } else { "OFF" };
                self.try_sql(&format!("SET GLOBAL innodb_log_compressed_pages={whole}"));
            }
            for _ in 0..4 {
                self.step();
            }
        }
        self.reader.run("COMMIT").ok();
        // Most of the load must have done something.
        ensure!(
            self.refused * 10 < self.done,
            "{} of {} statements were refused: {:?}",
            self.refused,
            self.done,
            self.refusals
        );
        if std::env::var_os("RESEED_REDO_SEED").is_some() {
            println!("{} of {} statements were refused: {:#?}", self.refused, self.done, self.refusals);
        }
        Ok(())
    }

    /// Leaves transactions open for the crash.
    pub fn leave_open(&mut self) {
        // A counter that no row shows any more.
        self.try_sql("INSERT INTO chi (id,x) VALUES (900000,'top')");
        self.try_sql("DELETE FROM chi WHERE id=900000");
        self.try_sql("XA START 'left'");
        self.insert(20);
        self.try_sql("XA END 'left'");
        self.try_sql("XA PREPARE 'left'");
        self.reader.run("START TRANSACTION").ok();
        self.reader.run("UPDATE dyn SET k=k+1, v=CONCAT(v,'x') WHERE id<3000").ok();
    }

    fn step(&mut self) {
        match self.random.below(38) {
            0..=7 => {
                let rows = 1 + self.random.below(80);
                self.insert(rows);
            }
            8..=12 => self.update_in_place(),
            13..=15 => self.update_longer(),
            16 | 17 => self.update_blob(),
            18..=20 => self.delete_range(),
            21 => self.rolled_back(),
            22 | 23 => self.wide(),
            24..=26 => self.spatial(),
            27 => self.full_text(),
            28 | 29 => self.json(),
            30 => self.foreign_key(),
            31 => self.instant(),
            32 | 33 => self.refill(),
            34 => self.key_change(),
            35 | 36 => self.single_rows(),
            _ => match self.random.below(12) {
                0 => self.truncate(),
                1 | 2 => self.add_index(),
                3 => self.rebuild(),
                4 => self.create_and_drop(),
                5 => self.rename(),
                6 => self.exchange(),
                _ => self.single_rows(),
            },
        }
    }

    fn table(&mut self) -> String {
        let plain = std::mem::take(&mut self.plain);
        let table = self.random.pick(&plain).to_owned();
        self.plain = plain;
        table
    }

    /// Values of the common columns as expressions over `n`.
    fn values(&mut self) -> String {
        let seed = self.random.below(1 << 30);
        let long = match self.random.below(14) {
            0 => format!("REPEAT(SHA2(n+{seed},256), {})", 40 + self.random.below(1500)),
            1 => format!("RANDOM_BYTES({})", 1 + self.random.below(1000)),
            2 => format!("CONCAT(RANDOM_BYTES(900), REPEAT('r', {}))", 1 + self.random.below(12000)),
            _ => format!("IF(n%3, NULL, REPEAT('b', n%{}))", 1 + self.random.below(900)),
        };
        format!(
            "IF(n%7, (n*{}+{seed})%100000, NULL), IF(n%5, LEFT(SHA2(n+{seed},256), n%21), NULL), \
             LEFT(REPEAT(SHA2(n*3+{seed},256), 7), n*{}%200), IF(n%4, UNHEX(LEFT(REPEAT(SHA2(n+{seed},256),12), 2*(n*{}%400))), NULL), \
             {long}, (n*{seed}%9999999)/1000, LEFT(SHA2(n,256), 10)",
            1 + self.random.below(97),
            1 + self.random.below(30),
            1 + self.random.below(50),
        )
    }

    fn insert(&mut self, rows: u64) {
        let table = self.table();
        let values = self.values();
        let from = self.random.below(2000 - rows.min(1999));
        let (start, step) =
            (self.random.below(KEYS), [1, 1, 3, 17, KEYS - 1].get(self.random.below(5) as usize).copied());
        let verb = if self.random.below(3) == 0 { "REPLACE" } else { "INSERT IGNORE" };
        let step = step.unwrap_or(1);
        self.try_sql(&format!(
            "{verb} INTO {table} (id,k,c,v,w,b,d,f) SELECT (n*{step}+{start})%{KEYS}, {values} FROM nums \
             WHERE n>={from} AND n<{from}+{rows} ORDER BY n"
        ));
    }

    fn range(&mut self, most: u64) -> String {
        let (from, len) = (self.random.below(KEYS), 1 + self.random.below(most));
        format!("id>={from} AND id<{}", from + len)
    }

    fn update_in_place(&mut self) {
        let (table, range, add) = (self.table(), self.range(2500), self.random.below(1000));
        let set = match self.random.below(5) {
            0 => format!("k=k+{add}"),
            1 => "f=REVERSE(f)".to_owned(),
            2 => format!("d=d+{add}, f=UPPER(f)"),
            3 => "c=REVERSE(c), v=REVERSE(v)".to_owned(),
            _ => "k=IF(id%2, NULL, id), c=NULL".to_owned(),
        };
        self.try_sql(&format!("UPDATE {table} SET {set} WHERE {range}"));
    }

    fn update_longer(&mut self) {
        let (table, range, n) = (self.table(), self.range(900), self.random.below(200));
        let set = match self.random.below(4) {
            0 => format!("v=LEFT(CONCAT(v, SHA2(id+{n},256)), 200)"),
            1 => format!("v=LEFT(v, {n}), w=LEFT(w, {n})"),
            2 => format!("w=RANDOM_BYTES({}), v=SHA2(id,256)", n + 1),
            _ => "v=NULL, w=NULL, c='back'".to_owned(),
        };
        self.try_sql(&format!("UPDATE {table} SET {set} WHERE {range}"));
    }

    fn update_blob(&mut self) {
        let (table, range) = (self.table(), self.range(200));
        let len = 1 + self.random.below(60_000);
        let set = match self.random.below(4) {
            0 => format!("b=REPEAT('x', {len})"),
            1 => format!("b=REPEAT(RANDOM_BYTES(100), {})", 1 + len / 400),
            2 => "b=LEFT(b, 100)".to_owned(),
            _ => "b=NULL".to_owned(),
        };
        self.try_sql(&format!("UPDATE {table} SET {set} WHERE {range}"));
    }

    fn delete_range(&mut self) {
        let (table, range) = (self.table(), self.range(1500));
        let which = if self.random.below(2) == 0 { "" } else { " AND id%3=0" };
        self.try_sql(&format!("DELETE FROM {table} WHERE {range}{which}"));
    }

    fn rolled_back(&mut self) {
        self.try_sql("START TRANSACTION");
        self.insert(60);
        self.update_longer();
        self.try_sql("SAVEPOINT s");
        self.delete_range();
        self.insert(30);
        self.try_sql("ROLLBACK TO s");
        self.update_blob();
        let end = if self.random.below(3) == 0 { "COMMIT" } else { "ROLLBACK" };
        self.try_sql(end);
    }

    /// Ascending and descending inserts, which split pages at their ends.
    fn refill(&mut self) {
        let (table, values, base) = (self.table(), self.values(), KEYS + self.random.below(4000));
        self.try_sql(&format!("DELETE FROM {table} WHERE id>={KEYS} AND id<{base}"));
        let order = if self.random.below(2) == 0 { "n" } else { "n DESC" };
        let rows = 50 + self.random.below(500);
        self.try_sql(&format!(
            "INSERT IGNORE INTO {table} (id,k,c,v,w,b,d,f) SELECT {base}+n, {values} FROM nums WHERE n<{rows} ORDER BY {order}"
        ));
    }

    fn key_change(&mut self) {
        let (table, range, by) = (self.table(), self.range(300), 40_000 + self.random.below(9000));
        self.try_sql(&format!("UPDATE IGNORE {table} SET id=id+{by} WHERE {range}"));
        self.try_sql(&format!("UPDATE IGNORE {table} SET id=id-{by} WHERE id>={by}"));
    }

    /// One statement a row, as applications do.
    fn single_rows(&mut self) {
        let table = self.table();
        self.try_sql("START TRANSACTION");
        for _ in 0..12 {
            let id = self.random.below(KEYS);
            let text = "y".repeat(self.random.below(190) as usize);
            match self.random.below(4) {
                0 => self.try_sql(&format!("DELETE FROM {table} WHERE id={id}")),
                1 => self.try_sql(&format!("UPDATE {table} SET k={id}, v=CONCAT('v',{id}) WHERE id={id}")),
                _ => self.try_sql(&format!(
                    "INSERT IGNORE INTO {table} (id,k,c,v) VALUES ({id},{id},'c','{text}')"
                )),
            }
        }
        self.try_sql("COMMIT");
    }

    fn wide(&mut self) {
        let suffix =
            ["", "_r", "_z"].get(self.random.below(if self.page_size <= 16384 { 3 } else { 2 }) as usize);
        let table = format!("wide{}", suffix.copied().unwrap_or(""));
        let (seed, rows) = (self.random.below(1 << 20), 20 + self.random.below(150));
        match self.random.below(4) {
            0 => self.try_sql(&format!("DELETE FROM {table} WHERE n%5={}", seed % 5)),
            1 => self.try_sql(&format!("UPDATE {table} SET u=RANDOM_BYTES(1+n%70), b=REPEAT(a, n%40) WHERE n%9={}", seed % 9)),
            _ => self.try_sql(&format!(
                "INSERT IGNORE INTO {table} SELECT LEFT(REPEAT(SHA2(n+{seed},256),5), 20+n%130), n, RANDOM_BYTES(1+n%80), REPEAT('w', n%300) \
                 FROM nums WHERE n<{rows}"
            )),
        }
    }

    fn spatial(&mut self) {
        let table = if self.random.below(2) == 0 { "geo" } else { "geo_r" };
        let (seed, rows) = (self.random.below(1 << 20), 10 + self.random.below(60));
        match self.random.below(5) {
            0 => self.try_sql(&format!("DELETE FROM {table} WHERE id%11={}", seed % 11)),
            1 => self.try_sql(&format!(
                "UPDATE {table} SET g=ST_GeomFromText(CONCAT('POINT(',id%777,' ',{seed}%999,')')) WHERE id%29={}",
                seed % 29
            )),
            _ => self.try_sql(&format!(
                "INSERT INTO {table} (g,s) SELECT IF(n%3, ST_GeomFromText(CONCAT('POINT(',(n*{seed})%10007,' ',(n+{seed})%5003,')')), \
                 ST_GeomFromText(CONCAT('LINESTRING(0 ',n,',',(n*{seed})%999,' ',n%77,')'))), SHA2(n,256) FROM nums WHERE n<{rows}"
            )),
        }
    }

    /// Enough rows for several pages of an R-tree.
    fn grow_spatial(&mut self) {
        for table in ["geo", "geo_r"] {
            let rows = 400 * self.page_size / 8192;
            self.try_sql(&format!(
                "INSERT INTO {table} (g,s) SELECT ST_GeomFromText(CONCAT('POINT(',n*7%1013,' ',n*11%977,')')), n \
                 FROM nums WHERE n<{rows}"
            ));
        }
    }

    /// Empties the leftmost pages of trees with several levels.
    fn delete_lowest(&mut self) {
        for table in ["dyn", "red", "cmp", "inst_r"] {
            for (from, verb) in [(0, "INSERT IGNORE"), (1, "REPLACE")] {
                self.try_sql(&format!(
                    "{verb} INTO {table} (id,k,c,v) SELECT n*2+{from}, n, n, REPEAT('l', 190) FROM nums"
                ));
            }
            self.try_sql(&format!("DELETE FROM {table} WHERE id<3000"));
        }
    }

    fn full_text(&mut self) {
        let seed = self.random.below(1 << 20);
        self.try_sql(&format!(
            "INSERT INTO fts (t) SELECT CONCAT_WS(' ', SHA2(n,256), 'common', LEFT(SHA2(n+{seed},256),5), REPEAT('long ',n)) FROM nums WHERE n<20"
        ));
        self.try_sql(&format!("DELETE FROM fts WHERE id%13={}", seed % 13));
    }

    fn json(&mut self) {
        let table = if self.page_size <= 16384 && self.random.below(3) == 0 { "js_z" } else { "js" };
        let seed = self.random.below(400);
        match self.random.below(4) {
            0 => self.try_sql(&format!(
                "REPLACE INTO {table} (id,j) SELECT n, JSON_OBJECT('n', n, 'l', JSON_ARRAY(n, n+1, n*2), 's', REPEAT(SHA2(n,256), {}), 't', REPEAT('t', 50000)) \
                 FROM nums WHERE n>={seed} AND n<{seed}+6",
                1 + seed
            )),
            1 => self.try_sql(&format!("DELETE FROM {table} WHERE id%7={}", seed % 7)),
            _ => self.try_sql(&format!(
                "UPDATE {table} SET j=JSON_REPLACE(j, '$.s', RIGHT(SHA2({seed},256), 9), '$.n', {seed}) WHERE id>={seed} AND id<{seed}+30"
            )),
        }
    }

    fn foreign_key(&mut self) {
        let seed = self.random.below(500);
        self.try_sql(&format!("INSERT IGNORE INTO par SELECT n+{seed}, n FROM nums WHERE n<40"));
        self.try_sql(&format!(
            "INSERT IGNORE INTO chi (p,x) SELECT n%40+{seed}, SHA2(n,256) FROM nums WHERE n<80"
        ));
        self.try_sql(&format!("DELETE FROM par WHERE id%9={}", seed % 9));
        self.try_sql(&format!("UPDATE IGNORE par SET id=id+10000 WHERE id={seed}"));
    }

    fn instant(&mut self) {
        self.made += 1;
        let name = format!("i{}", self.made);
        let which = self.random.below(self.instant.len() as u64) as usize;
        let Some((table, columns)) = self.instant.get_mut(which) else { return };
        let table = table.clone();
        let sql = if columns.len() > 3 {
            let gone = columns.remove(self.random.below(columns.len() as u64) as usize);
            format!("ALTER TABLE {table} DROP COLUMN {gone}, ALGORITHM=INSTANT")
        } else {
            columns.push(name.clone());
            let kind = [
                "INT",
                "INT NOT NULL DEFAULT 7",
                "VARCHAR(300) DEFAULT 'deflt'",
                "CHAR(9)",
                "BLOB",
                "VARCHAR(40) NOT NULL",
            ]
            .get(self.random.below(6) as usize)
            .copied()
            .unwrap_or("INT");
            let place =
                ["", "FIRST", "AFTER k", "AFTER b"].get(self.random.below(4) as usize).copied().unwrap_or("");
            format!("ALTER TABLE {table} ADD COLUMN {name} {kind} {place}, ALGORITHM=INSTANT")
        };
        self.try_sql(&sql);
        let range = self.range(4000);
        let columns = self.instant.get(which).map(|(_, columns)| columns.clone()).unwrap_or_default();
        for column in &columns {
            self.try_sql(&format!("UPDATE {table} SET {column}=id%100 WHERE {range}"));
        }
        self.try_sql(&format!("UPDATE {table} SET f=REVERSE(f), k=k+1 WHERE {range}"));
        let ids = self.random.below(KEYS);
        self.try_sql(&format!(
            "INSERT IGNORE INTO {table} (id,k,v) SELECT n+{ids}, n, SHA2(n,256) FROM nums WHERE n<50"
        ));
    }

    fn truncate(&mut self) {
        let table = self.table();
        self.try_sql(&format!("TRUNCATE TABLE {table}"));
        for _ in 0..3 {
            let values = self.values();
            self.try_sql(&format!(
                "INSERT IGNORE INTO {table} (id,k,c,v,w,b,d,f) SELECT n*13%{KEYS}, {values} FROM nums WHERE n<150"
            ));
        }
    }

    fn add_index(&mut self) {
        self.made += 1;
        let (table, name) = (self.table(), format!("x{}", self.made));
        self.try_sql(&format!("ALTER TABLE {table} ADD INDEX {name} (c, d), ALGORITHM=INPLACE"));
        self.update_in_place();
        self.insert(40);
        self.try_sql(&format!("UPDATE {table} SET c=LEFT(SHA2(id,256),9) WHERE id%17=3"));
        self.try_sql(&format!("ALTER TABLE {table} DROP INDEX {name}"));
    }

    fn rebuild(&mut self) {
        let table = self.table();
        self.try_sql(&format!("OPTIMIZE TABLE {table}"));
        self.insert(30);
    }

    fn create_and_drop(&mut self) {
        self.made += 1;
        let name = format!("short{}", self.made);
        let values = self.values();
        self.try_sql(&format!("CREATE TABLE {name} (id BIGINT NOT NULL AUTO_INCREMENT, k INT, c CHAR(20), v VARCHAR(200), w VARBINARY(400), b MEDIUMBLOB, d DECIMAL(12,3), f CHAR(10), PRIMARY KEY (id), KEY (k))"));
        self.try_sql(&format!("INSERT INTO {name} (k,c,v,w,b,d,f) SELECT {values} FROM nums WHERE n<200"));
        if self.random.below(2) == 0 {
            self.try_sql(&format!("DROP TABLE {name}"));
        }
    }

    fn general_tablespace(&mut self) {
        self.made += 1;
        let name = format!("gen{}", self.made);
        self.try_sql(&format!("CREATE TABLESPACE {name} ADD DATAFILE '{name}.ibd'"));
        for table in ["a", "b"] {
            let values = self.values();
            self.try_sql(&format!("CREATE TABLE {name}{table} ({COLUMNS}) TABLESPACE {name}"));
            self.try_sql(&format!(
                "INSERT INTO {name}{table} (id,k,c,v,w,b,d,f) SELECT n, {values} FROM nums WHERE n<150"
            ));
            self.plain.push(format!("{name}{table}"));
        }
    }

    fn rename(&mut self) {
        self.made += 1;
        let (table, aside) = (self.table(), format!("aside{}", self.made));
        self.try_sql(&format!("RENAME TABLE {table} TO {aside}"));
        self.try_sql(&format!("UPDATE {aside} SET k=k+1 WHERE id<2000"));
        if table == "z1" || self.random.below(2) == 0 || self.instant.iter().any(|(name, _)| *name == table) {
            self.try_sql(&format!("RENAME TABLE {aside} TO {table}"));
        } else {
            for name in &mut self.plain {
                if *name == table {
                    name.clone_from(&aside);
                }
            }
        }
    }

    fn exchange(&mut self) {
        self.made += 1;
        let name = format!("swap{}", self.made);
        self.try_sql(&format!("CREATE TABLE {name} ({COLUMNS})"));
        let values = self.values();
        self.try_sql(&format!(
            "INSERT INTO {name} (id,k,c,v,w,b,d,f) SELECT n*3, {values} FROM nums WHERE n<80"
        ));
        self.try_sql(&format!("ALTER TABLE part EXCHANGE PARTITION p0 WITH TABLE {name}"));
        self.try_sql(&format!("DROP TABLE {name}"));
    }

    /// Has an undo tablespace truncated: purge must be done with it first.
    fn alter_undo(&mut self) {
        self.reader.run("COMMIT").ok();
        self.try_sql("ALTER UNDO TABLESPACE innodb_undo_001 SET INACTIVE");
        for _ in 0..3000 {
            let state = self.session.value(
                "SELECT STATE FROM information_schema.INNODB_TABLESPACES WHERE NAME='innodb_undo_001'",
            );
            if state.is_ok_and(|state| state == "empty") {
                break;
            }
            self.try_sql("REPLACE INTO par VALUES (1, 1)");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        self.try_sql("ALTER UNDO TABLESPACE innodb_undo_001 SET ACTIVE");
        self.reader.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").ok();
    }
}

//! The tables under load. Row sizes stay below every page size's limit in every row format, so that no statement
//! is ever refused for its size.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use super::Common;
use crate::session::Session;

/// The database that the load works in, and a second one that tables are moved to and from. The name of the
/// second needs encoding in the file system.
pub const MAIN: &str = "shop";
pub const OTHER: &str = "`over there-é`";

/// What may be done to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// InnoDB, any DML, in transactions.
    InnoDb,
    /// Insert, update, delete, each statement for itself.
    Plain,
    /// Inserts only.
    Append,
}

#[derive(Debug)]
pub struct Table {
    /// As it stands in a statement.
    pub name: String,
    pub kind: Kind,
    /// Largest value for the column `big`.
    pub big: u64,
    /// Share of the first load.
    pub share: u64,
    pub create: String,
    /// About the largest id: where updates and deletes aim.
    pub top: AtomicU64,
    /// A point column that inserts must fill.
    pub spatial: bool,
}

impl Table {
    pub fn top(&self) -> u64 {
        self.top.load(Ordering::Relaxed).max(1)
    }
}

/// The columns of (almost) all tables.
const COLUMNS: &str = "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, k INT NOT NULL DEFAULT 0, \
    c VARCHAR(60) NOT NULL DEFAULT '', pad VARBINARY(180) DEFAULT NULL, n DECIMAL(12,3) DEFAULT NULL, big LONGBLOB";

pub fn all(mariadb: bool, page_size: u32, other_engines: bool) -> Vec<Table> {
    let page = u64::from(page_size);
    let mut tables = Vec::new();
    let mut add = |name: &str, kind: Kind, big: u64, share: u64, create: String| {
        let spatial = create.contains("POINT");
        let name = format!("{MAIN}.{name}");
        tables.push(Table { name, kind, big, share, create, top: AtomicU64::new(0), spatial });
    };
    let keys = "PRIMARY KEY (id), KEY k (k), KEY ck (c(20), k)";
    let charset = "DEFAULT CHARSET=utf8mb4";
    let innodb =
        |more: &str, options: &str| format!("({COLUMNS}, {keys}{more}) ENGINE=InnoDB {charset} {options}");
    add("t_dynamic", Kind::InnoDb, page * 3, 6, innodb(", UNIQUE KEY nk (n, id)", "ROW_FORMAT=DYNAMIC"));
    add("t_compact", Kind::InnoDb, page * 2, 4, innodb("", "ROW_FORMAT=COMPACT"));
    add("t_redundant", Kind::InnoDb, page * 2, 4, innodb("", "ROW_FORMAT=REDUNDANT"));
    if page_size <= 16384 {
        let half = innodb("", &format!("ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE={}", page_size / 2048));
        add("t_zip", Kind::InnoDb, page, 4, half);
        let whole = innodb("", &format!("ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE={}", page_size / 1024));
        add("t_zip_whole", Kind::InnoDb, page, 2, whole);
    }
    if mariadb {
        add("t_pages", Kind::InnoDb, page * 2, 4, innodb("", "PAGE_COMPRESSED=1"));
    } else if page_size > 4096 {
        add("t_pages", Kind::InnoDb, page * 2, 4, innodb("", "COMPRESSION='zlib'"));
    }
    add("t_words", Kind::InnoDb, 200, 1, innodb(", FULLTEXT KEY ft (c)", ""));
    // MySQL uses a spatial index only where the column says in which reference system its values are.
    let srid = if mariadb { "" } else { " SRID 0" };
    let spatial = format!(", g POINT NOT NULL{srid}, SPATIAL KEY gk (g)");
    add("t_places", Kind::InnoDb, 200, 1, innodb(&spatial, ""));
    // MariaDB's purge complains now and then of an index on a virtual column, load or no load of ours.
    let computed = if mariadb { "KEY vk (s)" } else { "KEY vk (v), KEY sk (s)" };
    let computed = format!(", v INT AS (k + 7) VIRTUAL, s INT AS (k * 2) STORED, {computed}");
    add("t_computed", Kind::InnoDb, page, 2, innodb(&computed, ""));
    let parts = "PARTITION BY HASH (id) PARTITIONS 5";
    add("t_parts", Kind::InnoDb, page, 3, innodb("", parts));
    let ranges = "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (1000), \
        PARTITION p1 VALUES LESS THAN (4000), PARTITION pz VALUES LESS THAN MAXVALUE)";
    add("t_ranges", Kind::InnoDb, page, 2, innodb("", ranges));
    add("t_swap", Kind::InnoDb, page, 2, innodb("", ""));
    add("t_swap2", Kind::InnoDb, page, 2, innodb("", ""));
    add("t_truncated", Kind::InnoDb, page, 1, innodb("", ""));
    add("t_instant", Kind::InnoDb, page, 2, innodb("", ""));
    add("t_rebuilt", Kind::InnoDb, page, 2, innodb("", ""));
    add("t_lob", Kind::InnoDb, 600_000, 8, innodb("", ""));
    if other_engines {
        let other = |options: &str| format!("({COLUMNS}, {keys}) {charset} {options}");
        add("o_myisam", Kind::Plain, 3000, 1, other("ENGINE=MyISAM"));
        if mariadb {
            add("o_aria", Kind::Plain, 3000, 1, other("ENGINE=Aria TRANSACTIONAL=1"));
            add("o_aria_plain", Kind::Plain, 3000, 1, other("ENGINE=Aria TRANSACTIONAL=0"));
        }
        let csv =
            "(id BIGINT NOT NULL, k INT NOT NULL, c VARCHAR(60) NOT NULL) ENGINE=CSV DEFAULT CHARSET=utf8mb4";
        add("o_csv", Kind::Append, 0, 0, csv.to_owned());
        let archive = "(id BIGINT NOT NULL, k INT NOT NULL, c VARCHAR(60) NOT NULL) ENGINE=ARCHIVE \
            DEFAULT CHARSET=utf8mb4";
        add("o_archive", Kind::Append, 0, 0, archive.to_owned());
    }
    tables
}

/// Everything that stands before the load starts.
pub fn create(session: &mut Session, common: &Common) -> Result<()> {
    session.exec(&format!("CREATE DATABASE {MAIN} DEFAULT CHARACTER SET utf8mb4"))?;
    session.exec(&format!("CREATE DATABASE {OTHER} DEFAULT CHARACTER SET latin1"))?;
    for table in &common.tables {
        session.exec(&format!("CREATE TABLE {} {}", table.name, table.create))?;
    }
    for sql in [
        "CREATE TABLE shop.f_parent (id INT NOT NULL PRIMARY KEY, c VARCHAR(40)) ENGINE=InnoDB",
        "CREATE TABLE shop.f_child (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, parent INT NOT NULL, c VARCHAR(40), \
         KEY (parent), FOREIGN KEY (parent) REFERENCES shop.f_parent (id) ON DELETE CASCADE) ENGINE=InnoDB",
        "CREATE TABLE shop.x_accounts (id INT NOT NULL PRIMARY KEY, amount BIGINT NOT NULL, note VARCHAR(200)) \
         ENGINE=InnoDB",
        "CREATE TABLE shop.t_audit (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, what VARCHAR(20), which BIGINT) \
         ENGINE=InnoDB",
        "CREATE TRIGGER shop.t_dynamic_deleted AFTER DELETE ON shop.t_dynamic FOR EACH ROW \
         INSERT INTO shop.t_audit (what, which) VALUES ('deleted', OLD.id)",
        "CREATE VIEW shop.v_sums AS SELECT k % 10 AS bucket, COUNT(*) AS many FROM shop.t_compact GROUP BY k % 10",
        "CREATE PROCEDURE shop.noop() SELECT 1",
        "CREATE EVENT shop.never ON SCHEDULE EVERY 1 YEAR STARTS '2035-01-01 00:00:00' DISABLE DO SELECT 1",
    ] {
        session.exec(sql)?;
    }
    if common.shape.other_engines {
        for sql in [
            "CREATE TABLE shop.o_part1 (id INT NOT NULL, c VARCHAR(40), KEY (id)) ENGINE=MyISAM",
            "CREATE TABLE shop.o_part2 (id INT NOT NULL, c VARCHAR(40), KEY (id)) ENGINE=MyISAM",
            "INSERT INTO shop.o_part1 VALUES (1,'one'), (2,'two')",
            "INSERT INTO shop.o_part2 VALUES (3,'three')",
            "CREATE TABLE shop.o_merge (id INT NOT NULL, c VARCHAR(40), KEY (id)) ENGINE=MERGE \
             UNION=(shop.o_part1, shop.o_part2) INSERT_METHOD=LAST",
        ] {
            session.exec(sql)?;
        }
    }
    if common.mariadb {
        session.exec("CREATE SEQUENCE shop.s_numbers START WITH 1 CACHE 50")?;
    } else {
        session.exec("CREATE TABLESPACE shared_space ADD DATAFILE 'shared_space.ibd'")?;
        for table in ["g_one", "g_two"] {
            session.exec(&format!(
                "CREATE TABLE shop.{table} (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, c VARCHAR(60)) \
                 TABLESPACE shared_space"
            ))?;
        }
    }
    Ok(())
}

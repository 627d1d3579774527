//! The tables that the load works on: every row format, and every kind of index.

/// Columns that most tables have.
pub const COLUMNS: &str = "id BIGINT NOT NULL, k INT, c CHAR(20), v VARCHAR(200), w VARBINARY(400) NULL, b MEDIUMBLOB, \
    d DECIMAL(12,3) NOT NULL DEFAULT 0, f CHAR(10) NOT NULL DEFAULT 'fixed', PRIMARY KEY (id), KEY (k), \
    KEY (v(60), k), KEY (d)";
/// Less of it, for the smallest compressed pages.
const NARROW: &str = "id BIGINT NOT NULL, k INT, c CHAR(20), v VARCHAR(60), w VARBINARY(60) NULL, b BLOB, \
    d DECIMAL(12,3) NOT NULL DEFAULT 0, f CHAR(10) NOT NULL DEFAULT 'fixed', PRIMARY KEY (id), KEY (k), KEY (v(20))";

/// Name, columns and options of each table; those with the common columns go into `plain`, too.
pub fn definitions(page_size: u32, plain: &mut Vec<String>) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (name, format) in [("dyn", "DYNAMIC"), ("cmp", "COMPACT"), ("red", "REDUNDANT")] {
        plain.push(name.to_owned());
        all.push((name.to_owned(), COLUMNS.to_owned(), format!("ROW_FORMAT={format}")));
    }
    for kib in [1, 2, 4, 8, 16] {
        if page_size <= 16384 && kib * 1024 <= page_size {
            let columns = if kib <= 2 { NARROW } else { COLUMNS };
            plain.push(format!("z{kib}"));
            let options = format!("ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE={kib}");
            all.push((format!("z{kib}"), columns.to_owned(), options));
        }
    }
    plain.push("part".to_owned());
    all.push(("part".to_owned(), COLUMNS.to_owned(), "PARTITION BY HASH(id) PARTITIONS 3".to_owned()));
    for (name, format) in [("inst_d", "DYNAMIC"), ("inst_r", "REDUNDANT"), ("inst_c", "COMPACT")] {
        all.push((name.to_owned(), COLUMNS.to_owned(), format!("ROW_FORMAT={format}")));
        plain.push(name.to_owned());
    }
    let text = |s: &str| s.to_owned();
    all.push((
        text("wide"),
        text("a VARCHAR(150) NOT NULL, n INT, u VARBINARY(80), b BLOB, PRIMARY KEY (a), KEY (u)"),
        String::new(),
    ));
    all.push((
        text("wide_r"),
        text("a VARCHAR(150) NOT NULL, n INT, u VARBINARY(80), b BLOB, PRIMARY KEY (a), KEY (u)"),
        text("ROW_FORMAT=REDUNDANT"),
    ));
    if page_size <= 16384 {
        all.push((
            text("wide_z"),
            text("a VARCHAR(150) NOT NULL, n INT, u VARBINARY(80), b BLOB, PRIMARY KEY (a), KEY (u)"),
            text("ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4"),
        ));
    }
    for (name, format) in [("geo", "DYNAMIC"), ("geo_r", "REDUNDANT")] {
        all.push((
            text(name),
            text("id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, g GEOMETRY NOT NULL SRID 0, s VARCHAR(20), SPATIAL KEY (g)"),
            format!("ROW_FORMAT={format}"),
        ));
    }
    all.push((
        text("fts"),
        text("id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, t TEXT, FULLTEXT (t)"),
        String::new(),
    ));
    all.push((
        text("js"),
        text("id BIGINT NOT NULL PRIMARY KEY, j JSON, a INT GENERATED ALWAYS AS (j->'$.n') VIRTUAL, KEY (a), KEY m ((CAST(j->'$.l' AS UNSIGNED ARRAY)))"),
        String::new(),
    ));
    if page_size <= 16384 {
        all.push((
            text("js_z"),
            text("id BIGINT NOT NULL PRIMARY KEY, j JSON, a INT GENERATED ALWAYS AS (j->'$.n') VIRTUAL, KEY (a)"),
            text("ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4"),
        ));
    }
    all.push((text("par"), text("id BIGINT NOT NULL PRIMARY KEY, x INT"), String::new()));
    all.push((
        text("chi"),
        text("id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, p BIGINT, x VARCHAR(40), KEY (p), FOREIGN KEY (p) REFERENCES par (id) ON DELETE CASCADE ON UPDATE SET NULL"),
        String::new(),
    ));
    all
}

//! A data set like sysbench's: equal tables of rows with random digits, so that a tool which gives each table to one
//! thread has no table left over. Loaded without the binary log and written out, so that a backup's redo begins with
//! the load that runs beside it and not with this.

use anyhow::{Result, bail};
use reseed_tests::Server;

pub const TABLES: u64 = 8;
/// Bytes of a row with its index entry, about.
const ROW: u64 = 235;
const BATCH: u64 = 50_000;

/// Rows of each table.
pub fn rows(mib: u32) -> u64 {
    ((u64::from(mib) << 20) / ROW / TABLES).max(1000)
}

pub fn fill(server: &mut Server, mib: u32) -> Result<()> {
    let mariadb = server.kind().is_mariadb();
    let mut session = server.session()?;
    session.exec("CREATE DATABASE bench")?;
    session.exec("SET SESSION sql_log_bin=0, unique_checks=0")?;
    if !mariadb {
        session.exec(&format!("SET SESSION cte_max_recursion_depth={BATCH}"))?;
    }
    for table in 1..=TABLES {
        session.exec(&format!(
            "CREATE TABLE bench.sbtest{table} (id INT NOT NULL AUTO_INCREMENT, k INT NOT NULL DEFAULT 0, \
             c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', PRIMARY KEY (id)) \
             ENGINE=InnoDB DEFAULT CHARSET=latin1"
        ))?;
        let total = rows(mib);
        let mut done = 0;
        while done < total {
            let upto = (done + BATCH).min(total);
            session.exec(&format!(
                "INSERT INTO bench.sbtest{table} SELECT seq, RAND() * {total}, {}, {} FROM {}",
                digits(10),
                digits(5),
                numbers(mariadb, done + 1, upto),
            ))?;
            done = upto;
        }
        session.exec(&format!("ALTER TABLE bench.sbtest{table} ADD KEY k_{table} (k)"))?;
    }
    drop(session);
    // The end of a server writes everything out, far quicker than a running one does.
    server.restart()
}

/// A table of numbers whose column is `seq`.
fn numbers(mariadb: bool, from: u64, upto: u64) -> String {
    if mariadb {
        return format!("bench.seq_{from}_to_{upto}");
    }
    format!(
        "(WITH RECURSIVE n AS (SELECT {from} AS seq UNION ALL SELECT seq + 1 FROM n WHERE seq < {upto}) \
         SELECT seq FROM n) AS numbers"
    )
}

/// Groups of eleven random digits, as sysbench has them.
pub fn digits(groups: usize) -> String {
    let group = "LPAD(FLOOR(RAND() * 99999999999), 11, '0')";
    format!("CONCAT_WS('-', {})", vec![group; groups].join(", "))
}

/// Data and indexes as they lie on disk.
pub fn size_mib(server: &Server) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(server.datadir().join("bench"))? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes >> 20)
}

/// The load replaces rows and never changes their number: a copy that lost some is no copy.
pub fn assert_whole(copy: &Server, mib: u32) -> Result<()> {
    for table in 1..=TABLES {
        let name = format!("bench.sbtest{table}");
        let count = copy.value(&format!("SELECT COUNT(*) FROM {name}"))?;
        if count != rows(mib).to_string() {
            bail!("{name} has {count} rows in the copy instead of {}", rows(mib));
        }
        let check = copy.rows(&format!("CHECK TABLE {name}"))?;
        if check.iter().any(|row| row.get(3).is_none_or(|word| word != "OK")) {
            bail!("the copy's {name} is not sound: {check:?}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gibibyte_is_millions_of_rows_and_nothing_is_not_nothing() {
        assert_eq!((rows(1024) * TABLES * ROW) >> 20, 1023);
        assert_eq!(rows(0), 1000);
        assert_eq!(digits(2).matches("RAND").count(), 2);
    }
}

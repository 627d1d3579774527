//! The README and the runbooks about one server's own backups, run as they are printed.

use anyhow::{Result, ensure};
use reseed_tests::{Document, Family, Host, Kit, Stage};

/// A host whose server has something to lose.
fn host(name: &str, server: &str, id: u32) -> Result<Host> {
    let mut host = Host::start(name, Kit::server(server)?.server_id(id))?;
    host.server().sql(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(200))",
        "INSERT INTO shop.orders VALUES (1, 'one'), (2, 'two')",
    ])?;
    for place in ["srv", "textfiles"] {
        std::fs::create_dir_all(host.place(place))?;
    }
    let places = [
        ("/srv/restore-test", host.place("srv/restore-test")),
        ("/var/lib/prometheus/node-exporter", host.place("textfiles")),
    ];
    for (known, meaning) in places {
        host.name_in_documents(known, meaning.display().to_string());
    }
    // The server's own default is large enough for a test.
    host.name_in_documents("8 << 30", "128 << 20");
    Ok(host)
}

/// What the README's first commands leave behind.
fn with_a_backup(server: &str) -> Result<Host> {
    let host = host("db1", server, 1)?;
    let ran = host.sh(&host.table().apply(
        "reseed setup --quiet --repo /backup --name db1 --run && reseed backup --quiet --name db1",
    )?)?;
    ensure!(ran.code == Some(0), "{ran:?}");
    Ok(host)
}

fn play(host: Host, document: &str) -> Result<Stage> {
    let stage = Stage::new(vec![host]);
    stage.play(&Document::read(document)?)?;
    Ok(stage)
}

#[test]
fn readme() -> Result<()> {
    let mut source = host("db1", "mariadb-10.11", 1)?;
    let mut replica = Host::start("replica", Kit::server("mariadb-10.11")?.server_id(2))?;
    let source_address = source.address().to_owned();
    for host in [&mut source, &mut replica] {
        host.name_in_documents("10.0.0.5", source_address.clone());
    }
    // The repository is one that both reach.
    replica.name_in_documents("/backup", source.place("backup").display().to_string());
    let stage = Stage::new(vec![source, replica]);
    stage.play(&Document::read("README.md")?)?;
    let (source, replica) = (stage.host("db1")?, stage.host("replica")?);
    ensure!(source.server().checksums()? == replica.server().checksums()?);
    Ok(())
}

#[test]
fn hourly_backups_mariadb() -> Result<()> {
    play(host("db1", "mariadb-10.11", 1)?, "docs/runbooks/hourly-backups.md").map(drop)
}

#[test]
fn hourly_backups_mysql() -> Result<()> {
    play(host("db1", "mysql-9.7", 1)?, "docs/runbooks/hourly-backups.md").map(drop)
}

#[test]
fn disk_full_and_corrupt_page() -> Result<()> {
    let stage = play(with_a_backup("mariadb-10.11")?, "docs/runbooks/disk-full.md")?;
    stage.play(&Document::read("docs/runbooks/corrupt-page.md")?).map(drop)
}

#[test]
fn redo_overrun() -> Result<()> {
    for server in ["mariadb-10.11", "mysql-9.7"] {
        let stage = play(with_a_backup(server)?, "docs/runbooks/redo-overrun.md")?;
        let host = stage.host("db1")?;
        let size = host.server().value(match host.family() {
            Family::MariaDb => "SELECT @@global.innodb_log_file_size",
            Family::MySql => "SELECT @@global.innodb_redo_log_capacity",
        })?;
        ensure!(size == (128u64 << 20).to_string(), "{server}: {size}");
    }
    Ok(())
}

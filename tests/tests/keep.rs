//! `--keep`: what an old datadir holds beside its data comes along into the new one, and nothing that belongs to the
//! data does, whatever the pattern.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use reseed_tests::trip::on_restored;
use reseed_tests::{Finished, Kit, Trip};

const OPTION_FILE: &str = "[mysqld]\nskip_replica_start\n";

fn kept(run: &Finished) -> Result<Vec<String>> {
    let document: serde_json::Value = serde_json::from_str(&run.stdout)?;
    let kept = document.get("kept").and_then(serde_json::Value::as_array).context("no list of kept files")?;
    Ok(kept.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

fn uuid(datadir: &Path) -> Result<String> {
    let text = fs::read_to_string(datadir.join("auto.cnf"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("server-uuid=")).context("no server-uuid")?;
    Ok(line.to_owned())
}

#[test]
fn option_file_certificates_and_identity_come_along_and_no_data() -> Result<()> {
    let source = Kit::server("mysql-9.7")?.start()?;
    let trip = Trip::new()?;
    trip.backup(&source)?.run()?.expect_success()?;
    let datadir = trip.place("data");
    trip.restore(&datadir)?.run()?.expect_success()?;
    // A server has run on it: it has a UUID, binary logs and what else servers make.
    let mut replica = on_restored(&source, &datadir, 2).start()?;
    replica.sql(&["CREATE DATABASE of_the_replica"])?;
    replica.stop()?;
    fs::write(datadir.join("my.cnf"), OPTION_FILE)?;
    fs::set_permissions(datadir.join("my.cnf"), fs::Permissions::from_mode(0o640))?;
    fs::create_dir(datadir.join("tls"))?;
    fs::write(datadir.join("tls/ours.pem"), "-----BEGIN CERTIFICATE-----\n")?;
    symlink("tls/ours.pem", datadir.join("current.pem"))?;
    let identity = uuid(&datadir)?;
    ensure!(identity != uuid(source.datadir())?, "the restored server has the source's UUID");
    // From the configuration, as from the command line.
    let configuration = trip.place("reseed.toml");
    fs::write(&configuration, "[restore]\nkeep = [\"my.cnf\", \"**/*.pem\"]\n")?;

    for how in ["--move-aside", "--delta"] {
        let configured = trip.restore(&datadir)?.env("RESEED_CONFIG", &configuration).args([how, "--json"]);
        let run = configured.run()?.expect_success()?;
        let names = kept(&run)?;
        for name in ["my.cnf", "tls/ours.pem", "current.pem"] {
            ensure!(names.iter().any(|kept| kept == name), "{how}: {name} is not among {names:?}");
        }
        ensure!(!names.iter().any(|name| name == "auto.cnf"), "{how}: {names:?}");
        ensure!(fs::read_to_string(datadir.join("my.cnf"))? == OPTION_FILE, "{how}: my.cnf");
        ensure!(
            fs::metadata(datadir.join("my.cnf"))?.permissions().mode() & 0o777 == 0o640,
            "{how}: its mode"
        );
        ensure!(fs::read_link(datadir.join("current.pem"))? == Path::new("tls/ours.pem"), "{how}: the link");
        // What is aside has everything still.
        let document: serde_json::Value = serde_json::from_str(&run.stdout)?;
        let aside = document.get("moved_aside").and_then(|aside| aside.as_str()).context("nothing aside")?;
        ensure!(fs::read_to_string(Path::new(aside).join("my.cnf"))? == OPTION_FILE, "{how}: aside");
        // For the next round: with the identity of the replica.
        fs::copy(Path::new(aside).join("auto.cnf"), datadir.join("auto.cnf"))?;
    }

    // Everything, as far as it is not data. The server has begun to write binary logs again.
    let mut replica = on_restored(&source, &datadir, 2).start()?;
    replica.sql(&["CREATE DATABASE of_the_replica"])?;
    replica.stop()?;
    let run =
        trip.restore(&datadir)?.args(["--move-aside", "--keep=**/*", "--json"]).run()?.expect_success()?;
    let names = kept(&run)?;
    ensure!(names.iter().any(|name| name == "auto.cnf"), "auto.cnf is not among {names:?}");
    let is_data = |name: &&String| {
        name.ends_with(".ibd") || name.contains("binlog") || name.contains("ibdata") || name.contains('#')
    };
    ensure!(!names.iter().any(|name| is_data(&name)), "data was kept: {names:?}");
    ensure!(run.stderr.contains("not kept, as they belong to the data"), "{}", run.stderr);
    let mut replica = on_restored(&source, &datadir, 2).start()?;
    ensure!(replica.value("SELECT @@GLOBAL.server_uuid")? == identity, "it is another server now");
    let databases = replica.rows("SHOW DATABASES LIKE 'of_the_replica'")?;
    ensure!(databases.is_empty(), "a database of the old datadir is in the new one");
    replica.stop()?;

    // The source's own, as a datadir has it that was copied by hand.
    fs::copy(source.datadir().join("auto.cnf"), datadir.join("auto.cnf"))?;
    let args = ["--move-aside", "--keep=auto.cnf", "--keep=nothing.*", "--json"];
    let run = trip.restore(&datadir)?.args(args).run()?.expect_success()?;
    ensure!(kept(&run)?.is_empty() && !datadir.join("auto.cnf").exists(), "the source's UUID was kept");
    for word in ["auto.cnf was not kept", "fits --keep nothing.*"] {
        ensure!(run.stderr.contains(word), "{word:?} is not told: {}", run.stderr);
    }
    // What leads out of the datadir is no pattern.
    trip.restore(&datadir)?.args(["--move-aside", "--keep=../x"]).run()?.expect_code(2)?;
    Ok(())
}

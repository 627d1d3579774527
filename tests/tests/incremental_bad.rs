//! Chains that something happened to: parts that are missing or are not what they were, sets of another server under the
//! same name, a repository that cannot be written. Nothing is restored that is not whole, and what is refused is named.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use reseed_tests::faults::small;
use reseed_tests::trip::{NAME, on_restored};
use reseed_tests::{Finished, Reseed, Server, Trip, copy_tree, tool};
use serde_json::Value;

const MARIADB: &str = "mariadb-10.11";
const MYSQL: &str = "mysql-9.7";

fn backup(trip: &Trip, server: &Server, more: &[&str]) -> Result<Value> {
    let finished = trip.backup(server)?.arg("--json").args(more).run()?.expect_success()?;
    Ok(serde_json::from_str(&finished.stdout)?)
}

fn id(set: &Value) -> Result<&str> {
    set["id"].as_str().context("no id")
}

fn on(trip: &Trip, command: &str, which: &str) -> Result<Reseed> {
    Ok(Reseed::new([command])?.arg("--repo").arg(trip.repo()).args(["--name", NAME, which]))
}

fn restore(trip: &Trip, which: &str) -> Result<Finished> {
    let datadir = trip.place("restored");
    let finished = on(trip, "restore", which)?.arg("--datadir").arg(&datadir).run()?;
    ensure!(finished.code == Some(0) || !datadir.exists(), "something was restored");
    if datadir.exists() {
        fs::remove_dir_all(datadir)?;
    }
    Ok(finished)
}

fn names(told: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(told.contains(word), "{word} is not named in:\n{told}");
    }
    Ok(())
}

fn flip(file: &Path, at: usize) -> Result<()> {
    let mut bytes = fs::read(file)?;
    *bytes.get_mut(at).context("beyond the file")? ^= 1;
    Ok(fs::write(file, bytes)?)
}

/// A full set and two incremental ones on it; the server, which goes on.
struct Chain {
    server: Server,
    trip: Trip,
    ids: Vec<String>,
}

impl Chain {
    fn new(name: &str) -> Result<Chain> {
        let mut server = small(name)?;
        // Or else the pages are in the redo only.
        server.restart()?;
        let trip = Trip::new()?;
        let mut ids = vec![id(&backup(&trip, &server, &["--compress=none"])?)?.to_owned()];
        for row in ["one", "two"] {
            server.sql(&[&format!("UPDATE shop.t SET c = '{row}' WHERE id < 10")])?;
            let set = backup(&trip, &server, &["--incremental", "--compress=none"])?;
            ensure!(set["kind"] == "incremental", "{set:#}");
            ids.push(id(&set)?.to_owned());
        }
        Ok(Chain { server, trip, ids })
    }

    fn dir(&self, set: usize) -> PathBuf {
        self.trip.repo().join(NAME).join(&self.ids[set])
    }

    /// The pack of the full set that the table lies in, and a place in its rows.
    fn table(&self) -> Result<(PathBuf, usize)> {
        for entry in fs::read_dir(self.dir(0))? {
            let file = entry?.path();
            let bytes = fs::read(&file)?;
            let header = bytes.windows(11).position(|part| part == b"shop/t.ibd\0");
            if let Some(at) = header.filter(|_| file.extension().is_some_and(|ext| ext == "tar")) {
                return Ok((file, at + 512 + 100_000));
            }
        }
        anyhow::bail!("shop/t.ibd is in no pack")
    }
}

#[test]
fn what_a_chain_builds_on_is_missing_or_altered() -> Result<()> {
    let chain = Chain::new(MARIADB)?;
    let Chain { server, trip, ids } = &chain;
    let newest = ids[2].as_str();
    restore(trip, newest)?.expect_success()?;

    // A page of the full set: found at the restore, and by verify of the newest set, which reads all of the chain.
    let (pack, at) = chain.table()?;
    let pack_name = pack.file_name().context("no name")?.to_string_lossy().into_owned();
    flip(&pack, at)?;
    let refused = restore(trip, newest)?.expect_code(10)?;
    names(&refused.stderr, &[&ids[0], &pack_name, "shop/t.ibd", "bytes "])?;
    let verified = on(trip, "verify", newest)?.run()?.expect_code(10)?;
    names(
        &format!("{}{}", verified.stdout, verified.stderr),
        &[&format!("{}: DAMAGED", ids[0]), &pack_name, &format!("{newest}: DAMAGED"), "it builds on"],
    )?;
    // Known to be damaged, it is built on no more.
    let full = backup(trip, server, &["--incremental"])?;
    ensure!(full["kind"] == "full", "{full:#}");
    names(&full["notes"].to_string(), &["no good set to build on"])?;
    fs::remove_dir_all(trip.repo().join(NAME).join(id(&full)?))?;
    flip(&pack, at)?;
    on(trip, "verify", newest)?.run()?.expect_success()?;

    // The list of files: a backup reads it too, and takes a full set instead. A set that was named is refused.
    let index = chain.dir(1).join("files.jsonl.zst");
    let middle = fs::metadata(&index)?.len() / 2;
    flip(&index, usize::try_from(middle)?)?;
    names(&restore(trip, newest)?.expect_code(10)?.stderr, &[&ids[1], "files.jsonl.zst"])?;
    let full = backup(trip, server, &["--incremental"])?;
    ensure!(full["kind"] == "full", "{full:#}");
    names(&full["notes"].to_string(), &["cannot be built on", &ids[1], "files.jsonl.zst"])?;
    fs::remove_dir_all(trip.repo().join(NAME).join(id(&full)?))?;
    let refused = trip.backup(server)?.args(["--parent", newest]).run()?.expect_code(10)?;
    names(&refused.stderr, &[&ids[1], "files.jsonl.zst"])?;
    flip(&index, usize::try_from(middle)?)?;

    // A pack that is not there, a manifest that is another one, a set that is not there.
    let aside = trip.place("aside");
    fs::rename(&pack, &aside)?;
    names(&restore(trip, newest)?.expect_code(10)?.stderr, &[&ids[0], &pack_name, "missing"])?;
    let full = backup(trip, server, &["--incremental"])?;
    names(&full["notes"].to_string(), &["cannot be built on", &ids[0], &pack_name])?;
    fs::remove_dir_all(trip.repo().join(NAME).join(id(&full)?))?;
    fs::rename(&aside, &pack)?;

    let other = backup(trip, server, &[])?;
    let other = trip.repo().join(NAME).join(id(&other)?);
    fs::rename(chain.dir(1), &aside)?;
    names(&restore(trip, newest)?.expect_code(10)?.stderr, &[newest, &ids[1], "not there"])?;
    fs::rename(&other, chain.dir(1))?;
    restore(trip, newest)?.expect_code(10)?;
    let listed = Reseed::new(["list", "--repo"])?.arg(trip.repo()).run()?.expect_success()?;
    names(&listed.stdout, &["CHAIN BROKEN"])?;
    let full = backup(trip, server, &["--incremental"])?;
    ensure!(full["parent"] == ids[0].as_str(), "the newest good set is the full one: {full:#}");
    fs::remove_dir_all(trip.repo().join(NAME).join(id(&full)?))?;
    fs::remove_dir_all(chain.dir(1))?;
    fs::rename(&aside, chain.dir(1))?;
    restore(trip, newest)?.expect_success()?;
    Ok(())
}

/// Two servers under one name: neither is built on the other, and nobody can miss it.
fn another_server(name: &str) -> Result<()> {
    let mut one = small(name)?;
    let trip = Trip::new()?;
    let first = backup(&trip, &one, &[])?;
    ensure!(!first["notes"].to_string().contains("another server"), "{first:#}");
    one.stop()?;
    let two = small(name)?;
    let told = ["another server", id(&first)?];
    let refused = trip.backup(&two)?.args(["--parent", id(&first)?]).run()?.expect_code(2)?;
    names(&refused.stderr, &["cannot be built on", id(&first)?])?;
    let set = backup(&trip, &two, &["--incremental"])?;
    ensure!(set["kind"] == "full", "{set:#}");
    names(&set["notes"].to_string(), &told)?;
    names(&set["notes"].to_string(), &["cannot be built on"])?;
    fs::remove_dir_all(trip.repo().join(NAME).join(id(&set)?))?;
    let set = backup(&trip, &two, &[])?;
    names(&set["notes"].to_string(), &told)?;
    // Once it is the newest set's server it is no stranger.
    let set = backup(&trip, &two, &["--incremental"])?;
    ensure!(set["kind"] == "incremental", "{set:#}");
    ensure!(!set["notes"].to_string().contains("another server"), "{set:#}");
    Ok(())
}

#[test]
fn a_name_that_another_server_had_mariadb() -> Result<()> {
    another_server(MARIADB)
}

#[test]
fn a_name_that_another_server_had_mysql() -> Result<()> {
    another_server(MYSQL)
}

/// Every file's bytes as they were, in the files that are there now: their numbers and times of birth stay.
fn set_back(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            set_back(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

#[test]
fn a_volume_that_was_set_back_is_noticed() -> Result<()> {
    let mut server = small(MARIADB)?;
    server.sql(&["CREATE TABLE shop.later (id INT PRIMARY KEY, c VARBINARY(1000))"])?;
    server.stop()?;
    let trip = Trip::new()?;
    let snapshot = trip.place("snapshot");
    copy_tree(server.datadir(), &snapshot)?;
    server.start()?;
    server.sql(&["UPDATE shop.t SET c = 'after the snapshot' WHERE id < 10"])?;
    // Or else the pages are in the redo only.
    server.restart()?;
    let first = backup(&trip, &server, &[])?;
    server.stop()?;
    set_back(&snapshot, server.datadir())?;
    server.start()?;
    // Past all that the set has seen, and in another place.
    server.sql(&["INSERT INTO shop.later SELECT id, c FROM shop.t WHERE id > 1000"])?;
    ensure!(server.value("SELECT COUNT(*) FROM shop.t WHERE c = 'after the snapshot'")? == "0");
    let refused = trip.backup(&server)?.args(["--parent", id(&first)?]).run()?.expect_code(2)?;
    names(&refused.stderr, &["set back", ".ibd"])?;
    let second = backup(&trip, &server, &["--incremental"])?;
    ensure!(second["kind"] == "full", "{second:#}");
    names(&second["notes"].to_string(), &["cannot be built on", id(&first)?, "set back"])?;
    let third = backup(&trip, &server, &["--incremental"])?;
    ensure!(third["kind"] == "incremental" && third["parent"] == second["id"], "{third:#}");

    let datadir = trip.place("restored");
    on(&trip, "restore", id(&third)?)?.arg("--datadir").arg(&datadir).run()?.expect_success()?;
    let mut restored = on_restored(&server, &datadir, 2).start()?;
    ensure!(restored.checksums()? == server.checksums()?);
    restored.stop()
}

/// Takes the right to write from everything below, and gives all the right to read.
fn read_only(dir: &Path, yes: bool) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            read_only(&path, yes)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(if yes { 0o444 } else { 0o644 }))?;
        }
    }
    Ok(fs::set_permissions(dir, fs::Permissions::from_mode(if yes { 0o555 } else { 0o755 }))?)
}

/// A command line by somebody whom permissions bind: root's are given up.
fn as_nobody(binary: &Path, args: &[&str]) -> Result<Finished> {
    const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let prefix = if nix::unistd::geteuid().is_root() { NOBODY } else { &[] };
    Reseed::of(prefix, binary, args).run()
}

#[test]
fn a_repository_that_cannot_be_written_can_be_read() -> Result<()> {
    let chain = Chain::new(MARIADB)?;
    let trip = &chain.trip;
    let newest = chain.ids[2].as_str();
    let repo = trip.repo().display().to_string();
    let open = trip.place("open");
    fs::create_dir(&open)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
    fs::set_permissions(trip.place("."), fs::Permissions::from_mode(0o755))?;
    let binary = trip.place("reseed");
    fs::copy(tool::binary()?, &binary)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    read_only(&trip.repo(), true)?;
    let run = |command: &str, more: &[&str]| {
        let words: Vec<&str> =
            [command, "--repo", &repo, "--name", NAME].iter().chain(more).copied().collect();
        as_nobody(&binary, &words)
    };
    // The proof that it cannot be written by who runs this.
    let pinned = run("pin", &[newest])?;
    ensure!(pinned.code != Some(0) && pinned.stderr.contains("denied"), "{pinned:?}");

    names(&run("list", &[])?.expect_success()?.stdout, &[newest])?;
    names(&run("show", &["latest"])?.expect_success()?.stdout, &[newest, &chain.ids[1]])?;
    let verified = run("verify", &["all"])?.expect_success()?;
    names(&format!("{}{}", verified.stdout, verified.stderr), &[newest, "nothing wrong"])?;
    run("verify", &["latest", "--pages"])?.expect_success()?;
    let datadir = open.join("restored").display().to_string();
    run("restore", &["latest", "--datadir", &datadir])?.expect_success()?;
    ensure!(Path::new(&datadir).join("shop/t.ibd").exists(), "nothing was restored");
    let expired = run("expire", &["--keep-fulls", "1"])?;
    ensure!(expired.code != Some(0) && expired.stderr.contains("denied"), "{expired:?}");
    read_only(&trip.repo(), false)?;
    let listed = Reseed::new(["list", "--json", "--repo"])?.arg(trip.repo()).run()?.expect_success()?;
    let listed: Value = serde_json::from_str(&listed.stdout)?;
    ensure!(listed["servers"][0]["sets"].as_array().map(Vec::len) == Some(3), "{listed:#}");
    Ok(())
}

//! A clock that goes back, between backups and during one. Which set is newer, what builds on what and what is kept must
//! not depend on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use reseed_tests::faults::{Pause, assert_nothing_left, small};
use reseed_tests::trip::{NAME, on_restored};
use reseed_tests::{Clock, Finished, Reseed, Server, Trip};
use serde_json::Value;

const MARIADB: &str = "mariadb-10.11";
const MYSQL: &str = "mysql-9.7";

/// A set, and what the server had in it then.
#[derive(Debug)]
struct Taken {
    id: String,
    parent: Option<String>,
    notes: String,
    checksums: BTreeMap<String, String>,
}

impl Taken {
    /// The time in its name.
    fn time(&self) -> &str {
        self.id.split('-').next().unwrap_or_default()
    }
}

struct Place {
    server: Server,
    trip: Trip,
    rows: u32,
}

impl Place {
    fn with(server: &str) -> Result<Place> {
        Ok(Place { server: small(server)?, trip: Trip::new()?, rows: 0 })
    }

    fn about(&self, clock: &Clock, words: &[&str]) -> Result<Reseed> {
        Ok(clock.reseed(words)?.args(["--name", NAME, "--repo"]).arg(self.trip.repo()))
    }

    fn run(&self, clock: &Clock, words: &[&str]) -> Result<Finished> {
        self.about(clock, words)?.run()?.expect_success()
    }

    /// Changes something in all engines, and takes a set of it.
    fn backup(&mut self, clock: &Clock, kind: &str) -> Result<Taken> {
        self.rows += 1;
        self.server.sql(&[
            &format!("INSERT INTO shop.m VALUES ({})", self.rows),
            &format!("UPDATE shop.t SET c = REPEAT('{}', 500) WHERE id % 7 = 0", self.rows),
        ])?;
        let backup = self.about(clock, &["backup", "--json", "--quiet", "--type", kind])?;
        let taken = self.taken(&backup.to(&self.server).run()?.expect_success()?)?;
        assert_nothing_left(&self.server)?;
        Ok(taken)
    }

    fn taken(&self, finished: &Finished) -> Result<Taken> {
        let report: Value = serde_json::from_str(&finished.stdout)?;
        let text = |key: &str| report[key].as_str().map(str::to_owned);
        // However the clock went: nothing waited by it, and nothing was measured by it.
        let seconds = report["seconds"].as_f64().context("no seconds")?;
        ensure!((0.0..600.0).contains(&seconds), "it took {seconds} s");
        Ok(Taken {
            id: text("id").context("no id")?,
            parent: text("parent"),
            notes: report["notes"].to_string(),
            checksums: self.server.checksums()?,
        })
    }

    /// In the order in which they were taken, as `list` tells it.
    fn expect_sets(&self, clock: &Clock, taken: &[&Taken]) -> Result<()> {
        let list: Value = serde_json::from_str(&self.run(clock, &["list", "--json"])?.stdout)?;
        let sets = list["servers"][0]["sets"].as_array().context("no sets")?;
        let listed: Vec<&str> = sets.iter().filter_map(|set| set["id"].as_str()).collect();
        ensure!(listed == taken.iter().map(|set| set.id.as_str()).collect::<Vec<_>>(), "{listed:?}");
        ensure!(sets.iter().all(|set| set["restorable"] == true), "{list:#}");
        let shown: Value = serde_json::from_str(&self.run(clock, &["show", "latest", "--json"])?.stdout)?;
        let last = taken.last().context("no set")?;
        ensure!(shown["manifest"]["id"] == last.id.as_str(), "latest is {}", shown["manifest"]["id"]);
        Ok(())
    }

    fn expect_restored(&self, clock: &Clock, which: &str, taken: &Taken) -> Result<()> {
        let datadir = self.trip.place(&format!("restored-{}-{which}", taken.id));
        let words = ["restore", which, "--datadir", &datadir.display().to_string()];
        self.run(clock, &words)?;
        let restored = on_restored(&self.server, &datadir, 2).start()?;
        ensure!(restored.checksums()? == taken.checksums, "{which} is not what {} was", taken.id);
        Ok(())
    }

    fn expire(&self, clock: &Clock, rule: &str) -> Result<()> {
        self.run(clock, &["expire", rule]).map(|_| ())
    }
}

fn it_goes_back_between_backups(name: &str) -> Result<()> {
    let mut place = Place::with(name)?;
    let [right, hours, day, two_days, year_ahead] = ["+0s", "-3h", "-1d", "-2d", "+365d"].map(Clock::off_by);
    let full = place.backup(&right, "full")?;
    let first = place.backup(&hours, "incremental")?;
    let second = place.backup(&day, "incremental")?;
    let again = place.backup(&day, "full")?;
    // The clock did go back, and the names tell it.
    ensure!(second.time() < first.time() && first.time() < full.time(), "{full:?} {first:?} {second:?}");
    ensure!(again.time() < full.time(), "{again:?}");
    ensure!(first.parent.as_ref() == Some(&full.id) && second.parent.as_ref() == Some(&first.id));
    let mut sets = vec![&full, &first, &second, &again];
    for clock in [&right, &day, &two_days, &year_ahead] {
        place.expect_sets(clock, &sets)?;
    }
    place.run(&day, &["verify", "latest"])?;
    place.run(&two_days, &["verify", "all", "--pages"])?;
    place.expect_restored(&day, "latest", &again)?;
    place.expect_restored(&right, &second.id, &second)?;

    // Its age is by the clock of the host that asks; of a set of the future none can be told.
    let check = |clock: &Clock, code: i32| -> Result<String> {
        let words = ["check", "--age", "2h"];
        Ok(place.about(clock, &words)?.run()?.expect_code(code)?.stdout)
    };
    ensure!(check(&day, 0)?.contains(&again.id));
    ensure!(check(&right, 2)?.contains("is 1 d"), "{}", check(&right, 2)?);
    let future = check(&two_days, 3)?;
    ensure!(future.contains("of the future") && future.contains(&again.id), "{future}");

    // By such a clock nobody knows whether the full set is old enough for another one: it is.
    let auto = place.backup(&two_days, "auto")?;
    ensure!(auto.parent.is_none() && auto.notes.contains("the clock went back"), "{auto:?}");
    let last = place.backup(&Clock::off_by("-3d"), "auto")?;
    ensure!(last.parent.is_none() && last.notes.contains("the clock went back"), "{last:?}");
    let end = place.backup(&Clock::off_by("-4d"), "incremental")?;
    ensure!(end.parent.as_ref() == Some(&last.id), "{end:?}");
    sets.extend([&auto, &last, &end]);

    // Everything is of the future, and so within any time.
    place.expire(&Clock::off_by("-9d"), "--keep-within=1h")?;
    place.expect_sets(&right, &sets)?;
    // The newest two, not those of the latest names.
    place.expire(&right, "--keep-fulls=2")?;
    place.expect_sets(&right, &[&auto, &last, &end])?;
    // Nothing is young enough, and the last good one stays, with what it builds on.
    place.expire(&year_ahead, "--keep-within=1h")?;
    place.expect_sets(&right, &[&last, &end])?;
    place.expire(&right, "--keep-hourly=1")?;
    place.expect_sets(&right, &[&last, &end])?;
    place.run(&right, &["verify", "all", "--pages"])?;
    place.expect_restored(&right, "latest", &end)
}

#[test]
fn it_goes_back_between_backups_of_mariadb() -> Result<()> {
    it_goes_back_between_backups(MARIADB)
}

#[test]
fn it_goes_back_between_backups_of_mysql() -> Result<()> {
    it_goes_back_between_backups(MYSQL)
}

/// The same second again and again: a name is given once.
#[test]
fn it_stands_still() -> Result<()> {
    let mut place = Place::with(MARIADB)?;
    let (still, before) = ("2026-01-02 03:04:05", "2026-01-02 03:04:04");
    let clocks = [still, still, before, still].map(Clock::standing_at);
    let mut sets = Vec::new();
    for (clock, kind) in clocks.iter().zip(["full", "full", "full", "incremental"]) {
        sets.push(place.backup(clock, kind)?);
    }
    let ids: Vec<&str> = sets.iter().map(|set| set.id.as_str()).collect();
    let expected = [
        "20260102T030405Z-full",
        "20260102T030405Z-full-2",
        "20260102T030404Z-full",
        "20260102T030405Z-incr-3",
    ];
    ensure!(ids == expected, "{ids:?}");
    ensure!(sets[3].parent.as_deref() == Some(expected[2]), "{:?}", sets[3]);
    place.expect_sets(&clocks[0], &sets.iter().collect::<Vec<_>>())?;
    place.expire(&clocks[0], "--keep-fulls=1")?;
    place.expect_sets(&clocks[0], &[&sets[2], &sets[3]])?;
    // A name that has become free is no older for it.
    let next = place.backup(&clocks[0], "full")?;
    ensure!(next.id == expected[0], "{next:?}");
    place.expect_sets(&clocks[0], &[&sets[2], &sets[3], &next])?;
    place.expect_restored(&clocks[0], expected[3], &sets[3])?;
    place.expect_restored(&clocks[0], "latest", &next)
}

/// To be told apart from whatever it was before.
fn set(file: &Path, off_by: &str) -> Result<()> {
    let fresh = file.with_extension("new");
    fs::write(&fresh, format!("{off_by}\n"))?;
    Ok(fs::rename(fresh, file)?)
}

#[test]
fn it_goes_back_during_a_backup() -> Result<()> {
    let mut place = Place::with(MARIADB)?;
    let file = place.trip.place("clock");
    let clock = Clock::by_file(&file);
    set(&file, "+0s")?;
    let full = place.backup(&clock, "full")?;
    place.server.sql(&["INSERT INTO shop.m VALUES (100)", "DELETE FROM shop.t WHERE id % 5 = 0"])?;
    let pause = Pause::at("backup.copy", &place.trip.place(""));
    let run = place.about(&clock, &["backup", "--json", "--quiet", "--type=incremental"])?;
    let mut run = pause.on(run.to(&place.server)).spawn()?;
    pause.wait(&mut run)?;
    set(&file, "-1d")?;
    pause.let_go()?;
    let turned = place.taken(&run.wait()?.expect_success()?)?;
    assert_nothing_left(&place.server)?;
    let shown: Value = serde_json::from_str(&place.run(&clock, &["show", "latest", "--json"])?.stdout)?;
    let time = |key: &str| shown["manifest"][key].as_str().unwrap_or_default().to_owned();
    ensure!(time("end") < time("start"), "the clock did not go back: {shown:#}");
    ensure!(turned.parent.as_ref() == Some(&full.id), "{turned:?}");
    place.expect_sets(&clock, &[&full, &turned])?;
    place.run(&clock, &["verify", "all", "--pages"])?;
    let next = place.backup(&clock, "incremental")?;
    ensure!(next.parent.as_ref() == Some(&turned.id), "{next:?}");
    place.expect_sets(&clock, &[&full, &turned, &next])?;
    place.expect_restored(&clock, &turned.id, &turned)?;
    place.expect_restored(&clock, "latest", &next)
}

//! One byte of a set changed, in every kind of place that a set has, a full one and one that builds on it: `verify` names
//! the file and the place, `restore` refuses. All of them, without exception.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use reseed_tests::faults::small;
use reseed_tests::trip::NAME;
use reseed_tests::{Reseed, Server, Trip};

/// Bytes that are tried in each region.
const TRIED: usize = 3;
const BLOCK: usize = 512;

/// A stretch of a file of the set, and the words that a complaint about it must have.
struct Region {
    what: String,
    file: PathBuf,
    range: (usize, usize),
    names: Vec<String>,
}

/// A full set and an incremental one on it.
fn backed_up() -> Result<(Server, Trip, [String; 2])> {
    let mut server = small("mariadb-10.11")?;
    let trip = Trip::new()?;
    for (kind, row) in [("--type=full", "one"), ("--type=incremental", "two")] {
        server.sql(&[
            &format!("UPDATE shop.t SET c = '{row}' WHERE id IN (1, 2000, 4000)"),
            &format!("CREATE TABLE shop.f_{row} (a INT) ENGINE=MyISAM"),
        ])?;
        // Or else the pages are in the redo only.
        server.restart()?;
        server.sql(&["INSERT INTO shop.t (c) VALUES ('into the redo')"])?;
        // Not compressed, so that the test finds the parts of a pack by the layout that the documents give.
        // One thread, one pack.
        trip.backup(&server)?.args(["--compress=none", "--threads=1", kind]).run()?.expect_success()?;
    }
    let sets = trip.sets()?;
    let named = |kind: &str| sets.iter().find(|id| id.contains(kind)).cloned().context("no such set");
    let ids = [named("-full")?, named("-incr")?];
    Ok((server, trip, ids))
}

/// Start, length of the data and name of each entry of a tar archive.
fn entries(pack: &[u8]) -> Vec<(usize, usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(header) = pack.get(at..at + BLOCK).filter(|header| header.iter().any(|byte| *byte != 0)) {
        let field = |from: usize, len: usize| {
            let bytes = header.get(from..from + len).unwrap_or_default();
            String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
        };
        let size = usize::from_str_radix(field(124, 11).trim(), 8).unwrap_or(0);
        found.push((at, size, field(0, 100)));
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
    found
}

fn regions(set: &std::path::Path) -> Result<Vec<Region>> {
    let mut regions = Vec::new();
    for entry in fs::read_dir(set)? {
        let file = entry?.path();
        let name = file.file_name().context("no name")?.to_string_lossy().into_owned();
        let bytes = fs::read(&file)?;
        let mut put = |what: &str, range: (usize, usize), more: Option<&str>| {
            let names = std::iter::once(name.as_str()).chain(more).map(str::to_owned).collect();
            regions.push(Region { what: format!("{what} in {name}"), file: file.clone(), range, names });
        };
        if !name.starts_with("data-") {
            put("a byte", (0, bytes.len()), None);
            continue;
        }
        let entries = entries(&bytes);
        let last = entries.last().map_or(0, |(at, size, _)| at + BLOCK + size.next_multiple_of(BLOCK));
        put("the end", (last, bytes.len()), None);
        let mut known: HashMap<String, usize> = HashMap::new();
        for (number, (at, size, entry)) in entries.iter().enumerate() {
            // A copy that a later one has overtaken belongs to nobody.
            if entries.iter().skip(number + 1).any(|(_, _, later)| later == entry) {
                continue;
            }
            // Two of a file are as good as all.
            let nth = known.entry(entry.split('@').next().unwrap_or_default().to_owned()).or_default();
            *nth += 1;
            if *nth > 2 {
                continue;
            }
            if !["shop/t.ibd", "ibdata1", "shop/f_"].iter().any(|known| entry.starts_with(known)) {
                continue;
            }
            let of = entry.split('@').next();
            put(&format!("the header of {entry}"), (*at, at + BLOCK), of);
            put(&format!("the data of {entry}"), (at + BLOCK, at + BLOCK + size), of);
        }
    }
    Ok(regions)
}

fn reseed(command: &str, trip: &Trip, id: &str) -> Result<Reseed> {
    Ok(Reseed::new([command, "--name", NAME, id, "--repo"])?.arg(trip.repo()))
}

#[test]
fn every_region_of_a_full_set_and_of_an_incremental_one() -> Result<()> {
    let (_server, trip, ids) = backed_up()?;
    let datadir = trip.place("restored");
    let restore =
        |id: &str| -> Result<Reseed> { Ok(reseed("restore", &trip, id)?.arg("--datadir").arg(&datadir)) };
    let mut tried = [0; 2];
    for (id, tried) in ids.iter().zip(&mut tried) {
        let regions = regions(&trip.repo().join(NAME).join(id))?;
        for class in [
            "manifest.json",
            "files.jsonl.zst",
            "redo",
            "the header of shop/t.ibd",
            "the data of shop/t.ibd",
            "the header of ibdata1",
            "the data of ibdata1",
            "the header of shop/f_",
            "the data of shop/f_",
            "the end",
        ] {
            let found = || regions.iter().map(|region| region.what.as_str()).collect::<Vec<_>>();
            ensure!(found().iter().any(|what| what.contains(class)), "no region like {class}: {:?}", found());
        }
        for Region { what, file, range: (from, to), names } in &regions {
            let good = fs::read(file)?;
            for nth in 0..TRIED {
                let at = from + (to - from - 1) * nth / (TRIED - 1);
                let mut bad = good.clone();
                *bad.get_mut(at).context("beyond the file")? ^= 1 << (at % 8);
                fs::write(file, &bad)?;
                let place = || format!("{id}: {what}, byte {at}");
                let verify = reseed("verify", &trip, id)?.run()?.expect_code(10).with_context(place)?;
                let told = format!("{}{}", verify.stdout, verify.stderr);
                for name in names {
                    ensure!(told.contains(name), "{}: {name} is not named in:\n{told}", place());
                }
                *tried += 1;
                // What no file of the set has is of no concern to a restore.
                if what.starts_with("the end") {
                    continue;
                }
                restore(id)?.run()?.expect_code(10).with_context(place)?;
                // Of the set before, the redo is not needed, nor what the newer set has by itself.
                if ["manifest", "files.jsonl", "shop/t.ibd"].iter().any(|needed| what.contains(needed)) {
                    restore(&ids[1])?.run()?.expect_code(10).with_context(place)?;
                }
                ensure!(!datadir.exists(), "{}: something was restored", place());
            }
            fs::write(file, &good)?;
        }
        println!("{id}: {tried} bytes in {} regions, all found and all refused", regions.len());
    }
    // The sets are as they were, but for what verify has kept beside them.
    reseed("verify", &trip, &ids[1])?.run()?.expect_success()?;
    restore(&ids[1])?.run()?.expect_success()?;
    Ok(())
}

//! One byte of a set changed, in every kind of place that a set has: `verify` names the file and the place, `restore`
//! refuses. All of them, without exception.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use reseed_tests::faults::small;
use reseed_tests::trip::NAME;
use reseed_tests::{Reseed, Server, Trip};

/// Bytes that are tried in each region.
const TRIED: usize = 4;
const BLOCK: usize = 512;

/// A stretch of a file of the set, and the words that a complaint about it must have.
struct Region {
    what: String,
    file: PathBuf,
    range: (usize, usize),
    names: Vec<String>,
}

fn backed_up() -> Result<(Server, Trip, PathBuf)> {
    let mut server = small("mariadb-10.11")?;
    // Or else the pages are in the redo only.
    server.restart()?;
    server.sql(&["INSERT INTO shop.t (c) VALUES ('into the redo')"])?;
    let trip = Trip::new()?;
    // Not compressed, so that the test finds the parts of a pack by the layout that the documents give.
    trip.backup(&server)?.args(["--compress=none"]).run()?.expect_success()?;
    let set = trip.repo().join(NAME).join(trip.sets()?.pop().context("no set")?);
    Ok((server, trip, set))
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
        for (at, size, entry) in entries(&bytes) {
            // A copy that another one has overtaken belongs to nobody; of InnoDB's files there is none without DDL.
            if !entry.starts_with("shop/t.ibd") && !entry.starts_with("ibdata1") {
                continue;
            }
            let of = entry.split('@').next();
            put(&format!("the header of {entry}"), (at, at + BLOCK), of);
            put(&format!("the data of {entry}"), (at + BLOCK, at + BLOCK + size), of);
        }
    }
    Ok(regions)
}

#[test]
fn every_region_of_a_set() -> Result<()> {
    let (_server, trip, set) = backed_up()?;
    let datadir = trip.place("restored");
    let regions = regions(&set)?;
    for class in
        ["manifest.json", "files.jsonl.zst", "redo", "the header of shop/t.ibd", "the data of shop/t.ibd"]
    {
        let found = || regions.iter().map(|region| region.what.as_str()).collect::<Vec<_>>();
        ensure!(found().iter().any(|what| what.contains(class)), "no region like {class}: {:?}", found());
    }
    let mut tried = 0;
    for Region { what, file, range: (from, to), names } in &regions {
        let good = fs::read(file)?;
        for nth in 0..TRIED {
            let at = from + (to - from - 1) * nth / (TRIED - 1);
            let mut bad = good.clone();
            *bad.get_mut(at).context("beyond the file")? ^= 1 << (at % 8);
            fs::write(file, &bad)?;
            let place = || format!("{what}, byte {at}");
            let verify =
                Reseed::new(["verify", "--name", NAME, "latest", "--repo"])?.arg(trip.repo()).run()?;
            let verify = verify.expect_code(10).with_context(place)?;
            let told = format!("{}{}", verify.stdout, verify.stderr);
            for name in names {
                ensure!(told.contains(name), "{}: {name} is not named in:\n{told}", place());
            }
            trip.restore(&datadir)?.run()?.expect_code(10).with_context(place)?;
            ensure!(!datadir.exists(), "{}: something was restored", place());
            tried += 1;
        }
        fs::write(file, &good)?;
    }
    println!("{tried} bytes in {} regions, all found and all refused", regions.len());
    // The set is as it was, but for what verify has kept beside it.
    Reseed::new(["verify", "--name", NAME, "latest", "--repo"])?.arg(trip.repo()).run()?.expect_success()?;
    trip.restore(&datadir)?.run()?.expect_success()?;
    Ok(())
}

//! `cargo xtask bench`: the same server backed up and restored by reseed, by mariadb-backup, and by a plain copy,
//! in turn, several rounds; medians and ratios. `cargo xtask bench incremental`: the same of chains of incremental
//! backups.
//!
//! It drives all of them by their command lines and must know nothing of how reseed works.

mod chain_report;
mod contest;
mod data;
mod incremental;
mod load;
mod measure;
mod report;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use reseed_tests::{Kit, Server, ServerKind};

use chain_report::{ChainSeries, Shape};
use contest::Contest;
use incremental::Chain;
use report::{Series, Setting};

/// What the command line says. `cargo xtask bench` has the help and the defaults.
#[derive(Debug, Default)]
struct Plan {
    server: String,
    rounds: usize,
    mib: u32,
    pace: u32,
    /// Incremental sets of a chain; 0: no chain, the full benchmark.
    sets: u32,
    /// Transactions between two of them.
    change: u64,
    command: String,
    write_to: Option<PathBuf>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut plan = Plan::default();
    while let Some(argument) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{argument} wants a value"))?;
        match argument.as_str() {
            // Run as a child of the benchmark, so that each command has an account of its own.
            "--measure" => return measure::as_child(&value),
            "--server" => plan.server = value,
            "--rounds" => plan.rounds = value.parse().context("--rounds N")?,
            "--mib" => plan.mib = value.parse().context("--mib N")?,
            "--load" => plan.pace = value.parse().context("--load N")?,
            "--sets" => plan.sets = value.parse().context("--sets N")?,
            "--change" => plan.change = value.parse().context("--change N")?,
            "--command" => plan.command = value,
            "--write" => plan.write_to = Some(value.into()),
            _ => bail!("unknown: {argument}"),
        }
    }
    run(&plan)
}

fn run(plan: &Plan) -> Result<()> {
    let kind = ServerKind::named(&plan.server)?;
    if !kind.is_mariadb() && plan.sets == 0 {
        bail!("the benchmark compares with mariadb-backup, which cannot read {kind}: take a MariaDB server");
    }
    if plan.rounds == 0 {
        bail!("no round, no median");
    }
    need("zstd")?;
    let mut server = Kit::server(&plan.server)?.redo_mib(512).buffer_pool_mib(256).start()?;
    eprintln!("filling {} MiB", plan.mib);
    data::fill(&mut server, plan.mib)?;
    let (benchmark, text) = match plan.sets {
        0 => ("bench".to_owned(), plan.whole(&server)?),
        _ => (format!("bench incremental --server {kind}"), plan.chains(&server)?),
    };
    println!("{text}");
    match &plan.write_to {
        Some(path) => report::write(path, &benchmark, &text),
        None => Ok(()),
    }
}

impl Plan {
    fn whole(&self, server: &Server) -> Result<String> {
        let mut series = Series::default();
        for round in 0..self.rounds {
            eprintln!("round {} of {}", round + 1, self.rounds);
            self.contest(server, round).round(round, &mut series)?;
        }
        Ok(series.table(&self.setting(server)?))
    }

    fn chains(&self, server: &Server) -> Result<String> {
        let mut series = ChainSeries::default();
        for round in 0..self.rounds {
            eprintln!("round {} of {}", round + 1, self.rounds);
            let chain = Chain { contest: self.contest(server, round), sets: self.sets, change: self.change };
            chain.round(round, &mut series)?;
        }
        Ok(series.table(&self.setting(server)?, &Shape { sets: self.sets, change: self.change }))
    }

    fn contest<'s>(&self, server: &'s Server, round: usize) -> Contest<'s> {
        Contest { server, mib: self.mib, pace: self.pace, threads: processors().min(4), prove: round == 0 }
    }

    fn setting(&self, server: &Server) -> Result<Setting> {
        Ok(Setting {
            server: format!(
                "{} {}",
                if server.kind().is_mariadb() { "MariaDB" } else { "MySQL" },
                server.value("SELECT SUBSTRING_INDEX(VERSION(), '-', 1)")?
            ),
            mib: data::size_mib(server)?,
            rounds: self.rounds,
            pace: self.pace,
            threads: processors().min(4),
            processors: processors(),
            command: self.command.clone(),
        })
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The peer's own compression is no longer recommended by its makers; a pipe through zstd is what its users have.
fn need(program: &str) -> Result<()> {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        bail!("the program {program} is missing: install the package {program}");
    }
    Ok(())
}

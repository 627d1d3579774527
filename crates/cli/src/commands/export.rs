//! `reseed export`.

use std::path::Path;

use reseed_restore::export_raw;
use serde::Serialize;

use super::summary::{self, line};
use super::{Session, sets};
use crate::args::ExportArgs;
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;
use crate::units::Size;

pub fn run(args: &ExportArgs, session: &Session) -> Result<Outcome, Failure> {
    let source = sets::source(&args.set)?;
    let threads = args.threads.map_or(0, usize::from);
    let report = export_raw(&source, &args.raw, threads, &super::now(), &session.drawer, &session.cancel)
        .map_err(|error| failure::restore(&error))?;
    if args.json {
        out::json(&Document {
            directory: &report.directory,
            files: report.files,
            bytes: report.bytes,
            prepare: &report.prepare,
            notes: &report.notes,
        })?;
    }
    let written = format!("{} in {}", Size(report.bytes), summary::count(report.files, "file"));
    session.drawer.say(&line("exported", report.directory.display()));
    session.drawer.say(&line("how big", written));
    session.drawer.say(&line("prepare with", &report.prepare));
    for note in &report.notes {
        session.drawer.say(&line("note", note));
    }
    Ok(Outcome::Done)
}

#[derive(Serialize)]
struct Document<'a> {
    directory: &'a Path,
    files: u64,
    bytes: u64,
    prepare: &'a str,
    notes: &'a [String],
}

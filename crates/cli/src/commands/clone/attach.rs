//! `clone --attach`: what is asked before anything is copied, and what follows once the datadir is in place.

use std::time::{Duration, Instant};

use reseed_io::Progress;
use reseed_restore::{Options, Report};
use reseed_server::attach::{AttachError, AttachOptions, Outcome as Ended, SourceFacts};
use reseed_server::handover::{HandoverOptions, Of, SourcePassword};
use reseed_server::{Purpose, Server, ServerError, Stop, handover};
use serde::Serialize;

use super::start::start;
use crate::args::{CloneArgs, CloneAttachArgs};
use crate::commands::summary::{self, line};
use crate::commands::{Session, attach, connect, new_server, restore};
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;

/// All that attaching needs, looked at before the copy.
#[derive(Debug)]
pub struct Attach<'a> {
    args: &'a CloneAttachArgs,
    session: &'a Session,
    wanted: HandoverOptions,
}

impl<'a> Attach<'a> {
    /// # Errors
    /// With whatever would keep the copy from becoming a replica, as far as it can be known now.
    pub fn new(
        args: &'a CloneArgs,
        options: &mut Options,
        session: &'a Session,
    ) -> Result<Attach<'a>, Failure> {
        let wanted = options.hand_over.clone().unwrap_or_default();
        let attach = Attach { args: &args.attach, session, wanted };
        if attach.wanted.password == SourcePassword::Placeholder {
            return Err(failure::attach(&AttachError::NoPassword));
        }
        // A socket that is not there yet is no mistake.
        match connect::options(&attach.args.connection()) {
            Err(failure) if failure.outcome != Outcome::CannotConnect => return Err(failure),
            _ => {}
        }
        let defaults_file = attach.args.target_defaults_file.as_deref();
        options.new_server = new_server::find(args.target.server_binary.as_deref(), defaults_file)?;
        attach.ask_source(options)?;
        Ok(attach)
    }

    /// With the replication account, from this host: what fails now would fail after the copy.
    fn ask_source(&self, options: &Options) -> Result<(), Failure> {
        let Some(how) = attach::source(&[], &self.wanted) else { return Ok(()) };
        let target = how.target.clone();
        match Server::connect(how, self.stop()) {
            Ok(source) => {
                let facts = SourceFacts::ask(&source).map_err(|error| failure::server(&error))?;
                if self.wanted.of == Of::Server && options.new_server.server_id == Some(facts.server_id) {
                    let error = reseed_restore::RestoreError::SameServerId { id: facts.server_id };
                    return Err(failure::restore(&error));
                }
                match source.require(Purpose::replicate()) {
                    Ok(()) => Ok(()),
                    Err(error) => Err(failure::server(&error).also("Nothing was copied.")),
                }
            }
            Err(error @ (ServerError::Login { .. } | ServerError::Connect { .. })) => {
                Err(failure::server(&error).hint(
                    "Nothing was copied. The replica must be able to log in there: --source-host, --source-port, \
                     --source-user, --source-password-file; and GRANT REPLICATION SLAVE ON *.* TO that account.",
                ))
            }
            // Not a way of logging in that reseed has; the server itself may have it.
            Err(error) => {
                self.session.drawer.say(&line("note", format_args!("{target} was not asked before: {error}")));
                Ok(())
            }
        }
    }

    fn stop(&self) -> Stop {
        let cancel = self.session.cancel.clone();
        Stop::when(move || cancel.is_cancelled())
    }

    /// Starts the server, runs the hand-over and follows until it has caught up.
    ///
    /// # Errors
    /// With what went wrong; the datadir stays in place, and the failure says so.
    pub fn run(&self, report: &Report, json: bool) -> Result<Outcome, Failure> {
        for text in summary::restore(report, true) {
            self.session.drawer.say(&text);
        }
        let mut times = Times::of(report);
        let ended = self.start_and_attach(report, &mut times).map_err(|failure| in_place(failure, report))?;
        self.session.drawer.finish();
        if json {
            out::json(&Document {
                restored: restore::Document::of(report),
                attach: attach::Document::of(&ended),
                times: &times,
            })?;
        }
        let result = attach::report(&ended, self.session);
        self.session.drawer.say(&line("how long", times.to_string()));
        result.map_err(|failure| in_place(failure, report).told_as_json(json))
    }

    fn start_and_attach(&self, report: &Report, times: &mut Times) -> Result<Ended, Failure> {
        let begun = Instant::now();
        let manifest = &report.manifest;
        self.session.drawer.start("starting", None);
        let server = start(self.args, &report.datadir, self.session)?;
        times.start = begun.elapsed().as_secs_f64();
        server.require(Purpose::attach()).map_err(|error| failure::server(&error))?;
        let statements = handover::statements(&manifest.coordinates, server.version(), &self.wanted)
            .map_err(|error| failure::handover(&error))?;
        let options = AttachOptions {
            deadline: self.args.deadline,
            source: attach::source(&manifest.coordinates.channels, &self.wanted),
            leftovers: manifest.coordinates.channels.clone(),
            ..AttachOptions::default()
        };
        self.session.drawer.finish();
        self.session.drawer.start("attaching", None);
        let begun = Instant::now();
        let ended = server
            .attach(&statements, &options, &mut |step| attach::tell(step, self.session))
            .map_err(|error| failure::attach(&error))?;
        let followed = match &ended {
            Ended::CaughtUp { after, .. } => *after,
            _ => Duration::ZERO,
        };
        times.hand_over = begun.elapsed().saturating_sub(followed).as_secs_f64();
        times.catch_up = followed.as_secs_f64();
        Ok(ended)
    }
}

/// What a person must know about any failure after the rename.
fn in_place(failure: Failure, report: &Report) -> Failure {
    let mut text = format!("The restored datadir is in place: {}.", report.datadir.display());
    if let Some(aside) = &report.moved_aside {
        text.push_str(&format!(" The old one is {}.", aside.display()));
    }
    if let Some(file) = &report.hand_over {
        text.push_str(&format!(" The hand-over to run by hand is {}.", file.display()));
    }
    failure.also(&text)
}

/// Seconds that each step took.
#[derive(Debug, Serialize)]
struct Times {
    restore: f64,
    start: f64,
    hand_over: f64,
    catch_up: f64,
}

impl Times {
    fn of(report: &Report) -> Times {
        let restore = report.steps.iter().map(|step| step.took.as_secs_f64()).sum();
        Times { restore, start: 0.0, hand_over: 0.0, catch_up: 0.0 }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps = [
            ("copy and restore", self.restore),
            ("start", self.start),
            ("hand-over", self.hand_over),
            ("catch up", self.catch_up),
        ];
        let whole = steps.iter().map(|(_, seconds)| seconds).sum();
        f.write_str(&summary::how_long(whole, steps.into_iter()))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    restored: restore::Document<'a>,
    attach: attach::Document<'a>,
    times: &'a Times,
}

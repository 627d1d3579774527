//! `reseed attach`.

use reseed_io::Progress;
use reseed_repository::Manifest;
use reseed_server::attach::{AttachOptions, Beginning, Broken, Outcome as Ended, SourceFacts, Step, explain};
use reseed_server::handover::{HandoverOptions, Of, Position, SourcePassword, Tls};
use reseed_server::options::{self, TlsMode};
use reseed_server::{ConnectOptions, Purpose, Server, ServerError, Stop};
use reseed_terms::{Flavour, ReplicaChannel};
use serde::Serialize;

use super::summary::line;
use super::{Session, connect, hand_over, sets};
use crate::args::AttachArgs;
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;
use crate::units::Time;

const MYSQL_PORT: u16 = 3306;

pub fn run(args: &AttachArgs, session: &Session) -> Result<Outcome, Failure> {
    let set = sets::open(&args.set)?;
    let manifest = set.manifest();
    let wanted = hand_over::options(&args.source)?;
    let handover = hand_over::make(manifest, &wanted)?;
    let cancel = session.cancel.clone();
    let stop = Stop::when(move || cancel.is_cancelled());
    let replica = Server::connect(connect::options(&args.connection)?, stop)
        .and_then(|server| server.require(Purpose::attach()).map(|()| server))
        .map_err(|error| failure::server(&error))?;
    let options = AttachOptions {
        deadline: args.deadline,
        source: source(&manifest.coordinates.channels, &wanted),
        leftovers: manifest.coordinates.channels.clone(),
        replace: args.replace,
        beginning: beginning(manifest, &wanted),
        ..AttachOptions::default()
    };
    session.drawer.start("attaching", None);
    let ended = replica
        .attach(&handover, &options, &mut |step| tell(step, session))
        .map_err(|error| failure::attach(&error))?;
    session.drawer.finish();
    if args.json {
        out::json(&Document::of(&ended))?;
    }
    report(&ended, session).map_err(|failure| failure.told_as_json(args.json))
}

/// How to ask the source itself: with the replication account, which sees enough of it.
pub fn source(channels: &[ReplicaChannel], wanted: &HandoverOptions) -> Option<ConnectOptions> {
    let channel = channels.first();
    let host = wanted.source_host.clone().or_else(|| channel.map(|channel| channel.source_host.clone()))?;
    let user = wanted.source_user.clone().or_else(|| channel.map(|channel| channel.source_user.clone()))?;
    let SourcePassword::Given(password) = &wanted.password else { return None };
    let port =
        wanted.source_port.or_else(|| channel.map(|channel| channel.source_port)).unwrap_or(MYSQL_PORT);
    let mode = match wanted.tls {
        Tls::Default => TlsMode::Preferred,
        Tls::On => TlsMode::Required,
        Tls::Off => TlsMode::Disabled,
    };
    Some(
        ConnectOptions::tcp(host, port, user)
            .with_password(password.reveal())
            .with_tls(options::Tls::mode(mode)),
    )
}

/// Where the replica will begin, for the source to say whether it still can.
fn beginning(manifest: &Manifest, wanted: &HandoverOptions) -> Option<Beginning> {
    let coordinates = &manifest.coordinates;
    let has_gtids = !coordinates.gtid.is_empty()
        && (coordinates.gtid_mode || manifest.server.version.flavour == Flavour::MariaDb);
    // Of the server's own source only its own coordinates would say something.
    (wanted.of == Of::Server).then(|| Beginning {
        coordinates: coordinates.clone(),
        server_id: manifest.server.server_id,
        by_gtid: wanted.position != Some(Position::File) && has_gtids,
    })
}

/// Asks the source, where it can be asked, whether a replica with this data could still follow it. A source that does
/// not answer may do so later: that is told and no more.
///
/// # Errors
/// When the source has removed what is needed.
pub fn refuse_lost_place(
    manifest: &Manifest,
    wanted: &HandoverOptions,
    session: &Session,
) -> Result<(), Failure> {
    let how = source(&manifest.coordinates.channels, wanted);
    let Some((how, beginning)) = how.zip(beginning(manifest, wanted)) else { return Ok(()) };
    let cancel = session.cancel.clone();
    let stop = Stop::when(move || cancel.is_cancelled());
    let asked = Server::connect(how, stop).and_then(|source| {
        let facts = SourceFacts::ask(&source)?;
        if let Err(error) = source.require(Purpose::replicate()) {
            let text = failure::server(&error).to_line();
            session.drawer.say(&line("note", format_args!("at the source, {text}")));
        }
        Ok(beginning.obstacle(&source)?.map(|message| (message, facts)))
    });
    match asked {
        Ok(None) => Ok(()),
        Ok(Some((message, facts))) => {
            let told = explain(1236, &message, Some(&facts));
            Err(Failure::new(
                Outcome::ReplicationBroken,
                format!("this set cannot be made a replica: {message}"),
            )
            .cause(told.cause)
            .hint(format!("Nothing was changed here. {}.", told.remedy)))
        }
        Err(ServerError::Stopped { .. }) => Ok(()),
        Err(error) => {
            let text = format_args!("whether the source still has what this set needs is not known: {error}");
            session.drawer.say(&line("note", text));
            Ok(())
        }
    }
}

pub fn tell(step: &Step, session: &Session) {
    match step {
        Step::Running(what) => session.drawer.status(what),
        Step::Note(note) => session.drawer.say(&line("note", note)),
        Step::Following { seconds_behind, bytes_left, eta, doing } => {
            let mut text = match (seconds_behind, bytes_left) {
                (Some(seconds), _) => format!("{} behind", Time::seconds(*seconds as f64)),
                (None, Some(bytes)) => format!("{} of binary log behind", crate::units::Size(*bytes)),
                (None, None) => "following".to_owned(),
            };
            if let Some(eta) = eta {
                text.push_str(&format!(", about {} left", Time(*eta)));
            }
            if !doing.is_empty() {
                text.push_str(&format!(" ({doing})"));
            }
            session.drawer.status(&text);
        }
    }
}

/// The result for people; what is not "caught up" is a failure with its own code.
///
/// # Errors
/// When it has not caught up.
pub fn report(ended: &Ended, session: &Session) -> Result<Outcome, Failure> {
    match ended {
        Ended::CaughtUp { after, advice } => {
            session.drawer.say(&line("caught up", format_args!("after {}", Time(*after))));
            for statement in advice {
                session
                    .drawer
                    .say(&line("advice", format_args!("{};  -- {}", statement.sql, statement.comment)));
            }
            Ok(Outcome::Done)
        }
        Ended::Behind { seconds_behind, eta } => {
            let mut message = "the replica works and is still behind at the deadline".to_owned();
            if let Some(seconds) = seconds_behind {
                message.push_str(&format!(": {}", Time::seconds(*seconds as f64)));
            }
            if let Some(eta) = eta {
                message.push_str(&format!(", about {} left", Time(*eta)));
            }
            Err(Failure::new(Outcome::StillBehind, message)
                .hint("Replication goes on by itself. Look at SHOW REPLICA STATUS."))
        }
        Ended::Broken(Broken { channel, error, message, cause, remedy }) => {
            let at = if channel.is_empty() { String::new() } else { format!(" on channel {channel}") };
            let number = if *error == 0 { String::new() } else { format!("error {error}: ") };
            Err(Failure::new(
                Outcome::ReplicationBroken,
                format!("replication does not run{at}: {number}{message}"),
            )
            .cause(cause)
            .hint(remedy))
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Document<'a> {
    CaughtUp { seconds: f64, advice: Vec<&'a str> },
    Behind { seconds_behind: Option<u64>, eta_seconds: Option<f64> },
    Broken { channel: &'a str, error: u32, message: &'a str, cause: &'a str, remedy: &'a str },
}

impl Document<'_> {
    pub fn of(ended: &Ended) -> Document<'_> {
        match ended {
            Ended::CaughtUp { after, advice } => Document::CaughtUp {
                seconds: after.as_secs_f64(),
                advice: advice.iter().map(|statement| statement.sql.as_str()).collect(),
            },
            Ended::Behind { seconds_behind, eta } => Document::Behind {
                seconds_behind: *seconds_behind,
                eta_seconds: eta.map(|eta| eta.as_secs_f64()),
            },
            Ended::Broken(broken) => Document::Broken {
                channel: &broken.channel,
                error: broken.error,
                message: &broken.message,
                cause: &broken.cause,
                remedy: &broken.remedy,
            },
        }
    }
}

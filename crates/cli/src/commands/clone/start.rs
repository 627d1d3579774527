//! The start of the server on the restored datadir: by a command, or by whoever was asked to.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use reseed_server::{Server, ServerError, Stop};

use crate::args::CloneAttachArgs;
use crate::commands::{Session, connect};
use crate::draw::Drawer;
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::units::Time;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the last words of a command that failed are waited for: what it left in the background may keep its pipes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Starts the server where a command is given, and waits until one answers that runs on `datadir`.
///
/// # Errors
/// When the command fails, nothing answers in time, or what answers is another server or refuses the account.
pub fn start(args: &CloneAttachArgs, datadir: &Path, session: &Session) -> Result<Server, Failure> {
    session.drawer.status("waiting for the server");
    let mut command = match &args.start {
        Some(line) => Some(Started::run(line, &session.drawer)?),
        None => {
            let limit = Time(args.start_wait);
            session.drawer.tell(&format!(
                "start the server on {} now, with replication held back; waiting for it up to {limit}",
                datadir.display()
            ));
            None
        }
    };
    let since = Instant::now();
    loop {
        let refused = match open(args, session)? {
            Ok(server) => return runs_on(&server, datadir).map(|()| server),
            Err(refused) => refused,
        };
        if let Some(command) = &mut command {
            command.check()?;
        }
        if since.elapsed() >= args.start_wait {
            let limit = Time(args.start_wait);
            return Err(Failure::new(Outcome::NotStarted, format!("no server answered within {limit}"))
                .cause(refused.to_line())
                .hint("Look into the server's error log. --start-wait gives it more time, --target-socket and its like say where it listens."));
        }
        session
            .cancel
            .sleep(LOOK_EVERY)
            .map_err(|cancelled| Failure::of(Outcome::Interrupted, &cancelled))?;
    }
}

/// One try. What another try may cure is the inner error.
fn open(args: &CloneAttachArgs, session: &Session) -> Result<Result<Server, Failure>, Failure> {
    let cancel = session.cancel.clone();
    let stop = Stop::when(move || cancel.is_cancelled());
    let options = match connect::options(&args.connection()) {
        Ok(options) => options,
        // Its socket is not there yet.
        Err(failure) if failure.outcome == Outcome::CannotConnect => return Ok(Err(failure)),
        Err(failure) => return Err(failure),
    };
    match Server::connect(options, stop) {
        Ok(server) => Ok(Ok(server)),
        Err(error @ (ServerError::Login { .. } | ServerError::AuthPlugin { .. })) => Err(failure::server(
            &error,
        )
        .hint(
            "The accounts of the restored server are those of the source. Name one with --target-user and \
                 --target-password-file, or --target-defaults-file.",
        )),
        Err(
            error @ (ServerError::Stopped { .. } | ServerError::Unsupported { .. } | ServerError::Tls { .. }),
        ) => Err(failure::server(&error)),
        Err(error) => Ok(Err(failure::server(&error))),
    }
}

/// A server that answers and runs elsewhere must not be made a replica.
fn runs_on(server: &Server, datadir: &Path) -> Result<(), Failure> {
    let theirs = server.datadir().map_err(|error| failure::server(&error))?;
    let same = match (fs::canonicalize(&theirs), fs::canonicalize(datadir)) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => false,
    };
    if same {
        return Ok(());
    }
    let (target, theirs, ours) = (&server.options().target, theirs.display(), datadir.display());
    Err(Failure::new(Outcome::NotStarted, format!("{target} runs on {theirs}, not on {ours}"))
        .hint("Say where the restored server listens: --target-socket, or --target-host and --target-port."))
}

/// The command of `--start`, under way or done. It may as well be the server itself: it is not waited for.
struct Started {
    line: String,
    child: Child,
    /// Disconnected as soon as all that it printed was shown.
    shown: Receiver<()>,
}

impl Started {
    fn run(line: &str, drawer: &Drawer) -> Result<Started, Failure> {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Whoever interrupts reseed does not mean the server.
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::new(Outcome::NotStarted, format!("cannot run sh: {error}")))?;
        let (showing, shown) = mpsc::channel();
        show(child.stdout.take(), drawer, showing.clone());
        show(child.stderr.take(), drawer, showing);
        Ok(Started { line: line.to_owned(), child, shown })
    }

    fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(Some(status)) if !status.success() => {
                let _ = self.shown.recv_timeout(LAST_WORDS);
                Err(Failure::new(Outcome::NotStarted, format!("`{}` failed: {status}", self.line))
                    .hint("Look into the server's error log."))
            }
            _ => Ok(()),
        }
    }
}

/// Shows what the command prints. The thread lives as long as the pipe: a server that keeps it is not cut off before
/// reseed ends.
fn show(pipe: Option<impl Read + Send + 'static>, drawer: &Drawer, showing: Sender<()>) {
    let Some(pipe) = pipe else { return };
    let drawer = drawer.clone();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            drawer.tell(&format!("start: {line}"));
        }
        drop(showing);
    });
}

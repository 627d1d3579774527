//! `reseed expire`.

use reseed_repository::{Repository, RepositoryError, Rules, SetId, Timestamp, Verdict};
use serde::Serialize;

use super::Session;
use crate::args::ExpireArgs;
use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::out;
use crate::units::Size;

/// What the holder of a name is said to be doing, to a run that is refused.
const DOING: &str = "expire";

pub fn run(args: &ExpireArgs, session: &Session) -> Result<Outcome, Failure> {
    let done = expire(args, session).map_err(|error| failure::repository(&error))?;
    if args.json {
        out::json(&done)?;
    } else {
        for line in done.lines() {
            session.drawer.say(&line);
        }
    }
    Ok(Outcome::Done)
}

fn rules(args: &ExpireArgs) -> Rules {
    Rules {
        fulls: args.keep_fulls.unwrap_or(0),
        within: args.keep_within,
        hourly: args.keep_hourly.unwrap_or(0),
        daily: args.keep_daily.unwrap_or(0),
        weekly: args.keep_weekly.unwrap_or(0),
        monthly: args.keep_monthly.unwrap_or(0),
        yearly: args.keep_yearly.unwrap_or(0),
    }
}

fn expire(args: &ExpireArgs, session: &Session) -> Result<Document, RepositoryError> {
    let repository = Repository::open(&args.repo)?;
    let (rules, now) = (rules(args), Timestamp::now());
    if args.dry_run {
        let verdicts = repository.plan_expiry(&args.name, &rules, now)?;
        return Ok(Document::new(true, &verdicts, Vec::new(), &[]));
    }
    // The name must be there: taking its lock would make it.
    repository.sets(&args.name)?;
    let lock = repository.lock(&args.name, DOING, args.wait_lock, &session.cancel)?;
    let expiry = repository.expire(&lock, &rules, now, &session.cancel)?;
    let removed =
        expiry.removed.into_iter().map(|gone| Gone { name: gone.name, bytes: gone.bytes }).collect();
    Ok(Document::new(false, &expiry.verdicts, removed, &expiry.in_use))
}

#[derive(Debug, Serialize)]
struct Document {
    dry_run: bool,
    kept: Vec<Kept>,
    /// What the rules do not keep.
    expired: Vec<String>,
    /// Expired and still there, since somebody reads it.
    in_use: Vec<String>,
    /// What was removed, leftovers of dead runs with it.
    removed: Vec<Gone>,
}

#[derive(Debug, Serialize)]
struct Kept {
    id: String,
    reasons: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Gone {
    name: String,
    bytes: u64,
}

impl Document {
    fn new(dry_run: bool, verdicts: &[Verdict], removed: Vec<Gone>, in_use: &[SetId]) -> Document {
        let (kept, expired): (Vec<&Verdict>, Vec<&Verdict>) =
            verdicts.iter().partition(|verdict| verdict.is_kept());
        Document {
            dry_run,
            kept: kept
                .into_iter()
                .map(|verdict| Kept {
                    id: verdict.id.to_string(),
                    reasons: verdict.reasons.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            expired: expired.into_iter().map(|verdict| verdict.id.to_string()).collect(),
            in_use: in_use.iter().map(ToString::to_string).collect(),
            removed,
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .kept
            .iter()
            .map(|kept| format!("keep    {}  {}", kept.id, kept.reasons.join(", ")))
            .collect();
        if self.dry_run {
            lines.extend(self.expired.iter().map(|id| format!("remove  {id}  (not now: --dry-run)")));
        }
        lines.extend(
            self.in_use.iter().map(|id| format!("in use  {id}  somebody reads it; the next run removes it")),
        );
        lines.extend(self.removed.iter().map(|gone| format!("removed {}  {}", gone.name, Size(gone.bytes))));
        lines
    }
}

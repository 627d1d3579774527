//! Which set a backup builds on, by what was asked for and by what lies in the repository.

use std::sync::Arc;
use std::time::Duration;

use reseed_backup::Base;
use reseed_repository::{
    Listing, NameLock, Repository, RepositoryError, ServerFacts, SetId, SetInfo, SetKind, Timestamp,
};

use crate::args::{KindArgs, TypeArg};

/// What was chosen.
#[derive(Debug, Default)]
pub struct Choice {
    pub base: Option<Arc<Base>>,
    /// It was named: a full set in its place is not what was asked for.
    pub required: bool,
    /// Why a full set is taken where another was asked for.
    pub why_full: Option<String>,
    /// The newest set of the name, and the server that it is of.
    pub newest: Option<(SetId, ServerFacts)>,
}

fn full(why: String) -> Choice {
    Choice { why_full: Some(format!("a full set was taken: {why}")), ..Choice::default() }
}

/// For the first run under a name.
pub fn of_a_new_name(args: &KindArgs) -> Choice {
    match (args.incremental, args.kind) {
        (false, TypeArg::Full) => Choice::default(),
        _ => full("it is the first of this name".to_owned()),
    }
}

/// # Errors
/// When the set that was named cannot be read, or the repository cannot.
pub fn choose(
    args: &KindArgs,
    repository: &Repository,
    lock: &NameLock,
    now: Timestamp,
) -> Result<Choice, RepositoryError> {
    let listing = repository.sets(lock.name())?;
    let newest = listing.sets.last().map(|set| (set.id().clone(), set.manifest.server.clone()));
    Ok(Choice { newest, ..of_kind(args, repository, lock, &listing, now)? })
}

fn of_kind(
    args: &KindArgs,
    repository: &Repository,
    lock: &NameLock,
    listing: &Listing,
    now: Timestamp,
) -> Result<Choice, RepositoryError> {
    if let Some(id) = &args.parent {
        let set = repository.open_set(lock.name(), id)?;
        let base = Base::load(repository.chain(&set)?)?;
        return Ok(Choice { base: Some(Arc::new(base)), required: true, ..Choice::default() });
    }
    let kind = if args.incremental { TypeArg::Incremental } else { args.kind };
    if kind == TypeArg::Full {
        return Ok(Choice::default());
    }
    let Some(parent) = listing.newest_good() else {
        return Ok(full("there is no good set to build on".to_owned()));
    };
    if kind == TypeArg::Auto
        && let Some(why) = due(args, listing, parent, now)
    {
        return Ok(full(why));
    }
    let loaded = repository
        .open_set(lock.name(), parent.id())
        .and_then(|set| repository.chain(&set))
        .and_then(Base::load);
    Ok(match loaded {
        Ok(base) => Choice { base: Some(Arc::new(base)), ..Choice::default() },
        // The newest sets are damaged in a way that no verification has found yet: a full set does not need them.
        Err(error) => full(format!("{} cannot be built on: {error}", parent.id())),
    })
}

/// Why it is time for a full set.
fn due(args: &KindArgs, listing: &Listing, parent: &SetInfo, now: Timestamp) -> Option<String> {
    let chain = listing.chain(parent)?;
    let full = chain.first().filter(|set| set.manifest.kind == SetKind::Full)?;
    let incrementals = chain.len() - 1;
    if incrementals as u64 >= u64::from(args.full_after) {
        return Some(format!("{incrementals} incremental sets build on {}", full.id()));
    }
    let age = now.duration_since(full.manifest.start);
    match Duration::try_from(age) {
        Ok(age) if age < args.full_every => None,
        Ok(_) => Some(format!("{} is older than --full-every", full.id())),
        // By such a clock no age can be told.
        Err(_) => Some(format!("{} was taken later than it is now: the clock went back", full.id())),
    }
}

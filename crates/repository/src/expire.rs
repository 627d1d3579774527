//! Removing what the rules do not keep. Newest first, renamed before a byte goes: whatever interrupts it, no set is
//! left without one that it builds on, and what was begun is finished by the next run. Failpoint: `repository.expire`.

use std::collections::HashSet;

use jiff::Timestamp;
use reseed_io::lock::exclude_readers;
use reseed_io::{Cancel, write};

use crate::beside::Pin;
use crate::catalog::{EXPIRED, Listing, NameLock, Repository};
use crate::error::RepositoryError;
use crate::id::{ServerName, SetId};
use crate::manifest::MANIFEST;
use crate::retention::{Candidate, Rules, Verdict};
use crate::sink::Removed;
use crate::writer::pass;

/// What an expiry did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expiry {
    pub verdicts: Vec<Verdict>,
    pub removed: Vec<Removed>,
    /// Should have gone, but somebody reads them, or a set that builds on them.
    pub in_use: Vec<SetId>,
}

impl Listing {
    /// What the rules say of each set that can be read. Damaged ones are left to a person.
    pub fn judge(&self, rules: &Rules, now: Timestamp) -> Vec<Verdict> {
        let candidates: Vec<Candidate> = self
            .sets
            .iter()
            .map(|set| Candidate {
                id: set.id().clone(),
                kind: set.manifest.kind,
                parent: set.manifest.parent.as_ref().map(|parent| parent.id.clone()),
                start: set.manifest.start,
                good: set.is_good(),
                pinned: set.pinned.is_some(),
            })
            .collect();
        rules.judge(&candidates, now)
    }
}

impl Repository {
    /// What [`Repository::expire`] would do now. Needs no lock and changes nothing.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn plan_expiry(
        &self,
        name: &ServerName,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Vec<Verdict>, RepositoryError> {
        Ok(self.sets(name)?.judge(rules, now))
    }

    /// Removes what the rules do not keep. A set that somebody reads stays, with all that it builds on.
    ///
    /// # Errors
    /// When something cannot be removed; what was removed before is gone.
    pub fn expire(
        &self,
        lock: &NameLock,
        rules: &Rules,
        now: Timestamp,
        cancel: &Cancel,
    ) -> Result<Expiry, RepositoryError> {
        lock.set_doing("expiring")?;
        let removed = self.clean(lock)?;
        let listing = self.sets(lock.name())?;
        let verdicts = listing.judge(rules, now);
        let mut expiry = Expiry { removed, ..Expiry::default() };
        let going: HashSet<&SetId> =
            verdicts.iter().filter(|verdict| !verdict.is_kept()).map(|verdict| &verdict.id).collect();
        let mut needed: HashSet<SetId> = HashSet::new();
        for set in listing.sets.iter().rev().filter(|set| going.contains(set.id())) {
            cancel.check()?;
            let parent = set.manifest.parent.as_ref().map(|parent| parent.id.clone());
            // Readers of a set hold it until they have closed it; the lock keeps new ones out until it is renamed.
            let excluded =
                if needed.contains(set.id()) { None } else { exclude_readers(&set.dir.join(MANIFEST))? };
            if excluded.is_none() || Pin::load(&set.dir).is_some() {
                needed.extend(parent);
                expiry.in_use.push(set.id().clone());
                continue;
            }
            pass("repository.expire", &set.dir)?;
            let going = set.dir.with_file_name(format!("{}{EXPIRED}", set.id()));
            write::rename_new(&set.dir, &going)?;
            let bytes = write::remove_tree(&going)?;
            expiry.removed.push(Removed { name: set.id().to_string(), bytes });
        }
        expiry.verdicts = verdicts;
        Ok(expiry)
    }
}

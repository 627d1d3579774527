//! What an incremental backup builds on: the files of the set before, as a restore of that set would find them, and
//! which of them are still the same files.
//!
//! A page need not be stored when its LSN is below the checkpoint from which the parent's redo was followed: what
//! that LSN stands for had been written to the file before the parent looked at it, and nothing has been written
//! since. `docs/backup.md` has the whole argument.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use reseed_repository::{
    Chain, Covered, FileEntry, FileKind, Origin, Parent, RelPath, RepositoryError, ServerFacts,
};
use reseed_terms::{Flavour, Lsn, SpaceId};

use crate::scan::Identity;

/// The set that an incremental backup builds on.
#[derive(Debug)]
pub struct Base {
    chain: Chain,
    system: HashMap<u32, Arc<BaseFile>>,
    spaces: HashMap<SpaceId, Arc<BaseFile>>,
    others: HashMap<RelPath, Arc<BaseFile>>,
}

/// One file of it.
#[derive(Debug)]
pub(crate) struct BaseFile {
    pub entry: FileEntry,
    pub covered: Covered,
    /// The checkpoint from which the set's redo was followed: pages with an LSN from here on are stored again.
    pub checkpoint: Lsn,
}

/// Why a full backup is taken where an incremental one was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyFull {
    Version {
        parent: String,
        now: String,
    },
    PageSize {
        parent: u32,
        now: u32,
    },
    Uuid {
        parent: String,
        now: String,
    },
    Datadir {
        parent: String,
        now: String,
    },
    /// The server has written less than it had then.
    LsnBehind {
        parent: Lsn,
        now: Lsn,
    },
    /// The system tablespace is another file.
    OtherFiles,
    /// The file system does not know when the system tablespace was made.
    NoBirth,
}

impl fmt::Display for WhyFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyFull::Version { parent, now } => write!(f, "the server was {parent} then and is {now} now"),
            WhyFull::PageSize { parent, now } => write!(f, "innodb_page_size was {parent} then and is {now} now"),
            WhyFull::Uuid { parent, now } => {
                write!(f, "it is of the server with the UUID {parent}, and this one has {now}")
            }
            WhyFull::Datadir { parent, now } => write!(f, "the datadir was {parent} then and is {now} now"),
            WhyFull::LsnBehind { parent, now } => write!(
                f,
                "it ends at LSN {parent}, and the server is at {now} only: it was restored or made anew since"
            ),
            WhyFull::OtherFiles => f.write_str(
                "the system tablespace is not the file that it was: the datadir was restored, copied or made anew since",
            ),
            WhyFull::NoBirth => f.write_str(
                "the datadir's file system does not tell when a file was made, and so not whether it is still the same",
            ),
        }
    }
}

impl Base {
    /// # Errors
    /// When the list of files of a set in the chain cannot be read or is damaged.
    pub fn load(chain: Chain) -> Result<Base, RepositoryError> {
        let checkpoint = chain.newest().manifest().capture.checkpoint;
        let mut base = Base { system: HashMap::new(), spaces: HashMap::new(), others: HashMap::new(), chain };
        for entry in base.chain.load_files()? {
            let (kind, space, first) = (entry.kind, entry.space_id, entry.first_page);
            let path = entry.path.clone();
            let file = Arc::new(BaseFile { covered: Covered::by(&entry), entry, checkpoint });
            match (kind, space) {
                (FileKind::SystemTablespace, _) => drop(base.system.insert(first, file)),
                (FileKind::Tablespace | FileKind::UndoTablespace, Some(space)) => {
                    drop(base.spaces.insert(space, file));
                }
                (FileKind::Other, _) => drop(base.others.insert(path, file)),
                // Aria's log is copied as a whole each time; a tablespace without a number was never flushed.
                _ => {}
            }
        }
        Ok(base)
    }

    pub fn parent(&self) -> Parent {
        self.chain.newest().as_parent()
    }

    /// Whether this server, in this state, can go on from the set; `None` when it can.
    pub(crate) fn misfit(&self, facts: &ServerFacts, now: Lsn, system: Option<&Identity>) -> Option<WhyFull> {
        let manifest = self.chain.newest().manifest();
        let then = &manifest.server;
        if then.version != facts.version {
            return Some(WhyFull::Version {
                parent: then.version.to_string(),
                now: facts.version.to_string(),
            });
        }
        if then.page_size != facts.page_size {
            return Some(WhyFull::PageSize { parent: then.page_size, now: facts.page_size });
        }
        // MariaDB's is made of the host's address and the port, which may change.
        if facts.version.flavour == Flavour::MySql && then.uuid != facts.uuid {
            return Some(WhyFull::Uuid { parent: then.uuid.clone(), now: facts.uuid.clone() });
        }
        if then.datadir != facts.datadir {
            return Some(WhyFull::Datadir {
                parent: then.datadir.to_string(),
                now: facts.datadir.to_string(),
            });
        }
        if now < manifest.capture.end {
            return Some(WhyFull::LsnBehind { parent: manifest.capture.end, now });
        }
        if system.is_some_and(|identity| identity.born.is_none()) {
            return Some(WhyFull::NoBirth);
        }
        let first = self.system.get(&0);
        let same = first.zip(system).is_some_and(|(file, identity)| file.is(identity));
        (!same).then_some(WhyFull::OtherFiles)
    }

    /// The file of the system tablespace that begins with this page, when it is still the same file.
    pub(crate) fn system(&self, first_page: u32, identity: &Identity) -> Option<Arc<BaseFile>> {
        self.system.get(&first_page).filter(|file| file.is(identity)).cloned()
    }

    pub(crate) fn space(&self, space: SpaceId, identity: &Identity) -> Option<Arc<BaseFile>> {
        self.spaces.get(&space).filter(|file| file.is(identity)).cloned()
    }

    pub(crate) fn other(&self, path: &RelPath) -> Option<Arc<BaseFile>> {
        self.others.get(path).cloned()
    }
}

impl BaseFile {
    fn is(&self, identity: &Identity) -> bool {
        // Numbers of files are used again at once: without the time of birth they say nothing.
        self.entry.origin.is_some_and(|then| then.born.is_some() && then == origin(identity))
    }

    /// Whether a page of the file must be stored: `lsn` as it is in the file now, `None` for one of zeros.
    pub fn differs(&self, at: u64, size: u64, lsn: Option<Lsn>) -> bool {
        let held = self.covered.touches(at, size);
        match lsn {
            // Zeros that were zeros then; or else something was there, if only other zeros of the same run.
            None => held,
            Some(lsn) => lsn >= self.checkpoint || !held || at.saturating_add(size) > self.entry.size,
        }
    }
}

/// What the set says of which file it was.
pub(crate) fn origin(identity: &Identity) -> Origin {
    let since = identity.born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Origin { inode: identity.inode, born: since.and_then(|since| i64::try_from(since.as_nanos()).ok()) }
}

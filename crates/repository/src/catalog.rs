//! The repository as a directory: which servers, which sets, who holds the lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reseed_io::{Cancel, FileLock, IoError, Op, Progress, write};

use crate::adopt::{TakenOver, adopt};
use crate::beside::{Pin, Verified};
use crate::chain::Chain;
use crate::error::RepositoryError;
use crate::hash::Hash128;
use crate::id::{ServerName, SetId, SetKind};
use crate::manifest::{Compression, Manifest, Parent};
use crate::reader::{SetReader, manifest_text};
use crate::sink::Removed;
use crate::stored::DIR_MODE;
use crate::writer::{NewSet, SetWriter, count_removed, pass};

/// A set that is being written.
pub(crate) const PARTIAL: &str = ".partial";
/// A set that is being removed.
pub(crate) const EXPIRED: &str = ".expired";
const LOCK: &str = ".lock";

/// A repository in a directory. Opening one writes nothing.
#[derive(Debug, Clone)]
pub struct Repository {
    root: PathBuf,
}

/// The right to write under one server's name. Cheap to clone; released with the last clone, or with the process.
#[derive(Debug, Clone)]
pub struct NameLock {
    name: ServerName,
    lock: Arc<FileLock>,
}

impl NameLock {
    pub fn name(&self) -> &ServerName {
        &self.name
    }

    /// Says what the holder is doing, to whoever is refused.
    ///
    /// # Errors
    /// When the lock's file cannot be written.
    pub fn set_doing(&self, doing: &str) -> Result<(), RepositoryError> {
        Ok(self.lock.set_doing(doing)?)
    }
}

/// A set in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct SetInfo {
    pub dir: PathBuf,
    pub manifest: Manifest,
    pub manifest_hash: Hash128,
    pub pinned: Option<Pin>,
    /// The last verification of this very set.
    pub verified: Option<Verified>,
    /// Its ancestors are all there and are those that it was taken on.
    pub chain_complete: bool,
    /// No verification found damage in one of its ancestors.
    pub chain_sound: bool,
}

impl SetInfo {
    pub fn id(&self) -> &SetId {
        &self.manifest.id
    }

    /// It can be restored as far as is known: its chain is there, and no verification found damage.
    pub fn is_good(&self) -> bool {
        self.chain_complete && self.chain_sound && self.verified.as_ref().is_none_or(|verified| verified.good)
    }
}

/// A published set whose manifest cannot be read, or that has none.
#[derive(Debug)]
pub struct DamagedSet {
    pub id: SetId,
    pub dir: PathBuf,
    pub error: RepositoryError,
    /// What its manifest says of its place in the order, where that much can be read.
    pub claimed: Option<u64>,
}

/// What a run that died left behind, or a run that is at work has made so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub name: String,
    pub bytes: u64,
}

/// Everything under one server's name.
#[derive(Debug, Default)]
pub struct Listing {
    /// In the order in which they were taken.
    pub sets: Vec<SetInfo>,
    pub damaged: Vec<DamagedSet>,
    pub leftovers: Vec<Leftover>,
}

impl Listing {
    /// The newest set that can be restored as far as is known.
    pub fn newest_good(&self) -> Option<&SetInfo> {
        self.sets.iter().rev().find(|set| set.is_good())
    }

    pub fn get(&self, id: &SetId) -> Option<&SetInfo> {
        self.sets.iter().find(|set| set.id() == id)
    }

    /// Whether the chain is complete, and whether nothing bad is known of the ancestors.
    fn chain_state(&self, set: &SetInfo) -> (bool, bool) {
        let Some(chain) = self.chain(set) else { return (false, true) };
        let mut ancestors = chain.iter().filter(|ancestor| ancestor.id() != set.id());
        (true, ancestors.all(|ancestor| ancestor.verified.as_ref().is_none_or(|verified| verified.good)))
    }

    /// The set and its ancestors, full first. `None` where one is missing or is another.
    pub fn chain(&self, set: &SetInfo) -> Option<Vec<&SetInfo>> {
        let mut chain = vec![self.get(set.id())?];
        while let Some(parent) = chain.last().and_then(|set| set.manifest.parent.as_ref()) {
            let next = self.get(&parent.id)?;
            if next.manifest_hash != parent.manifest_hash || chain.len() > self.sets.len() {
                return None;
            }
            chain.push(next);
        }
        chain.reverse();
        Some(chain)
    }
}

/// Which set is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Latest,
    Id(SetId),
}

impl std::str::FromStr for Which {
    type Err = crate::id::NameError;

    fn from_str(text: &str) -> Result<Which, crate::id::NameError> {
        if text == "latest" { Ok(Which::Latest) } else { text.parse().map(Which::Id) }
    }
}

impl Repository {
    /// Opens a repository that is there.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn open(root: impl Into<PathBuf>) -> Result<Repository, RepositoryError> {
        let root = root.into();
        match fs::metadata(&root) {
            Ok(meta) if meta.is_dir() => Ok(Repository { root }),
            Ok(_) => Err(IoError::new(Op::Open, root, io::ErrorKind::NotADirectory.into()).into()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(RepositoryError::NoRepository { path: root })
            }
            Err(e) => Err(IoError::new(Op::Open, root, e).into()),
        }
    }

    /// Opens a repository, making its directory where there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(root: impl Into<PathBuf>) -> Result<Repository, RepositoryError> {
        let root = root.into();
        write::make_dirs(&root, DIR_MODE)?;
        Ok(Repository { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn dir(&self, name: &ServerName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// The servers that have a directory here.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names(&self) -> Result<Vec<ServerName>, RepositoryError> {
        let mut names: Vec<ServerName> = dir_names(&self.root)?
            .into_iter()
            .filter(|(_, is_dir)| *is_dir)
            .filter_map(|(name, _)| name.parse().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Takes the right to write under a name, waiting for it no longer than `wait`.
    ///
    /// # Errors
    /// [`RepositoryError::Busy`] when another run holds it; or the repository cannot be written.
    pub fn lock(
        &self,
        name: &ServerName,
        doing: &str,
        wait: Duration,
        cancel: &Cancel,
    ) -> Result<NameLock, RepositoryError> {
        let dir = self.dir(name);
        write::make_dirs(&dir, DIR_MODE)?;
        let since = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        match FileLock::acquire(&dir.join(LOCK), &since, doing, wait, cancel) {
            Ok(lock) => Ok(NameLock { name: name.clone(), lock: Arc::new(lock) }),
            Err(IoError::Busy { holder, .. }) => Err(RepositoryError::Busy { name: name.clone(), holder }),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what dead runs left. Holding the lock proves that they are dead.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clean(&self, lock: &NameLock) -> Result<Vec<Removed>, RepositoryError> {
        self.clean_all_but(lock, None)
    }

    fn clean_all_but(&self, lock: &NameLock, keep: Option<&str>) -> Result<Vec<Removed>, RepositoryError> {
        let dir = self.dir(&lock.name);
        let mut removed = Vec::new();
        for (name, is_dir) in dir_names(&dir)? {
            if is_dir && is_leftover(&name) && keep != Some(name.as_str()) {
                let bytes = write::remove_tree(&dir.join(&name))?;
                removed.push(Removed { name, bytes });
            }
        }
        Ok(removed)
    }

    /// Begins a set. What dead runs left is removed, but for packs of the newest that this one may use.
    ///
    /// # Errors
    /// When the repository cannot be written, or the work was told to stop.
    pub fn begin(
        &self,
        lock: &NameLock,
        new: NewSet,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<SetWriter, RepositoryError> {
        let left = self.take_over(lock, new.compression, progress, cancel)?;
        let sets = self.sets(&lock.name)?;
        let sequence = sets.sets.iter().map(|set| set.manifest.sequence).max().unwrap_or(0).saturating_add(1);
        let dir = self.dir(&lock.name);
        let taken = |id: &SetId| fs::symlink_metadata(dir.join(id.as_str())).is_ok();
        // Another set of the same second, of either kind, makes the next one number 2, 3, ...
        let free = |nth: &u32| {
            let other = |kind| SetId::new(new.start, kind, *nth);
            !taken(&other(SetKind::Full)) && !taken(&other(SetKind::Incremental))
        };
        let nth = (1..).find(free).unwrap_or(u32::MAX);
        let id = SetId::new(new.start, new.kind(), nth);
        let (partial, published) = (dir.join(format!("{id}{PARTIAL}")), dir.join(id.as_str()));
        pass("repository.begin", &partial)?;
        match left.adopted.as_ref().map(|adopted| dir.join(&adopted.from)) {
            // A second that has passed twice.
            Some(from) if from == partial => {}
            Some(from) => write::rename_new(&from, &partial)?,
            None => write::make_dir(&partial, DIR_MODE)?,
        }
        Ok(SetWriter::new(lock.clone(), new, id, partial, published, sequence, left))
    }

    /// Keeps of what dead runs left the packs of the newest that are of use, and removes the rest.
    fn take_over(
        &self,
        lock: &NameLock,
        compression: Compression,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<TakenOver, RepositoryError> {
        let adopted = match self.newest_partial(lock)? {
            Some(left) => adopt(&left, compression, progress, cancel)?,
            None => None,
        };
        let mut removed = self.clean_all_but(lock, adopted.as_ref().map(|adopted| adopted.from.as_str()))?;
        if let Some(adopted) = &adopted {
            count_removed(&mut removed, &adopted.from, adopted.removed);
        }
        Ok(TakenOver { adopted, removed })
    }

    /// The newest set that a dead run left unfinished.
    fn newest_partial(&self, lock: &NameLock) -> Result<Option<PathBuf>, RepositoryError> {
        let dir = self.dir(&lock.name);
        let names = dir_names(&dir)?.into_iter().filter(|(_, is_dir)| *is_dir);
        let id = |name: &str| name.strip_suffix(PARTIAL)?.parse::<SetId>().ok();
        let newest = names.filter_map(|(name, _)| id(&name)).max();
        Ok(newest.map(|id| dir.join(format!("{id}{PARTIAL}"))))
    }

    /// Everything under a name.
    ///
    /// # Errors
    /// When there is no such server or its directory cannot be read. A damaged set is no error: it is listed.
    pub fn sets(&self, name: &ServerName) -> Result<Listing, RepositoryError> {
        let dir = self.dir(name);
        let names = match dir_names(&dir) {
            Err(RepositoryError::Io(e)) if e.is_not_found() => {
                return Err(RepositoryError::NoServer { name: name.clone() });
            }
            names => names?,
        };
        let mut listing = Listing::default();
        for (entry, is_dir) in names {
            if !is_dir {
                continue;
            }
            if is_leftover(&entry) {
                let bytes = write::tree_size(&dir.join(&entry));
                listing.leftovers.push(Leftover { name: entry, bytes });
            } else if let Ok(id) = entry.parse::<SetId>() {
                let set_dir = dir.join(&entry);
                match read_info(&set_dir, &id) {
                    Ok(info) => listing.sets.push(info),
                    Err(error) => {
                        let claimed = claimed_sequence(&set_dir);
                        listing.damaged.push(DamagedSet { id, dir: set_dir, error, claimed });
                    }
                }
            }
        }
        listing.sets.sort_by(|a, b| (a.manifest.sequence, a.id()).cmp(&(b.manifest.sequence, b.id())));
        listing.damaged.sort_by(|a, b| a.id.cmp(&b.id));
        listing.leftovers.sort_by(|a, b| a.name.cmp(&b.name));
        let chains: Vec<(bool, bool)> = listing.sets.iter().map(|set| listing.chain_state(set)).collect();
        for (set, (complete, sound)) in listing.sets.iter_mut().zip(chains) {
            (set.chain_complete, set.chain_sound) = (complete, sound);
        }
        Ok(listing)
    }

    /// Opens the set that is meant, with its files there and of the right size.
    ///
    /// # Errors
    /// When it is not there, was never published, or is damaged. `latest` is the newest published set: when that
    /// one is damaged, an older one is not silently taken in its place.
    pub fn resolve(&self, name: &ServerName, which: &Which) -> Result<SetReader, RepositoryError> {
        match which {
            Which::Latest => self.latest(name),
            Which::Id(id) => self.open_set(name, id),
        }
    }

    fn latest(&self, name: &ServerName) -> Result<SetReader, RepositoryError> {
        let Listing { sets, damaged, .. } = self.sets(name)?;
        let newest = sets.last();
        // Of a damaged set its name may be all that is known, and that has the time of a clock, which may have gone back.
        let by_time = sets.is_sorted_by_key(|set| set.manifest.start);
        let newer = |set: &DamagedSet| {
            newest.is_none_or(|newest| {
                set.id > *newest.id() || set.claimed.map_or(!by_time, |it| it > newest.manifest.sequence)
            })
        };
        if let Some(damaged) = damaged.into_iter().rev().find(newer) {
            return Err(damaged.error);
        }
        match newest {
            Some(newest) => self.open_set(name, newest.id()),
            None => Err(RepositoryError::NoSets { name: name.clone() }),
        }
    }

    /// Opens one set.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub fn open_set(&self, name: &ServerName, id: &SetId) -> Result<SetReader, RepositoryError> {
        let dir = self.dir(name);
        let there = |path: &Path| fs::symlink_metadata(path).is_ok();
        let set = dir.join(id.as_str());
        if there(&set) {
            return SetReader::open(set, id);
        }
        if !there(&dir) {
            return Err(RepositoryError::NoServer { name: name.clone() });
        }
        if there(&dir.join(format!("{id}{PARTIAL}"))) {
            return Err(RepositoryError::Unpublished { name: name.clone(), id: id.clone() });
        }
        Err(RepositoryError::NoSet { name: name.clone(), id: id.clone() })
    }

    /// The set and all that it builds on, full first, each with its files there and of the right size.
    ///
    /// # Errors
    /// When an ancestor is missing, damaged, or is not the one that the set was taken on.
    pub fn chain(&self, set: &SetReader) -> Result<Chain, RepositoryError> {
        let name = &set.manifest().name;
        let mut chain = vec![set.clone()];
        while let Some(last) = chain.last() {
            let Some(Parent { id: parent, manifest_hash }) = last.manifest().parent.clone() else { break };
            let id = last.id().clone();
            // Every set has a parent with a smaller sequence: a chain that was tampered with does not loop.
            let limit = last.manifest().sequence;
            let next = match self.open_set(name, &parent) {
                Err(RepositoryError::NoSet { .. } | RepositoryError::Unpublished { .. }) => {
                    return Err(RepositoryError::ParentMissing { id, parent });
                }
                next => next?,
            };
            if next.as_parent().manifest_hash != manifest_hash || next.manifest().sequence >= limit {
                return Err(RepositoryError::ParentAltered { id, parent });
            }
            chain.push(next);
        }
        chain.reverse();
        Ok(Chain::new(chain))
    }
}

fn is_leftover(name: &str) -> bool {
    let bare = name.strip_suffix(PARTIAL).or_else(|| name.strip_suffix(EXPIRED));
    bare.is_some_and(|id| id.parse::<SetId>().is_ok())
}

fn read_info(dir: &Path, id: &SetId) -> Result<SetInfo, RepositoryError> {
    let text = match manifest_text(dir) {
        Err(e) if e.is_not_found() => {
            let problem = crate::error::Problem::Missing;
            return Err(crate::error::Damage::of_file(crate::manifest::MANIFEST, problem).in_set(id));
        }
        text => text?,
    };
    let (manifest, manifest_hash) = Manifest::from_text(&text, id)?;
    let verified = Verified::load(dir).filter(|verified| verified.manifest_hash == manifest_hash);
    Ok(SetInfo {
        dir: dir.to_owned(),
        pinned: Pin::load(dir),
        verified,
        manifest,
        manifest_hash,
        chain_complete: false,
        chain_sound: false,
    })
}

/// A damaged manifest's own word: enough to be careful, and to be trusted with nothing else.
fn claimed_sequence(dir: &Path) -> Option<u64> {
    let text = manifest_text(dir).ok()?;
    let manifest: serde_json::Value = serde_json::from_slice(&text).ok()?;
    manifest.get("sequence")?.as_u64()
}

/// Names in a directory that are text, and whether they are directories (not links to such).
fn dir_names(dir: &Path) -> Result<Vec<(String, bool)>, RepositoryError> {
    let fail = |e: io::Error| RepositoryError::from(IoError::new(Op::List, dir, e));
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if let Ok(name) = entry.file_name().into_string() {
            // One that vanishes meanwhile is not there.
            names.push((name, entry.file_type().is_ok_and(|kind| kind.is_dir())));
        }
    }
    names.sort();
    Ok(names)
}

//! The tablespaces of a backup: what has been copied so far, and keeping that in step with what the server has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use reseed_innodb::{PageSize, SpaceFormat};
use reseed_redo::{Applier, Change, Lsn, PageId, RedoFormat, SpaceId};
use reseed_repository::{AbsPath, FileEntry, FileKind, RepositoryError, Sink};
use reseed_terms::Flavour;

use crate::base::{Base, BaseFile, origin};
use crate::copier::{Copied, Copier, Job, Outcome, first_pages, set_path};
use crate::error::BackupError;
use crate::inventory::{CopiedSpace, Differences, Moment, compare, space_of};
use crate::scan::{Found, FoundKind, Scan};
use crate::space_log::{SpaceHistory, SpaceLog};

/// What the server's tablespaces look like in general.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpaceRules {
    pub flavour: Flavour,
    pub page_size: PageSize,
    pub redo: RedoFormat,
}

struct Space {
    copy: CopiedSpace,
    entry: FileEntry,
}

/// All copies that count at present.
pub(crate) struct Spaces {
    rules: SpaceRules,
    copied: HashMap<SpaceId, Space>,
    system: BTreeMap<usize, FileEntry>,
    nameless: Vec<FileEntry>,
    base: Option<Arc<Base>>,
    /// Copied again because of DDL.
    pub repeated: u64,
}

impl Spaces {
    pub fn new(rules: SpaceRules, base: Option<Arc<Base>>) -> Spaces {
        Spaces {
            rules,
            copied: HashMap::new(),
            system: BTreeMap::new(),
            nameless: Vec::new(),
            base,
            repeated: 0,
        }
    }

    /// The first copy: everything that the scan found and that can be recognised.
    pub fn copy_all(
        &mut self,
        copier: &Copier<'_>,
        sink: &dyn Sink,
        scan: &Scan,
        log: &SpaceLog,
        since: Lsn,
    ) -> Result<(), BackupError> {
        let files = scan.files.iter().filter(|file| match file.kind {
            FoundKind::System { .. } => true,
            FoundKind::Undo | FoundKind::Space => file.head.is_some(),
            _ => false,
        });
        let jobs = self.jobs(files, &scan.files, log);
        self.take(copier.copy(sink, jobs)?, log, since, Moment::Before)
    }

    /// Compares with what is there now and copies what differs.
    pub fn catch_up(
        &mut self,
        copier: &Copier<'_>,
        sink: &dyn Sink,
        scan: &Scan,
        log: &SpaceLog,
        since: Lsn,
        moment: Moment,
    ) -> Result<Differences, BackupError> {
        let known: HashMap<SpaceId, CopiedSpace> =
            self.copied.iter().map(|(space, held)| (*space, held.copy.clone())).collect();
        let differences = compare(&known, &scan.files, log, moment);
        let files = differences.copy.iter().filter_map(|(index, _)| scan.files.get(*index));
        let mut jobs = self.jobs(files, &scan.files, log);
        if moment == Moment::Before {
            // Without a format its pages could not be checked; by the time of the lock the redo will have told it.
            jobs.retain(|job| job.found.head.is_some() || job.format.is_some());
        }
        for (index, reason) in &differences.copy {
            if let Some(file) = scan.files.get(*index) {
                tracing::debug!(path = %file.path.display(), ?reason, ?moment, "copied because of DDL");
            }
        }
        self.repeated += jobs.len() as u64;
        self.take(copier.copy(sink, jobs)?, log, since, moment)?;
        if moment == Moment::UnderLock {
            for (space, index) in &differences.rename {
                if let (Some(held), Some(file)) = (self.copied.get_mut(space), scan.files.get(*index)) {
                    held.entry.path = set_path(&file.path)?;
                    held.entry.outside = absolute(file.outside.as_deref())?;
                    held.copy.path.clone_from(&file.path);
                }
            }
            for space in &differences.strike {
                self.copied.remove(space);
            }
        }
        Ok(differences)
    }

    /// Strikes off what was dropped after the inventory: a server may drop in the background.
    pub fn strike(&mut self, dropped: &[SpaceId]) -> usize {
        dropped.iter().filter(|space| self.copied.remove(space).is_some()).count()
    }

    pub fn holds(&self, space: SpaceId) -> bool {
        self.copied.contains_key(&space)
    }

    pub fn into_entries(self) -> Vec<FileEntry> {
        let spaces = self.copied.into_values().map(|held| held.entry);
        self.system.into_values().chain(spaces).chain(self.nameless).collect()
    }

    fn jobs<'f>(&self, files: impl Iterator<Item = &'f Found>, all: &[Found], log: &SpaceLog) -> Vec<Job> {
        let first_pages = first_pages(all, self.rules.page_size);
        let system_head = all.iter().find(|file| file.kind == FoundKind::System { index: 0 });
        let system =
            system_head.and_then(|file| SpaceFormat::from_flags(file.head?.flags, self.rules.flavour).ok());
        files
            .map(|found| {
                let (format, first_page) = match found.kind {
                    FoundKind::System { index } => (system, first_pages.get(&index).copied().unwrap_or(0)),
                    _ if found.head.is_some() => (None, 0),
                    _ => (
                        space_of(found, log).and_then(|space| self.format_from_redo(space, log.get(space)?)),
                        0,
                    ),
                };
                let base = self.base_of(found, first_page);
                Job { found: found.clone(), format, first_page, kept: None, base }
            })
            .collect()
    }

    /// The same file in the set that this one builds on. One whose first page is not written yet is a new one.
    fn base_of(&self, found: &Found, first_page: u32) -> Option<Arc<BaseFile>> {
        let base = self.base.as_ref()?;
        match found.kind {
            FoundKind::System { .. } => base.system(first_page, &found.stamp.identity),
            _ => base.space(found.head?.space, &found.stamp.identity),
        }
    }

    /// The format of a tablespace whose first page only the redo has yet.
    fn format_from_redo(&self, space: SpaceId, history: &SpaceHistory) -> Option<SpaceFormat> {
        let unknown = SpaceFormat::unknown(self.rules.flavour, self.rules.page_size);
        let mut page = vec![0; self.rules.page_size.bytes()];
        let changes = history.page_zero().iter().map(|change| Change {
            start: change.start,
            end: change.end,
            kind: change.kind,
            bytes: &change.bytes,
        });
        let applied = Applier::new(self.rules.redo, self.rules.page_size).apply(
            PageId::new(space.0, 0),
            &unknown,
            &mut page,
            changes,
        );
        if !applied.is_ok_and(|applied| applied.count > 0) {
            return None;
        }
        SpaceFormat::from_page0(&page, self.rules.flavour).ok()
    }

    fn take(
        &mut self,
        all: Vec<Copied>,
        log: &SpaceLog,
        since: Lsn,
        moment: Moment,
    ) -> Result<(), BackupError> {
        for copied in all {
            let found = &copied.found;
            let space = match found.kind {
                FoundKind::System { .. } => Some(SpaceId(0)),
                _ => space_of(found, log),
            };
            let kind = found.kind;
            match (copied.outcome, kind) {
                (Outcome::Vanished, FoundKind::System { .. }) => {
                    return Err(BackupError::Shrunk {
                        file: found.real.clone(),
                        expected: found.stamp.size,
                        got: 0,
                    });
                }
                (Outcome::Vanished, _) => {
                    if let Some(space) = space {
                        self.copied.remove(&space);
                    }
                    continue;
                }
                // A tablespace of tables only ever grows; one that is dropped may be cut first.
                (Outcome::Short { got }, FoundKind::Space) => {
                    if moment == Moment::UnderLock {
                        return Err(BackupError::Shrunk {
                            file: found.real.clone(),
                            expected: found.stamp.size,
                            got,
                        });
                    }
                    continue;
                }
                // The others are cut by the server; the redo says so, and what is behind the end is void.
                _ => {}
            }
            let path = found.path.clone();
            let identity = copied.before.identity.clone();
            let entry = entry(copied, space)?;
            match (kind, space) {
                (FoundKind::System { index }, _) => {
                    self.system.insert(index, entry);
                }
                (_, Some(space)) => {
                    let copy = CopiedSpace { path, identity, since, under_lock: moment == Moment::UnderLock };
                    self.copied.insert(space, Space { copy, entry });
                }
                (_, None) => self.nameless.push(entry),
            }
        }
        Ok(())
    }
}

/// Where two files claim the same number, only one is the server's; somebody put the other there.
pub(crate) fn drop_strangers(scan: &mut Scan, log: &SpaceLog) -> Vec<String> {
    let mut claims: HashMap<SpaceId, Vec<usize>> = HashMap::new();
    for (index, file) in scan.files.iter().enumerate() {
        if let (FoundKind::Space | FoundKind::Undo, Some(head)) = (file.kind, file.head) {
            claims.entry(head.space).or_default().push(index);
        }
    }
    let mut strangers = HashSet::new();
    let mut notes = Vec::new();
    for (space, indices) in claims.into_iter().filter(|(_, indices)| indices.len() > 1) {
        let files: Vec<(usize, &Found)> =
            indices.iter().filter_map(|index| Some((*index, scan.files.get(*index)?))).collect();
        let by_redo = files.iter().find(|(_, file)| log.space_named(&file.real) == Some(space));
        let by_frm = files.iter().find(|(_, file)| file.real.with_extension("frm").exists());
        let Some((owner, _)) = by_redo.or(by_frm).or(files.first()) else { continue };
        for (index, file) in files.iter().filter(|(index, _)| index != owner) {
            notes.push(format!(
                "{} was not copied: its tablespace number {space} is another file's",
                file.path.display()
            ));
            strangers.insert(*index);
        }
    }
    let mut index = 0;
    scan.files.retain(|_| {
        index += 1;
        !strangers.contains(&(index - 1))
    });
    notes.sort();
    notes
}

/// The set's entry for a copied file.
pub(crate) fn entry(copied: Copied, space: Option<SpaceId>) -> Result<FileEntry, BackupError> {
    let found = copied.found;
    let kind = match found.kind {
        FoundKind::System { .. } => FileKind::SystemTablespace,
        FoundKind::Undo => FileKind::UndoTablespace,
        FoundKind::Space => FileKind::Tablespace,
        FoundKind::AriaControl | FoundKind::AriaLog => FileKind::AriaLog,
        FoundKind::Plain => FileKind::Other,
    };
    let mut entry = FileEntry::new(set_path(&found.path)?, kind);
    entry.outside = absolute(found.outside.as_deref())?;
    entry.link = if found.through_link { absolute(Some(&found.real))? } else { None };
    entry.mode = found.mode;
    entry.origin = Some(origin(&copied.before.identity));
    entry.parent = copied.parent;
    entry.size = match copied.outcome {
        Outcome::Short { got } => got,
        _ => found.stamp.size,
    };
    entry.runs = copied.runs;
    entry.runs.retain(|run| run.at < entry.size);
    if kind.has_pages() {
        entry.space_id = space;
        entry.first_page = copied.first_page;
        entry.flags = copied.format.map(|format| format.flags());
        entry.page_size = copied.format.and_then(|format| u32::try_from(format.physical().bytes()).ok());
    }
    Ok(entry)
}

pub(crate) fn absolute(path: Option<&Path>) -> Result<Option<AbsPath>, BackupError> {
    let Some(path) = path else { return Ok(None) };
    let stored = AbsPath::from_path(path)
        .map_err(|source| RepositoryError::Path { path: path.to_path_buf(), source })?;
    Ok(Some(stored))
}

//! A backup under way: what both flavours' protocols work with, and the steps that they have in common.

use std::time::{Duration, Instant};

use reseed_redo::Lsn;
use reseed_repository::{FileEntry, FileKind, Sink};
use reseed_server::{Server, ServerFacts};

use crate::copier::{Copier, set_path};
use crate::engines::{PlainFiles, Strictness};
use crate::error::BackupError;
use crate::follower::Follower;
use crate::inventory::Moment;
use crate::layout::Layout;
use crate::options::BackupOptions;
use crate::report::Steps;
use crate::scan::{Found, FoundKind, Scan};
use crate::space_log::{SpaceHistory, SpaceLog};
use crate::spaces::{Spaces, drop_strangers};

/// Rounds of catching up with DDL before the lock; each leaves less for the time under it.
const ROUNDS: u32 = 4;

/// How long a file whose tablespace is dropped may take to go.
const UNLINK_LIMIT: Duration = Duration::from_secs(2);
const UNLINK_PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Work<'a, 's> {
    pub options: &'a BackupOptions,
    pub server: &'a Server,
    pub facts: &'a ServerFacts,
    pub layout: &'a Layout,
    pub follower: Follower,
    pub copier: &'a Copier<'a>,
    pub sink: &'a dyn Sink,
    pub spaces: Spaces,
    pub plain: PlainFiles,
    pub scan: Scan,
    pub notes: Vec<String>,
    pub steps: &'a mut Steps<'s>,
}

impl Work<'_, '_> {
    /// Looks at all files. The LSN is the server's before that: what the redo says later may be newer than the scan.
    pub fn look_again(&mut self) -> Result<(Lsn, SpaceLog), BackupError> {
        let since = self.server.redo_position()?.current;
        let mut scan = Scan::take(self.layout, Some(&self.scan))?;
        let log = self.follower.spaces();
        for note in drop_strangers(&mut scan, &log) {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        self.scan = scan;
        Ok((since, log))
    }

    /// The long part: everything, without a lock that anybody would notice.
    pub fn first_copy(&mut self) -> Result<(), BackupError> {
        let (since, log) = self.look_again()?;
        let early = !self.facts.variables.is_on("myisam_use_mmap");
        let total =
            self.scan.files.iter().filter(|file| file.is_innodb() || early).map(|file| file.stamp.size).sum();
        self.steps.begin("copy", Some(total));
        failpoint("backup.copy")?;
        self.spaces.copy_all(self.copier, self.sink, &self.scan, &log, since)?;
        if early {
            // Through a mapping a file's content changes later than its times say.
            self.plain.copy_early(self.copier, self.sink, &self.scan)?;
        }
        Ok(())
    }

    /// Copies what DDL has made meanwhile, until little is left for the time under the lock.
    pub fn catch_up(&mut self) -> Result<(), BackupError> {
        self.steps.begin("catch up", None);
        for _ in 0..ROUNDS {
            let (since, log) = self.look_again()?;
            let differences =
                self.spaces.catch_up(self.copier, self.sink, &self.scan, &log, since, Moment::Before)?;
            let bytes: u64 = differences
                .copy
                .iter()
                .filter_map(|(index, _)| Some(self.scan.files.get(*index)?.stamp.size))
                .sum();
            if bytes < 16 << 20 {
                break;
            }
        }
        Ok(())
    }

    /// The inventory that decides what the set consists of. To be called while no DDL can run. Returns the LSN up to
    /// which it knows what happened.
    pub fn final_inventory(&mut self) -> Result<Lsn, BackupError> {
        failpoint("backup.inventory")?;
        let reached = self.server.redo_position()?.current;
        self.server.flush_engine_logs()?;
        self.follower.wait_for(reached, self.options.redo_wait)?;
        let (since, log) = self.look_again()?;
        self.wait_for_unlinks(&log)?;
        self.spaces.catch_up(self.copier, self.sink, &self.scan, &log, since, Moment::UnderLock)?;
        self.plain.retain(&self.scan);
        Ok(reached)
    }

    /// A file whose tablespace the redo calls dropped is about to be removed: the server logs that first. Left in the
    /// set it would be in the way of the restored server, when that gives its name to another table. A file that
    /// stays was imported under a number that had been discarded before, and belongs to the set.
    fn wait_for_unlinks(&mut self, log: &SpaceLog) -> Result<(), BackupError> {
        let limit = Instant::now() + UNLINK_LIMIT;
        loop {
            let mut doomed = 0;
            let mut left = Vec::with_capacity(self.scan.files.len());
            for file in std::mem::take(&mut self.scan.files) {
                let space = file.head.map(|head| head.space);
                let gone = space.and_then(|space| log.get(space)).is_some_and(SpaceHistory::is_gone);
                if !gone {
                    left.push(file);
                } else if let Some(file) = still_there(file)? {
                    doomed += 1;
                    left.push(file);
                }
            }
            self.scan.files = left;
            if doomed == 0 || Instant::now() >= limit {
                return Ok(());
            }
            self.copier.cancel().sleep(UNLINK_PAUSE)?;
        }
    }

    /// Brings copies of other engines' files up to date, those chosen.
    pub fn settle(
        &mut self,
        chosen: impl Fn(&Found) -> bool,
        strictness: Strictness,
    ) -> Result<u64, BackupError> {
        let files: Vec<Found> =
            self.scan.files.iter().filter(|file| !file.is_innodb() && chosen(file)).cloned().collect();
        self.plain.settle(self.copier, self.sink, &files, strictness)
    }

    /// As `settle`, for files that may have changed since the scan.
    pub fn settle_now(
        &mut self,
        chosen: impl Fn(&Found) -> bool,
        strictness: Strictness,
    ) -> Result<u64, BackupError> {
        let files = self
            .scan
            .files
            .iter()
            .filter(|file| !file.is_innodb() && chosen(file))
            .cloned()
            .filter_map(|file| crate::engines::restat(file).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        self.plain.settle(self.copier, self.sink, &files, strictness)
    }

    /// What the set will say of each file and directory.
    pub fn entries(spaces: Spaces, plain: PlainFiles, scan: &Scan) -> Result<Vec<FileEntry>, BackupError> {
        let mut entries = spaces.into_entries();
        entries.extend(plain.into_entries());
        for directory in &scan.directories {
            let mut entry = FileEntry::new(set_path(&directory.path)?, FileKind::Directory);
            entry.mode = directory.mode;
            entries.push(entry);
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    /// Files that are not part of the set, where somebody may miss them.
    pub fn note_left_out(&mut self) {
        let left = std::mem::take(&mut self.scan.unknown);
        if let Some(first) = left.first() {
            let more = if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() };
            self.notes.push(format!("not copied, no known engine's file: {}{more}", first.display()));
        }
        for link in std::mem::take(&mut self.scan.broken_links) {
            self.notes.push(format!("{} names a tablespace file that is not there", link.display()));
        }
    }
}

/// Aria: the control file first, then the tables, the logs last; so that the logs hold all that the control file's
/// checkpoint needs. What is changed in between is copied again.
pub(crate) fn settle_aria(
    work: &mut Work<'_, '_>,
    tables: impl Fn(&Found) -> bool,
) -> Result<u64, BackupError> {
    const TRIES: u32 = 5;
    let mut bytes = 0;
    for _ in 0..TRIES {
        work.scan.refresh_aria(work.layout)?;
        bytes += work.settle_now(|file| file.kind == FoundKind::AriaControl, Strictness::Still)?;
        bytes += work.settle_now(&tables, Strictness::Still)?;
        bytes += work.settle_now(|file| file.kind == FoundKind::AriaLog, Strictness::Still)?;
        let again = work.settle_now(|file| file.kind == FoundKind::AriaControl, Strictness::Still)?;
        if again == 0 {
            break;
        }
        bytes += again;
    }
    work.plain.retain(&work.scan);
    Ok(bytes)
}

/// `None` when the file is gone, or another one has its name.
fn still_there(file: Found) -> Result<Option<Found>, BackupError> {
    let identity = file.stamp.identity.clone();
    Ok(crate::engines::restat(file)?.filter(|now| now.stamp.identity == identity))
}

/// Passes a named failpoint.
pub(crate) fn failpoint(name: &'static str) -> Result<(), BackupError> {
    reseed_io::failpoint::hit(name).map_err(|source| BackupError::Failpoint { name, source })
}

/// Seconds since `began`, for a person.
pub(crate) fn seconds_since(began: Instant) -> f64 {
    let spent: Duration = began.elapsed();
    spent.as_secs_f64()
}

//! What a set's redo asks for: the changes, the tablespaces without a file, the log that is laid down in its place.

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;

use reseed_innodb::PageSize;
use reseed_redo::SpaceId;
use reseed_redo::mysql::TableMetadata;
use reseed_repository::{FileEntry, Manifest};
use reseed_terms::Flavour;

use crate::changes::{Budget, Census, Changes};
use crate::error::RestoreError;
use crate::load::{load, read_through};
use crate::log::{self, CleanLog};
use crate::options::Apply;
use crate::pages::scene::Scene;
use crate::plan::{self, Plan};
use crate::run::{Job, failpoint};

/// What a set's redo asks for.
#[derive(Debug)]
pub(crate) struct Redo {
    pub changes: Changes,
    /// `None`: the server applies the redo.
    clean: Option<CleanLog>,
    /// Tablespaces without a file, of which the server must be told that they are gone.
    deleted: Vec<(SpaceId, Vec<u8>)>,
}

impl Redo {
    pub(crate) fn load<'r>(
        job: &Job<'_>,
        manifest: &Manifest,
        budget: &Budget,
        redo: impl FnOnce() -> Result<Box<dyn Read + Send + 'r>, RestoreError>,
    ) -> Result<Redo, RestoreError> {
        job.progress.start("redo", Some(manifest.capture.bytes));
        let (changes, clean) = match job.options.apply {
            Apply::Native => {
                let (changes, metadata): (_, TableMetadata) =
                    load(redo()?, &manifest.capture, budget, job.progress, job.cancel)?;
                (changes, Some(CleanLog::new(manifest, &metadata)?))
            }
            Apply::Server => {
                let mut census = Census::new(manifest.capture.checkpoint);
                let named = job.target.data();
                let (progress, cancel) = (job.progress, job.cancel);
                read_through(
                    redo()?,
                    &manifest.capture,
                    &named,
                    progress,
                    cancel,
                    &mut census,
                    Census::check,
                )?;
                (Changes::of_census(census), None)
            }
        };
        job.progress.finish();
        Ok(Redo { changes, clean, deleted: Vec::new() })
    }

    /// Tablespaces to be made from the redo alone. A server makes them itself.
    pub(crate) fn created(&self, manifest: &Manifest, files: &[FileEntry]) -> Vec<FileEntry> {
        match self.clean {
            Some(_) => plan::created(files, manifest.server.version.flavour, &self.changes),
            None => Vec::new(),
        }
    }

    /// What is written where; what the redo says of tablespaces without a file is refused here.
    pub(crate) fn plan<'s>(
        &mut self,
        job: &Job<'_>,
        manifest: &Manifest,
        files: &'s [FileEntry],
        created: &'s [FileEntry],
    ) -> Result<Plan<'s>, RestoreError> {
        let flavour = manifest.server.version.flavour;
        let plan = Plan::new(files, created, flavour, job.layout(), &self.changes)?;
        let known: HashSet<_> = plan.spaces.iter().map(|space| space.id).collect();
        let alive = self.changes.spaces().iter().filter(|seen| seen.is_alive(self.changes.voids()));
        for seen in alive.filter(|seen| !known.contains(&seen.space)) {
            let temporary =
                flavour == Flavour::MariaDb && seen.name.as_deref().is_some_and(plan::is_temporary);
            // Such a server makes the file itself.
            let by_server = self.clean.is_none()
                && flavour == Flavour::MariaDb
                && seen.created
                && manifest.server.version.at_least(10, 8, 0);
            if temporary {
                if self.clean.is_none() {
                    self.deleted.extend(seen.name.clone().map(|name| (seen.space, name)));
                }
            } else if !by_server {
                let name = seen.name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned());
                return Err(RestoreError::NoFile { space: seen.space, name, last: seen.last_change });
            }
        }
        Ok(plan)
    }

    pub(crate) fn scene<'s>(
        &'s self,
        job: &'s Job<'_>,
        manifest: &Manifest,
        plan: &'s Plan<'s>,
        paths: Vec<PathBuf>,
    ) -> Result<Scene<'s>, RestoreError> {
        let old = match job.target.reusable() {
            Some(old) => plan.old_files(old),
            None => Vec::new(),
        };
        Ok(Scene {
            plan,
            paths,
            old,
            held: Vec::new(),
            changes: &self.changes,
            redo: manifest.capture.format,
            server_page: page_size(manifest)?,
            flavour: manifest.server.version.flavour,
            end: manifest.capture.end,
            flush_lsn: self.clean.as_ref().and_then(|log| log.flush_lsn),
            owner: job.owner,
            threads: job.threads,
            progress: job.progress,
            cancel: job.cancel,
        })
    }

    pub(crate) fn write_log<'r>(
        &self,
        job: &Job<'_>,
        manifest: &Manifest,
        redo: impl FnOnce() -> Result<Box<dyn Read + Send + 'r>, RestoreError>,
    ) -> Result<(), RestoreError> {
        let data = job.target.data();
        failpoint("restore.log", &data)?;
        if manifest.server.version.flavour == Flavour::MySql {
            log::write_buffer_pool_list(&data, job.owner)?;
        }
        match &self.clean {
            Some(clean) => clean.write(&data, job.owner),
            None => log::write_for_server(&data, manifest, redo()?, &self.deleted, job.owner, job.cancel),
        }
    }

    /// Leaves only what a server needs that applies the redo itself.
    pub(crate) fn for_pass(self) -> Redo {
        match self.clean {
            Some(_) => self,
            None => Redo { changes: self.changes.into_sizes(), ..self },
        }
    }
}

pub(crate) fn page_size(manifest: &Manifest) -> Result<PageSize, RestoreError> {
    PageSize::new(u64::from(manifest.server.page_size)).map_err(|e| RestoreError::SetInconsistent {
        path: "manifest.json".to_owned(),
        reason: e.to_string(),
    })
}

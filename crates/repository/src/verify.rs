//! Reading a set to its last byte without restoring it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use reseed_io::{Cancel, DataFile, IoError, Progress, ReadMode};
use serde::{Deserialize, Serialize};

use crate::beside::{Pin, Verified};
use crate::codec::Decoder;
use crate::error::{Damage, Problem, RepositoryError};
use crate::files::Run;
use crate::hash::Hasher;
use crate::path::RelPath;
use crate::reader::SetReader;
use crate::window::Window;

/// How closely to look. Each level includes those before it; the last two are the work of the restore side, which
/// knows pages, and are here so that their results can be kept beside the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Manifest and index whole, every file there with its size.
    Quick,
    /// Every byte of packs and redo against its hashes.
    Full,
    /// Every page's own checksum.
    Pages,
    /// Restored, started, checked.
    RestoreTest,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    pub level: Level,
    pub findings: Vec<Damage>,
    /// Stored bytes that were read.
    pub bytes: u64,
}

impl VerifyReport {
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Findings that are kept beside the set.
const KEPT: usize = 100;
/// Bytes of packs that no run claims are read in pieces of this size.
const PIECE: u64 = 1 << 20;

/// Reads a set, `threads` packs at a time. Damage is reported, not returned as an error.
///
/// # Errors
/// When it was told to stop, or there is no memory for it.
pub fn verify(
    set: &SetReader,
    level: Level,
    threads: usize,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<VerifyReport, RepositoryError> {
    let mut report = VerifyReport { level, findings: Vec::new(), bytes: 0 };
    for file in set.manifest().stored_files() {
        if let Some(problem) = set.size_problem(file)? {
            report.findings.push(Damage::of_file(file.name.clone(), problem));
        }
    }
    let runs = match runs_by_pack(set) {
        Ok(runs) => runs,
        Err(error) => {
            report.findings.push(as_damage(error, &set.manifest().index.name)?);
            return Ok(report);
        }
    };
    report.bytes += set.manifest().index.size;
    if level == Level::Quick {
        return Ok(report);
    }
    progress.start("verifying", Some(set.manifest().totals.stored));
    progress.advance(report.bytes);
    let work = Work { set, runs, next: AtomicUsize::new(0), found: Mutex::default(), progress, cancel };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(|| work.packs())).collect();
        let redo = work.redo();
        let results = workers.into_iter().map(|worker| worker.join().unwrap_or(Ok(())));
        results.chain([redo]).collect::<Result<(), _>>()
    })?;
    let Found { findings, bytes } = work.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.findings.extend(findings);
    report.findings.sort_by_key(|damage| (damage.file.clone(), damage.range));
    report.findings.dedup();
    report.bytes += bytes;
    progress.finish();
    Ok(report)
}

impl SetReader {
    /// Keeps the result beside the set.
    ///
    /// # Errors
    /// When the disk is full or fails, or the repository may not be written.
    pub fn keep_result(&self, report: &VerifyReport, at: Timestamp) -> Result<(), RepositoryError> {
        let verified = Verified {
            level: report.level,
            at,
            tool: concat!("reseed ", env!("CARGO_PKG_VERSION")).to_owned(),
            good: report.is_good(),
            findings: report.findings.iter().take(KEPT).map(ToString::to_string).collect(),
            manifest_hash: self.as_parent().manifest_hash,
        };
        verified.save(self.dir())
    }

    /// Keeps the set, and all that it builds on, from being expired.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub fn pin(&self, reason: &str, at: Timestamp) -> Result<(), RepositoryError> {
        Pin { at, reason: reason.to_owned() }.save(self.dir())
    }

    /// Takes the pin off; says whether there was one.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub fn unpin(&self) -> Result<bool, RepositoryError> {
        Pin::remove(self.dir())
    }
}

/// Damage, or what could not be read, as a finding; other errors stay errors.
fn as_damage(error: RepositoryError, file: &str) -> Result<Damage, RepositoryError> {
    match error {
        RepositoryError::Damaged { damage, .. } => Ok(*damage),
        RepositoryError::Io(IoError::Os { op, offset, source, .. }) => Ok(Damage {
            range: offset.map(|offset| (offset, 0)),
            ..Damage::of_file(file, Problem::Unreadable(format!("cannot {op}: {source}")))
        }),
        other => Err(other),
    }
}

type RunsOfPack = Vec<(RelPath, Run)>;

fn runs_by_pack(set: &SetReader) -> Result<Vec<RunsOfPack>, RepositoryError> {
    let mut packs: Vec<RunsOfPack> = Vec::new();
    packs.resize_with(set.manifest().packs.len(), Vec::new);
    for file in set.files()? {
        let file = file?;
        for run in file.runs {
            match usize::try_from(run.pack).ok().and_then(|number| packs.get_mut(number)) {
                Some(pack) => pack.push((file.path.clone(), run)),
                None => {
                    let name = set.pack_name_of(run.pack);
                    let of = Some((file.path.clone(), run.at));
                    return Err(set.damaged(Damage { of, ..Damage::of_file(name, Problem::Missing) }));
                }
            }
        }
    }
    for pack in &mut packs {
        pack.sort_by_key(|(_, run)| run.offset);
    }
    Ok(packs)
}

struct Work<'a> {
    set: &'a SetReader,
    runs: Vec<RunsOfPack>,
    next: AtomicUsize,
    found: Mutex<Found>,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

#[derive(Default)]
struct Found {
    findings: Vec<Damage>,
    bytes: u64,
}

impl Work<'_> {
    fn report(&self, findings: Vec<Damage>, bytes: u64) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.findings.extend(findings);
        found.bytes += bytes;
    }

    fn packs(&self) -> Result<(), RepositoryError> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(runs) = self.runs.get(number) else { return Ok(()) };
            let Some(pack) = self.set.manifest().packs.get(number) else { return Ok(()) };
            let mut findings = Vec::new();
            let read = match DataFile::open(&self.set.dir().join(&pack.name), ReadMode::Sparing) {
                Ok(file) => {
                    let mut scan = PackScan::new(self, &file)?;
                    let result = scan.run(runs, pack.size, &mut findings);
                    let (at, hash) = (scan.at, scan.hasher.hash());
                    match result {
                        Err(error) => findings.push(as_damage(error, &pack.name)?),
                        // Where no run tells of the damage it lies between them or at the end.
                        Ok(()) if at == pack.size && hash != pack.hash => {
                            if findings.is_empty() {
                                findings.push(Damage::of_file(pack.name.clone(), Problem::Hash));
                            }
                        }
                        Ok(()) => {}
                    }
                    at
                }
                // A missing pack was reported with the sizes.
                Err(error) if error.is_not_found() => 0,
                Err(error) => {
                    findings.push(as_damage(error.into(), &pack.name)?);
                    0
                }
            };
            self.report(findings, read);
        }
    }

    fn redo(&self) -> Result<(), RepositoryError> {
        let name = &self.set.manifest().redo.stored.name;
        let read = || -> Result<(), RepositoryError> {
            let mut redo = self.set.redo()?;
            let mut buf = vec![0; PIECE as usize];
            while redo.read_some(&mut buf)? > 0 {
                self.cancel.check()?;
            }
            Ok(())
        };
        let size = self.set.manifest().redo.stored.size;
        match read() {
            Ok(()) => self.report(Vec::new(), size),
            Err(RepositoryError::Io(error)) if error.is_not_found() => {}
            Err(error) => self.report(vec![as_damage(error, name)?], 0),
        }
        self.progress.advance(size);
        Ok(())
    }
}

/// One pass over one pack: its hash and its runs.
struct PackScan<'a> {
    work: &'a Work<'a>,
    file: &'a DataFile,
    hasher: Hasher,
    decoder: Decoder,
    at: u64,
    window: Window,
    raw: Vec<u8>,
}

impl<'a> PackScan<'a> {
    fn new(work: &'a Work<'a>, file: &'a DataFile) -> Result<PackScan<'a>, RepositoryError> {
        let decoder = Decoder::new(work.set.manifest().compression)?;
        Ok(PackScan {
            work,
            file,
            hasher: Hasher::new(),
            decoder,
            at: 0,
            window: Window::new(),
            raw: Vec::new(),
        })
    }

    fn run(
        &mut self,
        runs: &[(RelPath, Run)],
        size: u64,
        findings: &mut Vec<Damage>,
    ) -> Result<(), RepositoryError> {
        for (path, run) in runs {
            let damage = |problem| self.work.set.run_damage(path, run, problem);
            if run.offset < self.at {
                findings.push(damage(Problem::Contradiction {
                    found: format!("a run at {}", run.offset),
                    expected: format!("none before {}", self.at),
                }));
                continue;
            }
            self.work.cancel.check()?;
            let len = run.stored as usize;
            let there = self.skip_to(run.offset)?;
            let stored = if there { self.window.read(self.file, 0, self.at, len)? } else { None };
            let Some(stored) = stored else {
                findings.push(damage(Problem::Short));
                return Ok(());
            };
            self.hasher.update(stored);
            if let Err(problem) = self.decoder.decode(run, stored, &mut self.raw) {
                findings.push(damage(problem));
            }
            self.advance(len);
        }
        self.skip_to(size).map(drop)
    }

    /// Hashes what no run claims. False when the file ends before.
    fn skip_to(&mut self, offset: u64) -> Result<bool, RepositoryError> {
        while self.at < offset {
            self.work.cancel.check()?;
            let len = (offset - self.at).min(PIECE) as usize;
            let Some(bytes) = self.window.read(self.file, 0, self.at, len)? else { return Ok(false) };
            self.hasher.update(bytes);
            self.advance(len);
        }
        Ok(true)
    }

    fn advance(&mut self, len: usize) {
        self.at += len as u64;
        self.work.progress.advance(len as u64);
    }
}

//! A published set being read. Everything that comes out of here was checked against its hash.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reseed_io::lock::InUse;
use reseed_io::{DataFile, ReadMode};

use crate::codec::Decoder;
use crate::error::{Damage, Problem, RepositoryError};
use crate::files::{FileEntry, Run};
use crate::hash::Hash128;
use crate::id::SetId;
use crate::index;
use crate::manifest::{MANIFEST, Manifest, Parent, StoredFile};
use crate::path::RelPath;
use crate::redo::{RedoReader, WINDOW_LOG};
use crate::window::{Hashing, Window};

/// More than this is not read as a manifest.
const MAX_MANIFEST: u64 = 64 << 20;

/// A set. Cheap to clone; shared by threads.
#[derive(Debug, Clone)]
pub struct SetReader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    manifest: Manifest,
    hash: Option<Hash128>,
    /// Open pack files by number; opened when first needed.
    packs: Mutex<HashMap<u32, Arc<DataFile>>>,
    /// Keeps the set from being expired while somebody reads it.
    _in_use: Option<InUse>,
}

/// The text of a set's manifest; that none is there is told apart from other failures.
pub(crate) fn manifest_text(dir: &Path) -> Result<Vec<u8>, reseed_io::IoError> {
    let path = dir.join(MANIFEST);
    let file = DataFile::open(&path, ReadMode::Cached)?;
    let len = file.len()?.min(MAX_MANIFEST + 1);
    let mut text = vec![0; usize::try_from(len).unwrap_or(0)];
    let n = file.read_at(0, &mut text)?;
    text.truncate(n);
    Ok(text)
}

impl SetReader {
    /// Opens a set, and checks that all its files are there with their sizes.
    pub(crate) fn open(dir: PathBuf, id: &SetId) -> Result<SetReader, RepositoryError> {
        let in_use = InUse::mark(&dir.join(MANIFEST)).map_err(|e| missing_manifest(e, id))?;
        let text = manifest_text(&dir).map_err(|e| missing_manifest(e, id))?;
        let (manifest, hash) = Manifest::from_text(&text, id)?;
        let inner = Inner { dir, manifest, hash: Some(hash), packs: Mutex::default(), _in_use: Some(in_use) };
        let set = SetReader { inner: Arc::new(inner) };
        set.check_sizes()?;
        Ok(set)
    }

    /// A set that has no manifest on the disk yet.
    pub(crate) fn of_parts(dir: PathBuf, manifest: Manifest) -> SetReader {
        let inner = Inner { dir, manifest, hash: None, packs: Mutex::default(), _in_use: None };
        SetReader { inner: Arc::new(inner) }
    }

    pub fn id(&self) -> &SetId {
        &self.inner.manifest.id
    }

    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// What an incremental set that builds on this one says of it.
    pub fn as_parent(&self) -> Parent {
        let hash = self.inner.hash.unwrap_or(Hash128(0));
        Parent { id: self.id().clone(), manifest_hash: hash }
    }

    pub(crate) fn damaged(&self, damage: Damage) -> RepositoryError {
        damage.in_set(self.id())
    }

    /// Checks that every file of the set is there and has its size.
    ///
    /// # Errors
    /// The first that is not as it was written.
    pub fn check_sizes(&self) -> Result<(), RepositoryError> {
        for file in self.manifest().stored_files() {
            if let Some(problem) = self.size_problem(file)? {
                return Err(self.damaged(Damage::of_file(file.name.clone(), problem)));
            }
        }
        Ok(())
    }

    pub(crate) fn size_problem(&self, file: &StoredFile) -> Result<Option<Problem>, RepositoryError> {
        match std::fs::metadata(self.inner.dir.join(&file.name)) {
            Ok(meta) if meta.len() == file.size => Ok(None),
            Ok(meta) => Ok(Some(Problem::Size { found: meta.len(), expected: file.size })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Some(Problem::Missing)),
            Err(e) => {
                let path = self.inner.dir.join(&file.name);
                Err(reseed_io::IoError::new(reseed_io::Op::Stat, path, e).into())
            }
        }
    }

    /// The entries in order of path. The index is checked against its hash before the first is given.
    ///
    /// # Errors
    /// When the index cannot be read or is not as it was written.
    pub fn files(&self) -> Result<Files, RepositoryError> {
        let index = &self.manifest().index;
        let path = self.inner.dir.join(&index.name);
        let mut hashing = Hashing::open(&path)?;
        let copied = io::copy(&mut hashing, &mut io::sink()).map_err(index::unwrap_io)?;
        let damage = |problem| self.damaged(Damage::of_file(index.name.clone(), problem));
        if copied != index.size {
            return Err(damage(Problem::Size { found: copied, expected: index.size }));
        }
        if hashing.hasher.hash() != index.hash {
            return Err(damage(Problem::Hash));
        }
        let mut zstd = zstd::stream::read::Decoder::with_buffer(Hashing::open(&path)?)
            .map_err(RepositoryError::Compress)?;
        zstd.window_log_max(WINDOW_LOG).map_err(RepositoryError::Compress)?;
        let lines = io::BufReader::with_capacity(256 << 10, zstd);
        Ok(Files { set: self.clone(), reader: index::Reader::new(lines, self.manifest().totals) })
    }

    /// All entries at once.
    ///
    /// # Errors
    /// As [`SetReader::files`].
    pub fn load_files(&self) -> Result<Vec<FileEntry>, RepositoryError> {
        self.files()?.collect()
    }

    /// The redo from its start.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn redo(&self) -> Result<RedoReader, RepositoryError> {
        let manifest = self.manifest();
        RedoReader::open(&self.inner.dir, self.id(), &manifest.redo, manifest.compression)
    }

    /// A reader of runs; every thread takes its own.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn runs(&self) -> Result<RunReader, RepositoryError> {
        self.runs_with(Window::new())
    }

    pub(crate) fn runs_with(&self, window: Window) -> Result<RunReader, RepositoryError> {
        let decoder = Decoder::new(self.manifest().compression)?;
        Ok(RunReader { set: self.clone(), packs: HashMap::new(), decoder, window })
    }

    fn pack(&self, number: u32) -> Result<Arc<DataFile>, RepositoryError> {
        let mut packs = self.inner.packs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pack) = packs.get(&number) {
            return Ok(Arc::clone(pack));
        }
        let found = usize::try_from(number).ok().and_then(|number| self.manifest().packs.get(number));
        let Some(pack) = found else { return Err(self.no_such_pack(number)) };
        let file = Arc::new(DataFile::open(&self.inner.dir.join(&pack.name), ReadMode::Sparing)?);
        packs.insert(number, Arc::clone(&file));
        Ok(file)
    }

    pub(crate) fn no_such_pack(&self, number: u32) -> RepositoryError {
        let problem = Problem::Contradiction {
            found: format!("pack {number}"),
            expected: format!("{} packs", self.manifest().packs.len()),
        };
        self.damaged(Damage::of_file(crate::manifest::INDEX, problem))
    }

    pub(crate) fn pack_name_of(&self, number: u32) -> String {
        crate::manifest::pack_name(number, self.manifest().compression)
    }

    pub(crate) fn run_damage(&self, path: &RelPath, run: &Run, problem: Problem) -> Damage {
        Damage {
            file: self.pack_name_of(run.pack),
            range: Some((run.offset, u64::from(run.stored))),
            of: Some((path.clone(), run.at)),
            problem,
        }
    }
}

/// A directory without a manifest was never published, whatever else lies in it.
fn missing_manifest(error: reseed_io::IoError, id: &SetId) -> RepositoryError {
    match error {
        reseed_io::IoError::Busy { .. } => RepositoryError::InUse { id: id.clone() },
        error if error.is_not_found() => Damage::of_file(MANIFEST, Problem::Missing).in_set(id),
        error => error.into(),
    }
}

/// The entries of a set, one after the other.
pub struct Files {
    set: SetReader,
    reader: index::Reader<io::BufReader<zstd::stream::read::Decoder<'static, Hashing>>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl Iterator for Files {
    type Item = Result<FileEntry, RepositoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.reader.next()?;
        Some(entry.map_err(|problem| {
            self.set.damaged(Damage::of_file(self.set.manifest().index.name.clone(), problem))
        }))
    }
}

/// Reads runs. One for each thread: it keeps its buffers, its decompressor and its handles on packs.
#[derive(Debug)]
pub struct RunReader {
    set: SetReader,
    packs: HashMap<u32, Arc<DataFile>>,
    decoder: Decoder,
    window: Window,
}

impl RunReader {
    fn pack(&mut self, number: u32) -> Result<Arc<DataFile>, RepositoryError> {
        if let Some(pack) = self.packs.get(&number) {
            return Ok(Arc::clone(pack));
        }
        let pack = self.set.pack(number)?;
        self.packs.insert(number, Arc::clone(&pack));
        Ok(pack)
    }

    /// The raw bytes of a run into `out` (whose memory is reused), hashes checked. `path` is for the error only.
    ///
    /// # Errors
    /// When it cannot be read, or is not as it was written.
    pub fn read(&mut self, path: &RelPath, run: &Run, out: &mut Vec<u8>) -> Result<(), RepositoryError> {
        let pack = self.pack(run.pack)?;
        let stored = self.window.read(&pack, run.pack, run.offset, run.stored as usize)?;
        let stored = stored.ok_or(Problem::Short);
        let problem = stored.and_then(|stored| self.decoder.decode(run, stored, out));
        problem.map_err(|problem| self.set.damaged(self.set.run_damage(path, run, problem)))
    }

    /// Says which runs will be asked for next, instead of those of the last time, so that they come in large reads.
    pub fn expect<'r>(&mut self, runs: impl Iterator<Item = &'r Run>) {
        self.window.expect(runs);
    }
}

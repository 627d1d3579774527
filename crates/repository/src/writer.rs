//! A set being written to a directory of the repository. It is called `ID.partial` until it is whole and durable.
//!
//! The order is the protocol: packs and redo synced, index written and synced, index and a sample of the runs read
//! back, manifest written and synced, directory synced, renamed, parent synced. Failpoints, in that order:
//! `repository.finish`, `repository.index`, `repository.readback`, `repository.manifest`, `repository.publish`,
//! `repository.published`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use reseed_io::{IoError, Op, write};

use crate::adopt::{Adopted, TakenOver, remove_all_but};
use crate::catalog::{Leftover, NameLock};
use crate::codec::{Encoded, Encoder, run_name};
use crate::error::{Incomplete, RepositoryError};
use crate::files::{FileEntry, PageList, Run};
use crate::id::{SetId, SetKind};
use crate::index;
use crate::manifest::{
    Compression, FORMAT, INDEX, MANIFEST, Manifest, Parent, RedoFile, SetFacts, StoredFile, Totals, pack_name,
};
use crate::path::RelPath;
use crate::reader::SetReader;
use crate::redo::RedoWriter;
use crate::sink::{FileCopy, PackSink, Published, RedoSink, Removed, Rest, Reused, Sink};
use crate::stored::{FILE_MODE, StoredWriter};
use crate::stream::StreamServer;
use crate::tar;

/// How many runs are read back before a set is published.
const SAMPLE: u64 = 16;

/// What is known of a set before its first byte.
#[derive(Debug, Clone)]
pub struct NewSet {
    /// An incremental set builds on this one; a full set on none.
    pub parent: Option<Parent>,
    pub compression: Compression,
    pub start: Timestamp,
    /// Read the index and a sample back before publishing.
    pub read_back: bool,
    /// Told at the head of a stream, to who must decide before anything is received.
    pub server: Option<StreamServer>,
}

impl NewSet {
    pub fn full(start: Timestamp) -> NewSet {
        NewSet { parent: None, compression: Compression::default(), start, read_back: true, server: None }
    }

    pub fn kind(&self) -> SetKind {
        if self.parent.is_some() { SetKind::Incremental } else { SetKind::Full }
    }
}

/// A set that has a directory but is not published.
#[derive(Debug)]
pub struct SetWriter {
    shared: Arc<Shared>,
    lock: NameLock,
    new: NewSet,
    final_dir: PathBuf,
    sequence: u64,
    removed: Vec<Removed>,
    next_copy: AtomicU32,
}

/// What packs and redo, which live in threads of their own, report back to.
#[derive(Debug)]
struct Shared {
    id: SetId,
    dir: PathBuf,
    compression: Compression,
    adopted: Option<Adopted>,
    packs: Mutex<Vec<Pack>>,
    redo: Mutex<Option<RedoFile>>,
}

#[derive(Debug)]
enum Pack {
    /// How many bytes of whole runs it has.
    Open(u64),
    Finished(StoredFile),
}

impl Shared {
    fn set_pack(&self, number: u32, pack: Pack) {
        if let Some(slot) = locked(&self.packs).get_mut(number as usize) {
            *slot = pack;
        }
    }

    /// Gives its room back: what else lives on a full disk cannot wait for the next backup, which removes what is left all
    /// the same. Under its final name a set is never touched.
    fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }

    /// Leaves the packs that hold whole runs. Where there is none nothing is left.
    fn keep_packs(&self) -> Option<Leftover> {
        let packs = locked(&self.packs);
        let holds_runs = |pack: &Pack| match pack {
            Pack::Open(whole) => *whole > 0,
            Pack::Finished(file) => file.size > tar::END.len() as u64,
        };
        let numbered = packs.iter().zip(0..).filter(|(pack, _)| holds_runs(pack));
        let names: HashSet<String> =
            numbered.map(|(_, number)| pack_name(number, self.compression)).collect();
        if names.is_empty() || remove_all_but(&self.dir, |name| names.contains(name)).is_err() {
            self.remove();
            return None;
        }
        let name = self.dir.file_name()?.to_string_lossy().into_owned();
        Some(Leftover { name, bytes: write::tree_size(&self.dir) })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn pass(name: &str, path: &Path) -> Result<(), IoError> {
    reseed_io::failpoint::hit(name).map_err(|e| IoError::new(Op::Write, path, e))
}

impl SetWriter {
    /// `dir` has nothing in it but the packs that were taken over.
    pub(crate) fn new(
        lock: NameLock,
        new: NewSet,
        id: SetId,
        dir: PathBuf,
        final_dir: PathBuf,
        sequence: u64,
        TakenOver { adopted, removed }: TakenOver,
    ) -> SetWriter {
        let packs = adopted.iter().flat_map(|adopted| &adopted.packs).cloned().map(Pack::Finished).collect();
        let shared = Shared {
            id,
            dir,
            compression: new.compression,
            adopted,
            packs: Mutex::new(packs),
            redo: Mutex::new(None),
        };
        SetWriter {
            shared: Arc::new(shared),
            lock,
            new,
            final_dir,
            sequence,
            removed,
            next_copy: AtomicU32::new(0),
        }
    }

    /// The directory as long as the set is not published.
    pub fn partial_dir(&self) -> &Path {
        &self.shared.dir
    }

    fn publish(&self, facts: SetFacts, mut files: Vec<FileEntry>) -> Result<Published, RepositoryError> {
        let dir = &self.shared.dir;
        pass("repository.finish", dir)?;
        let mut packs = self.finished_packs()?;
        let redo = locked(&self.shared.redo).take().ok_or(Incomplete::Redo)?;
        if redo.raw != facts.capture.bytes {
            return Err(Incomplete::RedoLength { captured: redo.raw, expected: facts.capture.bytes }.into());
        }
        let mut removed = self.removed.clone();
        if let Some(adopted) = &self.shared.adopted {
            let (used, bytes) = adopted.settle(dir, self.id(), self.new.compression, packs, &mut files)?;
            packs = used;
            count_removed(&mut removed, &adopted.from, bytes);
        }
        let totals = index::check(&mut files, |run| {
            let pack = usize::try_from(run.pack).ok().and_then(|number| packs.get(number));
            let end = run.offset.checked_add(u64::from(run.stored));
            pack.is_some_and(|pack| end.is_some_and(|end| end <= pack.size))
        })?;
        pass("repository.index", dir)?;
        let index = index::write_compressed(files, StoredWriter::create(dir, INDEX)?)?.finish()?;
        let manifest = self.manifest(facts, totals, index, redo, packs);
        if self.new.read_back {
            pass("repository.readback", dir)?;
            read_back(dir, &manifest)?;
        }
        self.lock.set_doing("publishing")?;
        pass("repository.manifest", dir)?;
        let (text, hash) = manifest.to_text().map_err(|e| RepositoryError::Compress(e.into()))?;
        let out = write::OutFile::create_new(&dir.join(MANIFEST), FILE_MODE)?;
        out.write_all_at(0, text.as_bytes())?;
        out.sync()?;
        write::sync_dir(dir)?;
        pass("repository.publish", dir)?;
        write::rename_new(dir, &self.final_dir)?;
        pass("repository.published", &self.final_dir)?;
        let _ = hash;
        Ok(Published { manifest, path: Some(self.final_dir.clone()), removed })
    }

    fn finished_packs(&self) -> Result<Vec<StoredFile>, Incomplete> {
        let packs = locked(&self.shared.packs);
        let finished = packs.iter().zip(0..);
        let file = |(pack, number): (&Pack, u32)| match pack {
            Pack::Open(_) => Err(Incomplete::Pack { number }),
            Pack::Finished(file) => Ok(file.clone()),
        };
        finished.map(file).collect()
    }

    fn manifest(
        &self,
        facts: SetFacts,
        totals: Totals,
        index: StoredFile,
        redo: RedoFile,
        packs: Vec<StoredFile>,
    ) -> Manifest {
        let stored = packs.iter().map(|pack| pack.size).sum::<u64>() + redo.stored.size + index.size;
        let start = Start {
            id: self.shared.id.clone(),
            sequence: self.sequence,
            name: self.lock.name().clone(),
            new: self.new.clone(),
        };
        start.manifest(facts, Totals { stored, ..totals }, index, redo, packs)
    }
}

/// More bytes of a leftover were removed.
pub(crate) fn count_removed(removed: &mut Vec<Removed>, name: &str, bytes: u64) {
    match removed.iter_mut().find(|removed| removed.name == name) {
        _ if bytes == 0 => {}
        Some(removed) => removed.bytes += bytes,
        None => removed.push(Removed { name: name.to_owned(), bytes }),
    }
}

/// The part of a manifest that is known when the set begins.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub id: SetId,
    pub sequence: u64,
    pub name: crate::id::ServerName,
    pub new: NewSet,
}

impl Start {
    pub(crate) fn manifest(
        self,
        facts: SetFacts,
        totals: Totals,
        index: StoredFile,
        redo: RedoFile,
        packs: Vec<StoredFile>,
    ) -> Manifest {
        Manifest {
            format: FORMAT,
            tool: concat!("reseed ", env!("CARGO_PKG_VERSION")).to_owned(),
            id: self.id,
            name: self.name,
            kind: self.new.kind(),
            sequence: self.sequence,
            parent: self.new.parent,
            start: self.new.start,
            end: facts.end,
            server: facts.server,
            capture: facts.capture,
            coordinates: facts.coordinates,
            locks: facts.locks,
            notes: facts.notes,
            owner: facts.owner,
            scan: facts.scan,
            compression: self.new.compression,
            totals,
            index,
            redo,
            packs,
        }
    }
}

/// Reads the index and some runs from the disk as restore would.
fn read_back(dir: &Path, manifest: &Manifest) -> Result<(), RepositoryError> {
    let set = SetReader::of_parts(dir.to_owned(), manifest.clone());
    set.check_sizes()?;
    let mut runs = set.runs()?;
    let mut raw = Vec::new();
    let step = manifest.totals.runs.div_ceil(SAMPLE).max(1);
    let mut nth = 0;
    for file in set.files()? {
        let file = file?;
        for run in &file.runs {
            if nth % step == 0 {
                runs.read(&file.path, run, &mut raw)?;
            }
            nth += 1;
        }
    }
    Ok(())
}

impl Sink for SetWriter {
    fn id(&self) -> &SetId {
        &self.shared.id
    }

    fn removed(&self) -> &[Removed] {
        &self.removed
    }

    fn reused(&self, files: &[FileEntry]) -> Option<Reused> {
        let adopted = self.shared.adopted.as_ref()?;
        Some(Reused { name: adopted.from.clone(), raw: adopted.used(files) }).filter(|reused| reused.raw > 0)
    }

    fn copy(&self, path: &RelPath) -> FileCopy {
        FileCopy { number: self.next_copy.fetch_add(1, Ordering::Relaxed), path: path.clone() }
    }

    fn pack(&self) -> Result<Box<dyn PackSink>, RepositoryError> {
        let encoder = Encoder::new(self.shared.compression)?;
        let mut packs = locked(&self.shared.packs);
        let number = packs.len() as u32;
        let file = StoredWriter::create(&self.shared.dir, &pack_name(number, self.shared.compression))?;
        packs.push(Pack::Open(0));
        drop(packs);
        Ok(Box::new(PackWriter { shared: Arc::clone(&self.shared), number, file, encoder }))
    }

    fn redo(&self) -> Result<Box<dyn RedoSink>, RepositoryError> {
        let writer = RedoWriter::create(&self.shared.dir, self.shared.compression)?;
        Ok(Box::new(RedoPart { shared: Arc::clone(&self.shared), writer }))
    }

    fn finish(self: Box<Self>, facts: SetFacts, files: Vec<FileEntry>) -> Result<Published, RepositoryError> {
        let shared = Arc::clone(&self.shared);
        self.publish(facts, files).inspect_err(|_| shared.remove())
    }

    fn abort(self: Box<Self>, _reason: &str, rest: Rest) -> Option<Leftover> {
        match rest {
            Rest::Kept => self.shared.keep_packs(),
            Rest::Removed => {
                self.shared.remove();
                None
            }
        }
    }
}

/// One pack; each copying thread has its own.
#[derive(Debug)]
struct PackWriter {
    shared: Arc<Shared>,
    number: u32,
    file: StoredWriter,
    encoder: Encoder,
}

pub(crate) fn record(pack: u32, offset: u64, at: u64, raw: usize, encoded: &Encoded<'_>) -> Run {
    Run {
        pack,
        offset,
        stored: encoded.stored,
        head: encoded.head,
        at,
        raw: raw as u32,
        hash: encoded.hash,
        stored_hash: encoded.stored_hash,
        pages: None,
    }
}

impl PackSink for PackWriter {
    fn store(
        &mut self,
        copy: &FileCopy,
        at: u64,
        raw: &[u8],
        pages: Option<PageList>,
    ) -> Result<Run, RepositoryError> {
        let name = run_name(&copy.path, at, pages.as_ref());
        let adopted = self.shared.adopted.as_ref();
        if let Some(run) = adopted.and_then(|adopted| adopted.claim(&name, at, raw, pages.as_ref())) {
            return Ok(run);
        }
        let encoded = self.encoder.encode(&name, raw)?;
        let offset = self.file.len();
        for part in encoded.parts {
            self.file.append(part)?;
        }
        self.shared.set_pack(self.number, Pack::Open(self.file.len()));
        Ok(Run { pages, ..record(self.number, offset, at, raw.len(), &encoded) })
    }

    fn finish(self: Box<Self>) -> Result<(), RepositoryError> {
        let PackWriter { shared, number, mut file, mut encoder } = *self;
        file.append(encoder.end()?)?;
        let stored = file.finish()?;
        shared.set_pack(number, Pack::Finished(stored));
        Ok(())
    }
}

#[derive(Debug)]
struct RedoPart {
    shared: Arc<Shared>,
    writer: RedoWriter,
}

impl RedoSink for RedoPart {
    fn write(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        self.writer.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<(), RepositoryError> {
        let redo = self.writer.finish()?;
        *locked(&self.shared.redo) = Some(redo);
        Ok(())
    }
}

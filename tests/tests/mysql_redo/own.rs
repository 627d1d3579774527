//! Our side: the redo read by the tail and the parser, and applied to the pages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use reseed_innodb::{Flavour, PageNo, PageSize, SpaceFormat, expand_page, seal_page};
use reseed_redo::mysql::record_type::{ALL, RecordType};
use reseed_redo::mysql::tail::{Next, Position, Step, Tail, TailFile};
use reseed_redo::{
    Applier, Capture, Change, ChangeKind, LogParser, LogVisitor, Lsn, MtrSpan, PageChange, PageId,
    RedoFormat, SpaceEvent,
};

use crate::crash::{Crash, RedoFile, tablespaces};

/// Records that change no page.
const NO_PAGE: [RecordType; 9] = [
    RecordType::MULTI_REC_END,
    RecordType::DUMMY_RECORD,
    RecordType::FILE_CREATE,
    RecordType::FILE_RENAME,
    RecordType::FILE_DELETE,
    RecordType::FILE_EXTEND,
    RecordType::INDEX_LOAD,
    RecordType::TABLE_DYNAMIC_META,
    RecordType::TEST,
];

/// A change that outlives its mini-transaction.
struct Kept {
    start: Lsn,
    end: Lsn,
    kind: ChangeKind,
    bytes: Vec<u8>,
}

/// What we make of the redo.
pub struct Own {
    /// Every page that redo changed, sealed, by tablespace path and page number.
    pub pages: BTreeMap<(std::path::PathBuf, u32), Vec<u8>>,
    pub formats: BTreeMap<std::path::PathBuf, SpaceFormat>,
    pub records: u64,
    pub types: BTreeMap<&'static str, u64>,
    pub mtrs: u64,
    /// Events of whole tablespaces by their name.
    pub events: BTreeMap<&'static str, u64>,
    /// Metadata records: table, version, kind, payload.
    pub metadata: Vec<(u64, u64, u8, Vec<u8>)>,
    /// Where the log ends.
    pub end: Lsn,
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mtrs, {} records of {} types", self.mtrs, self.records, self.types.len())?;
        let missing: Vec<_> = ALL
            .iter()
            .filter(|kind| !NO_PAGE.contains(kind))
            .map(|kind| kind.name())
            .filter(|name| !self.types.contains_key(name))
            .collect();
        write!(f, " (none of {})", missing.join(", "))?;
        write!(f, ", {:?}", self.events)
    }
}

struct Visitor<P, E>(P, E);

impl<P: FnMut(PageChange<'_>), E: FnMut(SpaceEvent<'_>)> LogVisitor for Visitor<P, E> {
    fn page(&mut self, change: PageChange<'_>) {
        (self.0)(change);
    }

    fn space(&mut self, _: &MtrSpan, event: SpaceEvent<'_>) {
        (self.1)(event);
    }
}

/// Reads the files as the follower of a live log does. Returns the capture's bytes and where the log ends.
fn captured(redo: &[RedoFile], checkpoint: Lsn) -> Result<(Lsn, Vec<u8>, Lsn)> {
    let mut tail = Tail::new(checkpoint);
    let list: Vec<_> = redo
        .iter()
        .enumerate()
        .map(|(key, file)| TailFile {
            key: key as u64,
            start: file.head.header.start,
            size: file.bytes.len() as u64,
        })
        .collect();
    let mut capture = Vec::new();
    let mut scans = 0;
    loop {
        match tail.next() {
            Next::Rescan => {
                scans += 1;
                if tail.files(&list)? == Position::NotYet {
                    ensure!(scans > 1, "no file holds the checkpoint");
                    break;
                }
            }
            Next::Read(at) => {
                let file = redo.get(at.key as usize).context("no such file")?;
                let from = usize::try_from(at.offset)?;
                let chunk = file.bytes.get(from..from + at.len).context("read past the file")?;
                match tail.chunk(at, chunk, &file.bytes)? {
                    Step::Accepted { bytes, .. } => {
                        capture.extend_from_slice(chunk.get(..bytes).unwrap_or_default());
                        if bytes == 0 {
                            break;
                        }
                    }
                    Step::Recycled => bail!("a file changed under us"),
                }
            }
        }
    }
    let mut end = tail.reached();
    match tail.partial() {
        Some(block) => capture.extend_from_slice(block),
        // Recovery drops a mini-transaction that ends with the last block when no block follows.
        None => end = Lsn(end.0 - 5),
    }
    Ok((tail.first(), capture, end))
}

/// Shows the log from `checkpoint` to its end.
pub fn read(
    redo: &[RedoFile],
    checkpoint: Lsn,
    creator: &str,
    pages: impl FnMut(PageChange<'_>),
    events: impl FnMut(SpaceEvent<'_>),
) -> Result<(u64, Lsn)> {
    let (first, bytes, end) = captured(redo, checkpoint)?;
    let capture = Capture {
        format: RedoFormat::MysqlBlocks,
        first,
        checkpoint,
        checkpoint_end: checkpoint,
        end,
        bytes: bytes.len() as u64,
        creator: creator.to_owned(),
    };
    let mut parser = LogParser::new(&capture)?;
    let mut visitor = Visitor(pages, events);
    let mut mtrs = 0;
    for part in bytes.chunks(100_000) {
        parser.push(part)?;
        while parser.next_mtr(&mut visitor)?.is_some() {
            mtrs += 1;
        }
    }
    Ok((mtrs, end))
}

/// Applies the crash's redo to the pages that both sides start from.
pub fn apply(crash: &Crash) -> Result<Own> {
    let mut changes: HashMap<PageId, Vec<Kept>> = HashMap::new();
    let mut deleted = BTreeSet::new();
    let mut extended: BTreeMap<u32, u64> = BTreeMap::new();
    let mut events = BTreeMap::new();
    let mut metadata = Vec::new();
    let (mtrs, end) = read(
        &crash.redo,
        crash.checkpoint,
        &crash.creator,
        |change| {
            let Change { start, end, kind, bytes } = change.change();
            changes.entry(change.id).or_default().push(Kept { start, end, kind, bytes: bytes.to_vec() });
        },
        |event| {
            *events.entry(name_of(&event)).or_default() += 1;
            match event {
                SpaceEvent::Delete { space, .. } => {
                    deleted.insert(space.0);
                }
                SpaceEvent::TableMetadata { table, version, kind, payload } => {
                    metadata.push((table, version, kind, payload.to_vec()));
                }
                SpaceEvent::Extend { space, offset, size } => {
                    let end = extended.entry(space.0).or_default();
                    *end = (*end).max(offset + size);
                }
                _ => {}
            }
        },
    )?;
    let mut own = Own {
        pages: BTreeMap::new(),
        formats: BTreeMap::new(),
        records: 0,
        types: BTreeMap::new(),
        events,
        metadata,
        mtrs,
        end,
    };
    count_types(&changes, &mut own);
    let mut applier = Applier::new(
        RedoFormat::MysqlBlocks,
        PageSize::new(u64::from(crash.page_size)).context("page size")?,
    );
    let mut by_space: BTreeMap<u32, BTreeMap<u32, Vec<Kept>>> = BTreeMap::new();
    for (id, list) in changes {
        by_space.entry(id.space.0).or_default().insert(id.page.0, list);
    }
    let paths = tablespaces(crash.start.path())?;
    for (space, pages) in by_space {
        let Some(path) = paths.get(&space) else {
            ensure!(deleted.contains(&space), "no file of tablespace {space}, and no record of its end");
            continue;
        };
        let mut file = fs::read(crash.start.path().join(path))?;
        let format = SpaceFormat::from_page0(&file, Flavour::MySql)
            .with_context(|| format!("page 0 of {}", path.display()))?;
        let size = format.physical().bytes();
        own.formats.insert(path.clone(), format);
        if let Some(end) = extended.get(&space) {
            let end = usize::try_from(*end)?;
            file.resize(file.len().max(end), 0);
        }
        for (page, list) in pages {
            let at = page as usize * size;
            let mut image = vec![0; size];
            if let Some(bytes) = file.get(at..at + size) {
                image = expanded(bytes, &format, page)
                    .with_context(|| format!("{} page {page}", path.display()))?;
            }
            let id = PageId::new(space, page);
            let list = list.iter().map(|kept| Change {
                start: kept.start,
                end: kept.end,
                kind: kept.kind,
                bytes: &kept.bytes,
            });
            let done = applier
                .apply(id, &format, &mut image, list)
                .with_context(|| format!("{} page {page}", path.display()))?;
            if let Some(lsn) = done.lsn {
                seal_page(&mut image, &format, id, lsn)?;
            }
            own.pages.insert((path.clone(), page), image);
        }
    }
    Ok(own)
}

/// A page with transparent compression undone.
pub fn expanded(bytes: &[u8], format: &SpaceFormat, page: u32) -> Result<Vec<u8>> {
    let mut to = Vec::new();
    expand_page(bytes, format, PageNo(page), &mut to)?;
    Ok(to)
}

/// First undo tablespace number; truncation counts down from the highest.
const UNDO: u32 = 0xf000_0000;

fn name_of(event: &SpaceEvent<'_>) -> &'static str {
    match event {
        SpaceEvent::Create { .. } => "create",
        SpaceEvent::Delete { space, .. } if space.0 > UNDO => "undo truncation",
        SpaceEvent::Delete { .. } => "delete",
        SpaceEvent::Rename { .. } => "rename",
        SpaceEvent::Extend { .. } => "extend",
        SpaceEvent::IndexLoad { .. } => "index load",
        SpaceEvent::TableMetadata { .. } => "metadata",
        _ => "of another server",
    }
}

fn count_types(changes: &HashMap<PageId, Vec<Kept>>, own: &mut Own) {
    for kept in changes.values().flatten() {
        let mut rest = kept.bytes.as_slice();
        while let Some(first) = rest.first() {
            let Some(kind) = RecordType::from_number(first & 0x7f) else { break };
            own.records += 1;
            *own.types.entry(kind.name()).or_default() += 1;
            let Some(len) = reseed_redo::mysql::parser::record_len(rest) else { break };
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}

//! Applies the redo of an unprepared mariadb-backup directory in memory and compares every page with what
//! `mariadb-backup --prepare` made of a copy of it.
//!
//! ```text
//! compare_prepared UNPREPARED PREPARED [FIXTURE]
//! ```
//!
//! With FIXTURE some of the pages that were equal are kept there, with their redo, for the tests.
//!
//! Ends with an error when a page differs that `docs/formats/redo-mariadb.md` does not list as an exception.

mod fixture;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use reseed_innodb::{
    Expanded, PageSize, PageState, SpaceFormat, check_page, expand_page, fil, fsp, seal_page,
};
use reseed_redo::mariadb::{Cursor, LogFile, clean_log};
use reseed_redo::{
    Applier, Capture, Change, ChangeKind, LogParser, LogVisitor, Lsn, MtrSpan, PageChange, PageId, PageNo,
    SpaceEvent, SpaceId,
};
use reseed_terms::{Flavour, ServerVersion};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(raw), Some(prepared)) = (arguments.next(), arguments.next()) else {
        return Err("usage: compare_prepared UNPREPARED PREPARED [FIXTURE]".into());
    };
    let (capture, redo) = capture(&raw.join("ib_logfile0"))?;
    let mut changes = Changes::default();
    let started = std::time::Instant::now();
    let mut parser = LogParser::new(&capture)?;
    let mut mtrs = 0_u64;
    for piece in redo.chunks(1 << 20) {
        parser.push(piece)?;
        while parser.next_mtr(&mut changes)?.is_some() {
            mtrs += 1;
        }
    }
    println!(
        "{}: {} bytes, LSN {} to {} (parsed to {}), {mtrs} mini-transactions in {:?}, {} pages, creator {:?}",
        capture.format,
        redo.len(),
        capture.checkpoint,
        capture.end,
        parser.position(),
        started.elapsed(),
        changes.pages.len(),
        capture.creator,
    );
    let ours = spaces(&raw)?;
    let theirs = spaces(&prepared)?;
    let mut bad = 0;
    let page_size = ours.get(&SpaceId(0)).map_or(PageSize::K16, |(_, format)| format.logical());
    let mut comparison = Comparison {
        changes,
        applier: Applier::new(capture.format, page_size),
        counts: Counts::default(),
        keeper: fixture::Keeper::default(),
    };
    for (id, (path, format)) in &theirs {
        let old = ours.get(id).map(|(path, _)| path.clone());
        bad += comparison.file(*id, old.as_deref(), path, format)?;
    }
    for (id, (path, _)) in ours.iter().filter(|(id, _)| !theirs.contains_key(id)) {
        println!(
            "only unprepared: space {id} {}, deleted: {}",
            path.display(),
            comparison.changes.deleted.contains(id)
        );
    }
    println!("{:?}", comparison.counts);
    compare_log(&prepared, &capture)?;
    if let Some(path) = arguments.next() {
        comparison.keeper.write(&path)?;
    }
    if bad > 0 { Err(format!("{bad} pages differ").into()) } else { Ok(()) }
}

/// The clean log that is left behind has no room for taste.
fn compare_log(prepared: &Path, capture: &Capture) -> Outcome<()> {
    let number = capture.creator.trim_start_matches("Backup ").trim_end_matches("-MariaDB");
    let clean = clean_log(&ServerVersion::parse(&format!("{number}-MariaDB"))?, capture.end)?;
    let theirs = fs::read(prepared.join("ib_logfile0"))?;
    let same = clean.file == theirs;
    println!("clean log of {} bytes: {}", theirs.len(), if same { "the same" } else { "differs" });
    if same { Ok(()) } else { Err("the clean log differs".into()) }
}

#[derive(Debug, Default)]
struct Counts {
    files: u64,
    pages: u64,
    changed: u64,
    applied: u64,
    skipped: u64,
    expanded: u64,
    freed: u64,
    freed_differs: u64,
    /// Not whole as copied, and begun anew by the redo.
    void: u64,
    flush_lsn: u64,
}

/// Start, end, kind and bytes.
type Kept = (Lsn, Lsn, ChangeKind, Vec<u8>);

#[derive(Debug, Default)]
struct Changes {
    pages: HashMap<PageId, Vec<Kept>>,
    deleted: HashSet<SpaceId>,
    trims: u64,
}

impl LogVisitor for Changes {
    fn page(&mut self, change: PageChange<'_>) {
        let list = self.pages.entry(change.id).or_default();
        if change.kind != ChangeKind::Delta {
            list.clear();
        }
        list.push((change.start, change.end, change.kind, change.bytes.to_vec()));
    }

    fn space(&mut self, _: &MtrSpan, event: SpaceEvent<'_>) {
        match event {
            SpaceEvent::Delete { space, .. } => {
                self.pages.retain(|id, _| id.space != space);
                self.deleted.insert(space);
            }
            SpaceEvent::Trim { space, first_gone } => {
                println!("trim of space {space} from page {first_gone}");
                self.trims += 1;
                let gone = |id: &PageId| id.space == space && (space.0 != 0 || id.page >= first_gone);
                self.pages.retain(|id, _| !gone(id));
            }
            _ => {}
        }
    }
}

fn capture(path: &Path) -> Outcome<(Capture, Vec<u8>)> {
    let file = fs::read(path)?;
    let log = LogFile::parse(&file, file.len() as u64)?;
    let mut cursor = Cursor::new(log);
    let mut redo = Vec::new();
    let mut window = Vec::new();
    loop {
        window.clear();
        for span in cursor.spans(4 << 20) {
            let offset = usize::try_from(span.offset)?;
            window.extend_from_slice(file.get(offset..offset + span.len).ok_or("outside the log")?);
        }
        // A backup's log ends where it ends: there is no server to ask, and nothing old behind it.
        let accepted = cursor.accept(&window, Lsn(u64::MAX), &mut redo);
        if accepted.bytes == 0 {
            println!("the log stops at {} by {:?}", cursor.reached(), accepted.stop);
            break;
        }
    }
    redo.extend_from_slice(cursor.partial().unwrap_or(&[]));
    let log = cursor.log();
    let capture = Capture {
        format: log.format,
        first: cursor.first(),
        checkpoint: log.checkpoint.lsn,
        checkpoint_end: log.checkpoint.end,
        end: cursor.reached(),
        bytes: redo.len() as u64,
        creator: log.creator.clone(),
    };
    Ok((capture, redo))
}

fn spaces(dir: &Path) -> Outcome<BTreeMap<SpaceId, (PathBuf, SpaceFormat)>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let table = name.ends_with(".ibd") || name.ends_with(".new");
            let undo = name.starts_with("undo") && name.len() == 7;
            if !(table || undo || name == "ibdata1") {
                continue;
            }
            let bytes = fs::read(&path)?;
            match reseed_innodb::identify_page0(&bytes, Flavour::MariaDb) {
                Ok(Some(format)) => {
                    found.insert(fil::space_id(&bytes), (path, format));
                }
                other => println!("{}: {other:?}", path.display()),
            }
        }
    }
    Ok(found)
}

struct Comparison {
    changes: Changes,
    applier: Applier,
    counts: Counts,
    keeper: fixture::Keeper,
}

impl Comparison {
    /// The number of pages that differ without excuse.
    fn file(&mut self, id: SpaceId, old: Option<&Path>, new: &Path, format: &SpaceFormat) -> Outcome<u64> {
        let Comparison { changes, applier, counts, keeper } = self;
        let theirs = fs::read(new)?;
        let mut ours = old.map(fs::read).transpose()?.unwrap_or_default();
        let size = format.physical().bytes();
        counts.files += 1;
        let raw_pages = ours.len() / size;
        if ours.len() < theirs.len() {
            ours.resize(theirs.len(), 0);
        }
        let doublewrite = match id.0 {
            0 => reseed_innodb::doublewrite_pages(
                ours.get(5 * size..6 * size).unwrap_or(&[]),
                format.logical(),
            ),
            _ => Vec::new(),
        };
        let mut bad = 0;
        let mut report = |no: u32, text: String| {
            bad += 1;
            if bad <= 10 {
                println!("{} page {no}: {text}", new.display());
            }
        };
        let (mut page, mut other, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let mut wanted = 0;
        for (no, (mine, other_raw)) in ours.chunks(size).zip(theirs.chunks(size)).enumerate() {
            counts.pages += 1;
            let no = PageNo(u32::try_from(no)?);
            let address = PageId { space: id, page: no };
            if doublewrite.iter().any(|range| range.contains(&no)) {
                continue;
            }
            let list = changes.pages.get(&address).map_or(&[][..], Vec::as_slice);
            let begun = list.first().is_some_and(|first| first.2 != ChangeKind::Delta);
            let whole = check_page(mine, format, no);
            counts.void += u64::from(whole.is_err() && begun);
            if let (Err(error), false) = (&whole, begun) {
                report(no.0, format!("unprepared: {error}"));
                continue;
            }
            if let Err(error) = check_page(other_raw, format, no) {
                report(no.0, format!("prepared: {error}"));
                continue;
            }
            if begun || whole == Ok(PageState::Zero) {
                page.clear();
                page.extend_from_slice(if begun { &again } else { mine });
                page.resize(size, 0);
                page.fill(0);
            } else if let Expanded::Compressed(_) = expand_page(mine, format, no, &mut page)? {
                counts.expanded += 1;
            }
            let changed = list.iter().map(|(start, end, kind, bytes)| Change {
                start: *start,
                end: *end,
                kind: *kind,
                bytes,
            });
            let done = match applier.apply(address, format, &mut page, changed) {
                Ok(done) => done,
                Err(error) => {
                    report(no.0, error.to_string());
                    continue;
                }
            };
            counts.applied += done.count;
            counts.skipped += done.skipped;
            counts.changed += u64::from(done.count > 0);
            counts.freed += u64::from(done.freed);
            if done.freed && begun {
                // Nothing is written: what was copied stays.
                page.clear();
                page.extend_from_slice(mine);
            }
            match done.lsn {
                Some(lsn) if !done.freed => {
                    seal_page(&mut page, format, address, lsn)?;
                    check_page(&page, format, no)?;
                }
                _ => {}
            }
            if no.0 == 0 {
                wanted = fsp::size(&page) as usize;
            }
            if let Expanded::Compressed(_) = expand_page(other_raw, format, no, &mut other)? {
                // The server checksums what it stores, not what it compresses.
                for image in [&mut page, &mut other] {
                    let sum = image.len().saturating_sub(4);
                    image.truncate(sum);
                }
            }
            if page == other {
                if page.len() == size && done.lsn.is_some() && !done.freed {
                    keeper.offer(address, format.flags(), mine, list, &page);
                }
                continue;
            }
            let differs = |a: &[u8], b: &[u8]| a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            if done.freed {
                if !format.may_be_page_compressed() {
                    println!("{} page {no}: freed, and not as copied", new.display());
                }
                counts.freed_differs += 1;
            } else if id.0 == 0 && no.0 == 0 {
                again.clear();
                again.extend_from_slice(&page);
                let flush = fil::flush_lsn(&other);
                reseed_innodb::set_flush_lsn(&mut again, format, flush)?;
                println!("flush LSN of the prepared copy: {flush}");
                counts.flush_lsn += 1;
                if again != other {
                    report(no.0, format!("differs from byte {}", differs(&again, &other)));
                }
                again.clear();
            } else {
                let text = format!(
                    "differs from byte {}, type {:?} and {:?}, LSN {} and {}, {} changes ({} applied), first {:?}",
                    differs(&page, &other),
                    fil::page_type(&page),
                    fil::page_type(&other),
                    fil::lsn(&page),
                    fil::lsn(&other),
                    list.len(),
                    done.count,
                    list.first().map(|first| first.2),
                );
                report(no.0, text);
            }
        }
        let length = wanted.max(raw_pages) * size;
        if length != theirs.len() {
            println!("{}: {length} bytes, prepared has {}", new.display(), theirs.len());
        }
        Ok(bad)
    }
}

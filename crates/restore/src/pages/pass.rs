//! The one pass over a set that is there as a whole: each worker takes a segment, reads its runs, brings its pages
//! up to date, writes them.

use reseed_innodb::{PageType, SpaceFormat, fil};
use reseed_io::{IoError, Op};
use reseed_redo::SpaceId;
use reseed_terms::Flavour;

use super::blocks::Written;
use super::patch::{Patcher, Stretch};
use super::queue::{Queue, Task};
use super::scene::{Done, Scene, Unit};
use super::segments::Segment;
use super::writer::Writer;
use crate::error::RestoreError;
use crate::plan::PlannedFile;
use crate::source::{ReadRun, Source};

/// The most segments that a worker takes at once, about as much as a copier took: it then goes through each pack of a
/// chain in order, in large reads.
const STRETCH: usize = 32;
/// How many pieces of all the segments each thread gets at least, so that all end at about the same time.
const PIECES: usize = 8;

/// One worker's own.
struct Worker<'s> {
    reader: Box<dyn ReadRun + 's>,
    patcher: Patcher<'s>,
    run: Vec<u8>,
    joined: Vec<u8>,
}

/// # Errors
/// The first thing that failed.
pub fn pass(scene: &Scene<'_>, source: &dyn Source) -> Result<Done, RestoreError> {
    let units = scene.units();
    let writers = scene.writers();
    let first = units
        .iter()
        .enumerate()
        .filter_map(|(unit, of)| Some(Task { unit, file: *of.files.first()?, segments: 0..1, first: true }));
    let queue = Queue::new(first);
    scene.on_threads(
        || queue.stop(),
        |done| {
            let mut worker = Worker {
                reader: source.reader()?,
                patcher: scene.patcher(),
                run: Vec::new(),
                joined: Vec::new(),
            };
            let result = work(scene, &mut worker, &queue, &units, &writers, done);
            done.counts.add(worker.patcher.counts);
            result
        },
    )
}

fn work(
    scene: &Scene<'_>,
    worker: &mut Worker<'_>,
    queue: &Queue,
    units: &[Unit],
    writers: &[Writer],
    done: &mut Done,
) -> Result<(), RestoreError> {
    while let Some(task) = queue.next() {
        let (Some(unit), Some(file), Some(writer)) =
            (units.get(task.unit), scene.plan.files.get(task.file), writers.get(task.file))
        else {
            return Err(RestoreError::Worker { what: "the plan of the pass" });
        };
        worker.reader.expect(file.runs(task.segments.clone()));
        for segment in task.segments.clone() {
            scene.cancel.check()?;
            reseed_io::failpoint!("restore.pages")
                .map_err(|e| IoError::new(Op::Write, scene.path(task.file), e))?;
            write_segment(scene, worker, segment, task.first, unit, file, writer, done)?;
            if task.first {
                queue.opened(others(scene, &task, unit));
            }
            if writer.is_last() {
                writer.finish(scene.final_size(unit, task.file, file, writer.end()))?;
            }
        }
    }
    Ok(())
}

/// The unit's tasks but the first.
fn others(scene: &Scene<'_>, first: &Task, unit: &Unit) -> Vec<Task> {
    let all: usize = scene.plan.files.iter().map(|file| file.segments.len()).sum();
    let step = (all / (scene.threads.max(1) * PIECES)).clamp(1, STRETCH);
    let mut tasks = Vec::new();
    for &file in &unit.files {
        let segments = scene.plan.files.get(file).map_or(0, |file| file.segments.len().max(1));
        let begin = if file == first.file { first.segments.end } else { 0 };
        tasks.extend((begin..segments).step_by(step).map(|from| Task {
            unit: first.unit,
            file,
            segments: from..(from + step).min(segments),
            first: false,
        }));
    }
    tasks
}

#[allow(clippy::too_many_arguments)]
fn write_segment(
    scene: &Scene<'_>,
    worker: &mut Worker<'_>,
    segment: usize,
    first: bool,
    unit: &Unit,
    file: &PlannedFile<'_>,
    writer: &Writer,
    done: &mut Done,
) -> Result<(), RestoreError> {
    // Also a file without a byte is made.
    writer.open()?;
    if let Some(content) = &file.content {
        done.written += writer.write(0, content, false)?;
        return Ok(());
    }
    let Some(segment) = file.segments.get(segment) else { return Ok(()) };
    let raw = read_segment(worker, file, segment)?;
    let written = match unit.space {
        // A tablespace that is written as it was may have pages that leave holes.
        None => writer.write(segment.bytes.start, &worker.run, file.entry.kind.has_pages())?,
        Some(space) => pages(scene, worker, first, space, unit, file, segment, writer, done)?,
    };
    done.written += written;
    scene.progress.advance(raw);
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn pages(
    scene: &Scene<'_>,
    worker: &mut Worker<'_>,
    is_first: bool,
    space: SpaceId,
    unit: &Unit,
    file: &PlannedFile<'_>,
    segment: &Segment,
    writer: &Writer,
    done: &mut Done,
) -> Result<Written, RestoreError> {
    let path = file.entry.path.to_string();
    let first = segment.pages.start;
    let bytes = &mut worker.run;
    let opened = if is_first {
        let format = worker.patcher.first_page(&path, Stretch { space, first, bytes })?;
        let opened = scene.open(space, &path, format, bytes)?;
        if format.is_none() {
            done.notes.push(format!("{path} has no first page and no redo: it was written as it was"));
        }
        *unit.opened.get_or_init(|| opened)
    } else {
        *unit.opened.get().ok_or(RestoreError::Worker { what: "the first page of a tablespace" })?
    };
    let Some(format) = opened.format else {
        return writer.write(segment.bytes.start, bytes, true);
    };
    let size = format.physical().as_u64();
    let first_of_file = u64::from(file.entry.first_page);
    let sparse = has_compressed_page(scene.flavour, &format, bytes);
    let mut extra = |number: u64, pages: &[u8]| {
        done.written += writer.write((number - first_of_file) * size, pages, false)?;
        Ok(())
    };
    worker.patcher.patch(
        &path,
        &format,
        Stretch { space, first, bytes },
        segment.pages.clone(),
        &mut extra,
    )?;
    writer.write(segment.bytes.start, &worker.run, sparse)
}

/// Pages that are stored compressed leave a hole behind them. MySQL has no flag for that: there the pages tell.
fn has_compressed_page(flavour: Flavour, format: &SpaceFormat, bytes: &[u8]) -> bool {
    format.may_be_page_compressed()
        && (flavour == Flavour::MariaDb
            || bytes
                .chunks_exact(format.physical().bytes())
                .any(|page| fil::page_type(page) == PageType::MYSQL_COMPRESSED))
}

/// Puts the segment's bytes into `worker.run` and tells how many were read.
fn read_segment(
    worker: &mut Worker<'_>,
    file: &PlannedFile<'_>,
    segment: &Segment,
) -> Result<u64, RestoreError> {
    let length = usize::try_from(segment.bytes.end - segment.bytes.start).unwrap_or(0);
    let mut runs = segment.runs_by_age(file.entry).into_iter().peekable();
    let mut joined = std::mem::take(&mut worker.joined);
    joined.clear();
    // The oldest run is most often all of the stretch, and most often there is no other: it needs no copy.
    if let Some(run) = runs.next_if(|run| run.at == segment.bytes.start && run.pages.is_none()) {
        worker.reader.read(file.entry, run, &mut joined)?;
    }
    let mut raw = joined.len() as u64;
    joined.resize(length, 0);
    for run in runs {
        worker.reader.read(file.entry, run, &mut worker.run)?;
        raw += worker.run.len() as u64;
        segment.put(file.entry, run, &worker.run, &mut joined);
    }
    worker.joined = std::mem::replace(&mut worker.run, joined);
    Ok(raw)
}

//! Our pages against the server's.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::crash::Crash;
use crate::own::{Own, expanded};

pub struct Report {
    pub compared: u64,
    pub differing: Vec<String>,
    /// Pages that the server changed again after its recovery: counters and metadata that it stores then.
    pub newer: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differing = self.differing.len();
        write!(
            f,
            "{} of {} pages identical, {} changed later",
            self.compared - differing as u64,
            self.compared,
            self.newer
        )
    }
}

/// Compares every page that redo changed, checksum fields apart.
pub fn compare(crash: &Crash, own: &Own, recovered: &Path) -> Result<Report> {
    let mut report = Report { compared: 0, differing: Vec::new(), newer: 0 };
    let mut file: (&Path, Vec<u8>) = (Path::new(""), Vec::new());
    let mut compressed = false;
    for ((path, page), ours) in &own.pages {
        if file.0 != path {
            file = (path, fs::read(recovered.join(path)).with_context(|| path.display().to_string())?);
            compressed = has_compressed(&file.1, ours.len())
                || has_compressed(&fs::read(crash.start.path().join(path))?, ours.len());
        }
        let format = own.formats.get(path).context("no format")?;
        let size = ours.len();
        let mut theirs = vec![0; size];
        if let Some(bytes) = file.1.get(*page as usize * size..(*page as usize + 1) * size) {
            theirs =
                expanded(bytes, format, *page).with_context(|| format!("{} page {page}", path.display()))?;
        }
        let lsn = theirs
            .get(16..24)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |lsn| u64::from_be_bytes(*lsn));
        if lsn > own.end.0 {
            report.newer += 1;
            continue;
        }
        let flush_lsn = path.starts_with("ibdata1") && *page == 0;
        let control = flush_lsn || (compressed && ours.get(24..26) != Some(&RTREE));
        let mut ours = ours.clone();
        for image in [&mut ours, &mut theirs] {
            mask(image, format.is_zip(), control);
        }
        report.compared += 1;
        if ours != theirs {
            let first: Vec<_> = (0..size).filter(|at| ours.get(*at) != theirs.get(*at)).collect();
            let kind = ours.get(24..26).map(<[u8]>::to_vec);
            report.differing.push(format!(
                "{} page {page} (type {kind:?}, {}): {} bytes differ, first at {:?}",
                path.display(),
                if format.is_zip() { "compressed" } else { "plain" },
                first.len(),
                first.iter().take(12).collect::<Vec<_>>()
            ));
            if let Some(dir) = std::env::var_os("RESEED_REDO_DUMP") {
                let name = format!("{}-{page}", path.display().to_string().replace('/', "_"));
                fs::write(Path::new(&dir).join(format!("{name}.ours")), &ours)?;
                fs::write(Path::new(&dir).join(format!("{name}.theirs")), &theirs)?;
                let at = *page as usize * size;
                let start = fs::read(crash.start.path().join(path))?;
                if let Some(bytes) = start.get(at..at + size) {
                    fs::write(Path::new(&dir).join(format!("{name}.start")), bytes)?;
                }
            }
        }
    }
    Ok(report)
}

/// R-trees, which are never compressed, have a split number where others have control bytes.
const RTREE: [u8; 2] = 17854u16.to_be_bytes();

/// Some page is compressed transparently. In such a tablespace the server leaves control bytes of an earlier write in
/// pages that it expanded, and writes them back with a page that is not worth compressing any more.
fn has_compressed(file: &[u8], page_size: usize) -> bool {
    file.chunks_exact(page_size).any(|page| page.get(24..26) == Some(&[0, 14]))
}

/// Zeroes the checksum fields, and, where they are not subject to redo, bytes 26 to 33: the flush LSN of the system
/// tablespace, and what is left of transparent compression.
fn mask(page: &mut [u8], zip: bool, control: bool) {
    let size = page.len();
    let trailer = if zip { size..size } else { size - 8..size - 4 };
    let control = if control { 26..34 } else { 26..26 };
    for range in [0..4, trailer, control] {
        if let Some(bytes) = page.get_mut(range) {
            bytes.fill(0);
        }
    }
}

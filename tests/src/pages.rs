//! The byte oracle: two datadirs page by page.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use reseed_innodb::{Flavour, PageNo, PageState, SpaceFormat, check_page, expand_page, fil, identify_page0};

/// What a comparison found. Every exception has a name and a number, so that a new kind is seen.
#[derive(Debug, Default)]
pub struct Comparison {
    pub files: u64,
    pub pages: u64,
    /// Pages that differ in a way that the formats document.
    pub exceptions: BTreeMap<&'static str, u64>,
    /// Files that mariadb-backup's prepare has lost, or kept under a name that is no longer theirs: it follows the
    /// names of renames and drops in the redo, which belong to files as they lay when it would have copied them.
    pub by_name: Vec<ByName>,
    /// Pages that differ otherwise: file, page, offset of the first difference.
    pub differences: Vec<String>,
}

/// A file that has no counterpart.
#[derive(Debug)]
pub struct ByName {
    pub path: PathBuf,
    /// Which side has it whole.
    pub side: Side,
    pub space: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Theirs,
}

/// Compares all InnoDB files of both folders.
pub fn compare(ours: &Path, theirs: &Path, page_size: u32) -> Result<Comparison> {
    let (left, mut right) = (innodb_files(ours)?, innodb_files(theirs)?);
    let mut found = Comparison::default();
    let mut elsewhere = Vec::new();
    for (path, space) in left {
        // The system tablespace and what has no page 0 yet are told by name alone.
        if right.get(&path) == Some(&space) {
            right.remove(&path);
            found.files += 1;
            compare_file(&path, &ours.join(&path), &theirs.join(&path), page_size, &mut found)
                .with_context(|| format!("cannot compare {}", path.display()))?;
        } else {
            elsewhere.push((path, space));
        }
    }
    for (path, space) in elsewhere {
        let twin =
            right.iter().find(|(_, other)| space != 0 && **other == space).map(|(path, _)| path.clone());
        match twin {
            Some(name) => {
                right.remove(&name);
                *found.exceptions.entry(OTHER_NAME).or_default() += 1;
                compare_file(&path, &ours.join(&path), &theirs.join(name), page_size, &mut found)?;
            }
            None => found.lonely(&path, &ours.join(&path), page_size, Side::Ours)?,
        }
    }
    for path in right.keys() {
        found.lonely(path, &theirs.join(path), page_size, Side::Theirs)?;
    }
    if found.files < 10 {
        bail!("only {} files to compare", found.files);
    }
    Ok(found)
}

/// One tablespace, two names: prepare takes steps of a swap of names in the redo for its last name.
const OTHER_NAME: &str = "file under another name";

/// A file that prepare made and left without a first page.
const EMPTY_NAME: &str = "name without a tablespace";

/// Relative paths and space ids of tablespaces: what both sides must agree on.
fn innodb_files(dir: &Path) -> Result<BTreeMap<PathBuf, u32>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let wanted = name.ends_with(".ibd") || name.starts_with("ibdata") || name.starts_with("undo");
            if let (true, Ok(path)) = (wanted, entry.path().strip_prefix(dir)) {
                found.insert(path.to_owned(), space_of(&entry.path())?);
            }
        }
    }
    Ok(found)
}

/// The space id on page 0; 0 of a file that is shorter.
fn space_of(file: &Path) -> Result<u32> {
    let mut header = Vec::new();
    fs::File::open(file)?.take(38).read_to_end(&mut header)?;
    Ok(header.get(34..38).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes))
}

impl Comparison {
    /// A file without a counterpart must at least be whole.
    fn lonely(&mut self, path: &Path, file: &Path, page_size: u32, side: Side) -> Result<()> {
        let space = space_of(file)?;
        let file = fs::read(file)?;
        let format = identify_page0(&file, Flavour::MariaDb).ok().flatten();
        let size = format.as_ref().map_or(page_size as usize, |format| format.physical().bytes());
        if let (Side::Ours, Some(format)) = (side, &format) {
            for (number, page) in (0..).map(PageNo).zip(file.chunks(size)) {
                if let Err(error) = check_page(page, format, number) {
                    self.differences.push(format!("{}, only in ours: {error}", path.display()));
                }
            }
        } else if side == Side::Ours {
            self.differences.push(format!("{}, only in ours, is no tablespace", path.display()));
        }
        if side == Side::Theirs && space == 0 {
            // Made for a name in the redo whose tablespace lies under another one: it never got a first page.
            if file.iter().take(size).any(|byte| *byte != 0) {
                let head = file.get(..64.min(file.len())).unwrap_or_default();
                self.differences.push(format!("{}, only in theirs, begins with {head:02x?}", path.display()));
            }
            *self.exceptions.entry(EMPTY_NAME).or_default() += 1;
            return Ok(());
        }
        self.by_name.push(ByName { path: path.to_owned(), side, space });
        Ok(())
    }
}

fn compare_file(
    path: &Path,
    ours: &Path,
    theirs: &Path,
    page_size: u32,
    found: &mut Comparison,
) -> Result<()> {
    let (left, right) = (fs::read(ours)?, fs::read(theirs)?);
    if left.len() != right.len() {
        found.differences.push(format!(
            "{}: {} bytes in ours, {} in theirs",
            path.display(),
            left.len(),
            right.len()
        ));
    }
    let format = identify_page0(&right, Flavour::MariaDb).ok().flatten();
    let size = format.as_ref().map_or(page_size as usize, |format| format.physical().bytes());
    let is_system = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ibdata1"));
    for (number, (a, b)) in left.chunks(size).zip(right.chunks(size)).enumerate() {
        found.pages += 1;
        if a == b {
            continue;
        }
        match exception(a, b, number, is_system, format.as_ref()) {
            Some(name) => *found.exceptions.entry(name).or_default() += 1,
            None => {
                let at = a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(0);
                let (ours, theirs) = (fil::lsn(a), fil::lsn(b));
                found.differences.push(format!(
                    "{} page {number}: first difference at byte {at}; LSN {ours} in ours, {theirs} in theirs",
                    path.display()
                ));
            }
        }
    }
    Ok(())
}

/// What the formats allow.
fn exception(
    a: &[u8],
    b: &[u8],
    number: usize,
    is_system: bool,
    format: Option<&SpaceFormat>,
) -> Option<&'static str> {
    const FLUSH_LSN: std::ops::Range<usize> = 26..34;
    if is_system && number == 0 && same_but(a, b, FLUSH_LSN) {
        return Some("FLUSH_LSN of ibdata1");
    }
    let format = format.filter(|format| format.may_be_page_compressed())?;
    let no = PageNo(u32::try_from(number).ok()?);
    let theirs_is_zero = b.iter().all(|byte| *byte == 0);
    if theirs_is_zero && check_page(a, format, no).is_ok() {
        return Some("freed page of a PAGE_COMPRESSED table, zeroed by mariadb-backup");
    }
    let mut plain = [Vec::new(), Vec::new()];
    for (page, into) in [a, b].into_iter().zip(&mut plain) {
        if !matches!(check_page(page, format, no), Ok(PageState::Valid { .. })) {
            return None;
        }
        expand_page(page, format, no, into).ok()?;
    }
    let [ours, theirs] = plain;
    // An expanded page has no checksum of its own.
    same_but(&ours, &theirs, 0..4).then_some("PAGE_COMPRESSED page, equal once expanded")
}

/// Equal apart from a range, and from the checksum at the end or start that covers it.
fn same_but(a: &[u8], b: &[u8], range: std::ops::Range<usize>) -> bool {
    let checked = |at: usize| at < 4 || at + 8 >= a.len();
    a.iter().zip(b).enumerate().all(|(at, (x, y))| x == y || range.contains(&at) || checked(at))
}

//! Keeps some pages and their redo for the tests: few, but with every operation among them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use reseed_redo::{ChangeKind, PageId};

use crate::{Kept, Outcome};

/// Pages with more redo are not kept.
const MOST_REDO: usize = 2500;
/// Operations of one kind that are enough.
const ENOUGH: usize = 4;

#[derive(Debug, Default)]
pub struct Keeper {
    cases: Vec<u8>,
    seen: BTreeMap<String, usize>,
}

impl Keeper {
    /// Keeps this page if its redo has an operation that is still rare.
    pub fn offer(&mut self, id: PageId, flags: u32, before: &[u8], changes: &[Kept], after: &[u8]) {
        let redo: usize = changes.iter().map(|change| change.3.len()).sum();
        if redo > MOST_REDO || changes.is_empty() {
            return;
        }
        let kind = after.get(24..26).unwrap_or(&[]);
        let found: Vec<String> = changes
            .iter()
            .flat_map(|change| operations(&change.3))
            .map(|name| format!("{name} on {kind:?}"))
            .collect();
        if found.iter().all(|name| self.seen.get(name).is_some_and(|count| *count >= ENOUGH)) {
            return;
        }
        for name in found {
            *self.seen.entry(name).or_default() += 1;
        }
        let mut put = |value: u64, bytes: usize| {
            self.cases.extend(value.to_be_bytes().get(8 - bytes..).unwrap_or(&[]));
        };
        put(u64::from(id.space.0), 4);
        put(u64::from(id.page.0), 4);
        put(u64::from(flags), 4);
        put(before.len() as u64, 4);
        put(changes.len() as u64, 4);
        self.cases.extend(before);
        self.cases.extend(after);
        for (start, end, kind, bytes) in changes {
            self.cases.extend(start.0.to_be_bytes());
            self.cases.extend(end.0.to_be_bytes());
            self.cases.push(match kind {
                ChangeKind::Init => 1,
                ChangeKind::Free => 2,
                ChangeKind::Delta => 0,
            });
            self.cases.extend((bytes.len() as u32).to_be_bytes());
            self.cases.extend(bytes);
        }
    }

    pub fn write(&self, path: &Path) -> Outcome<()> {
        println!("kept: {:?}", self.seen);
        let mut file =
            flate2::write::ZlibEncoder::new(std::fs::File::create(path)?, flate2::Compression::best());
        file.write_all(&self.cases)?;
        file.finish()?;
        Ok(())
    }
}

/// The names of the records in a change.
fn operations(mut bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(head) = bytes.first().copied() {
        let (begin, length) = match (head & 15, bytes.get(1).copied().unwrap_or(0), bytes.get(2)) {
            (0, first @ 0..128, _) => (2, usize::from(first) + 16),
            (0, first, Some(second)) => (3, (usize::from(first & 63) << 8) + usize::from(*second) + 144),
            (nibble, ..) => (1, usize::from(nibble) + 1),
        };
        // A page's number is rarely longer, and then an operation goes without its name.
        let begin = if head & 0x80 == 0 { begin + number(bytes, begin) } else { begin };
        let begin = if head & 0x80 == 0 { begin + number(bytes, begin) } else { begin };
        names.push(match head >> 4 & 7 {
            2 => format!("2.{}", bytes.get(begin).copied().unwrap_or(0)),
            kind => kind.to_string(),
        });
        bytes = bytes.get(length..).unwrap_or(&[]);
    }
    names
}

fn number(bytes: &[u8], at: usize) -> usize {
    bytes.get(at).map_or(1, |first| first.leading_ones() as usize + 1)
}

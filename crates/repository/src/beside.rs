//! Small files beside a set that may change after it was published: `verified.json` and `pinned.json`.
//! They are remarks, not part of the set: unreadable ones count as absent.

use std::path::Path;

use jiff::Timestamp;
use reseed_io::{DataFile, IoError, ReadMode, write};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::RepositoryError;
use crate::hash::Hash128;
use crate::stored::FILE_MODE;
use crate::verify::Level;

const VERIFIED: &str = "verified.json";
const PINNED: &str = "pinned.json";
const MAX_BYTES: u64 = 1 << 20;

/// The result of the last verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub level: Level,
    pub at: Timestamp,
    pub tool: String,
    pub good: bool,
    /// What was found, in words; the first ones only.
    #[serde(default)]
    pub findings: Vec<String>,
    /// The set that it is about: a remark about another one counts for nothing.
    pub manifest_hash: Hash128,
}

/// A set that must not be expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub at: Timestamp,
    #[serde(default)]
    pub reason: String,
}

impl Verified {
    pub(crate) fn load(dir: &Path) -> Option<Verified> {
        load(&dir.join(VERIFIED))
    }

    pub(crate) fn save(&self, dir: &Path) -> Result<(), RepositoryError> {
        save(&dir.join(VERIFIED), self)
    }
}

impl Pin {
    pub(crate) fn load(dir: &Path) -> Option<Pin> {
        let path = dir.join(PINNED);
        // A pin that cannot be read still pins: keeping too much is the harmless mistake.
        load(&path).or_else(|| {
            let there = std::fs::symlink_metadata(&path).is_ok();
            there.then(|| Pin { at: Timestamp::UNIX_EPOCH, reason: "the pin cannot be read".into() })
        })
    }

    pub(crate) fn save(&self, dir: &Path) -> Result<(), RepositoryError> {
        save(&dir.join(PINNED), self)
    }

    pub(crate) fn remove(dir: &Path) -> Result<bool, RepositoryError> {
        let path = dir.join(PINNED);
        match std::fs::remove_file(&path) {
            Ok(()) => write::sync_dir(dir).map(|()| true).map_err(Into::into),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(IoError::new(reseed_io::Op::Remove, path, e).into()),
        }
    }
}

fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let file = DataFile::open(path, ReadMode::Cached).ok()?;
    let len = file.len().ok().filter(|len| *len <= MAX_BYTES)?;
    let mut text = vec![0; usize::try_from(len).ok()?];
    let n = file.read_at(0, &mut text).ok()?;
    serde_json::from_slice(text.get(..n)?).ok()
}

fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), RepositoryError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| RepositoryError::Compress(e.into()))?;
    text.push(b'\n');
    Ok(write::write_atomic(path, &text, FILE_MODE)?)
}

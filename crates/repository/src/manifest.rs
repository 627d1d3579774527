//! `manifest.json`: what a set is, for people and programs. Written last; its presence publishes the set.
//!
//! The file ends with the hash of everything before it, so that no byte of it can change unnoticed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use reseed_terms::{Capture, Coordinates, LockTimes, ServerVersion};

use crate::error::{Damage, Problem, RepositoryError};
use crate::hash::Hash128;
use crate::id::{ServerName, SetId, SetKind};
use crate::path::AbsPath;

/// The version of the set's layout that this crate writes, and the newest it reads.
pub const FORMAT: u32 = 1;
pub const MANIFEST: &str = "manifest.json";
pub(crate) const INDEX: &str = "files.jsonl.zst";
/// No run takes fewer bytes in a pack than this: its header alone is larger, compressed or not.
const LEAST_STORED: u64 = 32;
/// More entries than this are not believed.
const MAX_FILES: u64 = 1 << 24;
/// More than this is not read as a manifest.
const MAX_BYTES: usize = 64 << 20;
const HASH_KEY: &str = ",\n  \"manifest_hash\": \"";
const TAIL: &str = "\"\n}\n";

/// How packs and redo are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Compression {
    None,
    /// The level is zstd's, from 1 to 19.
    Zstd(u8),
}

impl Default for Compression {
    fn default() -> Compression {
        Compression::Zstd(1)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::None => f.write_str("none"),
            Compression::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

impl FromStr for Compression {
    type Err = RepositoryError;

    fn from_str(text: &str) -> Result<Compression, RepositoryError> {
        let bad = || RepositoryError::BadCompression { text: text.chars().take(100).collect() };
        match text.split_once(':') {
            None if text == "none" => Ok(Compression::None),
            None if text == "zstd" => Ok(Compression::default()),
            Some(("zstd", level)) => match level.parse() {
                Ok(level @ 1..=19) => Ok(Compression::Zstd(level)),
                _ => Err(bad()),
            },
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Compression {
    type Error = RepositoryError;

    fn try_from(text: String) -> Result<Compression, RepositoryError> {
        text.parse()
    }
}

impl From<Compression> for String {
    fn from(compression: Compression) -> String {
        compression.to_string()
    }
}

/// The server that was backed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    pub version: ServerVersion,
    /// MySQL's `server_uuid`; MariaDB's `server_uid` where there is one; else empty.
    #[serde(default)]
    pub uuid: String,
    pub server_id: u32,
    pub datadir: AbsPath,
    /// `innodb_page_size`.
    pub page_size: u32,
    /// Server variables that restore needs, by name.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// Who owned the datadir.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    #[serde(default)]
    pub user: String,
    #[serde(default)]
    pub group: String,
}

/// What the taker of a backup knows; the repository adds the rest of the manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct SetFacts {
    pub server: ServerFacts,
    pub capture: Capture,
    pub coordinates: Coordinates,
    pub end: Timestamp,
    pub locks: Vec<LockTimes>,
    pub notes: Vec<String>,
    pub owner: Option<Owner>,
    /// How changed pages were found; empty for a full set.
    pub scan: String,
}

/// The set that an incremental one builds on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub id: SetId,
    pub manifest_hash: Hash128,
}

/// A file of the set, with the hash of its bytes as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    pub name: String,
    pub size: u64,
    pub hash: Hash128,
}

/// The captured redo: `hash` is over the stored bytes, `raw_hash` over the redo itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedoFile {
    #[serde(flatten)]
    pub stored: StoredFile,
    pub raw: u64,
    pub raw_hash: Hash128,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Entries in the index.
    pub files: u64,
    pub runs: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// Raw bytes in runs: without holes and zeros, and in an incremental without what did not change.
    pub raw: u64,
    /// Bytes of packs, redo and index.
    pub stored: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Read and checked before everything else.
    pub format: u32,
    /// Program and version that wrote it.
    pub tool: String,
    pub id: SetId,
    pub name: ServerName,
    pub kind: SetKind,
    /// One more than the newest set of the name had: tells the order whatever clocks did.
    pub sequence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    pub start: Timestamp,
    pub end: Timestamp,
    pub server: ServerFacts,
    pub capture: Capture,
    pub coordinates: Coordinates,
    #[serde(default)]
    pub locks: Vec<LockTimes>,
    #[serde(default)]
    pub notes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scan: String,
    pub compression: Compression,
    pub totals: Totals,
    pub index: StoredFile,
    pub redo: RedoFile,
    pub packs: Vec<StoredFile>,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

impl Manifest {
    /// The text of the file, and the hash that it ends with.
    ///
    /// # Errors
    /// When a value has no JSON form.
    pub fn to_text(&self) -> Result<(String, Hash128), serde_json::Error> {
        let json = serde_json::to_string_pretty(self)?;
        let body = json.strip_suffix("\n}").unwrap_or(&json);
        let hash = Hash128::of(body.as_bytes());
        Ok((format!("{body}{HASH_KEY}{hash}{TAIL}"), hash))
    }

    /// Reads the text of a manifest: version first, then its hash, then the rest. `expected` is the id that the
    /// set's directory or stream has.
    ///
    /// # Errors
    /// A newer format, or any damage.
    pub fn from_text(bytes: &[u8], expected: &SetId) -> Result<(Manifest, Hash128), RepositoryError> {
        let damage = |problem| Damage::of_file(MANIFEST, problem).in_set(expected);
        if bytes.len() > MAX_BYTES {
            return Err(damage(Problem::Syntax("it is too large for a manifest".into())));
        }
        let syntax = |e: serde_json::Error| damage(Problem::Syntax(e.to_string()));
        let FormatOnly { format } = serde_json::from_slice(bytes).map_err(syntax)?;
        if format > u64::from(FORMAT) {
            return Err(RepositoryError::NewerFormat {
                what: format!("backup set {expected}"),
                found: format,
                known: FORMAT,
            });
        }
        let hash = checked_hash(bytes).ok_or_else(|| damage(Problem::Hash))?;
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(syntax)?;
        manifest.check(expected).map_err(damage)?;
        Ok((manifest, hash))
    }

    fn check(&self, expected: &SetId) -> Result<(), Problem> {
        let differs = |found: &dyn fmt::Display, expected: &dyn fmt::Display| {
            Err(Problem::Contradiction { found: found.to_string(), expected: expected.to_string() })
        };
        if self.format != FORMAT {
            return differs(&self.format, &FORMAT);
        }
        if self.id != *expected {
            return differs(&self.id, expected);
        }
        if self.parent.is_some() != (self.kind == SetKind::Incremental) {
            return differs(&"a parent on the wrong kind of set", &"one on incrementals only");
        }
        if self.index.name != INDEX {
            return differs(&self.index.name, &INDEX);
        }
        let redo = redo_name(self.compression);
        if self.redo.stored.name != redo {
            return differs(&self.redo.stored.name, &redo);
        }
        // What a reader keeps in memory is bounded by what really lies in the packs. (A stream has none: there the
        // runs that were received are the bound.)
        let packed = self.packs.iter().map(|pack| pack.size).fold(0, u64::saturating_add);
        if !self.packs.is_empty() && self.totals.runs > packed / LEAST_STORED {
            return differs(&format!("{} runs", self.totals.runs), &format!("fewer in {packed} bytes"));
        }
        if self.totals.files > MAX_FILES {
            return differs(&format!("{} files", self.totals.files), &format!("at most {MAX_FILES}"));
        }
        for (pack, number) in self.packs.iter().zip(0..) {
            let name = pack_name(number, self.compression);
            if pack.name != name {
                return differs(&pack.name, &name);
            }
        }
        Ok(())
    }

    /// Every file of the set but the manifest, packs last.
    pub fn stored_files(&self) -> impl Iterator<Item = &StoredFile> {
        [&self.index, &self.redo.stored].into_iter().chain(&self.packs)
    }

    /// Seconds from start to end.
    pub fn seconds(&self) -> f64 {
        self.end.duration_since(self.start).as_secs_f64()
    }
}

/// The hash at the end of the text, when it is that of the text before it and nothing else is there.
fn checked_hash(bytes: &[u8]) -> Option<Hash128> {
    let hex_at = bytes.len().checked_sub(TAIL.len() + 32)?;
    let body_len = hex_at.checked_sub(HASH_KEY.len())?;
    let body = bytes.get(..body_len)?;
    let hash = Hash128::of(body);
    let end = format!("{HASH_KEY}{hash}{TAIL}");
    (bytes.get(body_len..)? == end.as_bytes()).then_some(hash)
}

pub(crate) fn pack_name(number: u32, compression: Compression) -> String {
    match compression {
        Compression::None => format!("data-{number:04}.tar"),
        Compression::Zstd(_) => format!("data-{number:04}.tar.zst"),
    }
}

pub(crate) fn redo_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "redo",
        Compression::Zstd(_) => "redo.zst",
    }
}

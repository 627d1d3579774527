//! A set as one stream of bytes: the same entries, each in a frame with its length and hash, the index and the
//! manifest after them, and a final mark with the hash of everything. Only what reached the final mark, and ended
//! there, is a set.
//!
//! | frame | content |
//! |---|---|
//! | `H` | what is known at the start |
//! | `R` | one run |
//! | `L` | a piece of redo |
//! | `I` | a piece of the index |
//! | `M` | the manifest |
//! | `E` | bytes and hash of everything before |
//! | `X` | the sender gave up, and why |

mod read;
mod write;

use jiff::Timestamp;
use reseed_terms::ServerVersion;
use serde::{Deserialize, Serialize};

use crate::files::{MAX_STORED, Run};
use crate::hash::Hash64;
use crate::id::{ServerName, SetId, SetKind};
use crate::manifest::Compression;
use crate::path::RelPath;

pub use read::{Item, RunDecoder, StoredRun, StreamEnd, StreamReader};
pub use write::StreamWriter;

/// The version of the stream's layout.
pub const STREAM_FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"RESEED\x1aS";
/// Magic, version, four bytes of zeros.
const PREAMBLE: usize = 16;
/// Kind, three bytes of zeros, length of the content, XXH3-64 of those eight bytes and the content.
const FRAME_HEAD: usize = 16;
/// The most that a frame holds beside a run's stored bytes: its description.
const MAX_META: usize = 1 << 20;
const MAX_FRAME: usize = MAX_STORED as usize + MAX_META;
/// What an error names as the path.
const STREAM: &str = "the stream";

/// What is known of a set when its stream begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamHead {
    pub tool: String,
    pub id: SetId,
    pub name: ServerName,
    pub kind: SetKind,
    pub compression: Compression,
    pub start: Timestamp,
    /// Absent in streams of earlier senders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<StreamServer>,
}

/// What is known of the server when its stream begins, for a receiver to decide by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamServer {
    pub version: ServerVersion,
    pub server_id: u32,
    /// About how many bytes will be sent, before compression.
    pub bytes: u64,
    /// Seconds after which it removes binary logs.
    #[serde(default)]
    pub keeps_binlogs: Option<u64>,
}

/// The description in front of a run's bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunMeta {
    path: RelPath,
    run: Run,
}

fn frame_head(kind: u8, len: usize) -> [u8; 8] {
    let [a, b, c, d] = (len as u32).to_le_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

fn frame_hash(head: [u8; 8], parts: &[&[u8]]) -> Hash64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(&head);
    for part in parts {
        hasher.update(part);
    }
    Hash64(hasher.digest())
}

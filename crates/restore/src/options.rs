//! What a restore is asked to do. Plain values: what was typed is the command line's matter.

use std::path::PathBuf;

use reseed_terms::ServerVersion;

use crate::keep::KeepPattern;

/// What to do with a datadir that is not empty. A datadir with a running server on it is always refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Occupied {
    #[default]
    Refuse,
    /// Rename it beside, with a time stamp; put it back if the restore fails.
    MoveAside,
    /// Make the new datadir from its files, writing only what differs. It is used up, whether the restore succeeds or
    /// fails; files that the set does not have are kept beside.
    UseUp,
}

/// Who brings the pages up to the set's last LSN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Apply {
    /// reseed, in the pass that writes the datadir.
    #[default]
    Native,
    /// The server, at its start: the redo is laid down in the server's own format.
    Server,
}

/// Where files go that lay outside the datadir of the server that was backed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outside {
    /// Into the datadir, where a server finds them.
    #[default]
    Inside,
    /// To where they lay: only right when no living server has files there.
    Keep,
}

/// What is known of the server that will run on the datadir.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewServer {
    /// One that was named, or that will be made a replica at once: what does not fit it is refused.
    pub version: Option<ServerVersion>,
    /// One that this host has, and that may be meant: what does not fit it is warned of.
    pub found: Option<ServerVersion>,
    pub server_id: Option<u32>,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub datadir: PathBuf,
    pub occupied: Occupied,
    /// Files of the old datadir that are carried over, beside its data.
    pub keep: Vec<KeepPattern>,
    pub apply: Apply,
    pub outside: Outside,
    /// Directories of outside files, old and new; the longest old one that fits decides, before `outside` does.
    pub maps: Vec<(PathBuf, PathBuf)>,
    /// Owner of everything that is written, as (uid, gid). `None`: of the datadir that was there, or else of its
    /// parent, when we may; our own otherwise.
    pub owner: Option<(u32, u32)>,
    /// Threads that write; 0 chooses.
    pub threads: usize,
    /// Bytes that the redo may take in memory, buffers included.
    pub memory: u64,
    /// Statements that make the restored server a replica, to be written beside the datadir.
    pub hand_over: Option<reseed_server::handover::HandoverOptions>,
    /// What does not fit it is refused before anything is written.
    pub new_server: NewServer,
    /// Now, in RFC 3339 UTC to the second: names what is moved aside and says who holds the lock since when.
    pub now: String,
}

impl Options {
    /// A restore into a place where nothing lies, of nothing but the data.
    pub fn into_new(datadir: PathBuf, memory: u64, now: String) -> Options {
        Options {
            datadir,
            occupied: Occupied::Refuse,
            keep: Vec::new(),
            apply: Apply::Native,
            outside: Outside::Inside,
            maps: Vec::new(),
            owner: None,
            threads: 0,
            memory,
            hand_over: None,
            new_server: NewServer::default(),
            now,
        }
    }
}

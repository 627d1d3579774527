//! MariaDB's redo against logs that are made here, byte by byte, as a server would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apply;
mod blocks;
mod clean;
mod parse;
mod ring;
mod server;

//! MySQL 8.0.30 and later (redo format 6): physiological records in 512-byte blocks of numbered files.
//!
//! Read it in this order: [`file`](mod@file) and [`block`] (what is on disk), [`tail`] (following a live log), [`parser`]
//! (mini-transactions and their records), [`apply`] (a page and its records to the page afterwards), [`metadata`]
//! and [`clean_log`] (what a restored server finds instead of the old log).
//!
//! The byte layouts and where they come from: docs/formats/redo-mysql.md.

pub mod apply;
pub mod block;
pub mod clean_log;
mod codec;
mod error;
pub mod file;
mod index;
pub mod lsn;
pub mod metadata;
pub mod parser;
mod record;
pub mod record_type;
pub mod tail;

pub use apply::MysqlApplier;
pub use clean_log::{CleanLog, clean_log, cut_last_block, server_log_head};
pub use error::{ApplyError, MysqlError};
pub use metadata::TableMetadata;
pub use parser::MysqlParser;

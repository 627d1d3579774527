//! The passes that write the datadir. From a set: one, in which every page is read once, brought up to date in
//! memory, and written once. From a stream: pages are written as they come, and a second pass changes those that the
//! redo touches.

pub(crate) mod blocks;
pub(crate) mod held;
pub(crate) mod pass;
pub mod patch;
mod queue;
pub(crate) mod scene;
pub(crate) mod second;
pub(crate) mod segments;
pub(crate) mod writer;

//! Stock zlib, called so that its output is the server's output, byte for byte.
//!
//! Pages of ROW_FORMAT=COMPRESSED hold a deflate stream that redo apply must reproduce exactly. That needs the
//! original C zlib (any rewrite chooses other matches), the memory level 9 that the server uses (the usual wrappers
//! fix it at 8, which changes hash collisions and with them matches), and inflate that stops at a block's end.
//!
//! Knows nothing of pages: buffers in, buffers out, no panic on any input.

mod stream;

pub use stream::{Deflate, Inflate, Progress, Until, ZlibError};

//! The only place that talks to C. Every call gets its buffers anew and forgets them before it returns.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::MaybeUninit;
use std::os::raw::c_int;

use libz_sys as z;

/// zlib's own verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ZlibError {
    #[error("zlib has no such level or window size")]
    Setting,
    #[error("zlib found damaged data")]
    Data,
    #[error("zlib had no memory")]
    Memory,
    #[error("zlib failed with code {0}")]
    Other(i32),
}

/// How far one call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// As far as the buffers reach.
    Buffers,
    /// Deflate: everything so far is out, and what follows does not refer back to it.
    FullFlush,
    /// Inflate: to the next end of a block (the zlib header counts as one).
    Block,
    /// To the end of the stream.
    Finish,
}

impl Until {
    fn code(self) -> c_int {
        match self {
            Until::Buffers => z::Z_NO_FLUSH,
            Until::FullFlush => z::Z_FULL_FLUSH,
            Until::Block => z::Z_BLOCK,
            Until::Finish => z::Z_FINISH,
        }
    }
}

/// What one call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub read: usize,
    pub written: usize,
    /// The stream is complete.
    pub ended: bool,
}

// zlib keeps a pointer to the stream in its state and compares it: the stream must not move, hence the box.
type Stream = Box<z::z_stream>;

fn empty_stream() -> Stream {
    let mut stream = Box::new(MaybeUninit::<z::z_stream>::zeroed());
    let fields = stream.as_mut_ptr();
    // SAFETY: `fields` points to memory of a z_stream; writing the two function pointers makes it a valid value,
    // because everything else in it (raw pointers and integers) is valid as zeros. The functions are the default
    // allocator with the signatures that zlib asks for.
    unsafe {
        (&raw mut (*fields).zalloc).write(allocate);
        (&raw mut (*fields).zfree).write(release);
        Box::from_raw(Box::into_raw(stream).cast())
    }
}

/// Allocates what zlib asks for, with the length in front so that [`release`] knows it.
extern "C" fn allocate(_: *mut std::ffi::c_void, items: z::uInt, size: z::uInt) -> *mut std::ffi::c_void {
    const FRONT: usize = 16;
    let layout = (items as usize)
        .checked_mul(size as usize)
        .and_then(|len| len.checked_add(FRONT))
        .and_then(|len| std::alloc::Layout::from_size_align(len, FRONT).ok());
    let Some(layout) = layout else { return std::ptr::null_mut() };
    // SAFETY: the layout is not empty; the first 16 bytes hold its size and are never handed out.
    unsafe {
        let start = std::alloc::alloc_zeroed(layout);
        if start.is_null() {
            return std::ptr::null_mut();
        }
        start.cast::<usize>().write(layout.size());
        start.add(FRONT).cast()
    }
}

extern "C" fn release(_: *mut std::ffi::c_void, address: *mut std::ffi::c_void) {
    const FRONT: usize = 16;
    if address.is_null() {
        return;
    }
    // SAFETY: `address` came from `allocate`: its size stands 16 bytes before, the alignment was 16.
    unsafe {
        let start = address.cast::<u8>().sub(FRONT);
        let size = start.cast::<usize>().read();
        std::alloc::dealloc(start, std::alloc::Layout::from_size_align_unchecked(size, FRONT));
    }
}

fn point(stream: &mut z::z_stream, input: &[u8], output: &mut [u8]) -> (z::uInt, z::uInt) {
    let in_len = z::uInt::try_from(input.len()).unwrap_or(z::uInt::MAX);
    let out_len = z::uInt::try_from(output.len()).unwrap_or(z::uInt::MAX);
    stream.next_in = input.as_ptr().cast_mut();
    stream.avail_in = in_len;
    stream.next_out = output.as_mut_ptr();
    stream.avail_out = out_len;
    (in_len, out_len)
}

fn progress(
    stream: &mut z::z_stream,
    lengths: (z::uInt, z::uInt),
    code: c_int,
) -> Result<Progress, ZlibError> {
    let read = (lengths.0 - stream.avail_in) as usize;
    let written = (lengths.1 - stream.avail_out) as usize;
    stream.next_in = std::ptr::null_mut();
    stream.avail_in = 0;
    stream.next_out = std::ptr::null_mut();
    stream.avail_out = 0;
    match code {
        // A full or empty buffer is no failure: the numbers tell.
        z::Z_OK | z::Z_BUF_ERROR => Ok(Progress { read, written, ended: false }),
        z::Z_STREAM_END => Ok(Progress { read, written, ended: true }),
        code => Err(error_of(code)),
    }
}

fn error_of(code: c_int) -> ZlibError {
    match code {
        z::Z_DATA_ERROR | z::Z_NEED_DICT => ZlibError::Data,
        z::Z_MEM_ERROR => ZlibError::Memory,
        z::Z_STREAM_ERROR => ZlibError::Setting,
        code => ZlibError::Other(code),
    }
}

/// A deflate stream with a zlib header.
pub struct Deflate {
    stream: Stream,
}

impl Deflate {
    /// `level` 0 to 9, `window_bits` 9 to 15, `memory_level` 1 to 9.
    ///
    /// # Errors
    /// When a setting is out of range, or memory is.
    pub fn new(level: u8, window_bits: u8, memory_level: u8) -> Result<Deflate, ZlibError> {
        if level > 9 || !(9..=15).contains(&window_bits) || !(1..=9).contains(&memory_level) {
            return Err(ZlibError::Setting);
        }
        let mut stream = empty_stream();
        let size = c_int::try_from(size_of::<z::z_stream>()).map_err(|_| ZlibError::Setting)?;
        // SAFETY: the stream is valid and stays where it is, in its box, until `drop` ends it.
        let code = unsafe {
            z::deflateInit2_(
                &mut *stream,
                c_int::from(level),
                z::Z_DEFLATED,
                c_int::from(window_bits),
                c_int::from(memory_level),
                z::Z_DEFAULT_STRATEGY,
                z::zlibVersion(),
                size,
            )
        };
        if code == z::Z_OK { Ok(Deflate { stream }) } else { Err(error_of(code)) }
    }

    /// Makes it as new.
    pub fn reset(&mut self) {
        // SAFETY: the stream was initialised by `new`.
        unsafe { z::deflateReset(&mut *self.stream) };
    }

    /// # Errors
    /// When zlib fails; a full buffer is no failure.
    pub fn run(&mut self, input: &[u8], output: &mut [u8], until: Until) -> Result<Progress, ZlibError> {
        let lengths = point(&mut self.stream, input, output);
        // SAFETY: input and output live until the call returns, and zlib only reads the input.
        let code = unsafe { z::deflate(&mut *self.stream, until.code()) };
        progress(&mut self.stream, lengths, code)
    }
}

impl Drop for Deflate {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `new` and is not used afterwards.
        unsafe { z::deflateEnd(&mut *self.stream) };
    }
}

/// An inflate stream with a zlib header.
pub struct Inflate {
    stream: Stream,
}

impl Inflate {
    /// `window_bits` 9 to 15, at least those that the stream was made with.
    ///
    /// # Errors
    /// When the setting is out of range, or memory is.
    pub fn new(window_bits: u8) -> Result<Inflate, ZlibError> {
        if !(9..=15).contains(&window_bits) {
            return Err(ZlibError::Setting);
        }
        let mut stream = empty_stream();
        let size = c_int::try_from(size_of::<z::z_stream>()).map_err(|_| ZlibError::Setting)?;
        // SAFETY: the stream is valid and stays where it is, in its box, until `drop` ends it.
        let code =
            unsafe { z::inflateInit2_(&mut *stream, c_int::from(window_bits), z::zlibVersion(), size) };
        if code == z::Z_OK { Ok(Inflate { stream }) } else { Err(error_of(code)) }
    }

    /// Makes it as new.
    pub fn reset(&mut self) {
        // SAFETY: the stream was initialised by `new`.
        unsafe { z::inflateReset(&mut *self.stream) };
    }

    /// # Errors
    /// When the data is damaged; a full or empty buffer is no failure.
    pub fn run(&mut self, input: &[u8], output: &mut [u8], until: Until) -> Result<Progress, ZlibError> {
        let lengths = point(&mut self.stream, input, output);
        // SAFETY: input and output live until the call returns, and zlib only reads the input.
        let code = unsafe { z::inflate(&mut *self.stream, until.code()) };
        progress(&mut self.stream, lengths, code)
    }
}

impl Drop for Inflate {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `new` and is not used afterwards.
        unsafe { z::inflateEnd(&mut *self.stream) };
    }
}

impl fmt::Debug for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflate").finish_non_exhaustive()
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate").finish_non_exhaustive()
    }
}

// SAFETY: zlib keeps all of a stream's state behind the stream, and only `&mut self` reaches it.
unsafe impl Send for Deflate {}
// SAFETY: as above.
unsafe impl Send for Inflate {}

#[cfg(test)]
mod tests {
    use super::*;

    fn deflated(parts: [&[u8]; 2]) -> Vec<u8> {
        let mut deflate = Deflate::new(6, 14, 9).unwrap();
        let mut out = vec![0; 1000];
        let first = deflate.run(parts[0], &mut out, Until::FullFlush).unwrap();
        assert_eq!(first.read, parts[0].len());
        let second = deflate.run(parts[1], &mut out[first.written..], Until::Finish).unwrap();
        assert!(second.ended);
        out.truncate(first.written + second.written);
        out
    }

    #[test]
    fn block_by_block_and_back() {
        let stream = deflated([b"description", b"content content content"]);
        let mut inflate = Inflate::new(14).unwrap();
        for _ in 0..2 {
            let mut out = [0; 100];
            let header = inflate.run(&stream, &mut out, Until::Block).unwrap();
            assert_eq!((header.read, header.written), (2, 0));
            let block = inflate.run(&stream[2..], &mut out, Until::Block).unwrap();
            assert_eq!(&out[..block.written], b"description");
            let rest = inflate.run(&stream[2 + block.read..], &mut out, Until::Finish).unwrap();
            assert!(rest.ended);
            assert_eq!(&out[..rest.written], b"content content content");
            inflate.reset();
        }
    }

    #[test]
    fn a_reset_stream_gives_the_same_bytes() {
        let once = deflated([b"a", b"bcd"]);
        let mut deflate = Deflate::new(6, 14, 9).unwrap();
        let mut out = [0; 100];
        deflate.run(b"something else", &mut out, Until::Finish).unwrap();
        deflate.reset();
        let first = deflate.run(b"a", &mut out, Until::FullFlush).unwrap().written;
        let second = deflate.run(b"bcd", &mut out[first..], Until::Finish).unwrap().written;
        assert_eq!(&out[..first + second], once);
    }

    #[test]
    fn full_buffers_and_damage() {
        let mut deflate = Deflate::new(9, 12, 9).unwrap();
        let got = deflate.run(&[1, 2, 3, 4, 5, 6], &mut [0; 3], Until::Finish).unwrap();
        assert!(!got.ended && got.written == 3);
        let mut inflate = Inflate::new(12).unwrap();
        assert_eq!(inflate.run(&[1, 2, 3], &mut [0; 3], Until::Finish), Err(ZlibError::Data));
        assert!(Deflate::new(10, 14, 9).is_err() && Deflate::new(6, 16, 9).is_err());
        assert!(Inflate::new(8).is_err());
    }
}

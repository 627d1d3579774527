//! The tar headers inside packs. GNU tar's form, with a long-name entry where a name has more than 100 bytes.
//! They are for people with `zstd` and `tar`; reseed itself goes by the index.

const BLOCK: usize = 512;
const NAME: usize = 100;
/// Where the digits of the size stand in a block, and the kind of its entry.
const SIZE: std::ops::Range<usize> = 124..135;
const KIND: usize = 156;
/// Two blocks of zeros end an archive.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Puts the header of a regular file into `out`, which is emptied first.
pub(crate) fn header(name: &[u8], size: u64, out: &mut Vec<u8>) {
    out.clear();
    if name.len() > NAME {
        block(b"././@LongLink", name.len() as u64 + 1, b'L', out);
        out.extend_from_slice(name);
        out.resize((out.len() + 1).next_multiple_of(BLOCK), 0);
    }
    block(name.get(..NAME).unwrap_or(name), size, b'0', out);
}

/// The longest header that [`Header::parse`] takes: a path as long as any, with what stands behind it.
pub(crate) const MAX_HEADER: usize = 2 * BLOCK + (8 << 10);

/// A header that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub name: Vec<u8>,
    /// Of the data that follows.
    pub size: u64,
    /// Bytes of the header itself.
    pub len: usize,
}

impl Header {
    /// The header that the bytes begin with; `None` unless it is the very one that [`header`] makes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Header> {
        let first = bytes.get(..BLOCK)?;
        let (name, rest) = if first.get(KIND) == Some(&b'L') {
            let len = usize::try_from(octal(first)?.checked_sub(1)?).ok().filter(|len| *len < MAX_HEADER)?;
            let end = BLOCK + (len + 1).next_multiple_of(BLOCK);
            (bytes.get(BLOCK..)?.get(..len)?, bytes.get(end..)?)
        } else {
            let name = first.get(..NAME)?;
            (name.split(|byte| *byte == 0).next()?, bytes)
        };
        let size = octal(rest.get(..BLOCK)?)?;
        let mut made = Vec::new();
        header(name, size, &mut made);
        bytes.starts_with(&made).then(|| Header { name: name.to_vec(), size, len: made.len() })
    }
}

/// The size in a header's block.
fn octal(block: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(block.get(SIZE)?).ok()?;
    u64::from_str_radix(digits, 8).ok()
}

/// How many zeros follow `len` bytes of data.
pub(crate) fn padding(len: usize) -> usize {
    len.next_multiple_of(BLOCK) - len
}

fn block(name: &[u8], size: u64, kind: u8, out: &mut Vec<u8>) {
    let start = out.len();
    let mut put = |field: &[u8], width: usize| {
        out.extend_from_slice(field);
        out.resize(out.len() + width.saturating_sub(field.len()), 0);
    };
    put(name, NAME);
    put(b"0000640", 8);
    put(b"0000000", 8);
    put(b"0000000", 8);
    put(format!("{size:011o}").as_bytes(), 12);
    put(b"00000000000", 12);
    put(b"        ", 8);
    put(&[kind], 1);
    put(b"", 100);
    put(b"ustar  ", 8);
    put(b"", BLOCK - 265);
    let sum: u32 = out.iter().skip(start).map(|&b| u32::from(b)).sum();
    for (at, digit) in format!("{sum:06o}\0 ").bytes().enumerate() {
        if let Some(byte) = out.get_mut(start + 148 + at) {
            *byte = digit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_whole_blocks() {
        let mut out = Vec::new();
        header(b"test/t1.ibd", 16384, &mut out);
        assert_eq!(out.len(), BLOCK);
        assert_eq!(&out[257..263], b"ustar ");
        header(&[b'n'; 100], 1, &mut out);
        assert_eq!(out.len(), BLOCK);
        for (len, blocks) in [(101, 3), (511, 3), (512, 4)] {
            header(&vec![b'n'; len], 1, &mut out);
            assert_eq!(out.len(), blocks * BLOCK, "{len}");
        }
        assert_eq!((padding(0), padding(1), padding(512)), (0, 511, 0));
    }

    #[test]
    fn a_header_is_read_only_as_it_is_written() {
        let mut out = Vec::new();
        for len in [1, 99, 100, 101, 511, 512, 4096 + 27] {
            let name = vec![b'n'; len];
            header(&name, 123_456, &mut out);
            let read = Header::parse(&[&out[..], b"data"].concat());
            assert_eq!(read, Some(Header { name, size: 123_456, len: out.len() }));
            for at in 0..out.len() {
                out[at] ^= 4;
                // The part of a long name that only the name's own blocks have makes another name.
                let of_name = len > NAME && (BLOCK + NAME..BLOCK + len).contains(&at);
                assert_eq!(Header::parse(&out).is_some(), of_name, "byte {at} of a name of {len}");
                out[at] ^= 4;
                assert_eq!(Header::parse(&out[..at]), None);
            }
        }
        assert_eq!(Header::parse(&END), None);
    }
}

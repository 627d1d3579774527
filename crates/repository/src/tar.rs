//! The tar headers inside packs. GNU tar's form, with a long-name entry where a name has more than 100 bytes.
//! They are for people with `zstd` and `tar`; reseed itself goes by the index.

const BLOCK: usize = 512;
const NAME: usize = 100;
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
}

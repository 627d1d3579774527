//! LSN arithmetic of logs made of 512-byte blocks. LSNs count every byte of the log, block headers and trailers
//! included; an SN counts payload bytes only.

use reseed_terms::Lsn;

pub const BLOCK: u64 = 512;
pub const BLOCK_HEADER: u64 = 12;
pub const BLOCK_TRAILER: u64 = 4;
/// Payload bytes of one block.
pub const PAYLOAD: u64 = BLOCK - BLOCK_HEADER - BLOCK_TRAILER;

/// Payload bytes before `lsn`. A position in a block's header or trailer counts as the nearest payload boundary.
pub fn to_sn(lsn: Lsn) -> u64 {
    (lsn.0 / BLOCK) * PAYLOAD + (lsn.0 % BLOCK).saturating_sub(BLOCK_HEADER).min(PAYLOAD)
}

/// The LSN of payload byte `sn`; at a block's end that is the first payload byte of the next block.
pub fn from_sn(sn: u64) -> Lsn {
    Lsn((sn / PAYLOAD).saturating_mul(BLOCK).saturating_add(sn % PAYLOAD + BLOCK_HEADER))
}

/// The LSN `payload_bytes` of payload after `lsn`.
pub fn advance(lsn: Lsn, payload_bytes: u64) -> Lsn {
    from_sn(to_sn(lsn).saturating_add(payload_bytes))
}

/// Start of the block that holds `lsn`.
pub fn block_of(lsn: Lsn) -> Lsn {
    Lsn(lsn.0 - lsn.0 % BLOCK)
}

/// True for an LSN that names a payload byte.
pub fn is_data(lsn: Lsn) -> bool {
    (BLOCK_HEADER..BLOCK - BLOCK_TRAILER).contains(&(lsn.0 % BLOCK))
}

/// The first LSN at or after `lsn` where a block starts.
pub fn align_up(lsn: Lsn) -> Lsn {
    Lsn(lsn.0.div_ceil(BLOCK).saturating_mul(BLOCK))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_lsn_ever() {
        assert_eq!(to_sn(Lsn(8204)), 16 * PAYLOAD);
        assert_eq!(from_sn(16 * PAYLOAD), Lsn(8204));
        assert!(is_data(Lsn(8204)) && !is_data(Lsn(8192)) && !is_data(Lsn(8192 + 508)));
    }

    #[test]
    fn advancing_crosses_block_ends() {
        assert_eq!(advance(Lsn(8204), 495), Lsn(8204 + 495));
        assert_eq!(advance(Lsn(8204), 496), Lsn(8204 + 512));
        assert_eq!(advance(Lsn(8204), 496 * 3 + 1), Lsn(8204 + 512 * 3 + 1));
        assert_eq!(align_up(Lsn(1)), Lsn(512));
        assert_eq!(align_up(Lsn(512)), Lsn(512));
    }

    proptest! {
        #[test]
        fn sn_and_lsn_are_inverse(sn in 0u64..1 << 50, n in 0u64..1 << 40) {
            prop_assert_eq!(to_sn(from_sn(sn)), sn);
            prop_assert!(is_data(from_sn(sn)));
            // The closed form of the specification.
            let lsn = from_sn(sn).0;
            let closed = lsn + n + (n + lsn % 512 - 12) / 496 * 16;
            prop_assert_eq!(advance(Lsn(lsn), n), Lsn(closed));
        }
    }
}

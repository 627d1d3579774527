//! Pseudo-random choices from a seed, the same on every machine.

/// SplitMix64: small, and good enough to choose statements.
#[derive(Debug, Clone)]
pub struct Random(u64);

const WORDS: &[&str] = &[
    "alder", "birch", "cedar", "dogwood", "elm", "fir", "größer", "hazel", "ivy", "juniper", "kiwi", "larch",
    "maple", "naïve", "oak", "pine", "quince", "rowan", "spruce", "teak", "ulmus", "vine", "willow", "yew",
    "zelkova", "日本", "🌲",
];

impl Random {
    pub fn new(seed: u64, stream: u64) -> Random {
        let mut random =
            Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// Words up to `bytes` bytes, as a quoted SQL string.
    pub fn words(&mut self, bytes: usize) -> String {
        let goal = self.below(bytes as u64 + 1) as usize;
        let mut text = String::new();
        while let Some(word) = self.pick(WORDS) {
            if text.len() + word.len() + 1 > goal {
                break;
            }
            text.push_str(word);
            text.push(' ');
        }
        format!("'{}'", text.trim_end())
    }

    /// `bytes` random bytes as a hexadecimal literal: they do not compress.
    pub fn hex(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes * 2 + 3);
        text.push_str("X'");
        for _ in 0..bytes {
            text.push_str(&format!("{:02x}", self.next() as u8));
        }
        text.push('\'');
        text
    }

    /// An expression for `bytes` bytes that compress well, made by the server so that they need not be sent.
    pub fn repeated(&mut self, bytes: u64) -> String {
        let unit = format!("{:016x}", self.next());
        format!("REPEAT('{unit}', {})", bytes / 16 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_choices_and_streams_differ() {
        let mut one = Random::new(7, 1);
        let mut same = Random::new(7, 1);
        let mut other = Random::new(7, 2);
        let first: Vec<u64> = (0..8).map(|_| one.next()).collect();
        assert_eq!(first, (0..8).map(|_| same.next()).collect::<Vec<_>>());
        assert_ne!(first, (0..8).map(|_| other.next()).collect::<Vec<_>>());
    }

    #[test]
    fn words_stay_within_their_bytes() {
        let mut random = Random::new(3, 3);
        for _ in 0..500 {
            assert!(random.words(40).len() <= 42);
        }
    }
}

//! XXH3 hashes as the formats write them: lower-case hexadecimal of fixed width.
//!
//! They find damage, not malice: whoever can change a set can change its hashes too.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

/// XXH3-128.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash128(pub u128);

/// XXH3-64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash64(pub u64);

impl Hash128 {
    pub fn of(bytes: &[u8]) -> Hash128 {
        Hash128(xxh3_128(bytes))
    }
}

impl Hash64 {
    pub fn of(bytes: &[u8]) -> Hash64 {
        Hash64(xxh3_64(bytes))
    }
}

/// XXH3-128 of bytes that come in pieces.
#[derive(Default)]
pub struct Hasher(Box<Xxh3>);

impl Hasher {
    pub fn new() -> Hasher {
        Hasher::default()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> Hash128 {
        Hash128(self.0.digest128())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

macro_rules! hexadecimal {
    ($name:ident, $number:ty, $width:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:0width$x}", self.0, width = $width)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{} lower-case hexadecimal digits", $width)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        let lower = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
                        let fits = text.len() == $width && text.bytes().all(lower);
                        match <$number>::from_str_radix(text, 16) {
                            Ok(number) if fits => Ok($name(number)),
                            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                        }
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

hexadecimal!(Hash128, u128, 32);
hexadecimal!(Hash64, u64, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_strict() {
        let hash = Hash128::of(b"reseed");
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(text.len(), 34);
        assert_eq!(serde_json::from_str::<Hash128>(&text).unwrap(), hash);
        let wrong = [text.to_uppercase(), text.replace('"', ""), "\"+123\"".into(), "\"\"".into()];
        for bad in wrong.iter().filter(|bad| **bad != text) {
            assert!(serde_json::from_str::<Hash128>(bad).is_err(), "{bad}");
        }
        let mut pieces = Hasher::new();
        pieces.update(b"re");
        pieces.update(b"seed");
        assert_eq!(pieces.hash(), hash);
    }
}

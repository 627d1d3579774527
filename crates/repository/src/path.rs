//! Paths as sets write them: any bytes that a file system allows, in text that nothing can misread, and never
//! leading out of the directory they are relative to.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest path that is accepted, in bytes.
pub const MAX_PATH: usize = 4096;
const MAX_COMPONENT: usize = 255;

/// Why some bytes are not accepted as a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {MAX_PATH} bytes, or a part of it than {MAX_COMPONENT}")]
    TooLong,
    #[error("it is absolute")]
    Absolute,
    #[error("it is not absolute")]
    Relative,
    #[error("it has a part that is empty, . or ..")]
    Dots,
    #[error("it holds a NUL byte")]
    Nul,
    #[error("its text is not written the one way that is valid")]
    Escape,
}

/// A path relative to the datadir. Never empty, never absolute, no `.` or `..`, no NUL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Box<[u8]>);

/// An absolute path: where something lay on the server. Only ever shown or mapped, never opened as it stands.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AbsPath(Box<[u8]>);

impl RelPath {
    /// # Errors
    /// When the bytes are no such path.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<RelPath, PathError> {
        let bytes = bytes.as_ref();
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute);
        }
        check_parts(bytes)?;
        Ok(RelPath(bytes.into()))
    }

    /// # Errors
    /// As [`RelPath::new`].
    pub fn from_path(path: &Path) -> Result<RelPath, PathError> {
        RelPath::new(path.as_os_str().as_bytes())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last part.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// The path without its last part; `None` at the top.
    pub fn parent(&self) -> Option<RelPath> {
        let at = self.0.iter().rposition(|&b| b == b'/')?;
        self.0.get(..at).map(|bytes| RelPath(bytes.into()))
    }
}

impl AbsPath {
    /// # Errors
    /// When the bytes are no such path.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<AbsPath, PathError> {
        let bytes = bytes.as_ref();
        match bytes {
            [] => Err(PathError::Empty),
            [b'/'] => Ok(AbsPath(bytes.into())),
            [b'/', rest @ ..] => check_parts(rest).map(|()| AbsPath(bytes.into())),
            _ => Err(PathError::Relative),
        }
    }

    /// # Errors
    /// As [`AbsPath::new`].
    pub fn from_path(path: &Path) -> Result<AbsPath, PathError> {
        AbsPath::new(path.as_os_str().as_bytes())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

fn check_parts(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.is_empty() {
        return Err(PathError::Empty);
    }
    if bytes.len() > MAX_PATH {
        return Err(PathError::TooLong);
    }
    if bytes.contains(&0) {
        return Err(PathError::Nul);
    }
    for part in bytes.split(|&b| b == b'/') {
        match part {
            b"" | b"." | b".." => return Err(PathError::Dots),
            part if part.len() > MAX_COMPONENT => return Err(PathError::TooLong),
            _ => {}
        }
    }
    Ok(())
}

/// Text in which `%`, control characters and bytes that are not UTF-8 stand as `%XX`.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let put = |text: &mut String, bytes: &[u8]| {
        for b in bytes {
            text.push_str(&format!("%{b:02X}"));
        }
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '%' {
                put(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        put(&mut text, chunk.invalid());
    }
    text
}

/// The bytes of such a text. Only what [`escape`] writes is accepted, so that no two texts are one path.
fn unescape(text: &str) -> Result<Vec<u8>, PathError> {
    if text.len() > 3 * MAX_PATH {
        return Err(PathError::TooLong);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&b) = rest.next() {
        if b != b'%' {
            bytes.push(b);
            continue;
        }
        let mut digit = || rest.next().and_then(|&d| char::from(d).to_digit(16)).ok_or(PathError::Escape);
        let byte = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(byte).map_err(|_| PathError::Escape)?);
    }
    if escape(&bytes) == text { Ok(bytes) } else { Err(PathError::Escape) }
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&escape(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&escape(&self.0), f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = PathError;

            /// Reads the escaped text.
            fn from_str(text: &str) -> Result<$name, PathError> {
                $name::new(unescape(text)?)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&escape(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|e| de::Error::custom(format_args!("not an acceptable path: {e}")))
            }
        }
    };
}

as_text!(RelPath);
as_text!(AbsPath);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_leads_outside() {
        for (bytes, error) in [
            ("", PathError::Empty),
            ("/etc/passwd", PathError::Absolute),
            ("..", PathError::Dots),
            ("a/../b", PathError::Dots),
            ("a/..", PathError::Dots),
            ("./a", PathError::Dots),
            ("a//b", PathError::Dots),
            ("a/", PathError::Dots),
            ("a\0b", PathError::Nul),
        ] {
            assert_eq!(RelPath::new(bytes), Err(error), "{bytes:?}");
        }
        assert_eq!(RelPath::new(vec![b'a'; 300]), Err(PathError::TooLong));
        assert_eq!(RelPath::new("a/".repeat(3000) + "b"), Err(PathError::TooLong));
        assert!(AbsPath::new("/a/../b").is_err() && AbsPath::new("a").is_err() && AbsPath::new("/").is_ok());
        let path = RelPath::new("test/t1.ibd").unwrap();
        assert_eq!(path.file_name(), b"t1.ibd");
        assert_eq!(path.parent().unwrap().as_bytes(), b"test");
        assert_eq!(path.parent().unwrap().parent(), None);
    }

    #[test]
    fn the_text_is_the_only_one() {
        assert_eq!(RelPath::new(b"d\xff/100%\n\xc3\xa4").unwrap().to_string(), "d%FF/100%25%0Aä");
        for bad in ["a%", "a%4", "a%zz", "a%ff", "a%41", "a%2F..%2Fb", "%2E%2E", "a%00", "a\u{85}b"] {
            assert!(bad.parse::<RelPath>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(path) = RelPath::new(&bytes) {
                prop_assert_eq!(path.as_bytes(), &bytes[..]);
                let json = serde_json::to_string(&path).unwrap();
                prop_assert_eq!(serde_json::from_str::<RelPath>(&json).unwrap(), path);
            }
        }

        #[test]
        fn any_text_is_refused_or_safe(text in "[./%a0-9A-F]{0,12}") {
            if let Ok(path) = text.parse::<RelPath>() {
                prop_assert!(path.as_path().components().all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}

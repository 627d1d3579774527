//! Values and names as SQL text. It must never be possible for a value to end its own quotes.

/// A string literal that reads the same under every `sql_mode`: quotes are doubled, and a value with a backslash in
/// it is written in hexadecimal, since `NO_BACKSLASH_ESCAPES` changes what a backslash means.
pub fn text(value: &str) -> String {
    if value.contains(['\\', '\0']) {
        let mut hex = String::with_capacity(value.len() * 2 + 20);
        hex.push_str("_utf8mb4 X'");
        for byte in value.bytes() {
            hex.push_str(&format!("{byte:02X}"));
        }
        hex.push('\'');
        return hex;
    }
    plain(value)
}

/// A string literal for the statements whose grammar takes nothing but a plain string (CHANGE MASTER TO, CHANGE
/// REPLICATION SOURCE TO). A backslash is doubled, which is right under every `sql_mode` but NO_BACKSLASH_ESCAPES.
pub fn plain(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('\'');
    for character in value.chars() {
        match character {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// A name in backquotes.
pub fn name(value: &str) -> String {
    format!("`{}`", value.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_end_their_quotes() {
        assert_eq!(text("o'clock"), "'o''clock'");
        assert_eq!(text("a\\'b"), "_utf8mb4 X'615C2762'");
        assert_eq!(plain("a\\'b"), "'a\\\\''b'");
        assert_eq!(name("we`ird"), "`we``ird`");
    }
}

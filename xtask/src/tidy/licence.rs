//! Licences of all dependencies, from their own manifests. The binary as a whole is GPL-2.0-or-later; with a
//! dependency under Apache-2.0 alone it is distributed under version 3 of the GPL, which "or later" allows.

use super::Metadata;

/// Each may be linked into a program under GPL-2.0-or-later.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Data, not code: the public certificate authorities of webpki-roots.
    "CDLA-Permissive-2.0",
    "GPL-2.0-or-later",
    "ISC",
    "LGPL-2.1-or-later",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub fn check(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in &metadata.packages {
        let fine = package.license.as_deref().is_some_and(is_allowed);
        if !fine {
            let licence = package.license.as_deref().unwrap_or("none named");
            complaints.push(format!(
                "{} {} has a licence that is not on the list: {licence}",
                package.name, package.version
            ));
        }
    }
    complaints
}

/// An SPDX expression; the old spelling `MIT/Apache-2.0` means OR.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let fine = any_of(&mut words);
    fine && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>) -> bool {
    let mut fine = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        fine |= all_of(words);
    }
    fine
}

fn all_of(words: &mut Words<'_>) -> bool {
    let mut fine = one(words);
    while words.next_if_eq(&"AND").is_some() {
        fine &= one(words);
    }
    fine
}

fn one(words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => {
            let fine = any_of(words);
            words.next() == Some(")") && fine
        }
        Some(name) => {
            let mut name = name.to_owned();
            if words.next_if_eq(&"WITH").is_some() {
                name = format!("{name} WITH {}", words.next().unwrap_or_default());
            }
            ALLOWED.contains(&name.as_str())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_understood() {
        for fine in [
            "MIT",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Proprietary",
            "Proprietary OR MIT",
        ] {
            assert!(is_allowed(fine), "{fine}");
        }
        for bad in ["", "GPL-2.0-only", "MIT AND Proprietary", "(MIT OR Apache-2.0", "MIT MIT", "SSPL-1.0"] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }
}

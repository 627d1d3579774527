//! The crate graph: arrows point down only.

use super::{Metadata, Package};

/// Each crate with all that it may depend on. A crate that is not here may not exist.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "reseed",
        &[
            "reseed-backup",
            "reseed-restore",
            "reseed-server",
            "reseed-repository",
            "reseed-io",
            "reseed-terms",
        ],
    ),
    (
        "reseed-backup",
        &["reseed-server", "reseed-repository", "reseed-redo", "reseed-innodb", "reseed-io", "reseed-terms"],
    ),
    (
        "reseed-restore",
        &["reseed-server", "reseed-repository", "reseed-redo", "reseed-innodb", "reseed-io", "reseed-terms"],
    ),
    ("reseed-server", &["reseed-terms"]),
    ("reseed-repository", &["reseed-io", "reseed-terms"]),
    ("reseed-redo", &["reseed-innodb", "reseed-zlib", "reseed-terms"]),
    ("reseed-innodb", &["reseed-terms"]),
    ("reseed-io", &["reseed-terms"]),
    ("reseed-zlib", &[]),
    ("reseed-terms", &[]),
    // The kit's oracles must share no code with what they judge, beyond the layout of a page.
    ("reseed-tests", &["reseed-innodb", "reseed-terms"]),
    ("reseed-bench", &["reseed-tests"]),
    ("xtask", &[]),
];

/// Each with the reason.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "the binary links no system library but libc"),
    ("native-tls", "the binary links no system library but libc"),
    ("tokio-tar", "known holes in how it reads archives"),
    ("fs2", "unmaintained; the io crate has locks and free space"),
    ("backoff", "unmaintained"),
];

/// Crates that call C or the kernel and so cannot forbid `unsafe`.
const MAY_BE_UNSAFE: &[&str] = &["reseed-io", "reseed-zlib"];

pub fn check(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in &metadata.packages {
        if let Some((name, why)) = BANNED.iter().find(|(name, _)| *name == package.name) {
            complaints.push(format!("the crate {name} is banned: {why}"));
        }
        if package.source.is_none() {
            complaints.extend(edges(package));
            complaints.extend(lints(package));
        }
    }
    complaints
}

fn edges(package: &Package) -> Vec<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
        return vec![format!("the crate {} is not in the crate graph", package.name)];
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some() && dependency.name != package.name)
        // Tests of one crate against a real server stand beside the kit and may use that crate.
        .filter(|dependency| package.name != "reseed-tests" || dependency.kind.as_deref() != Some("dev"))
        .filter(|dependency| !allowed.contains(&dependency.name.as_str()))
        .map(|dependency| {
            let kind = dependency.kind.as_deref().map_or(String::new(), |kind| format!(" ({kind})"));
            format!("{} must not depend on {}{kind}", package.name, dependency.name)
        })
        .collect()
}

fn lints(package: &Package) -> Option<String> {
    if MAY_BE_UNSAFE.contains(&package.name.as_str()) {
        return None;
    }
    let text = std::fs::read_to_string(&package.manifest_path).unwrap_or_default();
    let inherits = text.contains("[lints]\nworkspace = true");
    (!inherits).then(|| format!("{} does not take the workspace's lints", package.manifest_path))
}

#[cfg(test)]
mod tests {
    use super::super::Dependency;
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: None,
            manifest_path: String::new(),
            source: None,
            dependencies: dependencies
                .iter()
                .map(|&name| Dependency { name: name.to_owned(), kind: None, path: Some(String::new()) })
                .collect(),
        }
    }

    #[test]
    fn an_arrow_upward_is_found() {
        assert!(edges(&package("reseed-redo", &["reseed-innodb"])).is_empty());
        assert_eq!(
            edges(&package("reseed-innodb", &["reseed-io"])),
            ["reseed-innodb must not depend on reseed-io"]
        );
        assert_eq!(edges(&package("reseed-new", &[])), ["the crate reseed-new is not in the crate graph"]);
    }
}

//! What no compiler checks: who may depend on whom, licences, file sizes, documentation, the tree's manners.
//! All of it is read from `cargo metadata` and from the files that git lists; nothing need be installed.

mod errors;
mod graph;
mod licence;
mod tree;

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace;

/// The part of `cargo metadata` that is looked at.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: String,
    /// `None` for the workspace's own.
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// All checks; every complaint is told, not only the first. `write`: bring the generated documentation up to date.
pub fn run(write: bool) -> Result<()> {
    let text = workspace::stdout(Command::new(workspace::cargo()).current_dir(workspace::root()).args([
        "metadata",
        "--format-version=1",
        "--locked",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata is not as expected")?;
    let mut complaints = Vec::new();
    complaints.extend(graph::check(&metadata));
    complaints.extend(licence::check(&metadata));
    let files = tree::files()?;
    complaints.extend(tree::check(&files));
    complaints.extend(errors::check(&files, write)?);
    if complaints.is_empty() {
        eprintln!(
            "tidy: {} packages and {} files are as they should be",
            metadata.packages.len(),
            files.len()
        );
        return Ok(());
    }
    bail!("tidy has {} complaints:\n  {}", complaints.len(), complaints.join("\n  "))
}

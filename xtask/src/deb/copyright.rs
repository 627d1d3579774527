//! The licences of what the program contains: each library's own text, from its own sources, by `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use walkdir::WalkDir;

use crate::workspace;

const HEADER: &str = "reseed: hot physical backup, restore and replica reseed for MySQL and MariaDB

Copyright: the authors of reseed
Licence:   GPL-2.0-or-later; on Debian systems the text is in /usr/share/common-licenses/GPL-2.

The program contains the libraries below, each under its own licence. Where a licence gives a choice, the text of the one
that is taken is given. The Apache License, version 2.0, is in /usr/share/common-licenses/Apache-2.0.
";

pub fn write(path: &Path) -> Result<()> {
    let text = workspace::stdout(Command::new(workspace::cargo()).current_dir(workspace::root()).args([
        "metadata",
        "--format-version=1",
        "--locked",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not as expected")?;
    let packages = contained(&metadata).context("cargo metadata has no graph of reseed")?;
    let mut by_text: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        let [name, version, licence, manifest] = ["name", "version", "license", "manifest_path"]
            .map(|key| package[key].as_str().unwrap_or_default());
        let label = format!("{name} {version} ({licence})");
        let mut texts = texts(Path::new(manifest), licence)?;
        if texts.is_empty() {
            let authors: Vec<&str> =
                package["authors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if licence.is_empty() {
                bail!("{name} names no licence");
            }
            texts.push(format!(
                "{licence}\nThe package holds no text of its own. Authors: {}",
                authors.join(", ")
            ));
        }
        for text in texts {
            by_text.entry(text).or_default().insert(label.clone());
        }
    }
    let mut whole = HEADER.to_owned();
    for (text, names) in by_text {
        let names: Vec<String> = names.into_iter().collect();
        whole.push_str(&format!("\n{}\n{}\n\n{text}\n", "-".repeat(100), names.join("\n")));
    }
    fs::write(path, whole).with_context(|| format!("cannot write {}", path.display()))
}

/// Every package from elsewhere that is linked into the program.
fn contained(metadata: &Value) -> Option<Vec<&Value>> {
    let packages = metadata["packages"].as_array()?;
    let nodes = metadata["resolve"]["nodes"].as_array()?;
    let by_id = |id: &Value| packages.iter().find(|package| package["id"] == *id);
    let root = packages.iter().find(|package| package["name"] == "reseed")?;
    let mut open = vec![&root["id"]];
    let mut seen: Vec<&Value> = Vec::new();
    while let Some(id) = open.pop() {
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        let node = nodes.iter().find(|node| node["id"] == *id)?;
        for dependency in node["deps"].as_array()? {
            let kinds = dependency["dep_kinds"].as_array()?;
            let linked = |kind: &Value| {
                let target = kind["target"].as_str().unwrap_or_default();
                kind["kind"].is_null()
                    && !["windows", "wasm", "macos", "redox", "wasi"].iter().any(|os| target.contains(os))
            };
            if kinds.iter().any(linked) {
                open.push(&dependency["pkg"]);
            }
        }
    }
    Some(seen.into_iter().filter_map(by_id).filter(|package| !package["source"].is_null()).collect())
}

/// The texts that apply: of a choice the shorter ones, which need no further file.
fn texts(manifest: &Path, licence: &str) -> Result<Vec<String>> {
    let folder = manifest.parent().context("a manifest without a folder")?;
    let mut files: Vec<PathBuf> = Vec::new();
    // Sources in C that a package brings along have texts of their own, further down.
    for entry in WalkDir::new(folder).max_depth(3).sort_by_file_name().into_iter().flatten() {
        let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
        let is_text = ["LICENSE", "LICENCE", "COPYING", "UNLICENSE", "NOTICE"]
            .iter()
            .any(|start| name.starts_with(start));
        if is_text && entry.file_type().is_file() && !name.ends_with(".RS") {
            files.push(entry.into_path());
        }
    }
    let is_apache = |file: &PathBuf| {
        file.file_name().is_some_and(|name| name.to_string_lossy().to_ascii_uppercase().contains("APACHE"))
    };
    let choice = licence.contains(" OR ") || licence.contains('/');
    if choice && files.iter().any(|file| !is_apache(file)) {
        files.retain(|file| !is_apache(file));
    }
    let mut texts = Vec::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let text = lines.join("\n").trim().to_owned();
        texts.push(common(&text).map_or(text, |name| format!("See /usr/share/common-licenses/{name}.")));
    }
    texts.sort();
    texts.dedup();
    Ok(texts)
}

/// Which of the texts that every Debian system has this one is.
fn common(text: &str) -> Option<&'static str> {
    if text.contains("Apache License") && text.contains("TERMS AND CONDITIONS FOR USE") {
        Some("Apache-2.0")
    } else if text.contains("GNU GENERAL PUBLIC LICENSE") && text.contains("Version 2, June 1991") {
        Some("GPL-2")
    } else {
        None
    }
}

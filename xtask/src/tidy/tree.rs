//! The files of the tree: their sizes, and what must not stand in them.

use std::process::Command;

use anyhow::Result;

use crate::workspace;

/// A file that is longer has more than one subject.
const MOST_LINES: usize = 700;

/// A file of the tree with its text.
#[derive(Debug)]
pub struct TreeFile {
    pub path: String,
    pub text: String,
}

/// Every text file that git knows or would take in.
pub fn files() -> Result<Vec<TreeFile>> {
    let root = workspace::root();
    let listed = workspace::stdout(Command::new("git").current_dir(&root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut paths: Vec<&str> = listed.lines().collect();
    paths.sort_unstable();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        // Deleted files are still listed, and fixtures may be binary.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            files.push(TreeFile { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

pub fn check(files: &[TreeFile]) -> Vec<String> {
    let forbidden = forbidden();
    let mut complaints = Vec::new();
    for file in files {
        let lines = file.text.lines().count();
        if file.path.ends_with(".rs") && lines > MOST_LINES {
            complaints.push(format!("{} has {lines} lines; {MOST_LINES} are the most", file.path));
        }
        for (text, what) in &forbidden {
            if file.text.contains(text.as_str()) {
                complaints.push(format!("{} contains {what}: {text}", file.path));
            }
        }
    }
    complaints
}

/// What ties the tree to the machine that it happens to lie on.
fn forbidden() -> Vec<(String, &'static str)> {
    let root = workspace::root();
    let mut found = vec![(format!("{}/shared/", ".."), "a path outside the tree")];
    // A short path, such as that of a checkout right under the root or a temporary folder, is a common word in a text:
    // whether the tree is tidy must not depend on where it was cloned to.
    if root.components().count() > 2
        && let Some(path) = root.to_str()
    {
        found.push((format!("{path}/"), "this tree's own path"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_foreign_paths_are_found() {
        let long = TreeFile { path: "a.rs".into(), text: "\n".repeat(MOST_LINES + 1) };
        let text = format!("see {}/shared/design", "..");
        let pointing = TreeFile { path: "b.md".into(), text };
        let fine = TreeFile { path: "c.rs".into(), text: "fn main() {}\n".into() };
        let complaints = check(&[long, pointing, fine]);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
    }
}

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Environment;
use super::line::{Line, canonical, parse};

/// How deep `!include` may nest; the servers stop at the same depth.
const DEEPEST_INCLUDE: u32 = 10;

/// Which option files to read, as the options that all clients share say it.
#[derive(Debug, Clone, Default)]
pub struct DefaultsChoice {
    /// `--no-defaults`
    pub none: bool,
    /// `--defaults-file`
    pub file: Option<PathBuf>,
    /// `--defaults-extra-file`
    pub extra: Option<PathBuf>,
    /// `--defaults-group-suffix`
    pub group_suffix: Option<String>,
}

/// One `name[=value]` of an option file.
#[derive(Clone, PartialEq, Eq)]
pub struct OptionEntry {
    pub group: String,
    /// With `-` for `_`, without `loose-`.
    pub name: String,
    /// `None` where the name stands alone.
    pub value: Option<String>,
    pub file: PathBuf,
    pub line: usize,
}

impl OptionEntry {
    /// Where it stands, for a message.
    pub fn place(&self) -> String {
        format!("{} in {} line {}", self.name, self.file.display(), self.line)
    }
}

impl std::fmt::Debug for OptionEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secret = self.name.contains("password") || self.name.contains("key");
        let value = if secret && self.value.is_some() { Some("***") } else { self.value.as_deref() };
        write!(f, "[{}] {}={:?} ({}:{})", self.group, self.name, value, self.file.display(), self.line)
    }
}

/// What is wrong with an option or an option file.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error("cannot read the option file {}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{} line {line}: this option stands before any [group]", .file.display())]
    NoGroup { file: PathBuf, line: usize },
    #[error("{} line {line}: the [group] is not closed", .file.display())]
    BadGroup { file: PathBuf, line: usize },
    #[error("{value:?} is no value for {option} ({place})")]
    Value { option: String, value: String, place: String },
    #[error("{} holds a password and is readable by everybody", .file.display())]
    OpenPassword { file: PathBuf },
    #[error("no server socket was found; looked for {}", .looked_for.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoSocket { looked_for: Vec<PathBuf> },
}

/// All entries of all option files, in the order in which they count: a later one wins.
#[derive(Debug, Clone, Default)]
pub struct OptionFiles {
    entries: Vec<OptionEntry>,
    files: Vec<PathBuf>,
    warnings: Vec<String>,
    suffix: Option<String>,
}

impl OptionFiles {
    /// Reads the files that the clients would read.
    ///
    /// # Errors
    /// When a file that was named cannot be read, or any file is malformed. A default file that is missing or not
    /// readable is passed over, as the clients do.
    pub fn read(choice: &DefaultsChoice, environment: &Environment) -> Result<OptionFiles, OptionsError> {
        let mut files = OptionFiles {
            suffix: choice.group_suffix.clone().or_else(|| environment.group_suffix.clone()),
            ..OptionFiles::default()
        };
        if choice.none {
            return Ok(files);
        }
        if let Some(file) = &choice.file {
            files.read_file(file, true, 0)?;
            return Ok(files);
        }
        for file in default_files(environment) {
            files.read_file(&file, false, 0)?;
        }
        if let Some(extra) = &choice.extra {
            files.read_file(extra, true, 0)?;
        }
        if let Some(home) = &environment.home {
            files.read_file(&home.join(".my.cnf"), false, 0)?;
        }
        Ok(files)
    }

    /// The entries of these groups and of the same groups with the suffix.
    pub fn in_groups<'a>(&'a self, groups: &'a [&str]) -> impl Iterator<Item = &'a OptionEntry> {
        self.entries.iter().filter(move |entry| groups.iter().any(|group| self.is_group(&entry.group, group)))
    }

    /// The entry of this name that wins among these groups.
    pub fn last<'a>(&'a self, groups: &'a [&str], name: &str) -> Option<&'a OptionEntry> {
        let name = canonical(name);
        self.in_groups(groups).filter(|entry| entry.name == name).last()
    }

    /// The files that were read, in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What the user should know: files passed over, passwords that everybody can read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn is_group(&self, found: &str, wanted: &str) -> bool {
        found == wanted
            || self
                .suffix
                .as_deref()
                .is_some_and(|suffix| found.strip_prefix(wanted).is_some_and(|rest| rest == suffix))
    }

    fn read_file(&mut self, file: &Path, named: bool, depth: u32) -> Result<(), OptionsError> {
        let failed = |source| OptionsError::Read { file: file.to_owned(), source };
        let metadata = match fs::metadata(file) {
            Ok(metadata) => metadata,
            Err(error) if named => return Err(failed(error)),
            Err(_) => return Ok(()),
        };
        if metadata.is_file() && metadata.mode() & 0o002 != 0 {
            // Whoever may write it could name a server of their own and wait for the password.
            self.warnings.push(format!("{} is writable by everybody and was passed over", file.display()));
            return Ok(());
        }
        let bytes = match fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if named => return Err(failed(error)),
            Err(_) => return Ok(()),
        };
        self.files.push(file.to_owned());
        let before = self.entries.len();
        self.read_text(file, &String::from_utf8_lossy(&bytes), depth)?;
        let open = metadata.is_file() && metadata.mode() & 0o004 != 0;
        let with_password = self.entries.iter().skip(before).any(|e| {
            e.file == file && e.name == "password" && e.value.as_ref().is_some_and(|v| !v.is_empty())
        });
        if open && with_password && named {
            return Err(OptionsError::OpenPassword { file: file.to_owned() });
        }
        if open && with_password {
            self.warnings.push(format!("{} holds a password and is readable by everybody", file.display()));
        }
        Ok(())
    }

    pub(super) fn read_text(&mut self, file: &Path, text: &str, depth: u32) -> Result<(), OptionsError> {
        let mut group: Option<String> = None;
        for (index, raw) in text.split('\n').enumerate() {
            let line = index + 1;
            match parse(raw) {
                Line::Nothing => {}
                Line::Group(name) => group = Some(name),
                Line::BadGroup => return Err(OptionsError::BadGroup { file: file.to_owned(), line }),
                // The clients pass over these in silence.
                Line::UnknownDirective => self.warnings.push(format!(
                    "{} line {line} is neither !include nor !includedir with a path and was passed over",
                    file.display()
                )),
                Line::Include { path, directory } => self.include(Path::new(&path), directory, depth)?,
                Line::Entry { name, value } => {
                    let Some(group) = group.clone() else {
                        return Err(OptionsError::NoGroup { file: file.to_owned(), line });
                    };
                    self.entries.push(OptionEntry { group, name, value, file: file.to_owned(), line });
                }
            }
        }
        Ok(())
    }

    fn include(&mut self, path: &Path, directory: bool, depth: u32) -> Result<(), OptionsError> {
        if depth >= DEEPEST_INCLUDE {
            self.warnings.push(format!("{} was passed over: !include nests too deep", path.display()));
            return Ok(());
        }
        if !directory {
            if !path.exists() {
                self.warnings.push(format!("{} is included and is not there", path.display()));
            }
            return self.read_file(path, false, depth + 1);
        }
        let failed = |source| OptionsError::Read { file: path.to_owned(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|extension| extension == "cnf") {
                found.push(file);
            }
        }
        found.sort();
        for file in found {
            self.read_file(&file, false, depth + 1)?;
        }
        Ok(())
    }
}

/// The files that both families read before `--defaults-extra-file` and `~/.my.cnf`.
fn default_files(environment: &Environment) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/my.cnf"), PathBuf::from("/etc/mysql/my.cnf")];
    files.extend(environment.server_homes.iter().map(|home| home.join("my.cnf")));
    files
}

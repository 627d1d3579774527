//! From the list of a set's files to the list of what is written where. The list is the truth: nothing that the redo
//! says of names is followed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;

use reseed_redo::SpaceId;
use reseed_repository::{FileEntry, FileKind, RelPath, Run};
use reseed_terms::Flavour;

use crate::changes::Changes;
use crate::error::RestoreError;
use crate::layout::{Layout, Place};
use crate::old::Old;
use crate::pages::segments::{Segment, segments};

const DIRECTORY_MODE: u32 = 0o700;

/// A file to be written.
#[derive(Debug)]
pub struct PlannedFile<'s> {
    pub entry: &'s FileEntry,
    pub place: Place,
    /// `None`: no pages, bytes are written as they are.
    pub space: Option<SpaceId>,
    pub segments: Vec<Segment>,
    /// Other bytes than the set's.
    pub content: Option<Vec<u8>>,
}

impl PlannedFile<'_> {
    /// The runs of neighbouring segments.
    pub fn runs(&self, segments: Range<usize>) -> &[Run] {
        let of = self.segments.get(segments).unwrap_or_default();
        let (Some(first), Some(last)) = (of.first(), of.last()) else { return &[] };
        self.entry.runs.get(first.runs.start..last.runs.end).unwrap_or_default()
    }
}

/// A tablespace: usually one file; the system tablespace may have several.
#[derive(Debug)]
pub struct PlannedSpace {
    pub id: SpaceId,
    /// Positions in [`Plan::files`], in page order.
    pub files: Vec<usize>,
}

#[derive(Debug)]
pub struct Plan<'s> {
    /// Relative to the datadir, with their modes, parents first.
    pub directories: Vec<(PathBuf, u32)>,
    pub files: Vec<PlannedFile<'s>>,
    pub spaces: Vec<PlannedSpace>,
    /// Symbolic links in the datadir to files that were placed outside: place in the datadir, and what it points to.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Raw bytes that will be read.
    pub raw: u64,
    pub notes: Vec<String>,
}

/// Tablespaces that were created during the backup, after its last look at the datadir, and that are whole in the
/// redo: entries without a byte, to be made from the redo as the server's own recovery would make them (MariaDB).
pub fn created(files: &[FileEntry], flavour: Flavour, changes: &Changes) -> Vec<FileEntry> {
    if flavour != Flavour::MariaDb {
        return Vec::new();
    }
    let known: HashSet<SpaceId> = files.iter().filter_map(|file| file.space_id).collect();
    let paths: HashSet<&[u8]> = files.iter().map(|file| file.path.as_bytes()).collect();
    let names = Names::new(files, changes);
    let by_name: HashSet<SpaceId> =
        files.iter().filter(|file| file.kind.has_pages()).filter_map(|file| names.space(file)).collect();
    let unknown = changes.spaces().iter().filter(|seen| {
        seen.created
            && seen.is_alive(changes.voids())
            && !known.contains(&seen.space)
            && !by_name.contains(&seen.space)
    });
    unknown
        .filter_map(|seen| {
            let path = RelPath::new(last_two(seen.name.as_deref()?)).ok()?;
            let fits = path.as_bytes().ends_with(b".ibd") && !is_temporary(path.as_bytes());
            (fits && !paths.contains(path.as_bytes())).then(|| FileEntry {
                space_id: Some(seen.space),
                ..FileEntry::new(path, FileKind::Tablespace)
            })
        })
        .collect()
}

/// A table of an ALTER TABLE in progress: sets do not hold it, and the server drops what it knows of it.
pub fn is_temporary(path: &[u8]) -> bool {
    path.windows(5).any(|part| part == b"/#sql")
}

impl<'s> Plan<'s> {
    /// # Errors
    /// When two files of the set want the same place, or a tablespace has parts that do not fit together.
    pub fn new(
        files: &'s [FileEntry],
        created: &'s [FileEntry],
        flavour: Flavour,
        layout: Layout<'_>,
        changes: &Changes,
    ) -> Result<Plan<'s>, RestoreError> {
        let mut plan = Plan::empty();
        let names = Names::new(files, changes);
        let links = LinkFiles::new(files, flavour, layout);
        for entry in files.iter().chain(created) {
            if entry.kind == FileKind::Directory {
                plan.directories.push((entry.path.as_path().to_owned(), entry.mode));
                continue;
            }
            let place = layout.place(&entry.path, entry.outside.as_ref());
            let mut content = None;
            match links.of(entry) {
                LinkFile::None => {}
                LinkFile::Obsolete => continue,
                LinkFile::To(target) => content = Some(target.as_os_str().as_encoded_bytes().to_vec()),
            }
            if let (Place::Outside(target), Some(_)) = (&place, &entry.link) {
                plan.links.push((entry.path.as_path().to_owned(), target.clone()));
            }
            let space = if entry.kind.has_pages() { names.space(entry) } else { None };
            plan.raw += entry.raw_bytes();
            plan.files.push(PlannedFile { entry, place, space, segments: Vec::new(), content });
        }
        plan.add_parents();
        plan.refuse_doubles()?;
        plan.join_spaces()?;
        plan.note_outside();
        if flavour == Flavour::MySql {
            plan.note_directories();
        }
        for entry in created {
            plan.notes
                .push(format!("{} was created when the backup ended: it was made from the redo", entry.path));
        }
        Ok(plan)
    }

    fn empty() -> Plan<'s> {
        Plan {
            directories: Vec::new(),
            files: Vec::new(),
            spaces: Vec::new(),
            links: Vec::new(),
            raw: 0,
            notes: Vec::new(),
        }
    }

    /// Every file with the bytes that it had, as if none had pages.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn as_it_was(files: &'s [FileEntry], layout: Layout<'_>) -> Result<Plan<'s>, RestoreError> {
        let mut plan = Plan::empty();
        for entry in files {
            if entry.kind == FileKind::Directory {
                plan.directories.push((entry.path.as_path().to_owned(), entry.mode));
                continue;
            }
            let place = layout.place(&entry.path, entry.outside.as_ref());
            plan.raw += entry.raw_bytes();
            plan.files.push(PlannedFile { entry, place, space: None, segments: Vec::new(), content: None });
        }
        plan.add_parents();
        plan.refuse_doubles()?;
        plan.join_spaces()?;
        Ok(plan)
    }

    /// Directories that the set does not list are made too, with a mode that is safe.
    fn add_parents(&mut self) {
        let mut known: HashSet<PathBuf> = self.directories.iter().map(|(path, _)| path.clone()).collect();
        for file in &self.files {
            let Place::Inside(path) = &file.place else { continue };
            for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
                if known.insert(above.to_owned()) {
                    self.directories.push((above.to_owned(), DIRECTORY_MODE));
                }
            }
        }
        self.directories.sort();
    }

    fn refuse_doubles(&self) -> Result<(), RestoreError> {
        let mut places = HashSet::new();
        match self.files.iter().find(|file| !places.insert(&file.place)) {
            Some(file) => Err(RestoreError::SetInconsistent {
                path: file.entry.path.to_string(),
                reason: "two files of the set have this place".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// By file: which file of the old datadir becomes it. Numbers of tablespaces go before paths.
    pub fn old_files(&self, old: &Old) -> Vec<Option<PathBuf>> {
        let inside = |file: &&PlannedFile<'_>| matches!(file.place, Place::Inside(_));
        let first = |file: &PlannedFile<'_>| file.space.filter(|_| file.entry.first_page == 0);
        let by_space = self.files.iter().map(|file| old.take_space(first(file).filter(|_| inside(&file))));
        let by_space: Vec<Option<PathBuf>> = by_space.collect();
        let files = self.files.iter().zip(by_space);
        let chosen = files.map(|(file, found)| match &file.place {
            Place::Inside(path) => found.or_else(|| old.take_path(path)),
            Place::Outside(_) => None,
        });
        chosen.collect()
    }

    /// Puts the files of each tablespace together and cuts all files into segments.
    fn join_spaces(&mut self) -> Result<(), RestoreError> {
        let mut by_id: HashMap<SpaceId, Vec<usize>> = HashMap::new();
        for (at, file) in self.files.iter_mut().enumerate() {
            match file.space {
                Some(space) => by_id.entry(space).or_default().push(at),
                None => file.segments = segments(file.entry, None)?,
            }
        }
        let mut spaces: Vec<PlannedSpace> =
            by_id.into_iter().map(|(id, files)| PlannedSpace { id, files }).collect();
        spaces.sort_unstable_by_key(|space| space.id);
        for space in &mut spaces {
            space.files.sort_by_key(|at| self.files.get(*at).map_or(0, |file| file.entry.first_page));
            let starts: Vec<u32> = space
                .files
                .iter()
                .filter_map(|at| self.files.get(*at).map(|file| file.entry.first_page))
                .collect();
            for (part, at) in space.files.iter().enumerate() {
                let Some(file) = self.files.get_mut(*at) else { continue };
                let fits = if part == 0 {
                    file.entry.first_page == 0
                } else {
                    starts.get(part - 1) < starts.get(part)
                };
                if !fits {
                    return Err(RestoreError::SetInconsistent {
                        path: file.entry.path.to_string(),
                        reason: format!("it does not fit to the other files of tablespace {}", space.id),
                    });
                }
                let end = starts.get(part + 1).map_or(1 << 32, |next| u64::from(*next));
                file.segments = segments(file.entry, Some(end))?;
            }
        }
        self.spaces = spaces;
        Ok(())
    }

    /// MySQL looks for tablespaces in directories that it was told only.
    fn note_directories(&mut self) {
        let tablespaces = self.files.iter().filter(|file| file.entry.kind == FileKind::Tablespace);
        let outside = tablespaces.filter_map(|file| match &file.place {
            Place::Outside(path) => path.parent().map(|parent| parent.display().to_string()),
            Place::Inside(_) => None,
        });
        let directories: BTreeSet<String> = outside.collect();
        if !directories.is_empty() {
            let list: Vec<String> = directories.into_iter().collect();
            self.notes.push(format!(
                "the server finds the tablespaces outside the datadir only when innodb_directories names their \
                 directories, or those above: {}",
                list.join(";")
            ));
        }
    }

    fn note_outside(&mut self) {
        let inside: Vec<String> = self
            .files
            .iter()
            .filter(|file| matches!(file.place, Place::Inside(_)))
            .filter_map(|file| Some(format!("{} (was {})", file.entry.path, file.entry.outside.as_ref()?)))
            .collect();
        if let Some(first) = inside.first() {
            let more = match inside.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.notes.push(format!(
                "files that lay outside the datadir were put into it: {first}{more}; settings that name their old \
                 places (innodb_data_home_dir, innodb_data_file_path, innodb_undo_directory) must not be used with it"
            ));
        }
    }
}

/// Which tablespace a file is when its first page does not say, because it was never flushed: by the last name that
/// the redo gave to a tablespace of which the set has no other file.
struct Names(HashMap<Vec<u8>, SpaceId>);

impl Names {
    fn new(files: &[FileEntry], changes: &Changes) -> Names {
        let known: HashSet<SpaceId> = files.iter().filter_map(|file| file.space_id).collect();
        let unknown = changes.spaces().iter().filter(|seen| !known.contains(&seen.space));
        let alive = unknown.filter(|seen| seen.is_alive(changes.voids()));
        Names(alive.filter_map(|seen| Some((last_two(seen.name.as_deref()?), seen.space))).collect())
    }

    fn space(&self, entry: &FileEntry) -> Option<SpaceId> {
        entry.space_id.or_else(|| self.0.get(&last_two(entry.path.as_bytes())).copied())
    }
}

/// `db/t.ibd` of whatever path: what stays the same when a file lies elsewhere.
fn last_two(path: &[u8]) -> Vec<u8> {
    let mut parts = path.rsplitn(3, |&b| b == b'/');
    let (file, dir) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    [dir, b"/", file].concat()
}

/// MariaDB's `.isl` files: each holds the path of a tablespace outside the datadir.
struct LinkFiles {
    /// By the link file's path: where its tablespace goes.
    targets: HashMap<Vec<u8>, Place>,
}

enum LinkFile {
    /// The file is no such link.
    None,
    /// The tablespace lies where it is found without.
    Obsolete,
    To(PathBuf),
}

impl LinkFiles {
    fn new(files: &[FileEntry], flavour: Flavour, layout: Layout<'_>) -> LinkFiles {
        let outside = files.iter().filter(|file| flavour == Flavour::MariaDb && file.outside.is_some());
        let targets = outside.filter_map(|file| {
            let stem = file.path.as_bytes().strip_suffix(b".ibd")?;
            Some(([stem, b".isl"].concat(), layout.place(&file.path, file.outside.as_ref())))
        });
        LinkFiles { targets: targets.collect() }
    }

    fn of(&self, entry: &FileEntry) -> LinkFile {
        match self.targets.get(entry.path.as_bytes()) {
            None => LinkFile::None,
            Some(Place::Inside(_)) => LinkFile::Obsolete,
            Some(Place::Outside(target)) => LinkFile::To(target.clone()),
        }
    }
}

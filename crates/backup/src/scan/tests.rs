//! Looks at made datadirs.

use std::os::unix::fs::symlink;

use super::*;
use crate::layout::Directories;

struct Datadir {
    dir: tempfile::TempDir,
}

impl Datadir {
    fn new() -> Datadir {
        let datadir = Datadir { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(datadir.root()).unwrap();
        datadir.file("data/ibdata1", &head(0));
        datadir
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn layout(&self, flavour: Flavour) -> Layout {
        let root = self.root();
        Layout::new(
            flavour,
            &Directories {
                datadir: &root,
                data_home: &root,
                data_file_path: "ibdata1:12M",
                undo_dir: &root,
                log_home: &root,
                aria_log_dir: &root,
            },
        )
    }

    fn scan(&self, flavour: Flavour) -> Scan {
        Scan::take(&self.layout(flavour), None).unwrap()
    }
}

fn head(space: u32) -> Vec<u8> {
    let mut page = vec![0; 512];
    page[34..38].copy_from_slice(&space.to_be_bytes());
    page[38..42].copy_from_slice(&space.to_be_bytes());
    page[54..58].copy_from_slice(&0x15u32.to_be_bytes());
    page
}

fn paths(scan: &Scan) -> Vec<&str> {
    let mut paths: Vec<&str> = scan.files.iter().map(|file| file.path.to_str().unwrap()).collect();
    paths.sort_unstable();
    paths
}

fn find<'s>(scan: &'s Scan, path: &str) -> &'s Found {
    scan.files.iter().find(|file| file.path == Path::new(path)).unwrap()
}

#[test]
fn a_mariadb_datadir() {
    let data = Datadir::new();
    for name in ["undo001", "ib_logfile0", "ibtmp1", "ib_buffer_pool", "binlog.000001", "db/t.ibd", "db/core"]
    {
        data.file(&format!("data/{name}"), &head(7));
    }
    for name in
        ["aria_log_control", "aria_log.00000001", "db/db.opt", "db/t.frm", "db/m.MYD", "db/#sql-1.frm"]
    {
        data.file(&format!("data/{name}"), b"x");
    }
    fs::create_dir(data.root().join("empty")).unwrap();
    fs::create_dir(data.root().join("#rocksdb")).unwrap();
    let scan = data.scan(Flavour::MariaDb);
    let expected = [
        "aria_log.00000001",
        "aria_log_control",
        "db/db.opt",
        "db/m.MYD",
        "db/t.frm",
        "db/t.ibd",
        "ibdata1",
        "undo001",
    ];
    assert_eq!(paths(&scan), expected);
    assert_eq!(scan.unknown, [Path::new("db/core")]);
    let directories: Vec<_> = scan.directories.iter().map(|dir| dir.path.to_str().unwrap()).collect();
    assert_eq!(directories, ["db", "empty"]);
    assert_eq!(find(&scan, "db/t.ibd").head, Some(Head { space: SpaceId(7), flags: 0x15 }));
    assert_eq!(find(&scan, "ibdata1").kind, FoundKind::System { index: 0 });
    assert_eq!(find(&scan, "undo001").kind, FoundKind::Undo);
}

#[test]
fn a_mysql_datadir_with_a_general_tablespace_elsewhere() {
    let data = Datadir::new();
    for name in ["mysql.ibd", "undo_001", "extra.ibu", "ibtmp1", "#ib_16384_0.dblwr", "db/t.ibd"] {
        data.file(&format!("data/{name}"), &head(9));
    }
    data.file("data/db/t_12.sdi", b"x");
    data.file("data/auto.cnf", b"x");
    let general = data.file("elsewhere/g.ibd", &head(11));
    let table = data.file("elsewhere/db/far.ibd", &head(12));
    let mut layout = data.layout(Flavour::MySql);
    layout.named_spaces = vec![data.root().join("db/t.ibd"), general.clone(), table.clone()];
    let scan = Scan::take(&layout, None).unwrap();
    assert_eq!(
        paths(&scan),
        ["db/far.ibd", "db/t.ibd", "db/t_12.sdi", "extra.ibu", "g.ibd", "ibdata1", "mysql.ibd", "undo_001"]
    );
    assert_eq!(find(&scan, "g.ibd").outside, Some(general));
    assert_eq!(find(&scan, "db/far.ibd").outside, Some(table));
    assert_eq!(find(&scan, "db/t.ibd").outside, None);
}

#[test]
fn links_lead_to_files_elsewhere() {
    let data = Datadir::new();
    let far = data.file("far/db/t.ibd", &head(7));
    data.file("data/db/t.isl", format!("{}\n", far.display()).as_bytes());
    data.file("data/db/lost.isl", b"/no/such/lost.ibd");
    let rows = data.file("far/m.MYD", b"rows");
    symlink(&rows, data.root().join("db/m.MYD")).unwrap();
    let scan = data.scan(Flavour::MariaDb);
    assert_eq!(paths(&scan), ["db/lost.isl", "db/m.MYD", "db/t.ibd", "db/t.isl", "ibdata1"]);
    let table = find(&scan, "db/t.ibd");
    assert_eq!((table.outside.as_ref(), table.through_link), (Some(&far), false));
    let rows_found = find(&scan, "db/m.MYD");
    assert_eq!(rows_found.outside.as_ref(), Some(&fs::canonicalize(&rows).unwrap()));
    assert!(rows_found.through_link);
    assert_eq!(scan.broken_links, [Path::new("db/lost.isl")]);
}

#[test]
fn a_first_page_that_is_not_written_has_no_head() {
    let data = Datadir::new();
    data.file("data/db/new.ibd", &[0; 512]);
    data.file("data/db/tiny.ibd", b"");
    let scan = data.scan(Flavour::MariaDb);
    assert_eq!(find(&scan, "db/new.ibd").head, None);
    assert_eq!(find(&scan, "db/tiny.ibd").head, None);
}

#[test]
fn a_head_known_from_before_is_taken_over_for_the_same_file_only() {
    let data = Datadir::new();
    let table = data.file("data/db/t.ibd", &head(7));
    let layout = data.layout(Flavour::MariaDb);
    let first = Scan::take(&layout, None).unwrap();
    let other = data.file("other", &head(8));
    fs::rename(other, &table).unwrap();
    let second = Scan::take(&layout, Some(&first)).unwrap();
    assert_eq!(find(&second, "db/t.ibd").head.unwrap().space, SpaceId(8));
}

#[test]
fn a_directory_that_may_not_be_read_names_the_user() {
    let missing = Datadir::new();
    fs::remove_file(missing.root().join("ibdata1")).unwrap();
    let error = Scan::take(&missing.layout(Flavour::MariaDb), None).unwrap_err();
    assert!(error.to_string().contains("ibdata1"), "{error}");
}

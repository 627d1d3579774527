//! Packages to a folder, and the wrapper scripts that run its programs through its own loader. The machine's
//! libraries are never mixed in.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use walkdir::WalkDir;

use super::Family;
use crate::workspace;

pub fn unpack(debs: &[PathBuf], root: &Path) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    for deb in debs {
        workspace::output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(root))?;
    }
    Ok(())
}

/// How a wrapped program wants its folders told.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Server,
    Client,
    Plain,
    /// An sshd that takes itself for an ordinary user's, whose account is that of a file: so it needs neither an
    /// account nor a folder of its own on the machine, also when root runs it.
    Sshd,
}

const MARIADB: &[(&str, &str, Kind)] = &[
    ("mariadbd", "usr/sbin/mariadbd", Kind::Server),
    ("mariadb", "usr/bin/mariadb", Kind::Client),
    ("mariadb-admin", "usr/bin/mariadb-admin", Kind::Client),
    ("mariadb-dump", "usr/bin/mariadb-dump", Kind::Client),
    ("mariadb-binlog", "usr/bin/mariadb-binlog", Kind::Client),
    ("mariadb-check", "usr/bin/mariadb-check", Kind::Client),
    ("mariadb-backup", "usr/bin/mariadb-backup", Kind::Plain),
    ("mbstream", "usr/bin/mbstream", Kind::Plain),
    ("innochecksum", "usr/bin/innochecksum", Kind::Plain),
    ("aria_chk", "usr/bin/aria_chk", Kind::Plain),
];

const MYSQL: &[(&str, &str, Kind)] = &[
    ("mysqld", "usr/sbin/mysqld", Kind::Server),
    ("mysql", "usr/bin/mysql", Kind::Client),
    ("mysqladmin", "usr/bin/mysqladmin", Kind::Client),
    ("mysqldump", "usr/bin/mysqldump", Kind::Client),
    ("mysqlbinlog", "usr/bin/mysqlbinlog", Kind::Client),
    ("innochecksum", "usr/bin/innochecksum", Kind::Plain),
    ("ibd2sdi", "usr/bin/ibd2sdi", Kind::Plain),
];

const OPENSSH: &[(&str, &str, Kind)] = &[
    ("sshd", "usr/sbin/sshd", Kind::Sshd),
    ("ssh", "usr/bin/ssh", Kind::Plain),
    ("ssh-keygen", "usr/bin/ssh-keygen", Kind::Plain),
];

/// Without these a server is of no use to the tests; the other programs are welcome where a package has them.
const REQUIRED: &[&str] = &[
    "mariadbd",
    "mariadb",
    "mariadb-admin",
    "mariadb-backup",
    "mysqld",
    "mysql",
    "mysqladmin",
    "sshd",
    "ssh",
];

/// What a program sees that is given this time.
pub const FAKED: &str = "2001-02-03";

/// The library, under one name on every kind of machine.
const FAKETIME: &str = "libfaketime.so";

pub fn write_wrappers(family: Family, home: &Path) -> Result<()> {
    let root = home.join("root");
    if family == Family::FakeTime {
        return link_faketime(&root, home);
    }
    let bin = home.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    let loader = find_loader(&root)?;
    let libraries = library_dirs(&root);
    let shares: &[&str] = match family {
        Family::MariaDb | Family::MySql => &["usr/share/mysql", "usr/share/mariadb"],
        Family::OpenSsh | Family::FakeTime => &[],
    };
    let share = shares.iter().find(|dir| root.join(dir).join("charsets/Index.xml").exists());
    if share.is_none() && !shares.is_empty() {
        bail!("the packages of {} have no character sets at {}", home.display(), shares.join(" or "));
    }
    let share = share.copied().unwrap_or_default();
    let programs = match family {
        Family::MariaDb => MARIADB,
        Family::MySql => MYSQL,
        Family::OpenSsh => OPENSSH,
        Family::FakeTime => &[],
    };
    for (name, program, kind) in programs {
        let Some(program) = find_program(&root, program) else {
            if REQUIRED.contains(name) {
                bail!("the packages of {} have no {program}", home.display());
            }
            continue;
        };
        let text = wrapper(&root, &loader, &libraries, share, &program, *kind);
        write_script(&bin.join(name), &text)?;
    }
    if family == Family::MariaDb {
        write_script(&bin.join("mariadb-install-db"), &INSTALL_DB.replace("SHARE", share))?;
    }
    Ok(())
}

/// The one for programs with threads.
fn link_faketime(root: &Path, home: &Path) -> Result<()> {
    let mut files = WalkDir::new(root).into_iter().flatten();
    let library = files
        .find(|file| file.file_name() == "libfaketimeMT.so.1")
        .and_then(|file| relative(home, file.path()))
        .with_context(|| format!("no libfaketimeMT.so.1 below {}", root.display()))?;
    let link = home.join(FAKETIME);
    symlink(library, &link).with_context(|| format!("cannot link {}", link.display()))
}

/// A program of this machine that is shown another time.
pub fn with_time(home: &Path, program: &str, time: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", home.join(FAKETIME)).env("FAKETIME", time).env("TZ", "UTC");
    command
}

/// Paths in the scripts are relative to the script, so that the folder can be moved or copied.
fn wrapper(
    root: &Path,
    loader: &str,
    libraries: &[String],
    share: &str,
    program: &str,
    kind: Kind,
) -> String {
    let path = libraries.iter().map(|dir| format!("$root/{dir}")).collect::<Vec<_>>().join(":");
    // Options of ours stand last: a --defaults-file must stay first.
    let more = match kind {
        Kind::Server => format!(
            " --basedir=\"$root/usr\" --lc-messages-dir=\"$root/{share}\" \
             --character-sets-dir=\"$root/{share}/charsets\" --plugin-dir=\"$root/usr/lib/mysql/plugin\""
        ),
        Kind::Client => format!(" --character-sets-dir=\"$root/{share}/charsets\""),
        Kind::Plain | Kind::Sshd => String::new(),
    };
    let preload = match kind {
        Kind::Sshd => {
            let found = |name: &str| {
                let dir = libraries.iter().find(|dir| root.join(dir).join(name).exists());
                dir.map(|dir| format!("$root/{dir}/{name}"))
            };
            let wrappers = ["libnss_wrapper.so", "libuid_wrapper.so"].map(found);
            let wrappers: Vec<String> = wrappers.into_iter().flatten().collect();
            format!("--preload \"{}\" ", wrappers.join(" "))
        }
        Kind::Server | Kind::Client | Kind::Plain => String::new(),
    };
    // The package's default folder is made by its maintainer script, which never runs here.
    let more = if program.ends_with("mysqld") { format!("{more} --secure-file-priv=") } else { more };
    format!(
        "#!/bin/sh\nset -eu\nhome=$(cd \"$(dirname \"$0\")/..\" && pwd -P)\nroot=$home/root\n\
         exec \"$root/{loader}\" {preload}--library-path \"{path}\" \"$root/{program}\" \"$@\"{more}\n"
    )
}

/// What mariadb-install-db does, less its helpers, which would need the machine's libraries: the system tables'
/// SQL is fed to a bootstrapping server. Arguments go to the server; --datadir=DIR is needed.
const INSTALL_DB: &str = r#"#!/bin/sh
set -eu
bin=$(cd "$(dirname "$0")" && pwd -P)
home=$(dirname "$bin")
root=$home/root
share=$root/SHARE
datadir=
for argument in "$@"; do
    case $argument in --datadir=*) datadir=${argument#--datadir=} ;; esac
done
[ -n "$datadir" ] || { echo "mariadb-install-db: --datadir=DIR is missing" >&2; exit 2; }
mkdir -p "$datadir/mysql"
chmod 700 "$datadir"
first=--no-defaults
case ${1:-} in --defaults-file=*|--no-defaults) first=$1; shift ;; esac
sql() {
    # A bootstrapping server takes one statement a line.
    echo "CREATE DATABASE IF NOT EXISTS mysql;"
    echo "USE mysql;"
    echo "SET @auth_root_socket=NULL;"
    echo "SET @skip_auth_anonymous=1;"
    for prefix in mariadb mysql; do
        for file in system_tables performance_tables system_tables_data; do
            if [ -f "$share/${prefix}_$file.sql" ]; then cat "$share/${prefix}_$file.sql"; fi
        done
    done
    if [ -f "$share/maria_add_gis_sp_bootstrap.sql" ]; then cat "$share/maria_add_gis_sp_bootstrap.sql"; fi
    for prefix in mariadb mysql; do
        if [ -f "$share/${prefix}_sys_schema.sql" ]; then cat "$share/${prefix}_sys_schema.sql"; fi
    done
}
sql | "$bin/mariadbd" "$first" --bootstrap "$@" --log-warnings=0 --enforce-storage-engine= \
    --max-allowed-packet=8M --net-buffer-length=16K
"#;

fn write_script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

/// Packages differ in sbin or bin, and old ones link the new name to the old: the first that is a program counts.
fn find_program(root: &Path, program: &str) -> Option<String> {
    let name = Path::new(program).file_name()?.to_str()?.to_owned();
    [program.to_owned(), format!("usr/sbin/{name}"), format!("usr/bin/{name}")].into_iter().find(
        |candidate| {
            // A link may be absolute: it then points into the machine, not into this folder.
            fs::symlink_metadata(root.join(candidate)).is_ok_and(|meta| !meta.is_dir())
                && root.join(candidate).exists()
        },
    )
}

fn find_loader(root: &Path) -> Result<String> {
    for dir in ["lib64", "usr/lib64", "lib", "usr/lib"] {
        for entry in WalkDir::new(root.join(dir)).sort_by_file_name().into_iter().flatten() {
            let name = entry.file_name().to_string_lossy();
            if name.starts_with("ld-linux") && name.contains(".so.") && entry.path().exists() {
                return relative(root, entry.path()).context("the loader lies outside its root");
            }
        }
    }
    bail!("no dynamic loader below {}", root.display())
}

/// Every folder with shared libraries, except plugins, which the servers open by path.
fn library_dirs(root: &Path) -> Vec<String> {
    let mut dirs: Vec<String> = Vec::new();
    for top in ["lib", "usr/lib"] {
        for entry in WalkDir::new(root.join(top)).max_depth(4).sort_by_file_name().into_iter().flatten() {
            let name = entry.file_name().to_string_lossy();
            let Some(dir) = entry.path().parent().and_then(|dir| relative(root, dir)) else { continue };
            let skipped = ["/plugin", "gconv", "ossl-modules", "engines", "/perl", "security"];
            if name.contains(".so")
                && !entry.file_type().is_dir()
                && !skipped.iter().any(|part| dir.contains(part))
                && !dirs.contains(&dir)
            {
                dirs.push(dir);
            }
        }
    }
    dirs
}

fn relative(root: &Path, path: &Path) -> Option<String> {
    path.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}

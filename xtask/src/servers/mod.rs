//! Real servers for the tests: fetched by Debian package name, unpacked beside the build, run through their own
//! loader. Nothing is installed on the machine, nothing needs root, and apt checks every signature.

mod apt;
mod mirror;
mod prove;
mod unpack;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::apt::PrivateApt;
use self::mirror::Mirror;
use crate::workspace;

/// Which tools a server comes with, and how a datadir of it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    MariaDb,
    MySql,
    /// No database, but a server that tests talk to all the same.
    OpenSsh,
    /// No server: a library that shows another time to the program that loads it.
    FakeTime,
}

/// One server that the tests run against.
#[derive(Debug)]
pub struct Recipe {
    pub name: &'static str,
    pub family: Family,
    pub suite: &'static str,
    /// Also read the suite's security updates, where the mirror still has them.
    pub security: bool,
    /// Fetched with all that they depend on.
    pub packages: &'static [&'static str],
    /// Fetched alone: wanted for their plugins, not for the service that they install.
    pub alone: &'static [&'static str],
    /// What `SELECT VERSION()` must begin with, or what else it answers when it is tried.
    pub version: &'static str,
    /// An old suite leaves the mirrors one day: then this server is skipped with a loud line.
    pub may_vanish: bool,
}

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "mariadb-10.5",
        family: Family::MariaDb,
        suite: "bullseye",
        security: true,
        packages: &["mariadb-server-core-10.5", "mariadb-client-core-10.5", "mariadb-backup"],
        alone: &["mariadb-server-10.5", "mariadb-client-10.5"],
        version: "10.5.",
        may_vanish: true,
    },
    Recipe {
        name: "mariadb-10.11",
        family: Family::MariaDb,
        suite: "bookworm",
        security: true,
        packages: &["mariadb-server-core", "mariadb-client-core", "mariadb-backup"],
        alone: &["mariadb-server", "mariadb-client"],
        version: "10.11.",
        may_vanish: false,
    },
    Recipe {
        name: "mariadb-11.8",
        family: Family::MariaDb,
        suite: "trixie",
        security: true,
        packages: &["mariadb-server-core", "mariadb-client-core", "mariadb-backup"],
        alone: &["mariadb-server", "mariadb-client"],
        version: "11.8.",
        may_vanish: false,
    },
    Recipe {
        name: "mysql-9.7",
        family: Family::MySql,
        suite: "sid",
        security: false,
        packages: &["mysql-server-core", "mysql-client-core"],
        alone: &[],
        version: "9.7.",
        may_vanish: false,
    },
    Recipe {
        name: "openssh",
        family: Family::OpenSsh,
        // The last suite whose sshd is one program; later ones run helpers that they find by absolute path.
        suite: "bookworm",
        security: true,
        packages: &[
            "libaudit1",
            "libcom-err2",
            "libcrypt1",
            "libedit2",
            "libfido2-1",
            "libgssapi-krb5-2",
            "libnss-wrapper",
            "libpam0g",
            "libselinux1",
            "libssl3",
            "libsystemd0",
            "libuid-wrapper",
            "libwrap0",
            "zlib1g",
        ],
        alone: &["openssh-client", "openssh-server"],
        version: "OpenSSH_9.",
        may_vanish: false,
    },
    Recipe {
        name: "libfaketime",
        family: Family::FakeTime,
        // Loaded into the program under test, so that it has to go with this machine's C library: not a newer suite's.
        suite: "bookworm",
        security: true,
        packages: &[],
        alone: &["libfaketime"],
        version: unpack::FAKED,
        may_vanish: false,
    },
];

/// Raised when the layout of target/servers/NAME changes: older ones are then made anew.
const LAYOUT: u32 = 1;

/// Fetches the named servers (all by default) and returns those that are ready.
pub fn fetch(names: &[String]) -> Result<Vec<&'static str>> {
    let mut wanted = Vec::new();
    for name in names {
        let Some(recipe) = RECIPES.iter().find(|recipe| recipe.name == name) else {
            let known: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
            bail!("no server is called {name}; there are {}", known.join(", "));
        };
        wanted.push(recipe);
    }
    if wanted.is_empty() {
        wanted = RECIPES.iter().collect();
    }
    let servers = workspace::root().join("target").join("servers");
    fs::create_dir_all(&servers).with_context(|| format!("cannot create {}", servers.display()))?;
    let mut ready = Vec::new();
    for recipe in wanted {
        if fetch_one(recipe, &servers)? {
            ready.push(recipe.name);
        }
    }
    Ok(ready)
}

fn fetch_one(recipe: &Recipe, servers: &Path) -> Result<bool> {
    let home = servers.join(recipe.name);
    if is_ready(&home) {
        return Ok(true);
    }
    // Test binaries run at once and may all find the server missing.
    let lock_path = servers.join(format!(".{}.lock", recipe.name));
    let lock =
        fs::File::create(&lock_path).with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    if is_ready(&home) {
        return Ok(true);
    }
    eprintln!("fetching {} from suite {}", recipe.name, recipe.suite);
    let mirror = mirror::find()?;
    let (apt, debs) = match download(recipe, servers, &mirror) {
        Ok(downloaded) => downloaded,
        Err(error) if recipe.may_vanish && apt::is_gone(&error) => {
            eprintln!(
                "*** SKIPPED: {} is not tested: the mirror no longer has its suite {} ***\n{error:#}",
                recipe.name, recipe.suite
            );
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
    }
    let root = home.join("root");
    unpack::unpack(&debs, &root)?;
    unpack::write_wrappers(recipe.family, &home)?;
    let version = prove::run_once(recipe, &home)?;
    write_marker(&home, &version, &debs)?;
    apt.forget_downloads()?;
    eprintln!("{} is ready: it says {version}", recipe.name);
    Ok(true)
}

/// Packages of bookworm as folders below `root`: some with all that they depend on, others alone. A name with `:arm64` is
/// that of another machine's package.
pub fn unpack_packages(
    root: &Path,
    packages: &'static [&'static str],
    alone: &'static [&'static str],
) -> Result<()> {
    let tools = Recipe {
        name: "tools",
        family: Family::MariaDb,
        suite: "bookworm",
        security: true,
        packages,
        alone,
        version: "",
        may_vanish: false,
    };
    // Not among the servers, whose state this must not touch.
    let home = workspace::root().join("target/deb/apt");
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    let (apt, debs) = download(&tools, &home, &mirror::find()?)?;
    unpack::unpack(&debs, root)?;
    apt.forget_downloads()
}

/// The machine's own mirror of Debian, and the keys that it trusts.
pub fn archive() -> Result<(String, PathBuf)> {
    let mirror = mirror::find()?;
    Ok((mirror.archive, mirror.keyring))
}

/// With the suite's security updates first; where the mirror lacks them or a part of them, the suite as released.
fn download(recipe: &Recipe, servers: &Path, mirror: &Mirror) -> Result<(PrivateApt, Vec<PathBuf>)> {
    let attempt = |security: Option<&str>| {
        let apt = PrivateApt::new(servers, recipe, mirror, security)?;
        apt.update()?;
        let debs = apt.download(recipe)?;
        Ok((apt, debs))
    };
    if let (true, Some(security)) = (recipe.security, &mirror.security) {
        match attempt(Some(security)) {
            Ok(downloaded) => return Ok(downloaded),
            Err(error) => eprintln!("not with security updates, so without them: {error:#}"),
        }
    }
    attempt(None)
}

fn marker(home: &Path) -> PathBuf {
    home.join("READY")
}

fn is_ready(home: &Path) -> bool {
    fs::read_to_string(marker(home))
        .is_ok_and(|text| text.lines().next() == Some(format!("layout {LAYOUT}").as_str()))
}

fn write_marker(home: &Path, version: &str, debs: &[PathBuf]) -> Result<()> {
    let mut text = format!("layout {LAYOUT}\nversion {version}\n");
    for deb in debs {
        if let Some(name) = deb.file_name() {
            text.push_str(&format!("{}\n", name.to_string_lossy()));
        }
    }
    let unfinished = home.join("READY.new");
    fs::write(&unfinished, text).with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, marker(home)).context("cannot publish the marker")
}

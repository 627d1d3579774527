//! apt with a state of its own: its lists, its cache and an empty dpkg status, so that the machine's packages
//! neither change nor count. Signatures are apt's business and stay so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Recipe;
use super::mirror::{self, Mirror};
use crate::workspace;

const TRIES: usize = 3;

/// Dependencies of the maintainer scripts and of tools that the wrappers do not use.
const NOT_NEEDED: &[&str] = &[
    "adduser",
    "debconf",
    "debianutils",
    "dpkg",
    "gawk",
    "libconfig-inifiles-perl",
    "libdbi-perl",
    "libperl",
    "lsof",
    "perl",
    "procps",
    "psmisc",
    "tar",
];

/// One suite's private apt.
#[derive(Debug)]
pub struct PrivateApt {
    dir: PathBuf,
    suite: &'static str,
    /// Another machine's, where packages of that are wanted too.
    foreign: Option<&'static str>,
}

impl PrivateApt {
    pub fn new(servers: &Path, recipe: &Recipe, mirror: &Mirror, security: Option<&str>) -> Result<Self> {
        let foreign = recipe.alone.iter().find_map(|name| name.split_once(':').map(|(_, machine)| machine));
        let apt = Self { dir: servers.join(format!(".apt-{}", recipe.suite)), suite: recipe.suite, foreign };
        apt.lay_out()?;
        let keyring = apt.keyring_for(servers, recipe, mirror)?;
        let signed = keyring.display();
        let mut list = format!("deb [signed-by={signed}] {} {} main\n", mirror.archive, recipe.suite);
        if let Some(security) = security {
            list.push_str(&format!("deb [signed-by={signed}] {security} {}-security main\n", recipe.suite));
        }
        apt.write_sources(&list)?;
        Ok(apt)
    }

    fn lay_out(&self) -> Result<()> {
        for sub in ["lists/partial", "cache/archives/partial", "debs"] {
            let dir = self.dir.join(sub);
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        fs::write(self.dir.join("status"), "").context("cannot write the empty dpkg status")
    }

    fn write_sources(&self, list: &str) -> Result<()> {
        fs::write(self.dir.join("sources.list"), list).context("cannot write the private sources.list")
    }

    /// The machine's keyring, or, where it is too old to know the suite, the newest one that the machine's own
    /// suite (which it does trust) has.
    fn keyring_for(&self, servers: &Path, recipe: &Recipe, mirror: &Mirror) -> Result<PathBuf> {
        let newer = servers.join(".keyring").join("root").join(mirror::KEYRING.trim_start_matches('/'));
        if newer.exists() {
            return Ok(newer);
        }
        let signed = mirror.keyring.display();
        self.write_sources(&format!("deb [signed-by={signed}] {} {} main\n", mirror.archive, recipe.suite))?;
        let Err(error) = self.update() else { return Ok(mirror.keyring.clone()) };
        let text = format!("{error:#}");
        if !text.contains("NO_PUBKEY") && !text.contains("EXPKEYSIG") {
            // Not a matter of keys: the caller's own update says what it is.
            return Ok(mirror.keyring.clone());
        }
        eprintln!("the machine's archive keyring does not know {}: fetching a newer one", recipe.suite);
        let own = Self { dir: servers.join(".keyring"), suite: recipe.suite, foreign: None };
        own.lay_out()?;
        own.write_sources(&format!(
            "deb [signed-by={signed}] {} {} main\n",
            mirror.archive, mirror.own_suite
        ))?;
        own.update()?;
        let debs = own.fetch(&BTreeSet::from(["debian-archive-keyring".to_owned()]))?;
        super::unpack::unpack(&debs, &servers.join(".keyring/root"))?;
        if !newer.exists() {
            bail!("the package debian-archive-keyring has no keyring at {}", newer.display());
        }
        Ok(newer)
    }

    /// apt reads the machine's own configuration too (proxies, for instance); these options keep its state apart.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |key: &str, value: &Path| {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        };
        set("Dir::State", &self.dir);
        set("Dir::State::lists", &self.dir.join("lists"));
        set("Dir::State::status", &self.dir.join("status"));
        set("Dir::Cache", &self.dir.join("cache"));
        set("Dir::Etc::sourcelist", &self.dir.join("sources.list"));
        for off in ["Dir::Etc::sourceparts", "Dir::Etc::preferences", "Dir::Etc::preferencesparts"] {
            set(off, Path::new("/dev/null"));
        }
        command.args(["-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3"]);
        command.args(["-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"]);
        if let Some(foreign) = self.foreign {
            command.args([
                "-o",
                "APT::Architectures::=amd64",
                "-o",
                &format!("APT::Architectures::={foreign}"),
            ]);
        }
        // The sandbox user of a root's apt could not write below this folder.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    pub fn update(&self) -> Result<()> {
        retry(|| {
            let out = workspace::output(self.command("apt-get").args(["update", "-q"]))?;
            // apt calls a source that it could not read a warning and goes on with what it has.
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            let bad =
                |line: &&str| line.starts_with("E:") || line.starts_with("Err:") || line.starts_with("W:");
            let main_is_here = fs::read_dir(self.dir.join("lists")).is_ok_and(|entries| {
                entries.flatten().any(|entry| {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    name.contains(&format!("_dists_{}_", self.suite)) && name.ends_with("Release")
                })
            });
            let complaint = text.lines().filter(bad).collect::<Vec<_>>().join("\n");
            if !complaint.is_empty() && self.wanted_here() && !main_is_here {
                bail!("apt could not read suite {}:\n{complaint}", self.suite);
            }
            if !complaint.is_empty() {
                eprintln!("{complaint}");
            }
            Ok(())
        })
    }

    /// Whether the private list names this object's suite (the keyring's list names the machine's own).
    fn wanted_here(&self) -> bool {
        fs::read_to_string(self.dir.join("sources.list"))
            .is_ok_and(|text| text.contains(&format!(" {} main", self.suite)))
    }

    /// The recipe's packages and every library that they need, as .deb files.
    pub fn download(&self, recipe: &Recipe) -> Result<Vec<PathBuf>> {
        let mut command = self.command("apt-get");
        command.args(["install", "--simulate", "--yes", "--no-install-recommends"]).args(recipe.packages);
        let plan = workspace::stdout(&mut command)
            .with_context(|| format!("suite {} cannot provide {}", recipe.suite, recipe.name))?;
        let mut packages: BTreeSet<String> = plan
            .lines()
            .filter_map(|line| line.strip_prefix("Inst "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| !NOT_NEEDED.iter().any(|not| name.starts_with(not)))
            .map(str::to_owned)
            .collect();
        packages.extend(recipe.alone.iter().map(|&name| name.to_owned()));
        self.fetch(&packages)
    }

    fn fetch(&self, packages: &BTreeSet<String>) -> Result<Vec<PathBuf>> {
        let dir = self.dir.join("debs");
        retry(|| {
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
            workspace::output(self.command("apt-get").current_dir(&dir).arg("download").args(packages))?;
            Ok(())
        })?;
        let mut debs: Vec<PathBuf> = fs::read_dir(&dir)?.flatten().map(|entry| entry.path()).collect();
        debs.retain(|path| path.extension().is_some_and(|name| name == "deb"));
        debs.sort();
        if debs.len() != packages.len() {
            bail!("apt was asked for {} packages and left {} files", packages.len(), debs.len());
        }
        Ok(debs)
    }

    /// The unpacked server is what counts; the archives would only fill the disk.
    pub fn forget_downloads(&self) -> Result<()> {
        fs::remove_dir_all(self.dir.join("debs")).context("cannot remove the downloaded packages")
    }
}

/// A suite that left the mirror answers "not found"; a mirror that is down does not.
pub fn is_gone(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    text.contains("does not have a Release file") || text.contains("404  Not Found")
}

fn retry(mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let mut tries = 1;
    loop {
        match work() {
            Ok(()) => return Ok(()),
            Err(error) if tries == TRIES || is_gone(&error) => return Err(error),
            Err(error) => eprintln!("try {tries} of {TRIES} failed: {error:#}"),
        }
        std::thread::sleep(std::time::Duration::from_secs(2 * tries as u64));
        tries += 1;
    }
}

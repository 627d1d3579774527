//! The tools that compile and link for arm64, and that run what came of it: Debian's own, unpacked below target/, with
//! bookworm's C library.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::ARM64;
use crate::{servers, workspace};

const TRIPLE: &str = "aarch64-linux-gnu";
/// Libraries of the tools. No others are taken from the packages: they would stand in the way of the machine's own.
const LIBRARIES: &[&str] = &[
    "libisl",
    "libmpc",
    "libmpfr",
    "libgmp",
    "libopcodes",
    "libbfd",
    "libctf",
    "libsframe",
    "libjansson",
    "libLLVM",
    "libedit",
    "libbsd",
    "libmd",
    "libz3",
    "libxml2",
    "libicu",
    "librustc_driver",
    "libstd-",
];

#[derive(Debug)]
pub struct Tools {
    root: PathBuf,
    libraries: PathBuf,
    /// Debian's, where the machine's own has no standard library for arm64.
    rustc: Option<PathBuf>,
}

impl Tools {
    pub fn fetch(target: &Path) -> Result<Tools> {
        let home = target.join("cross");
        let mut tools = Tools { root: home.join("root"), libraries: home.join("lib"), rustc: None };
        tools.unpack("linker", &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"], &[])?;
        tools.relocate()?;
        if !has_standard_library() {
            tools.unpack("rust", &["rustc-web"], &["libstd-rust-web-dev:arm64"])?;
            let rustc = home.join("rustc");
            // What lies elsewhere than where it was built does not find its own libraries.
            let usr = tools.root.join("usr");
            let text = format!("#!/bin/sh\nexec '{0}/bin/rustc' --sysroot '{0}' \"$@\"\n", usr.display());
            fs::write(&rustc, text).with_context(|| format!("cannot write {}", rustc.display()))?;
            fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755))?;
            tools.rustc = Some(rustc);
        }
        Ok(tools)
    }

    /// The linker's own scripts name the C library by the place where an installed package has it.
    fn relocate(&self) -> Result<()> {
        let path = self.root.join(format!("usr/{TRIPLE}/lib/libc.so"));
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(&path, text.replace(&format!("/usr/{TRIPLE}/lib/"), ""))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Once: what a marker says is there is not fetched again.
    fn unpack(
        &self,
        what: &str,
        packages: &'static [&'static str],
        alone: &'static [&'static str],
    ) -> Result<()> {
        let marker = self.root.with_file_name(format!("READY.{what}"));
        if marker.exists() {
            return Ok(());
        }
        servers::unpack_packages(&self.root, packages, alone)?;
        fs::create_dir_all(&self.libraries)?;
        let libraries = self.root.join("usr/lib/x86_64-linux-gnu");
        for entry in fs::read_dir(&libraries).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if LIBRARIES.iter().any(|start| name.starts_with(start)) && entry.path().is_file() {
                fs::copy(entry.path(), self.libraries.join(name))?;
            }
        }
        fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))
    }

    pub fn tool(&self, name: &str) -> String {
        self.root.join("usr/bin").join(format!("{TRIPLE}-{name}")).display().to_string()
    }

    /// The command that runs a program of that machine.
    pub fn emulator(&self) -> Result<String> {
        self.unpack("emulator", &[], &["qemu-user-static"])?;
        let root = self.root.display();
        Ok(format!("{root}/usr/bin/qemu-aarch64-static -L {root}/usr/{TRIPLE}"))
    }

    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", self.tool("gcc")),
            ("CC_aarch64_unknown_linux_gnu", self.tool("gcc")),
            ("AR_aarch64_unknown_linux_gnu", self.tool("gcc-ar")),
            ("LD_LIBRARY_PATH", self.libraries.display().to_string()),
        ];
        environment.extend(self.rustc.as_ref().map(|rustc| ("RUSTC", rustc.display().to_string())));
        environment
    }
}

/// Whether the machine's own Rust can compile for arm64. Where rustup rules it is asked for what is missing.
fn has_standard_library() -> bool {
    let there = || {
        let sysroot = workspace::stdout(Command::new("rustc").args(["--print", "sysroot"]));
        sysroot.is_ok_and(|dir| Path::new(dir.trim()).join("lib/rustlib").join(ARM64).join("lib").is_dir())
    };
    if there() {
        return true;
    }
    let _ = workspace::output(Command::new("rustup").args(["target", "add", ARM64]));
    there()
}

//! Debian, Python and Node packages, by their ordinary clients.

use crate::command::{in_path, run};
use crate::place::{Components, lock};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Installs Debian packages, or says what to type.
pub(crate) fn apt_install(names: &[&str]) -> Result<()> {
    if !rustix::process::geteuid().is_root() || in_path("apt-get").is_none() {
        bail!("missing Debian packages; install them: sudo apt-get install {}", names.join(" "));
    }
    let _lock = lock(&Components::root(), "apt")?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install = || run(apt().args(["install", "-y", "--no-install-recommends"]).args(names));
    if install().is_err() {
        run(apt().arg("update"))?;
        install()?;
    }
    Ok(())
}

/// A new Python environment in `directory` with these packages.
pub(crate) fn python_environment(directory: &Path, packages: &[&str]) -> Result<()> {
    // One of root's own, which may be first in PATH, can't be run by the servers' user.
    let system = Path::new("/usr/bin/python3");
    let python = if system.is_file() { system } else { Path::new("python3") };
    let make = || run(Command::new(python).args(["-m", "venv"]).arg(directory));
    if let Err(first) = make() {
        apt_install(&["python3", "python3-venv", "python3-pip"]).context(first)?;
        make()?;
    }
    run(Command::new(directory.join("bin/python"))
        .args(["-m", "pip", "install", "-q", "--disable-pip-version-check"])
        .args(packages))?;
    Ok(())
}

/// Unpacks one Python package, without what it depends on, into `directory`.
pub(crate) fn python_package(directory: &Path, package: &str) -> Result<()> {
    if run(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        apt_install(&["python3", "python3-venv", "python3-pip"])?;
    }
    run(Command::new("python3")
        .args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--no-deps", "--target"])
        .arg(directory)
        .arg(package))?;
    Ok(())
}

/// Installs one Node package below `directory`.
pub(crate) fn node_package(directory: &Path, package: &str) -> Result<()> {
    if in_path("npm").is_none() {
        apt_install(&["npm"])?;
    }
    // From inside the directory: npm drops an argument that, as a path, is its own prefix ("azurite" beside ./azurite).
    run(Command::new("npm")
        .current_dir(directory)
        .args(["install", "--no-fund", "--no-audit", "--loglevel=error", "--prefix", "."])
        .arg(package))?;
    Ok(())
}

//! Where components live, and how one gets there whole or not at all.
//!
//! A component is built in its final directory under an exclusive lock (a Python environment can't be moved),
//! and a marker with the exact version asked for is written last. A directory without its marker, or with another,
//! is rubbish from an interrupted or older install: it is removed and built again.

use anyhow::{Context, Result};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const ROOT_DEFAULT: &str = "/var/tmp/lifeboat-components";
const MARKER: &str = ".installed";

/// The directory of all components.
pub struct Components;

impl Components {
    /// `LIFEBOAT_COMPONENTS`, or `/var/tmp/lifeboat-components`: outside every home, so that an unprivileged
    /// `postgres` can run the programs in it.
    pub fn root() -> PathBuf {
        std::env::var_os("LIFEBOAT_COMPONENTS")
            .filter(|v| !v.is_empty())
            .map_or_else(|| ROOT_DEFAULT.into(), Into::into)
    }
}

/// Whether `directory` holds a finished install of exactly `version`.
pub(crate) fn is_installed(directory: &Path, version: &str) -> bool {
    fs::read_to_string(directory.join(MARKER)).is_ok_and(|found| found == version)
}

/// Builds `root/name` with `build` unless it is there already. Safe with several processes at once.
pub(crate) fn install_once(name: &str, version: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = Components::root();
    let directory = root.join(name);
    if is_installed(&directory, version) {
        return Ok(directory);
    }
    let _lock = lock(&root, name)?;
    if is_installed(&directory, version) {
        return Ok(directory); // somebody else did it while we waited
    }
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| format!("remove unfinished {}", directory.display()))?;
    }
    make_open_directory(&directory)?;
    build(&directory).with_context(|| format!("install {name} into {}", directory.display()))?;
    open_to_everyone(&directory)?;
    let marker = directory.join(MARKER);
    let unfinished = directory.join(".installing");
    fs::write(&unfinished, version).and_then(|()| fs::rename(&unfinished, &marker)).context("write marker")?;
    Ok(directory)
}

/// Holds off other installs with the same name until dropped.
pub(crate) fn lock(root: &Path, name: &str) -> Result<File> {
    make_open_directory(root)?;
    let path = root.join(format!(".lock-{}", name.replace('/', "-")));
    let file =
        File::options().create(true).append(true).open(&path).with_context(|| format!("open {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn make_open_directory(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let root = Components::root();
    for level in directory.ancestors().take_while(|level| level.starts_with(&root)) {
        fs::set_permissions(level, Permissions::from_mode(0o755))
            .with_context(|| format!("open {} to everyone", level.display()))?;
    }
    Ok(())
}

/// Lets every user read and run what root installed, whatever the umask was.
fn open_to_everyone(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?;
        if kind.is_symlink() {
            continue;
        }
        let mode = kind.permissions().mode();
        let runnable = if kind.is_dir() || mode & 0o100 != 0 { 0o111 } else { 0 };
        fs::set_permissions(&path, Permissions::from_mode(mode | 0o444 | runnable))?;
        if kind.is_dir() {
            open_to_everyone(&path)?;
        }
    }
    Ok(())
}

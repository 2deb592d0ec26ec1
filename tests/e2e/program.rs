//! The program under test: found beside the tests, refused when it is older than its sources.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Another program to test than the one that was built here, such as an installed one.
const VARIABLE: &str = "LIFEBOAT_PROGRAM";

/// The path of `lifeboat`.
pub fn path() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return Ok(named.into());
    }
    // target/debug/deps/e2e-0123 → target/debug/lifeboat
    let test = std::env::current_exe().context("find the test's own path")?;
    let profile = test.ancestors().nth(2).context("find the directory of the built programs")?;
    let program = profile.join("lifeboat");
    let built = match fs::metadata(&program).and_then(|found| found.modified()) {
        Ok(built) => built,
        Err(error) => bail!("{} is not there ({error}); build it: cargo build -p lifeboat", program.display()),
    };
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    for entry in fs::read_dir(&crates).with_context(|| format!("list {}", crates.display()))? {
        let krate = entry?.path();
        // Not part of the program.
        if krate.ends_with("components") {
            continue;
        }
        if let Some((source, _)) = newest(&krate.join("src"))?.filter(|(_, changed)| *changed > built) {
            bail!("{} is older than {}; build it again: cargo build -p lifeboat", program.display(), source.display());
        }
    }
    Ok(program)
}

fn newest(directory: &Path) -> Result<Option<(PathBuf, SystemTime)>> {
    let mut newest: Option<(PathBuf, SystemTime)> = None;
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        let metadata = fs::metadata(&path)?;
        let found = if metadata.is_dir() { self::newest(&path)? } else { Some((path, metadata.modified()?)) };
        newest = [newest, found].into_iter().flatten().max_by_key(|(_, changed)| *changed);
    }
    Ok(newest)
}

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
    if let Some(source) = changed_since(&profile.join("lifeboat.d"), built) {
        bail!("{} is older than {source}; build it again: cargo build -p lifeboat", program.display());
    }
    Ok(program)
}

/// A source that is newer, of those that cargo says the program was made of: `program: source source …`, where a blank
/// in a name is written `\ `.
fn changed_since(list: &Path, built: SystemTime) -> Option<String> {
    let text = fs::read_to_string(list).ok()?;
    let (_, sources) = text.lines().next()?.split_once(": ")?;
    let marked = sources.replace("\\ ", "\0");
    let mut names = marked.split(' ').map(|name| name.replace('\0', " "));
    names.find(|name| fs::metadata(name).and_then(|found| found.modified()).is_ok_and(|changed| changed > built))
}

//! Which instant restores were begun with this configuration's state: so that they are found when nothing is mounted there.
//!
//! Promise: what is noted here is a help. Whether something was begun in a directory, only the directory says.

use super::detach::log_file;
use crate::config::Config;
use crate::failure::Failure;
use lifeboat_recovery::instant;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ENDING: &str = "begun";
/// How long it is kept what was told of one that ended.
const LOG_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Notes it; and forgets what is gone. That it can't be noted is in nobody's way.
pub fn note(config: &Config, to: &Path) {
    let noted = log_file(config, to).map_err(|failure| io::Error::other(failure.sentence())).and_then(|log| {
        if let Some(directory) = log.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            clear(directory);
            clear_logs(directory);
        }
        let path = log.with_extension(ENDING);
        let mut file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        io::Write::write_all(&mut file, to.as_os_str().as_bytes())
    });
    if let Err(error) = noted {
        tracing::warn!(%error, "`restore status` will find {} only while it is served, or by its name", to.display());
    }
}

/// All of it is here.
pub fn forget(config: &Config, to: &Path) {
    if let Ok(log) = log_file(config, to) {
        let _ = std::fs::remove_file(log.with_extension(ENDING));
    }
}

/// All that were noted, whatever became of them.
pub fn noted(config: &Config) -> Result<Vec<PathBuf>, Failure> {
    let Some(directory) = log_file(config, Path::new("/"))?.parent().map(Path::to_path_buf) else { return Ok(vec![]) };
    let mut all: Vec<PathBuf> = records(&directory).map(|(_, to)| to).collect();
    all.sort();
    Ok(all)
}

/// Where they are noted, and of which directory.
fn records(directory: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let paths = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let records = paths.filter(|path| path.extension() == Some(OsStr::new(ENDING)));
    records.filter_map(|path| {
        let to = PathBuf::from(OsString::from_vec(std::fs::read(&path).ok()?));
        to.is_absolute().then_some((path, to))
    })
}

/// Removes what was told long ago of what isn't known any more.
fn clear_logs(directory: &Path) {
    let paths = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    for log in paths.filter(|path| path.extension() == Some(OsStr::new("log"))) {
        let told = std::fs::metadata(&log).and_then(|data| data.modified());
        let is_old = told.is_ok_and(|told| told.elapsed().is_ok_and(|age| age > LOG_KEPT));
        if is_old && !log.with_extension(ENDING).exists() {
            let _ = std::fs::remove_file(log);
        }
    }
}

/// Forgets those whose directory is there, and is none any more that is restored; or is gone from a directory that is there.
fn clear(directory: &Path) {
    for (record, to) in records(directory) {
        let is_known = to.exists() || to.parent().is_some_and(Path::exists);
        if is_known && matches!(instant::origin(&to), Ok(None)) && !lifeboat_mount::mount::mounts().contains(&to) {
            let _ = std::fs::remove_file(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_known_until_it_is_whole_or_gone() {
        let top = tempfile::tempdir().unwrap();
        let text = format!(
            "state_dir = \"{}\"\n[location.a]\nurl = \"file:///srv/a\"\n[encryption]\npassphrase = {{ env = \"P\" }}\n",
            top.path().join("state").display()
        );
        let config = crate::config::parse("x", &text, crate::config::UnknownKeys::Refuse).unwrap().config;
        assert_eq!(noted(&config).unwrap(), Vec::<PathBuf>::new());
        let [one, two] = ["with a-dash/one", "two"].map(|name| top.path().join(name));
        note(&config, &one);
        let only = |to: &Path| vec![to.to_path_buf()];
        assert_eq!(noted(&config).unwrap(), only(&one), "its directory's directory is not there: a disk is away");
        note(&config, &two);
        assert_eq!(noted(&config).unwrap(), [two.clone(), one.clone()]);
        let logs = ["old", "new", "kept"].map(|name| top.path().join("state/served").join(name).with_extension("log"));
        for log in &logs {
            std::fs::write(log, "told").unwrap();
        }
        std::fs::write(logs[2].with_extension(ENDING), one.as_os_str().as_bytes()).unwrap();
        let long_ago = std::time::SystemTime::now() - LOG_KEPT - Duration::from_secs(60);
        for log in [&logs[0], &logs[2]] {
            std::fs::File::options().write(true).open(log).unwrap().set_modified(long_ago).unwrap();
        }
        note(&config, &one);
        assert_eq!(logs.each_ref().map(|log| log.exists()), [false, true, true]);
        std::fs::remove_file(logs[2].with_extension(ENDING)).unwrap();
        forget(&config, &one);
        note(&config, Path::new("/nowhere/at all"));
        assert_eq!(noted(&config).unwrap(), only(Path::new("/nowhere/at all")), "two is gone");
    }
}

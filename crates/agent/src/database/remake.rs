//! A data directory made anew beside the old one, and then exchanged with it in one step. The old one stays, aside.

use super::apply::{CONFIGURATION, signal_standby};
use super::{Address, DatabaseSettings, managed};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Makes it from `from`, or from wherever the settings say. The directory is the old one until it is wholly the new one.
pub async fn remake(settings: &DatabaseSettings, from: &Address) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    can_be_exchanged(&settings.data_dir)?;
    let (fresh, before) = (beside(&settings.data_dir, ".lifeboat-new"), beside(&settings.data_dir, ".lifeboat-before"));
    remove(&fresh).map_err(said)?;
    let made = match &settings.remake {
        Some(remake) => remake.remake(&fresh, from).await,
        None => base_backup(settings, &fresh, from).await,
    };
    if let Err(why) = made {
        // Half a copy would only fill the disk.
        let _ = remove(&fresh);
        return Err(why);
    }
    take_configuration(settings, &fresh).map_err(said)?;
    signal_standby(&fresh, settings).map_err(said)?;
    remove(&before).map_err(said)?;
    renameat_with(CWD, &fresh, CWD, &settings.data_dir, RenameFlags::EXCHANGE).map_err(|error| said(error.into()))?;
    std::fs::rename(&fresh, &before).map_err(said)?;
    let parent = settings.data_dir.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(said)
}

/// A disk of its own can't be exchanged with a directory: said before anything is copied.
fn can_be_exchanged(data_dir: &Path) -> Result<(), String> {
    let device = |path: &Path| std::fs::metadata(path).map(|data| data.dev()).map_err(|error| error.to_string());
    let parent = data_dir.parent().unwrap_or(Path::new("/"));
    if device(data_dir)? == device(parent)? {
        return Ok(());
    }
    let shown = data_dir.display();
    Err(format!(
        "{shown} is a disk of its own, and can't be exchanged with a new directory: stop the agent, empty it, and run `lifeboat standby create`"
    ))
}

fn beside(data_dir: &Path, word: &str) -> PathBuf {
    let mut name: OsString = data_dir.file_name().unwrap_or_default().to_os_string();
    name.push(word);
    data_dir.with_file_name(name)
}

fn remove(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Says how a server runs here: not as the other's does.
fn take_configuration(settings: &DatabaseSettings, fresh: &Path) -> io::Result<()> {
    for name in CONFIGURATION {
        let (from, to) = (settings.data_dir.join(name), fresh.join(name));
        if !from.exists() {
            continue;
        }
        std::fs::copy(&from, &to)?;
        if let Some(account) = settings.run_as {
            chown(&to, Some(account.uid), Some(account.gid))?;
        }
        std::fs::File::open(&to)?.sync_all()?;
    }
    Ok(())
}

async fn base_backup(settings: &DatabaseSettings, into: &Path, from: &Address) -> Result<(), String> {
    let program: PathBuf = settings.programs.program("pg_basebackup").map_err(|error| error.to_string())?;
    let mut command = tokio::process::Command::new(program);
    command.arg("-D").arg(into).arg("-d").arg(managed::conninfo(settings, from, None));
    command.args(["-X", "stream", "-c", "fast"]).current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    if let Some(account) = settings.run_as {
        command.uid(account.uid).gid(account.gid);
    }
    let output = command.output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("pg_basebackup: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()))
}

//! The disk itself: commands that mount and unmount it, what may become one, and getting everything onto it.

use crate::config::LocationConfig;
use crate::failure::{Failure, FailureKind};
use crate::failure_of::io_kind;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `attach` or `detach`. What it says is shown when it fails.
pub fn run_command(what: &str, name: &str, words: &[String]) -> Result<(), Failure> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let hint = format!("`{what}` in [location.{name}] is {words:?}; run it by hand to see");
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| {
        Failure::from_error(io_kind(&error), &error).while_doing(format!("{what} {name}")).with_hint(hint.clone())
    })?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let said: String = said.trim().lines().collect::<Vec<_>>().join(", ").chars().take(500).collect();
    let message = format!("{what} {name}: {program} ended with {}: {said}", ran.status);
    Err(Failure::new(FailureKind::Unavailable, message).with_hint(hint))
}

/// Whether a new repository may be made here: on an empty file system that isn't the one that the machine runs from.
pub fn may_be_set_up(name: &str, location: &LocationConfig, same_device: bool) -> Result<(), Failure> {
    let directory = location.url.directory().unwrap_or(Path::new(""));
    let shown = directory.display();
    let metadata = directory.metadata().map_err(|error| {
        Failure::from_error(FailureKind::NotFound, &error)
            .while_doing(format!("set up {name}: {shown}"))
            .with_hint("mount the disk there first")
    })?;
    if !metadata.is_dir() {
        return Err(Failure::new(FailureKind::Usage, format!("set up {name}: {shown} is no directory")));
    }
    let root = Path::new("/").metadata().map(|root| root.dev()).unwrap_or_default();
    if metadata.dev() == root && !same_device {
        let message = format!("set up {name}: {shown} lies on the file system of /, so no disk is mounted there");
        return Err(Failure::new(FailureKind::Usage, message)
            .with_hint("mount the disk first; if it is meant so, add --same-device"));
    }
    let entries = directory.read_dir().map_err(|error| {
        Failure::from_error(io_kind(&error), &error).while_doing(format!("set up {name}: look into {shown}"))
    })?;
    for entry in entries.flatten() {
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if file != "lost+found" && !file.starts_with('.') {
            let message = format!("set up {name}: {shown} is not empty, {file:?} is there");
            return Err(Failure::new(FailureKind::Usage, message)
                .with_hint(format!("is it the right disk? name an empty directory on it in [location.{name}]")));
        }
    }
    Ok(())
}

/// Everything that the system still holds for this disk is written to it.
pub fn flush(name: &str, location: &LocationConfig) -> Result<(), Failure> {
    let Some(directory) = location.url.directory() else { return Ok(()) };
    let failed = |error: std::io::Error| {
        Failure::from_error(FailureKind::Unavailable, &error)
            .while_doing(format!("flush {name}"))
            .with_hint("the disk may be failing (dmesg); run it again, and don't unplug it before it succeeds")
    };
    let open = File::open(directory).map_err(failed)?;
    rustix::fs::syncfs(&open).map_err(|error| failed(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{UnknownKeys, parse};

    fn at(directory: &Path) -> LocationConfig {
        let text = format!(
            "[location.a]\nurl = \"file://{}\"\nmedia = \"removable\"\n[encryption]\npassphrase = {{ env = \"X\" }}",
            directory.display()
        );
        parse("x", &text, UnknownKeys::Refuse).unwrap().config.locations.remove("a").unwrap()
    }

    #[test]
    fn only_an_empty_disk_is_set_up() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("mnt");
        let refused = |same_device| may_be_set_up("a", &at(&place), same_device).map_err(|failure| failure.message);
        assert!(refused(true).unwrap_err().contains("set up a"));
        std::fs::create_dir(&place).unwrap();
        assert_eq!(refused(true), Ok(()));
        std::fs::create_dir(place.join("lost+found")).unwrap();
        assert_eq!(refused(true), Ok(()));
        std::fs::write(place.join("holiday.jpg"), b"").unwrap();
        assert!(refused(true).unwrap_err().contains("holiday.jpg"));
    }

    #[test]
    fn a_command_that_fails_is_told_with_what_it_said() {
        let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(run_command("attach", "a", &words("true")), Ok(()));
        let failure = run_command("attach", "a", &words("sh|-c|echo no such disk >&2; exit 3")).unwrap_err();
        assert!(failure.message.contains("no such disk") && failure.message.contains('3'), "{failure}");
        assert!(run_command("detach", "a", &words("/no/such/program")).is_err());
    }
}

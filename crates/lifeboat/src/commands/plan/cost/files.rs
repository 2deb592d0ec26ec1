//! The two files that people edit, and the picture.

use crate::failure::{Failure, FailureKind};
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// No file of prices is longer.
const SIZE_MAX_BYTES: u64 = 1 << 20;

/// Reads one of the files. `template`: the option that writes one to begin with.
pub fn read<T: DeserializeOwned>(path: &Path, template: &str) -> Result<T, Failure> {
    let doing = format!("read {}", path.display());
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(SIZE_MAX_BYTES + 1).read_to_string(&mut text));
    let hint = format!("`lifeboat plan cost {template} FILE` writes one to begin with");
    read.map_err(|error| {
        Failure::from_error(FailureKind::Usage, &error).while_doing(doing.clone()).with_hint(hint.clone())
    })?;
    if text.len() as u64 > SIZE_MAX_BYTES {
        let message = format!("{} is larger than 1 MiB, and no such file", path.display());
        return Err(Failure::new(FailureKind::Usage, message).with_hint(hint));
    }
    parse(&path.display().to_string(), &text).map_err(|failure| failure.with_hint(hint))
}

/// Reads its text; what is wrong is told with its line.
pub fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Box<Failure>> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
        let said = error.message().lines().collect::<Vec<_>>().join(", ");
        Box::new(Failure::new(FailureKind::Usage, format!("{place}: {said}")))
    })
}

/// Writes a file that isn't there yet: one that is there may have been edited.
pub fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::new(FailureKind::Usage, format!("{} is there already, and may have been edited", path.display()))
                .with_hint("name another file, or remove this one")
        }
        _ => refused(path, &error),
    })
}

/// Whether a picture can be put there; asked before anything is done.
pub fn may_be_written(path: &Path) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || path.file_name().is_none() || !directory.is_dir() {
        return Err(Failure::new(FailureKind::Usage, format!("{} can't be written", path.display()))
            .with_hint("name a file in a directory that is there"));
    }
    Ok(())
}

/// Whole or not at all.
pub fn write_picture(path: &Path, text: &str) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        refused(path, &error)
    })
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory => FailureKind::Usage,
        _ => FailureKind::Unavailable,
    };
    Failure::from_error(kind, error)
        .while_doing(format!("write {}", path.display()))
        .with_hint("name a file in a directory that is there, and that this user may write to")
}

//! What somebody does who has taken over the host of a database: encrypts whatever its account may write, and destroys whatever copies it can reach.
//!
//! It runs as a process of its own, as the account of the servers, and only below directories that it is given: those of a rehearsal's place.

use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const CHUNK_BYTES: usize = 1 << 20;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Damage {
    /// Files made unreadable.
    pub encrypted: u64,
    /// Files of repositories destroyed.
    pub destroyed: u64,
    /// Files of repositories that could not be touched.
    pub withstood: u64,
}

/// Encrypts what lies in `data`, and overwrites and deletes what it can below `repositories`. All must lie in `place`. Blocks.
///
/// # Errors
/// When something lies elsewhere: nothing was done then.
pub fn attack(place: &Path, data: &[PathBuf], repositories: &[PathBuf]) -> io::Result<Damage> {
    let is_place = place.file_name().is_some_and(|name| name.to_string_lossy().starts_with(crate::place::PREFIX));
    let place = place.canonicalize()?;
    for path in data.iter().chain(repositories) {
        // What the account can't even look at, it can't attack either; its parent says where it lies.
        let real = path.canonicalize().or_else(|_| path.parent().unwrap_or(path).canonicalize())?;
        if !is_place || !real.starts_with(&place) {
            return Err(io::Error::other(format!("{} does not lie in the place of a rehearsal", path.display())));
        }
    }
    let mut damage = Damage::default();
    for path in data.iter().flat_map(|directory| files(directory)) {
        damage.encrypted += u64::from(scramble(&path).is_ok());
    }
    for directory in repositories {
        let found = files(directory);
        // One that can't be listed withstood as a whole.
        damage.withstood += u64::from(found.is_empty());
        for path in found {
            let gone =
                scramble(&path).and_then(|()| std::fs::remove_file(&path)).or_else(|_| std::fs::remove_file(&path));
            match gone {
                Ok(()) => damage.destroyed += 1,
                Err(_) => damage.withstood += 1,
            }
        }
    }
    Ok(damage)
}

/// Files below a directory; links are not followed.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// Every byte becomes another one.
fn scramble(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        let count = file.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        bytes[..count].iter_mut().for_each(|byte| *byte ^= 0xa5);
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&bytes[..count])?;
        at += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_in_the_place() {
        let scratch = tempfile::tempdir().unwrap();
        let (place, outside) = (scratch.path().join("lifeboat-drill-1"), scratch.path().join("outside"));
        for directory in [&place.join("data"), &place.join("vault"), &outside] {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join("file"), "text").unwrap();
        }
        std::os::unix::fs::symlink(&outside, place.join("link")).unwrap();
        for wrong in [&outside, &place.join("link"), &place.join("../outside")] {
            assert!(attack(&place, std::slice::from_ref(wrong), &[]).is_err(), "{}", wrong.display());
            assert!(attack(&place, &[], std::slice::from_ref(wrong)).is_err(), "{}", wrong.display());
        }
        assert!(attack(scratch.path(), &[place.join("data")], &[]).is_err(), "not a place");
        assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "text");
        let damage = attack(&place, &[place.join("data")], &[place.join("vault")]).unwrap();
        assert_eq!(damage, Damage { encrypted: 1, destroyed: 1, withstood: 0 });
        assert_ne!(std::fs::read(place.join("data/file")).unwrap(), b"text");
        assert!(!place.join("vault/file").exists());
    }
}

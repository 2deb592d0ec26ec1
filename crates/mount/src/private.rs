//! What the mount keeps for itself in a directory: the journal, and the second names of files that are still coming.
//!
//! Promise: it is a directory, not a link to one; of whoever runs this; and nobody else may write in it. So what is read there was
//! written here. Everything in it is reached by one name in a directory that is held open.

use crate::place::open_below;
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, Stat, fstat, mkdirat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What the mount keeps for itself, in each directory: never seen through the mount.
pub const PRIVATE_DIRECTORY: &str = ".lifeboat-mount";
/// The second names.
const FILES_DIRECTORY: &str = "files";

/// It, held open.
#[derive(Debug)]
pub struct Private {
    directory: OwnedFd,
    /// None when the last file came, and it is being removed.
    files: Option<OwnedFd>,
}

impl Private {
    /// Makes it, or takes what is there.
    pub fn make(top: BorrowedFd<'_>) -> io::Result<Self> {
        let directory = made(top, PRIVATE_DIRECTORY)?;
        let files = made(directory.as_fd(), FILES_DIRECTORY)?;
        Ok(Self { directory, files: Some(files) })
    }

    /// Finds it. None where it isn't.
    pub fn open(top: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let Some(directory) = ours(top, PRIVATE_DIRECTORY)? else { return Ok(None) };
        let files = ours(directory.as_fd(), FILES_DIRECTORY)?;
        Ok(Some(Self { directory, files }))
    }

    /// The directory itself.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Where the second names are.
    pub fn files(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.files.as_ref().map(AsFd::as_fd).ok_or(Errno::NOENT)?)
    }

    /// Opens a file of the mount's own.
    pub fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        open_below(self.directory(), Path::new(name), flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    /// Whether there is such a file of the mount's own.
    pub fn has(&self, name: &str) -> io::Result<bool> {
        found(statat(self.directory(), name, AtFlags::SYMLINK_NOFOLLOW)).map(|stat| stat.is_some())
    }

    /// Gives one another name.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(self.directory(), from, self.directory(), to)?)
    }

    /// Removes one, if it is there.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        found(unlinkat(self.directory(), name, AtFlags::empty())).map(drop)
    }

    /// Removes the second names, all of them.
    pub fn remove_files(&self) -> io::Result<()> {
        if let Some(files) = &self.files {
            let entries = Dir::read_from(files)?;
            let name = |entry: DirEntry| Some(entry.file_name().to_str().ok()?.to_owned());
            let names: Vec<String> =
                entries.filter_map(|entry| entry.map(name).transpose()).collect::<Result<_, _>>()?;
            for name in names.iter().filter(|name| !name.starts_with('.')) {
                found(unlinkat(files, name, AtFlags::empty()))?;
            }
        }
        found(unlinkat(self.directory(), FILES_DIRECTORY, AtFlags::REMOVEDIR)).map(drop)
    }

    /// What changed in it is durable when this returns.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.directory)?)
    }
}

fn made(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    ours(parent, name)?.ok_or_else(|| Errno::NOENT.into())
}

/// A directory that nobody else could have written in. None when there is nothing of that name.
fn ours(parent: BorrowedFd<'_>, name: &str) -> io::Result<Option<OwnedFd>> {
    let reached = match open_below(parent, Path::new(name), OFlags::PATH, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        reached => reached?,
    };
    if let Some(wrong) = wrong(&fstat(&reached)?, rustix::process::geteuid().as_raw()) {
        let message = format!("{name} {wrong}: it was not made by this program; look at what it is, and remove it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    open_below(reached.as_fd(), Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map(Some)
}

/// Why a directory isn't to be trusted.
fn wrong(stat: &Stat, user: u32) -> Option<String> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Some("is a link".into()),
        FileType::Directory if stat.st_uid != user => Some(format!("belongs to user {}, not to {user}", stat.st_uid)),
        FileType::Directory if stat.st_mode & 0o022 != 0 => Some("can be written by others".into()),
        FileType::Directory => None,
        _ => Some("is not a directory".into()),
    }
}

/// "Not there" as an answer.
pub fn found<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn refusal(plant: impl FnOnce(&Path, &Path)) -> (String, String, usize) {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        plant(&inside.path().join(PRIVATE_DIRECTORY), outside.path());
        let top = File::open(inside.path()).unwrap();
        let told = |result: io::Result<()>| result.err().map(|error| error.to_string()).unwrap_or_default();
        let (opened, made) = (Private::open(top.as_fd()), Private::make(top.as_fd()));
        (told(opened.map(drop)), told(made.map(drop)), fs::read_dir(outside.path()).unwrap().count())
    }

    #[test]
    fn what_somebody_else_could_have_made_is_refused() {
        let (opened, made, written) = refusal(|private, outside| symlink(outside, private).unwrap());
        assert!(opened.contains("is a link") && made.contains("is a link"), "{opened}, {made}");
        assert_eq!(written, 0);
        let (opened, made, _) = refusal(|private, _| {
            fs::create_dir(private).unwrap();
            fs::set_permissions(private, Permissions::from_mode(0o770)).unwrap();
        });
        assert!(opened.contains("written by others") && made.contains("written by others"), "{opened}, {made}");
        let (opened, made, written) = refusal(|private, outside| {
            fs::create_dir(private).unwrap();
            fs::set_permissions(private, Permissions::from_mode(0o700)).unwrap();
            symlink(outside, private.join("files")).unwrap();
        });
        assert!(opened.contains("is a link") && made.contains("is a link"), "{opened}, {made}");
        assert_eq!(written, 0);
        if rustix::process::geteuid().is_root() {
            let (opened, made, _) = refusal(|private, _| {
                fs::create_dir(private).unwrap();
                chown(private, Some(12345), None).unwrap();
            });
            assert!(
                opened.contains("user 12345, not to 0") && made.contains("user 12345, not to 0"),
                "{opened}, {made}"
            );
        }
    }
}

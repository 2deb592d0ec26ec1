//! Names below a directory, reached without following any link.
//!
//! Whoever may write in the directory can put a link where a directory was, between any two steps of ours, and we may do what he may
//! not. So a path is walked once, by the kernel, which refuses links on the way and whatever leads out; what is then done is done to
//! one name in the directory that was reached, or to the very file.
//!
//! Promise: nothing outside the directory is looked at or changed, and of a link never what it leads to.

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timestamps, Uid, chmodat, chownat,
    fstat, linkat, mkdirat, mknodat, openat2, readlinkat, renameat_with, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// How often a walk is tried again that somebody else's renaming disturbed.
const WALKS_MAX: usize = 1000;

/// Opens what lies at `path` below a directory, itself and not what a link leads to.
pub fn open_below(top: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
    let mut walks = 0;
    loop {
        walks += 1;
        match openat2(top, path, flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) if walks < WALKS_MAX => {}
            result => return Ok(result?),
        }
    }
}

/// One name in one directory, where something lies or will.
#[derive(Debug)]
pub struct Place<'a> {
    parent: Parent<'a>,
    name: OsString,
}

#[derive(Debug)]
enum Parent<'a> {
    Top(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl<'a> Place<'a> {
    /// Where `path` leads below `top`. Its directory must be there.
    pub fn of(top: BorrowedFd<'a>, path: &Path) -> io::Result<Self> {
        // "." is the top itself, and has no other name.
        let name = if path == Path::new(".") { Some(OsStr::new(".")) } else { path.file_name() };
        let name = name.ok_or(Errno::INVAL)?.to_os_string();
        let parent = match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => Parent::Below(open_below(top, parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?),
            None => Parent::Top(top),
        };
        Ok(Self { parent, name })
    }

    fn parent(&self) -> BorrowedFd<'_> {
        match &self.parent {
            Parent::Top(top) => *top,
            Parent::Below(directory) => directory.as_fd(),
        }
    }

    /// What is known of what lies there.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(statat(self.parent(), &self.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Opens it.
    pub fn open(&self, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        open_below(self.parent(), Path::new(&self.name), flags, mode)
    }

    /// Takes hold of it.
    pub fn reach(&self) -> io::Result<Reached> {
        self.open(OFlags::PATH, Mode::empty()).map(Reached)
    }

    /// Takes the name away.
    pub fn remove(&self, flags: AtFlags) -> io::Result<()> {
        Ok(unlinkat(self.parent(), &self.name, flags)?)
    }

    /// Gives what lies here another name.
    pub fn rename(&self, to: &Place<'_>, flags: RenameFlags) -> io::Result<()> {
        Ok(renameat_with(self.parent(), &self.name, to.parent(), &to.name, flags)?)
    }

    /// Gives what lies here one more name.
    pub fn link(&self, to: &Place<'_>) -> io::Result<()> {
        Ok(linkat(self.parent(), &self.name, to.parent(), &to.name, AtFlags::empty())?)
    }

    /// Makes a directory.
    pub fn make_directory(&self, mode: Mode) -> io::Result<()> {
        Ok(mkdirat(self.parent(), &self.name, mode)?)
    }

    /// Makes a file of any kind.
    pub fn make_node(&self, kind: FileType, mode: Mode, device: u64) -> io::Result<()> {
        Ok(mknodat(self.parent(), &self.name, kind, mode, device)?)
    }

    /// Makes a link.
    pub fn make_link(&self, target: &Path) -> io::Result<()> {
        Ok(symlinkat(target, self.parent(), &self.name)?)
    }
}

/// A file or directory, held, whatever its name does; not open for reading.
#[derive(Debug)]
pub struct Reached(OwnedFd);

impl Reached {
    /// What lies at `path` below `top`.
    pub fn at(top: BorrowedFd<'_>, path: &Path) -> io::Result<Self> {
        open_below(top, path, OFlags::PATH, Mode::empty()).map(Self)
    }

    /// What is known of it.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(fstat(&self.0)?)
    }

    /// Gives it to somebody else.
    pub fn give(&self, user: Option<Uid>, group: Option<Gid>) -> io::Result<()> {
        Ok(chownat(&self.0, "", user, group, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets who may do what. A link has no such rights.
    pub fn set_mode(&self, mode: Mode) -> io::Result<()> {
        if FileType::from_raw_mode(self.stat()?.st_mode) == FileType::Symlink {
            return Err(Errno::OPNOTSUPP.into());
        }
        // This path leads to the very file that is held, and no further: it isn't a link, as was just seen.
        Ok(chmodat(CWD, format!("/proc/self/fd/{}", self.0.as_raw_fd()), mode, AtFlags::empty())?)
    }

    /// Sets its times.
    pub fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        match utimensat(&self.0, "", times, AtFlags::EMPTY_PATH) {
            // Linux before 5.8 doesn't know it.
            Err(Errno::INVAL) if FileType::from_raw_mode(self.stat()?.st_mode) != FileType::Symlink => {
                Ok(utimensat(CWD, format!("/proc/self/fd/{}", self.0.as_raw_fd()), times, AtFlags::empty())?)
            }
            result => Ok(result?),
        }
    }

    /// Where a link leads.
    pub fn read_link(&self) -> io::Result<OsString> {
        Ok(OsString::from_vec(readlinkat(&self.0, "", Vec::new())?.into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, symlink};

    /// A directory with a link on the way to a file, and a link in place of one; what these lead to.
    fn planted() -> (tempfile::TempDir, File, tempfile::TempDir) {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("file"), "theirs").unwrap();
        fs::create_dir(inside.path().join("real")).unwrap();
        symlink(outside.path(), inside.path().join("way")).unwrap();
        symlink(outside.path().join("file"), inside.path().join("real/file")).unwrap();
        let top = File::open(inside.path()).unwrap();
        (inside, top, outside)
    }

    #[test]
    fn no_link_is_followed_on_the_way() {
        let (_inside, top, _outside) = planted();
        for path in ["way/file", "way/new", "real/../way/file", "../file", "/etc/passwd", ".."] {
            assert!(Place::of(top.as_fd(), Path::new(path)).is_err(), "{path}");
            assert!(Reached::at(top.as_fd(), Path::new(path)).is_err(), "{path}");
        }
        Place::of(top.as_fd(), Path::new("real/new")).unwrap().make_directory(Mode::RWXU).unwrap();
        assert_eq!(
            Place::of(top.as_fd(), Path::new(".")).unwrap().stat().unwrap().st_ino,
            top.metadata().unwrap().ino()
        );
    }

    #[test]
    fn of_a_link_never_the_target_is_changed() {
        let (_inside, top, outside) = planted();
        let target = || fs::metadata(outside.path().join("file")).unwrap();
        let before = (target().mode(), target().mtime());
        let place = Place::of(top.as_fd(), Path::new("real/file")).unwrap();
        let link = place.reach().unwrap();
        assert_eq!(
            link.set_mode(Mode::from_raw_mode(0o777)).unwrap_err().raw_os_error(),
            Some(Errno::OPNOTSUPP.raw_os_error())
        );
        let long_ago = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
        link.set_times(&Timestamps { last_access: long_ago, last_modification: long_ago }).unwrap();
        assert_eq!(link.read_link().unwrap(), outside.path().join("file"));
        assert!(place.open(OFlags::RDONLY, Mode::empty()).is_err());
        place.remove(AtFlags::empty()).unwrap();
        assert_eq!((target().mode(), target().mtime()), before);
        // What is no link is changed.
        File::create(outside.path().join("file")).unwrap();
        let outside = File::open(outside.path()).unwrap();
        let file = Reached::at(outside.as_fd(), Path::new("file")).unwrap();
        file.set_mode(Mode::from_raw_mode(0o640)).unwrap();
        file.set_times(&Timestamps { last_access: long_ago, last_modification: long_ago }).unwrap();
        assert_eq!((file.stat().unwrap().st_mode & 0o7777, file.stat().unwrap().st_mtime), (0o640, 1));
    }
}

//! One directory that is mounted over: where its files lie, and what of it the mount keeps to itself.

use crate::journal::FileNumber;
use rustix::fs::{
    AtFlags, Mode, OFlags, RawMode, ResolveFlags, Stat, fstat, linkat, mkdirat, open, openat2, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the mount keeps for itself, in each directory: never seen through the mount.
pub const PRIVATE_DIRECTORY: &str = ".lifeboat-mount";
const FILES_DIRECTORY: &str = ".lifeboat-mount/files";

/// A directory, held open: what it holds is reached while something is mounted over it.
///
/// Each file that is still coming has a second name, a number, in [`PRIVATE_DIRECTORY`]. By this its blocks are known to be its own
/// whatever the first name does: renamed, it keeps them; removed and made again, it is another file.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of a file that was looked at.
    pub fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

impl Root {
    /// Opens a directory that nothing is mounted over yet.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_path_buf(), directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Makes the place for second names.
    pub fn make_private(&self) -> io::Result<()> {
        for name in [PRIVATE_DIRECTORY, FILES_DIRECTORY] {
            match mkdirat(&self.directory, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Removes a file of the mount's own.
    pub fn remove_from_private(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.directory, format!("{PRIVATE_DIRECTORY}/{name}"), AtFlags::empty())?)
    }

    /// Removes it, with every second name.
    pub fn remove_private(&self) -> io::Result<()> {
        for number in self.numbers()? {
            self.retire(number)?;
        }
        for name in [FILES_DIRECTORY, PRIVATE_DIRECTORY] {
            match unlinkat(&self.directory, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes a file of so many bytes, all holes, under both its names.
    pub fn make_file(&self, number: FileNumber, path: &Path, bytes: u64, mode: RawMode) -> io::Result<()> {
        let second = name_of(number);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let file = self.open_file(Path::new(&second), flags, mode)?;
        file.set_len(bytes)?;
        match linkat(&self.directory, &second, &self.directory, path, AtFlags::empty()) {
            Err(Errno::EXIST) => {
                unlinkat(&self.directory, path, AtFlags::empty())?;
                Ok(linkat(&self.directory, &second, &self.directory, path, AtFlags::empty())?)
            }
            result => Ok(result?),
        }
    }

    /// Opens what lies at `path`, itself and not what a link leads to.
    pub fn open_file(&self, path: &Path, flags: OFlags, mode: RawMode) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(mode) } else { Mode::empty() };
        Ok(openat2(&self.directory, path, flags, mode, resolve)?.into())
    }

    /// Opens a file that is still coming.
    pub fn open_number(&self, number: FileNumber) -> io::Result<File> {
        self.open_file(Path::new(&name_of(number)), OFlags::RDWR, 0)
    }

    /// What is known of the file with this number. None when all of it came and its second name is gone.
    pub fn stat_number(&self, number: FileNumber) -> io::Result<Option<Stat>> {
        match statat(&self.directory, name_of(number), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file another name, unless it was done before. Durable when it returns.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match renameat(&self.directory, from, &self.directory, to) {
            Err(Errno::NOENT) if statat(&self.directory, to, AtFlags::SYMLINK_NOFOLLOW).is_ok() => {}
            result => result?,
        }
        self.sync()
    }

    /// Forgets the second name of a file: from now on it is like any other.
    pub fn retire(&self, number: FileNumber) -> io::Result<()> {
        match unlinkat(&self.directory, name_of(number), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn numbers(&self) -> io::Result<Vec<FileNumber>> {
        let directory = match self.open_file(Path::new(FILES_DIRECTORY), OFlags::DIRECTORY, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            directory => directory?,
        };
        let entries = rustix::fs::Dir::read_from(directory)?;
        let number = |entry: rustix::fs::DirEntry| entry.file_name().to_str().ok()?.parse().ok();
        entries.filter_map(|entry| entry.map(number).transpose()).collect::<Result<_, _>>().map_err(io::Error::from)
    }

    /// Brings everything of its file system to the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.directory)?)
    }
}

fn name_of(number: FileNumber) -> String {
    format!("{FILES_DIRECTORY}/{number}")
}

/// What is known of an open file.
pub fn stat_of(file: &File) -> io::Result<Stat> {
    Ok(fstat(file)?)
}

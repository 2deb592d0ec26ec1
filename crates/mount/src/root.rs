//! One directory that is mounted over: where its files lie, and what of it the mount keeps to itself.

use crate::journal::FileNumber;
use crate::place::{Place, Reached, open_below};
use crate::private::{Private, found};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RawMode, RenameFlags, Stat, Uid, fchmod, fchown, fstat, open, statat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use crate::private::PRIVATE_DIRECTORY;

/// A directory, held open: what it holds is reached while something is mounted over it.
///
/// Each file that is still coming has a second name, a number, in [`PRIVATE_DIRECTORY`]. By this its blocks are known to be its own
/// whatever the first name does: renamed, it keeps them; removed and made again, it is another file.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    directory: OwnedFd,
    private: OnceLock<Private>,
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
        Ok(Self { path: path.to_path_buf(), directory, private: OnceLock::new() })
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
        let private = Private::make(self.directory())?;
        let _ = self.private.set(private);
        Ok(())
    }

    /// What the mount keeps here for itself. None where nothing was made, or all of it was removed.
    pub fn private(&self) -> io::Result<Option<&Private>> {
        if self.private.get().is_none() {
            let Some(private) = Private::open(self.directory())? else { return Ok(None) };
            let _ = self.private.set(private);
        }
        Ok(self.private.get())
    }

    /// As [`Self::private`], where it must be.
    fn own(&self) -> io::Result<&Private> {
        self.private()?.ok_or_else(|| Errno::NOENT.into())
    }

    /// Where a path leads.
    pub fn place(&self, path: &Path) -> io::Result<Place<'_>> {
        Place::of(self.directory(), path)
    }

    /// Takes hold of what lies at `path`.
    pub fn reach(&self, path: &Path) -> io::Result<Reached> {
        Reached::at(self.directory(), path)
    }

    /// What is known of what lies at `path`.
    pub fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.place(path)?.stat()
    }

    /// Removes what is left of [`PRIVATE_DIRECTORY`], with every second name.
    pub fn remove_private(&self) -> io::Result<()> {
        let Some(private) = self.private()? else { return Ok(()) };
        private.remove_files()?;
        self.remove_empty_private()
    }

    /// Removes [`PRIVATE_DIRECTORY`], if nothing is in it.
    pub fn remove_empty_private(&self) -> io::Result<()> {
        found(unlinkat(&self.directory, PRIVATE_DIRECTORY, AtFlags::REMOVEDIR)).map(drop)
    }

    /// Makes a file of so many bytes, all holes, under both its names, and gives it to its owner.
    pub fn make_file(
        &self,
        number: FileNumber,
        path: &Path,
        bytes: u64,
        mode: RawMode,
        owner: Option<(u32, u32)>,
    ) -> io::Result<()> {
        let second = Place::of(self.own()?.files()?, Path::new(&number.to_string()))?;
        let first = self.place(path)?;
        let file = File::from(second.open(OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, Mode::RUSR | Mode::WUSR)?);
        file.set_len(bytes)?;
        if let Some((user, group)) = owner {
            fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        fchmod(&file, Mode::from_raw_mode(mode))?;
        match second.link(&first) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                first.remove(AtFlags::empty())?;
                second.link(&first)
            }
            result => result,
        }
    }

    /// Opens what lies at `path`, itself and not what a link leads to.
    pub fn open_file(&self, path: &Path, flags: OFlags, mode: RawMode) -> io::Result<File> {
        open_below(self.directory(), path, flags, Mode::from_raw_mode(mode)).map(File::from)
    }

    /// Opens a file that is still coming.
    pub fn open_number(&self, number: FileNumber) -> io::Result<File> {
        let name = number.to_string();
        open_below(self.own()?.files()?, Path::new(&name), OFlags::RDWR, Mode::empty()).map(File::from)
    }

    /// The same, to be written around the page cache. None where the file system can't.
    pub fn open_number_direct(&self, number: FileNumber) -> Option<File> {
        let (name, flags) = (number.to_string(), OFlags::WRONLY | OFlags::DIRECT);
        let files = self.own().ok()?;
        open_below(files.files().ok()?, Path::new(&name), flags, Mode::empty()).ok().map(File::from)
    }

    /// What is known of the file with this number. None when all of it came and its second name is gone.
    pub fn stat_number(&self, number: FileNumber) -> io::Result<Option<Stat>> {
        let Some(private) = self.private()? else { return Ok(None) };
        let Ok(files) = private.files() else { return Ok(None) };
        found(statat(files, number.to_string(), AtFlags::SYMLINK_NOFOLLOW))
    }

    /// Gives a file another name, unless it was done before. Durable when it returns.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        match from.rename(&to, RenameFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && to.stat().is_ok() => {}
            result => result?,
        }
        self.sync()
    }

    /// Forgets the second name of a file: from now on it is like any other.
    pub fn retire(&self, number: FileNumber) -> io::Result<()> {
        let Some(private) = self.private()? else { return Ok(()) };
        let Ok(files) = private.files() else { return Ok(()) };
        found(unlinkat(files, number.to_string(), AtFlags::empty())).map(drop)
    }

    /// Brings everything of its file system to the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.directory)?)
    }
}

/// What is known of an open file.
pub fn stat_of(file: &File) -> io::Result<Stat> {
    Ok(fstat(file)?)
}

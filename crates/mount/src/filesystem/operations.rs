//! What the questions of the kernel come down to, in the directory below.

use super::attributes::{attributes, kind, timespec};
use super::handles::{Handle, Listed};
use super::{LazyFileSystem, gone};
use crate::lazy::Written;
use fuser::{FileAttr, FileHandle, FileType, INodeNo, RenameFlags, Request, TimeOrNow};
use rustix::fs::{
    AtFlags, FallocateFlags, Gid, Mode, OFlags, RenameFlags as RenameFlagsBelow, Timestamps, Uid, chmodat, chownat,
    fallocate, fstat, linkat, mkdirat, mknodat, readlinkat, renameat_with, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

impl LazyFileSystem {
    pub(super) fn look_at(&self, node: INodeNo, handle: Option<FileHandle>) -> io::Result<FileAttr> {
        let stat = match self.opened(node, handle)? {
            Some(open) => fstat(&open.file)?,
            None => self.stat(&self.path(node)?)?,
        };
        Ok(attributes(node.0, &stat))
    }

    /// The open file that is meant; or, of one that was removed, any. None when it must be found by its name.
    fn opened(&self, node: INodeNo, handle: Option<FileHandle>) -> io::Result<Option<Arc<Handle>>> {
        match handle {
            Some(handle) => self.handle(handle).map(Some),
            None if self.nodes().path(node.0).is_some() => Ok(None),
            None => self.files.find(|open| open.node == node.0).map(Some).ok_or_else(gone),
        }
    }

    pub(super) fn set_length(&self, node: INodeNo, handle: Option<FileHandle>, bytes: u64) -> io::Result<()> {
        let open = match self.opened(node, handle)? {
            Some(open) => open,
            None => self.open_handle(node.0, &self.path(node)?, OFlags::RDWR.bits() as i32)?.into(),
        };
        match &open.lazy {
            Some(lazy) => self.overlay.set_length(lazy, &open.file, bytes),
            None => open.file.set_len(bytes),
        }
    }

    pub(super) fn set_attributes(
        &self,
        node: INodeNo,
        mode: Option<u32>,
        (user, group): (Option<u32>, Option<u32>),
        (accessed, modified): (Option<TimeOrNow>, Option<TimeOrNow>),
    ) -> io::Result<()> {
        if mode.is_none() && user.is_none() && group.is_none() && accessed.is_none() && modified.is_none() {
            return Ok(());
        }
        let (directory, path) = (self.below().directory(), self.path(node)?);
        if user.is_some() || group.is_some() {
            let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
            chownat(directory, &path, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(mode) = mode {
            chmodat(directory, &path, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
        }
        if accessed.is_some() || modified.is_some() {
            let times = Timestamps { last_access: timespec(accessed), last_modification: timespec(modified) };
            utimensat(directory, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    pub(super) fn read_link(&self, node: INodeNo) -> io::Result<OsString> {
        let target = readlinkat(self.below().directory(), self.path(node)?, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Gives what was just made to whoever made it, with the rights that were asked for.
    fn give(&self, request: &Request, path: &Path, mode: Option<u32>) -> io::Result<()> {
        let directory = self.below().directory();
        if self.is_root_user {
            let (user, group) = (Uid::from_raw(request.uid()), Gid::from_raw(request.gid()));
            chownat(directory, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(mode) = mode {
            chmodat(directory, path, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
        }
        Ok(())
    }

    pub(super) fn make_node(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        device: u32,
    ) -> io::Result<FileAttr> {
        let path = self.child(parent, name)?;
        let (kind, rights) = (rustix::fs::FileType::from_raw_mode(mode), Mode::from_raw_mode(mode & 0o7777));
        mknodat(self.below().directory(), &path, kind, rights, device.into())?;
        self.give(request, &path, Some(mode))?;
        self.entry(parent, name, &path)
    }

    pub(super) fn make_directory(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
    ) -> io::Result<FileAttr> {
        let path = self.child(parent, name)?;
        mkdirat(self.below().directory(), &path, Mode::from_raw_mode(mode & 0o7777))?;
        self.give(request, &path, Some(mode))?;
        self.entry(parent, name, &path)
    }

    pub(super) fn make_link(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
    ) -> io::Result<FileAttr> {
        let path = self.child(parent, name)?;
        symlinkat(target, self.below().directory(), &path)?;
        self.give(request, &path, None)?;
        self.entry(parent, name, &path)
    }

    pub(super) fn make_file(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> io::Result<(Handle, FileAttr)> {
        let path = self.child(parent, name)?;
        let wanted = OFlags::from_bits_retain(flags as u32);
        let made = wanted & OFlags::EXCL | OFlags::CREATE | OFlags::WRONLY;
        match self.below().open_file(&path, made | OFlags::EXCL, mode & 0o7777) {
            Ok(_) => self.give(request, &path, Some(mode))?,
            // It came in the meantime, and is as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !wanted.contains(OFlags::EXCL) => {}
            Err(error) => return Err(error),
        }
        let entry = self.entry(parent, name, &path)?;
        let handle = self.open_handle(entry.ino.0, &path, (wanted - OFlags::CREATE - OFlags::EXCL).bits() as i32)?;
        Ok((handle, entry))
    }

    pub(super) fn remove(&self, parent: INodeNo, name: &OsStr, flags: AtFlags) -> io::Result<()> {
        let path = self.child(parent, name)?;
        unlinkat(self.below().directory(), &path, flags)?;
        self.nodes().unlink(parent.0, name);
        Ok(())
    }

    pub(super) fn rename(&self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), flags: RenameFlags) -> io::Result<()> {
        if flags.intersects(!RenameFlags::RENAME_NOREPLACE) {
            return Err(Errno::INVAL.into());
        }
        let (old, new) = (self.child(from.0, from.1)?, self.child(to.0, to.1)?);
        let directory = self.below().directory();
        renameat_with(directory, &old, directory, &new, RenameFlagsBelow::from_bits_retain(flags.bits()))?;
        self.nodes().rename((from.0.0, from.1), (to.0.0, to.1));
        Ok(())
    }

    pub(super) fn second_name(&self, node: INodeNo, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let (old, new) = (self.path(node)?, self.child(parent, name)?);
        let directory = self.below().directory();
        linkat(directory, &old, directory, &new, AtFlags::empty())?;
        self.nodes().link(node.0, parent.0, name);
        Ok(attributes(node.0, &self.stat(&new)?))
    }

    /// What a directory holds, as it is seen.
    pub(super) fn list(&self, node: INodeNo) -> io::Result<Vec<Listed>> {
        let path = self.path(node)?;
        let directory = self.below().open_file(&path, OFlags::DIRECTORY, 0)?;
        let mut listed = vec![(OsString::from("."), FileType::Directory), (OsString::from(".."), FileType::Directory)];
        for entry in rustix::fs::Dir::read_from(directory)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                rustix::fs::FileType::Unknown => kind(self.stat(&path.join(name))?.st_mode),
                known => kind(known.as_raw_mode()),
            };
            listed.extend(self.view.seen(&path, name).map(|name| (name, kind)));
        }
        Ok(listed)
    }

    /// Writes, if nothing must be brought first.
    pub(super) fn write_now(&self, handle: &Handle, offset: u64, data: &[u8]) -> io::Result<Written> {
        let Some(lazy) = &handle.lazy else {
            handle.file.write_all_at(data, offset)?;
            return Ok(Written::Whole);
        };
        let written = lazy.write(&handle.file, offset, data)?;
        if handle.is_synchronous && written == Written::Whole {
            self.overlay.sync(lazy, &handle.file)?;
        }
        Ok(written)
    }
}

/// Makes room. What changes content isn't done to a file that is still coming: nobody needs it.
pub fn allocate(handle: &Handle, offset: u64, length: u64, mode: i32) -> io::Result<()> {
    let mode = FallocateFlags::from_bits_retain(mode as u32);
    if handle.lazy.is_some() && mode.intersects(!FallocateFlags::KEEP_SIZE) {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok(fallocate(&handle.file, mode, offset, length)?)
}

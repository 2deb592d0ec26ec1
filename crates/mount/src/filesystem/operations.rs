//! What the questions of the kernel come down to, in the directory below.

use super::attributes::{attributes, kind, timespec};
use super::handles::{Handle, Listed};
use super::{Directory, gone};
use crate::lazy::{BringError, Written};
use crate::overlay::read_full;
use crate::place::{Place, Reached};
use fuser::{FileAttr, FileHandle, FileType, INodeNo, RenameFlags, Request, TimeOrNow};
use rustix::fs::{
    AtFlags, FallocateFlags, Gid, Mode, OFlags, RenameFlags as RenameFlagsBelow, Timestamps, Uid, fallocate, fchmod,
    fchown, fstat, statat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

impl Directory {
    pub(super) fn look_at(&self, node: INodeNo, handle: Option<FileHandle>) -> io::Result<FileAttr> {
        let seen = match self.opened(node, handle)? {
            Some(open) => self.seen(|| Ok(fstat(&open.file)?))?,
            None => self.at(node, |path| self.seen(|| self.below().stat(path)))?,
        };
        Ok(attributes(node.0, &seen))
    }

    /// The open file that is meant; or, of one that was removed, any. None when it must be found by its name.
    fn opened(&self, node: INodeNo, handle: Option<FileHandle>) -> io::Result<Option<Arc<Handle>>> {
        match handle {
            Some(handle) => self.handle(handle).map(Some),
            None if self.nodes().path(node.0).is_some() => Ok(None),
            None => self.files.find(|open| open.node == node.0).map(Some).ok_or_else(gone),
        }
    }

    /// The file that is to have another length.
    pub(super) fn to_be_cut(&self, node: INodeNo, handle: Option<FileHandle>) -> io::Result<Arc<Handle>> {
        match self.opened(node, handle)? {
            Some(open) => Ok(open),
            None => self.at(node, |path| self.open_handle(node.0, path, OFlags::RDWR.bits() as i32)).map(Arc::new),
        }
    }

    pub(super) fn set_length(&self, open: &Handle, bytes: u64) -> io::Result<()> {
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
        let lies = self.reach(node)?;
        if user.is_some() || group.is_some() {
            lies.give(user.map(Uid::from_raw), group.map(Gid::from_raw))?;
        }
        if let Some(mode) = mode {
            lies.set_mode(rights(mode))?;
        }
        if accessed.is_some() || modified.is_some() {
            lies.set_times(&Timestamps { last_access: timespec(accessed), last_modification: timespec(modified) })?;
        }
        Ok(())
    }

    fn reach(&self, node: INodeNo) -> io::Result<Reached> {
        self.at(node, |path| self.below().reach(path))
    }

    pub(super) fn read_link(&self, node: INodeNo) -> io::Result<OsString> {
        self.reach(node)?.read_link()
    }

    /// Where a child of a node lies, or will. Until the kernel has its answer, it lets nobody change a name in that directory.
    fn place(&self, parent: INodeNo, name: &OsStr) -> io::Result<Place<'_>> {
        self.at_child(parent, name, |path| self.below().place(path))
    }

    /// Gives what was just made to whoever made it, with the rights that were asked for.
    fn give(&self, request: &Request, place: &Place<'_>, mode: Option<u32>) -> io::Result<()> {
        let made = place.reach()?;
        if self.is_root_user {
            made.give(Some(Uid::from_raw(request.uid())), Some(Gid::from_raw(request.gid())))?;
        }
        mode.map_or(Ok(()), |mode| made.set_mode(rights(mode)))
    }

    pub(super) fn make_node(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        device: u32,
    ) -> io::Result<FileAttr> {
        let place = self.place(parent, name)?;
        place.make_node(rustix::fs::FileType::from_raw_mode(mode), rights(mode), device.into())?;
        self.give(request, &place, Some(mode))?;
        self.entry(parent, name)
    }

    pub(super) fn make_directory(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
    ) -> io::Result<FileAttr> {
        let place = self.place(parent, name)?;
        place.make_directory(rights(mode))?;
        self.give(request, &place, Some(mode))?;
        self.entry(parent, name)
    }

    pub(super) fn make_link(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
    ) -> io::Result<FileAttr> {
        let place = self.place(parent, name)?;
        place.make_link(target)?;
        self.give(request, &place, None)?;
        self.entry(parent, name)
    }

    pub(super) fn make_file(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> io::Result<(Handle, FileAttr)> {
        let wanted = OFlags::from_bits_retain(flags as u32);
        match self.place(parent, name)?.open(OFlags::EXCL | OFlags::CREATE | OFlags::WRONLY, rights(mode)) {
            Ok(made) => {
                if self.is_root_user {
                    fchown(&made, Some(Uid::from_raw(request.uid())), Some(Gid::from_raw(request.gid())))?;
                }
                fchmod(&made, rights(mode))?;
            }
            // It came in the meantime, and is as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !wanted.contains(OFlags::EXCL) => {}
            Err(error) => return Err(error),
        }
        let entry = self.entry(parent, name)?;
        let flags = (wanted - OFlags::CREATE - OFlags::EXCL).bits() as i32;
        let handle = self.at_child(parent, name, |path| self.open_handle(entry.ino.0, path, flags))?;
        Ok((handle, entry))
    }

    pub(super) fn remove(&self, parent: INodeNo, name: &OsStr, flags: AtFlags) -> io::Result<()> {
        self.place(parent, name)?.remove(flags)?;
        // Whoever is on the way to it gets there first, or finds nothing; and never what gets its name next.
        let _changing = self.changing();
        self.nodes().unlink(parent.0, name);
        Ok(())
    }

    pub(super) fn change_name(
        &self,
        from: (INodeNo, &OsStr),
        to: (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> io::Result<()> {
        if flags.intersects(!RenameFlags::RENAME_NOREPLACE) {
            return Err(Errno::INVAL.into());
        }
        let _changing = self.changing();
        let below = self.below();
        let (old, new) = (below.place(&self.child(from.0, from.1)?)?, below.place(&self.child(to.0, to.1)?)?);
        old.rename(&new, RenameFlagsBelow::from_bits_retain(flags.bits()))?;
        self.nodes().rename((from.0.0, from.1), (to.0.0, to.1));
        Ok(())
    }

    pub(super) fn second_name(&self, node: INodeNo, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let _changing = self.changing();
        let below = self.below();
        let (old, new) = (below.place(&self.path(node)?)?, below.place(&self.child(parent, name)?)?);
        old.link(&new)?;
        let seen = self.seen(|| new.stat())?;
        self.nodes().link(node.0, parent.0, name, seen.linked());
        Ok(attributes(node.0, &seen))
    }

    /// What a directory holds, as it is seen.
    pub(super) fn list(&self, node: INodeNo) -> io::Result<Vec<Listed>> {
        let opened = |path: &Path| Ok((path.to_path_buf(), self.below().open_file(path, OFlags::DIRECTORY, 0)?));
        let (path, directory) = self.at(node, opened)?;
        let mut listed = vec![(OsString::from("."), FileType::Directory), (OsString::from(".."), FileType::Directory)];
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                rustix::fs::FileType::Unknown => kind(statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
                known => kind(known.as_raw_mode()),
            };
            listed.extend(self.view.seen(&path, name).map(|name| (name, kind)));
        }
        Ok(listed)
    }

    /// Reads, if nothing must be brought first.
    pub(super) fn read_now(&self, handle: &Handle, offset: u64, room: &mut [u8]) -> io::Result<Option<usize>> {
        match &handle.lazy {
            Some(lazy) => lazy.read_here(&handle.file, offset, room),
            None => read_full(&handle.file, offset, room).map(Some),
        }
    }

    /// Writes, if nothing must be brought first.
    pub(super) fn write_now(&self, handle: &Handle, offset: u64, data: &[u8]) -> io::Result<Written> {
        match &handle.lazy {
            Some(lazy) => lazy.write(&handle.file, offset, data),
            None => handle.file.write_all_at(data, offset).map(|()| Written::Whole),
        }
    }

    /// Writes, and brings first what must be brought.
    pub(super) fn write_when_here(&self, handle: &Handle, offset: u64, data: &[u8]) -> Result<(), BringError> {
        match &handle.lazy {
            Some(lazy) => self.overlay.write(lazy, &handle.file, offset, data)?,
            None => handle.file.write_all_at(data, offset)?,
        }
        if handle.is_synchronous {
            self.sync(handle, false)?;
        }
        Ok(())
    }

    /// What was written is durable when this returns; with all that is known of the file, unless only its data is wanted.
    pub(super) fn sync(&self, handle: &Handle, data_only: bool) -> io::Result<()> {
        match &handle.lazy {
            Some(lazy) => self.overlay.sync(lazy, &handle.file),
            None if data_only => handle.file.sync_data(),
            None => handle.file.sync_all(),
        }
    }

    /// A server that recovers from a crash opens the top and calls syncfs on it, of which the kernel tells nobody. What it takes for
    /// durable from then on must be.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.overlay.settle_all()?;
        self.below().sync()
    }
}

fn rights(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

/// Makes room. What changes content isn't done to a file that is still coming: nobody needs it.
pub fn allocate(handle: &Handle, offset: u64, length: u64, mode: i32) -> io::Result<()> {
    let mode = FallocateFlags::from_bits_retain(mode as u32);
    if handle.lazy.is_some() && mode.intersects(!FallocateFlags::KEEP_SIZE) {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok(fallocate(&handle.file, mode, offset, length)?)
}

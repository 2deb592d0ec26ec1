//! The file system that the kernel sees: every question is answered by the directory below, and what is still coming is waited for.
//!
//! Reads and writes of files that are still coming go around the kernel's page cache, so that there is one copy of each page and no
//! second opinion of it; files that are here are passed through, where the kernel can, and then cost what they cost without a mount.

mod asked;
mod attributes;
mod failures;
mod handles;
mod operations;

use crate::control::{Control, Silent};
use crate::lazy::Written;
use crate::nodes::{Nodes, TOP};
use crate::overlay::Overlay;
use crate::pool::Pools;
use crate::root::Root;
use crate::view::View;
use asked::Asked;
use attributes::{FOR_EVER, Seen};
use failures::{errno, gone};
use fuser::*;
use handles::{Handle, Listed, Open};
use rustix::fs::{AtFlags, OFlags, Stat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::SystemTime;

/// One write of the kernel's, in bytes.
const WRITE_BYTES_MAX: u32 = 1024 * 1024;

/// One directory, mounted over itself, and who waits so that the kernel needn't.
pub struct LazyFileSystem {
    directory: Arc<Directory>,
    pools: Arc<Pools>,
    asked: Asked,
}

/// One directory, as it is seen.
pub struct Directory {
    overlay: Arc<Overlay>,
    root: usize,
    view: View,
    nodes: Mutex<Nodes>,
    /// Read while a path is walked, written while a name changes: what the kernel allowed for one file is never done to another.
    names: RwLock<()>,
    files: Open<Handle>,
    directories: Open<Vec<Listed>>,
    /// All open files of a node are passed through to the same one.
    backings: Mutex<HashMap<u64, Weak<BackingId>>>,
    passes_through: AtomicBool,
    /// Whether what is made must be given to whoever made it.
    is_root_user: bool,
}

impl LazyFileSystem {
    /// Of one of the overlay's directories.
    pub fn new(overlay: Arc<Overlay>, root: usize, view: View, pools: Arc<Pools>) -> Self {
        let is_root_user = rustix::process::geteuid().is_root();
        let (nodes, names, files, directories, backings) = Default::default();
        let passes_through = AtomicBool::new(false);
        let directory =
            Directory { overlay, root, view, nodes, names, files, directories, backings, passes_through, is_root_user };
        Self { directory: Arc::new(directory), pools, asked: Asked::new(Arc::new(Silent)) }
    }

    /// The same, asked through this one.
    pub fn controlled_by(self, control: Arc<dyn Control>) -> Self {
        Self { asked: Asked::new(control), ..self }
    }

    /// Does what waits for the source.
    fn later(&self, act: impl FnOnce(&Directory) + Send + 'static) {
        let directory = self.directory.clone();
        self.pools.source.run(move || act(&directory));
    }

    /// Does what waits for the disk.
    fn on_disk(&self, act: impl FnOnce(&Directory) + Send + 'static) {
        let directory = self.directory.clone();
        self.pools.disk.run(move || act(&directory));
    }
}

impl Deref for LazyFileSystem {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

impl Directory {
    fn below(&self) -> &Root {
        &self.overlay.roots()[self.root]
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a node lies.
    fn path(&self, node: INodeNo) -> io::Result<PathBuf> {
        self.nodes().path(node.0).and_then(|path| self.view.stored(path)).ok_or_else(gone)
    }

    /// Where a child of a node lies, or will.
    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        self.nodes().child_path(parent.0, name).and_then(|path| self.view.stored(path)).ok_or_else(gone)
    }

    /// Does something where a node lies, while no name on the way changes.
    fn at<T>(&self, node: INodeNo, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let _standing = self.names.read().unwrap_or_else(PoisonError::into_inner);
        act(&self.path(node)?)
    }

    /// As [`Self::at`], where a child of a node lies, or will.
    fn at_child<T>(&self, parent: INodeNo, name: &OsStr, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let _standing = self.names.read().unwrap_or_else(PoisonError::into_inner);
        act(&self.child(parent, name)?)
    }

    /// Held while a name changes: nobody is on the way to anything.
    fn changing(&self) -> impl Drop + '_ {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node that has this name, and what the kernel is told of it.
    fn entry(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        self.at_child(parent, name, |path| {
            let seen = self.seen(|| self.below().stat(path))?;
            let node = self.nodes().learn(parent.0, name, seen.linked());
            Ok(attributes::attributes(node, &seen))
        })
    }

    /// What is seen of a file that can be looked at so.
    fn seen(&self, look: impl Fn() -> io::Result<Stat>) -> io::Result<Seen> {
        let stat = look()?;
        if stat.st_nlink < 2 || attributes::kind(stat.st_mode) == FileType::Directory {
            return Ok(Seen { is_coming: self.overlay.lazy(&stat).is_some(), stat });
        }
        match self.overlay.lazy(&stat) {
            Some(_) => Ok(Seen { stat, is_coming: true }),
            // The last of it may have come between the two, and the kernel asks only once how many names it has.
            None => Ok(Seen { stat: look()?, is_coming: false }),
        }
    }

    /// Opens what lies at `path`. `flags` as whoever opens gave them.
    fn open_handle(&self, node: u64, path: &Path, flags: i32) -> io::Result<Handle> {
        let flags = OFlags::from_bits_retain(flags as u32);
        // Appending is the kernel's business: it says at which offset. What is to be durable is synced, where that keeps nobody waiting.
        let kept = OFlags::ACCMODE;
        // First opened, then looked at: by its name, it might be another one a moment later.
        let (file, lazy) = self.overlay.take_up(self.root, self.below().open_file(path, flags & kept, 0)?)?;
        let is_synchronous = flags.intersects(OFlags::DSYNC | OFlags::SYNC);
        Ok(Handle { node, file, lazy, is_synchronous, passed_through: None })
    }

    /// What the kernel passes reads and writes of a node through to, if it can.
    fn backing(&self, node: u64, register: impl FnOnce() -> io::Result<BackingId>) -> Option<Arc<BackingId>> {
        let mut backings = self.backings.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has it open so already binds everybody else.
        if let Some(known) = backings.get(&node).and_then(Weak::upgrade) {
            return Some(known);
        }
        if !self.passes_through.load(Ordering::Relaxed) {
            return None;
        }
        match register() {
            Ok(backing) => {
                let backing = Arc::new(backing);
                backings.insert(node, Arc::downgrade(&backing));
                Some(backing)
            }
            Err(error) => {
                // Not allowed, or the file system below can't: it goes through us, which is only slower.
                tracing::debug!(%error, "a file that is here is not passed through");
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.passes_through.store(false, Ordering::Relaxed);
                }
                None
            }
        }
    }

    fn handle(&self, number: FileHandle) -> io::Result<Arc<Handle>> {
        self.files.get(number.0).ok_or_else(|| io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error()))
    }
}

/// What a file operation gives, sent to the kernel.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $send:expr) => {
        match $result {
            Ok($value) => $send,
            Err(error) => $reply.error(Errno::from(error)),
        }
    };
}

impl Filesystem for LazyFileSystem {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        // Each by itself: a kernel may have one and not the other.
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        let _ = config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP);
        let can_pass =
            config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok() && config.set_max_stack_depth(1).is_ok();
        self.passes_through.store(can_pass, Ordering::Relaxed);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if Asked::is_meant(parent, name) {
            return answer!(reply, self.asked_attributes(), entry => reply.entry(&FOR_EVER, &entry, Generation(0)));
        }
        answer!(reply, self.entry(parent, name), entry => reply.entry(&FOR_EVER, &entry, Generation(0)));
    }

    fn forget(&self, _request: &Request, node: INodeNo, times: u64) {
        self.nodes().forget(node.0, times);
    }

    fn getattr(&self, _request: &Request, node: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        if node == asked::NODE {
            return answer!(reply, self.asked_attributes(), told => reply.attr(&FOR_EVER, &told));
        }
        answer!(reply, self.look_at(node, handle), attributes => reply.attr(&FOR_EVER, &attributes));
    }

    fn setattr(
        &self,
        _request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _flags_changed: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = move |this: &Directory, cut: io::Result<()>| {
            let done = cut.and_then(|()| this.set_attributes(node, mode, (user, group), (accessed, modified)));
            let done = done.and_then(|()| this.look_at(node, handle));
            answer!(reply, done, attributes => reply.attr(&FOR_EVER, &attributes));
        };
        let Some(bytes) = size else { return set(self, Ok(())) };
        match self.to_be_cut(node, handle) {
            // What is cut off of it must never come, and that is durable when it is answered.
            Ok(open) if open.lazy.is_some() => self.on_disk(move |this| set(this, this.set_length(&open, bytes))),
            opened => set(self, opened.and_then(|open| self.set_length(&open, bytes))),
        }
    }

    fn readlink(&self, _request: &Request, node: INodeNo, reply: ReplyData) {
        answer!(reply, self.read_link(node), target => reply.data(target.as_bytes()));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make_node(request, parent, name, mode, device);
        answer!(reply, made, entry => reply.entry(&FOR_EVER, &entry, Generation(0)));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let made = self.make_directory(request, parent, name, mode);
        answer!(reply, made, entry => reply.entry(&FOR_EVER, &entry, Generation(0)));
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.remove(parent, name, AtFlags::empty()), () => reply.ok());
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.remove(parent, name, AtFlags::REMOVEDIR), () => reply.ok());
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let made = self.make_link(request, parent, name, target);
        answer!(reply, made, entry => reply.entry(&FOR_EVER, &entry, Generation(0)));
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.change_name((parent, name), (new_parent, new_name), flags), () => reply.ok());
    }

    fn link(&self, _request: &Request, node: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        let made = self.second_name(node, new_parent, new_name);
        answer!(reply, made, entry => reply.entry(&FOR_EVER, &entry, Generation(0)));
    }

    fn open(&self, _request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if node == asked::NODE {
            return reply.opened(FileHandle(self.asked.open()), FopenFlags::FOPEN_DIRECT_IO);
        }
        let opened = self.at(node, |path| self.open_handle(node.0, path, flags.0));
        let mut handle = match opened {
            Ok(handle) => handle,
            Err(error) => return reply.error(error.into()),
        };
        if handle.lazy.is_some() {
            let around = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
            return reply.opened(FileHandle(self.files.insert(handle)), around);
        }
        handle.passed_through = self.backing(node.0, || reply.open_backing(&handle.file));
        let backing = handle.passed_through.clone();
        let number = FileHandle(self.files.insert(handle));
        match backing {
            Some(backing) => reply.opened_passthrough(number, FopenFlags::empty(), &backing),
            None => reply.opened(number, FopenFlags::FOPEN_DIRECT_IO),
        }
    }

    fn read(
        &self,
        _request: &Request,
        node: INodeNo,
        number: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if node == asked::NODE {
            return reply.data(&self.asked.read(number.0, offset, size));
        }
        let handle = match self.handle(number) {
            Ok(handle) => handle,
            Err(error) => return reply.error(error.into()),
        };
        let mut room = vec![0; size as usize];
        let here = self.read_now(&handle, offset, &mut room).transpose();
        let (Some(lazy), None) = (handle.lazy.clone(), &here) else {
            return answer!(reply, here.unwrap_or(Ok(0)), length => reply.data(&room[..length]));
        };
        self.later(move |this| match this.overlay.read(&lazy, &handle.file, offset, &mut room) {
            Ok(length) => reply.data(&room[..length]),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn write(
        &self,
        _request: &Request,
        node: INodeNo,
        number: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if node == asked::NODE {
            return answer!(reply, self.asked.write(data), length => reply.written(length));
        }
        let handle = match self.handle(number) {
            Ok(handle) => handle,
            Err(error) => return reply.error(error.into()),
        };
        let length = data.len() as u32;
        match self.write_now(&handle, offset, data) {
            Err(error) => reply.error(error.into()),
            Ok(Written::Whole) if handle.is_synchronous => self.on_disk(move |this| {
                answer!(reply, this.sync(&handle, false), () => reply.written(length));
            }),
            Ok(Written::Whole) => reply.written(length),
            Ok(Written::Needs(_)) => {
                let data = data.to_vec();
                self.later(move |this| match this.write_when_here(&handle, offset, &data) {
                    Ok(()) => reply.written(length),
                    Err(error) => reply.error(errno(error)),
                });
            }
        }
    }

    fn release(
        &self,
        _request: &Request,
        node: INodeNo,
        number: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        match node {
            asked::NODE => self.asked.release(number.0),
            _ => self.files.remove(number.0),
        }
        reply.ok();
    }

    /// Nothing waits here to be written. The kernel asks once, and never again; so it does for the next ones.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    /// No file here is a terminal.
    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _output_bytes: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    /// The kernel then takes the whole file for data.
    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _offset: i64, _whence: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    /// The kernel then reads and writes.
    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _offset_in: u64,
        _: INodeNo,
        _: FileHandle,
        _offset_out: u64,
        _length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _request: &Request, _node: INodeNo, number: FileHandle, data_only: bool, reply: ReplyEmpty) {
        let handle = self.handle(number);
        self.on_disk(move |this| {
            let synced = handle.and_then(|handle| this.sync(&handle, data_only));
            answer!(reply, synced, () => reply.ok());
        });
    }

    fn opendir(&self, _request: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let open = move |this: &Directory, settled: io::Result<()>| {
            let opened =
                settled.and_then(|()| this.list(node)).map(|listed| FileHandle(this.directories.insert(listed)));
            answer!(reply, opened, number => reply.opened(number, FopenFlags::empty()));
        };
        if node.0 == TOP { self.on_disk(move |this| open(this, this.settle())) } else { open(self, Ok(())) }
    }

    fn readdir(&self, _request: &Request, node: INodeNo, number: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(listed) = self.directories.get(number.0) else { return reply.error(Errno::EBADF) };
        for (at, (name, kind)) in listed.iter().enumerate().skip(offset as usize) {
            // The number is only for show: nobody looks anything up by it.
            let shown = if name == "." { node } else { INodeNo(u64::MAX) };
            if reply.add(shown, at as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, number: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.directories.remove(number.0);
        reply.ok();
    }

    fn fsyncdir(&self, _request: &Request, node: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.on_disk(move |this| {
            let opened = this.at(node, |path| this.below().open_file(path, OFlags::DIRECTORY, 0));
            answer!(reply, opened.and_then(|directory| directory.sync_all()), () => reply.ok());
        });
    }

    fn statfs(&self, _request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        let found = rustix::fs::fstatvfs(self.below().directory()).map_err(io::Error::from);
        answer!(reply, found, all => reply.statfs(
            all.f_blocks,
            all.f_bfree,
            all.f_bavail,
            all.f_files,
            all.f_ffree,
            all.f_bsize as u32,
            all.f_namemax as u32,
            all.f_frsize as u32,
        ));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (mut handle, entry) = match self.make_file(request, parent, name, mode, flags) {
            Ok(made) => made,
            Err(error) => return reply.error(error.into()),
        };
        handle.passed_through = match handle.lazy {
            Some(_) => None,
            None => self.backing(entry.ino.0, || reply.open_backing(&handle.file)),
        };
        let backing = handle.passed_through.clone();
        let number = FileHandle(self.files.insert(handle));
        let first = Generation(0);
        match backing {
            Some(backing) => {
                reply.created_passthrough(&FOR_EVER, &entry, first, number, FopenFlags::empty(), &backing);
            }
            None => reply.created(&FOR_EVER, &entry, first, number, FopenFlags::FOPEN_DIRECT_IO),
        }
    }

    fn fallocate(
        &self,
        _request: &Request,
        _node: INodeNo,
        number: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let handle = self.handle(number);
        self.on_disk(move |_| {
            let done = handle.and_then(|handle| operations::allocate(&handle, offset, length, mode));
            answer!(reply, done, () => reply.ok());
        });
    }
}

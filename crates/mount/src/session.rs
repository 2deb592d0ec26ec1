//! One mount and the threads that answer for it.
//!
//! Promise: what is taken away is this mount, and nothing that somebody else mounted at the same place.

use crate::filesystem::LazyFileSystem;
use crate::mounts::{is_there, on_top};
use crate::root::Root;
use fuser::{BackgroundSession, Config, Session};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, unmount};
use rustix::process::{getgid, getuid};
use std::ffi::CString;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mount that is served.
pub struct Served {
    path: PathBuf,
    /// How the kernel calls this mount, and no other one.
    number: Option<u64>,
    threads: BackgroundSession,
}

impl Served {
    /// Mounts a directory over itself.
    pub fn begin(files: LazyFileSystem, root: &Root, source: &str, options: &Config) -> io::Result<Self> {
        let session = match mounted(root, source) {
            Ok(device) => Session::from_fd(files, device, options.acl, options.clone())
                .inspect_err(|_| drop(take_away(root.path(), UnmountFlags::DETACH)))?,
            // Who isn't root asks the program that is allowed to.
            Err(Errno::PERM) => Session::new(files, root.path(), options)?,
            Err(error) => return Err(error.into()),
        };
        let number = on_top(root.path()).filter(|mount| mount.is_ours).map(|mount| mount.number);
        Ok(Self { path: root.path().to_path_buf(), number, threads: session.spawn()? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it away, unless somebody did or it is in use.
    pub fn take_away(&self) -> io::Result<()> {
        // Numbers are given again; but while this mount is there, its threads are, and nothing else has its number.
        if self.threads.guard.is_finished() {
            return Ok(());
        }
        let Some(number) = self.number else { return take_away(&self.path, UnmountFlags::empty()) };
        match on_top(&self.path) {
            Some(mount) if mount.is_ours && mount.number == number => take_away(&self.path, UnmountFlags::empty()),
            _ if is_there(number) => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, "something else is mounted over it"))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the threads. They end when the mount is gone.
    pub fn join(self) -> io::Result<()> {
        // Dropped, it would take away whatever is mounted there now.
        let mut threads = ManuallyDrop::new(self.threads);
        let ended = std::thread::Builder::new().spawn(|| Ok(()))?;
        let thread = std::mem::replace(&mut threads.guard, ended);
        thread.join().map_err(|_| io::Error::other("a thread of the mount panicked"))?
    }
}

/// Mounts over the very directory that is held open, whatever its path leads to meanwhile.
fn mounted(root: &Root, source: &str) -> rustix::io::Result<OwnedFd> {
    let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mode = rustix::fs::fstat(root.directory())?.st_mode;
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    let data = format!(
        "fd={},rootmode={mode:o},user_id={user},group_id={group},default_permissions,allow_other",
        device.as_raw_fd()
    );
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let place = format!("/proc/self/fd/{}", root.directory().as_raw_fd());
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    rustix::mount::mount(source, place, "fuse", flags, data.as_c_str())?;
    Ok(device)
}

/// Takes away what is mounted at `path`.
pub fn take_away(path: &Path, flags: UnmountFlags) -> io::Result<()> {
    match unmount(path, flags) {
        Err(Errno::PERM) => {}
        result => return Ok(result?),
    }
    // Who isn't root asks the program that is allowed to.
    let mut command = Command::new("fusermount3");
    command.arg("-u").args(flags.contains(UnmountFlags::DETACH).then_some("-z")).arg("--").arg(path);
    let output = command.stdin(Stdio::null()).output()?;
    let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::ResourceBusy, said())) }
}

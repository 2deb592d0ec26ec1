//! Mounting the directories of an overlay over themselves, and taking the mounts away again.

use crate::control::{Control, Silent};
use crate::filesystem::LazyFileSystem;
use crate::overlay::Overlay;
use crate::pool::Pools;
use crate::session::{Served, take_away};
use crate::view::View;
use fuser::{Config, MountOption, SessionACL};
use rustix::mount::UnmountFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mounts::source;
pub use crate::mounts::{NAME, State, mounts, mounts_of, state_of};

/// Threads that answer the kernel, for each directory.
const THREADS: usize = 4;

/// Why a directory can't be mounted over.
#[derive(Debug, thiserror::Error)]
#[error("mount {}", .path.display())]
pub struct MountError {
    /// Which.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Directories that are mounted. Dropped, they are unmounted as far as nobody uses them.
pub struct Mounted {
    overlay: Arc<Overlay>,
    sessions: Vec<Served>,
}

/// Mounts every directory of an overlay over itself. `view` is of the first.
pub fn mount(overlay: Arc<Overlay>, view: &View) -> Result<Mounted, MountError> {
    mount_controlled(overlay, view, Arc::new(Silent), "")
}

/// The same, and `control` answers those who ask the first directory: see [`crate::control`]. By `label` the mounts are found again.
pub fn mount_controlled(
    overlay: Arc<Overlay>,
    view: &View,
    control: Arc<dyn Control>,
    label: &str,
) -> Result<Mounted, MountError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| MountError { path, source }
    };
    let first = overlay.roots().first().map(|root| root.path().to_path_buf()).unwrap_or_default();
    let pool = Arc::new(Pools::new().map_err(failed(&first))?);
    raise_open_files();
    let source = source(label);
    let mut mounted = Mounted { overlay: overlay.clone(), sessions: Vec::new() };
    for (number, root) in overlay.roots().iter().enumerate() {
        let view = if number == 0 { view.clone() } else { View::default() };
        let control: Arc<dyn Control> = if number == 0 { control.clone() } else { Arc::new(Silent) };
        let files = LazyFileSystem::new(overlay.clone(), number, view, pool.clone()).controlled_by(control);
        let session = Served::begin(files, root, &source, &options(&source));
        mounted.sessions.push(session.map_err(failed(root.path()))?);
    }
    Ok(mounted)
}

/// Each file that is open through a mount is open here too, and a server may hold a thousand for each of its processes.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("no more than {:?} files can be open: {error}", limit.current);
    }
}

fn options(source: &str) -> Config {
    let mut options = Config::default();
    options.mount_options = vec![
        MountOption::FSName(source.into()),
        MountOption::Subtype(NAME.into()),
        MountOption::DefaultPermissions,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
    ];
    // PostgreSQL runs as somebody else then; who may do what, the permission bits say.
    options.acl = if rustix::process::geteuid().is_root() { SessionACL::All } else { SessionACL::Owner };
    options.n_threads = Some(THREADS);
    options.clone_fd = true;
    options
}

impl Mounted {
    /// What is mounted.
    pub fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// Takes the mounts away, and makes durable what nobody synced. When somebody still uses one, all that are left stay as they are.
    pub fn unmount(&mut self) -> Result<(), MountError> {
        // The first is where a server lives: while it does, none of the others may go, or it would read what lies below.
        while let Some(first) = self.sessions.first() {
            let path = first.path().to_path_buf();
            let failed = |source| MountError { path: path.clone(), source };
            first.take_away().map_err(failed)?;
            self.sessions.remove(0).join().map_err(failed)?;
        }
        let first = self.overlay.roots().first().map(|root| root.path().to_path_buf()).unwrap_or_default();
        self.overlay.settle_all().map_err(|source| MountError { path: first, source })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::error!("{error}: {}: it is in use, and stays until this process ends", error.source);
            // Each would be taken away by itself, whoever uses the others.
            self.sessions.drain(..).for_each(std::mem::forget);
        }
    }
}

/// Takes away what a program that is gone left mounted at `path`, even while somebody has something open there.
pub fn take_stale_away(path: &Path) -> io::Result<()> {
    take_away(path, UnmountFlags::DETACH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::BLOCK_BYTES;
    use crate::journal::FileNumber;
    use crate::overlay::{NewFile, create};
    use crate::source::{Piece, Sink, Source, SourceError};
    use std::fs::File;
    use std::ops::Range;
    use std::os::unix::fs::FileExt;

    /// Pages of ones.
    struct Ones;

    impl Source for Ones {
        fn fetch(&self, _: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
            Ok(sink(range.start, Piece::Bytes(&vec![1; (range.end - range.start) as usize]))?)
        }
    }

    #[test]
    fn who_waits_for_the_disk_keeps_nobody_else_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let top = [directory.path().to_path_buf()];
        let new = |number: u32| {
            let path = PathBuf::from(number.to_string());
            NewFile { number, root: 0, path, bytes: 10 * BLOCK_BYTES, mode: 0o600 }
        };
        create(&top, &(0..3 * THREADS as u32).map(new).collect::<Vec<_>>(), None, b"").unwrap();
        let overlay = Arc::new(Overlay::open(&top, Box::new(Ones)).unwrap());
        let mut mounted = mount(overlay.clone(), &View::default()).expect("needs /dev/fuse, and root or fusermount3");
        let open =
            |number: usize| File::options().read(true).write(true).open(top[0].join(number.to_string())).unwrap();
        let files: Vec<File> = (0..3 * THREADS).map(open).collect();
        files.iter().for_each(|file| file.write_all_at(&[2; BLOCK_BYTES as usize], 0).unwrap());
        let mut room = [0];
        files[1].read_exact_at(&mut room, 2 * BLOCK_BYTES).unwrap();
        std::thread::scope(|scope| {
            let disk = overlay.hold_journal();
            let syncs: Vec<_> = files
                .iter()
                .enumerate()
                .map(|(number, file)| {
                    scope.spawn(move || match number {
                        0..THREADS => file.sync_all(),
                        // The cut of one file is waited for, the others wait for a thread.
                        _ => file.set_len(3 * BLOCK_BYTES),
                    })
                })
                .collect();
            let listed = scope.spawn(|| std::fs::read_dir(&top[0]).map(drop));
            let (told, tells) = std::sync::mpsc::channel();
            let (file, other, place) = (&files[1], &files[THREADS], top[0].join("new"));
            let reads = scope.spawn(move || {
                for at in 0..200 {
                    let mut room = [0];
                    // Here, not here, in a file that is being synced, and in one that is being cut.
                    file.read_exact_at(&mut room, at % 10 * BLOCK_BYTES).unwrap();
                    assert_eq!(room, [1 + u8::from(at % 10 == 0)]);
                    other.read_exact_at(&mut room, 0).unwrap();
                    // Who writes to a file that is being synced or cut, the kernel lets wait; not who writes to another one.
                    std::fs::write(&place, b"1").unwrap();
                }
                told.send(()).unwrap();
            });
            let all_read = tells.recv_timeout(std::time::Duration::from_secs(20));
            let waited = syncs.iter().all(|sync| !sync.is_finished());
            drop(disk);
            all_read.expect("reads wait for the disk");
            assert!(waited, "the disk was not waited for");
            reads.join().unwrap();
            listed.join().unwrap().unwrap();
            syncs.into_iter().for_each(|sync| sync.join().unwrap().unwrap());
        });
        drop(files);
        mounted.unmount().unwrap();
    }
}

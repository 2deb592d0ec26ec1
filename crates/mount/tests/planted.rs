//! Links that somebody planted below: whatever is done through the mount then, nothing that they lead to is looked at or changed.
//!
//! Who may write in the directory can rename a directory and put a link in its place, between two steps of the mount. Here it is done
//! from below, so that the kernel surely doesn't know of it.

use lifeboat_mount::journal::FileNumber;
use lifeboat_mount::mount::{Mounted, mount};
use lifeboat_mount::overlay::{NewFile, Overlay, create, is_made, origin_of};
use lifeboat_mount::source::{Sink, Source, SourceError};
use lifeboat_mount::view::View;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

struct Nothing;

impl Source for Nothing {
    fn fetch(&self, _: FileNumber, _: Range<u64>, _: &mut Sink<'_>) -> Result<(), SourceError> {
        Err("there is nothing".into())
    }
}

/// A mounted directory with `base/file` and others, its other side, and a directory with the same names outside.
struct World {
    inside: tempfile::TempDir,
    outside: tempfile::TempDir,
    below: File,
    mounted: Option<Mounted>,
}

const NAMES: [&str; 4] = ["file", "moved", "directory", "removed"];

fn fill(directory: &Path) {
    fs::create_dir(directory.join("directory")).unwrap();
    for name in ["file", "moved", "removed"] {
        fs::write(directory.join(name), name).unwrap();
    }
    symlink("somewhere", directory.join("link")).unwrap();
}

impl World {
    fn new() -> Self {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(inside.path().join("base")).unwrap();
        fill(&inside.path().join("base"));
        fill(outside.path());
        let top = [inside.path().to_path_buf()];
        create(&top, &[], None, b"origin").unwrap();
        let below = File::open(inside.path()).unwrap();
        let overlay = Overlay::open(&top, Box::new(Nothing)).unwrap();
        let mounted = mount(Arc::new(overlay), &View::default()).expect("needs /dev/fuse, and root or fusermount3");
        Self { inside, outside, below, mounted: Some(mounted) }
    }

    /// As the kernel sees it, through the mount.
    fn seen(&self, name: &str) -> PathBuf {
        self.inside.path().join("base").join(name)
    }

    /// Past the mount.
    fn below(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd").join(self.below.as_raw_fd().to_string()).join(name)
    }

    fn outside(&self) -> Vec<String> {
        let look = |entry: fs::DirEntry| {
            let known = fs::symlink_metadata(entry.path()).unwrap();
            let times = (known.mtime(), known.ctime(), known.ctime_nsec());
            format!("{:?} {:o} {} {} {times:?}", entry.file_name(), known.mode(), known.uid(), known.nlink())
        };
        let mut all: Vec<String> =
            fs::read_dir(self.outside.path()).unwrap().map(|entry| look(entry.unwrap())).collect();
        all.sort();
        all
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.mounted.take());
    }
}

/// Everything that can be done by name, and how each is called. What it must not do is succeed.
fn everything(world: &World) -> Vec<(&'static str, io::Result<()>)> {
    let seen = |name: &str| world.seen(name);
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    let other = world.inside.path().join("other");
    let mode = rustix::fs::Mode::RWXU;
    vec![
        ("open", File::open(seen("file")).map(drop)),
        ("open to write", OpenOptions::new().write(true).open(seen("file")).map(drop)),
        ("create", OpenOptions::new().write(true).create_new(true).open(seen("new")).map(drop)),
        ("cut", rustix_truncate(&seen("file"))),
        ("chmod", fs::set_permissions(seen("file"), Permissions::from_mode(0o777))),
        ("chown", std::os::unix::fs::lchown(seen("file"), Some(rustix::process::geteuid().as_raw()), None)),
        ("utimes", File::open(seen("file")).and_then(|file| file.set_times(times))),
        ("utimes by name", {
            let long_ago = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: long_ago, last_modification: long_ago };
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::utimensat(rustix::fs::CWD, seen("file"), &times, flags).map_err(io::Error::from)
        }),
        ("mkdir", fs::DirBuilder::new().mode(0o700).create(seen("made"))),
        (
            "mknod",
            rustix::fs::mknodat(rustix::fs::CWD, seen("pipe"), rustix::fs::FileType::Fifo, mode, 0)
                .map_err(io::Error::from),
        ),
        ("symlink", symlink("there", seen("new link"))),
        ("readlink", fs::read_link(seen("link")).map(drop)),
        ("link to", fs::hard_link(world.inside.path().join("plain"), seen("second"))),
        ("link from", fs::hard_link(seen("file"), &other)),
        ("rename to", fs::rename(world.inside.path().join("plain"), seen("plain"))),
        ("rename from", fs::rename(seen("moved"), &other)),
        ("rmdir", fs::remove_dir(seen("directory"))),
        ("unlink", fs::remove_file(seen("removed"))),
        ("list", fs::read_dir(seen("directory")).map(drop)),
    ]
}

fn rustix_truncate(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path).map(drop)
}

#[test]
fn a_link_on_the_way_is_not_followed() {
    let world = World::new();
    fs::write(world.inside.path().join("plain"), b"plain").unwrap();
    // The kernel knows all of them from now on, and asks no more for what is on the way.
    let held: Vec<_> =
        NAMES.iter().chain(&["link"]).map(|name| fs::symlink_metadata(world.seen(name)).unwrap()).collect();
    let before = world.outside();
    fs::rename(world.below("base"), world.below("base.away")).unwrap();
    symlink(world.outside.path(), world.below("base")).unwrap();
    for (what, done) in everything(&world) {
        assert!(done.is_err(), "{what} was done");
    }
    assert_eq!(world.outside(), before);
    assert_eq!(held.len(), 5);
}

#[test]
fn a_link_in_place_of_a_file_is_not_followed() {
    let world = World::new();
    let target = world.outside.path().join("file");
    fs::symlink_metadata(world.seen("file")).unwrap();
    let before = world.outside();
    fs::remove_file(world.below("base/file")).unwrap();
    symlink(&target, world.below("base/file")).unwrap();
    assert!(fs::set_permissions(world.seen("file"), Permissions::from_mode(0o777)).is_err(), "chmod was done");
    assert!(File::open(world.seen("file")).is_err(), "open was done");
    assert!(rustix_truncate(&world.seen("file")).is_err(), "it was cut");
    // Whatever these did, they did to the link.
    let _ = std::os::unix::fs::lchown(world.seen("file"), Some(rustix::process::geteuid().as_raw()), None);
    let _ = fs::hard_link(world.seen("file"), world.seen("second"));
    assert_eq!(world.outside(), before);
}

#[test]
fn a_planted_place_for_what_is_the_mounts_own_is_refused_before_anything_is_written() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let top = [inside.path().to_path_buf()];
    symlink(outside.path(), inside.path().join(".lifeboat-mount")).unwrap();
    let new = NewFile { number: 1, root: 0, path: "file".into(), bytes: 8192, mode: 0o600 };
    let why = |error: &dyn std::error::Error| error.source().map(ToString::to_string).unwrap_or_default();
    let refused = create(&top, &[new], None, b"").unwrap_err();
    assert!(why(&refused).contains(".lifeboat-mount is a link"), "{}", why(&refused));
    // What somebody else wrote there isn't believed either.
    fs::write(outside.path().join("origin"), "planted").unwrap();
    fs::write(outside.path().join("journal"), "planted").unwrap();
    assert!(!is_made(inside.path()));
    assert!(origin_of(inside.path()).unwrap_err().to_string().contains(".lifeboat-mount is a link"));
    let refused = Overlay::open(&top, Box::new(Nothing)).err().unwrap();
    assert!(why(&refused).contains(".lifeboat-mount is a link"), "{}", why(&refused));
    assert_eq!((fs::read_dir(inside.path()).unwrap().count(), fs::read_dir(outside.path()).unwrap().count()), (1, 2));
}

#[test]
fn a_file_is_made_and_given_only_below() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), inside.path().join("base")).unwrap();
    let new = NewFile { number: 1, root: 0, path: "base/file".into(), bytes: 8192, mode: 0o600 };
    let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert!(create(&[inside.path().to_path_buf()], &[new], Some(user), b"").is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(!is_made(inside.path()));
}

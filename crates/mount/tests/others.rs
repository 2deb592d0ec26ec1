//! Mounts of somebody else's at the same place, and programs that hang.

use lifeboat_mount::journal::FileNumber;
use lifeboat_mount::mount::{NAME, State, mount, state_of};
use lifeboat_mount::overlay::{Overlay, create};
use lifeboat_mount::source::{Sink, Source, SourceError};
use lifeboat_mount::view::View;
use rustix::mount::{MountFlags, UnmountFlags, unmount};
use std::ffi::CString;
use std::fs::{self, File};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Nothing;

impl Source for Nothing {
    fn fetch(&self, _: FileNumber, _: Range<u64>, _: &mut Sink<'_>) -> Result<(), SourceError> {
        Err("there is nothing".into())
    }
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can mount what this needs");
    }
    is_root
}

#[test]
fn what_somebody_else_mounted_at_the_same_place_stays() {
    if !is_root() {
        return;
    }
    for is_over in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let top = [directory.path().to_path_buf()];
        create(&top, &[], None, b"").unwrap();
        let overlay = Overlay::open(&top, Box::new(Nothing)).unwrap();
        let mut mounted = mount(Arc::new(overlay), &View::default()).unwrap();
        if !is_over {
            unmount(&top[0], UnmountFlags::empty()).unwrap();
        }
        rustix::mount::mount("other", &top[0], "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write(top[0].join("theirs"), b"theirs").unwrap();
        let ended = mounted.unmount();
        assert_eq!(fs::read(top[0].join("theirs")).unwrap(), b"theirs");
        assert_eq!(ended.is_err(), is_over, "{ended:?}");
        unmount(&top[0], UnmountFlags::empty()).unwrap();
        mounted.unmount().unwrap();
        assert_eq!(state_of(&top[0]), State::Nothing);
    }
}

#[test]
fn a_program_that_hangs_makes_nobody_hang_who_asks() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // Nobody ever reads what the kernel asks here.
    let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let data = CString::new(data).unwrap();
    rustix::mount::mount(NAME, directory.path(), "fuse", MountFlags::empty(), data.as_c_str()).unwrap();
    let begun = Instant::now();
    let state = state_of(directory.path());
    let took = begun.elapsed();
    drop(device);
    unmount(directory.path(), UnmountFlags::DETACH).unwrap();
    assert_eq!(state, State::Mounted);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

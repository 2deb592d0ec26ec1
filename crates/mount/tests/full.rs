//! A full disk: it is said so, nothing is taken for here that isn't, and all goes on when there is room.

use lifeboat_mount::blocks::BLOCK_BYTES;
use lifeboat_mount::journal::{FileNumber, Journal, Record, is_full};
use lifeboat_mount::lazy::{LazyFile, Written};
use lifeboat_mount::mount::mount;
use lifeboat_mount::overlay::{NewFile, Overlay, create};
use lifeboat_mount::source::{Piece, Sink, Source, SourceError};
use lifeboat_mount::told::told;
use lifeboat_mount::view::View;
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BLOCKS: u64 = 2048;

/// A file system of its own, of four megabytes.
struct Small(tempfile::TempDir);

impl Small {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        match rustix::mount::mount("small", directory.path(), "tmpfs", MountFlags::empty(), c"size=4m") {
            Ok(()) => Some(Self(directory)),
            Err(rustix::io::Errno::PERM) => {
                eprintln!("skipped: a file system of its own can be mounted by root only");
                None
            }
            Err(error) => panic!("mount a tmpfs: {error}"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

/// Takes all room.
fn fill(path: &Path) -> File {
    let ballast = File::create(path).unwrap();
    let mut at = 0;
    for bytes in [64 * 1024, 4096] {
        while ballast.write_all_at(&vec![7; bytes], at).is_ok() {
            at += bytes as u64;
        }
    }
    ballast
}

fn block(number: u64) -> Vec<u8> {
    vec![number as u8 + 100; BLOCK_BYTES as usize]
}

/// Tells nobody why a piece was not taken, as one that has errors of its own.
struct Blocks;

impl Source for Blocks {
    fn fetch(&self, _: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        for at in range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES) {
            sink(at * BLOCK_BYTES, Piece::Bytes(&block(at))).map_err(|_| "it was not taken")?;
        }
        Ok(())
    }
}

fn read(file: &File, number: u64) -> io::Result<Vec<u8>> {
    let mut room = vec![0; BLOCK_BYTES as usize];
    file.read_exact_at(&mut room, number * BLOCK_BYTES).map(|()| room)
}

fn refused(result: io::Result<impl Sized>) {
    assert_eq!(result.err().expect("there is no room").kind(), ErrorKind::StorageFull);
}

#[test]
fn a_full_disk_is_told_and_all_goes_on_when_there_is_room() {
    let Some(small) = Small::new() else { return };
    let top = small.path("data");
    fs::create_dir(&top).unwrap();
    let bytes = BLOCKS * BLOCK_BYTES;
    let new = NewFile { number: 1, root: 0, path: "relation".into(), bytes, mode: 0o600 };
    create(std::slice::from_ref(&top), &[new], None, b"").unwrap();
    let overlay = Arc::new(Overlay::open(std::slice::from_ref(&top), Box::new(Blocks)).unwrap());
    let mut mounted = mount(overlay.clone(), &View::default()).expect("needs /dev/fuse");
    let relation = File::options().read(true).write(true).open(top.join("relation")).unwrap();
    relation.write_all_at(&[1; BLOCK_BYTES as usize], 0).unwrap();
    relation.sync_all().unwrap();
    relation.write_all_at(&[2; BLOCK_BYTES as usize], BLOCK_BYTES).unwrap();
    let ballast = fill(&top.join("ballast"));
    refused(read(&relation, 7));
    refused(relation.write_all_at(&[5; BLOCK_BYTES as usize], 5 * BLOCK_BYTES));
    refused(relation.write_all_at(b"half", 6 * BLOCK_BYTES));
    refused(overlay.bring(1, 9 * BLOCK_BYTES..10 * BLOCK_BYTES).map_err(io::Error::other).map_err(|error| {
        let why = error.into_inner().unwrap().to_string();
        assert!(why.contains("No space left"), "{why}");
        io::Error::from(ErrorKind::StorageFull)
    }));
    assert_eq!(overlay.missing(1, 0..bytes).first(), Some(&(2 * BLOCK_BYTES..bytes)), "nothing else is here");
    // What was written before is synced all the same.
    relation.sync_all().unwrap();
    ballast.set_len(0).unwrap();
    assert_eq!(read(&relation, 7).unwrap(), block(7));
    relation.write_all_at(&[5; BLOCK_BYTES as usize], 5 * BLOCK_BYTES).unwrap();
    relation.write_all_at(b"half", 6 * BLOCK_BYTES).unwrap();
    relation.sync_all().unwrap();
    drop((relation, ballast));
    mounted.unmount().unwrap();
    drop((mounted, overlay));
    let overlay = Overlay::open(std::slice::from_ref(&top), Box::new(Blocks)).unwrap();
    overlay.bring(1, 0..10 * BLOCK_BYTES).unwrap();
    let relation = File::open(top.join("relation")).unwrap();
    let mut sixth = block(6);
    sixth[..4].copy_from_slice(b"half");
    let expected =
        [(0, vec![1; 8192]), (1, vec![2; 8192]), (2, block(2)), (5, vec![5; 8192]), (6, sixth), (9, block(9))];
    for (number, expected) in expected {
        assert!(read(&relation, number).unwrap() == expected, "block {number}");
    }
}

#[test]
fn what_the_journal_had_no_room_for_is_said_later() {
    let Some(small) = Small::new() else { return };
    let (path, bytes) = (small.path("journal"), 64 * BLOCK_BYTES);
    let journal = Journal::create(&path, &[Record::File { number: 1, root: 0, bytes }]).unwrap();
    // On a disk with room.
    let elsewhere = tempfile::tempdir().unwrap();
    let file = File::options().read(true).write(true).create_new(true).open(elsewhere.path().join("file")).unwrap();
    file.set_len(bytes).unwrap();
    let lazy = LazyFile::new(1, bytes);
    let ballast = fill(&small.path("ballast"));
    // All that was kept for it is used up.
    let mut others = 0..10_000u32;
    let refusal = others.find_map(|number| journal.append(&[Record::Shortened { number: 2 + number }]).err());
    assert!(refusal.as_ref().is_some_and(is_full), "{refusal:?}");
    assert!(others.start > 200, "{} were taken without room", others.start);
    assert_eq!(lazy.write(&file, 0, &block(0)).unwrap(), Written::Whole);
    for _ in 0..2 {
        refused(lazy.sync(&file, &journal));
        refused(lazy.set_length(&file, 9 * BLOCK_BYTES, &journal));
    }
    assert!(lazy.is_unsettled() && file.metadata().unwrap().len() == bytes);
    ballast.set_len(0).unwrap();
    lazy.set_length(&file, 9 * BLOCK_BYTES, &journal).unwrap();
    // Whoever makes it longer must not lose that when the journal says in the end that it was cut.
    lazy.set_length(&file, 12 * BLOCK_BYTES, &journal).unwrap();
    assert_eq!(lazy.write(&file, 10 * BLOCK_BYTES, &block(10)).unwrap(), Written::Whole);
    lazy.sync(&file, &journal).unwrap();
    assert!(!lazy.is_unsettled());
    drop(journal);
    let told = &told(&Journal::open(&path).unwrap().1)[&1];
    assert_eq!((told.bytes, told.local.count(), told.shortening), (9 * BLOCK_BYTES, 1, None));
}

/// The journal has room to say that a file is to be cut, and none to say that it was.
#[test]
fn a_cut_that_could_not_be_said_to_be_done_is_said_with_the_next_sync() {
    let Some(small) = Small::new() else { return };
    let (path, bytes) = (small.path("journal"), 64 * BLOCK_BYTES);
    let elsewhere = tempfile::tempdir().unwrap();
    let file = File::options().read(true).write(true).create_new(true).open(elsewhere.path().join("file")).unwrap();
    file.set_len(bytes).unwrap();
    let journal = Journal::create(&path, &[Record::File { number: 1, root: 0, bytes }]).unwrap();
    let lazy = LazyFile::new(1, bytes);
    let ballast = fill(&small.path("ballast"));
    while journal.append(&[Record::Shortened { number: 2 }]).is_ok() {}
    let length = ballast.metadata().unwrap().len();
    ballast.set_len(length - 4096).unwrap();
    lazy.set_length(&file, 9 * BLOCK_BYTES, &journal).unwrap();
    lazy.set_length(&file, 12 * BLOCK_BYTES, &journal).unwrap();
    assert_eq!(lazy.write(&file, 10 * BLOCK_BYTES, &block(10)).unwrap(), Written::Whole);
    assert!(lazy.is_unsettled());
    refused(lazy.sync(&file, &journal));
    ballast.set_len(0).unwrap();
    lazy.sync(&file, &journal).unwrap();
    drop(journal);
    let told = &told(&Journal::open(&path).unwrap().1)[&1];
    assert_eq!(
        (told.bytes, told.shortening),
        (9 * BLOCK_BYTES, None),
        "what was synced behind the cut is not cut off again"
    );
}

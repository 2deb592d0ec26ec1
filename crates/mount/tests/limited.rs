//! Files of which only so much is kept: whatever is given up meanwhile, a read gives what was written last, or what the source has.

use lifeboat_mount::blocks::BLOCK_BYTES;
use lifeboat_mount::journal::FileNumber;
use lifeboat_mount::lazy::LazyFile;
use lifeboat_mount::mount::mount;
use lifeboat_mount::overlay::{NewFile, Overlay, create};
use lifeboat_mount::source::{Piece, Sink, Source, SourceError};
use lifeboat_mount::view::View;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const BLOCKS: u64 = 96;
/// It ends in the middle of a block.
const FILE_BYTES: u64 = BLOCKS * BLOCK_BYTES - 3000;
const FILES: u32 = 3;
/// Each writer has its own part of every block.
const WRITERS: u64 = 4;
const SLOT_BYTES: u64 = 1024;
/// Of each who reads or writes.
const STEPS: u64 = 400;

/// A byte of the source: never zero, and below those that are written.
fn original(number: FileNumber, at: u64) -> u8 {
    1 + (u64::from(number) * 31 + at / BLOCK_BYTES * 7 + at % 64) as u8 % 100
}

fn original_bytes(number: FileNumber, range: Range<u64>) -> Vec<u8> {
    range.map(|at| original(number, at)).collect()
}

/// Gives more than is asked for, now and then nothing, and sometimes only half.
#[derive(Clone, Default)]
struct Moody {
    asked: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
}

impl Source for Moody {
    fn fetch(&self, number: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let from = range.start.saturating_sub(asked % 5 * BLOCK_BYTES);
        let to = (range.end + asked % 3 * BLOCK_BYTES).min(FILE_BYTES);
        let middle = (from + to) / 2;
        sink(middle, Piece::Bytes(&original_bytes(number, middle..to)))?;
        if self.fails.load(Ordering::Relaxed) && asked.is_multiple_of(7) {
            return Err("in a bad mood".into());
        }
        std::thread::yield_now();
        // The block in the middle came in two halves, and so not at all.
        let whole = (middle / BLOCK_BYTES + 1) * BLOCK_BYTES;
        Ok(sink(from, Piece::Bytes(&original_bytes(number, from..whole.min(to))))?)
    }
}

fn made(directory: &Path, source: &Moody, bytes_max: u64) -> Overlay {
    let new = |number: u32| {
        let path = PathBuf::from(number.to_string());
        NewFile { number, root: 0, path, bytes: FILE_BYTES, mode: 0o600 }
    };
    let roots = [directory.to_path_buf()];
    create(&roots, &(0..FILES).map(new).collect::<Vec<_>>(), None, b"").unwrap();
    Overlay::open(&roots, Box::new(source.clone())).unwrap().limited(bytes_max)
}

fn opened(overlay: &Overlay, directory: &Path, number: u32) -> (File, Arc<LazyFile>) {
    let file = File::open(directory.join(number.to_string())).unwrap();
    let (file, lazy) = overlay.take_up(0, file).unwrap();
    (file, lazy.expect("it is still coming"))
}

/// The same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// As whoever uses the mount reads: at once, or when it is here.
fn read(overlay: &Overlay, file: &File, lazy: &LazyFile, at: u64, room: &mut [u8]) -> Option<usize> {
    match lazy.read_here(file, at, room).unwrap() {
        Some(length) => Some(length),
        None => overlay.read(lazy, file, at, room).ok(),
    }
}

/// Bytes that take room on the disk.
fn taken(directory: &Path) -> u64 {
    (0..FILES).map(|number| fs::metadata(directory.join(number.to_string())).unwrap().blocks() * 512).sum()
}

/// Reads anything, and knows what it may be: of the source, or of who owns that part of the block.
fn read_something(overlay: &Overlay, files: &[(File, Arc<LazyFile>)], random: &mut Random) {
    let number = random.below(files.len() as u64);
    let (file, lazy) = &files[number as usize];
    let at = random.below(FILE_BYTES);
    let mut room = vec![0; random.below(6 * BLOCK_BYTES) as usize + 1];
    let Some(length) = read(overlay, file, lazy, at, &mut room) else { return };
    assert_eq!(length as u64, (FILE_BYTES - at).min(room.len() as u64), "nobody cuts it");
    for (at, byte) in (at..).zip(&room[..length]) {
        let slot = at % BLOCK_BYTES / SLOT_BYTES;
        let is_owners = slot < WRITERS && *byte >= 128 && u64::from(*byte - 128) % WRITERS == slot;
        assert!(is_owners || *byte == original(number as u32, at), "{byte} at {at} of file {number}");
    }
}

/// Writes into its own part of some block, and knows what stands there. `stands`: by file and block.
fn write_something(
    overlay: &Overlay,
    files: &[(File, Arc<LazyFile>)],
    writer: u64,
    stands: &mut [Option<u8>],
    random: &mut Random,
) {
    // Mostly few blocks: what is never written over is what is given up.
    let (number, block) = (random.below(files.len() as u64), random.below(BLOCKS - 1) / 3 * 3);
    let ((file, lazy), at) = (&files[number as usize], block * BLOCK_BYTES + writer * SLOT_BYTES);
    let stands = &mut stands[(number * BLOCKS + block) as usize];
    let mut room = [0; SLOT_BYTES as usize];
    if read(overlay, file, lazy, at, &mut room).is_some() {
        match stands {
            Some(byte) => assert_eq!(room, [*byte; SLOT_BYTES as usize], "block {block} of file {number}"),
            None => assert_eq!(&room[..], original_bytes(number as u32, at..at + SLOT_BYTES)),
        }
    }
    if random.below(4) == 0 {
        let byte = 128 + (random.below(30) * WRITERS + writer) as u8;
        if overlay.write(lazy, file, at, &[byte; SLOT_BYTES as usize]).is_ok() {
            *stands = Some(byte);
        }
    }
    if random.below(40) == 0 {
        overlay.sync(lazy, file).unwrap();
    }
}

#[test]
fn whatever_is_given_up_a_read_is_right() {
    for (seed, fails, blocks_max) in [(1, false, 0), (2, false, 8), (3, true, 8), (4, true, 32)] {
        let directory = tempfile::tempdir().unwrap();
        let source = Moody::default();
        source.fails.store(fails, Ordering::Relaxed);
        let overlay = made(directory.path(), &source, blocks_max * BLOCK_BYTES);
        let files: Vec<_> = (0..FILES).map(|number| opened(&overlay, directory.path(), number)).collect();
        std::thread::scope(|scope| {
            let (overlay, files) = (&overlay, &files);
            for reader in 0..4 {
                scope.spawn(move || {
                    let mut random = Random(seed * 1000 + reader + 1);
                    (0..STEPS).for_each(|_| read_something(overlay, files, &mut random));
                });
            }
            for writer in 0..WRITERS {
                scope.spawn(move || {
                    let mut random = Random(seed * 7777 + writer + 1);
                    let mut stands = vec![None; (u64::from(FILES) * BLOCKS) as usize];
                    for _ in 0..STEPS {
                        write_something(overlay, files, writer, &mut stands, &mut random);
                    }
                });
            }
        });
        let fetched = overlay.fetched().bytes();
        assert!(fetched > 2 * u64::from(FILES) * FILE_BYTES, "nothing was given up: {fetched}");
        // Nobody needs anything any more.
        source.fails.store(false, Ordering::Relaxed);
        overlay.bring(0, 0..1).unwrap();
        let kept = overlay.kept().unwrap();
        let most = blocks_max * BLOCK_BYTES + kept.written_bytes + u64::from(FILES) * BLOCK_BYTES;
        assert!(taken(directory.path()) <= most && !kept.is_all, "{} of {most}, {kept:?}", taken(directory.path()));
    }
}

/// One after the other, against a copy that is plainly right; among them cuts, and writes behind the end.
#[test]
fn cut_and_made_longer_it_is_what_it_would_be() {
    for seed in 1..60 {
        let directory = tempfile::tempdir().unwrap();
        let overlay = made(directory.path(), &Moody::default(), 6 * BLOCK_BYTES);
        let (file, lazy) = opened(&overlay, directory.path(), 1);
        let mut model = original_bytes(1, 0..FILE_BYTES);
        let mut random = Random(seed * 0x9e37_79b9);
        for step in 0..150 {
            let at = random.below(model.len() as u64 + 100);
            let length = random.below(3 * BLOCK_BYTES);
            match random.below(12) {
                0 => {
                    let bytes = at + random.below(2) * random.below(2 * BLOCK_BYTES);
                    overlay.set_length(&lazy, &file, bytes).unwrap();
                    model.resize(bytes as usize, 0);
                }
                1..4 => {
                    let data = vec![200 + (step % 50) as u8; length as usize + 1];
                    overlay.write(&lazy, &file, at, &data).unwrap();
                    let end = at as usize + data.len();
                    model.resize(model.len().max(end), 0);
                    model[at as usize..end].copy_from_slice(&data);
                }
                4 => overlay.sync(&lazy, &file).unwrap(),
                _ => {
                    let mut room = vec![0; length as usize];
                    let length = read(&overlay, &file, &lazy, at, &mut room).unwrap();
                    let from = model.len().min(at as usize);
                    let to = model.len().min(at as usize + room.len());
                    assert!(room[..length] == model[from..to], "seed {seed}, step {step}: {length} bytes at {at}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_fetched_again_is_an_error_and_no_zeros() {
    let directory = tempfile::tempdir().unwrap();
    let source = Moody::default();
    let overlay = made(directory.path(), &source, 0);
    let (file, lazy) = opened(&overlay, directory.path(), 2);
    let mut room = [0; 100];
    assert_eq!(overlay.read(&lazy, &file, 5000, &mut room).unwrap(), 100);
    assert_eq!(room[..], original_bytes(2, 5000..5100));
    overlay.write(&lazy, &file, 3 * BLOCK_BYTES, &[200; 10]).unwrap();
    // Room is made for another one.
    overlay.read(&lazy, &file, 50 * BLOCK_BYTES, &mut room).unwrap();
    source.fails.store(true, Ordering::Relaxed);
    source.asked.store(0, Ordering::Relaxed);
    assert_eq!(lazy.read_here(&file, 5000, &mut room).unwrap(), None, "it was not given up");
    assert!(overlay.read(&lazy, &file, 5000, &mut room).is_err());
    // What was written is here for ever.
    assert_eq!(overlay.read(&lazy, &file, 3 * BLOCK_BYTES, &mut room).unwrap(), 100);
    assert_eq!(room[..], [[200; 10].to_vec(), original_bytes(2, 3 * BLOCK_BYTES + 10..3 * BLOCK_BYTES + 100)].concat());
}

#[test]
fn no_file_is_ever_whole_and_none_is_passed_through() {
    let directory = tempfile::tempdir().unwrap();
    let overlay = Arc::new(made(directory.path(), &Moody::default(), 1 << 30));
    let lazy: Vec<_> = (0..FILES).map(|number| opened(&overlay, directory.path(), number).1).collect();
    let mut mounted = mount(overlay.clone(), &View::default()).expect("needs /dev/fuse, and root or fusermount3");
    let mut fetched = Vec::new();
    for _ in 0..2 {
        for number in 0..FILES {
            let file = File::options().read(true).write(true).open(directory.path().join(number.to_string())).unwrap();
            let mut content = vec![0; FILE_BYTES as usize];
            file.read_exact_at(&mut content, 0).unwrap();
            assert!(content == original_bytes(number, 0..FILE_BYTES));
            file.write_all_at(&content[100..200], 100).unwrap();
            file.sync_all().unwrap();
        }
        // As a server that recovers from a crash does it.
        fs::read_dir(directory.path()).unwrap().for_each(drop);
        overlay.settle_all().unwrap();
        fetched.push(overlay.fetched().bytes());
    }
    assert_eq!(fetched[0], fetched[1], "there was room for all");
    assert_eq!(overlay.numbers().len(), FILES as usize);
    assert!(lazy.iter().all(|lazy| !lazy.is_whole() && lazy.progress().0 == FILE_BYTES));
    mounted.unmount().unwrap();
    drop(mounted);
    assert!(Arc::into_inner(overlay).unwrap().finish(&View::default()).is_err(), "it was called finished");
}

/// Read by several through a real mount, and no more than that lies here while it is.
#[test]
fn a_mount_keeps_below_its_limit() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 20 * BLOCK_BYTES;
    let overlay = Arc::new(made(directory.path(), &Moody::default(), limit));
    let mut mounted = mount(overlay.clone(), &View::default()).expect("needs /dev/fuse, and root or fusermount3");
    std::thread::scope(|scope| {
        for number in 0..FILES {
            let path = directory.path().join(number.to_string());
            scope.spawn(move || {
                for _ in 0..5 {
                    assert!(fs::read(&path).unwrap() == original_bytes(number, 0..FILE_BYTES), "{number}");
                }
            });
        }
    });
    let kept = overlay.kept().unwrap();
    // One read of the kernel's may be larger than all of it.
    let at_once = u64::from(FILES) * 2 * (FILE_BYTES + 16 * BLOCK_BYTES);
    assert!(kept.came_bytes_max < limit + at_once && kept.written_bytes == 0, "{kept:?}");
    overlay.bring(0, 0..1).unwrap();
    assert!(taken(directory.path()) <= limit + u64::from(FILES) * BLOCK_BYTES, "{}", taken(directory.path()));
    mounted.unmount().unwrap();
}

/// One reads the whole file whenever it is here, the other gives it up again and again.
#[test]
fn what_is_being_read_stays() {
    // In memory: a disk writes first what is given up, and mostly too late to be seen.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let overlay = made(directory.path(), &Moody::default(), 1 << 30);
    let (file, lazy) = opened(&overlay, directory.path(), 0);
    let expected = original_bytes(0, 0..FILE_BYTES);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // From the end: what is read last.
                lazy.give_up(&file, BLOCKS / 2..BLOCKS).unwrap();
                std::thread::yield_now();
            }
        });
        let mut read_here = 0;
        let mut room = vec![0; FILE_BYTES as usize];
        while read_here < 300 {
            overlay.bring(0, 0..FILE_BYTES).unwrap();
            room.fill(0);
            if lazy.read_here(&file, 0, &mut room).unwrap().is_some() {
                read_here += 1;
                if room != expected {
                    is_over.store(true, Ordering::Relaxed);
                    panic!("a hole was read");
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

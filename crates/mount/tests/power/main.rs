//! Any sequence of reads, writes, syncs, cuts, fetches and losses of power: what was synced is there, what was not is either there or as if
//! it had never been, and nothing is ever half of both.
//!
//! A loss of power is played: every sector of a local file that changed since its last sync stays or goes back, by chance.

mod names;
mod torn;

use lifeboat_mount::blocks::BLOCK_BYTES;
use lifeboat_mount::journal::{FileNumber, Journal, Record, parse};
use lifeboat_mount::overlay::{NewFile, Overlay, create};
use lifeboat_mount::source::{Piece, Sink, Source, SourceError};
use lifeboat_mount::told::told;
use lifeboat_mount::view::View;
use proptest::prelude::*;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const SECTOR_BYTES: u64 = 4096;
const FILE: FileNumber = 3;

/// What a sector holds: the number of the write that made it. 0: what was in the point.
type Version = u32;

fn sector(version: Version, number: u64) -> Vec<u8> {
    let mut bytes = vec![(version % 250) as u8 + 1; SECTOR_BYTES as usize];
    bytes[..4].copy_from_slice(&version.to_le_bytes());
    bytes[4..12].copy_from_slice(&(number + 1).to_le_bytes());
    bytes
}

/// The point's content, some of it zeros, in pieces that don't keep to what was asked for.
struct Origin {
    bytes: u64,
}

fn is_zero_in_point(number: u64) -> bool {
    number % 14 >= 12
}

fn origin_sector(number: u64) -> Vec<u8> {
    if is_zero_in_point(number) { vec![0; SECTOR_BYTES as usize] } else { sector(0, number) }
}

impl Source for Origin {
    fn fetch(&self, _number: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let from = range.start.saturating_sub(BLOCK_BYTES) / BLOCK_BYTES * BLOCK_BYTES;
        let mut at = from;
        let to = (range.end + 3 * BLOCK_BYTES).min(self.bytes);
        while at < to {
            let end = (at + BLOCK_BYTES).min(to);
            let numbers = at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
            if numbers.clone().all(is_zero_in_point) {
                sink(at, Piece::Zeros(end - at))?;
            } else {
                let mut bytes: Vec<u8> = numbers.flat_map(origin_sector).collect();
                bytes.truncate((end - at) as usize);
                sink(at, Piece::Bytes(&bytes))?;
            }
            at = end;
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Read { sector: u64, sectors: u64 },
    Write { sector: u64, sectors: u64 },
    Sync,
    Cut { sectors: u64 },
    Bring { sector: u64, sectors: u64 },
    Settle,
    Stop,
    LosePower { fate: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let place = (0u64..60, 1u64..20);
    prop_oneof![
        4 => place.clone().prop_map(|(sector, sectors)| Step::Read { sector, sectors }),
        6 => place.clone().prop_map(|(sector, sectors)| Step::Write { sector, sectors }),
        3 => Just(Step::Sync),
        1 => (0u64..70).prop_map(|sectors| Step::Cut { sectors }),
        3 => place.prop_map(|(sector, sectors)| Step::Bring { sector, sectors }),
        1 => Just(Step::Settle),
        1 => Just(Step::Stop),
        2 => any::<u64>().prop_map(|fate| Step::LosePower { fate }),
    ]
}

/// What a sector may hold.
#[derive(Debug, Clone)]
enum Content {
    Point,
    Zeros,
    Write(Version),
}

/// The world: the real overlay, and what is known of it.
struct World {
    directory: tempfile::TempDir,
    /// How the file is called now.
    name: String,
    overlay: Option<Overlay>,
    origin_bytes: u64,
    versions: Version,
    /// What a reader must see now, sector by sector.
    now: Vec<Content>,
    /// What was so at the last sync, and what may have come over it since.
    durable: Vec<Vec<Content>>,
    /// The bytes of the local file at the last sync.
    synced: Vec<u8>,
    /// What was not here at the last sync, in bytes.
    missing: Vec<Range<u64>>,
}

impl World {
    fn new(origin_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let new = NewFile { number: FILE, root: 0, path: PathBuf::from("file"), bytes: origin_bytes, mode: 0o600 };
        create(&[directory.path().to_path_buf()], &[new], None, b"").unwrap();
        let now = vec![Content::Point; origin_bytes.div_ceil(SECTOR_BYTES) as usize];
        let durable = now.iter().map(|content| vec![content.clone()]).collect();
        let synced = std::fs::read(directory.path().join("file")).unwrap();
        let mut world = Self {
            directory,
            name: "file".to_owned(),
            overlay: None,
            origin_bytes,
            versions: 0,
            now,
            durable,
            synced,
            missing: Vec::new(),
        };
        world.open();
        world.is_durable();
        world
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    fn open(&mut self) {
        let source = Box::new(Origin { bytes: self.origin_bytes });
        self.overlay = Some(Overlay::open(&[self.directory.path().to_path_buf()], source).unwrap());
    }

    fn with<T>(&self, act: impl FnOnce(&Overlay, &File) -> T) -> T {
        let file = OpenOptions::new().read(true).write(true).open(self.path()).unwrap();
        act(self.overlay.as_ref().unwrap(), &file)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Read { sector, sectors } => self.check(*sector..*sector + *sectors),
            Step::Write { sector, sectors } => self.write(*sector, *sectors),
            Step::Sync => self.sync(),
            Step::Cut { sectors } => self.cut(*sectors),
            Step::Bring { sector, sectors } => {
                let range = sector * SECTOR_BYTES..(sector + sectors) * SECTOR_BYTES;
                self.overlay.as_ref().unwrap().bring(FILE, range).unwrap();
            }
            Step::Settle => {
                self.overlay.as_ref().unwrap().settle(FILE).unwrap();
                self.is_durable();
            }
            Step::Stop => {
                self.overlay = None;
                self.open();
                // What was written and not synced is lost to whoever wrote it, or is there.
                self.look_again();
            }
            Step::LosePower { fate } => self.lose_power(*fate),
        }
    }

    fn write(&mut self, first: u64, sectors: u64) {
        self.versions += 1;
        let bytes: Vec<u8> = (first..first + sectors).flat_map(|number| sector(self.versions, number)).collect();
        let offset = first * SECTOR_BYTES;
        self.with(|overlay, file| match overlay.lazy(&rustix::fs::fstat(file).unwrap()) {
            Some(lazy) => overlay.write(&lazy, file, offset, &bytes).unwrap(),
            None => file.write_all_at(&bytes, offset).unwrap(),
        });
        let end = (first + sectors) as usize;
        if end > self.now.len() {
            self.now.resize(end, Content::Zeros);
            // Whether the file became longer isn't durable either: what isn't there reads as nothing.
            self.durable.resize(end, vec![Content::Zeros]);
        }
        for number in first as usize..end {
            self.now[number] = Content::Write(self.versions);
            self.durable[number].push(Content::Write(self.versions));
        }
    }

    fn sync(&mut self) {
        self.with(|overlay, file| match overlay.lazy(&rustix::fs::fstat(file).unwrap()) {
            Some(lazy) => overlay.sync(&lazy, file).unwrap(),
            None => file.sync_data().unwrap(),
        });
        self.is_durable();
    }

    fn is_durable(&mut self) {
        self.durable = self.now.iter().map(|content| vec![content.clone()]).collect();
        self.synced = std::fs::read(self.path()).unwrap();
        self.missing = self.with(|overlay, file| {
            overlay
                .lazy(&rustix::fs::fstat(file).unwrap())
                .map(|lazy| lazy.missing(0..u64::MAX / 2))
                .unwrap_or_default()
        });
    }

    fn cut(&mut self, sectors: u64) {
        let bytes = sectors * SECTOR_BYTES;
        self.with(|overlay, file| match overlay.lazy(&rustix::fs::fstat(file).unwrap()) {
            Some(lazy) => overlay.set_length(&lazy, file, bytes).unwrap(),
            None => file.set_len(bytes).unwrap(),
        });
        let before = self.now.len();
        self.now.resize(sectors as usize, Content::Zeros);
        // Cut and made longer again is a step that tests of single sectors can't follow through a loss of power: sync it.
        if sectors as usize != before {
            self.sync();
        }
    }

    /// Each sector that changed since the last sync stays as it is or goes back.
    fn lose_power(&mut self, mut fate: u64) {
        self.overlay = None;
        let mut bytes = std::fs::read(self.path()).unwrap();
        let length = bytes.len().max(self.synced.len());
        bytes.resize(length, 0);
        self.synced.resize(length, 0);
        for (new, old) in bytes.chunks_mut(SECTOR_BYTES as usize).zip(self.synced.chunks(SECTOR_BYTES as usize)) {
            fate = fate.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if fate >> 63 == 1 {
                new.copy_from_slice(old);
            }
        }
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        self.open();
        self.look_again();
    }

    /// After a stop: what is there must be one of what may be there, and from now on it is that.
    fn look_again(&mut self) {
        let mut seen = Vec::new();
        for number in 0..self.now.len() as u64 {
            let bytes = self.read(number..number + 1);
            // What wasn't here comes from the point again, whole: a write that was not synced has never been.
            let was_missing = self.missing.iter().any(|range| range.contains(&(number * SECTOR_BYTES)));
            let may_be = if was_missing { &self.durable[number as usize][..1] } else { &self.durable[number as usize] };
            let may_be = may_be.iter().rev().find(|content| self.expected(content, number, &bytes) == bytes);
            match may_be {
                Some(content) => seen.push(content.clone()),
                None => {
                    panic!("sector {number} holds {:?}, and may be {:?}", &bytes[..12], self.durable[number as usize])
                }
            }
        }
        self.now = seen;
        self.is_durable();
    }

    fn read(&self, sectors: Range<u64>) -> Vec<u8> {
        let mut room = vec![0; ((sectors.end - sectors.start) * SECTOR_BYTES) as usize];
        let offset = sectors.start * SECTOR_BYTES;
        let length = self.with(|overlay, file| match overlay.lazy(&rustix::fs::fstat(file).unwrap()) {
            Some(lazy) => overlay.read(&lazy, file, offset, &mut room).unwrap(),
            None => lifeboat_mount::overlay::read_full(file, offset, &mut room).unwrap(),
        });
        room.truncate(length);
        room
    }

    fn expected(&self, content: &Content, number: u64, read: &[u8]) -> Vec<u8> {
        expected(content, number, read, self.origin_bytes)
    }

    fn check(&self, sectors: Range<u64>) {
        for number in sectors.start..sectors.end.min(self.now.len() as u64) {
            let bytes = self.read(number..number + 1);
            let content = &self.now[number as usize];
            assert!(
                bytes == self.expected(content, number, &bytes),
                "sector {number}: {:?}, not {content:?}",
                &bytes[..12]
            );
        }
        // In one go, too.
        let end = sectors.end.min(self.now.len() as u64);
        if sectors.start < end {
            let one_by_one: Vec<u8> = (sectors.start..end).flat_map(|number| self.read(number..number + 1)).collect();
            assert!(self.read(sectors.start..end) == one_by_one);
        }
    }
}

/// As much of a sector as was read: a file may end in it.
fn expected(content: &Content, number: u64, read: &[u8], origin_bytes: u64) -> Vec<u8> {
    let mut bytes = match content {
        Content::Point => {
            // Behind the end that the file had in the point are zeros, if it became longer.
            let mut bytes = origin_sector(number);
            bytes.truncate(origin_bytes.saturating_sub(number * SECTOR_BYTES).min(SECTOR_BYTES) as usize);
            bytes.resize(SECTOR_BYTES as usize, 0);
            bytes
        }
        Content::Zeros => vec![0; SECTOR_BYTES as usize],
        Content::Write(version) => sector(*version, number),
    };
    bytes.truncate(read.len());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_was_synced_is_there(origin_bytes in 1u64..60 * SECTOR_BYTES, steps in prop::collection::vec(any_step(), 1..40)) {
        let mut world = World::new(origin_bytes);
        for step in &steps {
            world.step(step);
        }
        let all = 0..world.now.len() as u64;
        world.check(all);
        finish(world);
    }
}

/// All of it comes, and what is left is an ordinary directory with the same content.
fn finish(mut world: World) {
    let overlay = world.overlay.take().unwrap();
    overlay.bring(FILE, 0..u64::MAX / 2).unwrap();
    overlay.settle(FILE).unwrap();
    assert_eq!(overlay.numbers(), []);
    overlay.finish(&View::default()).unwrap();
    let names: Vec<_> =
        std::fs::read_dir(world.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
    let bytes = std::fs::read(world.path()).unwrap();
    for (number, sector) in (0..).zip(bytes.chunks(SECTOR_BYTES as usize)) {
        assert!(
            sector == world.expected(&world.now[number as usize], number, sector),
            "sector {number} of the file that is left"
        );
    }
}

#[test]
fn a_removed_file_and_another_of_its_name_have_nothing_in_common() {
    let world = World::new(8 * SECTOR_BYTES);
    std::fs::remove_file(world.path()).unwrap();
    std::fs::write(world.path(), b"another").unwrap();
    world.with(|overlay, file| assert!(overlay.lazy(&rustix::fs::fstat(file).unwrap()).is_none()));
    let overlay = world.overlay.as_ref().unwrap();
    overlay.retire_removed().unwrap();
    assert_eq!(overlay.numbers(), []);
    assert!(Path::new(&world.path()).exists());
}

#[test]
fn a_cut_that_a_crash_interrupted_is_finished() {
    let mut world = World::new(8 * SECTOR_BYTES);
    world.overlay = None;
    let journal = world.directory.path().join(".lifeboat-mount/journal");
    let (journal, _) = Journal::open(&journal).unwrap();
    journal.append(&[Record::Shortening { number: FILE, bytes: 2 * SECTOR_BYTES }]).unwrap();
    drop(journal);
    world.open();
    assert_eq!(std::fs::metadata(world.path()).unwrap().len(), 2 * SECTOR_BYTES);
    // Longer again, it is zeros there, and stays longer.
    world.with(|overlay, file| {
        let lazy = overlay.lazy(&rustix::fs::fstat(file).unwrap()).unwrap();
        overlay.set_length(&lazy, file, 6 * SECTOR_BYTES).unwrap();
    });
    world.overlay = None;
    world.open();
    assert_eq!(world.read(0..2), [origin_sector(0), origin_sector(1)].concat());
    assert_eq!(world.read(2..8), vec![0; 4 * SECTOR_BYTES as usize]);
}

#[test]
fn a_file_that_lost_its_end_is_refused() {
    let mut world = World::new(8 * SECTOR_BYTES);
    world.overlay = None;
    OpenOptions::new().write(true).open(world.path()).unwrap().set_len(SECTOR_BYTES).unwrap();
    let source = Box::new(Origin { bytes: world.origin_bytes });
    let refused = Overlay::open(&[world.directory.path().to_path_buf()], source).err().unwrap();
    assert!(refused.to_string().contains("has 4096 bytes, the journal says 32768"), "{refused}");
}

#[test]
fn two_never_serve_one_directory() {
    let mut world = World::new(8 * SECTOR_BYTES);
    let top = [world.directory.path().to_path_buf()];
    let second = || Overlay::open(&top, Box::new(Origin { bytes: 8 * SECTOR_BYTES }));
    assert!(second().err().unwrap().to_string().contains("another process serves it"));
    world.overlay = None;
    second().unwrap();
}

#[test]
fn a_directory_whose_disk_is_not_there_does_not_look_whole() {
    let (top, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let new = |number, root| NewFile { number, root, path: "file".into(), bytes: SECTOR_BYTES, mode: 0o600 };
    let roots = [top.path().to_path_buf(), other.path().to_path_buf()];
    create(&roots, &[new(1, 0), new(2, 1)], None, b"").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let open = |second: &Path| Overlay::open(&[roots[0].clone(), second.to_path_buf()], Box::new(Origin { bytes: 0 }));
    let refused = open(elsewhere.path()).err().unwrap().to_string();
    assert!(refused.starts_with("look for files that are still coming in"), "{refused}");
    assert_eq!(open(other.path()).unwrap().numbers(), [1, 2]);
}

/// Several who write, sync, settle and cut one file at once; then the power goes: what a sync covered is there.
#[test]
fn who_syncs_at_once_with_others_loses_nothing() {
    for round in 0..24u64 {
        let mut world = World::new(40 * BLOCK_BYTES);
        let journal = world.directory.path().join(".lifeboat-mount/journal");
        let synced: Vec<u64> = world.with(|overlay, file| {
            let lazy = overlay.lazy(&rustix::fs::fstat(file).unwrap()).unwrap();
            let write = |number: u64| {
                overlay.write(&lazy, file, number * BLOCK_BYTES, &[number as u8 + 1; BLOCK_BYTES as usize]).unwrap();
                overlay.sync(&lazy, file).unwrap();
                // If the power went now.
                let said = parse(&std::fs::read(&journal).unwrap()).unwrap().records;
                assert!(
                    told(&said)[&FILE].local.contains(number),
                    "block {number} was synced, and is not in the journal"
                );
                number
            };
            std::thread::scope(|scope| {
                let writers: Vec<_> = (0..3)
                    .map(|first| scope.spawn(move || (0..8).map(|at| write(first + 3 * at)).collect::<Vec<_>>()))
                    .collect();
                scope.spawn(|| (0..20).for_each(|_| overlay.settle(FILE).unwrap()));
                scope.spawn(|| overlay.bring(FILE, 24 * BLOCK_BYTES..34 * BLOCK_BYTES).unwrap());
                // Behind all that is written: it becomes shorter, then longer.
                scope.spawn(|| {
                    for blocks in [38, 36, 39, 35 + round % 3] {
                        overlay.set_length(&lazy, file, blocks * BLOCK_BYTES).unwrap();
                    }
                });
                writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
            })
        });
        // Blocks of which the journal doesn't say that they are here, are as they were before.
        world.overlay = None;
        let told = told(&Journal::open(&journal).unwrap().1).remove(&FILE).unwrap();
        let file = OpenOptions::new().write(true).open(world.path()).unwrap();
        for run in told.local.missing(0..told.local.blocks()) {
            let bytes = (run.end * BLOCK_BYTES).min(told.bytes) - run.start * BLOCK_BYTES;
            file.write_all_at(&vec![0; bytes as usize], run.start * BLOCK_BYTES).unwrap();
        }
        world.open();
        for number in synced {
            let sectors = number * BLOCK_BYTES / SECTOR_BYTES..(number + 1) * BLOCK_BYTES / SECTOR_BYTES;
            assert!(
                world.read(sectors) == vec![number as u8 + 1; BLOCK_BYTES as usize],
                "block {number} of round {round}"
            );
        }
        for number in 24 * BLOCK_BYTES / SECTOR_BYTES..34 * BLOCK_BYTES / SECTOR_BYTES {
            assert!(world.read(number..number + 1) == origin_sector(number), "sector {number}");
        }
        assert!(world.read(0..200).len() as u64 == (35 + round % 3) * BLOCK_BYTES);
    }
}

/// Files are removed and retired while others are made, which get their inodes: no new one is taken for one that is still coming.
#[test]
fn who_gets_the_inode_of_a_retired_file_is_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    let name = |number: u32| PathBuf::from(format!("coming {number}"));
    let new = |number| NewFile { number, root: 0, path: name(number), bytes: SECTOR_BYTES, mode: 0o600 };
    create(&[top.to_path_buf()], &(0..2000).map(new).collect::<Vec<_>>(), None, b"").unwrap();
    let overlay = Overlay::open(&[top.to_path_buf()], Box::new(Origin { bytes: SECTOR_BYTES })).unwrap();
    let inodes: std::collections::HashSet<u64> =
        (0..2000).map(|number| std::fs::metadata(top.join(name(number))).unwrap().ino()).collect();
    let (is_done, again) = (std::sync::atomic::AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let path = top.join(format!("new {}", number % 1000));
                let _ = std::fs::remove_file(&path);
                let stat = rustix::fs::fstat(File::create(&path).unwrap()).unwrap();
                assert!(overlay.lazy(&stat).is_none(), "a new file is taken for one that is coming");
                again.fetch_add(u64::from(inodes.contains(&stat.st_ino)), std::sync::atomic::Ordering::Relaxed);
            }
        });
        for first in (0..2000).step_by(1000) {
            (first..first + 1000).for_each(|number| std::fs::remove_file(top.join(name(number))).unwrap());
            overlay.retire_removed().unwrap();
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(overlay.numbers(), []);
    let again = again.into_inner();
    println!("{again} new files had the inode of one that was retired");
}

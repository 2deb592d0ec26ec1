//! `kill -9` of the mount at any moment, while it is written through and everything comes: what was synced is there, and no page is
//! half of two.

use lifeboat_mount::hydrate::{Part, UntilTold, hydrate};
use lifeboat_mount::journal::FileNumber;
use lifeboat_mount::mount::{State, mount, state_of, take_stale_away};
use lifeboat_mount::overlay::{NewFile, Overlay, create};
use lifeboat_mount::source::{Piece, Sink, Source, SourceError};
use lifeboat_mount::view::View;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DIRECTORY: &str = "LIFEBOAT_MOUNT_TEST_DIRECTORY";
const PAGE_BYTES: u64 = 8192;
const PAGES: u64 = 4096;
const ROUNDS: u64 = 12;
const FILE: &str = "relation";

fn page(version: u64, page: u64) -> Vec<u8> {
    [version, page].iter().flat_map(|word| word.to_le_bytes()).cycle().take(PAGE_BYTES as usize).collect()
}

struct Slow;

impl Source for Slow {
    fn fetch(&self, _number: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        for at in range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES) {
            std::thread::sleep(Duration::from_micros(100));
            sink(at * PAGE_BYTES, Piece::Bytes(&page(0, at)))?;
        }
        Ok(())
    }
}

fn opened(top: &Path) -> Overlay {
    Overlay::open(&[top.to_path_buf()], Box::new(Slow)).unwrap()
}

/// The mount that is killed: a program of its own, this one with another name of a test.
#[test]
#[ignore = "is run by the other test here"]
fn serve() {
    let top = std::env::var_os(DIRECTORY).expect("is run by the other test here");
    let overlay = Arc::new(opened(Path::new(&top)));
    let _mounted = mount(overlay.clone(), &View::default()).unwrap();
    println!("ready");
    let span = 32 * PAGE_BYTES;
    // From the end: writes begin everywhere.
    let parts = (0..PAGES * PAGE_BYTES / span).rev().map(|at| Part {
        number: 0,
        bytes: at * span..(at + 1) * span,
        is_to_settle: at % 3 == 0,
    });
    hydrate(&overlay, parts.collect(), 2, &UntilTold::default());
    // Until it is killed, or whoever started it is gone.
    let _ = std::io::stdin().read(&mut [0]);
}

fn served(top: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "serve", "--ignored", "--nocapture"]).env(DIRECTORY, top);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready")), "needs /dev/fuse, and root or fusermount3");
    child
}

/// What is known of a page: what it held at the last sync, and what was written over it since.
type Known = Vec<u64>;

/// Writes anywhere and syncs, until there is nobody to take it.
fn write(top: &Path, mut known: Vec<Known>, mut version: u64, mut random: u64) -> (Vec<Known>, u64) {
    let Ok(file) = OpenOptions::new().write(true).open(top.join(FILE)) else { return (known, version) };
    loop {
        let mut written = Vec::new();
        for _ in 0..5 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (random >> 33) % PAGES;
            version += 1;
            known[at as usize].push(version);
            if file.write_all_at(&page(version, at), at * PAGE_BYTES).is_err() {
                return (known, version);
            }
            written.push((at, version));
        }
        if file.sync_data().is_err() {
            return (known, version);
        }
        written.into_iter().for_each(|(at, version)| known[at as usize] = vec![version]);
    }
}

/// What is there must be one of what may be there. From now on it is that.
fn look(file: &File, known: &mut [Known]) {
    for (at, known) in (0..).zip(known) {
        let mut room = vec![0; PAGE_BYTES as usize];
        file.read_exact_at(&mut room, at * PAGE_BYTES).unwrap();
        let found = known.iter().rev().find(|version| page(**version, at) == room);
        let found = *found.unwrap_or_else(|| panic!("page {at} holds {:?}, and may be {known:?}", &room[..16]));
        *known = vec![found];
    }
}

#[test]
fn what_was_synced_outlives_the_mount() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    let new = NewFile { number: 0, root: 0, path: FILE.into(), bytes: PAGES * PAGE_BYTES, mode: 0o600 };
    create(&[top.to_path_buf()], &[new], None, b"").unwrap();
    let seed: u64 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into();
    let seed: u64 = std::env::var("LIFEBOAT_SEED").map_or(seed, |seed| seed.parse().unwrap());
    println!("LIFEBOAT_SEED={seed}");
    let (mut known, mut version) = (vec![vec![0]; PAGES as usize], 0);
    for round in 0..ROUNDS {
        let mut child = served(top);
        if round % 3 == 2 {
            look(&File::open(top.join(FILE)).unwrap(), &mut known);
        }
        let random: u64 = (seed ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let writer = std::thread::spawn({
            let (top, known) = (top.to_path_buf(), known);
            move || write(&top, known, version, random)
        });
        // The moment is the fault that is injected: nothing is waited for.
        std::thread::sleep(Duration::from_millis(random >> 20 & 255));
        child.kill().unwrap();
        child.wait().unwrap();
        (known, version) = writer.join().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while state_of(top) != State::Stale {
            assert!(Instant::now() < deadline, "{:?}", state_of(top));
        }
        take_stale_away(top).unwrap();
    }
    assert!(version > 100, "{version} pages were written");
    let overlay = opened(top);
    hydrate(
        &overlay,
        vec![Part { number: 0, bytes: 0..PAGES * PAGE_BYTES, is_to_settle: true }],
        1,
        &UntilTold::default(),
    );
    overlay.finish(&View::default()).unwrap();
    look(&File::open(top.join(FILE)).unwrap(), &mut known);
    assert_eq!(fs::read_dir(top).unwrap().count(), 1);
}

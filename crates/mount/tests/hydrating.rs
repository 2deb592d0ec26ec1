//! Everything comes in the background, while others read and write, with a source that fails, and over several starts.

use lifeboat_mount::hydrate::{Part, UntilTold, Watcher, hydrate};
use lifeboat_mount::journal::FileNumber;
use lifeboat_mount::lazy::BringError;
use lifeboat_mount::overlay::{NewFile, Overlay, create, read_full};
use lifeboat_mount::source::{Piece, Sink, Source, SourceError};
use lifeboat_mount::view::View;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PAGE_BYTES: u64 = 8192;
const PAGES: u64 = 2048;
const FILES: FileNumber = 3;

fn page(version: u64, number: FileNumber, page: u64) -> Vec<u8> {
    let words = [version, number.into(), page];
    words.iter().flat_map(|word| word.to_le_bytes()).cycle().take(PAGE_BYTES as usize).collect()
}

/// Fails every so often, and counts what it gives.
#[derive(Clone, Default)]
struct Flaky {
    calls: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Source for Flaky {
    fn fetch(&self, number: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let fails = self.calls.fetch_add(1, Ordering::Relaxed) % 7 == 3;
        for at in range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES) {
            if fails && at * 2 > range.start / PAGE_BYTES + range.end / PAGE_BYTES {
                return Err("in the middle".into());
            }
            self.bytes.fetch_add(PAGE_BYTES, Ordering::Relaxed);
            sink(at * PAGE_BYTES, Piece::Bytes(&page(0, number, at)))?;
        }
        Ok(())
    }
}

fn name(number: FileNumber) -> PathBuf {
    PathBuf::from(format!("file {number}"))
}

fn made(top: &Path) {
    let bytes = PAGES * PAGE_BYTES;
    let file = |number| NewFile { number, root: 0, path: name(number), bytes, mode: 0o600 };
    create(&[top.to_path_buf()], &(0..FILES).map(file).collect::<Vec<_>>(), None, b"").unwrap();
}

fn opened(top: &Path, source: &Flaky) -> Overlay {
    Overlay::open(&[top.to_path_buf()], Box::new(source.clone())).unwrap()
}

fn parts() -> Vec<Part> {
    let span = 64 * PAGE_BYTES;
    let of = |number| {
        (0..PAGES * PAGE_BYTES / span).map(move |at| Part {
            number,
            bytes: at * span..(at + 1) * span,
            is_to_settle: at % 3 == 0,
        })
    };
    (0..FILES).flat_map(of).collect()
}

fn open(top: &Path, number: FileNumber) -> File {
    OpenOptions::new().read(true).write(true).open(top.join(name(number))).unwrap()
}

/// Writes as a server does, page by page, anywhere, and syncs now and then. Returns what each page should hold.
fn write(overlay: &Overlay, top: &Path, number: FileNumber) -> Vec<u64> {
    let file = open(top, number);
    let lazy = overlay.lazy(&rustix::fs::fstat(&file).unwrap());
    let mut versions = vec![0; PAGES as usize];
    let mut random = u64::from(number) + 1;
    for version in 1..3000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 33) % PAGES;
        let lazy = lazy.as_ref().expect("opened before anything came");
        overlay.write(lazy, &file, at * PAGE_BYTES, &page(version, number, at)).unwrap();
        versions[at as usize] = version;
        if version % 500 == 0 {
            overlay.sync(lazy, &file).unwrap();
        }
        if version % 3 == 0 {
            let (at, mut room) = ((random >> 20) % PAGES, vec![0; PAGE_BYTES as usize]);
            // The source fails at times, and then it is an error, and never another page.
            if overlay.read(lazy, &file, at * PAGE_BYTES, &mut room).is_ok() {
                assert!(room == page(versions[at as usize], number, at), "page {at} of file {number}");
            }
        }
    }
    versions
}

#[test]
fn what_comes_never_lies_over_what_was_written() {
    let (directory, source) = (tempfile::tempdir().unwrap(), Flaky::default());
    let top = directory.path();
    made(top);
    let overlay = opened(top, &source);
    let versions: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..FILES)
            .map(|number| {
                scope.spawn({
                    let overlay = &overlay;
                    move || write(overlay, top, number)
                })
            })
            .collect();
        assert!(hydrate(&overlay, parts(), 2, &UntilTold::default()));
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    overlay.finish(&View::default()).unwrap();
    for (number, versions) in (0..FILES).zip(&versions) {
        let (file, mut room) = (open(top, number), vec![0; (PAGES * PAGE_BYTES) as usize]);
        assert_eq!(read_full(&file, 0, &mut room).unwrap() as u64, PAGES * PAGE_BYTES);
        for (at, found) in (0..PAGES).zip(room.chunks(PAGE_BYTES as usize)) {
            assert!(found == page(versions[at as usize], number, at), "page {at} of file {number}");
        }
    }
}

/// Ends after so many parts.
struct After(AtomicU64);

impl Watcher for After {
    fn arrived(&self, _part: &Part, _bytes: u64) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    }

    fn failed(&self, _part: &Part, _error: &BringError) {}

    fn unsettled(&self, _error: &std::io::Error) {}

    fn is_to_end(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Who is told to end when nothing is left to do has done it.
#[test]
fn a_stop_after_the_last_part_is_none() {
    let (directory, source) = (tempfile::tempdir().unwrap(), Flaky::default());
    made(directory.path());
    let all = parts().len() as u64;
    assert!(hydrate(&opened(directory.path(), &source), parts(), 2, &After(AtomicU64::new(all))));
}

#[test]
fn what_came_before_a_stop_does_not_come_again() {
    let (directory, source) = (tempfile::tempdir().unwrap(), Flaky::default());
    let top = directory.path();
    made(top);
    for _ in 0..3 {
        let before = source.bytes.load(Ordering::Relaxed);
        assert!(!hydrate(&opened(top, &source), parts(), 2, &After(AtomicU64::new(20))));
        assert!(source.bytes.load(Ordering::Relaxed) > before);
    }
    assert!(hydrate(&opened(top, &source), parts(), 2, &UntilTold::default()));
    assert_eq!(opened(top, &source).arrived().files, 0);
    // Parts that were under way when it was stopped are settled too: nothing comes twice.
    assert_eq!(source.bytes.load(Ordering::Relaxed), u64::from(FILES) * PAGES * PAGE_BYTES);
}

#[test]
fn of_a_removed_file_nothing_comes() {
    let (directory, source) = (tempfile::tempdir().unwrap(), Flaky::default());
    let top = directory.path();
    made(top);
    let overlay = opened(top, &source);
    std::fs::remove_file(top.join(name(1))).unwrap();
    assert!(hydrate(&overlay, parts(), 2, &UntilTold::default()));
    assert_eq!(source.bytes.load(Ordering::Relaxed), u64::from(FILES - 1) * PAGES * PAGE_BYTES);
}

/// Gives nothing; then one page, and all else only when it is told to.
#[derive(Clone, Default)]
struct Away {
    is_back: Arc<AtomicBool>,
    is_all_there: Arc<AtomicBool>,
}

const REFUSED: Range<u64> = 1000 * PAGE_BYTES..1001 * PAGE_BYTES;

impl Source for Away {
    fn fetch(&self, number: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        if !self.is_back.load(Ordering::Relaxed) {
            return Err("away".into());
        }
        while (number, &range) != (2, &REFUSED) && !self.is_all_there.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Flaky::default().fetch(number, range, sink)
    }

    fn name_of(&self, number: FileNumber) -> String {
        format!("base/5/{number}")
    }
}

fn refused(overlay: &Overlay, top: &Path, number: FileNumber) {
    let file = open(top, number);
    let lazy = overlay.lazy(&rustix::fs::fstat(&file).unwrap()).unwrap();
    assert!(overlay.read(&lazy, &file, REFUSED.start, &mut [0; PAGE_BYTES as usize]).is_err());
}

#[test]
fn what_somebody_was_refused_comes_before_the_rest() {
    let (directory, source) = (tempfile::tempdir().unwrap(), Away::default());
    let top = directory.path();
    made(top);
    let overlay = Overlay::open(&[top.to_path_buf()], Box::new(source.clone())).unwrap();
    refused(&overlay, top, 2);
    let told = overlay.refused();
    assert_eq!(told.len(), 1);
    assert!(told[0].why.ends_with("of base/5/2: away") && !told[0].is_local, "{told:?}");
    source.is_back.store(true, Ordering::Relaxed);
    let is_first = std::thread::scope(|scope| {
        let hydrating = scope.spawn(|| hydrate(&overlay, parts(), 2, &UntilTold::default()));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !overlay.refused().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let is_first = overlay.refused().is_empty();
        source.is_all_there.store(true, Ordering::Relaxed);
        assert!(hydrating.join().unwrap());
        is_first
    });
    assert!(is_first, "it waits for the rest");
}

#[test]
fn of_a_removed_file_nothing_is_refused() {
    let (directory, source) = (tempfile::tempdir().unwrap(), Away::default());
    let top = directory.path();
    made(top);
    let overlay = Overlay::open(&[top.to_path_buf()], Box::new(source)).unwrap();
    refused(&overlay, top, 1);
    refused(&overlay, top, 2);
    std::fs::remove_file(top.join(name(1))).unwrap();
    assert_eq!(overlay.refused().iter().map(|refusal| refusal.number).collect::<Vec<_>>(), [2]);
}

//! Bringing all that nobody asked for yet, without getting in the way of those who ask.

use crate::journal::FileNumber;
use crate::lazy::BringError;
use crate::overlay::Overlay;
use crate::part::PartRoom;
use crate::waiting::Refusal;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long who brings stays out of the way when somebody waits for the source; and at most, for each part, or where many read all day the
/// rest would never come.
const ASIDE: Duration = Duration::from_millis(5);
const ASIDE_MAX: Duration = Duration::from_secs(1);
/// The processor is for those who ask.
const NICENESS: i32 = 15;
/// How long it waits after the source, or the disk, failed: at first, and at most.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
const AFTER_FAILURE_MAX: Duration = Duration::from_secs(10);

/// What comes slowly is made durable this often, or who is killed again and again would fetch the same again and again.
const SETTLE_EVERY: Duration = Duration::from_secs(5);

/// How often is tried again what somebody was refused: he may ask again soon, and no order of parts knows of him.
const REFUSED_EVERY: Duration = Duration::from_secs(5);

/// A part that is no longer than this costs hardly more than the way to the source and back.
const SMALL_BYTES_MAX: u64 = 256 * 1024;
/// So many of those come at once, beside all else.
const SMALL_AT_ONCE: usize = 12;

/// A part of a file. Brought whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Of which file.
    pub number: FileNumber,
    /// Which bytes of it.
    pub bytes: Range<u64>,
    /// Whether what came of the file is made durable behind it. What isn't then is when all parts were tried.
    pub is_to_settle: bool,
}

/// Told of what comes, and asked whether to go on.
pub trait Watcher: Sync {
    /// A part is here. So many bytes of it came just now.
    fn arrived(&self, part: &Part, bytes: u64);

    /// A part could not be had. It is tried again after the others.
    fn failed(&self, part: &Part, error: &BringError);

    /// What came can't be made durable, and is not done with: the local disk. It is tried again.
    fn unsettled(&self, error: &io::Error);

    /// Whether to end soon.
    fn is_to_end(&self) -> bool;
}

/// Brings the parts in order, with so many threads; and with more, which hardly work and mostly wait, the small ones, which so come before
/// larger ones that are before them. What fails is tried again when all else was tried, until it is here or the watcher ends it. Returns
/// whether everything is here.
pub fn hydrate(overlay: &Overlay, parts: Vec<Part>, threads: usize, watcher: &dyn Watcher) -> bool {
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || bring_refused(overlay, watcher, &is_over));
        let is_whole = all(overlay, parts, threads, watcher);
        drop(over);
        is_whole
    })
}

/// Brings what somebody was refused, again and again, until it is over.
fn bring_refused(overlay: &Overlay, watcher: &dyn Watcher, is_over: &Receiver<()>) {
    let _ = rustix::process::nice(NICENESS);
    let mut room = PartRoom::default();
    while is_over.recv_timeout(REFUSED_EVERY) == Err(RecvTimeoutError::Timeout) {
        for Refusal { number, bytes, .. } in overlay.refused() {
            if watcher.is_to_end() {
                return;
            }
            let part = Part { number, bytes, is_to_settle: false };
            // Who brings the rest tells of what fails.
            if let Ok(bytes) = bring(overlay, &part, &mut room) {
                watcher.arrived(&part, bytes);
            }
        }
    }
}

fn all(overlay: &Overlay, parts: Vec<Part>, threads: usize, watcher: &dyn Watcher) -> bool {
    let (mut left, mut patience) = (parts, AFTER_FAILURE);
    while !left.is_empty() {
        let failed = round(overlay, &left, threads, watcher);
        if let Err(error) = overlay.settle_all() {
            watcher.unsettled(&error);
        }
        if watcher.is_to_end() {
            // The last part may have come just before.
            break;
        }
        if failed.len() < left.len() {
            patience = AFTER_FAILURE;
        }
        if !failed.is_empty() {
            wait(patience, watcher);
            patience = (patience * 2).min(AFTER_FAILURE_MAX);
        }
        left = failed;
    }
    let _ = overlay.retire_removed();
    overlay.arrived().files == 0
}

/// Parts that are taken in order, by whoever is free: by all of them, or by those who take small ones only.
struct Queue<'a> {
    parts: &'a [Part],
    /// The next small one, and the next other one: there or behind.
    next: Mutex<[usize; 2]>,
}

impl<'a> Queue<'a> {
    fn of(parts: &'a [Part]) -> Self {
        Self { parts, next: Mutex::default() }
    }

    fn take(&self, only_small: bool) -> Option<&'a Part> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = [None; 2];
        for (kind, at) in next.iter_mut().enumerate() {
            let is_meant = |part: &Part| is_small(part) == (kind == 0);
            *at += self.parts[*at..].iter().take_while(|part| !is_meant(part)).count();
            found[kind] = self.parts.get(*at);
        }
        let kind = match (found, only_small) {
            ([_, Some(_)], false) if found[0].is_none() || next[1] < next[0] => 1,
            _ => 0,
        };
        let part = found[kind]?;
        next[kind] += 1;
        Some(part)
    }
}

fn is_small(part: &Part) -> bool {
    part.bytes.end - part.bytes.start <= SMALL_BYTES_MAX
}

/// Tries each part once. Returns those that could not be had.
fn round(overlay: &Overlay, parts: &[Part], threads: usize, watcher: &dyn Watcher) -> Vec<Part> {
    let queue = Queue::of(parts);
    let failed = Mutex::new(Vec::new());
    let work = |only_small: bool| {
        // Of this thread only.
        let _ = rustix::process::nice(NICENESS);
        let (mut room, mut settled) = (PartRoom::default(), Instant::now());
        while let Some(part) = queue.take(only_small) {
            let until = Instant::now() + ASIDE_MAX;
            while overlay.is_waited_for() && Instant::now() < until && !watcher.is_to_end() {
                std::thread::sleep(ASIDE);
            }
            if watcher.is_to_end() {
                return;
            }
            match bring(overlay, part, &mut room) {
                Ok(bytes) => {
                    watcher.arrived(part, bytes);
                    if part.is_to_settle {
                        settled = Instant::now();
                    } else if settled.elapsed() >= SETTLE_EVERY {
                        // What can't be made durable now is when all parts were tried.
                        let _ = overlay.settle(part.number);
                        settled = Instant::now();
                    }
                }
                Err(error) => {
                    watcher.failed(part, &error);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push(part.clone());
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        for _ in 0..threads.max(1) {
            scope.spawn(move || work(false));
        }
        for _ in 0..SMALL_AT_ONCE.min(parts.iter().filter(|part| is_small(part)).count()) {
            scope.spawn(move || work(true));
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn bring(overlay: &Overlay, part: &Part, room: &mut PartRoom) -> Result<u64, BringError> {
    let missing: u64 =
        overlay.missing(part.number, part.bytes.clone()).iter().map(|range| range.end - range.start).sum();
    overlay.bring_part(part.number, part.bytes.clone(), room)?;
    if part.is_to_settle {
        overlay.settle(part.number)?;
    }
    Ok(missing)
}

fn wait(time: Duration, watcher: &dyn Watcher) {
    let mut left = time;
    while !left.is_zero() && !watcher.is_to_end() {
        let now = left.min(Duration::from_millis(50));
        std::thread::sleep(now);
        left -= now;
    }
}

/// A watcher that only ends when it is told to.
#[derive(Debug, Default)]
pub struct UntilTold(pub AtomicBool);

impl Watcher for UntilTold {
    fn arrived(&self, _part: &Part, _bytes: u64) {}

    fn failed(&self, part: &Part, error: &BringError) {
        tracing::warn!("{:?} of file {}: {error}", part.bytes, part.number);
    }

    fn unsettled(&self, error: &io::Error) {
        tracing::warn!(%error, "what came is not durable yet");
    }

    fn is_to_end(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_in_order_and_small_ones_by_some_before_their_turn() {
        let bytes = [9, SMALL_BYTES_MAX + 1, SMALL_BYTES_MAX, 1 << 30, 1 << 20, 5];
        let part = |(number, bytes)| Part { number, bytes: 0..bytes, is_to_settle: true };
        let parts: Vec<Part> = (0..).zip(bytes).map(part).collect();
        // By whom, and what they got.
        let all = [(false, Some(0)), (false, Some(1)), (false, Some(2)), (false, Some(3)), (false, Some(4))];
        let small = [(true, Some(0)), (true, Some(2)), (false, Some(1)), (true, Some(5)), (true, None)];
        for taken in [all, small] {
            let queue = Queue::of(&parts);
            for (only_small, number) in taken {
                assert_eq!(queue.take(only_small).map(|part| part.number), number, "{taken:?}");
            }
        }
        assert!(Queue::of(&[]).take(false).is_none());
    }
}

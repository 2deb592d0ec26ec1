//! Where the content of files comes from.

use crate::journal::FileNumber;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why something could not be had, in words for a log.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// A part of a file.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
}

impl<'a> Piece<'a> {
    /// Length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(bytes) => *bytes,
        }
    }

    /// The part of it in `range`, which lies in it.
    pub fn part(&self, range: Range<u64>) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(&bytes[range.start as usize..range.end as usize]),
            Self::Zeros(_) => Self::Zeros(range.end - range.start),
        }
    }
}

/// Takes pieces of a file: the offset of each and what lies there.
pub type Sink<'a> = dyn FnMut(u64, Piece<'_>) -> io::Result<()> + Send + 'a;

/// Gives the content of files as it was when they were captured. May be slow, and is asked by several threads at once.
pub trait Source: Send + Sync {
    /// Gives all of `range` of a file to `sink`, in pieces, in any order. It may give more of the file, when that comes for nothing.
    fn fetch(&self, number: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError>;

    /// What people call a file.
    fn name_of(&self, number: FileNumber) -> String {
        format!("file {number}")
    }
}

/// Counts what another one gives.
pub struct Counted<'a> {
    source: &'a dyn Source,
    count: &'a Count,
}

/// What a source gave.
#[derive(Debug, Default)]
pub struct Count {
    times: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    /// How often it was asked, and how many bytes it gave.
    pub fn now(&self) -> (u64, u64) {
        (self.times.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl<'a> Counted<'a> {
    /// What is given is added to `count`; zeros cost nothing, and don't count.
    pub fn new(source: &'a dyn Source, count: &'a Count) -> Self {
        Self { source, count }
    }
}

impl Source for Counted<'_> {
    fn fetch(&self, number: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        self.count.times.fetch_add(1, Ordering::Relaxed);
        self.source.fetch(number, range, &mut |offset, piece| {
            if let Piece::Bytes(bytes) = piece {
                self.count.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            sink(offset, piece)
        })
    }

    fn name_of(&self, number: FileNumber) -> String {
        self.source.name_of(number)
    }
}

//! The archived log in order: the bytes of one segment after the other, and the records in them.
//!
//! Promise: bytes that can't be trusted are as bytes that aren't there; whoever reads is told where records don't follow on one another.
//!
//! Not here: which segments, what the records mean.

use crate::error::Result;
use crate::observe::content;
use futures::{Stream, StreamExt};
use lifeboat_postgres::wal::{DecoderSettings, Record, RecordDecoder};
use lifeboat_postgres::wal_file::Segment;
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_workload::postgres::wal::{Inventory, WalArchive, WalError};
use std::ops::ControlFlow;

/// Segments that wait to be looked at, in bytes: a slow location answers several requests in the time of one.
const AHEAD_BYTES_MAX: u64 = 64 << 20;

/// What is archived of a segment, from its first byte on.
pub(crate) struct Piece {
    /// Which.
    pub segment: Segment,
    /// Nothing when it is lost, damaged, or has two contents.
    pub bytes: Vec<u8>,
}

/// The segments, one after the other, each up to where its use ends if that is not its end.
pub(crate) fn pieces<'a>(
    archive: &'a WalArchive,
    inventory: &'a Inventory,
    segments: Vec<(Segment, Option<Lsn>)>,
) -> impl Stream<Item = Result<Piece>> + 'a {
    let size = archive.segment_size;
    let at_once = (AHEAD_BYTES_MAX / size.bytes()).clamp(1, 4) as usize;
    let reads = segments.into_iter().map(move |(segment, end)| async move {
        let name = segment.name(size).to_string();
        let is_doubtful = inventory.conflicts.iter().any(|conflict| conflict.starts_with(&name));
        let mut bytes = match content(archive, inventory, segment).await {
            Ok(bytes) if !is_doubtful => bytes,
            Ok(_) => Vec::new(),
            Err(WalError::Repository(error)) if error.is_loss() => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        if let Some(end) = end {
            bytes.truncate(end.bytes_since(segment.start(size)) as usize);
        }
        Ok(Piece { segment, bytes })
    });
    futures::stream::iter(reads).buffered(at_once)
}

/// The records in bytes that follow on one another, or don't: then it begins anew.
pub(crate) struct Records {
    settings: DecoderSettings,
    decoder: Option<RecordDecoder>,
}

impl Records {
    /// None yet.
    pub fn new(settings: DecoderSettings) -> Self {
        Self { settings, decoder: None }
    }

    /// Whether what begins at `start` follows on what was read last.
    pub fn lead_to(&self, start: Lsn) -> bool {
        self.decoder.as_ref().is_some_and(|decoder| decoder.position() == start)
    }

    /// Shows each record that ends in `bytes`, which begin at `start`, until it is told to break. Returns up to where it read; none where
    /// the log ended before the bytes did, or it was told to break.
    pub fn read(
        &mut self,
        start: Lsn,
        bytes: &[u8],
        mut each: impl FnMut(&Record, Option<TimelineId>) -> ControlFlow<()>,
    ) -> Option<Lsn> {
        let decoder = self.decoder.take().filter(|decoder| decoder.position() == start);
        let mut decoder = decoder.unwrap_or_else(|| RecordDecoder::new(self.settings, start));
        let mut input = bytes;
        while let Some(record) = decoder.next(&mut input).ok()? {
            if each(&record, decoder.timeline()).is_break() {
                return None;
            }
        }
        let reached = decoder.position();
        self.decoder = Some(decoder);
        Some(reached)
    }
}

//! Long files that are in many pieces, a stretch at a time, each put together in memory and written in one go.
//!
//! After many incremental backups the pages of a file lie in many packs, and a chunk holds pages that changed together, not pages that
//! lie together. Written as they come, they would be small writes all over the file, through the page cache. So whoever restores takes
//! a stretch of a file, fetches what its parts need, from whichever packs, and writes each part when it is whole. A chunk that a later
//! part of the stretch needs too is kept until then.

use super::sink::{Aligned, FileTable, WRITE_BYTES_MAX, room_of};
use crate::postgres::BackupError;
use futures::{StreamExt, TryStreamExt};
use lifeboat_repository::{
    ChunkId, ChunkReader, Content, Error, Extent, LEAF_SPAN_BYTES, Leaf, Progress, Source, TreeEntry,
};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::Handle;

/// Shorter files share chunks with their neighbours, and go in the order of the packs.
pub const LONG_BYTES_MIN: u64 = 1024 * 1024;
/// Pieces that are shorter than this, on average, are put together.
const PIECE_BYTES_MIN: u64 = 64 * 1024;
/// What is put together in memory by one thread.
const PART_BYTES: u64 = 4 * 1024 * 1024;
/// What one thread does after the other, so that few chunks are needed twice.
const STRETCH_BYTES: u64 = 64 * 1024 * 1024;
/// Chunks that later parts need, of all threads together. What doesn't fit is fetched again.
const KEPT_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Reads of one part that are under way at once.
const READS_AT_ONCE: usize = 8;
/// No more threads put stretches together: each needs memory, and a few keep any disk busy.
pub const THREADS_MAX: usize = 8;

/// A piece of a long file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Number of the file.
    pub file: u32,
    start: u64,
    bytes: u64,
    /// What is to be written, in order; none reaches over the end of a part. When all of the stretch is, that isn't kept in
    /// memory: the map of the file is read again when its turn comes.
    extents: Option<Vec<Extent>>,
}

/// A stretch with what is to be written, before it is known how.
pub struct Cut {
    start: u64,
    extents: Vec<Extent>,
}

impl Cut {
    /// Cuts what is to be written of a file. `extents` come in order; what is zero is left out: see [`super::plan::Work::zeros`].
    pub fn all(extents: &[Extent]) -> Vec<Self> {
        let mut cuts: Vec<Self> = Vec::new();
        let of_chunks = extents.iter().filter(|extent| extent.source != Source::Zero);
        for extent in of_chunks.flat_map(|extent| at_parts(*extent)) {
            let start = extent.offset / STRETCH_BYTES * STRETCH_BYTES;
            match cuts.last_mut() {
                Some(last) if last.start == start => last.extents.push(extent),
                _ => cuts.push(Self { start, extents: vec![extent] }),
            }
        }
        cuts
    }

    /// Whether it lies in so many pieces that it has to be put together. Else the order of the packs is the faster one: whole chunks
    /// follow one another there as they do in the file.
    pub fn is_in_pieces(&self) -> bool {
        self.bytes() < self.extents.len() as u64 * PIECE_BYTES_MIN
    }

    /// What is to be written, in order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    fn bytes(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.length)).sum()
    }

    /// To be written later. `is_all`: whether this is all that the file's map has there.
    pub fn into_stretch(self, file: u32, is_all: bool) -> Stretch {
        Stretch { file, start: self.start, bytes: self.bytes(), extents: (!is_all).then_some(self.extents) }
    }
}

impl Stretch {
    /// Bytes that will be written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is to be written, from the file's map unless it is known.
    fn extents(&self, reader: &ChunkReader, handle: &Handle, entry: &TreeEntry) -> Result<Vec<Extent>, BackupError> {
        if let Some(extents) = &self.extents {
            return Ok(extents.clone());
        }
        let all = match &entry.content {
            Some(Content::Leaves(ids)) => {
                let first = (self.start / LEAF_SPAN_BYTES) as usize;
                let last = ids.len().min(((self.start + STRETCH_BYTES) / LEAF_SPAN_BYTES) as usize);
                let leaves = handle.block_on(reader.read_all(ids.get(first..last).unwrap_or_default()))?;
                let mut extents = Vec::new();
                for (number, bytes) in (first as u64..).zip(&leaves) {
                    extents.extend(Leaf::parse(bytes, number * LEAF_SPAN_BYTES)?.extents);
                }
                extents
            }
            _ => handle.block_on(reader.extents(entry))?,
        };
        let cut = Cut::all(&all).into_iter().find(|cut| cut.start == self.start);
        let extents = cut.map(|cut| cut.extents).unwrap_or_default();
        let found: u64 = extents.iter().map(|extent| u64::from(extent.length)).sum();
        match found == self.bytes {
            true => Ok(extents),
            false => Err(Error::corrupt(&entry.path, "its map changed while it was read").into()),
        }
    }
}

/// Leaves are not cut by the ends of stretches.
const _: () = assert!(STRETCH_BYTES.is_multiple_of(LEAF_SPAN_BYTES) && STRETCH_BYTES.is_multiple_of(PART_BYTES));

fn part_of(extent: &Extent) -> u64 {
    extent.offset / PART_BYTES
}

/// The extent in pieces that don't reach over the end of a part.
fn at_parts(extent: Extent) -> impl Iterator<Item = Extent> {
    let end = extent.offset + u64::from(extent.length);
    (part_of(&extent)..=(end - 1) / PART_BYTES).map(move |part| {
        let from = extent.offset.max(part * PART_BYTES);
        extent.part(from, end.min((part + 1) * PART_BYTES))
    })
}

/// Where a piece of a chunk goes, in a part.
#[derive(Debug, Clone, Copy)]
struct Place {
    to: usize,
    from: usize,
    length: usize,
}

impl Place {
    fn fill(&self, room: &mut [u8], chunk: &[u8]) {
        room[self.to..][..self.length].copy_from_slice(&chunk[self.from..][..self.length]);
    }
}

/// Puts stretches together, one after the other, in memory that is used again and again.
pub struct Assembler<'a> {
    reader: &'a ChunkReader,
    handle: &'a Handle,
    table: &'a FileTable,
    room: Vec<Aligned>,
    kept: Kept,
}

/// Chunks whose memory is held for others.
const SPARES_MAX: usize = 8;

/// Chunks of the stretch that are needed again.
#[derive(Default)]
struct Kept {
    /// The last part that needs each chunk.
    needed_until: HashMap<ChunkId, u64>,
    chunks: HashMap<ChunkId, Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
    /// Memory of chunks that nobody needs any more. New memory costs about as much as decompressing.
    spare: Vec<Vec<u8>>,
}

impl Kept {
    fn offer(&mut self, part: u64, id: ChunkId, chunk: &[u8]) {
        let is_needed = self.needed_until.get(&id).is_some_and(|last| *last > part);
        if is_needed && self.bytes + chunk.len() <= self.bytes_max && !self.chunks.contains_key(&id) {
            self.bytes += chunk.len();
            let mut kept = self.spare.pop().unwrap_or_default();
            kept.extend_from_slice(chunk);
            self.chunks.insert(id, kept);
        }
    }

    /// Forgets what no later part needs.
    fn is_past(&mut self, part: u64) {
        let Self { needed_until, chunks, bytes, spare, .. } = self;
        chunks.retain(|id, chunk| {
            let stays = needed_until.get(id).is_some_and(|last| *last > part);
            if !stays {
                *bytes -= chunk.len();
                chunk.clear();
                if spare.len() < SPARES_MAX {
                    spare.push(std::mem::take(chunk));
                }
            }
            stays
        });
    }
}

impl<'a> Assembler<'a> {
    /// One of so many `threads`.
    pub fn new(reader: &'a ChunkReader, handle: &'a Handle, table: &'a FileTable, threads: usize) -> Self {
        let kept = Kept { bytes_max: KEPT_BYTES_MAX / threads.clamp(1, THREADS_MAX), ..Kept::default() };
        Self { reader, handle, table, room: Vec::new(), kept }
    }

    /// Writes a stretch of the file that `entry` tells of. Returns the number of bytes.
    pub fn write(&mut self, stretch: &Stretch, entry: &TreeEntry, progress: &dyn Progress) -> Result<u64, BackupError> {
        if self.room.is_empty() {
            self.room = room_of(PART_BYTES as usize);
        }
        self.kept.is_past(u64::MAX);
        self.kept.needed_until.clear();
        let extents = stretch.extents(self.reader, self.handle, entry)?;
        for extent in &extents {
            if let Source::Chunk { id, .. } = extent.source {
                self.kept.needed_until.insert(id, part_of(extent));
            }
        }
        for part in extents.chunk_by(|one, other| part_of(one) == part_of(other)) {
            self.fetch(part)?;
            self.write_part(stretch.file, part, progress)?;
        }
        Ok(stretch.bytes())
    }

    /// Brings all of a part into memory.
    fn fetch(&mut self, part: &[Extent]) -> Result<(), BackupError> {
        let Some(number) = part.first().map(part_of) else { return Ok(()) };
        let mut places: HashMap<ChunkId, Vec<Place>> = HashMap::new();
        for extent in part {
            if let Source::Chunk { id, offset } = extent.source {
                let to = (extent.offset - number * PART_BYTES) as usize;
                let place = Place { to, from: offset as usize, length: extent.length as usize };
                places.entry(id).or_default().push(place);
            }
        }
        let Self { reader, handle, room, kept, .. } = self;
        let reader = *reader;
        let room: &mut [u8] = bytemuck::cast_slice_mut(room);
        places.retain(|id, places| match kept.chunks.get(id) {
            Some(chunk) => {
                places.iter().for_each(|place| place.fill(room, chunk));
                false
            }
            None => true,
        });
        let reads = reader.locate(places.keys().copied())?;
        // What was delivered is no longer here: at the end nothing may be.
        let waiting = Mutex::new((places, room, &mut *kept));
        let take = |id: ChunkId, chunk: &[u8]| {
            let (places, room, kept) = &mut *waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(places) = places.remove(&id) {
                places.iter().for_each(|place| place.fill(room, chunk));
                kept.offer(number, id, chunk);
            }
            Ok(())
        };
        let take = &take;
        let fetches = futures::stream::iter(&reads).map(|read| async move {
            let mut sink = |id: ChunkId, chunk: &[u8]| take(id, chunk);
            reader.fetch(read, &mut sink).await
        });
        handle.block_on(fetches.buffer_unordered(READS_AT_ONCE).try_collect::<()>())?;
        let (places, ..) = waiting.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = places.keys().next() {
            return Err(Error::corrupt(format!("chunk {id}"), "was not delivered").into());
        }
        kept.is_past(number);
        Ok(())
    }

    /// Writes what is together in the file, in as few writes as may be.
    fn write_part(&self, file: u32, part: &[Extent], progress: &dyn Progress) -> Result<(), BackupError> {
        let room: &[u8] = bytemuck::cast_slice(&self.room);
        let end_of = |extent: &Extent| extent.offset + u64::from(extent.length);
        for run in part.chunk_by(|one, next| end_of(one) == next.offset) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let (mut at, end) = (first.offset, end_of(last));
            while at < end {
                let next = end.min(at + WRITE_BYTES_MAX as u64);
                let start = (at % PART_BYTES) as usize;
                let bytes = &room[start..][..(next - at) as usize];
                self.table.write(file, at, bytes).map_err(BackupError::write)?;
                progress.advance(next - at);
                at = next;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u32, chunk: Option<u8>) -> Extent {
        let source = chunk.map_or(Source::Zero, |id| Source::Chunk { id: ChunkId([id; 32]), offset: 0 });
        Extent { offset, length, source }
    }

    #[test]
    fn a_file_is_cut_at_parts_and_stretches_and_nothing_is_lost_or_doubled() {
        let page = 8192;
        let extents = [
            extent(0, page, Some(1)),
            extent(page.into(), page, None),
            extent(PART_BYTES - u64::from(page), 2 * page, Some(2)),
            extent(STRETCH_BYTES - u64::from(page), 2 * page, Some(3)),
        ];
        let cuts = Cut::all(&extents);
        let of = |cut: &Cut| cut.extents.iter().map(|extent| (extent.offset, extent.length)).collect::<Vec<_>>();
        let end = STRETCH_BYTES - u64::from(page);
        assert_eq!(of(&cuts[0]), [(0, page), (PART_BYTES - u64::from(page), page), (PART_BYTES, page), (end, page)]);
        assert_eq!((cuts.len(), of(&cuts[1])), (2, vec![(STRETCH_BYTES, page)]));
        let Source::Chunk { offset, .. } = cuts[1].extents[0].source else { panic!("a chunk") };
        assert_eq!(offset, page, "the second half of its chunk");
        assert!(cuts[0].is_in_pieces());
        assert!(!Cut::all(&[extent(0, 32 * page, Some(1)), extent(32 * 8192, page, Some(2))])[0].is_in_pieces());
        assert!(Cut::all(&[extent(0, page, None)]).is_empty());
        let stretches: Vec<Stretch> = cuts.into_iter().map(|cut| cut.into_stretch(7, true)).collect();
        assert_eq!(stretches.iter().map(Stretch::bytes).sum::<u64>(), 5 * u64::from(page));
        assert_eq!(stretches.iter().map(|stretch| stretch.start).collect::<Vec<_>>(), [0, STRETCH_BYTES]);
    }

    #[test]
    fn chunks_are_kept_while_a_later_part_needs_them() {
        let [now, later] = [ChunkId([1; 32]), ChunkId([2; 32])];
        let needed_until = HashMap::from([(now, 0), (later, 1)]);
        let mut kept = Kept { needed_until, bytes_max: 100, ..Kept::default() };
        kept.offer(0, now, &[1; 10]);
        kept.offer(0, later, &[2; 10]);
        kept.offer(0, later, &[2; 10]);
        assert_eq!((kept.chunks.len(), kept.bytes), (1, 10));
        kept.is_past(0);
        assert_eq!(kept.bytes, 10);
        kept.is_past(1);
        assert_eq!((kept.chunks.len(), kept.bytes), (0, 0));
    }
}

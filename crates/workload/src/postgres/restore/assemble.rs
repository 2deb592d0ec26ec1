//! Puts stretches of long files together: in memory, part by part, each written in one go when it is whole.
//!
//! What the next parts need is read from the packs in long reads and held as it was stored, sealed and compressed; each chunk is opened
//! once, when the first part needs it. What later parts need of it is laid aside for them.

use super::sink::{Aligned, FileTable, WRITE_BYTES_MAX, room_of};
use super::stretch::{PART_BYTES, Stretch, part_of};
use crate::postgres::BackupError;
use futures::{StreamExt, TryStreamExt};
use lifeboat_repository::{ChunkId, ChunkReader, Error, Extent, Held, Progress, Result, Source, TreeEntry};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use tokio::runtime::Handle;

/// What is held as it was stored, of all threads together. What doesn't fit is read when its part is put together.
const HELD_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// What is laid aside for later parts, of all threads together. What doesn't fit is fetched again.
const AHEAD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Reads that are under way at once, of one thread.
const READS_AT_ONCE: usize = 8;
/// No more threads put stretches together: each needs memory, and a few keep any disk busy.
pub const THREADS_MAX: usize = 8;

/// Puts stretches together, one after the other, in memory that is used again and again.
pub struct Assembler<'a> {
    reader: &'a ChunkReader,
    handle: &'a Handle,
    table: &'a FileTable,
    held_bytes_max: u64,
    held: Vec<Held>,
    desk: Desk,
}

/// What is put together, and what is still wanted for it.
struct Desk {
    /// The part.
    room: Vec<Aligned>,
    /// Its number.
    part: u64,
    /// Pieces of the stretch that are still to come.
    wanted: HashMap<ChunkId, Vec<Piece>>,
    ahead: Ahead,
}

/// Where a piece of a chunk goes.
#[derive(Debug, Clone, Copy)]
struct Piece {
    part: u64,
    /// Offset in the part.
    to: usize,
    /// Offset in the chunk.
    from: usize,
    length: usize,
}

/// What came with an earlier part and belongs to a later one.
#[derive(Default)]
struct Ahead {
    of_part: HashMap<u64, Batch>,
    bytes: usize,
    bytes_max: usize,
    /// New memory costs about as much as decompressing.
    spare: Vec<Batch>,
}

/// Bytes one after the other, and where in their part they go: offset and length.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    places: Vec<(usize, usize)>,
}

impl Ahead {
    /// False when there is no room for it.
    fn offer(&mut self, piece: &Piece, bytes: &[u8]) -> bool {
        if self.bytes + bytes.len() > self.bytes_max {
            return false;
        }
        self.bytes += bytes.len();
        let spare = &mut self.spare;
        let batch = self.of_part.entry(piece.part).or_insert_with(|| spare.pop().unwrap_or_default());
        batch.bytes.extend_from_slice(bytes);
        batch.places.push((piece.to, bytes.len()));
        true
    }

    /// Fills in what was laid aside for a part.
    fn fill(&mut self, part: u64, room: &mut [u8]) {
        let Some(mut batch) = self.of_part.remove(&part) else { return };
        let mut rest = &batch.bytes[..];
        for (to, length) in batch.places.drain(..) {
            let (piece, later) = rest.split_at(length);
            room[to..][..length].copy_from_slice(piece);
            rest = later;
        }
        self.bytes -= batch.bytes.len();
        batch.bytes.clear();
        self.spare.push(batch);
    }

    fn clear(&mut self) {
        self.bytes = 0;
        for (_, mut batch) in self.of_part.drain() {
            batch.bytes.clear();
            batch.places.clear();
            self.spare.push(batch);
        }
    }
}

impl Desk {
    fn begin(&mut self, extents: &[Extent]) {
        if self.room.is_empty() {
            self.room = room_of(PART_BYTES as usize);
        }
        self.ahead.clear();
        self.wanted.clear();
        for extent in extents {
            let Source::Chunk { id, offset } = extent.source else { continue };
            let part = part_of(extent);
            let to = (extent.offset - part * PART_BYTES) as usize;
            let piece = Piece { part, to, from: offset as usize, length: extent.length as usize };
            self.wanted.entry(id).or_default().push(piece);
        }
    }

    /// Goes on to the next part. Returns the chunks that it still needs.
    fn turn_to(&mut self, part: &[Extent]) -> HashSet<ChunkId> {
        self.part = part.first().map_or(0, part_of);
        self.ahead.fill(self.part, bytemuck::cast_slice_mut(&mut self.room));
        part.iter().filter_map(|extent| self.missing(extent)).collect()
    }

    /// The chunk of an extent, if it is still to come.
    fn missing(&self, extent: &Extent) -> Option<ChunkId> {
        let Source::Chunk { id, .. } = extent.source else { return None };
        let part = part_of(extent);
        self.wanted.get(&id).is_some_and(|pieces| pieces.iter().any(|piece| piece.part == part)).then_some(id)
    }

    /// Puts the pieces of a chunk where they go. One that came before is no longer wanted.
    fn take(&mut self, id: ChunkId, chunk: &[u8]) -> Result<()> {
        let Some(pieces) = self.wanted.remove(&id) else { return Ok(()) };
        let room: &mut [u8] = bytemuck::cast_slice_mut(&mut self.room);
        let mut left = Vec::new();
        for piece in pieces {
            let bytes = chunk.get(piece.from..piece.from + piece.length);
            let bytes = bytes.ok_or_else(|| Error::corrupt(format!("chunk {id}"), "a file's map leaves it"))?;
            if piece.part == self.part {
                room[piece.to..][..bytes.len()].copy_from_slice(bytes);
            } else if !self.ahead.offer(&piece, bytes) {
                left.push(piece);
            }
        }
        if !left.is_empty() {
            self.wanted.insert(id, left);
        }
        Ok(())
    }
}

impl<'a> Assembler<'a> {
    /// One of so many `threads`.
    pub fn new(reader: &'a ChunkReader, handle: &'a Handle, table: &'a FileTable, threads: usize) -> Self {
        let threads = threads.clamp(1, THREADS_MAX);
        let ahead = Ahead { bytes_max: AHEAD_BYTES_MAX / threads, ..Ahead::default() };
        let desk = Desk { room: Vec::new(), part: 0, wanted: HashMap::new(), ahead };
        Self { reader, handle, table, held_bytes_max: HELD_BYTES_MAX / threads as u64, held: Vec::new(), desk }
    }

    /// Writes a stretch of the file that `entry` tells of. Returns the number of bytes.
    pub fn write(
        &mut self,
        stretch: &Stretch,
        entry: &TreeEntry,
        progress: &dyn Progress,
    ) -> std::result::Result<u64, BackupError> {
        let extents = stretch.extents(self.reader, self.handle, entry)?;
        self.desk.begin(&extents);
        let parts: Vec<&[Extent]> = extents.chunk_by(|one, other| part_of(one) == part_of(other)).collect();
        let mut held_until = 0;
        for (number, part) in parts.iter().enumerate() {
            if number >= held_until {
                held_until = number + self.hold(&parts[number..])?;
            }
            self.put_together(part)?;
            self.write_part(stretch.file, part, progress)?;
        }
        self.held.clear();
        Ok(stretch.bytes())
    }

    /// Holds what the next parts need, as many of them as there is room for. Returns how many these are: at least one, which may
    /// need more than can be held.
    fn hold(&mut self, parts: &[&[Extent]]) -> Result<usize> {
        self.held.clear();
        let (mut ids, mut bytes, mut count) = (HashSet::new(), 0, 0);
        for part in parts {
            let mut more = HashSet::new();
            for id in part.iter().filter_map(|extent| self.desk.missing(extent)).filter(|id| !ids.contains(id)) {
                if more.insert(id) {
                    bytes += self.reader.stored_bytes_of(&id).unwrap_or_default();
                }
            }
            if bytes > self.held_bytes_max {
                break;
            }
            ids.extend(more);
            count += 1;
        }
        let reader = self.reader;
        let holds = futures::stream::iter(reader.locate(ids)?).map(|read| reader.hold(read));
        let held: Vec<Option<Held>> = self.handle.block_on(holds.buffered(READS_AT_ONCE).collect());
        self.held.extend(held.into_iter().flatten());
        Ok(count.max(1))
    }

    /// Brings all of a part into memory.
    fn put_together(&mut self, part: &[Extent]) -> Result<()> {
        let Self { reader, handle, held, desk, .. } = self;
        let reader = *reader;
        let ids = desk.turn_to(part);
        for held in held {
            handle.block_on(reader.open_held(held, &ids, &mut |id, chunk| desk.take(id, chunk)))?;
        }
        // What could not be held.
        let reads = reader.locate(part.iter().filter_map(|extent| desk.missing(extent)))?;
        let waiting = Mutex::new(&mut *desk);
        let take = &|id: ChunkId, chunk: &[u8]| waiting.lock().unwrap_or_else(PoisonError::into_inner).take(id, chunk);
        let fetches = futures::stream::iter(&reads).map(|read| async move {
            let mut sink = |id: ChunkId, chunk: &[u8]| take(id, chunk);
            reader.fetch(read, &mut sink).await
        });
        handle.block_on(fetches.buffer_unordered(READS_AT_ONCE).try_collect::<()>())?;
        match part.iter().find_map(|extent| desk.missing(extent)) {
            Some(id) => Err(Error::corrupt(format!("chunk {id}"), "was not delivered")),
            None => Ok(()),
        }
    }

    /// Writes what is together in the file, in as few writes as may be.
    fn write_part(&self, file: u32, part: &[Extent], progress: &dyn Progress) -> std::result::Result<(), BackupError> {
        let room: &[u8] = bytemuck::cast_slice(&self.desk.room);
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

    fn extent(offset: u64, length: u32, chunk: u8, from: u32) -> Extent {
        Extent { offset, length, source: Source::Chunk { id: ChunkId([chunk; 32]), offset: from } }
    }

    fn desk(bytes_max: usize) -> Desk {
        let ahead = Ahead { bytes_max, ..Ahead::default() };
        Desk { room: Vec::new(), part: 0, wanted: HashMap::new(), ahead }
    }

    /// Pieces of one chunk in three parts, and of another one in the second.
    fn extents() -> Vec<Extent> {
        let page = 8192;
        vec![
            extent(page, 8192, 1, 0),
            extent(PART_BYTES, 8192, 1, 8192),
            extent(PART_BYTES + page, 8192, 2, 0),
            extent(2 * PART_BYTES, 8192, 1, 16384),
        ]
    }

    #[test]
    fn a_chunk_is_asked_for_once_and_its_pieces_go_where_they_belong() {
        let (mut desk, extents) = (desk(1 << 20), extents());
        let [one, two] = [ChunkId([1; 32]), ChunkId([2; 32])];
        let chunk: Vec<u8> = [[11; 8192], [12; 8192], [13; 8192]].concat();
        desk.begin(&extents);
        let asked = |desk: &mut Desk, part: &[Extent]| desk.turn_to(part).into_iter().collect::<Vec<_>>();
        let at = |desk: &Desk, at: usize| bytemuck::cast_slice::<Aligned, u8>(&desk.room)[at];
        assert_eq!(asked(&mut desk, &extents[..1]), [one]);
        desk.take(one, &chunk).unwrap();
        assert_eq!(at(&desk, 8192), 11);
        assert_eq!(asked(&mut desk, &extents[1..3]), [two]);
        desk.take(one, &[0; 3 * 8192]).unwrap();
        desk.take(two, &[21; 8192]).unwrap();
        assert_eq!((at(&desk, 0), at(&desk, 8192)), (12, 21));
        assert_eq!(asked(&mut desk, &extents[3..]), []);
        assert_eq!((at(&desk, 0), desk.ahead.bytes), (13, 0));
        assert!(desk.wanted.is_empty());
    }

    #[test]
    fn what_cannot_be_laid_aside_is_asked_for_again() {
        let (mut desk, extents) = (desk(8192), extents());
        let one = ChunkId([1; 32]);
        desk.begin(&extents);
        desk.turn_to(&extents[..1]);
        desk.take(one, &[1; 3 * 8192]).unwrap();
        assert_eq!(desk.ahead.bytes, 8192);
        desk.turn_to(&extents[1..3]);
        assert_eq!(desk.turn_to(&extents[3..]), HashSet::from([one]));
        // Nothing of one stretch stays for the next.
        desk.begin(&extents[3..]);
        assert_eq!((desk.ahead.bytes, desk.turn_to(&extents[3..]).len()), (0, 1));
        assert!(desk.take(one, &[1; 8192]).is_err(), "the map leaves the chunk");
    }
}

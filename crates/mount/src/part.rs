//! A part of a file that nobody waits for: put together in memory, and written around the page cache.
//!
//! With a sync behind it that is several times faster than writing it as it comes, and it pushes nothing out of memory that a server
//! is using.

use crate::blocks::{BLOCK_BYTES, BlockSet, blocks_of};
use crate::source::Piece;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Direct I/O wants addresses, offsets and lengths in multiples of this.
const ALIGNMENT_BYTES: usize = 4096;
/// Shorter writes are left to the page cache.
const DIRECT_BYTES_MIN: u64 = 64 * 1024;

#[repr(C, align(4096))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Aligned([u8; ALIGNMENT_BYTES]);

/// Memory for a part, used again and again.
#[derive(Default)]
pub struct PartRoom(Vec<Aligned>);

/// A part as far as it came.
pub struct PartInMemory<'a> {
    room: &'a mut [u8],
    /// Of the file, in bytes. Begins where a block does.
    range: Range<u64>,
    /// What came, counted from the first block of the part.
    came: BlockSet,
}

impl PartRoom {
    /// Room for a part of a file, of which nothing has come.
    pub fn begin(&mut self, range: Range<u64>) -> PartInMemory<'_> {
        let bytes = (range.end - range.start) as usize;
        let needed = bytes.div_ceil(ALIGNMENT_BYTES);
        if self.0.len() < needed {
            self.0.resize(needed, Aligned([0; ALIGNMENT_BYTES]));
        }
        let room: &mut [u8] = bytemuck::cast_slice_mut(&mut self.0);
        PartInMemory { room: &mut room[..bytes], came: BlockSet::new(blocks_of(range.end - range.start)), range }
    }
}

impl PartInMemory<'_> {
    /// Takes what of a piece lies in the part. Returns what lies before and behind it, with where that begins.
    pub fn take<'p>(&mut self, offset: u64, piece: Piece<'p>) -> [Option<(u64, Piece<'p>)>; 2] {
        let end = offset + piece.length();
        let (from, to) = (offset.max(self.range.start), end.min(self.range.end));
        if from >= to {
            return [Some((offset, piece)), None];
        }
        let to_room = &mut self.room[(from - self.range.start) as usize..(to - self.range.start) as usize];
        match piece.part(from - offset..to - offset) {
            Piece::Bytes(bytes) => to_room.copy_from_slice(bytes),
            Piece::Zeros(_) => to_room.fill(0),
        }
        // Whole blocks only; the last one of the part is whole when the part ends in it.
        let first = (from - self.range.start).div_ceil(BLOCK_BYTES);
        let last = if to == self.range.end { self.came.blocks() } else { (to - self.range.start) / BLOCK_BYTES };
        if first < last {
            self.came.insert(first..last);
        }
        let before = (offset < from).then(|| (offset, piece.part(0..from - offset)));
        let behind = (to < end).then(|| (to, piece.part(to - offset..end - offset)));
        [before, behind]
    }

    /// What came of these blocks of the file.
    pub fn came(&self, blocks: &Range<u64>) -> Vec<Range<u64>> {
        let first = self.range.start / BLOCK_BYTES;
        let (mut came, mut from) = (Vec::new(), blocks.start);
        let inside = blocks.start.saturating_sub(first)..blocks.end.saturating_sub(first);
        for absent in self.came.missing(inside) {
            if from < absent.start + first {
                came.push(from..absent.start + first);
            }
            from = absent.end + first;
        }
        let end = blocks.end.min(first + self.came.blocks());
        if from < end {
            came.push(from..end);
        }
        came
    }

    /// Writes some bytes of the part, which begin where a block does: around the page cache where `direct` can.
    pub fn write(&self, file: &File, direct: Option<&File>, bytes: &Range<u64>) -> io::Result<()> {
        let part = &self.room[(bytes.start - self.range.start) as usize..(bytes.end - self.range.start) as usize];
        let is_aligned = part.len().is_multiple_of(ALIGNMENT_BYTES) && part.len() as u64 >= DIRECT_BYTES_MIN;
        if let Some(direct) = direct.filter(|_| is_aligned) {
            match direct.write_all_at(part, bytes.start) {
                // Some file systems take the flag and refuse the write.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                result => return result,
            }
        }
        file.write_all_at(part, bytes.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_given_back() {
        let mut room = PartRoom::default();
        let block = BLOCK_BYTES;
        let mut part = room.begin(block..3 * block);
        let bytes: Vec<u8> = (0..4 * block).map(|at| (at / block) as u8 + 1).collect();
        let outside = part.take(0, Piece::Bytes(&bytes));
        let outside: Vec<(u64, u64)> = outside.iter().flatten().map(|(at, piece)| (*at, piece.length())).collect();
        assert_eq!(outside, [(0, block), (3 * block, block)]);
        assert!(part.came(&(1..3)).first() == Some(&(1..3)) && part.room.iter().all(|byte| [2, 3].contains(byte)));
    }

    #[test]
    fn half_a_block_has_not_come() {
        let mut room = PartRoom::default();
        // The file ends in its last block.
        let end = 2 * BLOCK_BYTES + 100;
        let mut part = room.begin(0..end);
        let [before, behind] = part.take(10, Piece::Zeros(2 * BLOCK_BYTES));
        assert!(before.is_none() && behind.is_none());
        assert_eq!(part.came(&(0..3)).iter().collect::<Vec<_>>(), [&(1..2)]);
        part.take(2 * BLOCK_BYTES, Piece::Zeros(100));
        assert_eq!(part.came(&(0..3)).iter().collect::<Vec<_>>(), [&(1..3)]);
        assert_eq!(part.came(&(0..1)), Vec::<Range<u64>>::new());
    }
}

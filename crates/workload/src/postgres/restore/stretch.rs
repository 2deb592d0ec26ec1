//! Long files that are in many pieces, cut into stretches, and those into parts.
//!
//! After many incremental backups the pages of a file lie in many packs, and a chunk holds pages that changed together, not pages that
//! lie together. Written as they come, they would be small writes all over the file, through the page cache. So whoever restores takes
//! a stretch of a file and puts it together part by part: see [`super::assemble`].

use crate::postgres::BackupError;
use lifeboat_repository::{ChunkReader, Content, Error, Extent, LEAF_SPAN_BYTES, Leaf, Source, TreeEntry};
use tokio::runtime::Handle;

/// Shorter files share chunks with their neighbours, and go in the order of the packs.
pub const LONG_BYTES_MIN: u64 = 1024 * 1024;
/// Pieces that are shorter than this, on average, are put together.
const PIECE_BYTES_MIN: u64 = 64 * 1024;
/// What is put together in memory by one thread.
pub const PART_BYTES: u64 = 4 * 1024 * 1024;
/// What one thread does after the other, so that few chunks are needed twice.
const STRETCH_BYTES: u64 = 64 * 1024 * 1024;
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
    pub fn extents(
        &self,
        reader: &ChunkReader,
        handle: &Handle,
        entry: &TreeEntry,
    ) -> Result<Vec<Extent>, BackupError> {
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

/// The number of the part, in the file, that it lies in.
pub fn part_of(extent: &Extent) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_repository::ChunkId;

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
}

//! What an earlier point says about a file, block by block: where the block is and the fingerprint it had.
//!
//! Change is found by content and nothing else: neither times nor positions are trusted, unless what is left unread is known
//! by the log (see `suspects`) or by how files look (see `appearance`). Fingerprints lie in the packs beside the chunks they belong to, so an unchanged block costs nothing to remember.

use crate::postgres::BLOCK_BYTES;
use lifeboat_repository::{
    ChunkId, ChunkReader, Error, Extent, Fingerprints, Placement, Point, Result, Source, TreeEntry, TreeReader,
    WriteSession,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::runtime::Handle;

/// Files whose maps are kept at once, when they are short.
const MAPS_KEPT: usize = 16;
/// Files whose maps are kept however long they are: workers read files one after the other, so a few are enough.
const LONG_MAPS_KEPT: usize = 3;
/// Extents of all kept maps together: some 14 MiB.
const EXTENTS_KEPT: usize = 256 * 1024;
/// Fingerprints kept at once: 32 MiB of them stand for 32 GiB of pages. Files are read in the order in which they were
/// stored, so what is forgotten is seldom asked for again, and a pack's are read again at once.
const FINGERPRINTS_KEPT: usize = 4 * 1024 * 1024;

/// One block of a file as it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlock {
    /// Where it is.
    pub source: Source,
    /// Its length: less than a block only at the end of a file.
    pub length: u32,
    /// Its fingerprint; none for zeros, or when it was stored without one.
    pub fingerprint: Option<u64>,
}

/// Fingerprints that were read.
#[derive(Debug, Default)]
struct Kept {
    /// By the number of the pack in the index.
    by_pack: HashMap<u32, Arc<Fingerprints>>,
    count: usize,
}

/// Maps of files that were read, the oldest first.
#[derive(Debug, Default)]
struct Maps(Vec<(String, Arc<Vec<Extent>>)>);

impl Maps {
    fn find(&self, path: &str) -> Option<Arc<Vec<Extent>>> {
        self.0.iter().find(|(known, _)| known == path).map(|(_, map)| map.clone())
    }

    fn keep(&mut self, path: &str, map: Arc<Vec<Extent>>) {
        let mut extents = map.len() + self.0.iter().map(|(_, map)| map.len()).sum::<usize>();
        while self.0.len() >= MAPS_KEPT || (extents > EXTENTS_KEPT && self.0.len() >= LONG_MAPS_KEPT) {
            extents -= self.0.remove(0).1.len();
        }
        self.0.push((path.to_owned(), map));
    }
}

/// Whether it only means that something isn't known: comparing with nothing is slower, and as right.
fn is_survivable(error: &Error) -> bool {
    error.is_loss() || matches!(error, Error::Location(_))
}

fn survive<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_survivable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An earlier point, ready to be compared with.
#[derive(Debug)]
pub struct Baseline {
    reader: Arc<ChunkReader>,
    handle: Handle,
    entries: BTreeMap<String, TreeEntry>,
    maps: Mutex<Maps>,
    fingerprints: RwLock<Kept>,
}

impl Baseline {
    /// Loads the tree of `point`.
    pub async fn load(reader: Arc<ChunkReader>, point: &Point) -> Result<Self> {
        let entries = TreeReader::read(&reader, &point.tree).await?;
        Ok(Self::of(reader, entries))
    }

    /// The parent of a backup, ready to be compared with. `None` when there is none, or it can't be read any more: then everything
    /// is read, and what was found damaged isn't built on.
    pub async fn of_parent(
        parent: Option<&Point>,
        session: &WriteSession,
        notes: &mut Vec<String>,
    ) -> Result<Option<Self>> {
        let Some(point) = parent else { return Ok(None) };
        let reader = session.reader().await?;
        match Self::load(reader.clone(), point).await {
            Ok(baseline) => Ok(Some(baseline)),
            Err(error) if is_survivable(&error) => {
                notes.push(format!(
                    "every page is read and compared with nothing: recovery point {}: {error}",
                    point.id
                ));
                session.distrust(reader.lost_packs());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Packs of which a part could be read nowhere.
    pub fn lost_packs(&self) -> HashSet<[u8; 32]> {
        self.reader.lost_packs()
    }

    /// From entries that were read already.
    pub fn of(reader: Arc<ChunkReader>, entries: Vec<TreeEntry>) -> Self {
        Self {
            reader,
            handle: Handle::current(),
            entries: entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect(),
            maps: Mutex::default(),
            fingerprints: RwLock::default(),
        }
    }

    fn map_of(&self, entry: &TreeEntry) -> Result<Arc<Vec<Extent>>> {
        if let Some(map) = self.maps.lock().unwrap_or_else(PoisonError::into_inner).find(&entry.path) {
            return Ok(map);
        }
        let map = Arc::new(survive(self.handle.block_on(self.reader.extents(entry)))?.unwrap_or_default());
        self.maps.lock().unwrap_or_else(PoisonError::into_inner).keep(&entry.path, map.clone());
        Ok(map)
    }

    /// Where all bytes of `path` are, when it was a file of that size and its map can be read.
    pub fn whole(&self, path: &str, size: u64) -> Result<Option<Vec<Extent>>> {
        let Some(entry) = self.entries.get(path).filter(|entry| entry.size == size) else { return Ok(None) };
        survive(self.handle.block_on(self.reader.extents(entry)))
    }

    /// How long `path` was; none when it wasn't there as a file.
    pub fn length(&self, path: &str) -> Option<u64> {
        self.entries.get(path).filter(|entry| entry.content.is_some()).map(|entry| entry.size)
    }

    /// Where the bytes of `path` are that lie in `length` bytes from `start` on. The outer extents may reach further. Nothing when
    /// its map can't be read.
    ///
    /// Call from a thread that may block.
    pub fn extents(&self, path: &str, start: u64, length: u64) -> Result<Vec<Extent>> {
        let Some(entry) = self.entries.get(path) else { return Ok(Vec::new()) };
        let map = self.map_of(entry)?;
        let first = map.partition_point(|extent| extent.offset + u64::from(extent.length) <= start);
        Ok(map[first..].iter().take_while(|extent| extent.offset < start + length).copied().collect())
    }

    /// The stored blocks of `path` from `start` (a multiple of the block size) on, at most `length` bytes; fewer when the
    /// file was shorter, none when it wasn't there.
    ///
    /// Call from a thread that may block.
    pub fn blocks(&self, path: &str, start: u64, length: u64) -> Result<Vec<StoredBlock>> {
        let mut blocks = Vec::with_capacity((length / BLOCK_BYTES) as usize);
        for extent in self.extents(path, start, length)? {
            self.push_blocks(&extent, start, start + length, &mut blocks)?;
        }
        Ok(blocks)
    }

    fn push_blocks(&self, extent: &Extent, from: u64, to: u64, blocks: &mut Vec<StoredBlock>) -> Result<()> {
        let mut at = extent.offset.max(from);
        let end = (extent.offset + u64::from(extent.length)).min(to);
        let fingerprints = match extent.source {
            Source::Zero => None,
            Source::Chunk { id, .. } => Some(self.fingerprints(&id)?),
        };
        while at < end {
            let length = (end - at).min(BLOCK_BYTES);
            let inside = (at - extent.offset) as u32;
            blocks.push(match (extent.source, &fingerprints) {
                (Source::Chunk { id, offset }, Some((known, frame))) => StoredBlock {
                    source: Source::Chunk { id, offset: offset + inside },
                    length: length as u32,
                    fingerprint: known.of(*frame).get((u64::from(offset + inside) / BLOCK_BYTES) as usize).copied(),
                },
                _ => StoredBlock { source: Source::Zero, length: length as u32, fingerprint: None },
            });
            at += length;
        }
        Ok(())
    }

    /// The fingerprints of the pack of a chunk, and the number of its frame there.
    fn fingerprints(&self, id: &ChunkId) -> Result<(Arc<Fingerprints>, u32)> {
        // Without its fingerprints a chunk is compared with nothing.
        let Some(Placement { pack, frame }) = self.reader.index().find(id) else { return Ok(Default::default()) };
        let known = self.fingerprints.read().unwrap_or_else(PoisonError::into_inner).by_pack.get(&pack).cloned();
        if let Some(found) = known {
            return Ok((found, frame));
        }
        let read = Arc::new(survive(self.handle.block_on(self.reader.fingerprints_of_pack(pack)))?.unwrap_or_default());
        let mut known = self.fingerprints.write().unwrap_or_else(PoisonError::into_inner);
        if known.count > FINGERPRINTS_KEPT {
            *known = Kept::default();
        }
        if known.by_pack.insert(pack, read.clone()).is_none() {
            known.count += read.count();
        }
        Ok((read, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_short_maps_are_kept_or_a_few_long_ones() {
        let extent = Extent { offset: 0, length: 1, source: Source::Zero };
        for (extents, expected) in [(1, MAPS_KEPT), (EXTENTS_KEPT / 5, 5), (EXTENTS_KEPT, LONG_MAPS_KEPT)] {
            let mut maps = Maps::default();
            for number in 0..20 {
                maps.keep(&number.to_string(), Arc::new(vec![extent; extents]));
            }
            assert_eq!(maps.0.len(), expected, "{extents} extents each");
            assert!(maps.find("19").is_some() && maps.find("0").is_none(), "the oldest goes first");
        }
    }
}

//! Which packs the points need.

use super::MarkedPoint;
use crate::error::{Error, Result};
use crate::file_map::{Leaf, Source};
use crate::open::Repository;
use crate::reader::ChunkReader;
use crate::tree::{Content, TreeReader};
use crate::{ChunkId, Point};
use std::collections::HashSet;
use std::sync::Arc;

/// Leaves read at once.
const LEAVES_AT_ONCE: usize = 64;

/// The packs that the points of the repository need, those of `stays` only.
///
/// A chunk that several packs hold counts for one of them, the one that readers use. A point that can't be read or
/// followed is an error: what it needs can't be told.
pub(super) async fn packs_needed(
    repository: &Arc<Repository>,
    reader: &ChunkReader,
    stays: impl Fn(&MarkedPoint) -> bool,
) -> Result<HashSet<[u8; 32]>> {
    let points = repository.points_everywhere(None).await?;
    packs_of(repository, reader, points.iter().filter(|marked| stays(marked))).await
}

/// The packs that these points need.
pub(super) async fn packs_of(
    repository: &Arc<Repository>,
    reader: &ChunkReader,
    points: impl Iterator<Item = &MarkedPoint>,
) -> Result<HashSet<[u8; 32]>> {
    let frames = frames_of(repository, reader, points).await?;
    let packs = reader.index().packs().iter().zip(frames).filter(|(_, frames)| frames.contains(&true));
    Ok(packs.map(|(pack, _)| pack.id).collect())
}

/// For each pack of the index which of its frames are needed by the points of the repository, those of `stays` only.
pub(super) async fn frames_needed(
    repository: &Arc<Repository>,
    reader: &ChunkReader,
    stays: impl Fn(&MarkedPoint) -> bool,
) -> Result<Vec<Vec<bool>>> {
    let points = repository.points_everywhere(None).await?;
    frames_of(repository, reader, points.iter().filter(|marked| stays(marked))).await
}

async fn frames_of(
    repository: &Arc<Repository>,
    reader: &ChunkReader,
    points: impl Iterator<Item = &MarkedPoint>,
) -> Result<Vec<Vec<bool>>> {
    let frames = reader.index().packs().iter().map(|pack| vec![false; pack.frames.len()]).collect();
    let mut reach = Reach { reader, frames, leaves_seen: HashSet::new() };
    for marked in points {
        let point = repository.read_point(&marked.workload, &marked.point, &mut Vec::new()).await?;
        reach.follow(&point).await?;
    }
    Ok(reach.frames)
}

struct Reach<'a> {
    reader: &'a ChunkReader,
    /// By the numbers of pack and frame in the index.
    frames: Vec<Vec<bool>>,
    leaves_seen: HashSet<ChunkId>,
}

impl Reach<'_> {
    async fn follow(&mut self, point: &Point) -> Result<()> {
        self.need(point.tree.iter())?;
        let mut leaves = Vec::new();
        for entry in TreeReader::read(self.reader, &point.tree).await? {
            match &entry.content {
                // Most leaves are shared with the point before: each is read once.
                Some(Content::Leaves(ids)) => leaves.extend(ids.iter().filter(|id| self.leaves_seen.insert(**id))),
                _ => self.need_extents(&self.reader.extents(&entry).await?)?,
            }
        }
        self.need(leaves.iter())?;
        for some in leaves.chunks(LEAVES_AT_ONCE) {
            for bytes in self.reader.read_all(some).await? {
                self.need_extents(&Leaf::parse(&bytes, 0)?.extents)?;
            }
        }
        Ok(())
    }

    fn need_extents(&mut self, extents: &[crate::Extent]) -> Result<()> {
        for extent in extents {
            if let Source::Chunk { id, .. } = extent.source {
                self.need([id].iter())?;
            }
        }
        Ok(())
    }

    fn need<'b>(&mut self, ids: impl Iterator<Item = &'b ChunkId>) -> Result<()> {
        let index = self.reader.index();
        for id in ids {
            let found = index.find(id).ok_or_else(|| Error::corrupt(format!("chunk {id}"), "no pack holds it"))?;
            self.frames[found.pack as usize][found.frame as usize] = true;
        }
        Ok(())
    }
}

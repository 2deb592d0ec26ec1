//! A chunk that can't be read where it was looked for may lie in another pack, too: what was found damaged is stored anew.

use super::{ChunkReader, Located};
use crate::chunk::ChunkId;
use crate::error::{Error, Result};
use std::collections::{HashMap, HashSet};

/// Takes chunks as they come.
type Sink<'a> = &'a mut (dyn FnMut(ChunkId, &[u8]) -> Result<()> + Send);

impl ChunkReader {
    /// Fetches the frames of a read that failed one by one, since each location may have lost another one, and what no location
    /// has from other packs. `error`, when there is no help.
    pub(super) async fn fetch_singly(&self, read: &Located, error: Error, sink: Sink<'_>) -> Result<()> {
        let mut lost = HashMap::new();
        let is_single = read.frames.len() == 1;
        let mut first = Some(error);
        for &number in &read.frames {
            let outcome = match first.take().filter(|_| is_single) {
                Some(error) => Err(error),
                None => self.fetch_together(&Located { frames: vec![number], ..read.clone() }, sink).await,
            };
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_loss() => {
                    lost.insert(self.index.pack(read.pack).frames[number as usize].id, error);
                }
                Err(error) => return Err(error),
            }
        }
        self.distrusted().insert(self.index.pack(read.pack).id);
        for other in self.in_other_packs(read.pack, &lost) {
            let id = self.index.pack(other.pack).frames[other.frames[0] as usize].id;
            if lost.contains_key(&id) && self.fetch_together(&other, sink).await.is_ok() {
                lost.remove(&id);
            }
        }
        lost.into_values().next().map_or(Ok(()), Err)
    }

    /// Where else these chunks lie. Every frame is looked at: that this is needed is rare.
    fn in_other_packs(&self, pack: u32, wanted: &HashMap<ChunkId, Error>) -> Vec<Located> {
        let mut found = Vec::new();
        let others = (0u32..).zip(self.index.packs()).filter(|(number, _)| *number != pack && !wanted.is_empty());
        for (pack, entry) in others {
            for (number, row) in (0u32..).zip(&entry.frames).filter(|(_, row)| wanted.contains_key(&row.id)) {
                let (stored_bytes, plain_bytes) = (u64::from(row.stored_bytes), u64::from(row.plain_bytes));
                found.push(Located { pack, frames: vec![number], stored_bytes, plain_bytes });
            }
        }
        found
    }

    /// Packs of which a part could be read in no location: nothing should be built on them.
    pub fn lost_packs(&self) -> HashSet<[u8; 32]> {
        self.distrusted().clone()
    }
}

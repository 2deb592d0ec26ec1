//! Reads whose bytes are held in memory, sealed, until they are opened a few frames at a time: one long read for what is needed bit by
//! bit, and no more memory than the sealed bytes take.

use super::{ChunkReader, Located, REQUESTS_AT_ONCE};
use crate::chunk::ChunkId;
use crate::error::Result;
use crate::open::{Replica, describe};
use crate::patience::answer_within;
use bytes::Bytes;
use std::collections::HashSet;

/// A read, and its sealed bytes from one location.
pub struct Held {
    read: Located,
    replica: Replica,
    bytes: Bytes,
}

impl ChunkReader {
    /// Bytes that a chunk takes in its pack; none when no pack that can be read holds it.
    pub fn stored_bytes_of(&self, id: &ChunkId) -> Option<u64> {
        let found = self.index.find(id)?;
        Some(self.index.pack(found.pack).frames[found.frame as usize].stored_bytes.into())
    }

    /// Fetches the bytes of a read and holds them. None when no location gives them: [`Self::fetch`] says why.
    pub async fn hold(&self, read: Located) -> Option<Held> {
        let replicas = self.in_order();
        for (number, replica) in replicas.iter().enumerate() {
            let get = self.sealed(replica, &read);
            let answer = match number + 1 < replicas.len() {
                true => {
                    let limit = self.repository.limits.time_for(read.stored_bytes * REQUESTS_AT_ONCE as u64);
                    answer_within(replica, limit, get).await
                }
                false => get.await,
            };
            match answer {
                Ok(bytes) => return Some(Held { read, replica: (*replica).clone(), bytes }),
                Err(error) => self.could_not(&error, replica),
            }
        }
        None
    }

    /// Opens those of a read's chunks that are `wanted`. What is damaged where it was read is fetched from elsewhere, as
    /// [`Self::fetch`] does; then `sink` may see the same chunk twice.
    pub async fn open_held(
        &self,
        held: &Held,
        wanted: &HashSet<ChunkId>,
        sink: &mut (dyn FnMut(ChunkId, &[u8]) -> Result<()> + Send),
    ) -> Result<()> {
        let Held { read, replica, bytes } = held;
        let rows = &self.index.pack(read.pack).frames;
        let frames: Vec<u32> =
            read.frames.iter().copied().filter(|number| wanted.contains(&rows[*number as usize].id)).collect();
        if frames.is_empty() {
            return Ok(());
        }
        match self.open_frames(replica, read, &frames, bytes, sink) {
            Err(error) if error.is_loss() => {
                self.note(describe(&error));
                self.fetch(&self.located(read.pack, frames), sink).await
            }
            result => result,
        }
    }

    fn located(&self, pack: u32, frames: Vec<u32>) -> Located {
        let rows = &self.index.pack(pack).frames;
        let plain_bytes = frames.iter().map(|number| u64::from(rows[*number as usize].plain_bytes)).sum();
        let mut read = Located { pack, frames, stored_bytes: 0, plain_bytes };
        let range = self.range_of(&read);
        read.stored_bytes = range.end - range.start;
        read
    }
}

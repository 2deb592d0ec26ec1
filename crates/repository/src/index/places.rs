//! From the id of a chunk to the places where it is: eight bytes for each frame of the index, and some room.
//!
//! The ids themselves are in the packs' rows and nowhere else. A slot says where a row is; a lookup compares the whole id
//! there, so that ids with a common beginning are told apart like any others. Nothing is ever removed.
//!
//! Promise: of a chunk that has several places, those are tried first that were added first.

use super::{PackEntry, Placement};
use crate::chunk::ChunkId;

const EMPTY: Placement = Placement { pack: u32::MAX, frame: u32::MAX };

/// A hash table with open addressing whose keys lie elsewhere.
#[derive(Debug, Default)]
pub(super) struct Places {
    slots: Vec<Placement>,
    taken: usize,
}

/// Where the search for an id begins. Ids are keyed hashes: their first bits are as good as any.
fn home(id: &ChunkId, slots: usize) -> usize {
    let first = u64::from_le_bytes(*id.0.first_chunk().expect("an id has 32 bytes"));
    ((u128::from(first) * slots as u128) >> 64) as usize
}

impl Places {
    /// Adds the frames of the last of `packs`, which is new.
    pub(super) fn add_last(&mut self, packs: &[PackEntry]) {
        let Some(number) = packs.len().checked_sub(1) else { return };
        let needed = self.taken + packs[number].frames.len();
        // A third is free at least: then even a chunk that is nowhere is looked for in some five slots.
        if needed * 3 > self.slots.len() * 2 {
            self.slots = Vec::new();
            self.slots = vec![EMPTY; needed * 9 / 4];
            self.taken = 0;
            (0..packs.len()).for_each(|number| self.put(packs, number));
        } else {
            self.put(packs, number);
        }
    }

    fn put(&mut self, packs: &[PackEntry], number: usize) {
        for (frame_number, frame) in packs[number].frames.iter().enumerate() {
            let mut at = home(&frame.id, self.slots.len());
            while self.slots[at] != EMPTY {
                at = (at + 1) % self.slots.len();
            }
            self.slots[at] = Placement { pack: number as u32, frame: frame_number as u32 };
        }
        self.taken += packs[number].frames.len();
    }

    /// All places of a chunk, the first to be added first.
    pub(super) fn of<'a>(&'a self, packs: &'a [PackEntry], id: &'a ChunkId) -> impl Iterator<Item = Placement> + 'a {
        let count = self.slots.len();
        let start = if count == 0 { 0 } else { home(id, count) };
        (0..count)
            .map(move |step| self.slots[(start + step) % count])
            .take_while(|place| *place != EMPTY)
            .filter(move |place| packs[place.pack as usize].frames[place.frame as usize].id == *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{Frame, Packing};
    use crate::index::Index;
    use std::collections::HashMap;

    fn pack(number: u32, ids: &[ChunkId]) -> PackEntry {
        let frame =
            |id: &ChunkId| Frame { id: *id, offset: 0, stored_bytes: 16, plain_bytes: 0, packing: Packing::Plain };
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        PackEntry { id, bytes: 0, salt: [0; 32], frames: ids.iter().map(frame).collect() }
    }

    /// Ids of which many begin alike, and some are the same.
    fn id(number: u64) -> ChunkId {
        let mut id = [0xff; 32];
        let first = (number % 5).wrapping_mul(0x3333_3333_3333_3333);
        id[..8].copy_from_slice(&first.to_le_bytes());
        id[24..].copy_from_slice(&number.to_le_bytes());
        ChunkId(id)
    }

    #[test]
    fn every_chunk_is_found_in_its_first_pack_and_in_the_first_that_may_be_used() {
        let mut index = Index::default();
        assert_eq!(index.find(&id(0)), None);
        let mut expected: HashMap<ChunkId, Vec<Placement>> = HashMap::new();
        for number in 0..60 {
            let ids: Vec<ChunkId> = (0..40).map(|row| id(u64::from(number * 40 + row) * 7919 % 1500)).collect();
            for (row, id) in (0..).zip(&ids) {
                expected.entry(*id).or_default().push(Placement { pack: number, frame: row });
            }
            index.add(pack(number, &ids));
            // A second time changes nothing.
            index.add(pack(number, &ids[1..]));
        }
        assert_eq!(index.packs().len(), 60);
        let is_odd = |pack: u32| pack % 2 == 1;
        for (id, places) in &expected {
            assert_eq!(index.find(id), places.first().copied());
            assert_eq!(index.find_in(id, is_odd), places.iter().copied().find(|place| is_odd(place.pack)));
        }
        for number in 1500..3000 {
            assert_eq!(index.find(&id(number)), None, "{number}");
        }
    }
}

//! Reading chunks back: by pack, in long reads, from whichever location has them whole.
//!
//! A reader knows the index of all locations together. When a fragment of the index is gone or damaged, it reads the
//! tables of the packs themselves. When a frame is gone or damaged in one location, the next one is asked, and what
//! happened is noted.

use crate::chunk::ChunkId;
use crate::container::{Container, ContainerKind, FOOTER_BYTES, Frame, FrameOpener, parse_footer, parse_header};
use crate::error::{Error, Result};
use crate::index::{FRAGMENT_BYTES_MAX, Index, PackEntry, Placement, parse_fragment};
use crate::open::{Replica, Repository, describe};
use crate::pack::parse_fingerprints;
use futures::StreamExt;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Frames closer than this are read together with the hole between them.
const HOLE_BYTES_MAX: u64 = 64 * 1024;
/// One read asks for about this many bytes.
const READ_BYTES_TARGET: u64 = 4 * 1024 * 1024;
const REQUESTS_AT_ONCE: usize = 8;
const HEADER_BYTES: u64 = 48;

/// Frames of one pack that are fetched with one read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Number of the pack in the index.
    pack: u32,
    /// Numbers of the frames, in order of offset.
    frames: Vec<u32>,
    /// Stored bytes to read.
    pub stored_bytes: u64,
    /// Plaintext bytes that come out.
    pub plain_bytes: u64,
}

/// Reads chunks.
#[derive(Debug)]
pub struct ChunkReader {
    repository: Arc<Repository>,
    index: Index,
    adopted: HashSet<[u8; 32]>,
    notes: Mutex<Vec<String>>,
}

impl ChunkReader {
    /// Loads the index.
    pub async fn open(repository: Arc<Repository>) -> Result<Self> {
        let mut reader = Self { repository, index: Index::default(), adopted: HashSet::new(), notes: Mutex::default() };
        let mut loaded: HashSet<String> = HashSet::new();
        for replica in reader.repository.replicas.clone() {
            match replica.location.list("index/").await {
                Ok(entries) => {
                    let keys = entries.into_iter().map(|entry| entry.key).filter(|key| !loaded.contains(key)).collect();
                    loaded.extend(reader.load_fragments(&replica, keys).await);
                }
                Err(error) => reader.note(describe(&error)),
            }
        }
        for replica in reader.repository.replicas.clone() {
            reader.adopt_packs(&replica).await;
        }
        Ok(reader)
    }

    /// Loads fragments of the index from one location; returns the keys that were read.
    async fn load_fragments(&mut self, replica: &Replica, keys: Vec<String>) -> Vec<String> {
        let fetch = |key: String| async {
            let bytes = replica.location.get(&key).await;
            (key, bytes)
        };
        let fetched: Vec<_> =
            futures::stream::iter(keys.into_iter().map(fetch)).buffered(REQUESTS_AT_ONCE).collect().await;
        let mut loaded = Vec::new();
        for (key, bytes) in fetched {
            let object = format!("{}/{key}", replica.location.address());
            let packs = bytes.map_err(Error::from).and_then(|bytes| {
                let fragment = Container::open(&self.repository.keys, &object, ContainerKind::Index, &bytes)?;
                parse_fragment(&object, &fragment.contents(&self.repository.keys, &object, &bytes, FRAGMENT_BYTES_MAX)?)
            });
            match packs {
                Ok(packs) => {
                    packs.into_iter().for_each(|pack| self.index.add(pack));
                    loaded.push(key);
                }
                Err(error) => self.note(describe(&error)),
            }
        }
        loaded
    }

    /// Packs that no fragment lists speak for themselves.
    async fn adopt_packs(&mut self, replica: &Replica) {
        let entries = match replica.location.list("packs/").await {
            Ok(entries) => entries,
            Err(error) => return self.note(describe(&error)),
        };
        for entry in entries {
            let Some(id) = pack_id(&entry.key) else { continue };
            if self.index.has_pack(&id) {
                continue;
            }
            match read_pack_entry(&self.repository, replica, &entry.key, id, entry.size).await {
                Ok(pack) => {
                    self.adopted.insert(id);
                    self.index.add(pack);
                }
                Err(error) => self.note(describe(&error)),
            }
        }
    }

    /// The index, and the packs in it that no fragment listed.
    pub fn into_index(self) -> (Index, HashSet<[u8; 32]>) {
        (self.index, self.adopted)
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The repository that is read.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    pub(crate) fn note(&self, text: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&text) {
            notes.push(text);
        }
    }

    /// What was found wrong while reading although another location helped. Empties the list.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sorts chunks into reads: by pack, in order of offset, close frames together.
    pub fn locate(&self, ids: impl IntoIterator<Item = ChunkId>) -> Result<Vec<Located>> {
        let mut by_pack: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for id in ids {
            let Placement { pack, frame } = self
                .index
                .find(&id)
                .ok_or_else(|| Error::corrupt(format!("chunk {id}"), "no pack that can be read holds it"))?;
            by_pack.entry(pack).or_default().push(frame);
        }
        let mut reads = Vec::new();
        for (pack, mut frames) in by_pack {
            frames.sort_unstable();
            frames.dedup();
            self.split_reads(pack, &frames, &mut reads);
        }
        Ok(reads)
    }

    fn split_reads(&self, pack: u32, frames: &[u32], reads: &mut Vec<Located>) {
        let rows = &self.index.pack(pack).frames;
        let mut current: Option<(Located, u64)> = None;
        for &number in frames {
            let row = rows[number as usize];
            let (start, stored) = (u64::from(row.offset), u64::from(row.stored_bytes));
            match &mut current {
                Some((read, end)) if start - *end <= HOLE_BYTES_MAX && read.stored_bytes < READ_BYTES_TARGET => {
                    read.stored_bytes += start - *end + stored;
                    read.plain_bytes += u64::from(row.plain_bytes);
                    read.frames.push(number);
                    *end = start + stored;
                }
                _ => {
                    let read = Located {
                        pack,
                        frames: vec![number],
                        stored_bytes: stored,
                        plain_bytes: row.plain_bytes.into(),
                    };
                    reads.extend(current.replace((read, start + stored)).map(|(read, _)| read));
                }
            }
        }
        reads.extend(current.map(|(read, _)| read));
    }

    /// Fetches one read and gives each chunk to `sink`. A location in which something is lost is passed over for the
    /// next one; then `sink` may see the same chunk twice.
    pub async fn fetch(
        &self,
        read: &Located,
        sink: &mut (dyn FnMut(ChunkId, &[u8]) -> Result<()> + Send),
    ) -> Result<()> {
        let mut failure = None;
        for replica in &self.repository.replicas {
            match self.fetch_from(replica, read, sink).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_loss() || matches!(error, Error::Location(_)) => {
                    self.note(describe(&error));
                    // Loss outweighs "could not ask": it is what the person must know.
                    if failure.as_ref().is_none_or(|known: &Error| !known.is_loss()) {
                        failure = Some(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(match failure {
            Some(error @ Error::Corrupt { .. }) => error,
            Some(error) if error.is_loss() => {
                Error::corrupt(self.index.pack(read.pack).key(), format!("cannot be read: {}", describe(&error)))
            }
            Some(error) => error,
            None => Error::NotFound { what: "a location".into() },
        })
    }

    async fn fetch_from(
        &self,
        replica: &Replica,
        read: &Located,
        sink: &mut (dyn FnMut(ChunkId, &[u8]) -> Result<()> + Send),
    ) -> Result<()> {
        let pack = self.index.pack(read.pack);
        let object = format!("{}/{}", replica.location.address(), pack.key());
        let row = |number: &u32| pack.frames[*number as usize];
        let (Some(first), Some(last)) = (read.frames.first().map(row), read.frames.last().map(row)) else {
            return Ok(());
        };
        let start = u64::from(first.offset);
        let end = u64::from(last.offset) + u64::from(last.stored_bytes);
        let bytes = replica.location.get_range(&pack.key(), start..end).await?;
        let opener = FrameOpener::new(&self.repository.keys, ContainerKind::Pack, &pack.salt)?;
        for &number in &read.frames {
            let frame: Frame = pack.frames[number as usize];
            let from = (u64::from(frame.offset) - start) as usize;
            let sealed = bytes
                .get(from..from + frame.stored_bytes as usize)
                .ok_or_else(|| Error::corrupt(&object, "shorter than the index says"))?;
            let plain = opener.open(&self.repository.keys, &object, number, &frame, sealed)?;
            sink(frame.id, &plain)?;
        }
        Ok(())
    }

    /// The chunks with these ids, in this order. For metadata: everything is held in memory.
    pub async fn read_all(&self, ids: &[ChunkId]) -> Result<Vec<Vec<u8>>> {
        let reads = self.locate(ids.iter().copied())?;
        let fetch = |read: Located| async move {
            let mut chunks = Vec::new();
            let mut sink = |id: ChunkId, bytes: &[u8]| {
                chunks.push((id, bytes.to_vec()));
                Ok(())
            };
            self.fetch(&read, &mut sink).await.map(|()| chunks)
        };
        let mut found: HashMap<ChunkId, Vec<u8>> = HashMap::new();
        let mut results = futures::stream::iter(reads.into_iter().map(fetch)).buffer_unordered(REQUESTS_AT_ONCE);
        while let Some(chunks) = results.next().await {
            found.extend(chunks?);
        }
        ids.iter()
            .map(|id| found.get(id).cloned().ok_or_else(|| Error::corrupt(format!("chunk {id}"), "was not delivered")))
            .collect()
    }

    /// The block fingerprints of every frame of the pack that holds `id`, with the frames' ids.
    pub async fn fingerprints_of_pack(&self, id: &ChunkId) -> Result<Vec<(ChunkId, Box<[u64]>)>> {
        let placement = self.index.find(id).ok_or_else(|| Error::NotFound { what: format!("chunk {id}") })?;
        let pack = self.index.pack(placement.pack);
        let mut failure = None;
        for replica in &self.repository.replicas {
            match read_fingerprints(&self.repository, replica, pack).await {
                Ok(all) => return Ok(pack.frames.iter().map(|frame| frame.id).zip(all).collect()),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(Error::NotFound { what: "a location".into() }))
    }
}

async fn read_fingerprints(repository: &Repository, replica: &Replica, pack: &PackEntry) -> Result<Vec<Box<[u64]>>> {
    let key = pack.key();
    let object = format!("{}/{key}", replica.location.address());
    let container = read_container(repository, replica, &key, pack.bytes).await?;
    let range = container.annex_range();
    let sealed = if range.is_empty() { Default::default() } else { replica.location.get_range(&key, range).await? };
    parse_fingerprints(&object, &container.open_annex(&repository.keys, &object, &sealed)?, pack.frames.len())
}

/// Reads header, footer and table of a stored object: three small reads instead of the whole.
async fn read_container(repository: &Repository, replica: &Replica, key: &str, bytes: u64) -> Result<Container> {
    let object = format!("{}/{key}", replica.location.address());
    if bytes < HEADER_BYTES + FOOTER_BYTES as u64 {
        return Err(Error::corrupt(object, "shorter than header and footer"));
    }
    let header = parse_header(&object, &replica.location.get_range(key, 0..HEADER_BYTES).await?)?;
    let footer = replica.location.get_range(key, bytes - FOOTER_BYTES as u64..bytes).await?;
    let layout = parse_footer(&object, header, &footer, bytes)?;
    let toc = replica.location.get_range(key, layout.toc_range()).await?;
    Container::open_parts(&repository.keys, &object, layout, &toc)
}

async fn read_pack_entry(
    repository: &Repository,
    replica: &Replica,
    key: &str,
    id: [u8; 32],
    bytes: u64,
) -> Result<PackEntry> {
    let container = read_container(repository, replica, key, bytes).await?;
    if container.kind != ContainerKind::Pack {
        return Err(Error::corrupt(key, "is not a pack"));
    }
    Ok(PackEntry { id, bytes, salt: container.salt, frames: container.frames })
}

/// The id in the key of a pack.
pub(crate) fn pack_id(key: &str) -> Option<[u8; 32]> {
    let mut id = [0; 32];
    hex::decode_to_slice(key.rsplit('/').next()?, &mut id).ok()?;
    Some(id)
}

impl ChunkReader {
    /// The extents of a file, in order, checked against its size.
    pub async fn extents(&self, entry: &crate::tree::TreeEntry) -> Result<Vec<crate::file_map::Extent>> {
        use crate::file_map::{LEAF_SPAN_BYTES, Leaf};
        use crate::tree::Content;
        let extents = match &entry.content {
            None => Vec::new(),
            Some(Content::Inline(rows)) => Content::inline_extents(rows)?,
            Some(Content::Leaves(ids)) => {
                let mut extents = Vec::new();
                for (number, bytes) in self.read_all(ids).await?.iter().enumerate() {
                    extents.extend(Leaf::parse(bytes, number as u64 * LEAF_SPAN_BYTES)?.extents);
                }
                extents
            }
        };
        let mut end = 0;
        for extent in &extents {
            if extent.offset != end {
                return Err(Error::corrupt(&entry.path, "its map has a hole"));
            }
            end += u64::from(extent.length);
        }
        if end != entry.size {
            return Err(Error::corrupt(&entry.path, format!("its map covers {end} of {} bytes", entry.size)));
        }
        Ok(extents)
    }
}

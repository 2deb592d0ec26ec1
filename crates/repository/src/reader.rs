//! Reading chunks back: by pack, in long reads, from whichever location has them whole.
//!
//! A reader knows the index of all locations together. When a fragment of the index is gone or damaged, it reads the
//! tables of the packs themselves. When a frame is gone or damaged in one location, the next one is asked, and what
//! happened is noted.

mod elsewhere;
mod held;

pub use held::Held;

use crate::chunk::ChunkId;
use crate::container::{Container, ContainerKind, Desk, FOOTER_BYTES, Frame, FrameOpener, parse_footer, parse_header};
use crate::error::{Error, Result};
use crate::index::{FRAGMENT_BYTES_MAX, Index, PackEntry, Placement, parse_fragment};
use crate::key::Keys;
use crate::open::{Replica, Repository, describe};
use crate::pack::{Fingerprints, parse_fingerprints};
use crate::patience::{answer_within, ask_all, within};
use bytes::Bytes;
use futures::StreamExt;
use lifeboat_location::{Entry, ErrorKind};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Packs that a fragment lists and no location has.
    doubtful: HashSet<[u8; 32]>,
    notes: Mutex<Vec<String>>,
    /// Names of locations that did not answer.
    silent: Mutex<HashSet<String>>,
    /// Packs of which a part could be read in no location.
    distrusted: Mutex<HashSet<[u8; 32]>>,
    /// Packs that are known to be damaged in one location or another.
    damaged: HashSet<[u8; 32]>,
    /// Memory that nobody uses just now: one for each thread that reads.
    desks: Mutex<Vec<Desk>>,
}

impl ChunkReader {
    /// Loads the index. An error when no location can be listed.
    pub async fn open(repository: Arc<Repository>) -> Result<Self> {
        let notes = Mutex::default();
        let (adopted, silent) = (HashSet::new(), Mutex::default());
        let (doubtful, distrusted) = (HashSet::new(), Mutex::default());
        let (index, desks) = (Index::default(), Mutex::default());
        let damaged = HashSet::new();
        let mut reader = Self { repository, index, adopted, doubtful, notes, silent, distrusted, damaged, desks };
        let replicas = reader.repository.replicas.clone();
        let (packs, damaged) = tokio::join!(reader.list(&replicas, "packs/"), reader.repository.damaged_packs());
        let packs = packs?;
        let fragments = reader.list(&replicas, "index/").await?;
        let mut loaded: HashSet<String> = HashSet::new();
        let sizes: Vec<Option<HashMap<String, u64>>> =
            packs.iter().map(|entries| entries.as_deref().map(sizes_of)).collect();
        let mut doubtful = Vec::new();
        for (replica, entries) in replicas.iter().zip(fragments) {
            let entries = entries.into_iter().flatten().filter(|entry| !loaded.contains(&entry.key)).collect();
            let (keys, listed) = reader.load_fragments(replica, entries).await;
            loaded.extend(keys);
            for pack in listed {
                // What lists a pack may outlive it. A chunk is looked for there only when no other pack has it.
                if is_whole_somewhere(&pack, &sizes) { reader.index.add(pack) } else { doubtful.push(pack) }
            }
        }
        for (replica, entries) in replicas.iter().zip(packs) {
            reader.adopt_packs(replica, entries.unwrap_or_default()).await;
        }
        for pack in doubtful {
            if !reader.index.has_pack(&pack.id) {
                reader.doubtful.insert(pack.id);
            }
            reader.index.add(pack);
        }
        // What was stored anew because of damage counts where it is whole: for whoever reads, and for whoever gives up packs.
        if let Some(damaged) = damaged.filter(|damaged| !damaged.is_empty()) {
            reader.damaged = damaged;
            reader.prefer_others(&HashSet::new());
        }
        Ok(reader)
    }

    /// What each location lists, or `None` where that failed. An error when it failed everywhere.
    async fn list(&self, replicas: &[Replica], prefix: &str) -> Result<Vec<Option<Vec<Entry>>>> {
        let ask = async |replica: Replica| Ok(replica.location.list(prefix).await?);
        let (mut listings, mut failure) = (Vec::new(), None);
        for (replica, answer) in replicas.iter().zip(ask_all(replicas, self.repository.limits.listing(), ask).await) {
            if let Err(error) = &answer {
                self.note(describe(error));
                self.pass_over(replica);
            }
            listings.push(answer.map_err(|error| failure = Some(error)).ok());
        }
        match failure {
            Some(error) if listings.iter().all(Option::is_none) => Err(error),
            _ => Ok(listings),
        }
    }

    /// Loads fragments of the index from one location; returns the keys that were read and the packs they list.
    async fn load_fragments(&self, replica: &Replica, entries: Vec<Entry>) -> (Vec<String>, Vec<PackEntry>) {
        let fetch = |entry: Entry| async move {
            let packs = load_fragment(&self.repository, replica, &entry).await;
            (entry.key, packs)
        };
        let mut fetched = futures::stream::iter(entries.into_iter().map(fetch)).buffered(REQUESTS_AT_ONCE);
        let (mut loaded, mut listed) = (Vec::new(), Vec::new());
        while let Some((key, packs)) = fetched.next().await {
            match packs {
                Ok(packs) => {
                    listed.extend(packs);
                    loaded.push(key);
                }
                Err(error) => self.could_not(&error, replica),
            }
        }
        (loaded, listed)
    }

    /// Packs that no fragment lists speak for themselves.
    async fn adopt_packs(&mut self, replica: &Replica, entries: Vec<Entry>) {
        let unknown = entries
            .into_iter()
            .filter_map(|entry| pack_id(&entry.key).map(|id| (entry, id)))
            .filter(|(_, id)| !self.index.has_pack(id));
        let repository = self.repository.clone();
        let read = |(entry, id): (Entry, [u8; 32])| {
            let repository = &repository;
            async move { read_pack_entry(repository, replica, &entry.key, id, entry.size).await }
        };
        let reads: Vec<_> = unknown.map(read).collect();
        let mut packs = futures::stream::iter(reads).buffered(REQUESTS_AT_ONCE);
        while let Some(pack) = packs.next().await {
            match pack {
                Ok(pack) => {
                    self.adopted.insert(pack.id);
                    self.index.add(pack);
                }
                Err(error) => self.could_not(&error, replica),
            }
        }
    }

    /// Notes what could not be read; a location that did not answer is asked last from now on.
    fn could_not(&self, error: &Error, replica: &Replica) {
        self.note(describe(error));
        if !error.is_loss() {
            self.pass_over(replica);
        }
    }

    /// Whether every location answered, up to now: else what seems lost may be there.
    pub(crate) fn all_answered(&self) -> bool {
        self.repository.unavailable.is_empty() && self.silent.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// From now on a chunk that several packs hold is looked for in one that isn't among these; but rather there than in one that is
    /// damaged, and rather in that than in one that no location has.
    pub(crate) fn prefer_others(&mut self, avoided: &HashSet<[u8; 32]>) {
        let mut packs = std::mem::take(&mut self.index).into_packs();
        // A sort that keeps the order of equals.
        packs.sort_by_key(|pack| {
            (self.doubtful.contains(&pack.id), self.damaged.contains(&pack.id), avoided.contains(&pack.id))
        });
        packs.into_iter().for_each(|pack| self.index.add(pack));
    }

    /// Whether some location lists this pack.
    pub(crate) fn is_sure_of(&self, pack: &[u8; 32]) -> bool {
        !self.doubtful.contains(pack)
    }

    /// A location that did not answer is asked last from now on.
    fn pass_over(&self, replica: &Replica) {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).insert(replica.name.clone());
    }

    fn distrusted(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The locations in the order in which they are asked.
    fn in_order(&self) -> Vec<&Replica> {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut replicas: Vec<&Replica> = self.repository.replicas.iter().collect();
        replicas.sort_by_key(|replica| silent.contains(&replica.name));
        replicas
    }

    /// The pack of this chunk, if no fragment of the index lists it.
    pub(crate) fn adopted_pack_of(&self, id: &ChunkId) -> Option<String> {
        let pack = self.index.pack(self.index.find(id)?.pack);
        self.has_adopted(&pack.id).then(|| pack.key())
    }

    /// Whether no fragment of the index lists this pack.
    pub(crate) fn has_adopted(&self, pack: &[u8; 32]) -> bool {
        self.adopted.contains(pack)
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
    /// next one, and a pack of which something is lost everywhere for another one; then `sink` may see the same chunk twice.
    pub async fn fetch(
        &self,
        read: &Located,
        sink: &mut (dyn FnMut(ChunkId, &[u8]) -> Result<()> + Send),
    ) -> Result<()> {
        match self.fetch_together(read, sink).await {
            Err(error) if error.is_loss() => self.fetch_singly(read, error, sink).await,
            result => result,
        }
    }

    async fn fetch_together(
        &self,
        read: &Located,
        sink: &mut (dyn FnMut(ChunkId, &[u8]) -> Result<()> + Send),
    ) -> Result<()> {
        let mut failure = None;
        let replicas = self.in_order();
        for (number, replica) in replicas.iter().enumerate() {
            let fetch = self.fetch_from(replica, read, sink);
            // The last one gets all the time it needs: better late than never.
            let result = match number + 1 < replicas.len() {
                true => {
                    let limit = self.repository.limits.time_for(read.stored_bytes * REQUESTS_AT_ONCE as u64);
                    answer_within(replica, limit, fetch).await
                }
                false => fetch.await,
            };
            match result {
                Ok(()) => return Ok(()),
                Err(error) if error.is_loss() || matches!(error, Error::Location(_)) => {
                    self.could_not(&error, replica);
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
        let bytes = self.sealed(replica, read).await?;
        self.open_frames(replica, read, &read.frames, &bytes, sink)
    }

    /// The bytes of a read, as they are stored.
    async fn sealed(&self, replica: &Replica, read: &Located) -> Result<Bytes> {
        let key = self.index.pack(read.pack).key();
        replica.location.get_range(&key, self.range_of(read)).await.map_err(|error| match error.kind() {
            // Its end lies before what is asked for.
            ErrorKind::Invalid => {
                Error::corrupt(format!("{}/{key}", replica.location.address()), "shorter than the index says")
            }
            _ => error.into(),
        })
    }

    /// Where a read lies in its pack.
    fn range_of(&self, read: &Located) -> Range<u64> {
        let rows = &self.index.pack(read.pack).frames;
        let row = |number: Option<&u32>| number.map(|number| rows[*number as usize]);
        let start = row(read.frames.first()).map_or(0, |first| u64::from(first.offset));
        let end = row(read.frames.last()).map_or(0, |last| u64::from(last.offset) + u64::from(last.stored_bytes));
        start..end
    }

    /// Opens some frames of a read, whose bytes came from `replica`.
    fn open_frames(
        &self,
        replica: &Replica,
        read: &Located,
        frames: &[u32],
        bytes: &[u8],
        sink: &mut (dyn FnMut(ChunkId, &[u8]) -> Result<()> + Send),
    ) -> Result<()> {
        let pack = self.index.pack(read.pack);
        let object = format!("{}/{}", replica.location.address(), pack.key());
        let start = self.range_of(read).start;
        let spare = self.desks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let desk = spare.map_or_else(Desk::new, Ok)?;
        let mut opener = FrameOpener::at(desk, &self.repository.keys, ContainerKind::Pack, &pack.salt)?;
        for &number in frames {
            let frame: Frame = pack.frames[number as usize];
            let from = (u64::from(frame.offset) - start) as usize;
            let sealed = bytes
                .get(from..from + frame.stored_bytes as usize)
                .ok_or_else(|| Error::corrupt(&object, "shorter than the index says"))?;
            let plain = opener.open(&self.repository.keys, &object, number, &frame, sealed)?;
            sink(frame.id, plain)?;
        }
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).push(opener.into_desk());
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

    /// The block fingerprints of every frame of a pack, by its number in the index.
    pub async fn fingerprints_of_pack(&self, number: u32) -> Result<Fingerprints> {
        let pack = self.index.pack(number);
        let mut failure = None;
        for replica in self.in_order() {
            match read_fingerprints(&self.repository, replica, pack).await {
                Ok(all) => return Ok(all),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(Error::NotFound { what: "a location".into() }))
    }
}

pub(crate) async fn read_fingerprints(
    repository: &Repository,
    replica: &Replica,
    pack: &PackEntry,
) -> Result<Fingerprints> {
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

fn sizes_of(entries: &[Entry]) -> HashMap<String, u64> {
    entries.iter().map(|entry| (entry.key.clone(), entry.size)).collect()
}

/// Whether some location lists the pack with the right size, or could not be asked.
fn is_whole_somewhere(pack: &PackEntry, listings: &[Option<HashMap<String, u64>>]) -> bool {
    let key = pack.key();
    listings.iter().any(|listing| listing.as_ref().is_none_or(|sizes| sizes.get(&key) == Some(&pack.bytes)))
}

/// Reads one fragment of the index.
pub(crate) async fn load_fragment(repository: &Repository, replica: &Replica, entry: &Entry) -> Result<Vec<PackEntry>> {
    let (keys, limits) = (&repository.keys, repository.limits);
    let object = format!("{}/{}", replica.location.address(), entry.key);
    if entry.size > 2 * FRAGMENT_BYTES_MAX as u64 {
        return Err(Error::corrupt(object, "longer than a fragment of the index may be"));
    }
    let get = replica.location.get(&entry.key);
    let bytes = match repository.replicas.len() {
        1 => get.await?,
        _ => within(replica, limits.time_for(entry.size * REQUESTS_AT_ONCE as u64), get).await?,
    };
    open_fragment(keys, &object, &bytes)
}

/// The packs that a fragment lists, from its sealed bytes.
pub(crate) fn open_fragment(keys: &Keys, object: &str, bytes: &[u8]) -> Result<Vec<PackEntry>> {
    let fragment = Container::open(keys, object, ContainerKind::Index, bytes)?;
    parse_fragment(object, &fragment.contents(keys, object, bytes, FRAGMENT_BYTES_MAX)?)
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
            self.check_inside_chunk(&entry.path, extent)?;
        }
        if end != entry.size {
            return Err(Error::corrupt(&entry.path, format!("its map covers {end} of {} bytes", entry.size)));
        }
        Ok(extents)
    }

    fn check_inside_chunk(&self, path: &str, extent: &crate::file_map::Extent) -> Result<()> {
        let crate::file_map::Source::Chunk { id, offset } = extent.source else { return Ok(()) };
        let placement =
            self.index.find(&id).ok_or_else(|| Error::corrupt(path, format!("chunk {id} is in no pack")))?;
        let inside = u64::from(offset) + u64::from(extent.length) <= u64::from(self.index.frame(placement).plain_bytes);
        inside.then_some(()).ok_or_else(|| Error::corrupt(path, format!("its map leaves chunk {id}")))
    }
}

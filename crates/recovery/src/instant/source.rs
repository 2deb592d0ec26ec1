//! The content of a point's files, from the repository: what a mount asks for, by the number that a file has in the point's tree.

use super::seldom::Seldom;
use futures::{StreamExt, TryStreamExt};
use lifeboat_mount::journal::FileNumber;
use lifeboat_mount::source::{Piece, Sink, Source, SourceError};
use lifeboat_repository::{
    ChunkId, ChunkReader, Content, Error, Extent, LEAF_SPAN_BYTES, Leaf, Result, Source as Where, TreeEntry,
};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;

/// Reads that are under way at once, for one who asks.
const READS_AT_ONCE: usize = 8;
/// Parts of maps that are kept in memory: at most a quarter of a megabyte each, and mostly far less.
const LEAVES_MAX: usize = 128;

/// With several locations, how long is waited for one piece from all of them together. The last one that is asked has no limit of its own, and
/// a file server that is gone never answers; whoever asks again may be answered by another location.
const FETCH_WITHIN: Duration = Duration::from_secs(300);

/// Through whom the repository is read. May be exchanged while it is: for one that sees more locations.
pub struct Readers {
    now: RwLock<Arc<ChunkReader>>,
    told: Seldom,
}

impl Readers {
    fn new(reader: Arc<ChunkReader>) -> Arc<Self> {
        Arc::new(Self { now: RwLock::new(reader), told: Seldom::default() })
    }

    /// The one who is asked.
    pub fn now(&self) -> Arc<ChunkReader> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one is asked. What is under way goes on with the other.
    pub fn exchange(&self, reader: Arc<ChunkReader>) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = reader;
    }

    fn tell(&self, notes: &[String]) {
        for note in notes {
            if let Some(unsaid) = self.told.is_due() {
                tracing::warn!(unsaid, "{note}");
            }
        }
    }
}

/// A point's files.
pub struct PointSource {
    readers: Arc<Readers>,
    handle: Handle,
    tree: Vec<TreeEntry>,
    leaves: Mutex<Leaves>,
}

/// Which part of which file's map.
type LeafName = (FileNumber, u64);

/// Parts of maps, the oldest forgotten first.
#[derive(Default)]
struct Leaves {
    known: HashMap<LeafName, Arc<Leaf>>,
    order: VecDeque<LeafName>,
}

impl Leaves {
    fn keep(&mut self, name: LeafName, leaf: Arc<Leaf>) {
        if self.known.insert(name, leaf).is_none() {
            self.order.push_back(name);
        }
        while self.order.len() > LEAVES_MAX {
            self.order.pop_front().and_then(|oldest| self.known.remove(&oldest));
        }
    }
}

impl PointSource {
    /// Of a point with this tree.
    pub fn new(reader: Arc<ChunkReader>, handle: Handle, tree: Vec<TreeEntry>) -> Self {
        Self { readers: Readers::new(reader), handle, tree, leaves: Mutex::default() }
    }

    /// Through whom it reads.
    pub fn readers(&self) -> Arc<Readers> {
        self.readers.clone()
    }

    /// Waits for locations: for one alone as long as it takes.
    fn wait_for<T>(
        &self,
        reader: &ChunkReader,
        work: impl Future<Output = Result<T>>,
    ) -> std::result::Result<T, SourceError> {
        if reader.repository().replicas().len() < 2 {
            return Ok(self.handle.block_on(work)?);
        }
        let waited = self.handle.block_on(async { tokio::time::timeout(FETCH_WITHIN, work).await });
        Ok(waited.map_err(|_| format!("no location has answered for {} seconds", FETCH_WITHIN.as_secs()))??)
    }

    /// What a file is called.
    pub fn path_of(&self, number: FileNumber) -> String {
        self.tree.get(number as usize).map(|entry| entry.path.clone()).unwrap_or_default()
    }

    /// How many bytes it has.
    pub fn bytes_of(&self, number: FileNumber) -> u64 {
        self.tree.get(number as usize).map_or(0, |entry| entry.size)
    }

    /// A part of a file's map. Short files have it in the tree.
    fn leaf(&self, number: FileNumber, at: u64) -> std::result::Result<Arc<Leaf>, SourceError> {
        let leaves = || self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = leaves().known.get(&(number, at)) {
            return Ok(known.clone());
        }
        let entry = self.tree.get(number as usize).ok_or_else(|| Error::NotFound { what: format!("file {number}") })?;
        let leaf = match &entry.content {
            None => Leaf::default(),
            Some(Content::Inline(rows)) => {
                let span = at * LEAF_SPAN_BYTES..(at + 1) * LEAF_SPAN_BYTES;
                let extents = Content::inline_extents(rows)?.into_iter();
                Leaf { extents: extents.filter_map(|extent| overlap(&extent, &span)).collect() }
            }
            Some(Content::Leaves(ids)) => {
                let absent = || Error::corrupt(&entry.path, "its map ends too early");
                let id = ids.get(at as usize).ok_or_else(absent)?;
                let reader = self.readers.now();
                let bytes = self.wait_for(&reader, reader.read_all(&[*id]))?;
                Leaf::parse(&bytes[0], at * LEAF_SPAN_BYTES)?
            }
        };
        let leaf = Arc::new(leaf);
        leaves().keep((number, at), leaf.clone());
        Ok(leaf)
    }

    /// What `range` needs of one part of the map, with all that the same chunks bring.
    fn fetch_from(&self, leaf: &Leaf, range: &Range<u64>, sink: &mut Sink<'_>) -> std::result::Result<(), SourceError> {
        let mut targets: HashMap<ChunkId, Vec<Extent>> = HashMap::new();
        for extent in touching(&leaf.extents, range) {
            match extent.source {
                Where::Zero => sink(extent.offset, Piece::Zeros(extent.length.into()))?,
                Where::Chunk { id, .. } => targets.entry(id).or_default().clear(),
            }
        }
        for extent in &leaf.extents {
            if let Where::Chunk { id, .. } = extent.source {
                targets.get_mut(&id).into_iter().for_each(|extents| extents.push(*extent));
            }
        }
        let reader = self.readers.now();
        let reads = reader.locate(targets.keys().copied())?;
        let (sink, failure) = (Mutex::new(sink), Mutex::new(None));
        let take = |id: ChunkId, chunk: &[u8]| -> Result<()> {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            for extent in targets.get(&id).into_iter().flatten() {
                let Where::Chunk { offset, .. } = extent.source else { continue };
                let part = chunk.get(offset as usize..offset as usize + extent.length as usize);
                let part = part.ok_or_else(|| Error::corrupt(format!("chunk {id}"), "a file's map leaves it"))?;
                if let Err(error) = sink(extent.offset, Piece::Bytes(part)) {
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    *failure = Some(error);
                    return Err(Error::Internal("write to the local file".into()));
                }
            }
            Ok(())
        };
        let fetches = futures::stream::iter(&reads).map(|read| {
            let (take, reader) = (&take, &reader);
            async move {
                let mut take = |id: ChunkId, chunk: &[u8]| take(id, chunk);
                reader.fetch(read, &mut take).await
            }
        });
        let fetched = self.wait_for(&reader, fetches.buffer_unordered(READS_AT_ONCE).try_collect::<()>());
        self.readers.tell(&reader.take_notes());
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.into()),
            None => Ok(fetched?),
        }
    }
}

impl Source for PointSource {
    fn fetch(
        &self,
        number: FileNumber,
        range: Range<u64>,
        sink: &mut Sink<'_>,
    ) -> std::result::Result<(), SourceError> {
        for at in range.start / LEAF_SPAN_BYTES..range.end.div_ceil(LEAF_SPAN_BYTES) {
            let leaf = self.leaf(number, at)?;
            self.fetch_from(&leaf, &range, sink)?;
        }
        Ok(())
    }

    fn name_of(&self, number: FileNumber) -> String {
        self.path_of(number)
    }
}

/// Extents that `range` touches. They come in order, without overlap.
fn touching<'a>(extents: &'a [Extent], range: &Range<u64>) -> impl Iterator<Item = &'a Extent> {
    let first = extents.partition_point(|extent| extent.offset + u64::from(extent.length) <= range.start);
    let end = range.end;
    extents[first..].iter().take_while(move |extent| extent.offset < end)
}

/// The part of an extent that lies in `span`.
fn overlap(extent: &Extent, span: &Range<u64>) -> Option<Extent> {
    let from = extent.offset.max(span.start);
    let to = (extent.offset + u64::from(extent.length)).min(span.end);
    (from < to).then(|| extent.part(from, to))
}

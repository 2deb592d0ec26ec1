//! The catalogs of a recovery point, read from the repository: which databases there are, and what tables they have.

use super::database::Database;
use super::ledger::Ledger;
use crate::error::Result;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::catalog::{
    CLASS_OID, DATABASE_OID, FILENODE_MAP_BYTES_MAX, NAMESPACE_OID, TrackedTable, parse_filenode_map,
};
use lifeboat_postgres::layout::{FileKind, Fork, Layout, Place, RelationFile, Treatment};
use lifeboat_postgres::wal::{PAGE_BYTES, RelationLocator};
use lifeboat_repository::{ChunkReader, Content, EntryKind, Error, Extent, Point, Source, TreeEntry, TreeReader};
use lifeboat_workload::postgres::PostgresDetails;
use std::collections::BTreeMap;
use std::path::Path;

/// Pages of a file of 1 GiB.
const BLOCKS_PER_FILE: u32 = 131_072;
/// No catalog that is larger is read: a million tables have a quarter of that.
const CATALOG_BYTES_MAX: u64 = 1 << 30;

/// The files of a point that matter here.
struct Files<'a> {
    reader: &'a ChunkReader,
    relations: BTreeMap<RelationFile, &'a TreeEntry>,
    maps: BTreeMap<Place, &'a TreeEntry>,
}

/// Gives the ledger what it doesn't know yet, or knows no more, from this point. What can't be read is told in `notes`: the others serve.
pub async fn load(
    ledger: &mut Ledger,
    reader: &ChunkReader,
    point: &Point,
    details: &PostgresDetails,
    notes: &mut Vec<String>,
) -> Result<()> {
    let tree = TreeReader::read(reader, &point.tree).await?;
    let files = Files::of(reader, &tree, details);
    let shared = files.map(Place::Global).await?;
    if let Some(relfilenode) = shared.get(&DATABASE_OID) {
        let file = RelationLocator { place: Place::Global, relfilenode: *relfilenode };
        ledger.load_database_names(file, files.pages(file).await?);
    }
    for place in files.maps.keys().copied() {
        let (Place::Database { database: oid } | Place::Tablespace { database: oid, .. }) = place else { continue };
        if !ledger.is_wanting(oid) {
            continue;
        }
        match files.database(place, details.major).await {
            Ok(Some(database)) => ledger.load_database(oid, database),
            Ok(None) => {}
            Err(error) => notes.push(format!("the tables of database {oid} in recovery point {}: {error}", point.id)),
        }
    }
    Ok(())
}

impl<'a> Files<'a> {
    fn of(reader: &'a ChunkReader, tree: &'a [TreeEntry], details: &PostgresDetails) -> Self {
        let layout = Layout::new(details.major, details.catalog_version);
        let (mut relations, mut maps) = (BTreeMap::new(), BTreeMap::new());
        let directory = |entry: &'a TreeEntry| entry.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut found: BTreeMap<&str, &TreeEntry> = BTreeMap::new();
        for entry in tree.iter().filter(|entry| entry.kind == EntryKind::File) {
            match layout.classify(Path::new(&entry.path), false) {
                Treatment::Copy(FileKind::Relation(file)) if file.fork == Fork::Main => {
                    relations.insert(file, entry);
                }
                Treatment::Copy(FileKind::FilenodeMap) => drop(found.insert(directory(entry), entry)),
                _ => {}
            }
        }
        // A map's place is that of the relations beside it.
        for (file, entry) in &relations {
            if let Some(map) = found.get(directory(entry)) {
                maps.insert(file.place, *map);
            }
        }
        Self { reader, relations, maps }
    }

    async fn map(&self, place: Place) -> Result<BTreeMap<u32, u32>> {
        let Some(entry) = self.maps.get(&place) else { return Ok(BTreeMap::new()) };
        let bytes = content(self.reader, entry, FILENODE_MAP_BYTES_MAX as u64).await?;
        Ok(parse_filenode_map(&bytes).map_err(|error| Error::corrupt(&entry.path, error.to_string()))?)
    }

    async fn database(&self, place: Place, version: MajorVersion) -> Result<Option<Database>> {
        let Some(relfilenode) = self.map(place).await?.get(&CLASS_OID).copied() else { return Ok(None) };
        let class_file = RelationLocator { place, relfilenode };
        let mut class = TrackedTable::default();
        self.pages(class_file).await?.iter().for_each(|(block, page)| class.load(*block, page));
        let mut database = Database {
            place,
            class_file,
            class,
            namespace_file: None,
            namespace: TrackedTable::default(),
            is_stale: false,
        };
        // When the schemas were being written anew: the file that is there.
        for file in database.files_of(NAMESPACE_OID, version) {
            let pages = self.pages(file).await?;
            if !pages.is_empty() {
                database.namespace_file = Some(file);
                pages.iter().for_each(|(block, page)| database.namespace.load(*block, page));
            }
        }
        Ok(Some(database))
    }

    /// The pages of a table, over all its files.
    async fn pages(&self, table: RelationLocator) -> Result<Vec<(u32, Vec<u8>)>> {
        let mut pages = Vec::new();
        for segment_number in 0.. {
            let RelationLocator { place, relfilenode } = table;
            let file = RelationFile { place, relfilenode, fork: Fork::Main, segment_number };
            let Some(entry) = self.relations.get(&file) else { break };
            let bytes = content(self.reader, entry, CATALOG_BYTES_MAX).await?;
            let first = file.first_block(BLOCKS_PER_FILE).unwrap_or(u32::MAX);
            let whole = bytes.chunks_exact(PAGE_BYTES).map(<[u8]>::to_vec);
            pages.extend((first..).zip(whole));
        }
        Ok(pages)
    }
}

/// A whole file of the point.
async fn content(reader: &ChunkReader, entry: &TreeEntry, bytes_max: u64) -> Result<Vec<u8>> {
    if entry.size > bytes_max {
        return Err(Error::corrupt(&entry.path, format!("{} bytes are more than it can have", entry.size)).into());
    }
    let extents = match &entry.content {
        Some(Content::Inline(_) | Content::Leaves(_)) => reader.extents(entry).await?,
        None => Vec::new(),
    };
    let chunk_of = |extent: &Extent| match extent.source {
        Source::Chunk { id, .. } => Some(id),
        Source::Zero => None,
    };
    let mut ids: Vec<_> = extents.iter().filter_map(chunk_of).collect();
    ids.sort_unstable();
    ids.dedup();
    let chunks: BTreeMap<_, _> = ids.iter().copied().zip(reader.read_all(&ids).await?).collect();
    let mut bytes = vec![0; entry.size as usize];
    for extent in &extents {
        let Source::Chunk { id, offset } = extent.source else { continue };
        let part = chunks.get(&id).and_then(|chunk| chunk.get(offset as usize..)?.get(..extent.length as usize));
        let room = bytes.get_mut(extent.offset as usize..).and_then(|rest| rest.get_mut(..extent.length as usize));
        match (part, room) {
            (Some(part), Some(room)) => room.copy_from_slice(part),
            _ => return Err(Error::corrupt(&entry.path, "its map leaves a chunk").into()),
        }
    }
    Ok(bytes)
}

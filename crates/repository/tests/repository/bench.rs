//! What the tests share: a repository in some places, a set of files that is stored and read back.

use crate::place::Place;
use lifeboat_repository::*;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub const WORKLOAD: &str = "shop";
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery staple".into())
}

pub fn quick() -> Limits {
    Limits { patience: Duration::from_millis(400), bytes_per_second_min: 1 << 40, ..Limits::default() }
}

pub fn replicas(places: &[&Arc<Place>]) -> Vec<Replica> {
    let names = ["north", "south", "west"];
    places.iter().zip(names).map(|(p, name)| Replica { name: name.into(), location: (*p).clone() }).collect()
}

/// A repository in new places.
pub async fn create(count: usize) -> (Vec<Arc<Place>>, Arc<Repository>) {
    let places: Vec<Arc<Place>> = ["a", "b", "c"][..count].iter().map(|name| Place::new(name)).collect();
    let all = replicas(&places.iter().collect::<Vec<_>>());
    Repository::init(&all, &passphrase()).await.unwrap();
    (places.clone(), open(&places).await)
}

pub async fn open(places: &[Arc<Place>]) -> Arc<Repository> {
    let all = replicas(&places.iter().collect::<Vec<_>>());
    Arc::new(Repository::open_with(all, &passphrase(), 3, quick()).await.unwrap())
}

/// Bytes that look random, always the same for one seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub fn text(seed: u64, length: usize) -> Vec<u8> {
    noise(seed, length / 8 + 1).iter().flat_map(|byte| [byte % 16 + b'a'; 8]).take(length).collect()
}

/// Small files of every shape: empty, inline, several leaves' worth of zeros, incompressible, compressible.
pub fn some_files(seed: u64) -> Files {
    let mut sparse = vec![0; 33 * 1024 * 1024];
    sparse[..1000].copy_from_slice(&noise(seed, 1000));
    sparse[LEAF_SPAN_BYTES as usize + 5000..][..300_000].copy_from_slice(&noise(seed + 1, 300_000));
    let mut files = Files::from([
        ("PG_VERSION".into(), b"15\n".to_vec()),
        ("base/1/1259".into(), text(seed + 2, 500_000)),
        ("base/1/2619".into(), noise(seed + 3, 700_001)),
        ("base/sparse".into(), sparse),
        ("empty".into(), Vec::new()),
    ]);
    for number in 0..40 {
        files.insert(format!("small/{number:03}"), text(seed + 10 + number, 50 + number as usize * 37));
    }
    files
}

/// A tiny set, for tests that try thousands of damages.
pub fn few_files(seed: u64) -> Files {
    Files::from([
        ("one".into(), text(seed, 3000)),
        ("two".into(), noise(seed + 1, 700)),
        ("zeros".into(), vec![0; 100_000]),
    ])
}

fn extents_of(writer: &mut ChunkWriter, bytes: &[u8]) -> Result<Vec<Extent>> {
    let mut extents = Vec::new();
    for (number, chunk) in bytes.chunks(CHUNK_BYTES_MAX).enumerate() {
        let offset = (number * CHUNK_BYTES_MAX) as u64;
        let source = match chunk.iter().all(|byte| *byte == 0) {
            true => Source::Zero,
            false => Source::Chunk { id: writer.put(chunk)?, offset: 0 },
        };
        extents.push(Extent { offset, length: chunk.len() as u32, source });
    }
    Ok(extents)
}

fn content_of(writer: &mut ChunkWriter, bytes: &[u8]) -> Result<Content> {
    let extents = extents_of(writer, bytes)?;
    if extents.len() <= 2 {
        return Ok(Content::inline(&extents));
    }
    let mut leaves = Vec::new();
    for number in 0..(bytes.len() as u64).div_ceil(LEAF_SPAN_BYTES) {
        let start = number * LEAF_SPAN_BYTES;
        let mut leaf = Leaf::default();
        extents.iter().filter(|e| e.offset >= start && e.offset < start + LEAF_SPAN_BYTES).for_each(|e| leaf.push(*e));
        leaves.push(writer.put(&leaf.encode(start))?);
    }
    Ok(Content::Leaves(leaves))
}

type Contents = Vec<(String, Content)>;

/// Writes the chunks of `files` with several threads, then the tree.
pub fn write_files(session: &WriteSession, files: &Files) -> Result<(Vec<ChunkId>, u64)> {
    let paths: Vec<&String> = files.keys().collect();
    let parts: Vec<Result<(Contents, u64)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|part| {
                let paths = &paths;
                scope.spawn(move || {
                    let mut writer = session.writer()?;
                    let mut done = Vec::new();
                    for path in paths.iter().skip(part).step_by(3) {
                        done.push(((*path).clone(), content_of(&mut writer, &files[*path])?));
                    }
                    Ok((done, writer.finish()?))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (mut contents, mut bytes_new) = (BTreeMap::new(), 0);
    for part in parts {
        let (done, new) = part?;
        contents.extend(done);
        bytes_new += new;
    }
    let mut writer = session.writer()?;
    let mut tree = TreeWriter::default();
    for (path, content) in contents {
        let size = files[&path].len() as u64;
        let content = (size > 0).then_some(content);
        tree.push(&mut writer, &entry(&path, size, content))?;
    }
    let chunks = tree.finish(&mut writer)?;
    Ok((chunks, bytes_new + writer.finish()?))
}

pub fn entry(path: &str, size: u64, content: Option<Content>) -> TreeEntry {
    TreeEntry {
        path: path.into(),
        kind: EntryKind::File,
        mode: 0o640,
        uid: 0,
        gid: 0,
        modified_ns: 1_700_000_000_000_000_000,
        size,
        content,
        target: None,
    }
}

pub fn point(tree: Vec<ChunkId>, files: &Files, bytes_new: u64) -> Point {
    let now = jiff::Timestamp::now();
    let bytes = files.values().map(|content| content.len() as u64).sum();
    Point {
        id: PointId::new(now).unwrap(),
        workload: WORKLOAD.into(),
        kind: "files".into(),
        backup_type: "full".into(),
        parent: None,
        started_at: now,
        finished_at: now,
        tree,
        files: files.len() as u64,
        bytes,
        bytes_read: bytes,
        bytes_new,
        bytes_stored: 0,
        locations: Vec::new(),
        details: serde_json::json!({}),
    }
}

/// A whole backup.
pub async fn try_backup(repository: &Arc<Repository>, files: &Files) -> Result<(Point, Vec<String>)> {
    let mut notes = Vec::new();
    let session = WriteSession::begin(repository.clone(), &mut notes).await?;
    let files = files.clone();
    let point = tokio::task::spawn_blocking(move || {
        let (tree, bytes_new) = write_files(&session, &files)?;
        session.commit(point(tree, &files, bytes_new))
    })
    .await??;
    Ok((point, notes))
}

pub async fn backup(repository: &Arc<Repository>, files: &Files) -> (Point, Vec<String>) {
    try_backup(repository, files).await.unwrap()
}

/// Reads a point back as a restore does: every second file in one go, the others a few chunks at a time from reads that are held.
pub async fn read_back(repository: &Arc<Repository>, id: &PointId) -> Result<(Files, Vec<String>)> {
    let mut notes = Vec::new();
    let point = repository.read_point(WORKLOAD, id, &mut notes).await?;
    let reader = ChunkReader::open(repository.clone()).await?;
    let mut files = Files::new();
    for (number, entry) in TreeReader::read(&reader, &point.tree).await?.into_iter().enumerate() {
        let extents = reader.extents(&entry).await?;
        let ids: std::collections::BTreeSet<ChunkId> = extents
            .iter()
            .filter_map(|e| match e.source {
                Source::Chunk { id, .. } => Some(id),
                Source::Zero => None,
            })
            .collect();
        let mut chunks = BTreeMap::new();
        for read in reader.locate(ids.iter().copied())? {
            let mut sink = |id: ChunkId, bytes: &[u8]| {
                chunks.insert(id, bytes.to_vec());
                Ok(())
            };
            let held = if number % 2 == 0 { reader.hold(read.clone()).await } else { None };
            let Some(held) = held else {
                reader.fetch(&read, &mut sink).await?;
                continue;
            };
            let (some, others) = ids.iter().partition::<HashSet<ChunkId>, _>(|id| id.0[0] % 2 == 0);
            reader.open_held(&held, &some, &mut sink).await?;
            reader.open_held(&held, &others, &mut sink).await?;
        }
        let mut content = vec![0; entry.size as usize];
        for extent in extents {
            if let Source::Chunk { id, offset } = extent.source {
                let from = &chunks[&id][offset as usize..][..extent.length as usize];
                content[extent.offset as usize..][..extent.length as usize].copy_from_slice(from);
            }
        }
        files.insert(entry.path, content);
    }
    notes.extend(reader.take_notes());
    Ok((files, notes))
}

pub async fn assert_reads_back(repository: &Arc<Repository>, id: &PointId, files: &Files) {
    let (found, notes) = read_back(repository, id).await.unwrap();
    assert!(&found == files, "the content differs");
    assert_eq!(notes, Vec::<String>::new());
}

pub async fn verify(repository: &Arc<Repository>, data: bool) -> Vec<Damage> {
    let report = repository.verify(None, data, &Silent).await.unwrap();
    [report.bad, report.behind].concat()
}

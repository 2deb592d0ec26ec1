//! The format of version 1, pinned: repositories that were written once and are in the tree must be readable for ever.
//!
//! `write_the_golden_repository` made it. It is run by hand, for a new version of the format, into a new directory; the
//! old one stays.

use crate::bench::{noise, text};
use lifeboat_location::Directory;
use lifeboat_repository::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const WORKLOAD: &str = "golden";

/// The first one, one whose pages were filtered before they were compressed, and one of which a point is held.
pub const GOLDEN: [&str; 3] = ["golden-v1", "golden-v1-pages", "golden-v1-holds"];

pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

pub fn expected(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(directory(name).join("contents.json")).unwrap()).unwrap()
}

pub fn passphrase() -> Passphrase {
    Passphrase::new("golden".into())
}

pub fn replica(root: &Path) -> Replica {
    Replica { name: "golden".into(), location: Arc::new(Directory::open(root).unwrap()) }
}

async fn open(root: &Path) -> Arc<Repository> {
    Arc::new(Repository::open(vec![replica(root)], &passphrase(), 3).await.unwrap())
}

/// Everything that a point brings back, with a hash for each content.
async fn describe(repository: &Arc<Repository>, point: &Point) -> Value {
    let reader = ChunkReader::open(repository.clone()).await.unwrap();
    let mut entries = Map::new();
    for entry in TreeReader::read(&reader, &point.tree).await.unwrap() {
        let mut content = vec![0; entry.size as usize];
        for extent in reader.extents(&entry).await.unwrap() {
            if let Source::Chunk { id, offset } = extent.source {
                let chunk = reader.read_all(&[id]).await.unwrap().remove(0);
                content[extent.offset as usize..][..extent.length as usize]
                    .copy_from_slice(&chunk[offset as usize..][..extent.length as usize]);
            }
        }
        let about = json!({
            "kind": entry.kind, "mode": entry.mode, "modified_ns": entry.modified_ns, "size": entry.size,
            "target": entry.target, "blake3": blake3::hash(&content).to_hex().to_string(),
        });
        entries.insert(entry.path, about);
    }
    Value::Object(entries)
}

#[tokio::test]
async fn golden_repositories_are_read_exactly() {
    for name in GOLDEN {
        assert_is_read_exactly(name).await;
    }
}

async fn assert_is_read_exactly(name: &str) {
    let repository = open(&directory(name).join("repository").canonicalize().unwrap()).await;
    let expected = expected(name);
    assert_eq!(repository.key_fingerprint().unwrap().0, expected["key_fingerprint"]);
    let points = repository.list_points(Some(WORKLOAD)).await.unwrap();
    assert_eq!(points.len(), expected["points"].as_object().unwrap().len());
    for header in points {
        let mut notes = Vec::new();
        let point = repository.read_point(WORKLOAD, &header.id, &mut notes).await.unwrap();
        assert_eq!(describe(&repository, &point).await, expected["points"][&header.id.0], "{}", header.id);
        assert_eq!(point.details, expected["details"]);
        assert_eq!(notes, Vec::<String>::new());
        let verified = repository.latest_verification(WORKLOAD, &header.id).await.unwrap();
        assert!(verified.unwrap().passed);
    }
    let mut logs = Map::new();
    for entry in repository.list_logs(WORKLOAD, "").await.unwrap() {
        let object = repository.get_log(WORKLOAD, &entry, &mut Vec::new()).await.unwrap();
        assert_eq!(object.annex, b"annex of a log");
        logs.insert(format!("{}/{}", entry.group, entry.name), blake3::hash(&object.bytes).to_hex().to_string().into());
    }
    assert_eq!(Value::Object(logs), expected["logs"]);
    let holds: Vec<Hold> =
        repository.holds(None).await.unwrap().into_iter().map(|record| record.hold.unwrap()).collect();
    assert_eq!(json!(holds), *expected.get("holds").unwrap_or(&json!([])));
    assert_eq!(repository.verify(None, true, &Silent).await.unwrap().bad, vec![]);
}

/// The fingerprints of blocks are part of the format: an incremental backup after an update relies on them.
#[tokio::test]
async fn fingerprints_of_the_golden_repository_are_the_same() {
    let repository = open(&directory("golden-v1").join("repository").canonicalize().unwrap()).await;
    let expected = expected("golden-v1");
    let reader = ChunkReader::open(repository.clone()).await.unwrap();
    let id: ChunkId = expected["fingerprints"]["chunk"].as_str().unwrap().parse().unwrap();
    let place = reader.index().find(&id).unwrap();
    let all = reader.fingerprints_of_pack(place.pack).await.unwrap();
    let found = all.of(place.frame);
    let blocks = reader.read_all(&[id]).await.unwrap().remove(0);
    let again: Vec<u64> = blocks.chunks(8192).map(|block| repository.block_fingerprint(block)).collect();
    assert_eq!(&again[..], found);
    assert_eq!(json!(again), expected["fingerprints"]["values"]);
}

fn entry(path: &str, kind: EntryKind, mode: u32) -> TreeEntry {
    let modified_ns = 1_700_000_000_123_456_789;
    let path = path.to_string();
    TreeEntry { path, kind, mode, uid: 26, gid: 26, modified_ns, size: 0, content: None, target: None }
}

/// A file whose map has leaves: blocks in any order, parts of chunks, zeros across the end of a leaf.
fn mapped(writer: &mut ChunkWriter, repository: &Repository, edit: u64) -> Result<(TreeEntry, ChunkId)> {
    let blocks = text(edit, 40_960);
    let fingerprints: Vec<u64> = blocks.chunks(8192).map(|block| repository.block_fingerprint(block)).collect();
    let id = writer.put_pages(&blocks, &fingerprints)?;
    let other = writer.put(&noise(7, 9000))?;
    let part = |offset, length, id, from| Extent { offset, length, source: Source::Chunk { id, offset: from } };
    let zero = |offset, length| Extent { offset, length, source: Source::Zero };
    let end = LEAF_SPAN_BYTES as u32;
    let first =
        Leaf { extents: vec![part(0, 8192, id, 16_384), part(8192, 16_384, id, 0), zero(24_576, end - 24_576)] };
    let second = Leaf { extents: vec![zero(LEAF_SPAN_BYTES, 8192), part(LEAF_SPAN_BYTES + 8192, 5000, other, 1000)] };
    let leaves = vec![writer.put(&first.encode(0))?, writer.put(&second.encode(LEAF_SPAN_BYTES))?];
    let content = Some(Content::Leaves(leaves));
    let size = LEAF_SPAN_BYTES + 8192 + 5000;
    Ok((TreeEntry { size, content, ..entry("base/mapped", EntryKind::File, 0o600) }, id))
}

/// Pages of a table whose rows count up, and a block that is none.
fn counting_pages(edit: u64) -> Vec<u8> {
    let mut chunk = vec![0; 5 * 8192];
    for (number, page) in chunk.chunks_exact_mut(8192).take(4).enumerate() {
        for (at, field) in [(12, 24 + 4 * 100u16), (14, 8192 - 100 * 64), (16, 8192), (18, 0x2004)] {
            page[at..at + 2].copy_from_slice(&field.to_le_bytes());
        }
        for row in 0..100usize {
            let offset = 8192 - (row + 1) * 64;
            let pointer = offset as u32 | (1 << 15) | (61 << 17);
            page[24 + row * 4..][..4].copy_from_slice(&pointer.to_le_bytes());
            let tuple = [
                [731, 0, 0, number as u32, row as u32 + 1, 24],
                [edit as u32, number as u32 * 100 + row as u32, 0, 0, 0, 0],
            ];
            for (at, word) in tuple.iter().flatten().enumerate() {
                page[offset + at * 4..][..4].copy_from_slice(&word.to_le_bytes());
            }
        }
    }
    chunk[4 * 8192..].copy_from_slice(&text(edit, 8192));
    chunk
}

pub fn write_tree(session: &WriteSession, repository: &Repository, edit: u64) -> Result<(Vec<ChunkId>, ChunkId)> {
    let mut writer = session.writer()?;
    let (mapped, chunk) = mapped(&mut writer, repository, edit)?;
    let mut entries = BTreeMap::from([
        ("base".to_string(), entry("base", EntryKind::Directory, 0o700)),
        ("base/mapped".to_string(), mapped),
        ("empty".to_string(), entry("empty", EntryKind::File, 0o644)),
    ]);
    let pages = counting_pages(edit);
    let id = writer.put_pages(&pages, &[])?;
    let length = pages.len() as u32;
    let content = Some(Content::inline(&[Extent { offset: 0, length, source: Source::Chunk { id, offset: 0 } }]));
    let size = u64::from(length);
    entries.insert("base/pages".into(), TreeEntry { size, content, ..entry("base/pages", EntryKind::File, 0o600) });
    let link = TreeEntry { target: Some("base/mapped%FF".into()), ..entry("link", EntryKind::Link, 0o777) };
    entries.insert("link".into(), link);
    for (path, bytes, mode) in [
        ("PG_VERSION", b"15\n".to_vec(), 0o600),
        ("not utf-8 %FF and 100%25", noise(3, 777), 0o4755),
        ("grüße", text(edit + 1, 20_000), 0o640),
        ("long", noise(4, 50_000), 0o400),
    ] {
        let id = writer.put(&bytes)?;
        let length = bytes.len() as u32;
        let content = Some(Content::inline(&[Extent { offset: 0, length, source: Source::Chunk { id, offset: 0 } }]));
        let size = u64::from(length);
        entries.insert(path.into(), TreeEntry { size, content, ..entry(path, EntryKind::File, mode) });
    }
    let mut tree = TreeWriter::default();
    for entry in entries.values() {
        tree.push(&mut writer, entry)?;
    }
    let chunks = tree.finish(&mut writer)?;
    writer.finish()?;
    Ok((chunks, chunk))
}

fn point(tree: Vec<ChunkId>, second: i64) -> Point {
    let time = jiff::Timestamp::from_second(1_790_000_000 + second).unwrap();
    Point {
        id: PointId::new(time).unwrap(),
        workload: WORKLOAD.into(),
        kind: "files".into(),
        backup_type: if second == 0 { "full" } else { "incr" }.into(),
        parent: None,
        started_at: time,
        finished_at: time,
        tree,
        files: 7,
        bytes: LEAF_SPAN_BYTES,
        bytes_read: LEAF_SPAN_BYTES,
        bytes_new: 0,
        bytes_stored: 0,
        locations: Vec::new(),
        details: json!({ "pinned": true }),
    }
}

/// Writes the repository into `root` and returns what is in it.
pub async fn write_repository(root: &Path, passphrase: &Passphrase) -> Value {
    Directory::create(root).unwrap();
    let replicas = vec![replica(root)];
    let (_, fingerprint, _) = Repository::init(&replicas, passphrase).await.unwrap();
    let repository = Arc::new(Repository::open(replicas, passphrase, 3).await.unwrap());
    let (mut points, mut fingerprints, mut holds) = (Map::new(), Value::Null, Vec::new());
    for edit in [0, 1000] {
        let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
        let shared = repository.clone();
        let (point, chunk) = tokio::task::spawn_blocking(move || {
            let (tree, chunk) = write_tree(&session, &shared, edit).unwrap();
            (session.commit(point(tree, edit as i64)).unwrap(), chunk)
        })
        .await
        .unwrap();
        points.insert(point.id.0.clone(), describe(&repository, &point).await);
        let values: Vec<u64> =
            text(edit, 40_960).chunks(8192).map(|block| repository.block_fingerprint(block)).collect();
        fingerprints = json!({ "chunk": chunk, "values": values });
        if holds.is_empty() {
            let until = jiff::Timestamp::from_second(4_000_000_000).unwrap();
            let holding = repository.hold(WORKLOAD, &point.id, "db2:/srv/restored", "instant restore", until);
            holds.push(holding.await.unwrap().hold);
        }
        let verification = Verification {
            point: point.id,
            workload: WORKLOAD.into(),
            verified_at: point.finished_at,
            passed: true,
            level: "data".into(),
            details: json!({}),
            standing: None,
        };
        repository.put_verification(&verification).await.unwrap();
    }
    let mut logs = Map::new();
    for (name, bytes) in [("000000010000000000000001", text(20, 30_000)), ("00000002.history", b"1\t0/1 x\n".to_vec())]
    {
        repository.put_log(WORKLOAD, "70000/1", name, &bytes, b"annex of a log").await.unwrap();
        logs.insert(format!("70000/1/{name}"), blake3::hash(&bytes).to_hex().to_string().into());
    }
    json!({
        "key_fingerprint": fingerprint, "points": points, "logs": logs, "fingerprints": fingerprints,
        "details": { "pinned": true }, "holds": holds,
    })
}

#[tokio::test]
#[ignore = "makes a new golden repository; run by hand, for a new version of the format"]
async fn write_the_golden_repository() {
    let directory = directory(GOLDEN[GOLDEN.len() - 1]);
    assert!(!directory.exists(), "a golden repository is written once; give the new one another name");
    std::fs::create_dir_all(&directory).unwrap();
    let directory = directory.canonicalize().unwrap();
    let contents = write_repository(&directory.join("repository"), &passphrase()).await;
    let _ = std::fs::remove_dir_all(directory.join("repository/.private"));
    std::fs::write(directory.join("contents.json"), serde_json::to_string_pretty(&contents).unwrap()).unwrap();
}

/// What an earlier version stored of a log, named part by part, is the same file to this one.
#[tokio::test]
async fn a_file_of_a_golden_log_that_comes_again_is_recognised() {
    let copy = tempfile::tempdir().unwrap();
    let golden = directory(GOLDEN[0]).join("repository").canonicalize().unwrap();
    let status = std::process::Command::new("cp").arg("-r").arg(&golden).arg(copy.path()).status().unwrap();
    assert!(status.success());
    let repository = open(&copy.path().join("repository")).await;
    let before = repository.list_logs(WORKLOAD, "").await.unwrap();
    assert!(before.iter().any(|entry| entry.stored_bytes > 0));
    for entry in &before {
        let object = repository.get_log(WORKLOAD, entry, &mut Vec::new()).await.unwrap();
        let mut bytes = object.bytes;
        let put = repository.put_log(WORKLOAD, &entry.group, &entry.name, &bytes, &object.annex).await.unwrap();
        assert!(!put.created, "{}", entry.name);
        bytes.push(0);
        let error = repository.put_log(WORKLOAD, &entry.group, &entry.name, &bytes, b"").await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
    }
    assert_eq!(repository.list_logs(WORKLOAD, "").await.unwrap(), before);
}

//! Is it all there, and is it what was written?
//!
//! Structure: every location lists every object that its points need, with the right sizes. Data: every object of every
//! location is read, its name, its seals and the id of every frame are checked. Each location is judged by itself.

use crate::container::{Container, ContainerKind, FrameOpener};
use crate::error::{Error, Result};
use crate::index::{FRAGMENT_BYTES_MAX, parse_fragment};
use crate::open::{DOCUMENT_BYTES_MAX, Replica, Repository, describe};
use crate::progress::Progress;
use crate::reader::{ChunkReader, pack_id};
use crate::tree::{Content, TreeReader};
use crate::{ChunkId, point};
use futures::StreamExt;
use lifeboat_location::Entry;
use serde::Serialize;
use std::sync::Arc;

const READS_AT_ONCE: usize = 3;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, PartialOrd, Ord)]
pub struct Damage {
    /// The location's name.
    pub location: String,
    /// The object's key, or what it stands for.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct VerifyReport {
    /// Number of objects looked at.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Number of points whose files were all followed to their packs.
    pub points: u64,
    /// Everything that is wrong.
    pub bad: Vec<Damage>,
}

impl VerifyReport {
    fn add(&mut self, replica: &Replica, object: impl Into<String>, error: &dyn std::error::Error) {
        let damage = Damage { location: replica.name.clone(), object: object.into(), what: describe(error) };
        if !self.bad.contains(&damage) {
            self.bad.push(damage);
        }
    }
}

impl Repository {
    /// Checks every location. `data` reads every byte; otherwise only names, sizes, points and trees are followed.
    pub async fn verify(
        self: &Arc<Self>,
        workload: Option<&str>,
        data: bool,
        progress: &dyn Progress,
    ) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        for (name, reason) in &self.unavailable {
            report.bad.push(Damage { location: name.clone(), object: "location".into(), what: reason.clone() });
        }
        for replica in &self.replicas {
            let alone = Arc::new(self.only(&replica.name)?);
            if data {
                verify_bytes(&alone, replica, &mut report, progress).await?;
            }
            verify_points(&alone, replica, workload, &mut report, progress).await?;
        }
        report.bad.sort();
        Ok(report)
    }
}

async fn verify_bytes(
    repository: &Arc<Repository>,
    replica: &Replica,
    report: &mut VerifyReport,
    progress: &dyn Progress,
) -> Result<()> {
    let entries = replica.location.list("").await?;
    progress.phase(&format!("read {}", replica.name), Some(entries.iter().map(|entry| entry.size).sum()));
    let check = |entry: Entry| {
        let (repository, replica) = (repository.clone(), replica.clone());
        async move {
            let (key, size) = (entry.key.clone(), entry.size);
            let result = async {
                let bytes = replica.location.get(&entry.key).await?;
                if bytes.len() as u64 != entry.size {
                    return Err(Error::corrupt(&entry.key, "the listing gives another size"));
                }
                tokio::task::spawn_blocking(move || verify_object(&repository, &entry.key, &bytes)).await?
            };
            (key, size, result.await)
        }
    };
    let mut checks = futures::stream::iter(entries.into_iter().map(check)).buffer_unordered(READS_AT_ONCE);
    while let Some((key, size, result)) = checks.next().await {
        report.objects += 1;
        report.bytes += size;
        progress.advance(size);
        if let Err(error) = result {
            report.add(replica, key, &error);
        }
    }
    Ok(())
}

/// Checks one object wholly: name, seals, ids of all frames, and that its content can be read as what it is.
fn verify_object(repository: &Repository, key: &str, bytes: &[u8]) -> Result<()> {
    let (folder, name) = key.split_once('/').unwrap_or(("", key));
    let keys = &repository.keys;
    match folder {
        "packs" => {
            verify_name(key, bytes)?;
            let container = Container::open(keys, key, ContainerKind::Pack, bytes)?;
            let opener = FrameOpener::new(keys, container.kind, &container.salt)?;
            for (number, frame) in container.frames.iter().enumerate() {
                let range = frame.offset as usize..(frame.offset + frame.stored_bytes) as usize;
                opener.open(keys, key, number as u32, frame, &bytes[range])?;
            }
            let annex = container.annex(keys, key, bytes)?;
            crate::pack::parse_fingerprints(key, &annex, container.frames.len()).map(|_| ())
        }
        "index" => {
            verify_name(key, bytes)?;
            let container = Container::open(keys, key, ContainerKind::Index, bytes)?;
            parse_fragment(key, &container.contents(keys, key, bytes, FRAGMENT_BYTES_MAX)?).map(|_| ())
        }
        "points" => {
            let text = repository.unseal(ContainerKind::Point, key, bytes)?;
            let point = point::parse(key, &text)?;
            let itself = format!("{}/{}", point.workload, point.id) == name;
            itself.then_some(()).ok_or_else(|| Error::corrupt(key, "is another point under this name"))
        }
        "wal" => {
            let (_, content_id) = key.rsplit_once('-').unwrap_or_default();
            repository.open_log(key, content_id, bytes).map(|_| ())
        }
        "verifications" => repository.unseal(ContainerKind::Document, key, bytes).map(|_| ()),
        "keys" => crate::open::check_key_record(key, bytes),
        "" if name == "lifeboat.json" => crate::open::check_root(bytes, &repository.id),
        _ => Ok(()),
    }
}

fn verify_name(key: &str, bytes: &[u8]) -> Result<()> {
    let same = pack_id(key) == Some(*blake3::hash(bytes).as_bytes());
    same.then_some(()).ok_or_else(|| Error::corrupt(key, "its name is not the hash of its bytes"))
}

/// Follows every point of one location to the packs it needs.
async fn verify_points(
    repository: &Arc<Repository>,
    replica: &Replica,
    workload: Option<&str>,
    report: &mut VerifyReport,
    progress: &dyn Progress,
) -> Result<()> {
    let reader = ChunkReader::open(repository.clone()).await?;
    for note in reader.take_notes() {
        report.bad.push(Damage { location: replica.name.clone(), object: "index".into(), what: note });
    }
    verify_pack_sizes(replica, &reader, report).await?;
    let headers = repository.list_points(workload).await?;
    progress.phase(&format!("follow the points of {}", replica.name), None);
    for header in headers {
        report.objects += 1;
        let mut notes = Vec::new();
        let point = match repository.read_point(&header.workload, &header.id, &mut notes).await {
            Ok(point) => point,
            Err(error) => {
                report.add(replica, header.key(), &error);
                continue;
            }
        };
        match follow(&reader, &point.tree).await {
            Ok(()) => report.points += 1,
            Err(error) => report.add(replica, header.key(), &error),
        }
    }
    Ok(())
}

async fn verify_pack_sizes(replica: &Replica, reader: &ChunkReader, report: &mut VerifyReport) -> Result<()> {
    let listed: std::collections::HashMap<String, u64> =
        replica.location.list("packs/").await?.into_iter().map(|entry| (entry.key, entry.size)).collect();
    for pack in reader.index().packs() {
        let what = match listed.get(&pack.key()) {
            None => "is missing".to_string(),
            Some(size) if *size != pack.bytes => format!("is {size} bytes long, not {}", pack.bytes),
            Some(_) => continue,
        };
        report.bad.push(Damage { location: replica.name.clone(), object: pack.key(), what });
    }
    Ok(())
}

/// Every chunk that a tree leads to is in the index.
async fn follow(reader: &ChunkReader, tree: &[ChunkId]) -> Result<()> {
    let missing = |id: &ChunkId, path: &str| Error::corrupt(path, format!("chunk {id} is in no pack"));
    for entry in TreeReader::read(reader, tree).await? {
        match &entry.content {
            None => {}
            Some(Content::Inline(rows)) => {
                for id in rows.iter().filter_map(|row| row.2.as_ref()) {
                    reader.index().find(id).ok_or_else(|| missing(id, &entry.path))?;
                }
            }
            Some(Content::Leaves(_)) => {
                for extent in reader.extents(&entry).await? {
                    if let crate::Source::Chunk { id, .. } = extent.source {
                        reader.index().find(&id).ok_or_else(|| missing(&id, &entry.path))?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Bounds what is read of a document.
const _: () = assert!(DOCUMENT_BYTES_MAX <= FRAGMENT_BYTES_MAX);

//! Following the points of one location to everything that they need: is it there, and does the index of that place list it?

use super::{Damage, Scope, VerifyReport};
use crate::chunk::ChunkId;
use crate::error::Result;
use crate::open::{Replica, Repository};
use crate::progress::Progress;
use crate::reader::ChunkReader;
use crate::removal::Covered;
use crate::tree::{Content, TreeReader};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What following points showed.
#[derive(Default)]
struct Followed {
    /// Keys of the packs that they need.
    needed: HashSet<String>,
    /// Those among them that no fragment of the index lists.
    unlisted: BTreeSet<String>,
}

/// Follows every point of one location to the packs it needs. `everything` is the repository in all its locations.
pub(super) async fn verify_points(
    everything: &Arc<Repository>,
    replica: &Replica,
    (workload, scope): (Option<&str>, &Scope<'_>),
    covered: &Covered,
    report: &mut VerifyReport,
    progress: &dyn Progress,
) -> Result<()> {
    let alone = Arc::new(everything.only(&replica.name)?);
    // First: what is listed here has all that it needs, also when more is written meanwhile.
    let headers = alone.list_points(workload).await?;
    let reader = ChunkReader::open(alone.clone()).await?;
    for note in reader.take_notes() {
        report.bad.push(Damage::new(&replica.name, "index", note));
    }
    let mut followed = Followed::default();
    let mut stuck = Vec::new();
    progress.phase(&format!("follow the points of {}", replica.name), None);
    for header in headers.into_iter().filter(|header| scope.has_point(&header.key())) {
        report.objects += 1;
        let point = match alone.read_point(&header.workload, &header.id, &mut Vec::new()).await {
            Ok(point) => point,
            Err(error) => {
                report.add(replica, header.key(), &error);
                continue;
            }
        };
        match followed.follow(&reader, &point.tree).await {
            Ok(()) => report.points += 1,
            Err(error) => {
                report.add(replica, header.key(), &error);
                stuck.push(header.key());
            }
        }
    }
    // Other locations may know what is lost here, and have it.
    if !stuck.is_empty() && everything.replicas.len() > 1 {
        followed.needed.extend(everything.packs_of_each(&stuck).await?.into_iter().flatten().flatten());
    }
    let what = "no fragment of the index lists this pack: one is lost; the next backup writes it again";
    let unlisted = followed.unlisted.into_iter().map(|object| Damage::new(&replica.name, object, what));
    report.bad.extend(unlisted);
    verify_packs(replica, &reader, scope, (&followed.needed, covered), report).await
}

/// Whether packs are there, and as long as the index says. One that isn't is a loss when a point needs it, or nobody gave it up.
async fn verify_packs(
    replica: &Replica,
    reader: &ChunkReader,
    scope: &Scope<'_>,
    (needed, covered): (&HashSet<String>, &Covered),
    report: &mut VerifyReport,
) -> Result<()> {
    let is_missed = |pack: &str| needed.contains(pack) || scope.is_everything() && !covered.has(pack);
    let listed: HashMap<String, u64> =
        replica.location.list("packs/").await?.into_iter().map(|entry| (entry.key, entry.size)).collect();
    let mut unknown = needed.clone();
    for pack in reader.index().packs() {
        unknown.remove(&pack.key());
        let what = match listed.get(&pack.key()) {
            None if !is_missed(&pack.key()) => continue,
            None => "is missing".to_string(),
            Some(_) if !scope.has(&pack.key()) => continue,
            Some(size) if *size != pack.bytes => format!("is {size} bytes long, not {}", pack.bytes),
            Some(_) => continue,
        };
        report.bad.push(Damage::new(&replica.name, pack.key(), what));
    }
    let unknown = unknown.into_iter().filter(|pack| !listed.contains_key(pack));
    report.bad.extend(unknown.map(|pack| Damage::new(&replica.name, pack, "is missing, and not listed")));
    Ok(())
}

impl Followed {
    /// Follows one point to its end. Also after an error what it needs counts, as far as that is known.
    ///
    /// # Errors
    /// When something that it leads to can't be read, or is in no pack.
    async fn follow(&mut self, reader: &ChunkReader, tree: &[ChunkId]) -> Result<()> {
        let mut numbers = HashSet::new();
        let outcome = self.follow_all(reader, tree, &mut numbers).await;
        self.needed.extend(numbers.into_iter().map(|number| reader.index().pack(number).key()));
        outcome
    }

    async fn follow_all(&mut self, reader: &ChunkReader, tree: &[ChunkId], numbers: &mut HashSet<u32>) -> Result<()> {
        // Of a chunk that is in no pack the reader tells.
        let mut need = |id: &ChunkId| {
            numbers.extend(reader.index().find(id).map(|found| found.pack));
            self.unlisted.extend(reader.adopted_pack_of(id));
        };
        tree.iter().for_each(&mut need);
        for entry in TreeReader::read(reader, tree).await? {
            if let Some(Content::Leaves(ids)) = &entry.content {
                ids.iter().for_each(&mut need);
            }
            for extent in reader.extents(&entry).await? {
                if let crate::Source::Chunk { id, .. } = extent.source {
                    need(&id);
                }
            }
        }
        Ok(())
    }
}

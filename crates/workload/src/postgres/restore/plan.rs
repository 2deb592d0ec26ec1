//! What to fetch and where it goes: the maps of all files, turned around.

use super::RestoreOptions;
use super::existing;
use super::stretch::{Cut, LONG_BYTES_MIN, Stretch};
use crate::postgres::BackupError;
use crate::postgres::baseline::Baseline;
use lifeboat_repository::{ChunkId, ChunkReader, Extent, Located, Result, Source, TreeEntry};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Where a part of a chunk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Number of the file.
    pub file: u32,
    /// Offset in it.
    pub offset: u64,
    /// Offset in the chunk.
    pub chunk_offset: u32,
    /// Length in bytes.
    pub length: u32,
}

/// All places of one chunk. Nearly always one.
pub type Targets = Vec<Target>;

/// The work of a restore.
#[derive(Debug, Default)]
pub struct Work {
    /// Of long files, where they are in many pieces.
    pub stretches: Vec<Stretch>,
    /// Reads for all else, in order of pack and offset.
    pub reads: Vec<Located>,
    targets: HashMap<ChunkId, Targets>,
    /// Bytes that are not zeros, by number of the file.
    pub bytes_of_file: Vec<u64>,
    /// What is zero, and has to be made so, because the file that is there holds something else: number of the file, offset, length.
    pub zeros: Vec<(u32, u64, u64)>,
    /// Bytes that are right already. In a new file zeros are.
    pub bytes_unchanged: u64,
}

impl Work {
    /// Where the parts of a chunk go. Chunks that were fetched only because they lie between others go nowhere.
    pub fn targets_of(&self, id: &ChunkId) -> &Targets {
        const NONE: &Targets = &Vec::new();
        self.targets.get(id).unwrap_or(NONE)
    }

    /// Bytes that will be written.
    pub fn bytes_to_write(&self) -> u64 {
        let of_short: u64 = self.targets.values().flatten().map(|target| u64::from(target.length)).sum();
        of_short + self.stretches.iter().map(Stretch::bytes).sum::<u64>()
    }

    /// What is to be written of a file.
    fn add_file(&mut self, file: u32, size: u64, extents: &[Extent], over_existing: bool) {
        if over_existing {
            let zeros = extents.iter().filter(|extent| extent.source == Source::Zero);
            self.zeros.extend(zeros.map(|extent| (file, extent.offset, u64::from(extent.length))));
        }
        if size < LONG_BYTES_MIN {
            return extents.iter().for_each(|extent| self.add(file, extent));
        }
        let zeros = extents.iter().filter(|extent| extent.source == Source::Zero);
        zeros.for_each(|extent| self.add(file, extent));
        for cut in Cut::all(extents) {
            if cut.is_in_pieces() {
                let stretch = cut.into_stretch(file, !over_existing);
                self.bytes_of_file[file as usize] += stretch.bytes();
                self.stretches.push(stretch);
            } else {
                cut.extents().iter().for_each(|extent| self.add(file, extent));
            }
        }
    }

    fn add(&mut self, file: u32, extent: &Extent) {
        match extent.source {
            Source::Zero => self.bytes_unchanged += u64::from(extent.length),
            Source::Chunk { id, offset } => {
                self.bytes_of_file[file as usize] += u64::from(extent.length);
                self.targets.entry(id).or_default().push(Target {
                    file,
                    offset: extent.offset,
                    chunk_offset: offset,
                    length: extent.length,
                });
            }
        }
    }
}

/// Makes the plan. Over an existing copy, blocks that are right already are left out.
pub fn plan(
    reader: &Arc<ChunkReader>,
    handle: &Handle,
    files: &[&TreeEntry],
    options: &RestoreOptions,
) -> std::result::Result<Work, BackupError> {
    let mut work = Work { bytes_of_file: vec![0; files.len()], ..Work::default() };
    let baseline = Baseline::of(reader.clone(), files.iter().map(|entry| (*entry).clone()).collect());
    for (number, entry) in files.iter().enumerate() {
        let extents = handle.block_on(reader.extents(entry))?;
        if options.over_existing {
            let path = options.destination.join(&entry.path);
            let differing = existing::differing(&path, entry, &extents, &baseline, reader)?;
            work.bytes_unchanged += entry.size - differing.iter().map(|extent| u64::from(extent.length)).sum::<u64>();
            work.add_file(number as u32, entry.size, &differing, true);
        } else {
            work.add_file(number as u32, entry.size, &extents, false);
        }
    }
    work.reads = reader.locate(work.targets.keys().copied())?;
    Ok(work)
}

/// The bytes of a short file.
pub async fn small_file(reader: &ChunkReader, entry: &TreeEntry) -> Result<Vec<u8>> {
    let mut bytes = vec![0; entry.size as usize];
    for extent in reader.extents(entry).await? {
        if let Source::Chunk { id, offset } = extent.source {
            let chunk = reader.read_all(&[id]).await?;
            let part = chunk[0].get(offset as usize..(offset + extent.length) as usize);
            let part = part.ok_or_else(|| lifeboat_repository::Error::corrupt(&entry.path, "leaves its chunk"))?;
            bytes[extent.offset as usize..][..part.len()].copy_from_slice(part);
        }
    }
    Ok(bytes)
}

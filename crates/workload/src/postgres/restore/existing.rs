//! Restoring over an older copy: what is there, what differs, what has to go.

use crate::postgres::baseline::Baseline;
use crate::postgres::restore::UNFINISHED_MARK;
use crate::postgres::scan::with_path;
use crate::postgres::{BLOCK_BYTES, BackupError};
use lifeboat_repository::{ChunkReader, EntryKind, Extent, Source, TreeEntry};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The extents, or parts of them, that the file on disk doesn't hold. A file that isn't there differs wholly; zeros of a
/// file that is there are compared too.
pub fn differing(
    path: &Path,
    entry: &TreeEntry,
    extents: &[Extent],
    baseline: &Baseline,
    reader: &Arc<ChunkReader>,
) -> Result<Vec<Extent>, BackupError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(extents.to_vec()),
        Err(error) => return Err(BackupError::read(with_path(error, path))),
    };
    let present = file.metadata().map_err(|error| BackupError::read(with_path(error, path)))?.len();
    let mut differing: Vec<Extent> = Vec::new();
    let mut buffer = vec![0; BLOCK_BYTES as usize];
    let mut at = 0;
    while at < entry.size {
        let span = (entry.size - at).min(4096 * BLOCK_BYTES);
        let stored_blocks = baseline.blocks(&entry.path, at, span)?;
        if stored_blocks.is_empty() {
            return Err(lifeboat_repository::Error::corrupt(&entry.path, "its map ends before the file").into());
        }
        for stored in stored_blocks {
            let length = u64::from(stored.length);
            let block = &mut buffer[..stored.length as usize];
            let same = at + length <= present && file.read_exact_at(block, at).is_ok() && {
                match stored.source {
                    Source::Zero => block.iter().all(|byte| *byte == 0),
                    Source::Chunk { .. } => stored.fingerprint == Some(reader.repository().block_fingerprint(block)),
                }
            };
            if !same {
                let extent = Extent { offset: at, length: stored.length, source: stored.source };
                match differing.last_mut() {
                    Some(last) if last.continues_into(&extent) => last.length += extent.length,
                    _ => differing.push(extent),
                }
            }
            at += length;
        }
    }
    Ok(differing)
}

/// Removes files, links and directories below `destination` that the point doesn't have: left where they are, the
/// server would take them for its own. Nothing outside the data directory and its own tablespaces is touched.
pub fn remove_what_does_not_belong(destination: &Path, tree: &[TreeEntry]) -> Result<(), BackupError> {
    let wanted: BTreeMap<&str, EntryKind> = tree.iter().map(|entry| (entry.path.as_str(), entry.kind)).collect();
    sweep(destination, "", &wanted)
}

fn sweep(root: &Path, relative: &str, wanted: &BTreeMap<&str, EntryKind>) -> Result<(), BackupError> {
    let directory = root.join(relative);
    let failed = |error: io::Error, path: &Path| BackupError::read(with_path(error, path));
    let listing = match std::fs::read_dir(&directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error, &directory)),
    };
    for item in listing {
        let item = item.map_err(|error| failed(error, &directory))?;
        let path = item.path();
        let kind = item.file_type().map_err(|error| failed(error, &path))?;
        let name = item.file_name().to_str().map(|name| join(relative, name));
        // The second is the file system's own: a tablespace or the log is often the root of a disk.
        if name.as_deref() == Some(UNFINISHED_MARK) || item.file_name() == "lost+found" {
            continue;
        }
        let known = name.as_deref().and_then(|name| wanted.get(name));
        let result = match known {
            Some(EntryKind::Directory) if kind.is_dir() => {
                sweep(root, name.as_deref().unwrap_or_default(), wanted)?;
                Ok(())
            }
            // A tablespace, or the log on a disk of its own: the files are under the link.
            Some(EntryKind::Link) if kind.is_symlink() => {
                sweep(root, name.as_deref().unwrap_or_default(), wanted)?;
                Ok(())
            }
            Some(EntryKind::Directory) if kind.is_symlink() && name.as_deref() == Some("pg_wal") && path.is_dir() => {
                sweep(root, name.as_deref().unwrap_or_default(), wanted)?;
                Ok(())
            }
            Some(EntryKind::File) if kind.is_file() => Ok(()),
            _ if kind.is_dir() => std::fs::remove_dir_all(&path),
            _ => std::fs::remove_file(&path),
        };
        result.map_err(|error| failed(error, &path))?;
    }
    Ok(())
}

fn join(relative: &str, name: &str) -> String {
    if relative.is_empty() { name.to_string() } else { format!("{relative}/{name}") }
}

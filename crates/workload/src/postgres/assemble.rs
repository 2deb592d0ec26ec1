//! From extents to a tree: what was captured becomes the file list of a point.

use crate::postgres::scan::Found;
use lifeboat_repository::{
    ChunkId, ChunkWriter, Content, EntryKind, Extent, LEAF_SPAN_BYTES, Leaf, Result, TreeEntry, TreeWriter,
};

/// Files with at most this many extents keep them in the tree itself.
const INLINE_EXTENTS_MAX: usize = 32;

/// The tree that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// Its chunks.
    pub tree: Vec<ChunkId>,
    /// Number of files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Writes leaves and tree. `extents` are those of each file, in order of offset, by the number of the entry in
/// `entries`; an entry that vanished has `None`. Entries come in order of path.
pub fn assemble<'a>(
    writer: &mut ChunkWriter,
    entries: impl Iterator<Item = (&'a Found, Option<Vec<Extent>>)>,
) -> Result<Assembled> {
    let mut tree = TreeWriter::default();
    let (mut files, mut bytes) = (0, 0);
    for (found, extents) in entries {
        let Some(extents) = extents else { continue };
        let size = extents.last().map_or(0, |extent| extent.offset + u64::from(extent.length));
        let is_file = found.kind == EntryKind::File;
        let content = if is_file { Some(content(writer, &extents)?) } else { None };
        files += u64::from(is_file);
        bytes += size;
        let target = found.target.as_ref().map(|target| target.to_string_lossy().into_owned());
        tree.push(
            writer,
            &TreeEntry {
                path: found.path.clone(),
                kind: found.kind,
                mode: found.mode,
                uid: found.uid,
                gid: found.gid,
                modified_ns: found.modified_ns,
                size,
                content,
                target,
            },
        )?;
    }
    Ok(Assembled { tree: tree.finish(writer)?, files, bytes })
}

fn content(writer: &mut ChunkWriter, extents: &[Extent]) -> Result<Content> {
    if extents.len() <= INLINE_EXTENTS_MAX {
        return Ok(Content::inline(extents));
    }
    let mut leaves = Vec::new();
    let mut leaf = Leaf::default();
    let mut start = 0;
    for extent in extents.iter().flat_map(|extent| split_at_spans(*extent)) {
        while extent.offset >= start + LEAF_SPAN_BYTES {
            leaves.push(writer.put(&leaf.encode(start))?);
            leaf = Leaf::default();
            start += LEAF_SPAN_BYTES;
        }
        leaf.push(extent);
    }
    leaves.push(writer.put(&leaf.encode(start))?);
    Ok(Content::Leaves(leaves))
}

/// An extent may run over the end of a leaf; its parts may not.
fn split_at_spans(extent: Extent) -> impl Iterator<Item = Extent> {
    let mut rest = Some(extent);
    std::iter::from_fn(move || {
        let current = rest.take()?;
        let span_end = (current.offset / LEAF_SPAN_BYTES + 1) * LEAF_SPAN_BYTES;
        let end = current.offset + u64::from(current.length);
        if end <= span_end {
            return Some(current);
        }
        let length = (span_end - current.offset) as u32;
        rest = Some(current.after(length));
        Some(Extent { length, ..current })
    })
}

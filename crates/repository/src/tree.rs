//! The tree: every file of a recovery point, with what is needed to bring it back.
//!
//! Entries are sorted by path and kept as JSON, some hundreds to a chunk. A chunk ends where the hash of a path says
//! so, which keeps the cuts in place when files come and go: a point costs what changed, in metadata too.

use crate::chunk::{CHUNK_BYTES_MAX, ChunkId};
use crate::error::{Error, Result};
use crate::file_map::{Extent, Source};
use crate::reader::ChunkReader;
use crate::session::ChunkWriter;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Entries per chunk on average, and the cut rule: the path's hash is 0 modulo this.
const ENTRIES_PER_CHUNK: u64 = 256;
/// A chunk is closed before it grows past this many bytes.
const CHUNK_JSON_BYTES: usize = CHUNK_BYTES_MAX - 64 * 1024;

/// What a tree entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A short file: its extents themselves, `[offset, length, chunk or null, offset in chunk]`.
    Inline(Vec<(u64, u32, Option<ChunkId>, u32)>),
    /// Leaves of its map, one for each 32 MiB, in order.
    Leaves(Vec<ChunkId>),
}

impl Content {
    /// Extents kept inline.
    pub fn inline(extents: &[Extent]) -> Self {
        let row = |extent: &Extent| match extent.source {
            Source::Zero => (extent.offset, extent.length, None, 0),
            Source::Chunk { id, offset } => (extent.offset, extent.length, Some(id), offset),
        };
        Self::Inline(extents.iter().map(row).collect())
    }

    /// The inline extents, if they are inline. Checked: in order, in their chunks.
    pub fn inline_extents(rows: &[(u64, u32, Option<ChunkId>, u32)]) -> Result<Vec<Extent>> {
        let mut end = 0;
        let mut extents = Vec::with_capacity(rows.len());
        for &(offset, length, id, chunk_offset) in rows {
            let inside = chunk_offset as usize + length as usize <= CHUNK_BYTES_MAX || id.is_none();
            if offset < end || length == 0 || !inside {
                return Err(Error::corrupt("tree", "the extents of a file overlap or leave their chunk"));
            }
            end = offset
                .checked_add(length.into())
                .ok_or_else(|| Error::corrupt("tree", "an extent ends past every file"))?;
            let source = id.map_or(Source::Zero, |id| Source::Chunk { id, offset: chunk_offset });
            extents.push(Extent { offset, length, source });
        }
        Ok(extents)
    }
}

/// A file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Relative path with `/`; a byte that isn't UTF-8, and `%`, is written `%XX`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Modification time in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Size in bytes; 0 for what is not a file.
    #[serde(default)]
    pub size: u64,
    /// Where its bytes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Where a link leads, written like `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Reads one chunk of a tree.
pub fn parse(bytes: &[u8]) -> Result<Vec<TreeEntry>> {
    let entries: Vec<TreeEntry> =
        serde_json::from_slice(bytes).map_err(|error| Error::corrupt("tree", error.to_string()))?;
    for entry in &entries {
        check_path(&entry.path)?;
        if let Some(Content::Inline(rows)) = &entry.content {
            Content::inline_extents(rows)?;
        }
    }
    Ok(entries)
}

/// A path that could leave the directory it is restored into is never followed.
fn check_path(path: &str) -> Result<()> {
    let fine = path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0');
    fine.then_some(()).ok_or_else(|| Error::corrupt("tree", format!("path {path:?} is not a plain relative path")))
}

fn check_nothing_below_links(entries: &[TreeEntry]) -> Result<()> {
    let is_link = |entry: &&TreeEntry| entry.kind == EntryKind::Link;
    let links: HashSet<&str> = entries.iter().filter(is_link).map(|entry| entry.path.as_str()).collect();
    let below_link = |entry: &&TreeEntry| {
        let parents = entry.path.match_indices('/').map(|(at, _)| &entry.path[..at]);
        parents.into_iter().any(|parent| links.contains(parent))
    };
    match entries.iter().filter(|_| !links.is_empty()).find(below_link) {
        Some(entry) => Err(Error::corrupt("tree", format!("path {:?} leads through a link", entry.path))),
        None => Ok(()),
    }
}

fn cuts_after(path: &str) -> bool {
    let hash = blake3::hash(path.as_bytes());
    let first = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap_or_default());
    first.is_multiple_of(ENTRIES_PER_CHUNK)
}

/// Writes a tree, entry by entry, in order of path.
#[derive(Default)]
pub struct TreeWriter {
    chunks: Vec<ChunkId>,
    pending: Vec<u8>,
    last_path: String,
}

impl TreeWriter {
    /// Adds an entry. Paths must come in order.
    pub fn push(&mut self, writer: &mut ChunkWriter, entry: &TreeEntry) -> Result<()> {
        check_path(&entry.path)?;
        if !self.last_path.is_empty() && entry.path <= self.last_path {
            return Err(Error::Internal(format!("tree entry {:?} after {:?}", entry.path, self.last_path)));
        }
        let json = serde_json::to_vec(entry).map_err(|error| Error::Internal(error.to_string()))?;
        if self.pending.len() + json.len() + 2 > CHUNK_JSON_BYTES {
            self.flush(writer)?;
        }
        self.pending.push(if self.pending.is_empty() { b'[' } else { b',' });
        self.pending.extend_from_slice(&json);
        self.last_path.clone_from(&entry.path);
        if cuts_after(&entry.path) {
            self.flush(writer)?;
        }
        Ok(())
    }

    fn flush(&mut self, writer: &mut ChunkWriter) -> Result<()> {
        if !self.pending.is_empty() {
            self.pending.push(b']');
            self.chunks.push(writer.put(&self.pending)?);
            self.pending.clear();
        }
        Ok(())
    }

    /// The chunks of the whole tree, in order.
    pub fn finish(mut self, writer: &mut ChunkWriter) -> Result<Vec<ChunkId>> {
        self.flush(writer)?;
        Ok(self.chunks)
    }
}

/// Reads trees back.
pub struct TreeReader;

impl TreeReader {
    /// All entries of a tree, in order of path.
    pub async fn read(reader: &ChunkReader, chunks: &[ChunkId]) -> Result<Vec<TreeEntry>> {
        let mut entries = Vec::new();
        for bytes in reader.read_all(chunks).await? {
            entries.extend(parse(&bytes)?);
        }
        if entries.windows(2).any(|pair| pair[0].path >= pair[1].path) {
            return Err(Error::corrupt("tree", "entries are not in order"));
        }
        Ok(entries)
    }

    /// For kinds of workload whose links are only links: no entry lies below one, so that a link is never a way into
    /// another place. (A tablespace of PostgreSQL is a link with files below it; its kind checks where it leads.)
    pub fn nothing_lies_below_links(entries: &[TreeEntry]) -> Result<()> {
        check_nothing_below_links(entries)
    }
}

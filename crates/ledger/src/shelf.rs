//! What this machine read before: an entry's name is the hash of its bytes, so a copy of it can be believed as long as it has that hash.
//!
//! A cache: deleting it loses nothing but time. Who verifies doesn't look here.

use crate::entry::BYTES_MAX;
use crate::name::EntryHash;
use bytes::Bytes;
use std::io::Read;
use std::path::PathBuf;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Shelf(Option<PathBuf>);

impl Shelf {
    /// Kept in this directory, which is made when it is needed.
    pub fn in_directory(directory: PathBuf) -> Self {
        Self(Some(directory))
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn get(&self, hash: &EntryHash) -> Option<Bytes> {
        let path = self.0.as_ref()?.join(hash.to_string());
        let mut bytes = Vec::new();
        std::fs::File::open(path).ok()?.take(BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
        (EntryHash::of(&bytes) == *hash).then(|| bytes.into())
    }

    /// Not durable, and no matter when it fails.
    pub(crate) fn put(&self, hash: &EntryHash, bytes: &[u8]) {
        let Some(directory) = &self.0 else { return };
        let path = directory.join(hash.to_string());
        let unfinished = directory.join(format!("{hash}.{}", std::process::id()));
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&unfinished, bytes))
            .and_then(|()| std::fs::rename(&unfinished, path));
        if let Err(error) = written {
            tracing::debug!(%error, "an entry of the ledger is not kept on this machine");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_changed_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::in_directory(directory.path().join("ledger"));
        let hash = EntryHash::of(b"text");
        assert_eq!(shelf.get(&hash), None);
        shelf.put(&hash, b"text");
        assert_eq!(shelf.get(&hash).as_deref(), Some(&b"text"[..]));
        std::fs::write(directory.path().join("ledger").join(hash.to_string()), b"next").unwrap();
        assert_eq!(shelf.get(&hash), None);
    }
}

//! Listing: from the deepest directory that the prefix names, downwards.

use super::{Inner, entry_of, failure};
use crate::Entry;
use std::fs;
use std::io;

/// Root directories of ext file systems carry it, and only the administrator may look inside.
const NOT_OURS: &str = "lost+found";

impl Inner {
    /// In key order. Names that can't be keys (private files, other people's files, links) aren't objects.
    pub(super) fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        if !self.root.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let start = prefix.rfind('/').map_or("", |slash| &prefix[..slash]);
        let mut found = Vec::new();
        let mut waiting = vec![start.to_string()];
        while let Some(directory) = waiting.pop() {
            self.list_one(&directory, prefix, &mut found, &mut waiting)?;
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    fn list_one(
        &self,
        directory: &str,
        prefix: &str,
        found: &mut Vec<Entry>,
        waiting: &mut Vec<String>,
    ) -> io::Result<()> {
        let entries = match fs::read_dir(self.path(directory)) {
            Ok(entries) => entries,
            Err(error) if failure::is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let key = if directory.is_empty() { name.to_string() } else { format!("{directory}/{name}") };
            if !crate::key::is_key(&key) || key == NOT_OURS {
                continue;
            }
            let kind = entry.file_type()?;
            // A directory counts as long as something below it can still start with the prefix.
            if kind.is_dir() && (key.starts_with(prefix) || prefix.starts_with(&format!("{key}/"))) {
                waiting.push(key);
            } else if kind.is_file() && key.starts_with(prefix) {
                found.extend(entry_of(key, entry.metadata())?);
            }
        }
        Ok(())
    }
}

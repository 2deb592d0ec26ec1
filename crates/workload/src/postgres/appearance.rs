//! What files looked like when they were read, so that those that look the same need not be read again.
//!
//! Content decides what changed, and reading it all costs a second for every few gigabytes. The kernel knows which files
//! were written to: each write moves the time of change (`ctime`), which nobody can set. A file with the same inode, size,
//! times of modification and of change as when the parent point was made is the same file, unless
//!
//! - it was written in the same tick in which we looked: so a time of change counts only when it lay [`SETTLED`] before;
//! - the clock was set back to the very nanosecond; or the disk changed what nobody wrote: so everything is read again after
//!   [`SCRUB_AFTER`], and by every full backup.
//!
//! Kept on this machine, beside locks and marks; losing it costs time. Off unless asked for.

use crate::postgres::BackupError;
use crate::postgres::restore::write_small;
use lifeboat_repository::PointId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Version of the document.
const VERSION: u32 = 1;
const SECOND_NS: i64 = 1_000_000_000;
/// How long before a look a file must have been left alone to count as the same afterwards: longer than the tick of any file
/// system's clock.
pub const SETTLED_NS: i64 = 2 * SECOND_NS;
/// A file that looks the same is read again after this time.
pub const SCRUB_AFTER_NS: i64 = 7 * 24 * 3600 * SECOND_NS;

/// How a file looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Appearance {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last write, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Time of the last change of anything, by the kernel, likewise.
    pub changed_ns: i64,
    /// Number of the file in its file system.
    pub inode: u64,
    /// The file system.
    pub device: u64,
}

impl From<&Metadata> for Appearance {
    fn from(data: &Metadata) -> Self {
        let time = |seconds: i64, rest: i64| seconds.saturating_mul(SECOND_NS).saturating_add(rest);
        Self {
            size: data.len(),
            modified_ns: time(data.mtime(), data.mtime_nsec()),
            changed_ns: time(data.ctime(), data.ctime_nsec()),
            inode: data.ino(),
            device: data.dev(),
        }
    }
}

/// A file as it was seen, and when it was last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How it looked before it was read.
    pub appearance: Appearance,
    /// When that was, in nanoseconds since 1970.
    pub read_at_ns: i64,
}

/// The files of one recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Album {
    version: u32,
    point: PointId,
    /// Before the first look, in nanoseconds since 1970.
    looked_at_ns: i64,
    files: BTreeMap<String, Seen>,
}

impl Album {
    /// What was seen for `point`. None when nothing was, or it can't be read: then everything is read.
    pub fn load(state_dir: &Path, workload: &str, point: &PointId) -> Option<Self> {
        let album: Self = serde_json::from_slice(&std::fs::read(place(state_dir, workload)).ok()?).ok()?;
        (album.version == VERSION && &album.point == point).then_some(album)
    }

    /// For a new point, whose files were looked at from `looked_at_ns` on.
    pub fn new(point: PointId, looked_at_ns: i64, files: BTreeMap<String, Seen>) -> Self {
        Self { version: VERSION, point, looked_at_ns, files }
    }

    /// Keeps it instead of the one before.
    pub fn save(&self, state_dir: &Path, workload: &str) -> Result<(), BackupError> {
        let json = serde_json::to_vec(self).map_err(|error| BackupError::state(error.into()))?;
        write_small(&place(state_dir, workload), &json)
    }

    /// How a file was seen, if it is still the same now and need not be read.
    pub fn same(&self, path: &str, appearance: &Appearance, now_ns: i64) -> Option<Seen> {
        let seen = *self.files.get(path)?;
        let is_settled = seen.appearance.changed_ns < self.looked_at_ns - SETTLED_NS;
        let is_fresh = (0..SCRUB_AFTER_NS).contains(&(now_ns - seen.read_at_ns));
        (seen.appearance == *appearance && is_settled && is_fresh).then_some(seen)
    }
}

fn place(state_dir: &Path, workload: &str) -> PathBuf {
    state_dir.join(format!("{workload}.files.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000 * SECOND_NS;

    fn looks(changed_ns: i64) -> Appearance {
        Appearance { size: 8192, modified_ns: 1, changed_ns, inode: 5, device: 6 }
    }

    fn album(appearance: Appearance, read_at_ns: i64) -> Album {
        let seen = Seen { appearance, read_at_ns };
        Album::new(PointId("p".into()), NOW, BTreeMap::from([("base/1".into(), seen)]))
    }

    #[test]
    fn only_what_looks_the_same_in_every_way_is_the_same() {
        let old = looks(NOW - 3 * SECOND_NS);
        let album = album(old, NOW);
        let later = NOW + SECOND_NS;
        assert!(album.same("base/1", &old, later).is_some());
        assert_eq!(album.same("base/2", &old, later), None);
        for changed in [
            Appearance { size: 8193, ..old },
            Appearance { modified_ns: 2, ..old },
            Appearance { changed_ns: old.changed_ns + 1, ..old },
            Appearance { inode: 7, ..old },
            Appearance { device: 7, ..old },
        ] {
            assert_eq!(album.same("base/1", &changed, later), None, "{changed:?}");
        }
    }

    #[test]
    fn what_was_written_just_before_the_look_is_read_again() {
        let recent = looks(NOW - SETTLED_NS);
        assert_eq!(album(recent, NOW).same("base/1", &recent, NOW), None);
        let future = looks(NOW + SECOND_NS);
        assert_eq!(album(future, NOW).same("base/1", &future, NOW), None);
    }

    #[test]
    fn everything_is_read_again_after_some_days_or_when_the_clock_went_back() {
        let old = looks(NOW - 9 * SECOND_NS);
        let album = album(old, NOW);
        assert!(album.same("base/1", &old, NOW + SCRUB_AFTER_NS - 1).is_some());
        assert_eq!(album.same("base/1", &old, NOW + SCRUB_AFTER_NS), None);
        assert_eq!(album.same("base/1", &old, NOW - 1), None);
    }

    #[test]
    fn an_album_is_for_one_point_and_a_damaged_one_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let album = album(looks(1), NOW);
        album.save(directory.path(), "shop").unwrap();
        assert_eq!(Album::load(directory.path(), "shop", &PointId("p".into())), Some(album));
        assert_eq!(Album::load(directory.path(), "shop", &PointId("q".into())), None);
        assert_eq!(Album::load(directory.path(), "desk", &PointId("p".into())), None);
        std::fs::write(place(directory.path(), "shop"), b"{").unwrap();
        assert_eq!(Album::load(directory.path(), "shop", &PointId("p".into())), None);
    }
}

//! Everything that was written comes to the disk at once.
//!
//! Forty thousand fsyncs are forty thousand waits for the journal of the file system; one syncfs waits once. It waits for
//! what others have written there, too: a restore that has the machine for itself doesn't notice.
//!
//! Promise: [`FileSystems::sync`] fails when anything that was written since [`FileSystems::open`] didn't reach the disk.
//! Linux says so since 5.8, and not every file system passes it on: with any other each file is synced by itself.

use rustix::fs::{fstatfs, syncfs};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// ext4 (and its elders), XFS, Btrfs: by their magic numbers in `linux/magic.h`.
const TRUSTED: [u64; 3] = [0xEF53, 0x5846_5342, 0x9123_683E];
/// The first Linux whose syncfs tells of data that could not be written.
const LINUX_MIN: (u32, u32) = (5, 8);

/// The file systems that are written to, each opened once.
pub struct FileSystems(Vec<File>);

impl FileSystems {
    /// `directories`: at least one of each file system. None when one of them is not known to tell of all errors.
    pub fn open(directories: &[PathBuf]) -> Option<Self> {
        if linux()? < LINUX_MIN {
            return None;
        }
        let (mut seen, mut opened) = (BTreeSet::new(), Vec::new());
        for directory in directories {
            let file = File::open(directory).ok()?;
            if !TRUSTED.contains(&(fstatfs(&file).ok()?.f_type as u64)) {
                return None;
            }
            if seen.insert(file.metadata().ok()?.dev()) {
                opened.push(file);
            }
        }
        Some(Self(opened))
    }

    /// Waits until everything is on the disks.
    pub fn sync(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|file| Ok(syncfs(file)?))
    }
}

/// Such as (6, 1).
fn linux() -> Option<(u32, u32)> {
    version(rustix::system::uname().release().to_str().ok()?)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_understood() {
        for (release, expected) in [
            ("6.1.0-18-amd64", Some((6, 1))),
            ("5.8.0", Some((5, 8))),
            ("4.18.0-553.el8_10.x86_64", Some((4, 18))),
            ("5.15+", Some((5, 15))),
            ("next", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn proc_is_not_trusted() {
        assert!(FileSystems::open(&["/proc".into()]).is_none());
        assert!(FileSystems::open(&["/nowhere".into()]).is_none());
    }
}

//! What the kernel is told of a file: what the one that lies there has, under the mount's own number.

use crate::root::Identity;
use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use rustix::fs::{Stat, Timespec, UTIME_NOW, UTIME_OMIT};
use std::time::{Duration, SystemTime};

/// Nobody but the mount changes what it shows: the kernel need never ask again.
pub const FOR_EVER: Duration = Duration::from_secs(1 << 30);

pub fn attributes(node: u64, seen: &Seen) -> FileAttr {
    let stat = &seen.stat;
    let changed = time(stat.st_ctime, stat.st_ctime_nsec);
    FileAttr {
        ino: INodeNo(node),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: changed,
        crtime: changed,
        kind: kind(stat.st_mode),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: seen.names(),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u32,
        blksize: 4096,
        flags: 0,
    }
}

/// What lies there, as it is seen.
pub struct Seen {
    pub stat: Stat,
    /// The second name of a file that is still coming isn't seen, and so not counted.
    pub is_coming: bool,
}

impl Seen {
    pub fn names(&self) -> u32 {
        (self.stat.st_nlink as u32).saturating_sub(self.is_coming.into())
    }

    /// Which it is, if it can be found by several names.
    pub fn linked(&self) -> Option<Identity> {
        let is_linked = kind(self.stat.st_mode) != FileType::Directory && self.names() > 1;
        is_linked.then(|| Identity::of(&self.stat))
    }
}

pub fn kind(mode: u32) -> FileType {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::Fifo => FileType::NamedPipe,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        _ => FileType::RegularFile,
    }
}

fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let part = Duration::from_nanos(nanoseconds);
    match u64::try_from(seconds) {
        Ok(seconds) => SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + part,
        Err(_) => SystemTime::UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + part,
    }
}

/// A time to be set.
pub fn timespec(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Timespec { tv_sec: since.as_secs() as i64, tv_nsec: since.subsec_nanos().into() }
        }
    }
}

//! The file through which a mount is asked how it goes: see [`crate::control`].

use super::LazyFileSystem;
use super::attributes::{Seen, attributes};
use super::handles::Open;
use crate::control::{Command, Control};
use crate::nodes::TOP;
use crate::root::PRIVATE_DIRECTORY;
use fuser::{FileAttr, FileType, INodeNo};
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

/// Its number. No other file ever gets it: those are counted from below.
pub const NODE: INodeNo = INodeNo(u64::MAX - 1);

/// Who answers, and what was answered to those who have it open.
pub struct Asked {
    control: Arc<dyn Control>,
    answers: Open<Vec<u8>>,
}

impl Asked {
    pub fn new(control: Arc<dyn Control>) -> Self {
        Self { control, answers: Open::default() }
    }

    /// Whether that is what is looked for.
    pub fn is_meant(parent: INodeNo, name: &OsStr) -> bool {
        parent.0 == TOP && name == PRIVATE_DIRECTORY
    }

    /// Each who opens it gets one answer, however it is read.
    pub fn open(&self) -> u64 {
        self.answers.insert(self.control.status())
    }

    pub fn read(&self, number: u64, offset: u64, size: u32) -> Vec<u8> {
        let answer = self.answers.get(number);
        let rest = answer.iter().flat_map(|answer| answer.get(offset as usize..)).flatten();
        rest.take(size as usize).copied().collect()
    }

    pub fn write(&self, data: &[u8]) -> io::Result<u32> {
        let command = Command::of(data).ok_or(io::ErrorKind::InvalidInput)?;
        self.control.told(command);
        Ok(data.len() as u32)
    }

    pub fn release(&self, number: u64) {
        self.answers.remove(number);
    }
}

impl LazyFileSystem {
    /// It belongs to whom the directory belongs to.
    pub(super) fn asked_attributes(&self) -> io::Result<FileAttr> {
        let stat = rustix::fs::fstat(self.below().directory())?;
        let top = attributes(NODE.0, &Seen { stat, is_coming: false });
        Ok(FileAttr { kind: FileType::RegularFile, perm: 0o600, nlink: 1, size: 0, blocks: 0, ..top })
    }
}

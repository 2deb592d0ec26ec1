//! How much of which file is read.

use super::Overlay;
use crate::journal::FileNumber;
use crate::lazy::LazyFile;
use std::sync::{Arc, PoisonError};

impl Overlay {
    /// From now on is noted what is read of the files that are still coming. Before it is mounted.
    pub fn noting_reads(mut self) -> Self {
        let files = self.files.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (number, coming) in &mut files.by_number {
            if let Some(file) = Arc::get_mut(&mut coming.file) {
                let whole = std::mem::replace(file, LazyFile::new(*number, 0));
                *file = whole.noting_reads();
            }
        }
        self
    }

    /// What was read since it was noted or forgotten: how many blocks of each unit of a file
    /// ([`READS_UNIT_BYTES`](crate::lazy::READS_UNIT_BYTES)). Files of which nothing was read are left out.
    pub fn reads(&self) -> Vec<(FileNumber, Vec<u32>)> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let read = files.by_number.iter().map(|(number, coming)| (*number, coming.file.reads()));
        read.filter(|(_, units)| units.iter().any(|blocks| *blocks > 0)).collect()
    }

    /// What was read until now doesn't count.
    pub fn forget_reads(&self) {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.by_number.values().for_each(|coming| coming.file.forget_reads());
    }
}

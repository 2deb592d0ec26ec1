//! Files and directories that are open.

use crate::lazy::LazyFile;
use fuser::BackingId;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::sync::{Arc, PoisonError, RwLock};

/// An open file.
pub struct Handle {
    /// Of which node.
    pub node: u64,
    pub file: File,
    /// While it is still coming.
    pub lazy: Option<Arc<LazyFile>>,
    /// Opened so that each write is durable when it returns.
    pub is_synchronous: bool,
    /// Kept for as long as the kernel may use it: the file is read and written past us.
    pub passed_through: Option<Arc<BackingId>>,
}

/// An entry of a directory: as seen, and of which kind.
pub type Listed = (OsString, fuser::FileType);

/// What is open, by the number that the kernel has for it.
pub struct Open<T> {
    all: RwLock<(u64, HashMap<u64, Arc<T>>)>,
}

impl<T> Default for Open<T> {
    fn default() -> Self {
        Self { all: RwLock::new((1, HashMap::new())) }
    }
}

impl<T> Open<T> {
    pub fn insert(&self, what: T) -> u64 {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let number = all.0;
        all.0 += 1;
        all.1.insert(number, Arc::new(what));
        number
    }

    pub fn get(&self, number: u64) -> Option<Arc<T>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).1.get(&number).cloned()
    }

    /// Any one that is so.
    pub fn find(&self, is_so: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).1.values().find(|open| is_so(open)).cloned()
    }

    pub fn remove(&self, number: u64) {
        let removed = self.all.write().unwrap_or_else(PoisonError::into_inner).1.remove(&number);
        // Closing may take its time: not under the lock.
        drop(removed);
    }
}

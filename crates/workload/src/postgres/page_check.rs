//! Telling a page that is damaged from one that is being written.
//!
//! A page whose checksum is wrong is read again. If it changed meanwhile it was being written, and replay restores it
//! from its full-page image; if the same wrong bytes come again and again, the page is damaged on disk. Pages newer than
//! the start of the backup are never judged (the server's own rule, `basebackup.c`).

use crate::postgres::BLOCK_BYTES;
use crate::postgres::details::BadPage;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::layout::RelationFile;
use lifeboat_postgres::page::{PageState, check_page};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

const READS_MAX: usize = 5;
const READ_PAUSE: Duration = Duration::from_millis(20);

/// Judges pages of one cluster.
#[derive(Debug, Clone, Copy)]
pub struct PageChecker {
    /// Where the backup began.
    pub started_at: Lsn,
    /// Blocks in a file of a relation.
    pub blocks_per_segment: u32,
}

/// A page that may be damaged.
struct Doubt {
    index: usize,
    block: u32,
    found: u16,
    expected: u16,
    changed: bool,
}

impl PageChecker {
    /// Checks the pages in `window`, read from `file` at `at`. A page that was torn is replaced by its later self.
    pub fn check(&self, path: &str, relation: &RelationFile, file: &File, at: u64, window: &mut [u8]) -> Vec<BadPage> {
        let Some(base) = relation.first_block(self.blocks_per_segment) else { return Vec::new() };
        let first = base.saturating_add((at / BLOCK_BYTES) as u32);
        let mut doubts = Vec::new();
        for (index, page) in window.chunks_exact(BLOCK_BYTES as usize).enumerate() {
            let block = first.saturating_add(index as u32);
            if let PageState::Bad { found, expected, .. } = check_page(page, block, Some(self.started_at)) {
                doubts.push(Doubt { index, block, found, expected, changed: false });
            }
        }
        // All doubtful pages of a window wait together: a file full of damage costs no more pauses than one page.
        for _ in 1..READS_MAX {
            if doubts.is_empty() {
                break;
            }
            std::thread::sleep(READ_PAUSE);
            doubts.retain_mut(|doubt| self.is_still_bad(doubt, file, at, window));
        }
        // What kept changing is being written, and replay restores it.
        let settled = doubts.into_iter().filter(|doubt| !doubt.changed);
        settled
            .map(|Doubt { block, found, expected, .. }| BadPage { path: path.to_string(), block, found, expected })
            .collect()
    }

    /// Checks pages that can't be read again. The server that sent them has: by the same rule, and it sends what it
    /// read last.
    pub fn check_once(&self, path: &str, relation: &RelationFile, at: u64, window: &[u8]) -> Vec<BadPage> {
        let Some(base) = relation.first_block(self.blocks_per_segment) else { return Vec::new() };
        let first = base.saturating_add((at / BLOCK_BYTES) as u32);
        let pages = window.chunks_exact(BLOCK_BYTES as usize).enumerate();
        let bad = pages.filter_map(|(index, page)| {
            let block = first.saturating_add(index as u32);
            match check_page(page, block, Some(self.started_at)) {
                PageState::Bad { found, expected, .. } => Some(BadPage { path: path.into(), block, found, expected }),
                _ => None,
            }
        });
        bad.collect()
    }

    fn is_still_bad(&self, doubt: &mut Doubt, file: &File, at: u64, window: &mut [u8]) -> bool {
        let offset = doubt.index as u64 * BLOCK_BYTES;
        let page = &mut window[offset as usize..][..BLOCK_BYTES as usize];
        let mut again = vec![0; page.len()];
        if file.read_exact_at(&mut again, at + offset).is_err() {
            // The file became shorter: the page is no longer part of it.
            return false;
        }
        doubt.changed |= again != page;
        page.copy_from_slice(&again);
        match check_page(page, doubt.block, Some(self.started_at)) {
            PageState::Bad { found, expected, .. } => {
                (doubt.found, doubt.expected) = (found, expected);
                true
            }
            _ => false,
        }
    }
}

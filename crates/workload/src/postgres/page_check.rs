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

impl PageChecker {
    /// Checks the pages in `window`, read from `file` at `at`. A page that was torn is replaced by its later self.
    pub fn check(&self, path: &str, relation: &RelationFile, file: &File, at: u64, window: &mut [u8]) -> Vec<BadPage> {
        let mut bad = Vec::new();
        let Some(base) = relation.first_block(self.blocks_per_segment) else { return bad };
        for (index, page) in window.chunks_mut(BLOCK_BYTES as usize).enumerate() {
            if page.len() < BLOCK_BYTES as usize {
                break;
            }
            let offset = at + index as u64 * BLOCK_BYTES;
            let block = base.saturating_add((offset / BLOCK_BYTES) as u32);
            if let PageState::Bad { found, expected, .. } = self.settle(file, offset, page, block) {
                bad.push(BadPage { path: path.to_string(), block, found, expected });
            }
        }
        bad
    }

    fn settle(&self, file: &File, offset: u64, page: &mut [u8], block: u32) -> PageState {
        let mut state = check_page(page, block, Some(self.started_at));
        let mut changed = false;
        for _ in 1..READS_MAX {
            if !matches!(state, PageState::Bad { .. }) {
                return state;
            }
            std::thread::sleep(READ_PAUSE);
            let mut again = vec![0; page.len()];
            if file.read_exact_at(&mut again, offset).is_err() {
                // The file became shorter: the page is no longer part of it.
                return PageState::NewerThanBackup;
            }
            changed |= again != page;
            page.copy_from_slice(&again);
            state = check_page(page, block, Some(self.started_at));
        }
        match state {
            PageState::Bad { .. } if changed => PageState::NewerThanBackup,
            settled => settled,
        }
    }
}

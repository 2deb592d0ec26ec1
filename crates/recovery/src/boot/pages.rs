//! Every page of a stopped cluster, checked.
//!
//! A point may have been taken of pages that were already damaged; then they are damaged in the copy. And a mistake of
//! ours on the way would show here too, in any of the pages, not only in those that some query reads.

use crate::error::{RecoveryError, Result};
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::control;
use lifeboat_postgres::layout::{FileKind, Layout, RelationFile, Treatment};
use lifeboat_postgres::page::{PageState, check_page};
use lifeboat_repository::Progress;
use lifeboat_workload::postgres::BadPage;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A report names no more bad pages than that.
const BAD_LISTED_MAX: usize = 1000;
/// Read at once.
const WINDOW_PAGES: usize = 128;
/// Nothing in a data directory is nested deeper.
const DEPTH_MAX: usize = 16;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PagesReport {
    /// How many were checked.
    pub checked: u64,
    /// Those that are damaged; of very many only the first.
    pub bad: Vec<BadPage>,
}

/// Checks all relation files. The cluster must be stopped.
pub fn check(data_dir: &Path, major: MajorVersion, workers: usize, progress: &dyn Progress) -> Result<PagesReport> {
    let control = control::read(data_dir)
        .map_err(|error| RecoveryError::file("read control file of", data_dir, io::Error::other(error)))?;
    let layout = Layout::new(major, control.catalog_version);
    let mut files = Vec::new();
    find(data_dir, Path::new(""), &layout, 0, &mut files)?;
    let (next, report, failure) = (AtomicUsize::new(0), Mutex::new(PagesReport::default()), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| {
                while let Some((path, relation)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let first_block = relation.first_block(control.blocks_per_relation_segment).unwrap_or_default();
                    match check_file(data_dir, path, first_block, control.block_bytes as usize, progress) {
                        Ok((checked, bad)) => {
                            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                            report.checked += checked;
                            let room = BAD_LISTED_MAX.saturating_sub(report.bad.len());
                            report.bad.extend(bad.into_iter().take(room));
                        }
                        Err(error) => {
                            let error = RecoveryError::file("read", &data_dir.join(path), error);
                            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.bad.sort();
    Ok(report)
}

fn find(
    data_dir: &Path,
    relative: &Path,
    layout: &Layout,
    depth: usize,
    files: &mut Vec<(PathBuf, RelationFile)>,
) -> Result<()> {
    let directory = data_dir.join(relative);
    let failed = |error| RecoveryError::file("list", &directory, error);
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let path = relative.join(entry.map_err(failed)?.file_name());
        // Links are followed: tablespaces.
        let is_directory = data_dir.join(&path).is_dir();
        match layout.classify(&path, is_directory) {
            Treatment::Descend if depth < DEPTH_MAX => find(data_dir, &path, layout, depth + 1, files)?,
            Treatment::Copy(FileKind::Relation(relation)) => files.push((path, relation)),
            _ => {}
        }
    }
    Ok(())
}

fn check_file(
    data_dir: &Path,
    path: &Path,
    first_block: u32,
    page_bytes: usize,
    progress: &dyn Progress,
) -> io::Result<(u64, Vec<BadPage>)> {
    let mut file = File::open(data_dir.join(path))?;
    let (mut checked, mut bad) = (0, Vec::new());
    let mut window = vec![0; page_bytes * WINDOW_PAGES];
    let mut block = first_block;
    loop {
        let filled = fill(&mut file, &mut window)?;
        for page in window[..filled].chunks(page_bytes) {
            // Less than a page at the end is no page.
            if let PageState::Bad { found, expected, .. } = check_page(page, block, None) {
                bad.push(BadPage { path: path.display().to_string(), block, found, expected });
            }
            checked += u64::from(page.len() == page_bytes);
            block = block.saturating_add(1);
        }
        progress.advance(filled as u64);
        if filled < window.len() {
            return Ok((checked, bad));
        }
    }
}

fn fill(file: &mut File, window: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < window.len() {
        match file.read(&mut window[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

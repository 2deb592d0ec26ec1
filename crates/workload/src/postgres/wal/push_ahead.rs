//! Storing the files that wait behind the one that PostgreSQL asks for.
//!
//! PostgreSQL archives one file after the other and waits for each; on a busy server with a distant location that is
//! too slow. What waits is known: `archive_status/<name>.ready` lies beside the log. A file that still has its
//! `.ready` after it was read was not recycled meanwhile, so what was read is what it holds.

use super::archive::WalArchive;
use super::error::{Result, WalError, describe};
use super::push::{self, PushOptions, file_name, mark_path};
use super::spool::{Spool, clear_older_than, read_stable};
use futures::StreamExt;
use lifeboat_postgres::wal_file::WalFileName;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A mark that nobody came for by then is about a file that was archived in another way.
const MARK_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    pub stored: Vec<String>,
    pub failures: Vec<(String, String)>,
}

/// Stores what waits beside `path`, within the limits. Never fails: PostgreSQL asks for each file itself.
pub(crate) async fn run(archive: &Arc<WalArchive>, path: &Path, spool: &Spool, options: PushOptions) -> Ahead {
    clear_older_than(&spool.path("push"), MARK_AGE_MAX);
    let mut ahead = Ahead::default();
    let parallel = push::segments_in_memory(archive.segment_size, options.ahead_parallel);
    let waiting = waiting_behind(path, spool, options.ahead_files_max);
    let deadline = tokio::time::Instant::now() + options.ahead_time;
    let tasks = waiting.into_iter().map(|file| {
        let (archive, spool) = (archive.clone(), spool.clone());
        async move {
            let text = file_name(&file).map(|(text, _)| text).unwrap_or_default();
            if tokio::time::Instant::now() >= deadline {
                return None;
            }
            // Reading, compressing and sealing take a processor: a task for each, so that they use all there are.
            let stored = tokio::spawn(async move { one(&archive, &file, &spool).await }).await;
            Some((text, stored.unwrap_or_else(|error| Err(WalError::Internal(error.to_string())))))
        }
    });
    let mut results = futures::stream::iter(tasks).buffer_unordered(parallel);
    while let Ok(Some(result)) = tokio::time::timeout_at(deadline, results.next()).await {
        match result {
            Some((name, Ok(()))) => ahead.stored.push(name),
            Some((name, Err(error))) => ahead.failures.push((name, describe(&error))),
            None => {}
        }
    }
    ahead.stored.sort_unstable();
    ahead
}

async fn one(archive: &WalArchive, path: &Path, spool: &Spool) -> Result<()> {
    let (text, name) = file_name(path)?;
    let (bytes, file) = read_stable(path)?;
    if !ready_path(path, &text).is_some_and(|ready| ready.exists()) {
        return Err(WalError::Changed { name: text });
    }
    push::check(archive, name, &bytes)?;
    push::store(archive, name, &bytes).await?;
    push::leave_mark(spool, &text, file)
}

fn ready_path(path: &Path, name: &str) -> Option<PathBuf> {
    Some(path.parent()?.join("archive_status").join(format!("{name}.ready")))
}

/// What waits, in the order in which PostgreSQL will ask: histories first, then by name.
fn waiting_behind(path: &Path, spool: &Spool, files_max: usize) -> Vec<PathBuf> {
    let (Some(directory), Some(own)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(directory.join("archive_status")) else { return Vec::new() };
    let mut waiting: Vec<(bool, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_str()?.strip_suffix(".ready")?.to_owned();
            let parsed: WalFileName = name.parse().ok()?;
            let stored = mark_path(spool, &name).exists();
            (name.as_str() != own && !stored).then_some((!matches!(parsed, WalFileName::History(_)), name))
        })
        .collect();
    waiting.sort_unstable();
    waiting.truncate(files_max);
    waiting.into_iter().map(|(_, name)| directory.join(name)).collect()
}

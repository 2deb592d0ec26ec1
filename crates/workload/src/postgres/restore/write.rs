//! Carrying out the plan with several threads: what has to be put together, then all else in the order of the packs.

use super::assemble::{Assembler, THREADS_MAX};
use super::plan::{Targets, Work};
use super::sink::{FileTable, FileWriter};
use crate::postgres::BackupError;
use lifeboat_repository::{ChunkId, ChunkReader, Error, Located, Progress, TreeEntry};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// One decodes while the other waits for the disk.
const THREADS_PER_WORKER: usize = 2;

/// Writes everything. `files` by their numbers. Returns the number of bytes. The first error ends it.
pub fn write_all(
    reader: &Arc<ChunkReader>,
    handle: &Handle,
    work: &Work,
    files: &[&TreeEntry],
    table: &FileTable,
    workers: usize,
    progress: &dyn Progress,
) -> Result<u64, BackupError> {
    let threads = workers.max(1) * THREADS_PER_WORKER;
    let (next_stretch, next_read) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let written = AtomicU64::new(0);
    let failure: Mutex<Option<BackupError>> = Mutex::new(None);
    for (file, offset, length) in &work.zeros {
        table.make_zero(*file, *offset, *length).map_err(BackupError::write)?;
    }
    let run = |thread: usize| -> Result<(), BackupError> {
        if thread < THREADS_MAX {
            let mut assembler = Assembler::new(reader, handle, table, threads);
            while let Some(stretch) = work.stretches.get(next_stretch.fetch_add(1, Ordering::Relaxed)) {
                let bytes = assembler.write(stretch, files[stretch.file as usize], progress)?;
                written.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        let mut writer = table.writer();
        while let Some(read) = work.reads.get(next_read.fetch_add(1, Ordering::Relaxed)) {
            let bytes = write_read(reader, handle, work, read, &mut writer, progress)?;
            written.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (run, failure, next_stretch, next_read) = (&run, &failure, &next_stretch, &next_read);
            scope.spawn(move || {
                if let Err(error) = run(thread) {
                    next_stretch.store(work.stretches.len(), Ordering::Relaxed);
                    next_read.store(work.reads.len(), Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(written.into_inner()),
    }
}

/// Fetches one read and writes its chunks to wherever they go.
fn write_read(
    reader: &ChunkReader,
    handle: &Handle,
    work: &Work,
    read: &Located,
    writer: &mut FileWriter<'_>,
    progress: &dyn Progress,
) -> Result<u64, BackupError> {
    let mut io_error = None;
    let mut written = 0;
    let mut sink = |id: ChunkId, bytes: &[u8]| {
        let targets: &Targets = work.targets_of(&id);
        for target in targets {
            let part = &bytes[target.chunk_offset as usize..(target.chunk_offset + target.length) as usize];
            if let Err(error) = writer.write(target.file, target.offset, part) {
                io_error.get_or_insert(error);
                return Err(Error::Internal("write a file".into()));
            }
            written += part.len() as u64;
            progress.advance(part.len() as u64);
        }
        Ok(())
    };
    let result = handle.block_on(reader.fetch(read, &mut sink));
    if let Some(error) = io_error {
        return Err(BackupError::write(error));
    }
    result?;
    writer.flush().map_err(BackupError::write)?;
    Ok(written)
}

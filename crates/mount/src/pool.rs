//! Threads that wait for the source or for the disk, so that those who answer the kernel never do.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// Reads that wait for the source at once, of all directories.
const FETCHES_AT_ONCE: usize = 32;
/// Files that are synced or cut at once, of all directories.
const SYNCS_AT_ONCE: usize = 16;

/// Who waits for the source is not in the way of who waits for the disk: a location may hang for ever.
pub struct Pools {
    /// For what waits for the source.
    pub source: Pool,
    /// For what waits for the disk.
    pub disk: Pool,
}

impl Pools {
    /// Both.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { source: Pool::new("fetch", FETCHES_AT_ONCE)?, disk: Pool::new("sync", SYNCS_AT_ONCE)? })
    }
}

/// So many threads, and a queue. Dropped, it ends what was begun, and what waits.
pub struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// With so many threads of this name.
    pub fn new(name: &str, threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let start = |number: usize| {
            let queue = queue.clone();
            let work = move || {
                while let Some(job) = next(&queue) {
                    job()
                }
            };
            std::thread::Builder::new().name(format!("{name}-{number}")).spawn(work)
        };
        let threads = (0..threads.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Does it when a thread is free.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            // It fails only when every thread is gone, and none ends before the pool does.
            let _ = jobs.send(Box::new(job));
        }
    }
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

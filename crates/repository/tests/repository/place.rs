//! A location in memory that can be told to fail, to hang, to be full, and whose objects can be damaged.

use async_trait::async_trait;
use bytes::Bytes;
use lifeboat_location::{Capabilities, Entry, Error, ErrorKind, Location, PutOutcome, Result, SwapOutcome, Version};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// What becomes of the requests whose key begins with a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They never end.
    Hang,
    /// They fail with this kind.
    Fail(ErrorKind),
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Bytes>,
    reads: Option<(String, Fault)>,
    writes: Option<(String, usize, Fault)>,
    /// So many more deletions succeed.
    deletes: Option<usize>,
    /// After so many more reads and listings the place holds this.
    then: Option<(usize, BTreeMap<String, Bytes>)>,
    /// After so many more reads and listings the place gets this, too.
    arriving: Option<(usize, BTreeMap<String, Bytes>)>,
    forgets_condition: bool,
    /// The store's own clock, in seconds, and when each object was written by it.
    clock_seconds: u64,
    written_at_seconds: BTreeMap<String, u64>,
}

/// The location.
#[derive(Debug)]
pub struct Place {
    name: String,
    inner: Mutex<Inner>,
    held_bytes: AtomicUsize,
    held_bytes_max: AtomicUsize,
    pub writes: AtomicUsize,
}

impl Place {
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            inner: Mutex::default(),
            held_bytes: AtomicUsize::new(0),
            held_bytes_max: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// From now on, reads and listings below `prefix` do this.
    pub fn break_reads(&self, prefix: &str, fault: Fault) {
        self.lock().reads = Some((prefix.into(), fault));
    }

    /// After `count` more successful writes below `prefix`, the next ones do this.
    pub fn break_writes(&self, prefix: &str, count: usize, fault: Fault) {
        self.lock().writes = Some((prefix.into(), count, fault));
    }

    /// After `count` more deletions, the next ones fail.
    pub fn break_deletes(&self, count: usize) {
        self.lock().deletes = Some(count);
    }

    /// The store's clock goes on.
    pub fn let_pass(&self, time: Duration) {
        self.lock().clock_seconds += time.as_secs();
    }

    /// A store without conditional create overwrites.
    pub fn forget_conditions(&self) {
        self.lock().forgets_condition = true;
    }

    pub fn repair(&self) {
        let mut inner = self.lock();
        inner.reads = None;
        inner.writes = None;
        inner.deletes = None;
    }

    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.lock().objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.lock().objects.clone()
    }

    pub fn set(&self, key: &str, bytes: impl Into<Bytes>) {
        self.lock().objects.insert(key.into(), bytes.into());
    }

    pub fn remove(&self, key: &str) -> Bytes {
        self.lock().objects.remove(key).unwrap()
    }

    /// From now on it holds this and nothing else.
    pub fn hold(&self, objects: BTreeMap<String, Bytes>) {
        self.lock().objects = objects;
    }

    /// Somebody else is at work: after so many more reads and listings the place holds this.
    pub fn becomes(&self, reads: usize, objects: BTreeMap<String, Bytes>) {
        self.lock().then = Some((reads, objects));
    }

    /// The same, but what it holds stays.
    pub fn gets(&self, reads: usize, objects: BTreeMap<String, Bytes>) {
        self.lock().arriving = Some((reads, objects));
    }

    /// Whether that has happened.
    pub fn has_got(&self) -> bool {
        self.lock().arriving.is_none()
    }

    /// Whether that has happened.
    pub fn has_become(&self) -> bool {
        self.lock().then.is_none()
    }

    /// The most bytes that were handed to this place at one time.
    pub fn held_bytes_max(&self) -> usize {
        self.held_bytes_max.load(Ordering::SeqCst)
    }

    fn error(&self, kind: ErrorKind, action: &str) -> Error {
        Error::new(kind, self.address(), action)
    }

    async fn before_read(&self, key: &str) -> Result<()> {
        let fault = {
            let mut inner = self.lock();
            match inner.then.take() {
                Some((0, objects)) => inner.objects = objects,
                Some((reads, objects)) => inner.then = Some((reads - 1, objects)),
                None => {}
            }
            match inner.arriving.take() {
                Some((0, objects)) => inner.objects.extend(objects),
                Some((reads, objects)) => inner.arriving = Some((reads - 1, objects)),
                None => {}
            }
            inner.reads.clone()
        };
        match fault {
            Some((prefix, fault)) if key.starts_with(&prefix) => self.suffer(fault, key).await,
            _ => Ok(()),
        }
    }

    async fn before_write(&self, key: &str) -> Result<()> {
        let fault = match &mut self.lock().writes {
            Some((prefix, count, fault)) if key.starts_with(prefix.as_str()) => {
                let now = *count == 0;
                *count = count.saturating_sub(1);
                now.then_some(*fault)
            }
            _ => None,
        };
        match fault {
            Some(fault) => self.suffer(fault, key).await,
            None => Ok(()),
        }
    }

    async fn suffer(&self, fault: Fault, key: &str) -> Result<()> {
        match fault {
            Fault::Hang => std::future::pending().await,
            Fault::Fail(kind) => Err(self.error(kind, key)),
        }
    }
}

struct Held<'a>(&'a Place, usize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held_bytes.fetch_sub(self.1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Location for Place {
    fn address(&self) -> String {
        format!("memory://{}", self.name)
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        let held = self.held_bytes.fetch_add(bytes.len(), Ordering::SeqCst) + bytes.len();
        self.held_bytes_max.fetch_max(held, Ordering::SeqCst);
        let _held = Held(self, bytes.len());
        self.before_write(key).await?;
        tokio::task::yield_now().await;
        let mut inner = self.lock();
        if inner.objects.contains_key(key) && !inner.forgets_condition {
            return Ok(PutOutcome::AlreadyExists);
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        let now = inner.clock_seconds;
        inner.written_at_seconds.insert(key.into(), now);
        inner.objects.insert(key.into(), bytes);
        Ok(PutOutcome::Created)
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.before_read(key).await?;
        self.lock().objects.get(key).cloned().ok_or_else(|| self.error(ErrorKind::NotFound, key))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.get(key).await?;
        let fits = range.start <= range.end && range.end <= bytes.len() as u64;
        if !fits {
            return Err(self.error(ErrorKind::Invalid, key));
        }
        Ok(bytes.slice(range.start as usize..range.end as usize))
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.list(key).await?.into_iter().find(|entry| entry.key == key))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.before_read(prefix).await?;
        let inner = self.lock();
        let entry = |(key, bytes): (&String, &Bytes)| Entry {
            key: key.clone(),
            size: bytes.len() as u64,
            modified: SystemTime::UNIX_EPOCH
                + Duration::from_secs(inner.written_at_seconds.get(key).copied().unwrap_or_default()),
        };
        Ok(inner.objects.iter().filter(|(key, _)| key.starts_with(prefix)).map(entry).collect())
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let mut inner = self.lock();
        match &mut inner.deletes {
            Some(0) => return Err(self.error(ErrorKind::Denied, key)),
            Some(count) => *count -= 1,
            None => {}
        }
        inner.objects.remove(key);
        Ok(())
    }

    async fn read_register(&self, _key: &str) -> Result<Option<(Bytes, Version)>> {
        Err(self.error(ErrorKind::Invalid, "read a register"))
    }

    async fn compare_and_swap(&self, _: &str, _: Option<&Version>, _: Bytes) -> Result<SwapOutcome> {
        Err(self.error(ErrorKind::Invalid, "swap a register"))
    }

    async fn probe(&self) -> Result<Capabilities> {
        Ok(Capabilities { conditional_create: true, compare_and_swap: false, clock_skew_seconds: None })
    }
}

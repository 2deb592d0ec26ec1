//! A bucket or container of an object store as a location: S3 and what speaks it, Azure Blob, Google Cloud Storage.
//!
//! The library below retries a conditional create on its own after a 5xx; the second attempt then meets the object of
//! the first and reports somebody else's. So conditional writes go through a client without retries, every object
//! carries a random *put id* in its metadata, and an unanswered create is resolved by reading the id back.
//!
//! A store is not believed to honour conditions until [`Bucket::probe`] has seen it do so: some accept
//! `If-None-Match: *` and overwrite all the same. Until then, and for ever with such a store, a create looks first.
//! Then an existing object is safe from everything but a second writer in the same instant. Registers have no such
//! half measure: the first swap probes, and a store that doesn't honour conditions is refused.
//!
//! Every request has a time limit; a body has one for each pause between its pieces.

mod failure;
mod probe;
mod write;

use crate::key::{check_key, check_prefix};
use crate::{Capabilities, Entry, Error, ErrorKind, Location, PutOutcome, Result, SwapOutcome, Version};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use failure::{classify, is_unsatisfiable_range};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, UpdateVersion};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// No object of ours is larger than 64 MiB and a bit; a store that sends without end is cut off.
const OBJECT_BYTES_MAX: u64 = 1 << 30;

/// How a store names the version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionBy {
    /// S3, Azure. On S3 it is made of the content alone: a register must never return to an earlier value,
    /// which leases, having an epoch, don't.
    Etag,
    /// Google.
    Generation,
}

/// See the module. Made by [`crate::open`].
#[derive(Debug)]
pub struct Bucket {
    address: String,
    prefix: String,
    version_by: VersionBy,
    time_limit: Duration,
    /// Retries with jitter: for what may be repeated.
    patient: Arc<dyn ObjectStore>,
    /// Never retries.
    once: Arc<dyn ObjectStore>,
    found_out: Mutex<Option<Capabilities>>,
    /// Some answer has shown that the bucket exists, so a bare 404 means the object.
    exists: AtomicBool,
}

impl Bucket {
    pub(crate) fn new(
        address: String,
        prefix: String,
        version_by: VersionBy,
        time_limit: Duration,
        patient: Arc<dyn ObjectStore>,
        once: Arc<dyn ObjectStore>,
    ) -> Self {
        let (found_out, exists) = (Mutex::default(), AtomicBool::new(false));
        Self { address, prefix, version_by, time_limit, patient, once, found_out, exists }
    }

    fn path(&self, action: &str, key: &str) -> Result<Path> {
        check_key(&self.address, action, key)?;
        let full = if self.prefix.is_empty() { key.to_string() } else { format!("{}/{key}", self.prefix) };
        let parsed = Path::parse(full);
        parsed.map_err(|error| self.error(ErrorKind::Invalid, action, key).with_source(error))
    }

    fn error(&self, kind: ErrorKind, action: &str, key: &str) -> Error {
        Error::new(kind, &self.address, format!("{action} {key}").trim_end())
    }

    fn failed(&self, action: &str, key: &str, error: object_store::Error) -> Error {
        self.error(classify(&error), action, key).with_source(error)
    }

    fn too_slow(&self, action: &str, key: &str) -> Error {
        let why = format!("no answer within {} seconds", self.time_limit.as_secs_f32());
        self.error(ErrorKind::Unavailable, action, key).with_source(why)
    }

    /// Room for a body beyond the limit: a second for each MiB.
    fn limit_for(&self, body_bytes: usize) -> Duration {
        self.time_limit + Duration::from_secs((body_bytes >> 20) as u64)
    }

    async fn within<T>(
        &self,
        action: &str,
        key: &str,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.time_limit, work).await {
            Ok(Ok(done)) => {
                self.exists.store(true, Ordering::Relaxed);
                Ok(done)
            }
            Ok(Err(error)) => Err(self.failed(action, key, error)),
            Err(_) => Err(self.too_slow(action, key)),
        }
    }

    async fn request(&self, action: &str, key: &str, options: GetOptions) -> Result<GetResult> {
        let path = self.path(action, key)?;
        match self.within(action, key, self.patient.get_opts(&path, options)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.not_found(error).await),
            answer => answer,
        }
    }

    /// A 404 without a body says the same for an object and for a bucket that isn't there. Ask once.
    async fn not_found(&self, error: Error) -> Error {
        if !self.exists.load(Ordering::Relaxed) {
            let probe = Path::from("lifeboat-does-this-bucket-exist");
            let first = async { self.patient.list(Some(&probe)).next().await.transpose() };
            if let Err(other) = self.within("list", "", first).await {
                // Whatever else it is (no right to list), the object's own answer stands.
                let bucket = [ErrorKind::NoContainer, ErrorKind::NotFound].contains(&other.kind());
                if bucket {
                    return Error::new(ErrorKind::NoContainer, &self.address, "find the bucket").with_source(error);
                }
            }
        }
        error
    }

    /// The body, whole and of the length promised.
    async fn body(&self, key: &str, answer: GetResult) -> Result<Bytes> {
        let expected = answer.range.end.saturating_sub(answer.range.start);
        let corrupt = |why: String| self.error(ErrorKind::Corrupt, "get", key).with_source(why);
        if expected > OBJECT_BYTES_MAX {
            return Err(corrupt(format!("the store announces {expected} bytes")));
        }
        let mut bytes = BytesMut::with_capacity(expected as usize);
        let mut pieces = answer.into_stream();
        while let Some(piece) =
            tokio::time::timeout(self.time_limit, pieces.next()).await.map_err(|_| self.too_slow("get", key))?
        {
            bytes.extend_from_slice(&piece.map_err(|error| self.failed("get", key, error))?);
            if bytes.len() as u64 > expected {
                break;
            }
        }
        if bytes.len() as u64 != expected {
            return Err(corrupt(format!("the body has {} bytes, announced were {expected}", bytes.len())));
        }
        Ok(bytes.freeze())
    }

    fn entry(&self, meta: ObjectMeta) -> Option<Entry> {
        let full = meta.location.as_ref();
        let key = if self.prefix.is_empty() { full } else { full.strip_prefix(&self.prefix)?.strip_prefix('/')? };
        Some(Entry { key: key.to_string(), size: meta.size, modified: meta.last_modified.into() })
    }

    fn version(&self, e_tag: Option<&String>, generation: Option<&String>) -> Option<Version> {
        let text = match self.version_by {
            VersionBy::Etag => e_tag,
            VersionBy::Generation => generation,
        };
        text.cloned().map(Version)
    }

    fn update_of(&self, version: &Version) -> UpdateVersion {
        match self.version_by {
            VersionBy::Etag => UpdateVersion { e_tag: Some(version.0.clone()), version: None },
            VersionBy::Generation => UpdateVersion { e_tag: None, version: Some(version.0.clone()) },
        }
    }

    /// What a probe has found out, if there was one.
    fn known(&self) -> Option<Capabilities> {
        self.found_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, found: Capabilities) {
        *self.found_out.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }
}

#[async_trait]
impl Location for Bucket {
    fn address(&self) -> String {
        self.address.clone()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        let path = self.path("put", key)?;
        if !self.known().is_some_and(|known| known.conditional_create) && self.head(key).await?.is_some() {
            return Ok(PutOutcome::AlreadyExists);
        }
        self.create(key, &path, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        let answer = self.request("get", key, GetOptions::new()).await?;
        self.body(key, answer).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let action = format!("get bytes {}..{} of", range.start, range.end);
        let invalid = |why: String| self.error(ErrorKind::Invalid, &action, key).with_source(why);
        if range.start > range.end {
            return Err(invalid("the range ends before it begins".to_string()));
        }
        if range.is_empty() {
            // No store takes an empty range. The end still has to be inside.
            let size = self.head(key).await?.ok_or_else(|| self.error(ErrorKind::NotFound, &action, key))?.size;
            return if range.end <= size { Ok(Bytes::new()) } else { Err(invalid(format!("it has {size} bytes"))) };
        }
        let path = self.path(&action, key)?;
        let options = GetOptions::new().with_range(Some(GetRange::Bounded(range.clone())));
        let answer = match tokio::time::timeout(self.time_limit, self.patient.get_opts(&path, options)).await {
            Err(_) => return Err(self.too_slow(&action, key)),
            Ok(Err(error)) if is_unsatisfiable_range(&error) => {
                return Err(invalid("it begins past the end".to_string()).with_source(error));
            }
            Ok(Err(error)) => {
                let error = self.failed(&action, key, error);
                return Err(if error.kind() == ErrorKind::NotFound { self.not_found(error).await } else { error });
            }
            Ok(Ok(answer)) => answer,
        };
        if answer.meta.size < range.end {
            return Err(invalid(format!("it has {} bytes", answer.meta.size)));
        }
        if answer.range != range {
            let why = format!("asked for bytes {range:?}, the store sends {:?}", answer.range);
            return Err(self.error(ErrorKind::Corrupt, &action, key).with_source(why));
        }
        self.body(key, answer).await
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        match self.request("head", key, GetOptions::new().with_head(true)).await {
            Ok(answer) => Ok(self.entry(answer.meta)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        check_prefix(&self.address, prefix)?;
        // The library lists whole components: ask for the complete ones, filter the rest. It asks from a key
        // onwards where the store can, so `points/shop/2026-` skips what comes before it.
        let folder = prefix.rfind('/').map_or("", |slash| &prefix[..slash]);
        let asked: Vec<&str> = [self.prefix.as_str(), folder].into_iter().filter(|part| !part.is_empty()).collect();
        let asked = Path::from(asked.join("/"));
        let mut answers = self.patient.list(Some(&asked));
        let mut found = Vec::new();
        let no_container = |error: Error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::NoContainer, &self.address, "list").with_source(error),
            _ => error,
        };
        while let Some(meta) =
            self.within("list", prefix, async { answers.next().await.transpose() }).await.map_err(no_container)?
        {
            found.extend(self.entry(meta).filter(|entry| entry.key.starts_with(prefix)));
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path("delete", key)?;
        match self.within("delete", key, self.patient.delete(&path)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => match self.not_found(error).await {
                error if error.kind() == ErrorKind::NotFound => Ok(()),
                error => Err(error),
            },
            answer => answer,
        }
    }

    async fn read_register(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        let answer = match self.request("read register", key, GetOptions::new()).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let version = self.version(answer.meta.e_tag.as_ref(), answer.meta.version.as_ref());
        let version = version.ok_or_else(|| {
            self.error(ErrorKind::Corrupt, "read register", key).with_source("the store gave no version")
        })?;
        Ok(Some((self.body(key, answer).await?, version)))
    }

    async fn compare_and_swap(&self, key: &str, expected: Option<&Version>, bytes: Bytes) -> Result<SwapOutcome> {
        let path = self.path("swap", key)?;
        let known = match self.known() {
            Some(known) => known,
            None => self.probe().await?,
        };
        if !(known.compare_and_swap && known.conditional_create) {
            let error = self.error(ErrorKind::Invalid, "swap", key);
            return Err(error.with_source("this store does not honour conditional writes, so it can't hold a lease"));
        }
        self.swap(key, &path, expected, bytes).await
    }

    async fn probe(&self) -> Result<Capabilities> {
        let found = self.try_out().await?;
        self.learn(found.clone());
        Ok(found)
    }
}

//! A location in memory, for tests of what is built on locations. Forgets everything with the last reference.

use crate::key::{check_key, check_prefix};
use crate::{Capabilities, Entry, Error, ErrorKind, Location, PutOutcome, Result, SwapOutcome, Version};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// See the module.
#[derive(Debug)]
pub struct Memory {
    name: String,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    objects: BTreeMap<String, Object>,
    versions_given: u64,
}

#[derive(Debug)]
struct Object {
    bytes: Bytes,
    modified: SystemTime,
    version: Version,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new("test")
    }
}

impl Memory {
    /// An empty location whose address is `memory://name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), content: Mutex::default() }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: ErrorKind, action: &str, key: &str) -> Error {
        Error::new(kind, self.address(), format!("{action} {key}"))
    }
}

impl Content {
    fn write(&mut self, key: &str, bytes: Bytes) -> Version {
        self.versions_given += 1;
        let version = Version(self.versions_given.to_string());
        let object = Object { bytes, modified: SystemTime::now(), version: version.clone() };
        self.objects.insert(key.to_string(), object);
        version
    }
}

fn entry(key: &str, object: &Object) -> Entry {
    Entry { key: key.to_string(), size: object.bytes.len() as u64, modified: object.modified }
}

#[async_trait]
impl Location for Memory {
    fn address(&self) -> String {
        format!("memory://{}", self.name)
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        check_key(&self.address(), "put", key)?;
        let mut content = self.content();
        if content.objects.contains_key(key) {
            return Ok(PutOutcome::AlreadyExists);
        }
        content.write(key, bytes);
        Ok(PutOutcome::Created)
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        check_key(&self.address(), "get", key)?;
        let found = self.content().objects.get(key).map(|object| object.bytes.clone());
        found.ok_or_else(|| self.error(ErrorKind::NotFound, "get", key))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.get(key).await?;
        if range.start > range.end || range.end > bytes.len() as u64 {
            return Err(self.error(ErrorKind::Invalid, &format!("get bytes {}..{} of", range.start, range.end), key));
        }
        Ok(bytes.slice(range.start as usize..range.end as usize))
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        check_key(&self.address(), "head", key)?;
        Ok(self.content().objects.get(key).map(|object| entry(key, object)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        check_prefix(&self.address(), prefix)?;
        let content = self.content();
        let from = content.objects.range(prefix.to_string()..);
        Ok(from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, object)| entry(key, object)).collect())
    }

    async fn delete(&self, key: &str) -> Result<()> {
        check_key(&self.address(), "delete", key)?;
        self.content().objects.remove(key);
        Ok(())
    }

    async fn read_register(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        check_key(&self.address(), "read register", key)?;
        Ok(self.content().objects.get(key).map(|object| (object.bytes.clone(), object.version.clone())))
    }

    async fn compare_and_swap(&self, key: &str, expected: Option<&Version>, bytes: Bytes) -> Result<SwapOutcome> {
        check_key(&self.address(), "swap", key)?;
        let mut content = self.content();
        if content.objects.get(key).map(|object| &object.version) != expected {
            return Ok(SwapOutcome::Lost);
        }
        Ok(SwapOutcome::Applied(content.write(key, bytes)))
    }

    async fn probe(&self) -> Result<Capabilities> {
        Ok(Capabilities { conditional_create: true, compare_and_swap: true, clock_skew_seconds: Some(0.0) })
    }
}

//! Where bytes live: a directory, a bucket, memory.
//!
//! A location stores whole objects under string keys. Objects are written once: [`Location::put_new`] creates or
//! reports that the key is taken, and nothing here overwrites. The one exception is a *register*
//! ([`Location::compare_and_swap`]), which exists for leases and is never used for data.
//!
//! A write that returned `Ok` is durable: for a directory, file and directory were synced; for a store, it acknowledged.
//!
//! Not here: what the bytes mean, encryption, retention. Only this crate knows the object-store library.

mod azure;
mod bucket;
#[cfg(feature = "conformance")]
pub mod conformance;
mod directory;
mod error;
mod faulty;
mod gcs;
mod key;
mod memory;
mod open;
mod paced;
mod s3;
mod signature;

pub use bucket::Bucket;
pub use directory::Directory;
pub use error::{Error, ErrorKind, Result};
pub use faulty::{Fault, Faulty, Operation};
pub use memory::Memory;
pub use open::{Credentials, Secret, Settings, TIME_LIMIT_DEFAULT, create_container, open};
pub use paced::Paced;
pub use signature::AwsSigner;

use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::time::SystemTime;

/// One object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Full key, without a leading slash.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// When the store says it was last written.
    pub modified: SystemTime,
}

/// What became of [`Location::put_new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is there now, and durable.
    Created,
    /// Somebody was first; their object is untouched. Compare before you call it a success.
    AlreadyExists,
}

/// An opaque version of a register, as the store gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

/// What became of [`Location::compare_and_swap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwapOutcome {
    /// Our value is there now.
    Applied(Version),
    /// Another writer was first.
    Lost,
    /// The answer never came: it may have been applied. Read the register before believing either.
    Unknown,
}

/// What the start probe found out by trying, not by asking.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// A second create of the same key is refused by the store itself (Garage accepts it and overwrites).
    pub conditional_create: bool,
    /// Replacing a register with a stale version is refused by the store itself.
    pub compare_and_swap: bool,
    /// Store's clock minus ours, in seconds, where the store tells its time.
    pub clock_skew_seconds: Option<f64>,
}

/// A place that holds a copy.
#[async_trait]
pub trait Location: Send + Sync + std::fmt::Debug {
    /// The address for people, without secrets: `s3://shop-dr/lifeboat`.
    fn address(&self) -> String;

    /// Creates the object if the key is free. Never replaces one.
    ///
    /// Where the store has no conditional create, this checks first: two writers at the same moment are then not
    /// told apart, so keys of data carry a hash of their content.
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome>;

    /// The whole object. [`ErrorKind::NotFound`] when the store says that it isn't there, never for another reason.
    async fn get(&self, key: &str) -> Result<Bytes>;

    /// A part of the object, `range` in bytes. Past the end of the object is [`ErrorKind::Invalid`].
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes>;

    /// Size and time of the object, or `None` when it isn't there.
    async fn head(&self, key: &str) -> Result<Option<Entry>>;

    /// Every object whose key starts with `prefix`, in key order. The prefix is text: `wal/a` also finds `wal/ab/c`.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>>;

    /// Removes the object. Removing what is not there is a success.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Reads a register: its bytes and version, or `None` when it was never written.
    async fn read_register(&self, key: &str) -> Result<Option<(Bytes, Version)>>;

    /// Replaces a register if it is still at `expected` (`None`: must not exist).
    async fn compare_and_swap(&self, key: &str, expected: Option<&Version>, bytes: Bytes) -> Result<SwapOutcome>;

    /// Finds out by trying what this store honours. Leaves nothing behind.
    async fn probe(&self) -> Result<Capabilities>;

    /// Free space in bytes, where the location can tell (a directory).
    async fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// A shared location is a location.
#[async_trait]
impl<L: Location + ?Sized> Location for std::sync::Arc<L> {
    fn address(&self) -> String {
        (**self).address()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        (**self).put_new(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        (**self).get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        (**self).get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        (**self).head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        (**self).list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        (**self).delete(key).await
    }

    async fn read_register(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        (**self).read_register(key).await
    }

    async fn compare_and_swap(&self, key: &str, expected: Option<&Version>, bytes: Bytes) -> Result<SwapOutcome> {
        (**self).compare_and_swap(key, expected, bytes).await
    }

    async fn probe(&self) -> Result<Capabilities> {
        (**self).probe().await
    }

    async fn free_space(&self) -> Result<Option<u64>> {
        (**self).free_space().await
    }
}

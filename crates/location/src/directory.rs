//! A directory of files as a location: one file per object, under the object's key.
//!
//! An object appears whole and durable, or not at all: it is written to `.private/`, synced, renamed to its key
//! without replacing what may be there, and the directories above are synced. A crash leaves at most a file in
//! `.private/`, which no listing shows and which a later writer removes after a day.
//!
//! The root is never made by accident: a disk that isn't mounted must say so, not fill the disk below its mount point.
//! That is why only [`Directory::create`] makes it.
//!
//! Registers hold a random version before their bytes and change under a file lock, so compare-and-swap holds for all
//! processes of one host; over a network file system it is worth what that file system's locks are worth.

mod failure;
mod register;
mod walk;
mod write;

use crate::key::{check_key, check_prefix};
use crate::{Capabilities, Entry, Error, ErrorKind, Location, PutOutcome, Result, SwapOutcome, Version};
use async_trait::async_trait;
use bytes::Bytes;
use failure::classify;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Files of writers that crashed, and the lock of the registers. Starts with a dot, which no key does.
const PRIVATE: &str = ".private";

/// See the module.
#[derive(Debug, Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

/// What the blocking work needs. Every function here blocks.
#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Directories whose entries this process has synced all the way up: another writer may have made one and
    /// crashed before its own sync.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Directory {
    /// A location in `root`, an absolute path. Touches nothing: a root that isn't there is
    /// [`ErrorKind::NoContainer`] on first use.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let inner = Inner { root, durable: Mutex::default() };
        if !inner.root.is_absolute() {
            let error = Error::new(ErrorKind::Invalid, inner.address(), "open directory");
            return Err(error.with_source("the path of a directory must be absolute"));
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same, making `root` first unless it is there: with its parents, readable by its owner only, durable.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self> {
        let directory = Self::open(root)?;
        directory.inner.create_root().map_err(|error| directory.inner.error("create directory", "", error))?;
        Ok(directory)
    }

    /// Where the files are.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Runs `work`, which blocks, where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce(&Inner, &str) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (inner, owned) = (Arc::clone(&self.inner), key.to_string());
        let done = tokio::task::spawn_blocking(move || {
            work(&inner, &owned).map_err(|error| inner.error(action, &owned, error))
        });
        match done.await {
            Ok(result) => result,
            Err(stopped) => {
                let error = Error::new(ErrorKind::Unavailable, self.address(), format!("{action} {key}"));
                Err(error.with_source(stopped))
            }
        }
    }
}

impl Inner {
    fn address(&self) -> String {
        format!("file://{}", self.root.display())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn error(&self, action: &str, key: &str, error: io::Error) -> Error {
        let kind = classify(&error, || self.root.is_dir());
        Error::new(kind, self.address(), format!("{action} {key}").trim_end()).with_source(error)
    }

    fn create_root(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self.root.ancestors().take_while(|level| !level.exists()).collect();
        for level in missing.into_iter().rev() {
            match fs::DirBuilder::new().mode(0o700).create(level) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => write::sync_directory(level.parent().unwrap_or(level))?,
            }
        }
        if !self.root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.private().map(drop)
    }

    /// The directory of unfinished files, made when it isn't there. Doesn't make the root.
    fn private(&self) -> io::Result<PathBuf> {
        let path = self.root.join(PRIVATE);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => self.give_to_owner(&path).map(|()| path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
            Err(error) => Err(error),
        }
    }

    /// What root makes belongs to whom the root directory belongs: one command run as root must not lock out the user whose
    /// repository it is.
    fn give_to_owner(&self, path: &Path) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let owner = fs::metadata(&self.root)?;
        if owner.uid() != 0 {
            std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> io::Result<Bytes> {
        let file = self.open_object(key)?;
        let size = file.metadata()?.len();
        if range.start > range.end || range.end > size {
            let why = format!("bytes {}..{} of an object of {size} bytes", range.start, range.end);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }

    fn get(&self, key: &str) -> io::Result<Bytes> {
        let size = self.open_object(key)?.metadata()?.len();
        self.get_range(key, 0..size)
    }

    /// A directory in the object's place is not an object: `NotFound`.
    fn open_object(&self, key: &str) -> io::Result<File> {
        let file = File::open(self.path(key))?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn head(&self, key: &str) -> io::Result<Option<Entry>> {
        let found = match fs::metadata(self.path(key)) {
            Ok(found) => found,
            Err(error) if failure::is_absent(&error) && self.root.is_dir() => return Ok(None),
            Err(error) => return Err(error),
        };
        let entry = |modified| Entry { key: key.to_string(), size: found.len(), modified };
        Ok(if found.is_file() { Some(entry(found.modified()?)) } else { None })
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Ok(()) => write::sync_directory(path.parent().unwrap_or(&self.root)),
            Err(error) if failure::is_absent(&error) && self.root.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Location for Directory {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        check_key(&self.address(), "put", key)?;
        self.blocking("put", key, move |inner, key| inner.put_new(key, &bytes)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        check_key(&self.address(), "get", key)?;
        self.blocking("get", key, Inner::get).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        check_key(&self.address(), "get", key)?;
        self.blocking("get", key, move |inner, key| inner.get_range(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        check_key(&self.address(), "head", key)?;
        self.blocking("head", key, Inner::head).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        check_prefix(&self.address(), prefix)?;
        self.blocking("list", prefix, Inner::list).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        check_key(&self.address(), "delete", key)?;
        self.blocking("delete", key, Inner::delete).await
    }

    async fn read_register(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        check_key(&self.address(), "read register", key)?;
        self.blocking("read register", key, Inner::read_register).await
    }

    async fn compare_and_swap(&self, key: &str, expected: Option<&Version>, bytes: Bytes) -> Result<SwapOutcome> {
        check_key(&self.address(), "swap", key)?;
        let expected = expected.cloned();
        self.blocking("swap", key, move |inner, key| inner.compare_and_swap(key, expected.as_ref(), &bytes)).await
    }

    /// Writes, refuses to write again, and removes, in the private part: that the directory takes writes is the
    /// only thing in doubt here.
    async fn probe(&self) -> Result<Capabilities> {
        let trial = |inner: &Inner, _: &str| {
            let temporary = inner.write_private(b"probe")?;
            let taken = inner.write_private(b"probe again")?;
            let refused = !write::rename_new(temporary.path(), taken.path())?;
            Ok(Capabilities { conditional_create: refused, compare_and_swap: refused, clock_skew_seconds: Some(0.0) })
        };
        self.blocking("probe", "", trial).await
    }

    async fn free_space(&self) -> Result<Option<u64>> {
        let ask = |inner: &Inner, _: &str| {
            let answer = rustix::fs::statvfs(&inner.root)?;
            Ok(Some(answer.f_bavail.saturating_mul(answer.f_frsize)))
        };
        self.blocking("ask for free space", "", ask).await
    }
}

/// What a listing shows for a file, or `None` when it vanished meanwhile.
fn entry_of(key: String, found: io::Result<fs::Metadata>) -> io::Result<Option<Entry>> {
    match found {
        Ok(found) if found.is_file() => {
            let modified = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Ok(Some(Entry { key, size: found.len(), modified }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

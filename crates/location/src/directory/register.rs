//! Registers: a file that holds a random version and the bytes, replaced under a lock.

use super::{Inner, failure};
use crate::{SwapOutcome, Version};
use bytes::Bytes;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

/// One lock for all registers: a swap takes milliseconds and happens every few seconds.
pub(super) const LOCK: &str = "registers.lock";
/// A holder that is stopped or waits for a dead disk mustn't take us along.
const LOCK_TIME_MAX: Duration = Duration::from_secs(10);
const VERSION_DIGITS: usize = 32;

impl Inner {
    /// A reader needs no lock: a register is replaced by a rename.
    pub(super) fn read_register(&self, key: &str) -> io::Result<Option<(Bytes, Version)>> {
        let content = match fs::read(self.path(key)) {
            Ok(content) => content,
            Err(error) if failure::is_absent(&error) && self.root.is_dir() => return Ok(None),
            Err(error) => return Err(error),
        };
        let version = content.get(..VERSION_DIGITS).and_then(|digits| std::str::from_utf8(digits).ok());
        match version {
            Some(version) if version.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                let version = Version(version.to_string());
                Ok(Some((Bytes::from(content).slice(VERSION_DIGITS..), version)))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the file is not a register")),
        }
    }

    pub(super) fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&Version>,
        bytes: &[u8],
    ) -> io::Result<SwapOutcome> {
        let _lock = self.lock_registers()?;
        if self.read_register(key)?.map(|(_, version)| version).as_ref() != expected {
            return Ok(SwapOutcome::Lost);
        }
        let version = format!("{:0width$x}", rand::random::<u128>(), width = VERSION_DIGITS);
        let temporary = self.write_private(&[version.as_bytes(), bytes].concat())?;
        let path = self.path(key);
        let parent = path.parent().unwrap_or(&self.root);
        self.make_durable_directory(parent)?;
        fs::rename(temporary.path(), &path)?;
        // From here the value is visible: an error is no proof that it isn't durable.
        Ok(match super::write::sync_directory(parent) {
            Ok(()) => SwapOutcome::Applied(Version(version)),
            Err(_) => SwapOutcome::Unknown,
        })
    }

    fn lock_registers(&self) -> io::Result<File> {
        let path = self.private()?.join(LOCK);
        let file = File::options().create(true).append(true).mode(0o600).open(&path)?;
        self.give_to_owner(&path)?;
        let deadline = Instant::now() + LOCK_TIME_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1)); // we are on a thread that may block
                }
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

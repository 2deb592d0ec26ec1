//! A location that fails as told, for tests of what must survive one.
//!
//! Faults are a script: each names an operation, a part of the key and how often it strikes. Nothing is random, so a
//! test that failed once fails again. The first fault in the script that fits a call strikes, and only that one.

use crate::{Capabilities, Entry, Error, ErrorKind, Location, PutOutcome, Result, SwapOutcome, Version};
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a fault applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// All of them.
    Any,
    /// [`Location::put_new`]
    Put,
    /// [`Location::get`] and [`Location::get_range`]
    Get,
    /// [`Location::head`]
    Head,
    /// [`Location::list`]; the key is the prefix.
    List,
    /// [`Location::delete`]
    Delete,
    /// [`Location::read_register`]
    ReadRegister,
    /// [`Location::compare_and_swap`]
    Swap,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Fails with this kind; nothing happened.
    Error(ErrorKind),
    /// It happened, but the answer is this kind: a store that died after the write. A swap answers
    /// [`SwapOutcome::Unknown`] instead.
    LostAnswer(ErrorKind),
    /// Never answers.
    Hang,
    /// Answers after this long.
    Slow(Duration),
    /// A read gives only this many first bytes.
    Truncated(usize),
    /// A read gives this byte flipped. Past the end: the last.
    Flipped(usize),
    /// A read gives other bytes altogether.
    Replaced(Bytes),
}

#[derive(Debug)]
struct Rule {
    operation: Operation,
    key_part: String,
    /// Calls that pass first.
    skip: u32,
    /// Strikes left. `None`: for ever.
    left: Option<u32>,
    fault: Fault,
}

/// See the module.
#[derive(Debug)]
pub struct Faulty<L> {
    inner: L,
    script: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<(Operation, String)>>,
}

impl<L: Location> Faulty<L> {
    /// `inner`, so far without faults.
    pub fn new(inner: L) -> Self {
        Self { inner, script: Mutex::default(), calls: Mutex::default() }
    }

    /// Every such call on a key that contains `key_part` fails, until [`Self::heal`].
    pub fn always(&self, operation: Operation, key_part: &str, fault: Fault) {
        self.add(operation, key_part, 0, None, fault);
    }

    /// After `skip` such calls went well, the next `times` fail.
    pub fn times(&self, operation: Operation, key_part: &str, skip: u32, times: u32, fault: Fault) {
        self.add(operation, key_part, skip, Some(times), fault);
    }

    /// Forgets the script.
    pub fn heal(&self) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<(Operation, String)> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The location without its faults.
    pub fn inner(&self) -> &L {
        &self.inner
    }

    fn add(&self, operation: Operation, key_part: &str, skip: u32, left: Option<u32>, fault: Fault) {
        let rule = Rule { operation, key_part: key_part.to_string(), skip, left, fault };
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    fn fault_for(&self, operation: Operation, key: &str) -> Option<Fault> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push((operation, key.to_string()));
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        for rule in script.iter_mut() {
            let fits = [Operation::Any, operation].contains(&rule.operation) && key.contains(&rule.key_part);
            if !fits || rule.left == Some(0) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.left = rule.left.map(|left| left - 1);
            return Some(rule.fault.clone());
        }
        None
    }

    fn error(&self, kind: ErrorKind, operation: Operation, key: &str) -> Error {
        let action = format!("{operation:?} {key}").to_lowercase();
        Error::new(kind, self.inner.address(), action).with_source("a fault of the script")
    }

    /// Carries out `work` unless a fault says otherwise. A fault of the content is left to the caller.
    async fn strike<T>(
        &self,
        operation: Operation,
        key: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<(T, Option<Fault>)> {
        let fault = self.fault_for(operation, key);
        match &fault {
            Some(Fault::Error(kind)) => return Err(self.error(*kind, operation, key)),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Slow(time)) => tokio::time::sleep(*time).await,
            _ => {}
        }
        let done = work.await?;
        match fault {
            Some(Fault::LostAnswer(kind)) if operation != Operation::Swap => Err(self.error(kind, operation, key)),
            fault => Ok((done, fault)),
        }
    }
}

fn damage(bytes: Bytes, fault: Option<Fault>) -> Bytes {
    match fault {
        Some(Fault::Truncated(length)) => bytes.slice(..length.min(bytes.len())),
        Some(Fault::Flipped(at)) if !bytes.is_empty() => {
            let mut damaged = bytes.to_vec();
            let at = at.min(damaged.len() - 1);
            damaged[at] ^= 0xff;
            damaged.into()
        }
        Some(Fault::Replaced(other)) => other,
        _ => bytes,
    }
}

#[async_trait]
impl<L: Location> Location for Faulty<L> {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        Ok(self.strike(Operation::Put, key, self.inner.put_new(key, bytes)).await?.0)
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        let (bytes, fault) = self.strike(Operation::Get, key, self.inner.get(key)).await?;
        Ok(damage(bytes, fault))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let (bytes, fault) = self.strike(Operation::Get, key, self.inner.get_range(key, range)).await?;
        Ok(damage(bytes, fault))
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.strike(Operation::Head, key, self.inner.head(key)).await?.0)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        Ok(self.strike(Operation::List, prefix, self.inner.list(prefix)).await?.0)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.strike(Operation::Delete, key, self.inner.delete(key)).await.map(|_| ())
    }

    async fn read_register(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        let (found, fault) = self.strike(Operation::ReadRegister, key, self.inner.read_register(key)).await?;
        Ok(found.map(|(bytes, version)| (damage(bytes, fault), version)))
    }

    async fn compare_and_swap(&self, key: &str, expected: Option<&Version>, bytes: Bytes) -> Result<SwapOutcome> {
        let swap = self.inner.compare_and_swap(key, expected, bytes);
        let (outcome, fault) = self.strike(Operation::Swap, key, swap).await?;
        Ok(if matches!(fault, Some(Fault::LostAnswer(_))) { SwapOutcome::Unknown } else { outcome })
    }

    async fn probe(&self) -> Result<Capabilities> {
        Ok(self.strike(Operation::Any, "", self.inner.probe()).await?.0)
    }

    async fn free_space(&self) -> Result<Option<u64>> {
        self.inner.free_space().await
    }
}

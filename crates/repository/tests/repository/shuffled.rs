//! A place whose requests let others go first, more or less often: two that are at work in it meet in another order with each seed.

use crate::bench::noise;
use crate::place::Place;
use async_trait::async_trait;
use bytes::Bytes;
use lifeboat_location::{Capabilities, Entry, Location, PutOutcome, Result, SwapOutcome, Version};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub struct Shuffled {
    place: Arc<Place>,
    chances: Mutex<Vec<u8>>,
    next: AtomicUsize,
}

impl Shuffled {
    pub fn new(place: &Arc<Place>) -> Arc<Self> {
        Arc::new(Self { place: place.clone(), chances: Mutex::new(vec![0]), next: AtomicUsize::new(0) })
    }

    /// From now on, requests wait as this seed says.
    pub fn shuffle(&self, seed: u64) {
        *self.chances.lock().unwrap() = noise(seed, 4096);
        self.next.store(0, Ordering::SeqCst);
    }

    async fn let_others_go(&self) {
        let chance = {
            let chances = self.chances.lock().unwrap();
            chances[self.next.fetch_add(1, Ordering::SeqCst) % chances.len()]
        };
        for _ in 0..chance % 16 {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Location for Shuffled {
    fn address(&self) -> String {
        self.place.address()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        self.let_others_go().await;
        self.place.put_new(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.let_others_go().await;
        self.place.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.let_others_go().await;
        self.place.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        self.let_others_go().await;
        self.place.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.let_others_go().await;
        self.place.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.let_others_go().await;
        self.place.delete(key).await
    }

    async fn read_register(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        self.place.read_register(key).await
    }

    async fn compare_and_swap(&self, key: &str, version: Option<&Version>, bytes: Bytes) -> Result<SwapOutcome> {
        self.place.compare_and_swap(key, version, bytes).await
    }

    async fn probe(&self) -> Result<Capabilities> {
        self.place.probe().await
    }
}

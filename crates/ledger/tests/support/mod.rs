//! Locations in memory that fail as told, and a key.

#![allow(dead_code)]

use jiff::{SignedDuration, Timestamp};
use lifeboat_ledger::{
    Appended, Error, FlawKind, Gathered, Known, Place, Shelf, SigningKey, Verdict, Written, append, gather, judge, look,
};
use lifeboat_location::{Faulty, Location, Memory};
use serde_json::json;
use std::sync::Arc;

pub struct World {
    pub places: Vec<Place>,
    pub faulty: Vec<Arc<Faulty<Memory>>>,
    pub key: SigningKey,
    shelf: tempfile::TempDir,
}

impl World {
    pub fn new(count: usize) -> Self {
        Self::with_seed(count, 7)
    }

    pub fn with_seed(count: usize, seed: u8) -> Self {
        let faulty: Vec<_> = (0..count).map(|_| Arc::new(Faulty::new(Memory::new("ledger")))).collect();
        let place = |(number, location): (usize, &Arc<Faulty<Memory>>)| {
            let name = char::from(b'a' + u8::try_from(number).unwrap()).to_string();
            Place { name, location: location.clone() as Arc<dyn Location> }
        };
        let places = faulty.iter().enumerate().map(place).collect();
        let key = SigningKey::from_seed(&[seed; 32]).unwrap();
        Self { places, faulty, key, shelf: tempfile::tempdir().unwrap() }
    }

    pub fn shelf(&self) -> Shelf {
        Shelf::in_directory(self.shelf.path().to_owned())
    }

    pub async fn append(&self, number: u32) -> Result<Appended, Error> {
        append(&self.places, &self.key, &self.shelf(), written(number)).await
    }

    pub async fn gather(&self) -> Gathered {
        gather(&self.places, self.key.public(), &self.shelf()).await.unwrap()
    }

    pub async fn judge(&self, known: &Known) -> Verdict {
        let mut looks = Vec::new();
        for place in &self.places {
            looks.push(look(place).await.unwrap());
        }
        judge(&looks, self.key.public(), known)
    }

    pub fn memory(&self, number: usize) -> &Memory {
        self.faulty[number].inner()
    }

    pub async fn replace(&self, number: usize, key: &str, bytes: &[u8]) {
        self.memory(number).delete(key).await.unwrap();
        self.memory(number).put_new(key, bytes.to_vec().into()).await.unwrap();
    }
}

pub fn at(number: u32) -> Timestamp {
    let start: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_micros(i64::from(number) * 1_000_001)
}

pub fn written(number: u32) -> Written {
    Written {
        kind: "drill".into(),
        body: json!({ "number": number }),
        at: at(number) + SignedDuration::from_nanos(789),
        host: "db1".into(),
        software: "lifeboat 0.1.0".into(),
    }
}

/// Location, kind and object of each finding.
pub fn told(verdict: &Verdict) -> Vec<(&str, FlawKind, String)> {
    verdict.findings.iter().map(|finding| (finding.location.as_str(), finding.kind, finding.object.clone())).collect()
}

pub async fn keys_of(world: &World, number: usize) -> Vec<String> {
    world.memory(number).list("").await.unwrap().into_iter().map(|entry| entry.key).collect()
}

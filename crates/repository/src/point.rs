//! Recovery points: the documents that are written last and make a backup exist.
//!
//! A point is stored as `points/<workload>/<time>-<id>`, sealed. It is self-describing: with it, the index and the
//! packs of one location, everything can be brought back.

use crate::chunk::ChunkId;
use crate::container::ContainerKind;
use crate::error::{Error, Result};
use crate::key::random;
use crate::open::{Replica, Repository, describe};
use crate::patience::{answer_within, ask_all};
use lifeboat_location::ErrorKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The name of a point: the time at which it was finished, in seconds, and eight hexadecimal digits. Four of them say the fraction of
/// the second, so that names are in the order of time also where two backups took less than a second; four are random.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PointId(pub String);

impl PointId {
    /// A new name for a point finished at `time`.
    pub fn new(time: jiff::Timestamp) -> Result<Self> {
        let fraction = u64::from(time.subsec_nanosecond().unsigned_abs()) * 0x1_0000 / 1_000_000_000;
        let random: [u8; 2] = random()?;
        Ok(Self(format!("{}-{fraction:04x}{}", time.strftime("%Y%m%dT%H%M%SZ"), hex::encode(random))))
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a location fared when the point was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationState {
    /// Its name.
    pub name: String,
    /// `complete`, or why not.
    pub state: String,
}

impl LocationState {
    /// Whether everything of the point is there.
    pub fn is_complete(&self) -> bool {
        self.state == "complete"
    }
}

/// One state that can be brought back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its name.
    pub id: PointId,
    /// The workload's name.
    pub workload: String,
    /// What kind of workload, such as `postgres`.
    pub kind: String,
    /// `full`, `diff` or `incr`: how much was read and stored. Every point restores by itself.
    #[serde(rename = "type")]
    pub backup_type: String,
    /// The point whose fingerprints told what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<PointId>,
    /// When the work began.
    pub started_at: jiff::Timestamp,
    /// When it ended.
    pub finished_at: jiff::Timestamp,
    /// Chunks of the tree, in order.
    pub tree: Vec<ChunkId>,
    /// Number of files.
    pub files: u64,
    /// Size of everything that a restore writes, in bytes.
    pub bytes: u64,
    /// Read from the source, in bytes.
    pub bytes_read: u64,
    /// Found new or changed, in bytes of plaintext.
    pub bytes_new: u64,
    /// Added to each location, in bytes.
    pub bytes_stored: u64,
    /// How each location fared.
    pub locations: Vec<LocationState>,
    /// What this kind of workload needs beside its files.
    pub details: serde_json::Value,
}

/// A point as a listing shows it, without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointHeader {
    /// Name of the workload.
    pub workload: String,
    /// Name of the point.
    pub id: PointId,
    /// Locations that list it.
    pub locations: Vec<String>,
}

impl PointHeader {
    /// The key under which it is stored.
    pub fn key(&self) -> String {
        key_of(&self.workload, &self.id)
    }
}

pub(crate) fn key_of(workload: &str, id: &PointId) -> String {
    format!("points/{workload}/{id}")
}

/// Reads the text of a point.
pub fn parse(object: &str, json: &[u8]) -> Result<Point> {
    serde_json::from_slice(json).map_err(|error| Error::corrupt(object, error.to_string()))
}

impl Repository {
    /// Every point of a workload (or of all), oldest first, from all reachable locations.
    ///
    /// A location that cannot be listed is passed over as long as another answers.
    pub async fn list_points(&self, workload: Option<&str>) -> Result<Vec<PointHeader>> {
        let prefix = workload.map_or("points/".to_string(), |name| format!("points/{name}/"));
        let mut found: BTreeMap<(String, PointId), Vec<String>> = BTreeMap::new();
        let mut failure = None;
        let mut answered = false;
        let list = async |replica: Replica| Ok(replica.location.list(&prefix).await?);
        let listings = ask_all(&self.replicas, self.limits.listing(), list).await;
        for (replica, listing) in self.replicas.iter().zip(listings) {
            match listing {
                Ok(entries) => {
                    answered = true;
                    for entry in entries {
                        let mut parts = entry.key.splitn(3, '/').skip(1);
                        if let (Some(workload), Some(id)) = (parts.next(), parts.next()) {
                            let place = found.entry((workload.to_string(), PointId(id.to_string()))).or_default();
                            place.push(replica.name.clone());
                        }
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error),
            _ => Ok(found
                .into_iter()
                .map(|((workload, id), locations)| PointHeader { workload, id, locations })
                .collect()),
        }
    }

    /// Opens a point, from the first location that has it whole. What was wrong elsewhere is added to `notes`.
    pub async fn read_point(&self, workload: &str, id: &PointId, notes: &mut Vec<String>) -> Result<Point> {
        let key = key_of(workload, id);
        let mut failure = None;
        for (number, replica) in self.replicas.iter().enumerate() {
            let attempt = async {
                let bytes = replica.location.get(&key).await?;
                let object = format!("{}/{key}", replica.location.address());
                let point = parse(&object, &self.unseal(ContainerKind::Point, &object, &bytes)?)?;
                let itself = point.workload == workload && &point.id == id;
                itself.then_some(point).ok_or_else(|| Error::corrupt(object, "is another point under this name"))
            };
            let answer = match number + 1 < self.replicas.len() {
                true => answer_within(replica, self.limits.patience, attempt).await,
                false => attempt.await,
            };
            match answer {
                Ok(point) => return Ok(point),
                Err(error) => {
                    notes.push(describe(&error));
                    let absent = matches!(&error, Error::Location(e) if e.kind() == ErrorKind::NotFound);
                    if failure.is_none() || !absent {
                        failure = Some(error);
                    }
                }
            }
        }
        match failure {
            Some(Error::Location(error)) if error.kind() == ErrorKind::NotFound => {
                Err(Error::NotFound { what: format!("recovery point {id} of {workload}") })
            }
            Some(error) => Err(error),
            None => Err(Error::NotFound { what: format!("recovery point {id} of {workload}") }),
        }
    }

    /// The bytes of a point, ready to be stored.
    pub(crate) fn seal_point(&self, point: &Point) -> Result<bytes::Bytes> {
        self.seal(ContainerKind::Point, point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_are_in_the_order_of_time(second in 0_i64..4_000_000_000, earlier in 0_i32..999_900_000, more in 16_000_i32..99_999) {
            let name = |nanosecond| PointId::new(jiff::Timestamp::new(second, nanosecond).unwrap()).unwrap();
            let (first, last) = (name(earlier), name(earlier + more));
            prop_assert!(first < last, "{first} {last}");
            prop_assert_eq!(first.0.len(), "20260101T000000Z-00000000".len());
        }
    }
}

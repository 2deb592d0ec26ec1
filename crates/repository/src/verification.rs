//! Results of verifications, kept beside the points they are about. A point itself is never changed.

use crate::container::ContainerKind;
use crate::error::Result;
use crate::key::random;
use crate::open::Repository;
use crate::point::PointId;
use serde::{Deserialize, Serialize};

/// What a verification of a point found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// The point.
    pub point: PointId,
    /// Its workload.
    pub workload: String,
    /// When it was finished.
    pub verified_at: jiff::Timestamp,
    /// Whether everything that was asked held.
    pub passed: bool,
    /// `structure`, `data` or `boot`.
    pub level: String,
    /// What was measured, by the kind of workload.
    pub details: serde_json::Value,
}

impl Repository {
    /// Keeps a result in every reachable location. An error only when none took it.
    pub async fn put_verification(&self, verification: &Verification) -> Result<()> {
        let suffix: [u8; 4] = random()?;
        let time = verification.verified_at.strftime("%Y%m%dT%H%M%SZ");
        let key =
            format!("verifications/{}/{}/{time}-{}", verification.workload, verification.point, hex::encode(suffix));
        let sealed = self.seal(ContainerKind::Document, verification)?;
        let mut failure = None;
        let mut stored = false;
        for replica in &self.replicas {
            match replica.location.put_new(&key, sealed.clone()).await {
                Ok(_) => stored = true,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !stored => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The newest result for a point, if there is one that can be read.
    pub async fn latest_verification(&self, workload: &str, point: &PointId) -> Result<Option<Verification>> {
        let prefix = format!("verifications/{workload}/{point}/");
        for replica in &self.replicas {
            let Ok(entries) = replica.location.list(&prefix).await else { continue };
            for entry in entries.iter().rev() {
                let Ok(bytes) = replica.location.get(&entry.key).await else { continue };
                let Ok(json) = self.unseal(ContainerKind::Document, &entry.key, &bytes) else { continue };
                let Ok(verification) = serde_json::from_slice(&json) else { continue };
                return Ok(Some(verification));
            }
        }
        Ok(None)
    }
}

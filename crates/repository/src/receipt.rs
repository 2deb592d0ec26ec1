//! Receipts: that a point was stored is itself written down, after the point.
//!
//! A deleted point leaves no hole that its neighbours could show. Its receipt does: `receipts/<workload>/<point>` says
//! that the point was stored here and what its bytes hash to. Order of writing and copying: point, then receipt; order
//! of removal by retention: receipt, then point. A point without a receipt is a crash between the two, and the next
//! session writes it; a receipt without a point is a loss.
//!
//! What this cannot show: that somebody took away the point and its receipt, in every location.

use crate::container::ContainerKind;
use crate::error::{Error, Result};
use crate::open::{Replica, Repository};
use crate::patience::within;
use crate::point;
use crate::verify::{Damage, still_missing};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// Begins the key of every receipt.
pub(crate) const PREFIX: &str = "receipts/";

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    /// Key of the point.
    point: String,
    /// BLAKE3 of its stored bytes, hexadecimal.
    blake3: String,
}

/// The key of the receipt of the point with this key.
pub(crate) fn key_for(point_key: &str) -> Option<String> {
    point_key.strip_prefix("points/").map(|rest| format!("{PREFIX}{rest}"))
}

/// The key of the point that the receipt with this key is for.
pub(crate) fn point_of(receipt_key: &str) -> Option<String> {
    receipt_key.strip_prefix(PREFIX).map(|rest| format!("points/{rest}"))
}

impl Repository {
    /// Key and bytes of the receipt for a stored point.
    pub(crate) fn seal_receipt(&self, point_key: &str, point: &[u8]) -> Result<(String, Bytes)> {
        let key = key_for(point_key).ok_or_else(|| Error::Internal(format!("{point_key} is no point")))?;
        let receipt = Receipt { point: point_key.into(), blake3: blake3::hash(point).to_hex().to_string() };
        Ok((key, self.seal(ContainerKind::Document, &receipt)?))
    }

    /// Checks that a stored receipt is the one its name says.
    pub(crate) fn check_receipt(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let json = self.unseal(ContainerKind::Document, key, bytes)?;
        let receipt: Receipt = serde_json::from_slice(&json).map_err(|error| Error::corrupt(key, error.to_string()))?;
        let same = point_of(key).as_ref() == Some(&receipt.point);
        same.then_some(()).ok_or_else(|| Error::corrupt(key, "is another receipt under this name"))
    }

    /// The points that a location had, by their receipts, and has no more, though nobody gave them up.
    ///
    /// # Errors
    /// When a location doesn't answer.
    pub async fn points_lost(&self) -> Result<Vec<Damage>> {
        let mut lost = Vec::new();
        for replica in &self.replicas {
            let receipts = replica.location.list(PREFIX).await?;
            let here: HashSet<String> =
                replica.location.list("points/").await?.into_iter().map(|entry| entry.key).collect();
            let covered = self.covered_at(replica).await?;
            for point in receipts.iter().filter_map(|entry| point_of(&entry.key)) {
                if !here.contains(&point) && !covered.has(&point) && still_missing(replica, &point).await {
                    lost.push(Damage::new(&replica.name, point, "is missing: there is a receipt for it"));
                }
            }
        }
        Ok(lost)
    }

    /// Writes the receipts that a crash left out: for every point of `listings` that none of them has one for.
    ///
    /// A point that can't be read gets none: what is lost must not be vouched for.
    pub(crate) async fn heal_receipts(&self, listings: &mut [(Replica, BTreeMap<String, u64>)]) -> Result<()> {
        let all: Vec<String> = listings.iter().flat_map(|(_, listing)| listing.keys().cloned()).collect();
        for point_key in all.iter().filter(|key| key.starts_with("points/")) {
            let Some(key) = key_for(point_key) else { continue };
            if listings.iter().any(|(_, listing)| listing.contains_key(&key)) {
                continue;
            }
            let mut sealed = None;
            for (replica, _) in listings.iter().filter(|(_, listing)| listing.contains_key(point_key)) {
                let Ok(bytes) = within(replica, self.limits.patience, replica.location.get(point_key)).await else {
                    continue;
                };
                let Ok(text) = self.unseal(ContainerKind::Point, point_key, &bytes) else { continue };
                if point::parse(point_key, &text).is_ok() {
                    sealed = Some(self.seal_receipt(point_key, &bytes)?);
                    break;
                }
            }
            let Some((key, bytes)) = sealed else { continue };
            for (replica, listing) in listings.iter_mut().filter(|(_, listing)| listing.contains_key(point_key)) {
                let put = replica.location.put_new(&key, bytes.clone());
                if within(replica, self.limits.patience, put).await.is_ok() {
                    listing.insert(key.clone(), bytes.len() as u64);
                }
            }
        }
        Ok(())
    }
}

//! Looking at one point only: what it doesn't need is neither read nor judged.

use crate::error::Result;
use crate::open::Repository;
use crate::receipt;
use crate::removal::MarkedPoint;
use std::collections::HashSet;
use std::sync::Arc;

/// A point, and what it needs that only its kind of workload can tell.
#[derive(Clone, Copy)]
pub struct Only<'a> {
    /// The point.
    pub point: &'a MarkedPoint,
    /// Whether it needs a file of its workload's log, by the file's key.
    pub needs_log: &'a (dyn Fn(&str) -> bool + Sync),
}

/// What a look is at.
pub(super) struct Scope<'a> {
    only: Option<Only<'a>>,
    packs: HashSet<String>,
}

impl<'a> Scope<'a> {
    /// An error when what the point needs can't be told: it can't be read, or its tree.
    pub(super) async fn of(repository: &Arc<Repository>, only: Option<Only<'a>>) -> Result<Self> {
        let packs = match only {
            Some(only) => {
                repository.packs_of_points(&[&crate::point::key_of(&only.point.workload, &only.point.point)]).await?
            }
            None => HashSet::new(),
        };
        Ok(Self { only, packs })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        let Some(only) = self.only else { return true };
        let MarkedPoint { workload, point } = only.point;
        let point = crate::point::key_of(workload, point);
        match key.split_once('/').map_or(key, |(folder, _)| folder) {
            "lifeboat.json" | "keys" | "index" => true,
            "packs" => self.packs.contains(key),
            "points" => key == point,
            "receipts" => receipt::key_for(&point).is_some_and(|receipt| receipt == key),
            "wal" => (only.needs_log)(key),
            _ => false,
        }
    }

    /// Whether this point is looked at.
    pub(super) fn has_point(&self, key: &str) -> bool {
        self.only.is_none() || self.has(key)
    }

    /// Whether packs are looked at that the points looked at don't need.
    pub(super) fn is_everything(&self) -> bool {
        self.only.is_none()
    }
}

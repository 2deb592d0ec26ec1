//! What follows the primary outside of the cluster, and whether it does: every change is applied, tried with a write, and told.

use crate::routing::{RouteState, RouteTable, RouteTarget, Routes, Verification, Verifier, Way};
use lifeboat_failover::Epoch;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;

/// What is to follow.
#[derive(Default)]
pub struct Outward {
    pub targets: Vec<Arc<dyn RouteTarget>>,
    pub ways: Vec<Way>,
}

impl fmt::Debug for Outward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.targets.iter().map(|target| target.name()).collect();
        f.debug_struct("Outward").field("targets", &names).field("ways", &self.ways).finish()
    }
}

/// At work.
#[derive(Debug)]
pub struct Following {
    routes: Routes,
    verifier: Verifier,
    told: BTreeMap<String, String>,
    verified: BTreeMap<String, SystemTime>,
}

/// A line for the journal.
pub struct News {
    pub what: &'static str,
    pub epoch: Option<Epoch>,
    pub text: String,
}

impl Following {
    /// Needs a tokio runtime. Ends when it is dropped.
    pub fn start(outward: Outward, tables: &watch::Receiver<RouteTable>) -> Self {
        Self {
            routes: Routes::start(outward.targets, tables),
            verifier: Verifier::start(outward.ways, tables),
            told: BTreeMap::new(),
            verified: BTreeMap::new(),
        }
    }

    /// What has changed since this was last asked.
    pub fn news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for state in self.routes.states() {
            let (what, text) = words(&state);
            if !text.is_empty() && self.told.insert(state.name.clone(), text.clone()).as_ref() != Some(&text) {
                news.push(News { what, epoch: state.epoch, text });
            }
        }
        for found in self.verifier.results().into_iter().flatten() {
            if self.verified.insert(found.way.clone(), found.begun) != Some(found.begun) {
                news.push(verified(&found));
            }
        }
        news
    }
}

fn words(state: &RouteState) -> (&'static str, String) {
    match (&state.error, state.took) {
        (Some(error), _) => ("route fails", format!("{}: {error}", state.name)),
        (None, Some(took)) => {
            ("route follows", format!("{} ({:.3} s after the change)", state.name, took.as_secs_f64()))
        }
        (None, None) => ("", String::new()),
    }
}

fn verified(found: &Verification) -> News {
    let took = found.took.as_secs_f64();
    match &found.result {
        Ok(arrived) => News {
            what: "first write",
            epoch: Some(found.epoch),
            text: format!("through {} at {}, {took:.3} s after the change", found.way, arrived.position),
        },
        Err(why) => News {
            what: "no traffic",
            epoch: Some(found.epoch),
            text: format!("{} doesn't lead to the primary after {took:.1} s: {why}", found.way),
        },
    }
}

//! Are the newest recovery point and the last proof as recent as the configuration wants them?
//!
//! Asked of the locations, not of the server: when it is gone, the age of the last point matters most.

use super::Finding;
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::freshness::{Newest, Proof as Limited, believed_until, judge};
use crate::output::{Output, human};
use crate::{removable, rooms};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use lifeboat_repository::{PointId, Proof, Repository, Verified};
use std::collections::BTreeMap;

/// Points read side by side.
const READS_AT_ONCE: usize = 8;
/// Of the points that failed, so many are named.
const FAILED_NAMED_MAX: usize = 3;

/// One finding for each limit, and one for points whose verification failed, limit or not.
pub async fn look(config: &Config, name: &str, output: &Output) -> Vec<Finding> {
    let workload = &config.workloads[name];
    let subject = format!("workload {name}");
    let seen = async {
        let repository =
            rooms::open_repository(config, &removable::standing(config, &workload.locations), output).await?;
        let failed = failed(&repository, name).await?;
        if workload.backup_within.is_none() && workload.verify_within.levels().next().is_none() {
            return Ok((failed, Vec::new()));
        }
        let (mut points, now) = (BTreeMap::new(), Timestamp::now());
        for replica in repository.replicas() {
            let alone = repository.only(&replica.name)?;
            points.insert(replica.name.clone(), newest_point(&alone, name, now).await?);
        }
        let verified = repository.verifications_by_level(name, believed_until(now)).await?;
        let proofs = verified.iter().map(|(level, verified)| (level.clone(), proof(verified))).collect();
        Ok::<_, Failure>((failed, judge(name, workload, &points, &proofs, now)))
    };
    let (failed, judgements) = match seen.await {
        Ok(seen) => seen,
        Err(failure) => return vec![Finding::new(format!("{subject} ages"), Err(failure))],
    };
    let finding = |judgement: crate::freshness::Judgement| {
        let subject = format!("{subject} {}", judgement.what);
        let outcome = match judgement.hint {
            None => Ok(judgement.seen),
            Some(hint) if judgement.is_warning => return Finding::warning(subject, judgement.seen, hint),
            Some(hint) => Err(Failure::new(FailureKind::CheckFailed, judgement.seen).with_hint(hint)),
        };
        Finding::new(subject, outcome)
    };
    let failed = told(name, &failed).map(|failure| Finding::new(format!("{subject} points"), Err(failure)));
    failed.into_iter().chain(judgements.into_iter().map(finding)).collect()
}

/// The points whose verification failed, newest first, and how it failed.
async fn failed(repository: &Repository, name: &str) -> Result<Vec<(PointId, Proof)>, Failure> {
    let ids = repository.list_points(Some(name)).await?.into_iter().rev().map(|header| header.id);
    let read = ids.map(|id| async move {
        let standing = repository.standing(name, &id).await;
        standing.map(|standing| standing.and_then(|standing| standing.failed).map(|proof| (id, proof)))
    });
    let read: Vec<_> = futures::stream::iter(read).buffered(READS_AT_ONCE).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

fn told(name: &str, failed: &[(PointId, Proof)]) -> Option<Failure> {
    if failed.is_empty() {
        return None;
    }
    let now = Timestamp::now();
    let named = failed.iter().take(FAILED_NAMED_MAX);
    let named: Vec<String> =
        named.map(|(id, proof)| format!("{id} ({}, {})", proof.level, human::age(proof.at, now))).collect();
    let more = match failed.len().saturating_sub(FAILED_NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("the last verification failed of {}{more}", named.join(", "));
    let hint = format!("`lifeboat points {name}` lists them; `lifeboat verify {name} --data` says what is wrong now");
    Some(Failure::new(FailureKind::CheckFailed, message).with_hint(hint))
}

/// When the newest point was finished, by what is sealed in it; behind those that claim to be from the future.
async fn newest_point(alone: &Repository, name: &str, now: Timestamp) -> Result<Newest, Failure> {
    let mut times = Vec::new();
    for header in alone.list_points(Some(name)).await?.into_iter().rev() {
        times.push(alone.read_point(name, &header.id, &mut Vec::new()).await?.finished_at);
        let newest = Newest::of(times.iter().copied(), now);
        if newest.at.is_some() {
            return Ok(newest);
        }
    }
    Ok(Newest::of(times, now))
}

/// What was found about a level.
pub fn proof(verified: &Verified) -> Limited {
    Limited {
        passed_at: verified.passed.as_ref().map(|passed| passed.verified_at),
        newest_at: verified.newest.verified_at,
        newest_passed: verified.newest.passed,
    }
}

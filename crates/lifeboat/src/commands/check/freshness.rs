//! Are the newest recovery point and the last proof as recent as the configuration wants them?
//!
//! Asked of the locations, not of the server: when it is gone, the age of the last point matters most.

use super::Finding;
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::freshness::{Proof, judge};
use crate::output::Output;
use crate::{removable, rooms};
use jiff::Timestamp;
use lifeboat_repository::{Repository, Verified};
use std::collections::BTreeMap;

/// One finding for each limit. None where no limit is set.
pub async fn look(config: &Config, name: &str, output: &Output) -> Vec<Finding> {
    let workload = &config.workloads[name];
    let subject = format!("workload {name}");
    if workload.backup_within.is_none() && workload.verify_within.levels().next().is_none() {
        return Vec::new();
    }
    let seen = async {
        let repository =
            rooms::open_repository(config, &removable::standing(config, &workload.locations), output).await?;
        let mut points = BTreeMap::new();
        for replica in repository.replicas() {
            let alone = repository.only(&replica.name)?;
            points.insert(replica.name.clone(), newest_point(&alone, name).await?);
        }
        let verified = repository.verifications_by_level(name).await?;
        let proofs = verified.iter().map(|(level, verified)| (level.clone(), proof(verified))).collect();
        Ok::<_, Failure>(judge(name, workload, &points, &proofs, Timestamp::now()))
    };
    let judgements = match seen.await {
        Ok(judgements) => judgements,
        Err(failure) => return vec![Finding::new(format!("{subject} ages"), Err(failure))],
    };
    let finding = |judgement: crate::freshness::Judgement| {
        let outcome = match judgement.hint {
            None => Ok(judgement.seen),
            Some(hint) => Err(Failure::new(FailureKind::CheckFailed, judgement.seen).with_hint(hint)),
        };
        Finding::new(format!("{subject} {}", judgement.what), outcome)
    };
    judgements.into_iter().map(finding).collect()
}

/// When the newest point was finished, by what is sealed in it.
async fn newest_point(alone: &Repository, name: &str) -> Result<Option<Timestamp>, Failure> {
    let Some(header) = alone.list_points(Some(name)).await?.pop() else { return Ok(None) };
    Ok(Some(alone.read_point(name, &header.id, &mut Vec::new()).await?.finished_at))
}

/// What was found about a level.
pub fn proof(verified: &Verified) -> Proof {
    Proof {
        passed_at: verified.passed.as_ref().map(|passed| passed.verified_at),
        newest_at: verified.newest.verified_at,
        newest_passed: verified.newest.passed,
    }
}

//! Which points are touched by what is bad.

use super::log;
use crate::failure::Failure;
use lifeboat_repository::{PointHeader, Repository, VerifyReport};
use std::collections::HashSet;
use std::sync::Arc;

/// For each point whether nothing that is bad is a part of it. What it needs of the log is told elsewhere. What is known to be
/// damaged has to be written down before: a point that has it in another pack, too, passes.
pub async fn passed(
    repository: &Arc<Repository>,
    report: &VerifyReport,
    points: &[PointHeader],
) -> Result<Vec<bool>, Failure> {
    let of_points = report.bad.iter().filter(|damage| !log::is_about_log(damage));
    let bad: Vec<&str> = of_points.map(|damage| damage.object.as_str()).collect();
    if bad.is_empty() {
        return Ok(vec![true; points.len()]);
    }
    let keys: Vec<String> = points.iter().map(PointHeader::key).collect();
    let needs = repository.packs_of_each(&keys).await?;
    let is_whole = |(key, needed): (&String, Option<HashSet<String>>)| {
        needed.is_some_and(|packs| !bad.iter().any(|object| concerns(object, key, &packs)))
    };
    Ok(keys.iter().zip(needs).map(is_whole).collect())
}

/// Leaves out the points that nobody looked at: those that only a location has which went away meanwhile.
pub async fn only_looked_at(
    repository: &Repository,
    report: &VerifyReport,
    points: &mut Vec<PointHeader>,
) -> Result<(), Failure> {
    if report.away.is_empty() {
        return Ok(());
    }
    let mut seen = HashSet::new();
    for name in &report.looked_at {
        seen.extend(repository.only(name)?.list_points(None).await?.iter().map(PointHeader::key));
    }
    points.retain(|header| seen.contains(&header.key()));
    Ok(())
}

/// Whether a point of this key that needs these packs is touched by damage to an object.
fn concerns(object: &str, point: &str, packs: &HashSet<String>) -> bool {
    let (folder, rest) = object.split_once('/').unwrap_or((object, ""));
    match folder {
        "packs" => packs.contains(object),
        "points" | "receipts" => point.strip_prefix("points/") == Some(rest),
        // About points, or about places: nothing that a restore reads.
        "verifications" | "holds" | "syncs" | "findings" | "removals" | "keys" => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_concerns_the_points_that_need_what_is_damaged() {
        let packs = HashSet::from(["packs/aa/aa01".to_owned()]);
        for (object, expected) in [
            ("packs/aa/aa01", true),
            ("packs/bb/bb01", false),
            ("points/shop/1", true),
            ("points/shop/2", false),
            ("receipts/shop/1", true),
            ("verifications/shop/1/now", false),
            ("holds/shop/1/now", false),
            ("index/1", true),
            ("location", true),
            ("lifeboat.json", true),
            ("keys/1", false),
        ] {
            assert_eq!(concerns(object, "points/shop/1", &packs), expected, "{object}");
        }
    }
}

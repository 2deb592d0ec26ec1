//! Which figures there are, and what each is called. Pure. `docs/monitoring.md` has the list; names don't change.

use super::gather::{Home, Seen, Size, Workload};
use super::page::{Family, Sample};
use jiff::Timestamp;

type Labels = Vec<(&'static str, String)>;

/// All figures, in order.
pub fn families(seen: &Seen) -> Vec<Family> {
    let mut families = vec![
        Family {
            name: "lifeboat_build_info",
            help: "Always 1; the label says which version looked.",
            samples: vec![Sample { labels: vec![("version", env!("CARGO_PKG_VERSION").to_owned())], value: 1.0 }],
        },
        Family {
            name: "lifeboat_observed_timestamp_seconds",
            help: "When these figures were gathered.",
            samples: vec![Sample { labels: Vec::new(), value: seconds(seen.at) }],
        },
    ];
    families.extend(of_locations(seen));
    families.extend(of_homes(seen));
    families.extend(of_proofs(seen));
    families.extend(of_drills(seen));
    families.extend(of_limits(seen));
    families
}

fn of_locations(seen: &Seen) -> [Family; 3] {
    let each = |figure: &dyn Fn(&Option<Size>) -> Option<f64>| {
        let sample = |(name, size): (&String, &Option<Size>)| {
            Some(Sample { labels: vec![("location", name.clone())], value: figure(size)? })
        };
        seen.locations.iter().filter_map(sample).collect::<Vec<_>>()
    };
    [
        Family {
            name: "lifeboat_location_up",
            help: "1 when the location answers and the repository in it opens.",
            samples: each(&|size| Some(flag(size.is_some()))),
        },
        Family {
            name: "lifeboat_repository_bytes",
            help: "Bytes of all objects in the location.",
            samples: each(&|size| size.map(|size| size.bytes as f64)),
        },
        Family {
            name: "lifeboat_repository_objects",
            help: "Number of objects in the location.",
            samples: each(&|size| size.map(|size| size.objects as f64)),
        },
    ]
}

fn of_homes(seen: &Seen) -> [Family; 7] {
    let each = |figure: &dyn Fn(&Option<Home>) -> Option<f64>| {
        let all =
            seen.workloads.iter().flat_map(|(name, workload)| workload.homes.iter().map(move |home| (name, home)));
        let sample = |(name, (location, home)): (&String, (&String, &Option<Home>))| {
            let labels = vec![("workload", name.clone()), ("location", location.clone())];
            Some(Sample { labels, value: figure(home)? })
        };
        all.filter_map(sample).collect::<Vec<_>>()
    };
    let family = |name, help, samples| Family { name, help, samples };
    [
        family(
            "lifeboat_up",
            "1 when points and log of the workload could be read in the location.",
            each(&|home| Some(flag(home.is_some()))),
        ),
        family(
            "lifeboat_points",
            "Recovery points that can be read.",
            each(&|home| Some(home.as_ref()?.points as f64)),
        ),
        family(
            "lifeboat_points_unusable",
            "Recovery points that can't be read, or whose log is missing.",
            each(&|home| Some(home.as_ref()?.points_unusable as f64)),
        ),
        family(
            "lifeboat_newest_point_timestamp_seconds",
            "When the newest recovery point was finished, but for those that claim to be from the future.",
            each(&|home| home.as_ref()?.newest.map(seconds)),
        ),
        family(
            "lifeboat_reach_oldest_timestamp_seconds",
            "The oldest moment that can be reached.",
            each(&|home| home.as_ref()?.reach.map(|(oldest, _)| seconds(oldest))),
        ),
        family(
            "lifeboat_reach_newest_timestamp_seconds",
            "The newest moment that can be reached.",
            each(&|home| home.as_ref()?.reach.map(|(_, newest)| seconds(newest))),
        ),
        family("lifeboat_log_gaps", "Holes in the stored log.", each(&|home| Some(home.as_ref()?.gaps as f64))),
    ]
}

fn of_proofs(seen: &Seen) -> [Family; 2] {
    let (mut times, mut outcomes) = (Vec::new(), Vec::new());
    for (name, workload) in &seen.workloads {
        for (level, proof) in &workload.proofs {
            let labels: Labels = vec![("workload", name.clone()), ("level", level.clone())];
            outcomes.push(Sample { labels: labels.clone(), value: flag(proof.newest_passed) });
            times.extend(proof.passed_at.map(|at| Sample { labels, value: seconds(at) }));
        }
    }
    [
        Family {
            name: "lifeboat_verified_timestamp_seconds",
            help: "When a verification of the level passed last.",
            samples: times,
        },
        Family {
            name: "lifeboat_verification_passed",
            help: "1 when the newest verification of the level passed.",
            samples: outcomes,
        },
    ]
}

fn of_drills(seen: &Seen) -> [Family; 4] {
    let [mut recovery, mut phases, mut behind_seconds, mut behind_bytes] = [const { Vec::new() }; 4];
    for (name, drill) in seen.workloads.iter().filter_map(|(name, workload)| Some((name, workload.drill?))) {
        let labels: Labels = vec![("workload", name.clone())];
        let way = ("way", drill.way.to_owned());
        let sample = |value: f64| Sample { labels: labels.clone(), value };
        let in_its_way = |value: f64| Sample { labels: vec![labels[0].clone(), way.clone()], value };
        recovery.extend(drill.recovery_seconds.map(in_its_way));
        behind_seconds.extend(drill.behind_seconds.map(sample));
        behind_bytes.extend(drill.behind_bytes.map(sample));
        phases.extend(drill.phases.into_iter().filter_map(|(phase, value)| {
            let labels = vec![("workload", name.clone()), ("phase", phase.to_owned()), way.clone()];
            Some(Sample { labels, value: value? })
        }));
    }
    let family = |name, help, samples| Family { name, help, samples };
    [
        family(
            "lifeboat_recovery_time_seconds",
            "Measured by the last test restore that passed, in the way it was done: from nothing to the first answer.",
            recovery,
        ),
        family("lifeboat_recovery_phase_seconds", "The parts of it.", phases),
        family(
            "lifeboat_recovery_point_seconds",
            "Measured by it: age of the last transaction that came back; at most that was missing.",
            behind_seconds,
        ),
        family(
            "lifeboat_recovery_point_bytes",
            "Measured by it: log that the server had written and the copy did not get.",
            behind_bytes,
        ),
    ]
}

fn of_limits(seen: &Seen) -> [Family; 2] {
    let (mut backup, mut verify) = (Vec::new(), Vec::new());
    for (name, Workload { config, .. }) in &seen.workloads {
        let label = ("workload", name.clone());
        let value = |within: std::time::Duration| within.as_secs_f64();
        backup.extend(config.backup_within.map(|w| Sample { labels: vec![label.clone()], value: value(w) }));
        verify.extend(config.verify_within.levels().map(|(level, within)| Sample {
            labels: vec![label.clone(), ("level", level.to_owned())],
            value: value(within),
        }));
    }
    [
        Family {
            name: "lifeboat_backup_within_seconds",
            help: "How old the newest recovery point may be, by the configuration.",
            samples: backup,
        },
        Family {
            name: "lifeboat_verify_within_seconds",
            help: "How long ago a verification of the level may have passed, by the configuration.",
            samples: verify,
        },
    ]
}

/// Since 1970.
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

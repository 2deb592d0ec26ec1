//! A world in which every check is ready, and what has no object is skipped nowhere.

use crate::copies::{Medium, Place as Copy, judge};
use crate::model::{Objective, Tier};
use crate::readiness::observed::*;
use crate::readiness::{Evidence, Limits, Proof, Seen, Stamp};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

pub fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub fn ago(hours: i64) -> Timestamp {
    now() - SignedDuration::from_hours(hours)
}

pub fn seen<T>(value: T) -> Seen<T> {
    Seen::Known(value, Evidence { asked: "the test".into(), answer_hash: Some("00".into()) })
}

pub fn stamp() -> Stamp {
    Stamp { configuration_hash: Some("c1".into()), version: Some("1.0".into()) }
}

pub fn proof(hours: i64) -> Proof {
    Proof { passed_at: Some(ago(hours)), passed_with: stamp(), newest_passed: true, newest_at: ago(hours) }
}

/// RTO an hour, RPO nought, a drill each month.
pub fn limits() -> Limits {
    let objective = Objective { rto: Duration::from_secs(3600), rpo: Duration::ZERO };
    let drill_every = Some(Duration::from_secs(31 * 86_400));
    Limits::of(Some(("gold", &Tier { objective, by_disruption: [].into(), drill_every, strategy: None, rank: None })))
}

pub fn fine() -> Observed {
    Observed {
        at: now(),
        today: "2026-11-22".parse().unwrap(),
        stamp: stamp(),
        workloads: vec![workload()],
        copies: vec![copied()],
        locations: vec![place()],
        clusters: vec![cluster()],
        groups: vec![GroupSeen {
            name: "group shop".into(),
            limits: limits(),
            runs: seen(vec![run("b", 10, 600.0), run("a", 500, 580.0)]),
        }],
        governance: governance(),
    }
}

fn workload() -> Workload {
    let levels = ["structure", "data", "boot"];
    let place = |name: &str, medium, region: &str| Copy {
        name: name.into(),
        region: Some(region.into()),
        medium,
        is_immutable: true,
        shares_device: false,
        is_there: true,
        is_current: true,
    };
    let places = [place("near", Medium::Disk, "va"), place("far", Medium::Object, "ohio")];
    Workload {
        name: "shop".into(),
        limits: limits(),
        backup_within: None,
        verify_within: BTreeMap::new(),
        reachable: seen(vec![]),
        server: seen(Server {
            version_number: 170_004,
            settings: vec![],
            has_checksums: true,
            role: "lifeboat".into(),
            excess: vec![],
            clock_ahead_seconds: -0.5,
        }),
        archiving: seen(Archiving {
            way: "archive_command".into(),
            age_seconds: Some(20.0),
            told: "20 s".into(),
            failures: 0,
            failed: None,
        }),
        programs: seen(vec![]),
        extensions: seen(vec![]),
        room: seen(Room { directory: "/d".into(), needed_bytes: 1 << 30, free_bytes: 4 << 30 }),
        points: seen([(3, 1000), (27, 990), (51, 980)].map(|(hours, bytes)| point(hours, bytes)).into()),
        proofs: seen(levels.map(|level| (level.to_owned(), proof(30))).into()),
        rule: seen(judge(Some("va"), &places)),
        followers: seen(followers()),
        promotion: seen(vec![]),
        alarms: seen(vec![]),
    }
}

pub fn point(hours: i64, bytes: u64) -> Point {
    Point { id: format!("p{hours}"), finished_at: ago(hours), bytes, pages_bad: 0 }
}

fn followers() -> Followers {
    let slot =
        Slot { name: "ohio".into(), state: Some("reserved".into()), safe_bytes: Some(900), keep_bytes: Some(1000) };
    Followers {
        standbys: vec![Follower { name: "ohio".into(), lag_seconds: Some(0.2), behind_bytes: Some(10) }],
        missing: vec![],
        slots: vec![slot],
        waits: vec![],
    }
}

fn copied() -> Copied {
    Copied {
        workload: "shop".into(),
        location: "far".into(),
        limits: limits(),
        backup_within: None,
        window: Some(Duration::from_secs(86_400)),
        newest_point: seen(Some(ago(3))),
        log: seen(Log { gaps: 0, reach: Some((ago(100), now())), unsent_seconds: Some(20.0) }),
        restored: seen(Some(Restored { at: ago(30), seconds: 500.0, way: "copy".into() })),
    }
}

fn place() -> Place {
    Place {
        name: "far".into(),
        reachable: seen(vec![]),
        opens: seen(vec![]),
        clock_ahead_seconds: seen(1.0),
        space: seen(Space {
            free_bytes: 100 << 30,
            growth_bytes_per_day: Some((1u64 << 30) as f64),
            is_assumed: false,
        }),
        immutable: seen(vec![]),
        damage: seen(vec![]),
        disk: seen(Disk { synced_at: Some(ago(48)), behind: 1, max_age: None }),
    }
}

fn cluster() -> Cluster {
    Cluster {
        name: "shop".into(),
        limits: limits(),
        members: seen(Members {
            primary: Some("virginia".into()),
            able: vec!["ohio".into()],
            unable: vec![],
            is_paused: false,
        }),
        lease: seen(vec![]),
        tested: seen(Some(proof(30))),
        routes: seen([("dns".to_owned(), 5.0)].into()),
        certificates: seen([("/a.pem".to_owned(), 200.0)].into()),
    }
}

pub fn run(id: &str, hours: i64, rta_seconds: f64) -> Rehearsed {
    Rehearsed {
        id: id.into(),
        at: ago(hours),
        passed: true,
        stamp: stamp(),
        rta_seconds: Some(rta_seconds),
        rpa_seconds: Some(0.0),
        alert_seen: Some(true),
    }
}

fn governance() -> Governance {
    Governance {
        escrow: seen(Some(proof(100))),
        contradictions: seen(vec![]),
        reviews: seen([("process checkout".to_owned(), Some("2026-10-01".parse().unwrap()))].into()),
        review_within: None,
        contacts: seen([("ada".to_owned(), Some(ago(200)))].into()),
        findings: seen(vec![OpenFinding {
            what: "slow".into(),
            owner: Some("ada".into()),
            due: Some("2026-12-01".parse().unwrap()),
        }]),
        runbook: seen(vec![]),
        ledger: seen(vec![]),
        alarm: seen(Some((ago(10), true))),
    }
}

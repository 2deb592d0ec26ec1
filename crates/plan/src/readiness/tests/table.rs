//! For each check, in the order of the catalogue, a change after which it isn't ready, and one after which it is unknown.

use super::fine::{ago, now, proof, seen};
use crate::copies::judge;
use crate::readiness::{Observed, Seen};

pub struct Case {
    pub id: &'static str,
    pub breaks: fn(&mut Observed),
    pub hides: fn(&mut Observed),
}

fn hidden<T>() -> Seen<T> {
    Seen::unknown("it didn't answer within 5 s", "select 1")
}

pub const CASES: &[Case] = &[
    Case {
        id: "server-reachable",
        breaks: |observed| observed.workloads[0].reachable = seen(vec!["another cluster".into()]),
        hides: |observed| observed.workloads[0].reachable = hidden(),
    },
    Case {
        id: "archive-age",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].archiving.known_mut() {
                known.age_seconds = Some(61.0);
            }
        },
        hides: |observed| {
            observed.workloads[0].archiving = hidden();
        },
    },
    Case {
        id: "archive-failures",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].archiving.known_mut() {
                known.failures = 1;
            }
        },
        hides: |observed| {
            observed.workloads[0].archiving = hidden();
        },
    },
    Case {
        id: "archive-settings",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].server.known_mut() {
                known.settings.push("wal_level is minimal".into());
            }
        },
        hides: |observed| {
            observed.workloads[0].server = hidden();
        },
    },
    Case {
        id: "data-checksums",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].server.known_mut() {
                known.has_checksums = false;
            }
        },
        hides: |observed| {
            observed.workloads[0].server = hidden();
        },
    },
    Case {
        id: "version-supported",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].server.known_mut() {
                known.version_number = 140_001;
            }
        },
        hides: |observed| {
            if let Some(known) = observed.workloads[0].server.known_mut() {
                known.version_number = 990_000;
            }
        },
    },
    Case {
        id: "role-least-privilege",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].server.known_mut() {
                known.excess.push("superuser".into());
            }
        },
        hides: |observed| {
            observed.workloads[0].server = hidden();
        },
    },
    Case {
        id: "clock-server",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].server.known_mut() {
                known.clock_ahead_seconds = -6.0;
            }
        },
        hides: |observed| {
            observed.workloads[0].server = hidden();
        },
    },
    Case {
        id: "restore-programs",
        breaks: |observed| {
            observed.workloads[0].programs = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.workloads[0].programs = hidden();
        },
    },
    Case {
        id: "restore-extensions",
        breaks: |observed| {
            observed.workloads[0].extensions = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.workloads[0].extensions = hidden();
        },
    },
    Case {
        id: "restore-space",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].room.known_mut() {
                known.free_bytes = 1 << 30;
            }
        },
        hides: |observed| {
            observed.workloads[0].room = hidden();
        },
    },
    Case {
        id: "wal-gaps",
        breaks: |observed| {
            if let Some(known) = observed.copies[0].log.known_mut() {
                known.gaps = 1;
            }
        },
        hides: |observed| {
            observed.copies[0].log = hidden();
        },
    },
    Case {
        id: "wal-newest",
        breaks: |observed| {
            if let Some(known) = observed.copies[0].log.known_mut() {
                known.unsent_seconds = Some(61.0);
            }
        },
        hides: |observed| {
            observed.copies[0].log = hidden();
        },
    },
    Case {
        id: "point-age",
        breaks: |observed| {
            observed.copies[0].newest_point = seen(Some(ago(27)));
        },
        hides: |observed| {
            observed.copies[0].newest_point = hidden();
        },
    },
    Case {
        id: "point-size",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].points.known_mut() {
                known[0].bytes = 400;
            }
        },
        hides: |observed| {
            observed.workloads[0].points = hidden();
        },
    },
    Case {
        id: "point-pages",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].points.known_mut() {
                known[0].pages_bad = 1;
            }
        },
        hides: |observed| {
            observed.workloads[0].points = hidden();
        },
    },
    Case {
        id: "window-covered",
        breaks: |observed| {
            if let Some(known) = observed.copies[0].log.known_mut() {
                known.reach = Some((ago(20), now()));
            }
        },
        hides: |observed| {
            observed.copies[0].log = hidden();
        },
    },
    Case {
        id: "verified-structure",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].proofs.known_mut() {
                known.remove("structure");
            }
        },
        hides: |observed| {
            observed.workloads[0].proofs = hidden();
        },
    },
    Case {
        id: "verified-data",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].proofs.known_mut() {
                known.insert("data".into(), proof(24 * 32));
            }
        },
        hides: |observed| {
            observed.workloads[0].proofs = hidden();
        },
    },
    Case {
        id: "verified-boot",
        breaks: |observed| {
            observed.stamp.configuration_hash = Some("c2".into());
        },
        hides: |observed| {
            if let Some(known) = observed.workloads[0].proofs.known_mut() {
                known.get_mut("boot").unwrap().passed_with.version = None;
            }
        },
    },
    Case {
        id: "proof-version",
        breaks: |observed| {
            observed.stamp.version = Some("2.0".into());
        },
        hides: |observed| {
            observed.workloads[0].proofs = hidden();
        },
    },
    Case {
        id: "restore-time",
        breaks: |observed| {
            if let Some(known) = observed.copies[0].restored.known_mut() {
                known.as_mut().unwrap().seconds = 3601.0;
            }
        },
        hides: |observed| {
            observed.copies[0].restored = seen(None);
        },
    },
    Case {
        id: "location-reachable",
        breaks: |observed| {
            observed.locations[0].reachable = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.locations[0].reachable = hidden();
        },
    },
    Case {
        id: "repository-opens",
        breaks: |observed| {
            observed.locations[0].opens = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.locations[0].opens = hidden();
        },
    },
    Case {
        id: "repository-damage",
        breaks: |observed| {
            observed.locations[0].damage = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.locations[0].damage = hidden();
        },
    },
    Case {
        id: "location-space",
        breaks: |observed| {
            if let Some(known) = observed.locations[0].space.known_mut() {
                known.free_bytes = 13 << 30;
            }
        },
        hides: |observed| {
            if let Some(known) = observed.locations[0].space.known_mut() {
                known.growth_bytes_per_day = None;
            }
        },
    },
    Case {
        id: "location-immutable",
        breaks: |observed| {
            observed.locations[0].immutable = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.locations[0].immutable = hidden();
        },
    },
    Case {
        id: "location-clock",
        breaks: |observed| {
            observed.locations[0].clock_ahead_seconds = seen(60.0);
        },
        hides: |observed| {
            observed.locations[0].clock_ahead_seconds = hidden();
        },
    },
    Case {
        id: "copies-3-2-1",
        breaks: |observed| {
            observed.workloads[0].rule = seen(judge(None, &[]));
        },
        hides: |observed| {
            observed.workloads[0].rule = hidden();
        },
    },
    Case {
        id: "disk-fresh",
        breaks: |observed| {
            if let Some(known) = observed.locations[0].disk.known_mut() {
                known.synced_at = Some(ago(24 * 93));
            }
        },
        hides: |observed| {
            observed.locations[0].disk = hidden();
        },
    },
    Case {
        id: "standby-lag",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].followers.known_mut() {
                known.missing.push("ohio".into());
            }
        },
        hides: |observed| {
            if let Some(known) = observed.workloads[0].followers.known_mut() {
                known.standbys[0].lag_seconds = None;
            }
        },
    },
    Case {
        id: "slot-health",
        breaks: |observed| {
            if let Some(known) = observed.workloads[0].followers.known_mut() {
                known.slots[0].state = Some("lost".into());
            }
        },
        hides: |observed| {
            observed.workloads[0].followers = hidden();
        },
    },
    Case {
        id: "synchronous",
        breaks: |observed| {
            observed.workloads[0].followers = Seen::absent("none");
        },
        hides: |observed| {
            observed.workloads[0].followers = hidden();
        },
    },
    Case {
        id: "standby-promotable",
        breaks: |observed| {
            observed.workloads[0].promotion = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.workloads[0].promotion = hidden();
        },
    },
    Case {
        id: "cluster-primary",
        breaks: |observed| {
            if let Some(known) = observed.clusters[0].members.known_mut() {
                known.primary = None;
            }
        },
        hides: |observed| {
            observed.clusters[0].members = hidden();
        },
    },
    Case {
        id: "cluster-redundant",
        breaks: |observed| {
            if let Some(known) = observed.clusters[0].members.known_mut() {
                known.able.clear();
            }
        },
        hides: |observed| {
            observed.clusters[0].members = hidden();
        },
    },
    Case {
        id: "lease-store",
        breaks: |observed| {
            observed.clusters[0].lease = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.clusters[0].lease = hidden();
        },
    },
    Case {
        id: "failover-tested",
        breaks: |observed| {
            observed.clusters[0].tested = seen(None);
        },
        hides: |observed| {
            observed.clusters[0].tested = hidden();
        },
    },
    Case {
        id: "route-ttl",
        breaks: |observed| {
            if let Some(known) = observed.clusters[0].routes.known_mut() {
                known.insert("slow".into(), 301.0);
            }
        },
        hides: |observed| {
            observed.clusters[0].routes = hidden();
        },
    },
    Case {
        id: "certificates",
        breaks: |observed| {
            if let Some(known) = observed.clusters[0].certificates.known_mut() {
                known.insert("/b.pem".into(), 29.0);
            }
        },
        hides: |observed| {
            observed.clusters[0].certificates = hidden();
        },
    },
    Case {
        id: "drill-passed",
        breaks: |observed| {
            if let Some(known) = observed.groups[0].runs.known_mut() {
                known[0].passed = false;
            }
        },
        hides: |observed| {
            observed.groups[0].runs = hidden();
        },
    },
    Case {
        id: "drill-rta",
        breaks: |observed| {
            if let Some(known) = observed.groups[0].runs.known_mut() {
                known[0].rta_seconds = Some(3601.0);
            }
        },
        hides: |observed| {
            if let Some(known) = observed.groups[0].runs.known_mut() {
                known[0].rta_seconds = None;
            }
        },
    },
    Case {
        id: "drill-rpa",
        breaks: |observed| {
            if let Some(known) = observed.groups[0].runs.known_mut() {
                known[0].rpa_seconds = Some(1.0);
            }
        },
        hides: |observed| {
            if let Some(known) = observed.groups[0].runs.known_mut() {
                known[0].rpa_seconds = None;
            }
        },
    },
    Case {
        id: "drill-trend",
        breaks: |observed| {
            if let Some(known) = observed.groups[0].runs.known_mut() {
                known[0].rta_seconds = Some(900.0);
            }
        },
        hides: |observed| {
            observed.groups[0].runs = hidden();
        },
    },
    Case {
        id: "key-escrow",
        breaks: |observed| {
            observed.governance.escrow = seen(Some(proof(24 * 93)));
        },
        hides: |observed| {
            observed.governance.escrow = hidden();
        },
    },
    Case {
        id: "plan-consistent",
        breaks: |observed| {
            observed.governance.contradictions = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.governance.contradictions = hidden();
        },
    },
    Case {
        id: "plan-reviewed",
        breaks: |observed| {
            if let Some(known) = observed.governance.reviews.known_mut() {
                known.insert("risk fire".into(), None);
            }
        },
        hides: |observed| {
            observed.governance.reviews = hidden();
        },
    },
    Case {
        id: "contacts-answer",
        breaks: |observed| {
            if let Some(known) = observed.governance.contacts.known_mut() {
                known.insert("bob".into(), Some(ago(24 * 93)));
            }
        },
        hides: |observed| {
            observed.governance.contacts = hidden();
        },
    },
    Case {
        id: "findings-overdue",
        breaks: |observed| {
            if let Some(known) = observed.governance.findings.known_mut() {
                known[0].due = Some(jiff::civil::date(2026, 11, 21));
            }
        },
        hides: |observed| {
            observed.governance.findings = hidden();
        },
    },
    Case {
        id: "runbook-current",
        breaks: |observed| {
            observed.governance.runbook = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.governance.runbook = hidden();
        },
    },
    Case {
        id: "ledger-verifies",
        breaks: |observed| {
            observed.governance.ledger = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.governance.ledger = hidden();
        },
    },
    Case {
        id: "alarm-configured",
        breaks: |observed| {
            observed.workloads[0].alarms = seen(vec!["wrong".into()]);
        },
        hides: |observed| {
            observed.workloads[0].alarms = hidden();
        },
    },
    Case {
        id: "alarm-seen",
        breaks: |observed| {
            observed.governance.alarm = seen(Some((ago(10), false)));
        },
        hides: |observed| {
            observed.governance.alarm = hidden();
        },
    },
];

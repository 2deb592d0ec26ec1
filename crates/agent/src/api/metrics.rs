//! Figures in Prometheus' text format.

use super::Status;
use std::fmt::Write as _;

/// One page of figures, each with what it means.
pub fn page(status: &Status) -> String {
    let labels = format!("cluster=\"{}\",member=\"{}\"", escaped(&status.cluster), escaped(status.member.as_str()));
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, more: &str, value: f64| {
        let heading = format!("# HELP lifeboat_cluster_{name} {help}\n# TYPE lifeboat_cluster_{name} gauge\n");
        if !text.contains(&heading) {
            text.push_str(&heading);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "lifeboat_cluster_{name}{{{labels}{more}}} {value}");
    };
    let number = |value: u64| value as f64;
    gauge("state", "1 for the state that the member is in.", &format!(",state=\"{}\"", escaped(&status.state)), 1.0);
    gauge(
        "database_up",
        "Whether the database runs and answers.",
        "",
        f64::from(u8::from(status.database == "running")),
    );
    gauge("promised_epoch", "The highest epoch that was promised.", "", number(status.promised_epoch));
    if let Some(lease) = &status.lease {
        gauge("epoch", "The epoch of the lease, as this member last saw it.", "", number(lease.epoch));
        gauge("paused", "Whether automatic takeovers are paused.", "", f64::from(u8::from(lease.paused)));
        let holds = f64::from(u8::from(lease.holder == status.member));
        gauge("holder", "Whether this member holds the lease.", "", holds);
    }
    let milliseconds = |value: Option<u64>| value.map(|value| number(value) / 1000.0);
    for (name, help, value) in [
        (
            "lease_seconds",
            "How long the lease of this member still holds.",
            milliseconds(status.holds_for_milliseconds),
        ),
        ("position_bytes", "How far the log is durable here.", status.position.map(number)),
        ("replayed_bytes", "How far a standby has replayed.", status.replayed.map(number)),
        (
            "replay_age_seconds",
            "How long ago the last replayed transaction was committed.",
            milliseconds(status.replay_age_milliseconds),
        ),
        ("at_risk_bytes", "What would be lost if the primary went now.", status.at_risk_bytes.map(number)),
        ("kept_bytes", "The log that replication slots keep here.", status.kept_bytes.map(number)),
    ] {
        if let Some(value) = value {
            gauge(name, help, "", value);
        }
    }
    for member in &status.members {
        let to = format!(",standby=\"{}\"", escaped(member.name.as_str()));
        if let Some(lag) = member.lag_bytes {
            gauge("lag_bytes", "How far a standby is behind, as the primary sees it.", &to, number(lag));
        }
    }
    for member in &status.members {
        let to = format!(",peer=\"{}\"", escaped(member.name.as_str()));
        if let Some(heard) = milliseconds(member.heard_milliseconds_ago) {
            gauge("heard_seconds", "How long ago another member was heard.", &to, heard);
        }
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n")
}

//! Whether an instant restore that goes on is the one that was asked for.
//!
//! Promise: who names a moment gets that one, or a refusal. Who names none gets what was begun.

use crate::failure::{Failure, FailureKind};
use lifeboat_mount::mount::{State, state_of};
use lifeboat_recovery::instant::{self, Origin};
use lifeboat_recovery::{Target, TimelineChoice, Wanted, spoken};
use std::path::Path;

/// Refuses to copy into a directory in which an instant restore was begun: what came there, and was written since, would be in the way.
pub fn is_none_begun(to: &Path) -> Result<(), Failure> {
    let there = to.display();
    let refused = |kind, message: String, hint: String| Err(Failure::new(kind, message).with_hint(hint));
    match state_of(to) {
        State::Mounted => refused(
            FailureKind::Locked,
            format!("{there} is being restored instantly"),
            format!("`lifeboat restore status {there}` tells how it goes; give another directory"),
        ),
        State::Nothing if instant::origin(to)?.is_none() => Ok(()),
        _ => refused(
            FailureKind::Usage,
            format!("an instant restore was begun in {there}, and is not finished"),
            "the same command with --instant goes on with it; to give it up, `lifeboat restore stop` it and delete the \
             directory, or give another one"
                .to_owned(),
        ),
    }
}

/// Refuses what differs from it.
pub fn is_what_was_begun(to: &Path, origin: &Origin, wanted: &Wanted) -> Result<(), Failure> {
    let Some((asked, begun)) = difference(origin, wanted) else { return Ok(()) };
    let message = format!("{} was begun as {begun}, and {asked} is asked for", to.display());
    Err(Failure::new(FailureKind::Usage, message).with_hint(
        "the same command without a target goes on with what was begun; another moment needs another, empty directory",
    ))
}

/// What is asked for, and what was begun, where these are not the same.
fn difference(origin: &Origin, wanted: &Wanted) -> Option<(String, String)> {
    let begun = &origin.target;
    if wanted.target != Target::Latest && !is_said(&wanted.target, begun) {
        return Some((wanted.target.spoken(wanted.zone.as_ref()), begun.clone()));
    }
    if wanted.target != Target::Latest && origin.inclusive.is_some_and(|inclusive| inclusive != wanted.inclusive) {
        let spoken = |inclusive: bool| format!("{begun}{}", if inclusive { "" } else { ", exclusive" });
        return Some((spoken(wanted.inclusive), spoken(!wanted.inclusive)));
    }
    if let Some(point) = wanted.point.as_ref().filter(|point| **point != origin.point) {
        return Some((format!("point {point}"), format!("{begun} from point {}", origin.point)));
    }
    match (wanted.timeline, origin.timeline) {
        (TimelineChoice::Exactly(asked), Some(followed)) if asked != followed => {
            Some((format!("timeline {asked}"), format!("{begun} on timeline {followed}")))
        }
        _ => None,
    }
}

/// Whether these words are of that target. A time is kept with what it was in the zone of whoever typed it.
fn is_said(target: &Target, words: &str) -> bool {
    match target {
        Target::Time(at) => {
            let utc = spoken(*at, None);
            words.strip_prefix(&utc).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
        }
        other => other.to_string() == words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use lifeboat_postgres::{Lsn, TimelineId};
    use lifeboat_recovery::{Action, RestoreCommand};
    use lifeboat_repository::PointId;

    fn wanted(target: Target) -> Wanted {
        Wanted {
            target,
            inclusive: true,
            timeline: TimelineChoice::default(),
            point: None,
            location: None,
            zone: Some(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()),
            restore_command: RestoreCommand::new("/lifeboat", "/lifeboat.toml", "shop").unwrap(),
            action: Action::Promote,
            archives: false,
        }
    }

    fn begun(target: &Target) -> Origin {
        Origin {
            workload: "shop".into(),
            point: PointId("p1".into()),
            tablespaces: std::collections::BTreeMap::new(),
            begun_at: jiff::Timestamp::UNIX_EPOCH,
            target: target.spoken(wanted(target.clone()).zone.as_ref()),
            timeline: Some(TimelineId(2)),
            inclusive: Some(true),
            replay: None,
            hold: None,
        }
    }

    #[test]
    fn whoever_names_another_moment_is_refused() {
        let time = |text: &str| Target::Time(text.parse().unwrap());
        let all = [
            Target::Immediate,
            time("2026-07-01T10:00:00Z"),
            time("2026-07-01T10:00:00.5Z"),
            Target::Lsn(Lsn(0x0300_0028)),
            Target::Xid(700),
            Target::Xid(7000),
            Target::Name("before".into()),
        ];
        for first in &all {
            for second in &all {
                let found = difference(&begun(first), &wanted(second.clone()));
                assert_eq!(found.is_none(), first == second, "{first} then {second}: {found:?}");
            }
            let elsewhere = Wanted { zone: Some(TimeZone::UTC), ..wanted(first.clone()) };
            assert_eq!(difference(&begun(first), &elsewhere), None, "the same in another zone");
            assert_eq!(difference(&begun(first), &wanted(Target::Latest)), None, "none is named");
            let exclusive = Wanted { inclusive: false, ..wanted(first.clone()) };
            assert!(difference(&begun(first), &exclusive).is_some());
            assert!(difference(&begun(&Target::Latest), &wanted(first.clone())).is_some());
        }
    }

    #[test]
    fn so_is_who_names_another_point_or_timeline() {
        let origin = begun(&Target::Latest);
        for (point, timeline, is_same) in
            [(None, None, true), (Some("p1"), Some(2), true), (Some("p2"), None, false), (None, Some(1), false)]
        {
            let asked = Wanted {
                point: point.map(|id| PointId(id.to_owned())),
                timeline: timeline.map_or(TimelineChoice::MainLine, |id| TimelineChoice::Exactly(TimelineId(id))),
                ..wanted(Target::Latest)
            };
            assert_eq!(difference(&origin, &asked).is_none(), is_same, "{point:?} {timeline:?}");
            let older = Origin { timeline: None, inclusive: None, ..origin.clone() };
            assert_eq!(difference(&older, &asked).is_none(), point != Some("p2"), "what was begun doesn't say");
        }
    }
}

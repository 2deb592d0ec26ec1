//! What follows from who follows: whose slot is lost, who is missing, and what would be lost with the server. Pure.

use super::{Sender, Slot, StandbyFacts};
use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody must act: a check says no.
    Bad,
    /// Somebody should look.
    Warning,
}

/// One thing that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
pub enum Finding {
    /// The server has thrown away log that the slot's standby needs.
    SlotLost { slot: String, why: Option<String> },
    /// The configuration names it, and it doesn't follow.
    Missing { standby: String },
    /// The next checkpoint may throw away log that the slot's standby needs.
    SlotUnreserved { slot: String },
    /// Nobody uses it, and the log that it keeps fills the disk.
    SlotUnused { slot: String, keeps_bytes: u64, is_bounded: bool },
    /// It is connected, and doesn't receive.
    NotStreaming { standby: String, state: String },
    /// Our role may not see how far they are.
    Hidden { standbys: u64 },
}

/// What would be lost if the server went now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "loss")]
pub enum Loss {
    /// Commits wait for standbys: nothing that was acknowledged.
    NothingAcknowledged,
    /// What the best standby hasn't on its disk.
    AtMost { standby: String, bytes: u64 },
    /// No standby follows.
    NobodyFollows,
    /// Our role may not see it.
    Hidden,
}

impl Finding {
    pub fn severity(&self) -> Severity {
        match self {
            Self::SlotLost { .. } | Self::Missing { .. } => Severity::Bad,
            _ => Severity::Warning,
        }
    }
}

/// All that isn't as it should be, the worst first. `expected`: the standbys that the configuration names, by their `application_name`.
pub fn findings(facts: &StandbyFacts, expected: &[String]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.slots.iter().filter_map(|slot| of_slot(slot, facts)).collect();
    let missing = expected.iter().filter(|name| !is_there(facts, name));
    findings.extend(missing.map(|name| Finding::Missing { standby: name.clone() }));
    findings.extend(facts.senders.iter().filter_map(|sender| {
        let state = sender.state.clone().filter(|state| state == "startup" || state == "stopping")?;
        let is_expected = expected.iter().any(|name| is_named(sender, name));
        (!is_expected).then(|| Finding::NotStreaming { standby: sender.name.clone(), state })
    }));
    let hidden = facts.senders.iter().filter(|sender| sender.state.is_none()).count() as u64;
    findings.extend((hidden > 0).then_some(Finding::Hidden { standbys: hidden }));
    findings.sort_by_key(|finding| finding.severity() == Severity::Warning);
    findings
}

fn is_named(sender: &Sender, name: &str) -> bool {
    sender.name.eq_ignore_ascii_case(name)
}

fn is_there(facts: &StandbyFacts, name: &str) -> bool {
    let named = |sender: &&Sender| is_named(sender, name);
    // Whose state we may not see is there as far as we can tell.
    facts.senders.iter().filter(named).any(|sender| sender.follows() || sender.state.is_none())
}

fn of_slot(slot: &Slot, facts: &StandbyFacts) -> Option<Finding> {
    let name = || slot.name.clone();
    if slot.wal_status.as_deref() == Some("lost") || slot.invalidation_reason.is_some() {
        return Some(Finding::SlotLost { slot: name(), why: slot.invalidation_reason.clone() });
    }
    if slot.wal_status.as_deref() == Some("unreserved") {
        return Some(Finding::SlotUnreserved { slot: name() });
    }
    let keeps_bytes = slot.keeps_bytes.filter(|_| !slot.is_active && !slot.is_temporary)?;
    Some(Finding::SlotUnused { slot: name(), keeps_bytes, is_bounded: facts.slots_keep_at_most_bytes.is_some() })
}

/// See [`Loss`].
pub fn loss(facts: &StandbyFacts) -> Loss {
    // Less than a flush there survives the end of the server, and not always that of the standby with it.
    let waits = matches!(facts.synchronous_commit.as_str(), "on" | "remote_apply");
    if waits && !facts.synchronous_standby_names.trim().is_empty() && !facts.in_recovery {
        return Loss::NothingAcknowledged;
    }
    let standbys = facts.senders.iter().filter(|sender| sender.follows() && sender.is_standby());
    let best = standbys.filter_map(|sender| Some((sender.flushed?, sender))).max_by_key(|(flushed, _)| *flushed);
    match best {
        Some((flushed, sender)) => {
            Loss::AtMost { standby: sender.name.clone(), bytes: facts.end.0.saturating_sub(flushed.0) }
        }
        None if facts.senders.iter().any(|sender| sender.state.is_none()) => Loss::Hidden,
        None => Loss::NobodyFollows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lsn;

    fn sender(name: &str, flushed: u64) -> Sender {
        Sender {
            name: name.into(),
            state: Some("streaming".into()),
            sync_state: Some("async".into()),
            sent: Some(Lsn(flushed)),
            flushed: Some(Lsn(flushed)),
            replayed: Some(Lsn(flushed)),
            ..Sender::default()
        }
    }

    fn slot(name: &str, status: &str, is_active: bool) -> Slot {
        Slot {
            name: name.into(),
            is_physical: true,
            is_active,
            restart_lsn: Some(Lsn(900)),
            keeps_bytes: Some(100),
            wal_status: Some(status.into()),
            ..Slot::default()
        }
    }

    fn facts() -> StandbyFacts {
        StandbyFacts {
            end: Lsn(1000),
            synchronous_commit: "on".into(),
            senders: vec![sender("ohio", 980), sender("oregon", 990)],
            slots: vec![slot("lifeboat_ohio", "reserved", true)],
            ..StandbyFacts::default()
        }
    }

    fn expected(name: &str) -> String {
        name.to_owned()
    }

    #[test]
    fn nothing_is_wrong_where_all_follow() {
        assert_eq!(findings(&facts(), &[expected("ohio"), expected("Oregon")]), vec![]);
    }

    #[test]
    fn each_trouble_is_found_and_the_worst_comes_first() {
        let mut bad = facts();
        bad.slots = vec![
            slot("unused", "reserved", false),
            slot("close", "unreserved", true),
            slot("gone", "lost", false),
            Slot { invalidation_reason: Some("idle_timeout".into()), ..slot("idle", "reserved", false) },
            Slot { is_temporary: true, ..slot("temporary", "reserved", false) },
            Slot { restart_lsn: None, keeps_bytes: None, wal_status: None, ..slot("fresh", "", false) },
        ];
        bad.senders[0].state = Some("startup".into());
        bad.senders[1].state = Some("stopping".into());
        let found = findings(&bad, &[expected("ohio"), expected("paris")]);
        let missing = |name: &str| Finding::Missing { standby: name.into() };
        assert_eq!(
            found,
            vec![
                Finding::SlotLost { slot: "gone".into(), why: None },
                Finding::SlotLost { slot: "idle".into(), why: Some("idle_timeout".into()) },
                missing("ohio"),
                missing("paris"),
                Finding::SlotUnused { slot: "unused".into(), keeps_bytes: 100, is_bounded: false },
                Finding::SlotUnreserved { slot: "close".into() },
                Finding::NotStreaming { standby: "oregon".into(), state: "stopping".into() },
            ]
        );
        assert_eq!(found.iter().filter(|finding| finding.severity() == Severity::Bad).count(), 4);
    }

    #[test]
    fn what_we_may_not_see_is_no_alarm_and_is_said() {
        let mut hidden = facts();
        for sender in &mut hidden.senders {
            *sender = Sender { name: sender.name.clone(), ..Sender::default() };
        }
        assert_eq!(findings(&hidden, &[expected("ohio")]), vec![Finding::Hidden { standbys: 2 }]);
        assert_eq!(loss(&hidden), Loss::Hidden);
    }

    #[test]
    fn the_best_standby_says_what_would_be_lost() {
        let at_most = |standby: &str, bytes| Loss::AtMost { standby: standby.into(), bytes };
        assert_eq!(loss(&facts()), at_most("oregon", 10));
        let mut other = facts();
        other.senders[1].replayed = None;
        assert_eq!(loss(&other), at_most("ohio", 20), "a receiver can't take over");
        other.senders[0].state = Some("backup".into());
        assert_eq!(loss(&other), Loss::NobodyFollows);
        let mut synchronous = facts();
        synchronous.synchronous_standby_names = "ANY 1 (ohio, oregon)".into();
        assert_eq!(loss(&synchronous), Loss::NothingAcknowledged);
        for commit in ["off", "local", "remote_write"] {
            synchronous.synchronous_commit = commit.into();
            assert_eq!(loss(&synchronous), at_most("oregon", 10), "{commit}");
        }
        let ahead = StandbyFacts { end: Lsn(985), ..facts() };
        assert_eq!(loss(&ahead), at_most("oregon", 0), "it was asked later");
    }
}

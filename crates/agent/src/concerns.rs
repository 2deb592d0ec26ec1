//! What somebody should look at although nothing has failed yet: a standby that is gone or far behind, a slot that is lost or keeps too much.
//!
//! Only a primary knows. Each is told once when it begins, after it has lasted for a while, and once when it is over.

use crate::api::Status;
use std::collections::BTreeMap;
use std::time::Duration;

/// What passes sooner is nobody's business.
const LASTS: Duration = Duration::from_secs(10);
/// A standby that is further behind than this would take long to catch up.
const LAG_MAX_BYTES: u64 = 256 << 20;
/// More log than this, kept for those who are behind, may fill the disk.
const KEPT_MAX_BYTES: u64 = 4 << 30;

/// Kind, and whom it is about.
type Key = (&'static str, String);

/// See the module.
#[derive(Debug, Default)]
pub struct Concerns {
    since: BTreeMap<Key, Duration>,
    told: BTreeMap<Key, ()>,
}

/// Something begins, or is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    pub what: &'static str,
    pub text: String,
}

/// All that is wrong now. Pure.
fn present(status: &Status) -> BTreeMap<Key, String> {
    let mut found = BTreeMap::new();
    if status.state != "primary" {
        return found;
    }
    // Who is worked at is away on purpose.
    for member in status.members.iter().filter(|member| !member.witness && !member.in_maintenance) {
        let name = &member.name;
        match member.lag_bytes {
            None => {
                found.insert(("redundancy", name.to_string()), format!("{name} doesn't receive: one copy fewer"));
            }
            Some(bytes) if bytes > LAG_MAX_BYTES => {
                found.insert(("lag", name.to_string()), format!("{name} is {} MiB behind", bytes >> 20));
            }
            Some(_) => {}
        }
    }
    for slot in &status.lost_slots {
        found.insert(
            ("slot lost", slot.clone()),
            format!("the log that slot {slot} needs is gone: who used it must be made anew"),
        );
    }
    if let Some(bytes) = status.kept_bytes.filter(|bytes| *bytes > KEPT_MAX_BYTES) {
        found.insert(("log kept", String::new()), format!("slots keep {} GiB of log: the disk may fill", bytes >> 30));
    }
    found
}

impl Concerns {
    /// What is new since this was last asked. `now` by any clock that doesn't go back.
    pub fn look(&mut self, now: Duration, status: &Status) -> Vec<Concern> {
        let present = present(status);
        self.since.retain(|key, _| present.contains_key(key));
        let mut news = Vec::new();
        for (key, text) in present.iter() {
            let since = *self.since.entry(key.clone()).or_insert(now);
            if now.saturating_sub(since) >= LASTS && self.told.insert(key.clone(), ()).is_none() {
                news.push(Concern { what: key.0, text: text.clone() });
            }
        }
        let over: Vec<Key> = self.told.keys().filter(|key| !present.contains_key(*key)).cloned().collect();
        for key in over {
            self.told.remove(&key);
            let about = if key.1.is_empty() { String::new() } else { format!(" of {}", key.1) };
            news.push(Concern { what: "over", text: format!("{}{about}: no more", key.0) });
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MemberView;

    fn status(lag: Option<u64>) -> Status {
        let ohio = MemberView {
            name: "ohio".into(),
            region: None,
            witness: false,
            heard_milliseconds_ago: None,
            confirmed: lag.map(|_| 0),
            lag_bytes: lag,
            in_maintenance: false,
        };
        Status {
            cluster: "shop".into(),
            member: "virginia".into(),
            region: None,
            state: "primary".into(),
            system_id: None,
            promised_epoch: 1,
            lease: None,
            holds_for_milliseconds: None,
            database: "running".into(),
            timeline: Some(1),
            position: Some(0),
            replayed: None,
            replay_age_milliseconds: None,
            receives_from: None,
            members: vec![ohio],
            at_risk_bytes: None,
            commits_wait: false,
            kept_bytes: None,
            lost_slots: Vec::new(),
            in_maintenance: false,
            told: None,
            made_anew: 0,
        }
    }

    #[test]
    fn who_is_worked_at_is_away_on_purpose() {
        let mut away = status(None);
        away.members[0].in_maintenance = true;
        let mut concerns = Concerns::default();
        assert_eq!(concerns.look(Duration::from_secs(0), &away), []);
        assert_eq!(concerns.look(Duration::from_secs(60), &away), []);
    }

    #[test]
    fn what_lasts_is_told_once_and_its_end_once() {
        let mut concerns = Concerns::default();
        let at = Duration::from_secs;
        assert_eq!(concerns.look(at(0), &status(None)), []);
        assert_eq!(concerns.look(at(5), &status(Some(0))), [], "it passed");
        assert_eq!(concerns.look(at(6), &status(None)), []);
        assert_eq!(concerns.look(at(15), &status(None)), [], "not long enough");
        let told = concerns.look(at(16), &status(None));
        assert_eq!(told.iter().map(|concern| concern.what).collect::<Vec<_>>(), ["redundancy"]);
        assert_eq!(concerns.look(at(60), &status(None)), [], "once");
        let told = concerns.look(at(61), &status(Some(0)));
        assert_eq!(told.iter().map(|concern| concern.what).collect::<Vec<_>>(), ["over"]);
        assert_eq!(concerns.look(at(62), &status(Some(LAG_MAX_BYTES + 1))), []);
        let told = concerns.look(at(72), &status(Some(LAG_MAX_BYTES + 1)));
        assert_eq!(told.iter().map(|concern| concern.what).collect::<Vec<_>>(), ["lag"]);
    }

    #[test]
    fn a_standby_has_no_concerns() {
        let mut concerns = Concerns::default();
        let standby = Status { state: "standby".into(), lost_slots: vec!["x".into()], ..status(None) };
        concerns.look(Duration::ZERO, &standby);
        assert_eq!(concerns.look(Duration::from_secs(60), &standby), []);
    }
}

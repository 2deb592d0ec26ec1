//! What somebody must hear of: commits that wait for longer than the patience, and why.
//!
//! The receiver notes its state in [`Health`]; [`watch`] looks at it by the clock, whatever the receiver is waiting for
//! just then. An alarm is raised once, and taken back when its cause is gone. Nothing is ever given up for the sake of
//! going on: acknowledging what isn't durable would be silent loss.

use super::ReceiveProgress;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What an alarm is about. One of each can be raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// No stream: the server doesn't answer, or doesn't let us in.
    Disconnected,
    /// What has come isn't durable in enough places.
    Waiting,
    /// The journal isn't shipped: what it holds burns with this machine.
    Shipping,
    /// The server's settings, slot or sessions.
    Server,
    /// The receiver ended.
    Ended,
}

impl AlarmKind {
    /// A word that stays the same, for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Waiting => "waiting",
            Self::Shipping => "shipping",
            Self::Server => "server",
            Self::Ended => "ended",
        }
    }
}

/// Something to wake somebody for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What it is about.
    pub kind: AlarmKind,
    /// One sentence.
    pub what: String,
    /// What to type.
    pub hint: String,
}

/// How to go on by hand, when no commit may wait any longer.
pub(crate) const DEGRADE: &str = "to let commits go on without it, knowing that they can then be lost: \
    alter system set synchronous_standby_names = ''; select pg_reload_conf()";

/// What is wrong now, and since when.
#[derive(Debug, Default)]
pub(crate) struct Health {
    state: Mutex<BTreeMap<AlarmKind, (Instant, String)>>,
    /// What is wrong whatever the time.
    at_once: Mutex<Option<(String, String)>>,
    last_problem: Mutex<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Health {
    /// It has been wrong since `since`; the first cause stays until it is right again.
    pub(crate) fn wrong_since(&self, kind: AlarmKind, since: Instant) {
        let mut state = lock(&self.state);
        let entry = state.entry(kind).or_insert((since, String::new()));
        entry.0 = since;
    }

    /// It is wrong, if it wasn't before from now on.
    pub(crate) fn wrong(&self, kind: AlarmKind, why: &str) {
        let mut state = lock(&self.state);
        state.entry(kind).or_insert((Instant::now(), String::new())).1 = why.to_owned();
    }

    /// It is right.
    pub(crate) fn right(&self, kind: AlarmKind) {
        lock(&self.state).remove(&kind);
    }

    /// What the server is, which no patience cures: sentence and hint.
    pub(crate) fn server(&self, trouble: Option<(String, String)>) {
        *lock(&self.at_once) = trouble;
    }

    /// For the sentence of an alarm: why something wasn't stored.
    pub(crate) fn problem(&self, why: &str) {
        why.clone_into(&mut lock(&self.last_problem));
    }

    /// The alarms that are due, by kind.
    fn due(&self, now: Instant, patience: Duration) -> BTreeMap<AlarmKind, Alarm> {
        let overdue: Vec<(AlarmKind, Duration, String)> = lock(&self.state)
            .iter()
            .map(|(kind, (since, why))| (*kind, now.saturating_duration_since(*since), why.clone()))
            .filter(|(_, waited, _)| *waited >= patience)
            .collect();
        let mut due = BTreeMap::new();
        for (kind, waited, why) in overdue {
            let seconds = waited.as_secs_f64();
            let why = if why.is_empty() { lock(&self.last_problem).clone() } else { why };
            let what = match kind {
                AlarmKind::Disconnected => format!("no stream from the server for {seconds:.0} s: {why}"),
                AlarmKind::Waiting => format!("commits have waited for {seconds:.0} s for places to store them: {why}"),
                _ => format!("log has waited in the spool for {seconds:.0} s for a location: {why}"),
            };
            let hint = match kind {
                AlarmKind::Shipping => "bring a location back: until then this machine's disk is the only other copy",
                _ => DEGRADE,
            };
            due.insert(kind, Alarm { kind, what, hint: hint.to_owned() });
        }
        if let Some((what, hint)) = lock(&self.at_once).clone() {
            due.insert(AlarmKind::Server, Alarm { kind: AlarmKind::Server, what, hint });
        }
        due
    }
}

/// Raises alarms and takes them back, for ever.
pub(crate) async fn watch(health: &Health, patience: Duration, progress: &dyn ReceiveProgress) {
    let mut raised: BTreeMap<AlarmKind, Alarm> = BTreeMap::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        let due = health.due(Instant::now(), patience);
        for alarm in due.values() {
            // Its sentence has the time in it, and changes; what the server is may become something else.
            let known = raised.get(&alarm.kind);
            if known.is_none_or(|known| alarm.kind == AlarmKind::Server && known.what != alarm.what) {
                progress.alarm(alarm);
            }
        }
        for kind in raised.keys().filter(|kind| !due.contains_key(kind)) {
            progress.alarm_over(*kind);
        }
        raised = due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_due_when_the_patience_is_over_and_not_before() {
        let health = Health::default();
        let patience = Duration::from_secs(30);
        let begun = Instant::now();
        health.problem("disk full");
        health.wrong_since(AlarmKind::Waiting, begun);
        health.wrong(AlarmKind::Disconnected, "nobody answers");
        assert_eq!(health.due(begun + Duration::from_secs(29), patience), BTreeMap::new());
        let due = health.due(begun + Duration::from_secs(31), patience);
        assert!(due[&AlarmKind::Waiting].what.contains("disk full"), "{due:?}");
        assert!(due[&AlarmKind::Disconnected].what.contains("nobody answers"), "{due:?}");
        health.right(AlarmKind::Waiting);
        health.right(AlarmKind::Disconnected);
        health.server(Some(("remote_apply".into(), "change it".into())));
        assert_eq!(health.due(begun, patience).into_keys().collect::<Vec<_>>(), [AlarmKind::Server]);
    }
}

//! Standbys: who follows, what slots keep, whether commits wait, and whether one could be promoted.

use super::observe::within;
use crate::config::WorkloadConfig;
use crate::failure::Failure;
use crate::rooms;
use lifeboat_plan::readiness::Seen;
use lifeboat_plan::readiness::observed::{Follower, Followers, Slot};
use lifeboat_postgres::connection::{Client, Error};
use lifeboat_postgres::inspection::ServerFacts;
use lifeboat_postgres::standbys::{Sender, StandbyFacts, observe};
use std::collections::BTreeMap;
use std::time::Duration;

/// A standby that has less of one of these than its primary stops when it replays the change (documentation of hot standby).
const AS_MUCH_AS: &str = "select name, setting::float8 from pg_settings where name in ('max_connections', \
    'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction')";

/// Asks the one that they follow.
pub async fn look(section: &WorkloadConfig, patience: Duration) -> Seen<Followers> {
    let asked = async {
        let target = match rooms::primary(section)? {
            Some(primary) => primary.connection,
            None => rooms::server(section)?,
        };
        Ok(observe(&target.connect().await?).await?)
    };
    match within(patience, "pg_stat_replication and pg_replication_slots", asked).await {
        Seen::Known(facts, evidence) => {
            let follows = facts.senders.iter().any(Sender::is_standby);
            match section.standbys.is_empty() && !follows && facts.slots.is_empty() {
                true => Seen::absent("nobody follows, and nobody is named in `standbys`"),
                false => Seen::Known(followers(section, &facts), evidence),
            }
        }
        Seen::Unknown { why, asked } => Seen::unknown(why, asked),
        Seen::Absent { why } => Seen::absent(why),
    }
}

fn followers(section: &WorkloadConfig, facts: &StandbyFacts) -> Followers {
    let is_standby = |sender: &&Sender| sender.is_standby() || sender.state.is_none();
    let standbys = facts.senders.iter().filter(is_standby).map(|sender| {
        let behind = sender.replayed.map(|replayed| facts.end.bytes_since(replayed));
        // Of what doesn't lag the server says nothing once it is idle.
        let idle = sender.follows().then_some(0.0);
        Follower {
            name: sender.name.clone(),
            lag_seconds: sender.replay_lag_seconds.or(idle.filter(|_| behind.is_some())),
            behind_bytes: behind,
        }
    });
    let follows = |name: &&String| !facts.senders.iter().any(|sender| sender.name == **name && sender.follows());
    let slots = facts.slots.iter().filter(|slot| !slot.is_temporary).map(|slot| Slot {
        name: slot.name.clone(),
        state: slot.wal_status.clone(),
        safe_bytes: slot.safe_bytes,
        keep_bytes: facts.slots_keep_at_most_bytes,
    });
    Followers {
        standbys: standbys.collect(),
        missing: section.standbys.iter().filter(follows).cloned().collect(),
        slots: slots.collect(),
        waits: waits(facts),
    }
}

/// Why commits don't wait, or wait for nobody.
fn waits(facts: &StandbyFacts) -> Vec<String> {
    let mut wrong = Vec::new();
    if facts.synchronous_standby_names.is_empty() {
        wrong.push("synchronous_standby_names is empty: commits wait for nobody".to_owned());
    } else if !facts.senders.iter().any(|sender| matches!(sender.sync_state.as_deref(), Some("sync" | "quorum"))) {
        wrong.push(format!("nobody of {} is there: commits hang", facts.synchronous_standby_names));
    }
    if matches!(facts.synchronous_commit.as_str(), "off" | "local") {
        wrong.push(format!("synchronous_commit is {}", facts.synchronous_commit));
    }
    wrong
}

/// Why nobody can say.
pub fn no_standby(section: &WorkloadConfig) -> Option<Seen<Vec<String>>> {
    let why = "no connection to a standby is configured (`primary` beside `connection`)";
    section.primary.is_none().then(|| Seen::absent(why))
}

/// Compares the standby, to which `connection` leads, with its primary.
pub async fn promotion(
    section: &WorkloadConfig,
    standby: &ServerFacts,
    client: &Client,
    patience: Duration,
) -> Seen<Vec<String>> {
    if let Some(none) = no_standby(section) {
        return none;
    }
    within(patience, AS_MUCH_AS, async {
        let Some(primary) = rooms::primary(section)? else { return Ok(Vec::new()) };
        let other = primary.connection.connect().await?;
        let facts = lifeboat_postgres::inspection::observe_primary(&other).await?;
        let mut against = Vec::new();
        if !standby.in_recovery {
            against.push("`connection` leads to no standby any more".to_owned());
        }
        if facts.system_id != standby.system_id {
            against.push(format!("the standby is cluster {}, the primary {}", standby.system_id, facts.system_id));
        }
        against.extend(less(&settings(&other).await?, &settings(client).await?));
        Ok(against)
    })
    .await
}

async fn settings(client: &Client) -> Result<BTreeMap<String, f64>, Failure> {
    let rows = client.query(AS_MUCH_AS, &[]).await;
    let rows = rows.map_err(|error| Failure::from(Error::from_driver("ask for settings", error)))?;
    Ok(rows.into_iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn less(primary: &BTreeMap<String, f64>, standby: &BTreeMap<String, f64>) -> Vec<String> {
    let each = primary.iter().filter_map(|(name, most)| {
        let own = standby.get(name)?;
        (own < most).then(|| format!("{name} is {own} on the standby and {most} on the primary"))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_needs_as_much_as_its_primary() {
        let settings = |connections: f64| BTreeMap::from([("max_connections".to_owned(), connections)]);
        assert!(less(&settings(100.0), &settings(100.0)).is_empty());
        assert_eq!(
            less(&settings(200.0), &settings(100.0)),
            ["max_connections is 100 on the standby and 200 on the primary"]
        );
    }
}

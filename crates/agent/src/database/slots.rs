//! A slot for every other member, on every member: whoever becomes the primary still has the log that the others need.
//!
//! On a primary a slot moves with its standby. On a standby nobody moves it, so the agent does, by what the members say of themselves.

use super::DatabaseSettings;
use super::managed::slot_name;
use super::seen::Told;
use lifeboat_failover::MemberName;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::connection::Client;
use std::collections::BTreeMap;

/// What to do about one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Create { slot: String },
    Advance { slot: String, to: u64 },
}

/// Pure. `positions`: how far each other member has got, as it says.
pub fn changes(settings: &DatabaseSettings, told: &Told, positions: &BTreeMap<MemberName, u64>) -> Vec<Change> {
    let others = settings.addresses.keys().filter(|name| **name != settings.name);
    others
        .filter_map(|name| {
            let slot = slot_name(name);
            let Some(kept) = told.slots.get(&slot) else { return Some(Change::Create { slot }) };
            let known = *positions.get(name)?;
            // What we haven't replayed ourselves can't be let go.
            let to = known.min(told.replayed);
            let moves = told.in_recovery && kept.is_none_or(|kept| kept < to) && to > 0;
            moves.then_some(Change::Advance { slot, to })
        })
        .collect()
}

pub async fn carry_out(client: &Client, change: &Change) -> Result<(), lifeboat_postgres::connection::DriverError> {
    match change {
        Change::Create { slot } => {
            client.execute("select pg_create_physical_replication_slot($1, true)", &[slot]).await?;
        }
        Change::Advance { slot, to } => {
            let to = Lsn(*to).to_string();
            client.execute("select pg_replication_slot_advance($1, $2::text::pg_lsn)", &[slot, &to]).await?;
        }
    }
    Ok(())
}

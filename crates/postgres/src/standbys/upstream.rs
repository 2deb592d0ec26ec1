//! The server that a new standby will follow: what it is, and whether there is room for one more.
//!
//! All that must be known is asked in a replication session, for which alone the standby's role may have a right. What only SQL tells
//! ([`usage`]) is asked where that works, and adds to what is refused early.

use crate::connection::{Client, Error, ErrorKind, Result, Target};
use crate::control::ControlSettings;
use crate::history::TimelineHistory;
use crate::inspection::{column, many, one};
use crate::replication::ReplicationClient;
use crate::{Lsn, MajorVersion, SystemId, TimelineId};
use serde::Serialize;

/// Settings that must not be lower on a standby than on the server it follows: it would refuse to start, or stop replaying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // Each is the server setting of the same name.
pub struct Limits {
    pub max_connections: u32,
    pub max_worker_processes: u32,
    pub max_wal_senders: u32,
    pub max_prepared_transactions: u32,
    pub max_locks_per_transaction: u32,
}

impl Limits {
    /// Names and values.
    pub fn named(&self) -> [(&'static str, u32); 5] {
        [
            ("max_connections", self.max_connections),
            ("max_worker_processes", self.max_worker_processes),
            ("max_wal_senders", self.max_wal_senders),
            ("max_prepared_transactions", self.max_prepared_transactions),
            ("max_locks_per_transaction", self.max_locks_per_transaction),
        ]
    }

    /// The higher of both, each.
    pub fn at_least(self, other: &ControlSettings) -> Self {
        Self {
            max_connections: self.max_connections.max(other.max_connections),
            max_worker_processes: self.max_worker_processes.max(other.max_worker_processes),
            max_wal_senders: self.max_wal_senders.max(other.max_wal_senders),
            max_prepared_transactions: self.max_prepared_transactions.max(other.max_prepared_transactions),
            max_locks_per_transaction: self.max_locks_per_transaction.max(other.max_locks_per_transaction),
        }
    }
}

/// A server that can be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub system_id: SystemId,
    pub major: MajorVersion,
    pub timeline: TimelineId,
    /// How that timeline came to be.
    pub history: TimelineHistory,
    /// Everything before is durable there.
    pub flushed: Lsn,
    /// It follows another itself.
    pub is_standby: bool,
    pub limits: Limits,
}

/// Opens a replication session, as the standby will. A refusal says which line of which file would help.
///
/// # Errors
/// As [`ReplicationClient::connect`].
pub async fn connect(target: &Target) -> Result<ReplicationClient> {
    ReplicationClient::connect(target).await.map_err(|error| {
        let (said, user) = (error.to_string(), target.user().unwrap_or("USER").to_owned());
        match advice(error.kind(), &said, &user) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })
}

/// What to do about a refusal to replicate. The words exist in English only; elsewhere the kind decides.
fn advice(kind: ErrorKind, said: &str, user: &str) -> Option<String> {
    let between = |before: &str| said.split_once(before).and_then(|(_, rest)| rest.split('"').next());
    match kind {
        ErrorKind::Authentication if said.contains("pg_hba.conf") => {
            Some(match between("from host \"").filter(|host| *host != "[local]") {
                Some(host) => {
                    let bits = if host.contains(':') { 128 } else { 32 };
                    format!(
                        "on that server add to pg_hba.conf: host replication {user} {host}/{bits} scram-sha-256; then \
                     select pg_reload_conf()"
                    )
                }
                None => format!(
                    "on that server add to pg_hba.conf: local replication {user} peer; then select pg_reload_conf()"
                ),
            })
        }
        ErrorKind::Denied => Some(format!("on that server: alter role {user} replication")),
        ErrorKind::NotReady if said.contains("wal_senders") || said.contains("standby connections") => {
            Some("raise max_wal_senders on that server and restart it, or end another receiver".into())
        }
        _ => None,
    }
}

/// Asks for all that a replication session tells.
///
/// # Errors
/// As every command of the session; [`ErrorKind::Protocol`] for a setting that is no number.
pub async fn observe(client: &mut ReplicationClient) -> Result<Upstream> {
    let identity = client.identify_system().await?;
    let history = match identity.timeline {
        TimelineId(1) => TimelineHistory::without_ancestors(identity.timeline),
        timeline => {
            let file = client.timeline_history(timeline).await?;
            TimelineHistory::parse(timeline, &file.content)
                .map_err(|error| Error::new(ErrorKind::Protocol, "read the server's history", error.to_string()))?
        }
    };
    let mut number = async |name: &str| {
        let text = client.show(name).await?;
        text.trim().parse::<u32>().map_err(|_| Error::new(ErrorKind::Protocol, format!("show {name}"), "no number"))
    };
    let limits = Limits {
        max_connections: number("max_connections").await?,
        max_worker_processes: number("max_worker_processes").await?,
        max_wal_senders: number("max_wal_senders").await?,
        max_prepared_transactions: number("max_prepared_transactions").await?,
        max_locks_per_transaction: number("max_locks_per_transaction").await?,
    };
    Ok(Upstream {
        system_id: identity.system_id,
        major: client.version()?,
        timeline: identity.timeline,
        history,
        flushed: identity.flush_lsn,
        is_standby: client.is_standby().unwrap_or(false),
        limits,
    })
}

/// What is in use on a server, as far as it matters to one more standby.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    pub slots: u32,
    pub max_slots: u32,
    /// Whether the slot of that name is there, and who uses it.
    pub slot: Option<SlotUse>,
    /// The `application_name` of those who receive.
    pub receivers: Vec<String>,
}

/// A slot that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotUse {
    pub is_physical: bool,
    pub is_active: bool,
    pub is_lost: bool,
}

/// Asks in SQL.
///
/// # Errors
/// As every query.
pub async fn usage(client: &Client, slot: Option<&str>) -> Result<Usage> {
    let counted =
        "select count(*) as slots, current_setting('max_replication_slots')::int8 as max from pg_replication_slots";
    let row = one(client, counted).await?;
    let small = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let receivers = "select coalesce(application_name, '') as name from pg_stat_replication limit 1000";
    let mut usage = Usage {
        slots: small(column(&row, "slots")?),
        max_slots: small(column(&row, "max")?),
        slot: None,
        receivers: many(client, receivers).await?.iter().map(|row| column(row, "name")).collect::<Result<_>>()?,
    };
    if let Some(slot) = slot {
        let quoted = slot.replace('\'', "''");
        let query = format!(
            "select slot_type = 'physical' as physical, active, coalesce(wal_status = 'lost', false) as lost \
             from pg_replication_slots where slot_name = '{quoted}'"
        );
        if let Some(row) = many(client, &query).await?.first() {
            usage.slot = Some(SlotUse {
                is_physical: column(row, "physical")?,
                is_active: column(row, "active")?,
                is_lost: column(row, "lost")?,
            });
        }
    }
    Ok(usage)
}

/// Why a standby of that name and slot can't be added: one sentence, and what to do. Pure.
pub fn obstacle(usage: &Usage, name: &str, slot: Option<&str>) -> Option<(String, String)> {
    if usage.receivers.iter().any(|receiver| receiver.eq_ignore_ascii_case(name)) {
        return Some((
            format!("somebody who calls himself {name} follows that server already"),
            "give another name: --name NAME".into(),
        ));
    }
    let slot = slot?;
    match &usage.slot {
        Some(found) if !found.is_physical => {
            Some((format!("slot {slot} is there, and is a logical one"), "give another: --slot SLOT".into()))
        }
        Some(found) if found.is_active => {
            Some((format!("slot {slot} is used by another receiver"), "give another: --slot SLOT".into()))
        }
        Some(found) if found.is_lost => Some((
            format!("slot {slot} is there and lost: it keeps nothing any more"),
            format!("on that server: select pg_drop_replication_slot('{slot}')"),
        )),
        Some(_) => None,
        None if usage.slots >= usage.max_slots => Some((
            format!("all {} replication slots of that server are in use", usage.max_slots),
            "raise max_replication_slots there and restart it, drop a slot that nobody uses (`lifeboat standby status`), \
             or do without: --no-slot"
                .into(),
        )),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_line_that_helps() {
        let host = "connect to r@db:5432: no pg_hba.conf entry for replication connection from host \"10.0.0.7\", user \"r\", no encryption";
        let socket =
            "connect to r@/run: no pg_hba.conf entry for replication connection from host \"[local]\", user \"r\"";
        let seen = advice(ErrorKind::Authentication, host, "r").unwrap_or_default();
        assert!(seen.contains("host replication r 10.0.0.7/32 scram-sha-256"), "{seen}");
        let six = host.replace("10.0.0.7", "fe80::1");
        assert!(advice(ErrorKind::Authentication, &six, "r").is_some_and(|hint| hint.contains("fe80::1/128")));
        let seen = advice(ErrorKind::Authentication, socket, "r").unwrap_or_default();
        assert!(seen.contains("local replication r peer"), "{seen}");
        assert!(advice(ErrorKind::Denied, "", "r").is_some_and(|hint| hint.contains("alter role r replication")));
        let full = "number of requested standby connections exceeds max_wal_senders (currently 1)";
        assert!(advice(ErrorKind::NotReady, full, "r").is_some_and(|hint| hint.contains("max_wal_senders")));
        assert_eq!(advice(ErrorKind::Authentication, "password authentication failed", "r"), None);
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let free = SlotUse { is_physical: true, is_active: false, is_lost: false };
        let usage = |slots, slot: Option<SlotUse>| Usage { slots, max_slots: 2, slot, receivers: vec!["Ohio".into()] };
        let said =
            |usage: &Usage, name: &str, slot| obstacle(usage, name, slot).map(|(what, _)| what).unwrap_or_default();
        assert!(said(&usage(0, None), "ohio", None).contains("calls himself ohio"));
        assert!(said(&usage(2, None), "b", Some("b")).contains("all 2 replication slots"));
        assert_eq!(obstacle(&usage(2, None), "b", None), None, "it needs none");
        assert_eq!(obstacle(&usage(2, Some(free.clone())), "b", Some("b")), None, "it is there from an earlier try");
        for (slot, words) in [
            (SlotUse { is_physical: false, ..free.clone() }, "logical"),
            (SlotUse { is_active: true, ..free.clone() }, "another receiver"),
            (SlotUse { is_lost: true, ..free.clone() }, "lost"),
        ] {
            assert!(said(&usage(1, Some(slot)), "b", Some("b")).contains(words), "{words}");
        }
    }
}

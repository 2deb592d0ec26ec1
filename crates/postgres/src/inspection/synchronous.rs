//! Do commits wait for our receiver, and can they end? What the server's settings, views and sessions say.
//!
//! A receiver keeps log and never applies it. So a commit that waits for `remote_apply` from it waits for ever; one that
//! waits for a receiver that is gone, too. [`observe`] asks, [`troubles`] judges what was seen and asks nobody.
//!
//! Not here: what to do about it. A `SET synchronous_commit` of one session shows only in that it waits.

use super::observation::{column, many, one};
use crate::connection::Result;
use std::time::Duration;
use tokio_postgres::Client;

/// A setting longer than this is nobody's list of standbys.
const NAMES_BYTES_MAX: usize = 64 << 10;

/// What the server says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SynchronousFacts {
    /// `synchronous_commit`, as a new session of ours gets it.
    pub commit: String,
    /// `synchronous_standby_names`, as it is written.
    pub standby_names: String,
    /// Roles and databases for which `synchronous_commit` is set to `remote_apply`: `role app`, `database shop`.
    pub remote_apply_for: Vec<String>,
    /// Who receives now.
    pub receivers: Vec<ReceiverFacts>,
    /// `wal_status` of our slot; `None` when there is no such slot.
    pub slot_status: Option<String>,
    /// Sessions that wait for a synchronous standby, and for how long the longest of them works on its statement.
    pub waiting: (u64, Duration),
}

/// A connected receiver or standby.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiverFacts {
    /// Its `application_name`.
    pub name: String,
    /// `sync`, `quorum`, `potential`, `async`; empty when the role may not see it.
    pub sync_state: String,
}

/// What is wrong with synchronous commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Commits wait until our receiver has applied them, which it never does.
    RemoteApply {
        /// Where it is set: `synchronous_commit` itself, or a role or database.
        set_for: String,
    },
    /// Commits don't wait for our receiver.
    NotNamed {
        /// The setting as it is.
        standby_names: String,
    },
    /// `synchronous_commit` doesn't wait for anybody's disk.
    NotWaiting {
        /// The setting as it is.
        commit: String,
    },
    /// Commits may wait for our receiver, and it isn't there.
    NotConnected,
    /// The server has thrown away log that the slot should have kept, or is about to.
    Slot {
        /// `wal_status`; `None` when there is no such slot.
        status: Option<String>,
    },
    /// Sessions have waited for longer than the patience.
    Waiting {
        /// How many sessions wait.
        sessions: u64,
        /// How long the longest works on its statement.
        longest: Duration,
    },
}

/// Asks the server.
///
/// # Errors
/// As every query: the session may end meanwhile.
pub async fn observe(client: &Client, slot: &str) -> Result<SynchronousFacts> {
    let settings = "select current_setting('synchronous_commit') as commit, \
        current_setting('synchronous_standby_names') as names";
    let row = one(client, settings).await?;
    let overridden = "select case when r.rolname is not null then 'role ' || r.rolname else 'database ' || d.datname end \
        as of_whom from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole \
        left join pg_database d on d.oid = s.setdatabase \
        where 'synchronous_commit=remote_apply' = any (s.setconfig) order by 1 limit 100";
    let receivers = "select coalesce(application_name, '') as name, coalesce(sync_state, '') as state \
        from pg_stat_replication order by 1 limit 1000";
    // Its own walsender can't be among those that wait.
    let waiting = "select count(*) as sessions, coalesce(max(extract(epoch from clock_timestamp() - query_start)), 0)::float8 \
        as seconds from pg_stat_activity where wait_event = 'SyncRep'";
    let waits = one(client, waiting).await?;
    let quoted = slot.replace('\'', "''");
    let slots =
        format!("select coalesce(wal_status, '') as status from pg_replication_slots where slot_name = '{quoted}'");
    Ok(SynchronousFacts {
        commit: column(&row, "commit")?,
        standby_names: column(&row, "names")?,
        remote_apply_for: many(client, overridden)
            .await?
            .iter()
            .filter_map(|row| column::<Option<String>>(row, "of_whom").transpose())
            .collect::<Result<_>>()?,
        receivers: many(client, receivers)
            .await?
            .iter()
            .map(|row| Ok(ReceiverFacts { name: column(row, "name")?, sync_state: column(row, "state")? }))
            .collect::<Result<_>>()?,
        slot_status: many(client, &slots).await?.first().map(|row| column(row, "status")).transpose()?,
        waiting: (
            column::<i64>(&waits, "sessions")?.max(0).cast_unsigned(),
            Duration::try_from_secs_f64(column(&waits, "seconds")?).unwrap_or_default(),
        ),
    })
}

/// What is wrong, for a receiver of this name and slot that synchronous commits are meant to wait for (`is_meant`), or
/// that they may wait for by mistake.
pub fn troubles(facts: &SynchronousFacts, name: &str, is_meant: bool, patience: Duration) -> Vec<Trouble> {
    let is_named = names(&facts.standby_names, name);
    let mut troubles = Vec::new();
    if is_meant && !is_named {
        troubles.push(Trouble::NotNamed { standby_names: facts.standby_names.clone() });
    }
    if is_meant && matches!(facts.commit.as_str(), "off" | "local" | "remote_write") {
        troubles.push(Trouble::NotWaiting { commit: facts.commit.clone() });
    }
    if is_named {
        if facts.commit == "remote_apply" {
            troubles.push(Trouble::RemoteApply { set_for: "synchronous_commit".into() });
        }
        let overridden = facts.remote_apply_for.iter().cloned();
        troubles.extend(overridden.map(|set_for| Trouble::RemoteApply { set_for }));
    }
    let is_connected = facts.receivers.iter().any(|receiver| receiver.name.eq_ignore_ascii_case(name));
    if (is_named || is_meant) && !is_connected {
        troubles.push(Trouble::NotConnected);
    }
    let slot_is_sound = matches!(facts.slot_status.as_deref(), Some("reserved" | "extended" | ""));
    if (is_named || is_meant) && !slot_is_sound {
        troubles.push(Trouble::Slot { status: facts.slot_status.clone() });
    }
    let (sessions, longest) = facts.waiting;
    if sessions > 0 && longest > patience {
        troubles.push(Trouble::Waiting { sessions, longest });
    }
    troubles
}

impl Trouble {
    /// One sentence.
    pub fn what(&self, name: &str) -> String {
        match self {
            Self::RemoteApply { set_for } => format!(
                "{set_for} asks for remote_apply, and {name} keeps log without applying it: such commits wait for ever"
            ),
            Self::NotNamed { standby_names } if standby_names.is_empty() => {
                format!("commits don't wait for {name}: synchronous_standby_names is empty")
            }
            Self::NotNamed { standby_names } => {
                format!("commits don't wait for {name}: synchronous_standby_names is {standby_names:?}")
            }
            Self::NotWaiting { commit } => {
                format!("commits don't wait for {name}'s disk: synchronous_commit is {commit}")
            }
            Self::NotConnected => format!("the receiver {name} is not connected: commits that need it wait"),
            Self::Slot { status: None } => format!("there is no replication slot for the receiver {name}"),
            Self::Slot { status: Some(status) } => {
                format!("the replication slot of {name} is {status}: the server throws away log that is not stored")
            }
            Self::Waiting { sessions, longest } => format!(
                "{sessions} sessions wait for a synchronous standby, the longest for {:.0} s",
                longest.as_secs_f64()
            ),
        }
    }

    /// What to type.
    pub fn hint(&self, name: &str) -> String {
        match self {
            Self::RemoteApply { set_for } if set_for == "synchronous_commit" => {
                "alter system set synchronous_commit = 'on'; select pg_reload_conf()".into()
            }
            Self::RemoteApply { set_for } => format!("alter {set_for} set synchronous_commit = 'on'"),
            Self::NotNamed { .. } => {
                format!("alter system set synchronous_standby_names = '{name}'; select pg_reload_conf()")
            }
            Self::NotWaiting { .. } => "alter system set synchronous_commit = 'on'; select pg_reload_conf()".into(),
            Self::NotConnected => "start `lifeboat wal receive WORKLOAD --sync`; to go on without it, knowing that commits \
                can then be lost: alter system set synchronous_standby_names = ''; select pg_reload_conf()"
                .into(),
            Self::Slot { status: None } => "`lifeboat wal receive WORKLOAD --sync` makes it".into(),
            Self::Slot { .. } => "raise max_slot_wal_keep_size; when it is lost: `lifeboat backup WORKLOAD`, then \
                `lifeboat wal receive WORKLOAD --sync --accept-gap`"
                .into(),
            Self::Waiting { .. } => {
                "see who is missing: select application_name, sync_state, flush_lsn, replay_lsn from pg_stat_replication"
                    .into()
            }
        }
    }
}

/// Whether `synchronous_standby_names`, as it is written, names this receiver: `a, b`, `FIRST 1 (a, b)`, `ANY 2 (*)`.
pub fn names(standby_names: &str, name: &str) -> bool {
    if standby_names.len() > NAMES_BYTES_MAX {
        return false;
    }
    // Names that have a parenthesis are quoted; what stands before the first one outside of quotes is the method.
    let mut listed: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = standby_names.chars().peekable();
    let mut is_quoted = false;
    while let Some(letter) = rest.next() {
        match letter {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                word.get_or_insert_default().push('"');
            }
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '(' if !is_quoted => {
                word = None;
                listed.clear();
            }
            ',' | ')' if !is_quoted => listed.extend(word.take()),
            letter if !is_quoted && letter.is_whitespace() => {}
            letter => word.get_or_insert_default().push(letter),
        }
    }
    listed.extend(word);
    listed.iter().any(|listed| listed == "*" || listed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named() {
        for (text, expected) in [
            ("", false),
            ("lifeboat_shop", true),
            ("LIFEBOAT_Shop", true),
            ("*", true),
            ("a, lifeboat_shop", true),
            ("FIRST 1 (lifeboat_shop, b)", true),
            ("any 2(a,\"lifeboat_shop\")", true),
            ("2 (a, b)", false),
            ("\"lifeboat_shop (old)\"", false),
            ("\"a\"\"b\", \"c, lifeboat_shop\"", false),
            ("lifeboat_shop2", false),
            ("lifeboat_shop (a)", false),
            ("\"lifeboat_shop", true),
        ] {
            assert_eq!(names(text, "lifeboat_shop"), expected, "{text}");
        }
        assert!(names("\"a\"\"b\"", "a\"b"));
        assert!(!names(&"lifeboat_shop,".repeat(10_000), "lifeboat_shop"), "not looked at");
    }

    fn sound() -> SynchronousFacts {
        SynchronousFacts {
            commit: "on".into(),
            standby_names: "lifeboat_shop".into(),
            receivers: vec![ReceiverFacts { name: "lifeboat_shop".into(), sync_state: "sync".into() }],
            slot_status: Some("reserved".into()),
            ..SynchronousFacts::default()
        }
    }

    #[test]
    fn what_is_wrong() {
        let seen = |facts: SynchronousFacts, is_meant| -> Vec<String> {
            let troubles = troubles(&facts, "lifeboat_shop", is_meant, Duration::from_secs(30));
            troubles.iter().map(|trouble| trouble.what("lifeboat_shop")).collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(seen(sound(), true), none);
        assert_eq!(seen(SynchronousFacts::default(), false), none, "nobody meant it, nobody named it");
        let one = |change: fn(&mut SynchronousFacts), words: &str| {
            let mut facts = sound();
            change(&mut facts);
            let found = seen(facts, true);
            assert!(found.len() == 1 && found[0].contains(words), "{words}: {found:?}");
        };
        one(|facts| facts.commit = "remote_apply".into(), "wait for ever");
        one(|facts| facts.remote_apply_for = vec!["role app".into()], "role app asks for remote_apply");
        one(|facts| facts.commit = "local".into(), "synchronous_commit is local");
        one(|facts| facts.standby_names = "other".into(), "is \"other\"");
        one(|facts| facts.receivers.clear(), "not connected");
        one(|facts| facts.slot_status = Some("lost".into()), "is lost");
        one(|facts| facts.slot_status = None, "no replication slot");
        one(|facts| facts.waiting = (3, Duration::from_secs(31)), "3 sessions wait");
        let mut by_mistake = sound();
        by_mistake.receivers.clear();
        assert_eq!(seen(by_mistake, false).len(), 1, "named and gone blocks, whether it was meant or not");
    }
}

//! The member's own PostgreSQL: looked at, and made what the member wants it to be.
//!
//! Promise: what is wanted is *levelled*. Each round looks ([`seen`]), decides the next small step from what was seen and what is wanted
//! ([`plan`], pure), and carries it out ([`apply`]). A crash, or an order that comes in between, changes the next round and nothing else. No
//! server is ever started as a primary unless that is what is wanted now; one that runs as a primary and isn't wanted is stopped.
//!
//! Not here: whether it may be a primary. That is decided by `failover`.

mod apply;
mod archive_away;
mod end_of_log;
mod fit;
mod keeper;
mod kill;
mod lineage;
mod managed;
mod plan;
mod remake;
mod report;
mod seen;
mod session;
mod slots;
mod unarchived;
mod unserved;

pub use keeper::{Keeper, Order, Wish, spawn};
pub use kill::{anything_runs, kill_servers};
pub use managed::{from_name, slot_name};
pub use seen::{Receiver, Run, Seen, Told};

use async_trait::async_trait;
use lifeboat_failover::MemberName;
use lifeboat_postgres::SystemId;
use lifeboat_postgres::cluster::{Account, Programs};
use lifeboat_postgres::connection::Target;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a member's PostgreSQL is reached by the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Makes a data directory anew when it can't be rewound: from a repository, or from a server.
#[async_trait]
pub trait Remake: Send + Sync + fmt::Debug {
    /// Fills `data_dir`, which doesn't exist, with a standby's data that can follow `from`. Nothing of the server's is started.
    ///
    /// # Errors
    /// One sentence for the journal.
    async fn remake(&self, data_dir: &Path, from: &Address) -> Result<(), String>;
}

/// What the shell has to know of the member's database.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    pub name: MemberName,
    pub data_dir: PathBuf,
    pub programs: Programs,
    /// Whom the server's programs run as; `None`: ourselves.
    pub run_as: Option<Account>,
    /// A session of a superuser with our own server, without a network between.
    pub local: Target,
    /// Every member with a database, this one too.
    pub addresses: BTreeMap<MemberName, Address>,
    /// What a standby adds to its primary's address: `user=… passfile=… sslmode=…`.
    pub replication: String,
    /// Reads what the log no longer has from an archive; PostgreSQL's words.
    pub restore_command: Option<String>,
    /// The same where none is configured, from our own repository, and only for who gets nothing from its primary: to be followed by the
    /// timeline that is followed.
    pub archive: Option<String>,
    /// What commits wait for on a member that has never been a primary: never nothing in synchronous mode.
    pub first_quorum: lifeboat_failover::Quorum,
    /// Of the server's own words.
    pub log_file: PathBuf,
    /// Where what was lost is put aside.
    pub state_dir: PathBuf,
    pub remake: Option<Arc<dyn Remake>>,
}

impl DatabaseSettings {
    /// The member that is reached there.
    pub fn member_at(&self, host: &str, port: u16) -> Option<&MemberName> {
        self.addresses.iter().find(|(_, address)| address.host == host && address.port == port).map(|(name, _)| name)
    }
}

/// Which cluster a data directory belongs to.
///
/// # Errors
/// When there is no control file that can be understood.
pub fn system_id(data_dir: &Path) -> Result<SystemId, lifeboat_postgres::control::ControlError> {
    Ok(lifeboat_postgres::control::read(data_dir)?.system_id)
}

//! The shell around [`lifeboat_failover`]: it carries out what that decides, beside a PostgreSQL or as a witness.
//!
//! One [`Agent`] is one member: it keeps the lease ([`lease`]), looks after the database ([`database`]), talks to the other agents and
//! answers questions ([`api`]), writes down what was promised, and tells where clients go ([`routing`]).
//!
//! Not here: who may write. That is decided by `failover`.

mod agent;
pub mod api;
pub mod certificate;
pub mod client;
pub mod clock;
mod concerns;
pub mod database;
mod dead_man;
mod journal;
pub mod lease;
mod outward;
mod peers;
mod private;
mod promise_file;
pub mod proxy;
pub mod routing;
mod settings;
mod watchdog;

pub use agent::{Agent, AgentError, ForeignData};
pub use dead_man::keep_watch;
pub use journal::Entry;
pub use outward::Outward;
pub use promise_file::PromiseError;
pub use settings::{AgentSettings, InvalidSettings, Place, Tls, Token};

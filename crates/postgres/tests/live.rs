//! The rooms that touch a server, against real ones: PostgreSQL 14 to 18.

#[path = "live/backup.rs"]
mod backup;
#[path = "live/cluster.rs"]
mod cluster;
#[path = "live/connect.rs"]
mod connect;
#[path = "live/inspect.rs"]
mod inspect;
#[path = "live/replicate.rs"]
mod replicate;

//! Where clients go: tables from agents, and what follows them. Real BIND, etcd, PostgreSQL, and Amazon's interfaces by moto.

#[path = "routing/http.rs"]
mod http;
#[path = "routing/tables.rs"]
mod tables;
#[path = "routing/watch.rs"]
mod watch;

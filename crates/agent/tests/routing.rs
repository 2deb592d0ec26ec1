//! Where clients go: tables from agents, and what follows them. Real BIND, etcd, PostgreSQL, and Amazon's interface by moto.

#[path = "routing/apply.rs"]
mod apply;
#[path = "routing/command.rs"]
mod command;
#[path = "routing/consul.rs"]
mod consul;
#[path = "routing/dns.rs"]
mod dns;
#[path = "routing/etcd.rs"]
mod etcd;
#[path = "routing/guarded.rs"]
mod guarded;
#[path = "routing/http.rs"]
mod http;
#[path = "routing/route53.rs"]
mod route53;
#[path = "routing/tables.rs"]
mod tables;
#[path = "routing/verify.rs"]
mod verify;
#[path = "routing/watch.rs"]
mod watch;

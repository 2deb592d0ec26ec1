//! PostgreSQL: its programs, and clusters to test against.

mod builder;
mod cluster;
mod programs;

pub use builder::Builder;
pub use cluster::{Shutdown, TestCluster};
pub use programs::{Installation, any_postgres, find, install};

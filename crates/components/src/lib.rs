//! The real servers that tests, the demo and the benchmarks run against: find, install, start, stop.
//!
//! Everything is installed once, below one directory, and shared by all tests of the machine. Every server
//! listens on loopback or on a socket of its own, and stops when its value is dropped.
//!
//! Development only: no product crate depends on this one but the demo. Unlike the product's libraries it
//! reads the environment (`LIFEBOAT_COMPONENTS`) and runs package managers.

mod account;
mod command;
pub mod hosts;
mod install;
mod packages;
mod place;
mod port;
pub mod postgres;
pub mod servers;

pub use account::Account;
pub use install::{Component, install};
pub use place::Components;
pub use port::free_port;
pub use postgres::{Installation, TestCluster, any_postgres};

//! The `lifeboat` program: flags → configuration → call a room → print.
//!
//! Promise: what goes wrong is one sentence with its causes and a hint, under an exit code that never changes its
//! meaning; with `--json`, stdout holds one document and nothing else. Nothing is decided here that a room could decide.

pub mod cli;
pub mod commands;
pub mod config;
mod damage;
mod evidence;
pub mod failure;
mod failure_of;
mod freshness;
mod interrupt;
pub mod output;
pub mod papers;
mod removable;
mod rooms;
pub mod run;
pub mod target;

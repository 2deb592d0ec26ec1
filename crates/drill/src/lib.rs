//! Rehearsals: something breaks in a place apart, is brought back as people would bring it back, and what that took is measured.
//!
//! A [`scenario`] is text; [`engine`] carries it out in a [`place`] of its own and leaves a [`lifeboat_plan::run::Run`]. Every step that is ours is
//! the command that a person would type, run as a process of its own.
//!
//! Promise: what is made is noted on disk before it is made, and is removed whatever happens; what a killed process left, the next one
//! removes. Nothing begins before it is shown that production can't be reached.
//!
//! Not here: where the record is kept, what is read from the configuration, what is printed.

pub mod act;
pub mod builtin;
pub mod canary;
pub mod chaos;
pub mod cluster;
pub mod door;
pub mod engine;
pub mod health;
pub mod hosts;
pub mod isolation;
pub mod journal;
pub mod loss;
pub mod paper;
pub mod place;
pub mod process;
pub mod scenario;
pub mod schedule;
pub mod server;
pub mod surroundings;
pub mod words;

/// BLAKE3 in hexadecimal, as everywhere in a record.
pub fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

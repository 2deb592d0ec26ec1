//! Evidence: what was done and measured is kept in the ledger of every location, and read from there.
//!
//! To be written: nothing is kept yet.

#![allow(dead_code)]

use crate::config::Config;
use crate::failure::Failure;
use crate::output::Output;
use jiff::Timestamp;
use lifeboat_plan::run::Run;
use serde_json::Value;

/// An entry of the ledger whose signature and place in the chain were verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its name in the chain.
    pub hash: String,
    pub sequence: u64,
    pub at: Timestamp,
    /// `drill`, `incident`, `page` (a person was called and answered), `ready`, `learnt` (a finding was closed), ...
    pub kind: String,
    pub body: Value,
    /// Where it is.
    pub locations: Vec<String>,
}

/// Signs and appends an entry in every location that answers; an error only when none took it.
pub async fn keep(_config: &Config, kind: &str, body: Value, _output: &Output) -> Result<Kept, Failure> {
    Ok(Kept {
        hash: String::new(),
        sequence: 0,
        at: Timestamp::now(),
        kind: kind.to_owned(),
        body,
        locations: Vec::new(),
    })
}

/// Every entry of these kinds (all when empty) that any location has, oldest first. What doesn't verify is warned of and left out.
pub async fn read(_config: &Config, _kinds: &[&str], _output: &Output) -> Result<Vec<Kept>, Failure> {
    Ok(Vec::new())
}

/// The runs among them: records whose verdict doesn't follow from the rest are warned of and left out.
pub async fn runs(_config: &Config, _output: &Output) -> Result<Vec<(Kept, Run)>, Failure> {
    Ok(Vec::new())
}

//! What is noted with each proof, so that it can be told later what it was a proof of.

use crate::config::{self, Config};
use lifeboat_plan::readiness::Stamp;
use serde_json::{Value, json};

/// What there is now.
pub fn now(config: &Config) -> Stamp {
    Stamp { configuration_hash: Some(config::fingerprint(config)), version: Some(env!("CARGO_PKG_VERSION").to_owned()) }
}

/// Notes it in the details of a verification.
pub fn note(details: &mut Value, config: &Config) {
    details["configuration_hash"] = json!(config::fingerprint(config));
    details["lifeboat_version"] = json!(env!("CARGO_PKG_VERSION"));
}

/// What was noted.
pub fn of(details: &Value) -> Stamp {
    let text = |key: &str| details[key].as_str().map(str::to_owned);
    Stamp { configuration_hash: text("configuration_hash"), version: text("lifeboat_version") }
}

//! What other commands know of the papers: does the plan contradict itself, is the runbook that of the configuration, is the ledger whole?

use crate::config::Config;
use crate::output::Output;
use lifeboat_plan::readiness::Seen;
use std::time::Duration;

/// As `lifeboat plan check` finds.
pub fn contradictions(config: &Config) -> Seen<Vec<String>> {
    if config.plan.plan == lifeboat_plan::model::Plan::default() {
        return Seen::absent("the configuration has no plan");
    }
    Seen::unknown("this version doesn't check plans yet", "lifeboat plan check")
}

/// How the newest runbook of the locations differs from what would be written now.
pub async fn runbook(_config: &Config, _patience: Duration, _output: &Output) -> Seen<Vec<String>> {
    Seen::unknown("this version doesn't compare runbooks yet", "lifeboat plan runbook")
}

/// As `lifeboat ledger verify` finds.
pub async fn ledger(_config: &Config, _patience: Duration, _output: &Output) -> Seen<Vec<String>> {
    Seen::unknown("this version doesn't verify ledgers yet", "lifeboat ledger verify")
}

//! What other commands know of the papers: does the plan contradict itself, is the runbook that of the configuration, is the ledger whole?

use super::observe::{known, within};
use crate::commands::ledger::is_whole;
use crate::commands::plan::known::context;
use crate::config::Config;
use crate::output::Output;
use crate::papers::gather::bare_runbook;
use crate::papers::published::{self, State};
use jiff::Zoned;
use lifeboat_plan::consistency::{Severity, check};
use lifeboat_plan::readiness::Seen;
use std::path::Path;
use std::time::Duration;

/// As `lifeboat plan check` finds.
pub fn contradictions(config: &Config) -> Seen<Vec<String>> {
    if config.plan.plan == lifeboat_plan::model::Plan::default() {
        return Seen::absent("the configuration has no plan");
    }
    let findings = check(&config.plan.plan, &context(config, Zoned::now().date()));
    let problems = findings.into_iter().filter(|finding| finding.severity == Severity::Problem);
    known(problems.map(|finding| format!("{}: {}", finding.path, finding.what)).collect(), "lifeboat plan check")
}

/// How the newest runbook of the locations differs from what would be written now; nothing when one location has the right one.
pub async fn runbook(path: &Path, config: &Config, patience: Duration) -> Seen<Vec<String>> {
    let wanted = lifeboat_report::runbook_hash(&bare_runbook(path, config));
    within(patience, "lifeboat plan runbook --check", async {
        let states = published::state(config, &wanted).await;
        if states.iter().any(|(_, state)| *state == State::Current) {
            return Ok(Vec::new());
        }
        Ok(states.iter().map(|(name, state)| format!("{name}: {}", state.words())).collect())
    })
    .await
}

/// As `lifeboat ledger verify` finds.
pub async fn ledger(config: &Config, patience: Duration, output: &Output) -> Seen<Vec<String>> {
    within(patience, "lifeboat ledger verify", is_whole(config, output)).await
}

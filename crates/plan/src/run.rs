//! What a rehearsal, or any other run, left behind: when, by whom, with what, and what was measured.
//!
//! Promise: absent, nought and false are three different things. What wasn't measured is `None`, and the verdict follows from the rest of
//! the record ([`Run::entailed`]); a record that says otherwise is refused by whoever reads it.
//!
//! Not here: signing and chaining (that is the ledger's), and doing anything.

use crate::model::Disruption;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held, within the objectives, and was cleaned up.
    Passed,
    /// Something that was asked didn't hold, or took too long, or lost too much.
    Failed,
    /// All held, but what it made is still there.
    CleanupFailed,
    /// It was stopped: by an abort condition, a person, a time limit.
    Aborted,
    /// It never began: not isolated, not approved, not steady before.
    Refused,
}

/// Where in a run a step belongs, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A place apart is made and filled.
    Prepare,
    /// Is everything as it should be, before? And is it isolated?
    Before,
    /// Something breaks.
    Fault,
    /// It is mended.
    Recovery,
    /// Is everything as it should be, afterwards?
    After,
    /// What was made is removed. Always runs.
    Cleanup,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it should.
    Held,
    /// It didn't.
    NotHeld,
    /// It took longer than it may.
    TimedOut,
    /// It was not begun, because of an earlier one.
    Skipped,
}

/// One step, as it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Where it belongs.
    pub phase: Phase,
    /// What it is called in the scenario.
    pub name: String,
    /// What was done, as somebody would type it; secrets left out.
    pub did: String,
    /// When it began. None: it didn't.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How.
    pub outcome: Outcome,
    /// Whether the run's verdict depends on it.
    pub counts: bool,
    /// What was seen, in one line.
    pub seen: Option<String>,
    /// Of all that it printed. BLAKE3 in hexadecimal, as everywhere in a record.
    pub output_hash: Option<String>,
    /// The person who did or confirmed it, where one did.
    pub by: Option<String>,
}

/// How a loss was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossMethod {
    /// A writer noted what was acknowledged, and it was looked for afterwards.
    Canary,
    /// What production had committed by the fault was counted in its log, which arrived later.
    Log,
}

/// What was measured. Seconds; `None`: not measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// RTA: from the fault to the first time that the application's own question was answered rightly.
    pub fault_to_healthy_seconds: Option<f64>,
    /// From the moment somebody was asked until they agreed.
    pub approval_seconds: Option<f64>,
    /// The bringing back alone.
    pub restore_seconds: Option<f64>,
    /// From the fault to the end of every check.
    pub fault_to_validated_seconds: Option<f64>,
    /// RPA: from the last write that survived to the fault.
    pub loss_seconds: Option<f64>,
    /// Acknowledged writes that were not there afterwards. By [`LossMethod::Log`]: transactions.
    pub writes_lost: Option<u64>,
    /// Acknowledged writes that were looked for. By [`LossMethod::Log`] nobody noted any.
    pub writes_checked: Option<u64>,
    /// How the loss was measured.
    pub loss_method: Option<LossMethod>,
    /// Bytes that were brought back.
    pub bytes: Option<u64>,
    /// Whatever else the scenario measured, by name with its unit last.
    pub others: BTreeMap<String, f64>,
}

/// What was promised at that time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promised {
    /// The tier.
    pub tier: Option<String>,
    /// RTO.
    pub rto_seconds: Option<f64>,
    /// RPO.
    pub rpo_seconds: Option<f64>,
}

/// One proof that it couldn't reach production.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Isolation {
    /// What was tried: "connect to 10.0.0.5:5432 from inside".
    pub tried: String,
    /// What was seen: "no route".
    pub seen: String,
    /// Whether that shows isolation.
    pub holds: bool,
}

/// Something learnt, that somebody must do something about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    /// In one sentence.
    pub what: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// Until when.
    pub due: Option<Date>,
}

/// Everything about one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Unique: time and chance.
    pub id: String,
    /// The scenario.
    pub scenario: String,
    /// Of the scenario's text.
    pub scenario_hash: String,
    /// The drill of the plan that it was, if it was one.
    pub drill: Option<String>,
    /// Which kind of disruption it rehearses.
    pub disruption: Option<Disruption>,
    /// What it was done with.
    pub workloads: Vec<String>,
    /// The group, if it was one.
    pub group: Option<String>,
    /// Who asked for it: an account of this machine, or a person of the plan.
    pub requested_by: String,
    /// Who agreed.
    pub approved_by: Option<String>,
    /// Who took part.
    pub participants: Vec<String>,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it was over, cleanup included.
    pub ended_at: Timestamp,
    /// What was promised.
    pub promised: Promised,
    /// Of the configuration as it was read, secrets left out.
    pub configuration_hash: String,
    /// Program by program.
    pub versions: BTreeMap<String, String>,
    /// Where it took place.
    pub host: String,
    /// Which point was brought back.
    pub point: Option<String>,
    /// From which location.
    pub location: Option<String>,
    /// Why it couldn't touch production.
    pub isolation: Vec<Isolation>,
    /// In the order of their beginning.
    pub steps: Vec<Step>,
    /// Times and losses.
    pub measured: Measured,
    /// Whether the alarm that should come came. None: the scenario expects none.
    pub alert_seen: Option<bool>,
    /// Whether the scenario says that it was stopped; then why.
    pub aborted: Option<String>,
    /// Why it never began.
    pub refused: Option<String>,
    /// See [`Run::entailed`].
    pub verdict: Verdict,
    /// What was learnt.
    pub learnt: Vec<Learnt>,
    /// What nobody may conclude from it.
    pub does_not_show: Vec<String>,
}

impl Run {
    /// How the step begins, in its `did`, that makes a cluster: whether another server took over is known by it.
    pub const CLUSTER_MADE: &str = "make a cluster of three members of server ";

    /// Whether another server took over. A restore after the loss of a server or a site is none.
    pub fn has_taken_over(&self) -> bool {
        let is_loss = matches!(self.disruption, Some(Disruption::Instance | Disruption::Site | Disruption::Network));
        let words = [Self::CLUSTER_MADE, "lifeboat cluster failover ", "lifeboat cluster switchover "];
        let mut held = self.steps.iter().filter(|step| step.outcome == Outcome::Held);
        is_loss && held.any(|step| words.iter().any(|words| step.did.starts_with(words)))
    }

    /// The verdict that the rest of the record leads to, and why. Measured against the promise only where both are there.
    pub fn entailed(&self) -> (Verdict, Vec<String>) {
        if let Some(why) = &self.refused {
            return (Verdict::Refused, vec![why.clone()]);
        }
        if let Some(why) = &self.aborted {
            return (Verdict::Aborted, vec![why.clone()]);
        }
        let mut reasons: Vec<String> = Vec::new();
        let fails = |step: &&Step| step.counts && step.outcome != Outcome::Held;
        let told = |step: &Step| {
            let seen = step.seen.as_deref().map(|seen| format!(": {seen}")).unwrap_or_default();
            let how = match step.outcome {
                Outcome::TimedOut => " took too long",
                Outcome::Skipped => " was never begun",
                Outcome::Held | Outcome::NotHeld => " did not hold",
            };
            format!("{}{how}{seen}", step.name)
        };
        reasons.extend(self.steps.iter().filter(|step| step.phase != Phase::Cleanup).filter(fails).map(told));
        reasons.extend(
            self.isolation
                .iter()
                .filter(|proof| !proof.holds)
                .map(|p| format!("not isolated: {}: {}", p.tried, p.seen)),
        );
        let over = |what: &str, actual: Option<f64>, promised: Option<f64>| {
            let (actual, promised) = (actual?, promised?);
            (actual > promised).then(|| format!("{what} of {actual:.1} s, promised {promised:.1} s"))
        };
        reasons.extend(over("RTA", self.measured.fault_to_healthy_seconds, self.promised.rto_seconds));
        reasons.extend(over("RPA", self.measured.loss_seconds, self.promised.rpo_seconds));
        if self.alert_seen == Some(false) {
            reasons.push("the alarm that should have come did not".to_owned());
        }
        if !self.steps.iter().any(|step| step.counts && step.phase == Phase::After) {
            reasons.push("nothing was asked afterwards".to_owned());
        }
        if !reasons.is_empty() {
            return (Verdict::Failed, reasons);
        }
        let cleanup = self.steps.iter().filter(|step| step.phase == Phase::Cleanup);
        let left: Vec<String> = cleanup.filter(|step| step.outcome != Outcome::Held).map(told).collect();
        if left.is_empty() { (Verdict::Passed, left) } else { (Verdict::CleanupFailed, left) }
    }

    /// Whether the record's verdict is the one that it leads to.
    pub fn is_consistent(&self) -> bool {
        self.entailed().0 == self.verdict
    }
}

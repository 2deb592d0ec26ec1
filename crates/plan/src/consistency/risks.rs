//! What may happen: does somebody look after it, and is there a process that fears nothing.

use super::Look;

impl Look<'_> {
    pub(super) fn risks(&mut self) {
        for (name, risk) in &self.plan.risks {
            let path = format!("risk.{name}");
            if risk.owner.is_none() {
                let hint = "say who looks after it: owner = \"PERSON\"";
                self.warning(format!("{path}.owner"), "no-owner", "it has no owner", hint);
            }
            if risk.mitigation.is_none() {
                let hint = "say what is done against it, or that it is borne: mitigation = \"..\"";
                self.warning(
                    format!("{path}.mitigation"),
                    "no-mitigation",
                    "nothing is said to be done against it",
                    hint,
                );
            }
            let times = risk.per_year;
            if times.low > times.expected || times.expected > times.high {
                let what = format!("its likelihood goes from {} over {} to {}", times.low, times.expected, times.high);
                self.problem(format!("{path}.per_year"), "likelihood-order", what, "low <= expected <= high");
            } else if times.expected <= 0.0 {
                let what = "it is expected never to happen: then it is no risk";
                let hint = "once in a hundred years is 0.01; or remove it";
                self.warning(format!("{path}.per_year"), "never-happens", what, hint);
            }
            self.reviewed(&format!("{path}.reviewed"), risk.reviewed);
        }
        if self.plan.risks.is_empty() {
            let what = "there is no risk: nothing says what is feared, and no strategy has a worth";
            self.warning(
                "plan",
                "no-risk",
                what,
                "begin with a lost server, a lost site and a wrong DELETE: [risk.NAME]",
            );
            return;
        }
        for name in self.plan.processes.keys() {
            let is_feared =
                |processes: &std::collections::BTreeSet<String>| processes.is_empty() || processes.contains(name);
            if !self.plan.risks.values().any(|risk| is_feared(&risk.processes)) {
                let hint = "name it in `processes` of a [risk.NAME]; without `processes`, a risk is one for all";
                self.warning(format!("process.{name}"), "no-risk", "no risk touches it: what would stop it?", hint);
            }
        }
    }
}

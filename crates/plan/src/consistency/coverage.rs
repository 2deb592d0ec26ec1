//! Everything is protected, exactly once, and in enough places.

use super::{Look, Protected, Severity};
use crate::copies::Lack;
use crate::model::Disruption;

impl Look<'_> {
    pub(super) fn coverage(&mut self) {
        for (name, protected) in &self.context.workloads {
            self.exactly_once(name);
            self.enough_copies(name, protected);
            if protected.backup_within.is_none() {
                let what = "nothing says how old its newest recovery point may get: its RPO can't be kept by anybody";
                let hint = "say backup_within = \"26h\" for a backup every day";
                self.warning(format!("workload.{name}.backup_within"), "no-backup-interval", what, hint);
            }
        }
        for (name, group) in &self.plan.groups {
            if group.workloads.is_empty() && group.vendor_steps.is_empty() {
                let hint = "name what is recovered together: workloads = [\"NAME\"]";
                self.problem(format!("group.{name}"), "group-empty", "nothing is in it", hint);
            }
            if self.plan.processes_of(name).is_empty() {
                let hint = "name it in `groups` of the process that needs it; or it needs no recovery";
                self.warning(format!("group.{name}"), "unused", "no process needs it", hint);
            }
            // A name that leads nowhere is told of already.
            if group.tier.is_none() && self.plan.tier_of_group(name).is_none() {
                let hint = "tier = \"NAME\" here or in a process that needs it";
                self.problem(
                    format!("group.{name}.tier"),
                    "no-tier",
                    "nothing is promised for it: it has no tier, and no process gives it one",
                    hint,
                );
            }
            for workload in &group.workloads {
                let is_known = self.context.workloads.get(workload);
                if is_known.is_some_and(|known| !known.has_check) && !group.health.contains_key(workload) {
                    let what = format!(
                        "nothing says when workload `{workload}` is healthy again: recovery has no end that can be measured"
                    );
                    let hint = format!(
                        "health = {{ {workload} = [\"select count(*) > 0 from TABLE\"] }}, or `check` in [workload.{workload}]"
                    );
                    self.warning(format!("group.{name}.health"), "no-health", what, hint);
                }
            }
        }
    }

    fn exactly_once(&mut self, workload: &str) {
        let groups = self.plan.groups_of(workload);
        match &groups[..] {
            [] => {
                let hint = "name it in `workloads` of one [group.NAME]";
                self.problem(
                    format!("workload.{workload}"),
                    "in-no-group",
                    "it is in no group: nothing is promised for it",
                    hint,
                );
            }
            [_] => {}
            [first, rest @ ..] => {
                for other in rest {
                    let what =
                        format!("workload `{workload}` is in group `{first}`, too: two recoveries would meet in it");
                    let hint = "leave it in one, and let the process name both groups";
                    self.problem(format!("group.{other}.workloads.{workload}"), "in-two-groups", what, hint);
                }
            }
        }
    }

    /// Too few are a warning; what a risk of the plan would take, with everything, is more.
    fn enough_copies(&mut self, workload: &str, protected: &Protected) {
        let Some(copies) = protected.copies.as_ref().filter(|copies| !copies.holds()) else { return };
        let feared =
            |kind| self.plan.risks.iter().find(|(_, risk)| risk.disruption == kind).map(|(name, _)| name.as_str());
        let mut against = Vec::new();
        for (lack, kind) in [(Lack::Region, Disruption::Site), (Lack::Guarded, Disruption::Ransomware)] {
            against.extend(feared(kind).filter(|_| copies.lacks.contains(&lack)));
        }
        let because = match &against[..] {
            [] => String::new(),
            risks => format!("; risk {} would take every copy", super::listed(risks.iter().copied())),
        };
        let severity = if against.is_empty() { Severity::Warning } else { Severity::Problem };
        let what = format!("3-2-1 doesn't hold: {}{because}", copies.missing().join(", "));
        self.find(
            severity,
            format!("workload.{workload}.locations"),
            "three-two-one",
            what,
            copies.advice().join("; "),
        );
    }
}

//! Who belongs to what: from a workload to its groups, its tier, and the processes that stop without it.

use crate::model::{Disruption, Objective, Plan, Tier};

impl Plan {
    /// The groups that a workload is in.
    pub fn groups_of(&self, workload: &str) -> Vec<&str> {
        let of_it = self.groups.iter().filter(|(_, group)| group.workloads.contains(workload));
        of_it.map(|(name, _)| name.as_str()).collect()
    }

    /// The processes that need a group themselves, or through processes that they depend on.
    pub fn processes_of(&self, group: &str) -> Vec<&str> {
        let direct = self.processes.iter().filter(|(_, process)| process.groups.contains(group));
        let mut found: Vec<&str> = direct.map(|(name, _)| name.as_str()).collect();
        loop {
            let more = self.processes.iter().find(|(name, process)| {
                !found.contains(&name.as_str())
                    && process.depends_on.iter().any(|other| found.contains(&other.as_str()))
            });
            match more {
                Some((name, _)) => found.push(name),
                None => break,
            }
        }
        found.sort_unstable();
        found
    }

    /// The tier of a group: its own, else the strictest (by RTO, then RPO) of the processes that need it.
    pub fn tier_of_group(&self, group: &str) -> Option<(&str, &Tier)> {
        let found = |name: &str| self.tiers.get_key_value(name).map(|(name, tier)| (name.as_str(), tier));
        if let Some(own) = self.groups.get(group).and_then(|group| group.tier.as_deref()) {
            return found(own);
        }
        let of_processes = self.processes_of(group).into_iter().filter_map(|name| self.processes[name].tier.as_deref());
        of_processes.filter_map(found).min_by_key(|(_, tier)| (tier.objective.rto, tier.objective.rpo))
    }

    /// The strictest tier of the groups that a workload is in.
    pub fn tier_of_workload(&self, workload: &str) -> Option<(&str, &Tier)> {
        let tiers = self.groups_of(workload).into_iter().filter_map(|group| self.tier_of_group(group));
        tiers.min_by_key(|(_, tier)| (tier.objective.rto, tier.objective.rpo))
    }

    /// What is promised for a workload.
    pub fn objective_of(&self, workload: &str, disruption: Option<Disruption>) -> Option<Objective> {
        self.tier_of_workload(workload).map(|(_, tier)| tier.objective(disruption))
    }

    /// The people behind a name: the person, or those of the role in the order in which they are called.
    pub fn people_behind<'p>(&'p self, name: &'p str) -> Vec<&'p str> {
        if self.people.contains_key(name) {
            return vec![name];
        }
        self.roles.get(name).map(|role| role.people.iter().map(String::as_str).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Group, Process};
    use std::time::Duration;

    fn tier(rto_seconds: u64) -> Tier {
        let objective = Objective { rto: Duration::from_secs(rto_seconds), rpo: Duration::ZERO };
        Tier { objective, by_disruption: [].into(), drill_every: None, strategy: None, rank: None }
    }

    fn process(tier: &str, groups: &[&str], depends_on: &[&str]) -> Process {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Process {
            title: String::new(),
            owner: None,
            approver: None,
            reviewed: None,
            tier: Some(tier.to_owned()),
            users: None,
            peaks: vec![],
            cost_per_hour: None,
            impacts: vec![],
            data_loss_cost_per_hour: None,
            recovery_cost: None,
            maximum_tolerable_downtime: None,
            groups: names(groups),
            depends_on: names(depends_on),
            workaround: None,
        }
    }

    #[test]
    fn a_group_is_as_critical_as_what_needs_it_through_others_too() {
        let group = |workload: &str| Group {
            title: None,
            tier: None,
            workloads: [workload.to_owned()].into(),
            vendor_steps: [].into(),
            after: [].into(),
            health: [].into(),
        };
        // Each depends on the other: that must end.
        let processes = [
            ("checkout".into(), process("critical", &["shop"], &["login"])),
            ("login".into(), process("later", &["identity"], &["checkout"])),
        ];
        let mut plan = Plan {
            tiers: [("critical".into(), tier(60)), ("later".into(), tier(3600))].into(),
            groups: [("shop".into(), group("orders")), ("identity".into(), group("users"))].into(),
            processes: processes.into(),
            ..Plan::default()
        };
        assert_eq!(plan.tier_of_workload("users").map(|(name, _)| name), Some("critical"));
        assert_eq!(plan.processes_of("identity"), ["checkout", "login"]);
        plan.groups.get_mut("identity").unwrap().tier = Some("later".into());
        assert_eq!(plan.tier_of_workload("users").map(|(name, _)| name), Some("later"));
        assert_eq!(plan.tier_of_workload("unheard"), None);
    }
}

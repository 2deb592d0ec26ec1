//! What is rehearsed, against how often it is promised to be.

use super::{Look, spoken};
use crate::model::Drill;
use std::time::Duration;

/// DORA 11(6) and PCI DSS 12.10.2 want a rehearsal in a year at least; other standards say "periodically", or leave it to the plan.
const DRILL_EVERY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

impl Look<'_> {
    pub(super) fn drills(&mut self) {
        for (name, tier) in &self.plan.tiers {
            match tier.drill_every {
                None => {
                    let hint = "say how old the last passed drill may be: drill_every = \"90d\"";
                    self.warning(
                        format!("tier.{name}.drill_every"),
                        "no-drill-cadence",
                        "nothing says how often it is rehearsed",
                        hint,
                    );
                }
                Some(every) if every > DRILL_EVERY_MAX => {
                    let what = format!("a rehearsal every {} is less than one in a year", spoken(every));
                    self.warning(
                        format!("tier.{name}.drill_every"),
                        "drill-too-seldom",
                        what,
                        "drill_every = \"365d\" at most",
                    );
                }
                Some(_) => {}
            }
        }
        for (name, drill) in &self.plan.drills {
            if drill.owner.is_none() {
                let hint = "say who sees to it: owner = \"PERSON\" or a role";
                self.warning(format!("drill.{name}.owner"), "no-owner", "it has no owner", hint);
            }
            if drill.approver.is_some() && drill.approver == drill.owner {
                let what = "its owner agrees to it: four eyes see more";
                self.warning(format!("drill.{name}.approver"), "approves-own", what, "let somebody else agree");
            }
            if drill.every.is_none() && self.tier_cadence(drill).is_none() {
                let what = "nothing says how often it takes place: neither it nor its tier";
                self.warning(format!("drill.{name}.every"), "no-drill-cadence", what, "every = \"90d\"");
            }
        }
        for group in self.plan.groups.keys() {
            self.is_rehearsed(group);
        }
    }

    /// What the tier of the drill's target says.
    fn tier_cadence(&self, drill: &Drill) -> Option<Duration> {
        let groups = self.plan.groups.keys().filter(|group| self.is_about(drill, group));
        groups.filter_map(|group| self.plan.tier_of_group(group)?.1.drill_every).min()
    }

    /// Whether a drill is done with a group or a part of it. One without a target is about the only group that there is.
    fn is_about(&self, drill: &Drill, group: &str) -> bool {
        let Some(target) = &drill.target else { return self.plan.groups.len() == 1 };
        // A cluster has the name of the workload that it protects.
        target == group || self.plan.groups.get(group).is_some_and(|group| group.workloads.contains(target))
    }

    /// A group is rehearsed as often as the one of its workloads that is rehearsed least.
    fn is_rehearsed(&mut self, group: &str) {
        let about: Vec<(&String, &Drill)> =
            self.plan.drills.iter().filter(|(_, drill)| self.is_about(drill, group)).collect();
        let tier = self.plan.tier_of_group(group);
        let wanted = tier.and_then(|(name, tier)| Some((name, tier.drill_every?)));
        let whole = |drill: &Drill| drill.target.as_deref().is_none_or(|target| target == group);
        let workloads = self.plan.groups[group].workloads.iter();
        let seldom = workloads.map(|workload| {
            let of_it = about.iter().filter(|(_, drill)| whole(drill) || drill.target.as_ref() == Some(workload));
            let most_often = of_it.map(|(name, drill)| (drill.every.or(wanted.map(|(_, every)| every)), *name)).min();
            (workload, most_often)
        });
        let seldom: Vec<_> = seldom.collect();
        let hint = match wanted {
            Some((_, every)) => format!("[drill.NAME] with target = \"{group}\", every = \"{}\"", spoken(every)),
            None => format!("[drill.NAME] with target = \"{group}\""),
        };
        let missed = seldom.iter().find(|(_, found)| found.is_none()).map(|(workload, _)| *workload);
        let what = match missed {
            _ if about.is_empty() => "no drill is about it".to_owned(),
            Some(workload) => format!("no drill is about its workload `{workload}`, nor about the group as a whole"),
            None => return self.is_often(wanted, &seldom, group),
        };
        match wanted {
            Some((tier, every)) => {
                let what = format!("{what}, and tier `{tier}` promises one every {}", spoken(every));
                self.problem(format!("group.{group}"), "no-drill", what, hint);
            }
            None => {
                let what = format!("{what}: nobody knows whether it can be brought back");
                self.warning(format!("group.{group}"), "no-drill", what, hint);
            }
        }
    }

    fn is_often(&mut self, wanted: Option<(&str, Duration)>, seldom: &[Rehearsed], group: &str) {
        let Some((tier, every)) = wanted else { return };
        let found = seldom.iter().filter_map(|(_, found)| found.and_then(|(every, name)| Some((every?, name)))).max();
        let Some((found, name)) = found.filter(|(found, _)| *found > every) else { return };
        let what = format!(
            "group `{group}` is rehearsed as a whole every {}, and tier `{tier}` promises every {}",
            spoken(found),
            spoken(every)
        );
        let hint = format!("every = \"{}\", or leave it out: then it is as the tier says", spoken(every));
        self.problem(format!("drill.{name}.every"), "drill-too-seldom", what, hint);
    }
}

/// A workload, and the drill that is done with it most often: how often, if that is known, and its name.
type Rehearsed<'r> = (&'r String, Option<(Option<Duration>, &'r String)>);

//! Promises against each other: a process and what it can bear, a process and what it depends on, a group and what it is for.

use super::{Look, spoken};
use crate::model::{Disruption, Process, Tier};
use std::collections::BTreeSet;
use std::time::Duration;

/// Recovery may take so much of what is bearable, in percent: noticing and deciding take the rest.
const RTO_SHARE_PERCENT: u32 = 80;

/// The key of a kind of disruption, in a tier.
pub(super) fn key(kind: Disruption) -> &'static str {
    match kind {
        Disruption::Corruption => "corruption",
        Disruption::Ransomware => "ransomware",
        Disruption::Instance => "instance",
        Disruption::Site => "site",
        Disruption::Network => "network",
        Disruption::Dependency => "dependency",
    }
}

impl Look<'_> {
    pub(super) fn objectives(&mut self) {
        for (name, process) in &self.plan.processes {
            let tier = process.tier.as_ref().and_then(|tier| self.plan.tiers.get_key_value(tier));
            let Some((tier_name, tier)) = tier else { continue };
            self.under_maximum(name, process, tier_name, tier);
            self.dependencies(name, process, tier_name, tier);
            self.groups_in_time(name, process, tier_name, tier);
        }
        for (name, step) in &self.plan.vendor_steps {
            self.step_in_time(name, step.time_limit);
        }
        for name in self.plan.tiers.keys() {
            let is_used = self.plan.processes.values().any(|process| process.tier.as_ref() == Some(name))
                || self.plan.groups.values().any(|group| group.tier.as_ref() == Some(name));
            if !is_used {
                let hint = "let a process or group have it, or remove it";
                self.warning(format!("tier.{name}"), "unused", "no process and no group is in it", hint);
            }
        }
    }

    fn under_maximum(&mut self, name: &str, process: &Process, tier_name: &str, tier: &Tier) {
        let Some(most) = process.maximum_tolerable_downtime else { return };
        let path = format!("process.{name}.maximum_tolerable_downtime");
        let all = tier.by_disruption.iter().map(|(kind, own)| (format!(" after {}", words(*kind)), own.rto));
        for (when, rto) in std::iter::once((String::new(), tier.objective.rto)).chain(all) {
            let (rto_said, most_said) = (spoken(rto), spoken(most));
            if rto >= most {
                let what = format!(
                    "tier `{tier_name}` promises recovery{when} within {rto_said}; the business bears {most_said}"
                );
                let hint = "a stricter tier, or ask again what is bearable";
                self.problem(&path, "rto-over-maximum", what, hint);
            } else if rto.saturating_mul(100) > most.saturating_mul(RTO_SHARE_PERCENT) {
                let what = format!(
                    "tier `{tier_name}` promises recovery{when} within {rto_said} of the {most_said} that the business bears: {} are left for noticing and deciding",
                    spoken(most - rto)
                );
                self.warning(
                    &path,
                    "rto-near-maximum",
                    what,
                    format!("leave a fifth: an RTO of {} at most", spoken(rounded(most / 100 * RTO_SHARE_PERCENT))),
                );
            }
        }
    }

    fn dependencies(&mut self, name: &str, process: &Process, tier_name: &str, tier: &Tier) {
        for other in &process.depends_on {
            let found = self.plan.processes.get(other).and_then(|process| process.tier.as_ref());
            let Some((other_tier, theirs)) = found.and_then(|tier| self.plan.tiers.get_key_value(tier)) else {
                continue;
            };
            let path = format!("process.{name}.depends_on.{other}");
            let (ours_rto, their_rto) = (tier.objective.rto, theirs.objective.rto);
            let is_lower = tier.rank.zip(theirs.rank).is_some_and(|(own, other)| other > own);
            if their_rto > ours_rto {
                let what = format!(
                    "`{other}` is promised within {} (tier `{other_tier}`), and this process, which waits for it, within {} (tier `{tier_name}`)",
                    spoken(their_rto),
                    spoken(ours_rto)
                );
                self.problem(
                    path,
                    "dependency-slower",
                    what,
                    format!("give `{other}` tier `{tier_name}` or a stricter one"),
                );
            } else if is_lower {
                let what = format!(
                    "`{other}` is in a lower tier (`{other_tier}`) than this process, which waits for it (`{tier_name}`)"
                );
                self.problem(
                    path,
                    "dependency-lower",
                    what,
                    format!("give `{other}` tier `{tier_name}` or one above it"),
                );
            }
        }
    }

    /// A group isn't slower than what needs it; and all that a process needs, one after the other, is still bearable.
    fn groups_in_time(&mut self, name: &str, process: &Process, tier_name: &str, tier: &Tier) {
        for group in &process.groups {
            let Some((of_group, theirs)) = self.plan.tier_of_group(group) else { continue };
            if theirs.objective.rto > tier.objective.rto {
                let what = format!(
                    "group `{group}` is promised within {} (tier `{of_group}`), and this process, which needs it, within {} (tier `{tier_name}`)",
                    spoken(theirs.objective.rto),
                    spoken(tier.objective.rto)
                );
                let hint = format!(
                    "tier = \"{tier_name}\" in [group.{group}], or leave it out there: then it is that of its processes"
                );
                self.problem(format!("process.{name}.groups.{group}"), "group-slower", what, hint);
            }
            if theirs.objective.rpo > tier.objective.rpo {
                let what = format!(
                    "group `{group}` may lose {} (tier `{of_group}`), and this process, which needs it, {} (tier `{tier_name}`)",
                    spoken(theirs.objective.rpo),
                    spoken(tier.objective.rpo)
                );
                let hint = format!("tier = \"{tier_name}\" in [group.{group}], or leave it out there");
                self.problem(format!("process.{name}.groups.{group}"), "group-loses-more", what, hint);
            }
        }
        let Some(most) = process.maximum_tolerable_downtime else { return };
        let groups = self.all_groups(name);
        let tiers = groups.iter().filter_map(|group| self.plan.tier_of_group(group));
        let sum = tiers.map(|(_, tier)| tier.objective.rto).fold(Duration::ZERO, Duration::saturating_add);
        if groups.len() > 1 && sum >= most && tier.objective.rto < most {
            let what = format!(
                "its {} groups, one after the other, may take {}; the business bears {}",
                groups.len(),
                spoken(sum),
                spoken(most)
            );
            let hint = "have enough people and machines to recover them at the same time, and rehearse that; or stricter tiers";
            self.warning(format!("process.{name}.maximum_tolerable_downtime"), "sum-over-maximum", what, hint);
        }
    }

    /// All groups that a process needs, through others too.
    fn all_groups(&self, process: &str) -> BTreeSet<&str> {
        let (mut seen, mut open, mut groups) = (BTreeSet::new(), vec![process], BTreeSet::new());
        while let Some(name) = open.pop() {
            let Some(process) = self.plan.processes.get(name).filter(|_| seen.insert(name)) else { continue };
            groups.extend(process.groups.iter().map(String::as_str));
            open.extend(process.depends_on.iter().map(String::as_str));
        }
        groups
    }

    fn step_in_time(&mut self, step: &str, limit: Duration) {
        let groups: Vec<&String> = self
            .plan
            .groups
            .iter()
            .filter(|(_, group)| group.vendor_steps.contains(step))
            .map(|(name, _)| name)
            .collect();
        if groups.is_empty() {
            let hint = "name it in `vendor_steps` of a group, or remove it";
            self.warning(format!("vendor_step.{step}"), "unused", "no group has it: it would never run", hint);
        }
        for group in groups {
            let Some((tier_name, tier)) = self.plan.tier_of_group(group) else { continue };
            let rto = tier.objective.rto;
            if limit >= rto {
                let what = format!(
                    "it may take {}, and group `{group}` is promised within {} (tier `{tier_name}`)",
                    spoken(limit),
                    spoken(rto)
                );
                let hint = "a time limit that leaves time for the rest of the recovery";
                self.problem(format!("vendor_step.{step}.time_limit"), "step-over-rto", what, hint);
            }
        }
    }
}

/// Down to whole hours or minutes, where there are several.
fn rounded(time: Duration) -> Duration {
    let seconds = time.as_secs();
    let unit = [3600, 60].into_iter().find(|unit| seconds >= 2 * unit).unwrap_or(1);
    Duration::from_secs(seconds / unit * unit)
}

/// A kind of disruption, in a sentence.
pub(super) fn words(kind: Disruption) -> &'static str {
    match kind {
        Disruption::Corruption => "corruption",
        Disruption::Ransomware => "ransomware",
        Disruption::Instance => "the loss of a server",
        Disruption::Site => "the loss of a site",
        Disruption::Network => "a partition",
        Disruption::Dependency => "the loss of a supplier",
    }
}

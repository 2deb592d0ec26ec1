//! What is said of each process: its tier, its costs, what it needs, and when it was looked at.

use super::{Look, spoken};
use crate::model::{Process, Tier};
use jiff::civil::Date;
use std::time::Duration;

/// Of so many processes, one may be of the first tier: where everything is critical, nothing comes first.
const TOP_TIER_SHARE: usize = 5;
/// Fewer than this are never too many.
const TOP_TIER_COUNT_MAX: usize = 2;
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Look<'_> {
    pub(super) fn processes(&mut self) {
        for (name, process) in &self.plan.processes {
            let path = format!("process.{name}");
            self.who(&path, process);
            self.what_it_costs(&path, process);
            self.impacts(&path, process);
            if process.tier.is_none() {
                let hint = "say tier = \"NAME\", one of the sections [tier.NAME]";
                self.problem(format!("{path}.tier"), "no-tier", "nothing is promised for it: it has no tier", hint);
            }
            if process.groups.is_empty() && process.depends_on.is_empty() {
                let hint = "name the groups that must run for it: groups = [\"NAME\"]";
                self.warning(format!("{path}.groups"), "needs-nothing", "it needs nothing that is protected", hint);
            }
            self.reviewed(&format!("{path}.reviewed"), process.reviewed);
        }
        if self.plan.review_within.is_none() {
            let hint = "say how long a review stays good, such as review_within = \"365d\"";
            self.warning("plan.review_within", "no-review-cadence", "nothing says when a review is overdue", hint);
        }
        self.has_currency();
        self.ranks();
        self.not_all_first();
    }

    fn who(&mut self, path: &str, process: &Process) {
        if process.owner.is_none() {
            let hint = "say who answers for it: owner = \"PERSON\"";
            self.warning(format!("{path}.owner"), "no-owner", "it has no owner", hint);
        }
        match &process.approver {
            None => {
                let hint = "say who agreed to what is promised: approver = \"PERSON\", another one than the owner";
                self.warning(
                    format!("{path}.approver"),
                    "no-approver",
                    "nobody approved what is promised for it",
                    hint,
                );
            }
            Some(approver) if Some(approver) == process.owner.as_ref() => {
                let what = format!("`{approver}` owns it and approves it: four eyes see more");
                self.problem(format!("{path}.approver"), "approves-own", what, "let somebody else approve it");
            }
            Some(_) => {}
        }
    }

    fn what_it_costs(&mut self, path: &str, process: &Process) {
        if process.cost_per_hour.is_none() && process.impacts.iter().all(|impact| impact.cost.is_none()) {
            let what = "nothing says what an hour without it costs: no strategy can be compared with another";
            let hint = "estimate it: cost_per_hour = 1000, or `impacts` with `cost`";
            self.warning(format!("{path}.cost_per_hour"), "no-cost", what, hint);
        }
        let tier = process.tier.as_ref().and_then(|tier| self.plan.tiers.get(tier));
        if process.data_loss_cost_per_hour.is_none() && tier.is_some_and(|tier| tier.objective.rpo > Duration::ZERO) {
            let what = "its tier allows for lost data, and nothing says what an hour of it costs";
            let hint = "estimate it: data_loss_cost_per_hour = 1000; 0 when it can be had again";
            self.warning(format!("{path}.data_loss_cost_per_hour"), "no-data-loss-cost", what, hint);
        }
        if process.maximum_tolerable_downtime.is_none() {
            let what = "nothing says after how long the business doesn't recover: its RTO can't be judged";
            let hint = "ask its owner: maximum_tolerable_downtime = \"8h\"";
            self.warning(format!("{path}.maximum_tolerable_downtime"), "no-maximum", what, hint);
        }
    }

    /// They grow: later, and dearer.
    fn impacts(&mut self, path: &str, process: &Process) {
        let mut dearest = None;
        for (number, pair) in process.impacts.windows(2).enumerate() {
            let path = format!("{path}.impacts.{}", number + 1);
            if pair[1].after <= pair[0].after {
                let what = format!(
                    "the impact after {} comes behind that after {}",
                    spoken(pair[1].after),
                    spoken(pair[0].after)
                );
                self.problem(
                    format!("{path}.after"),
                    "impact-order",
                    what,
                    "put them in order of time, each time once",
                );
            }
            dearest = pair[0].cost.max(dearest);
            if let Some((now, before)) = pair[1].cost.zip(dearest).filter(|(now, before)| now < before) {
                let what = format!(
                    "after {} it has cost {now} in all, less than the {before} of before",
                    spoken(pair[1].after)
                );
                let hint = "`cost` is everything from the beginning until then: it can't fall";
                self.problem(format!("{path}.cost"), "impact-falls", what, hint);
            }
        }
    }

    fn has_currency(&mut self) {
        let has_amount = |process: &Process| {
            let amounts = [process.cost_per_hour, process.data_loss_cost_per_hour, process.recovery_cost];
            amounts.iter().any(Option::is_some) || process.impacts.iter().any(|impact| impact.cost.is_some())
        };
        if self.plan.currency.is_none() && self.plan.processes.values().any(has_amount) {
            let what = "there are amounts, and nothing says of what";
            self.warning("plan.currency", "no-currency", what, "say currency = \"EUR\" in [plan]");
        }
    }

    /// A review, against the calendar.
    pub(super) fn reviewed(&mut self, path: &str, reviewed: Option<Date>) {
        let (today, within) = (self.context.today, self.plan.review_within);
        let hint = "look at it again, and write the day: reviewed = ";
        let Some(date) = reviewed else {
            self.warning(path, "never-reviewed", "it was never reviewed", format!("{hint}{today}"));
            return;
        };
        let days = date.until(today).map_or(0, |span| i64::from(span.get_days()));
        if days < 0 {
            let what = format!("its review is of {date}, which is still to come");
            self.problem(path, "reviewed-in-future", what, "write the day on which it was looked at");
            return;
        }
        let Some(within) = within else { return };
        let allowed = i64::try_from(within.as_secs() / DAY.as_secs()).unwrap_or(i64::MAX);
        if days > allowed {
            let what = format!("its review of {date} is {days} days old; {} are allowed", allowed);
            self.problem(path, "review-overdue", what, format!("{hint}{today}"));
        }
    }

    /// The order of ranks is that of the promises.
    fn ranks(&mut self) {
        for (name, tier) in &self.plan.tiers {
            let slower = |other: &&Tier| {
                other.rank.zip(tier.rank).is_some_and(|(other_rank, rank)| other_rank < rank)
                    && other.objective.rto > tier.objective.rto
            };
            let found = self.plan.tiers.iter().find(|(_, other)| slower(other));
            if let Some((other, slow)) = found {
                let what = format!(
                    "it is promised sooner ({}) than tier `{other}` ({}), which ranks above it",
                    spoken(tier.objective.rto),
                    spoken(slow.objective.rto)
                );
                self.warning(
                    format!("tier.{name}.rank"),
                    "rank-order",
                    what,
                    "let the rank follow the RTO, most critical first",
                );
            }
        }
    }

    fn not_all_first(&mut self) {
        let top = self.plan.tiers.iter().min_by_key(|(_, tier)| (tier.rank.unwrap_or(u32::MAX), tier.objective.rto));
        let Some((top, _)) = top else { return };
        let total = self.plan.processes.len();
        let first = self.plan.processes.values().filter(|process| process.tier.as_ref() == Some(top)).count();
        if first > TOP_TIER_COUNT_MAX && first * TOP_TIER_SHARE > total {
            let what = format!("{first} of {total} processes are in it: where everything comes first, nothing does");
            let hint = "ask of each what its first hour costs; let a fifth stay";
            self.warning(format!("tier.{top}"), "too-many-first", what, hint);
        }
    }
}

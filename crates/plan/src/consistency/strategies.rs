//! What is promised against what the protection can give: how much is lost at the least, and whether the strategy has what it needs.

use super::objectives::{key, words};
use super::{Look, Protected, Severity, spoken};
use crate::model::{Disruption, Strategy, Tier};
use std::time::Duration;

/// Copies alone are brought back in hours; sooner is for whoever has measured it.
const BACKUP_RESTORE_RTO_MIN: Duration = Duration::from_secs(3600);

impl Look<'_> {
    pub(super) fn strategies(&mut self) {
        for (workload, protected) in &self.context.workloads {
            let Some((tier_name, tier)) = self.plan.tier_of_workload(workload) else { continue };
            self.loss(workload, protected, tier_name, tier);
            self.has_what_it_needs(workload, protected, tier_name, tier);
        }
        for (name, tier) in &self.plan.tiers {
            self.by_itself(name, tier);
        }
    }

    fn by_itself(&mut self, name: &str, tier: &Tier) {
        let path = format!("tier.{name}.strategy");
        match tier.strategy {
            Some(Strategy::ActiveActive) => {
                let what = "Lifeboat has one primary at a time: several that are written to are not supported";
                self.problem(&path, "active-active", what, "strategy = \"hot_standby\" takes over within seconds");
            }
            Some(Strategy::BackupRestore) if tier.objective.rto < BACKUP_RESTORE_RTO_MIN => {
                let what = format!("copies alone are seldom back within {}", spoken(tier.objective.rto));
                let hint = "a standby (strategy = \"warm_standby\"), an RTO of hours, or a drill that shows it";
                self.warning(&path, "strategy-too-slow", what, hint);
            }
            _ => {}
        }
        let repeats = tier.strategy.is_some_and(|strategy| strategy >= Strategy::WarmStandby);
        if repeats && !tier.by_disruption.contains_key(&Disruption::Corruption) {
            let what = "a standby repeats a DELETE at once: after corruption a restore counts, and nothing is promised for that";
            let hint = "say what holds then: corruption = { rto = \"4h\", rpo = \"15m\" }";
            self.warning(format!("tier.{name}.corruption"), "no-corruption-objective", what, hint);
        }
    }

    fn has_what_it_needs(&mut self, workload: &str, protected: &Protected, tier_name: &str, tier: &Tier) {
        let path = format!("tier.{tier_name}.strategy");
        let fed = protected.has_standby || protected.has_cluster;
        let is_elsewhere = protected.copies.as_ref().is_some_and(|copies| !copies.elsewhere.is_empty());
        match tier.strategy {
            Some(Strategy::HotStandby | Strategy::WarmStandby) if !fed => {
                let what = format!("it needs a standby, and workload `{workload}` has neither a standby nor a cluster");
                let hint = format!(
                    "`lifeboat standby create` and standbys = [\"NAME\"] in [workload.{workload}], or a section [cluster.{workload}]"
                );
                self.problem(path, "no-standby", what, hint);
            }
            Some(Strategy::HotStandby) if !protected.has_cluster => {
                let what = format!(
                    "the standby of workload `{workload}` waits for somebody to promote it: nothing takes over by itself"
                );
                let hint =
                    format!("a section [cluster.{workload}] and `lifeboat agent`, or strategy = \"warm_standby\"");
                self.warning(path, "no-cluster", what, hint);
            }
            Some(Strategy::PilotLight) if !fed && !is_elsewhere => {
                let what = format!(
                    "it needs data elsewhere, and no copy of workload `{workload}` is known to be in another region"
                );
                let hint = "add a location in another region, and say `region` of the locations and the workload";
                self.problem(path, "nothing-elsewhere", what, hint);
            }
            _ => {}
        }
    }

    /// For each kind of disruption of which something is said, and those in which the general promise is most often wrong.
    fn loss(&mut self, workload: &str, protected: &Protected, tier_name: &str, tier: &Tier) {
        let general = tier.objective.rpo;
        let possible = possible(protected, tier, Disruption::Instance);
        if general < possible {
            let path = format!("tier.{tier_name}.rpo");
            let (what, hint) = said(workload, tier_name, protected, tier, None, general, possible);
            self.problem(path, code(general), what, hint);
        }
        for (kind, own) in &tier.by_disruption {
            let possible = self::possible(protected, tier, *kind);
            if own.rpo < possible
                && (own.rpo != general || general >= self::possible(protected, tier, Disruption::Instance))
            {
                let path = format!("tier.{tier_name}.{}.rpo", key(*kind));
                let (what, hint) = said(workload, tier_name, protected, tier, Some(*kind), own.rpo, possible);
                self.problem(path, code(own.rpo), what, hint);
            }
        }
        // A tier that is wrong for a lost server needn't hear that it is wrong for a lost site, too.
        if general < possible {
            return;
        }
        let repeats = tier.strategy.is_some_and(|strategy| strategy >= Strategy::WarmStandby);
        for kind in [Disruption::Site, Disruption::Corruption] {
            let possible = self::possible(protected, tier, kind);
            let is_told = tier.by_disruption.contains_key(&kind) || kind == Disruption::Corruption && repeats;
            if is_told || general >= possible {
                continue;
            }
            let is_feared = self.plan.risks.values().any(|risk| risk.disruption == kind);
            let severity = if is_feared { Severity::Problem } else { Severity::Warning };
            let (what, _) = said(workload, tier_name, protected, tier, Some(kind), general, possible);
            let hint = format!(
                "say what holds then: {} = {{ rpo = \"{}\" }} in [tier.{tier_name}]",
                key(kind),
                spoken(possible)
            );
            self.find(severity, format!("tier.{tier_name}.rpo"), code(general), what, hint);
        }
    }
}

fn code(rpo: Duration) -> &'static str {
    if rpo.is_zero() { "rpo-zero" } else { "rpo-under-possible" }
}

/// The least that is lost, by how it is set up. What nobody said how often it is copied may be copied all the time.
fn possible(protected: &Protected, tier: &Tier, kind: Disruption) -> Duration {
    let survives = match kind {
        Disruption::Corruption | Disruption::Ransomware => false,
        Disruption::Site => protected.commits_survive.contains(&Disruption::Site),
        _ => protected.commits_survive.contains(&Disruption::Instance),
    };
    match tier.strategy {
        _ if survives => Duration::ZERO,
        Some(Strategy::BackupRestore) => protected.backup_within.unwrap_or_default().max(protected.loss_min()),
        _ => protected.loss_min(),
    }
}

/// What is wrong, and what would help.
fn said(
    workload: &str,
    tier_name: &str,
    protected: &Protected,
    tier: &Tier,
    kind: Option<Disruption>,
    rpo: Duration,
    possible: Duration,
) -> (String, String) {
    let when = kind.map(|kind| format!(" after {}", words(kind))).unwrap_or_default();
    let promise = match rpo.is_zero() {
        true => format!("tier `{tier_name}` promises that nothing is lost{when}"),
        false => format!("tier `{tier_name}` promises a loss of {} at most{when}", spoken(rpo)),
    };
    let (least, way) = (spoken(possible), spoken(protected.log_interval));
    let replicated = matches!(kind, Some(Disruption::Corruption | Disruption::Ransomware));
    let (why, help) = if tier.strategy == Some(Strategy::BackupRestore) && protected.backup_within == Some(possible) {
        let help = format!("a shorter `backup_within` in [workload.{workload}], strategy = \"point_in_time\"");
        (format!("workload `{workload}` is copied every {least}, and the strategy is copies only"), help)
    } else if replicated {
        (
            format!("what workload `{workload}` wrote last is wrong itself, or {least} old in its copies"),
            "measure it in a drill".to_owned(),
        )
    } else if let Some(lag) = protected.lag_max {
        let what =
            format!("the copies of workload `{workload}` come from a standby that may be {} behind", spoken(lag));
        (what, "a smaller `standby_max_lag`".to_owned())
    } else if rpo.is_zero() {
        let is_site = kind == Some(Disruption::Site);
        let where_to = if is_site { " in another region" } else { "" };
        let of_regions = if is_site { " over regions" } else { "" };
        let count = if is_site { "[\"FAR\"]" } else { "1" };
        let what = format!("no commit of workload `{workload}` waits until a place{where_to} has it");
        let help = format!(
            "commits that wait: a cluster in synchronous mode{of_regions}, or synchronous = {{ locations = {count} }} in [workload.{workload}]"
        );
        (what, help)
    } else {
        let what = format!("the log of workload `{workload}` is sent every {way}");
        (what, format!("a shorter `wal_tail_interval` in [workload.{workload}]"))
    };
    (format!("{promise}; {why}"), format!("{help}, or rpo = \"{least}\""))
}

//! What the answer rests upon, in sentences.

use super::{Inputs, ScopeAnalysis, Source, StoreCost, is_beyond_the_curve};
use crate::model::Strategy;

/// A strategy as the files have it.
pub fn strategy_word(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::BackupRestore => "backup_restore",
        Strategy::PointInTime => "point_in_time",
        Strategy::PilotLight => "pilot_light",
        Strategy::WarmStandby => "warm_standby",
        Strategy::HotStandby => "hot_standby",
        Strategy::ActiveActive => "active_active",
    }
}

/// All of them, each once.
pub(super) fn assumed(inputs: &Inputs, scopes: &[ScopeAnalysis], stores: &[StoreCost]) -> Vec<String> {
    let mut told = vec![match inputs.assumptions.discount_rate_percent_per_year {
        Some(rate) => format!("{} years; money of a year later counts {rate} % less", inputs.years),
        None => format!("{} years; no discount rate is given, so later money counts in full", inputs.years),
    }];
    told.extend(of_recoveries(scopes));
    told.push(
        "against corruption and ransomware a standby doesn't help: there every dearer strategy counts as point_in_time"
            .to_owned(),
    );
    let unplanned = inputs
        .plan
        .groups
        .keys()
        .filter(|group| inputs.plan.tier_of_group(group).is_none_or(|(_, tier)| tier.strategy.is_none()));
    told.extend(
        unplanned.map(|group| format!("the tier of {group} names no strategy: its drills count for point_in_time")),
    );
    told.extend(
        inputs
            .plan
            .groups
            .keys()
            .filter(|group| inputs.plan.tier_of_group(group).is_none())
            .map(|group| format!("{group} has no tier, and so no objective: no strategy is recommended for it")),
    );
    told.extend(of_curves(inputs, scopes));
    told.extend(of_storage(inputs, stores));
    told
}

fn of_recoveries(scopes: &[ScopeAnalysis]) -> Vec<String> {
    let rows = scopes.iter().filter(|scope| scope.group.is_some() || scopes.len() == 1).flat_map(|scope| &scope.rows);
    let recoveries = rows.flat_map(|row| &row.scenarios).map(|scenario| &scenario.recovery);
    let sources: Vec<&Source> = recoveries.flat_map(|recovery| [&recovery.rta.source, &recovery.rpa.source]).collect();
    let count = |wanted: &dyn Fn(&Source) -> bool| sources.iter().filter(|source| wanted(source)).count();
    let mut told = Vec::new();
    if !sources.is_empty() {
        let measured = count(&|source| matches!(source, Source::Measured { .. }));
        told.push(format!("of {} times and losses of recovery, {measured} are measured in drills", sources.len()));
    }
    let usual = count(&|source| *source == Source::Usual);
    if usual > 0 {
        told.push(format!(
            "{usual} are the study's usual values (RTA, RPA): backup_restore 24 h, 24 h; point_in_time 24 h, 5 m; pilot_light 1 h, 5 m; warm_standby 10 m, 1 m; hot_standby 2 m, 10 s; active_active 1 m, 1 s"
        ));
    }
    if count(&|source| matches!(source, Source::Promised(_))) > 0 {
        told.push(
            "where nothing was measured or said, the planned strategy is taken to do what its tier promises".to_owned(),
        );
    }
    told
}

fn of_curves(inputs: &Inputs, scopes: &[ScopeAnalysis]) -> Vec<String> {
    let recoveries = scopes.iter().flat_map(|scope| &scope.rows).flat_map(|row| &row.scenarios);
    let longest = recoveries.filter_map(|scenario| scenario.recovery.rta.time).max().unwrap_or_default();
    let beyond = inputs.plan.processes.iter().filter(|(_, process)| is_beyond_the_curve(process, longest));
    beyond.map(|(name, _)| format!("after the last of its impacts, {name} costs as in its last stretch")).collect()
}

fn of_storage(inputs: &Inputs, stores: &[StoreCost]) -> Vec<String> {
    let mut told = Vec::new();
    if stores.is_empty() {
        return told;
    }
    told.push(
        "storage grows as the points of today have grown, nothing is given up, and costs the same with every strategy"
            .to_owned(),
    );
    for cost in stores {
        let store = &cost.store;
        let Some(class) = inputs.book.class.get(&store.class) else { continue };
        let said =
            if inputs.book.location.contains_key(&store.name) { "the price book says so" } else { "from its url" };
        let dated = class.dated.map(|dated| format!(", prices of {dated}")).unwrap_or_default();
        told.push(format!("{} is {} ({said}){dated}", store.name, store.class));
        if class.is_old(inputs.today) {
            told.push(format!("the prices of {} are older than a year: look them up", store.class));
        }
        let grows = store
            .workloads
            .iter()
            .all(|name| inputs.workloads.get(name).is_some_and(|size| size.growth_bytes_per_year.is_some()));
        if !grows {
            told.push(format!("{} is taken not to grow: its points span less than a day", store.name));
        }
        if let Some(days) = class.minimum_days.filter(|days| *days > 0) {
            told.push(format!(
                "what is deleted from {} within {days} days is paid for so long; that is not counted",
                store.name
            ));
        }
    }
    if inputs.plan.currency.is_none() && stores.iter().any(|cost| cost.currency.is_some()) {
        told.push("the plan names no currency: it is taken to be that of the price book".to_owned());
    }
    told.dedup();
    told
}

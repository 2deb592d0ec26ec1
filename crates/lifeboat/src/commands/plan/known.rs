//! What the configuration says that a plan can be held against. Nothing is measured here.

use crate::commands::check::judge_workload;
use crate::config::{ClusterConfig, Config, ModeConfig, SyncKeeping, WorkloadConfig};
use jiff::civil::Date;
use lifeboat_plan::consistency::{Context, Protected};
use lifeboat_plan::copies::Judgement;
use lifeboat_plan::model::Disruption;
use std::collections::BTreeSet;

/// See the module.
pub fn context(config: &Config, today: Date) -> Context {
    let protected = |(name, workload): (&String, &WorkloadConfig)| (name.clone(), protected(config, name, workload));
    let built_in = lifeboat_drill::builtin::names().map(str::to_owned);
    let own = config.plan.scenario_names().map(str::to_owned);
    Context {
        today,
        workloads: config.workloads.iter().map(protected).collect(),
        clusters: config.clusters.keys().cloned().collect(),
        scenarios: Some(built_in.chain(own).collect()),
    }
}

fn protected(config: &Config, name: &str, workload: &WorkloadConfig) -> Protected {
    let copies = judge_workload(config, name, &[], &[]);
    // A cluster has the name of its workload, or looks after the same directory.
    let by_directory =
        config.clusters.values().find(|other| other.data_dir.is_some() && other.data_dir == workload.data_dir);
    let cluster = config.clusters.get(name).or(by_directory);
    let mut commits_survive = waiting_for_locations(workload, &copies);
    commits_survive.extend(cluster.map(waiting_for_members).unwrap_or_default());
    Protected {
        backup_within: workload.backup_within,
        log_interval: workload.wal_tail_interval,
        lag_max: workload.primary.as_ref().and_then(|primary| primary.standby_max_lag),
        commits_survive,
        has_standby: !workload.standbys.is_empty() || workload.primary.is_some(),
        has_cluster: cluster.is_some_and(|cluster| data_members(cluster) > 1),
        has_check: !workload.check.is_empty(),
        copies: Some(copies),
    }
}

/// What a commit survives that waits as `synchronous` says.
fn waiting_for_locations(workload: &WorkloadConfig, copies: &Judgement) -> BTreeSet<Disruption> {
    let Some(synchronous) = &workload.synchronous else { return BTreeSet::new() };
    let is_elsewhere = |name: &String| copies.elsewhere.contains(name);
    let leaves_the_site = match &synchronous.keeping {
        // Whichever are the quickest.
        SyncKeeping::Count(count) => workload.locations.iter().filter(|name| !is_elsewhere(name)).count() < *count,
        SyncKeeping::Named(names) => names.iter().any(is_elsewhere),
        SyncKeeping::Spool(_) => false,
    };
    let site = leaves_the_site.then_some(Disruption::Site);
    site.into_iter().chain([Disruption::Instance]).collect()
}

fn data_members(cluster: &ClusterConfig) -> usize {
    cluster.members.values().filter(|member| member.database.is_some()).count()
}

/// What a commit survives that waits for standbys.
fn waiting_for_members(cluster: &ClusterConfig) -> BTreeSet<Disruption> {
    let ModeConfig::Synchronous { needed, continues_alone: false } = cluster.mode else { return BTreeSet::new() };
    if data_members(cluster) < 2 {
        return BTreeSet::new();
    }
    let regions: Vec<Option<&str>> = cluster
        .members
        .values()
        .filter(|member| member.database.is_some())
        .map(|member| member.region.as_deref())
        .collect();
    // Whoever is the primary: so few are where it is that one of those waited for must be elsewhere.
    let leaves_the_site = regions.iter().all(|own| {
        own.is_some() && regions.iter().filter(|other| *other == own || other.is_none()).count() - 1 < needed
    });
    let site = leaves_the_site.then_some(Disruption::Site);
    site.into_iter().chain([Disruption::Instance]).collect()
}

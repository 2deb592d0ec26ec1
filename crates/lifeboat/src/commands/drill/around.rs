//! What a rehearsal is told about the world, from the configuration.

use super::journal_dir;
use crate::cli::DrillRunArguments;
use crate::commands::find_named;
use crate::config::{ClusterConfig, Config, LeaseConfig, LocationConfig, Store};
use crate::failure::{Failure, FailureKind};
use crate::papers::gather::bare_runbook;
use crate::rooms;
use lifeboat_drill::scenario::{Action, Scenario, TargetKind};
use lifeboat_drill::surroundings::{Address, Production, Protected, Surroundings};
use lifeboat_plan::model::Plan;
use lifeboat_plan::run::Promised;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const POSTGRES_PORT: u16 = 5432;

/// Everything from outside, and the parameters are checked elsewhere.
pub fn surroundings(
    arguments: &DrillRunArguments,
    scenario: &Scenario,
    (config_path, config): (&Path, &Config),
) -> Result<Surroundings, Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Failure::from_error(FailureKind::Unavailable, &error).while_doing(what)
    };
    let (names, left_out) = targets(arguments, scenario, config)?;
    refuse_secret_headers(scenario, config)?;
    let plan = config.plan.plan.clone();
    let drill = drill_of(&plan, arguments, scenario);
    let approver = drill.as_ref().and_then(|name| plan.drills[name].approver.clone());
    let mut participants = arguments.participant.clone();
    participants.extend(drill.iter().flat_map(|name| plan.drills[name].participants.clone()));
    let config_file = std::path::absolute(config_path).map_err(failed("find the configuration"))?;
    let scratch = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let is_root = rustix::process::geteuid().is_root();
    let account = is_root.then(|| rooms::postgres_account().or_else(|| rooms::account("nobody"))).flatten();
    Ok(Surroundings {
        program: std::env::current_exe().map_err(failed("find this program"))?,
        config: config_file,
        scratch_dir: scratch.canonicalize().map_err(failed("find the directory for the place"))?,
        journal_dir: journal_dir(config)?,
        account,
        workloads: names.iter().map(|name| protected(name, config)).collect::<Result<_, _>>()?,
        group: arguments.group.clone(),
        production: production(config),
        copies: copies(&names, config),
        runbook_hash: lifeboat_report::runbook_hash(&bare_runbook(config_path, config)),
        promised: promised(&plan, arguments.group.as_deref(), &names, scenario),
        plan,
        left_out,
        own_network: !arguments.in_this_network,
        keep: arguments.keep,
        requested_by: account_name(),
        approved_by: arguments.approve_as.clone(),
        approver,
        participants,
        drill,
        host: rooms::host_name(),
        versions: [("lifeboat".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
        configuration_hash: crate::config::fingerprint(config),
        search_path: std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect(),
    })
}

/// A secret header would have to be in what is told and recorded of a step: such a step isn't carried out.
fn refuse_secret_headers(scenario: &Scenario, config: &Config) -> Result<(), Failure> {
    let steps = scenario.phases.values().flatten();
    let used = steps.filter_map(|step| match &step.action {
        Action::VendorStep(name) => Some(name),
        _ => None,
    });
    for name in used {
        if let Some((_, header)) = config.plan.vendor_secrets.keys().find(|(step, _)| step == name) {
            let message = format!("the vendor step {name} sends the secret header {header}, which a drill doesn't");
            return Err(Failure::new(FailureKind::Usage, message)
                .with_hint("let it run a `command` that gets its secret itself, as the vendor's own program does"));
        }
    }
    Ok(())
}

/// Workloads in the order of recovery, and the steps of other systems that are left out.
fn targets(
    arguments: &DrillRunArguments,
    scenario: &Scenario,
    config: &Config,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    match (scenario.target, &arguments.group) {
        (TargetKind::Nothing, _) => Ok((Vec::new(), Vec::new())),
        (_, Some(name)) => {
            let group = find_named("group", name, &config.plan.plan.groups)?;
            let order = order(&group.workloads, &group.vendor_steps, &group.after).ok_or_else(|| {
                Failure::new(FailureKind::Usage, format!("the order of group {name} goes in a circle"))
                    .with_hint("`lifeboat plan check` names those that are in it")
            })?;
            Ok(order.into_iter().partition(|name| group.workloads.contains(name)))
        }
        (TargetKind::Group, None) if arguments.workload.is_none() => {
            Ok((config.workloads.keys().cloned().collect(), Vec::new()))
        }
        _ => Ok((vec![rooms::workload_name(config, arguments.workload.as_deref())?], Vec::new())),
    }
}

/// Each after those that come before it; by name where the order leaves a choice. `None` when it goes in a circle.
fn order(
    workloads: &BTreeSet<String>,
    steps: &BTreeSet<String>,
    after: &std::collections::BTreeMap<String, BTreeSet<String>>,
) -> Option<Vec<String>> {
    let mut left: Vec<&String> = workloads.iter().chain(steps).collect();
    let mut ordered: Vec<String> = Vec::new();
    while !left.is_empty() {
        let is_ready =
            |name: &&String| after.get(*name).is_none_or(|before| before.iter().all(|one| ordered.contains(one)));
        let next = left.iter().position(is_ready)?;
        ordered.push(left.remove(next).clone());
    }
    Some(ordered)
}

fn protected(name: &str, config: &Config) -> Result<Protected, Failure> {
    let workload = find_named("workload", name, &config.workloads)?;
    let (user, database) = rooms::user_and_database(workload);
    let mut checks = workload.check.clone();
    let groups = config.plan.plan.groups.values().filter_map(|group| group.health.get(name));
    checks.extend(groups.flatten().cloned());
    Ok(Protected { name: name.to_owned(), checks, bin_dir: workload.bin_dir.clone(), user, database })
}

/// The drill of the plan that this is: the same scenario with the same target.
fn drill_of(plan: &Plan, arguments: &DrillRunArguments, scenario: &Scenario) -> Option<String> {
    let target = arguments.group.as_ref().or(arguments.workload.as_ref());
    let same = plan.drills.iter().find(|(_, drill)| drill.scenario == scenario.name && drill.target.as_ref() == target);
    same.map(|(name, _)| name.clone())
}

fn promised(plan: &Plan, group: Option<&str>, workloads: &[String], scenario: &Scenario) -> Promised {
    let tier = match group {
        Some(group) => plan.tier_of_group(group),
        None => workloads.first().and_then(|workload| plan.tier_of_workload(workload)),
    };
    let objective = tier.map(|(_, tier)| tier.objective(scenario.disruption));
    Promised {
        tier: tier.map(|(name, _)| name.to_owned()),
        rto_seconds: objective.map(|objective| objective.rto.as_secs_f64()),
        rpo_seconds: objective.map(|objective| objective.rpo.as_secs_f64()),
    }
}

/// Where the locations of the workloads are, each once.
fn copies(workloads: &[String], config: &Config) -> Vec<(String, Option<PathBuf>)> {
    let mut copies: Vec<(String, Option<PathBuf>)> = Vec::new();
    for name in workloads.iter().filter_map(|name| config.workloads.get(name)).flat_map(|one| &one.locations) {
        if let Some(location) = config.locations.get(name)
            && !copies.iter().any(|(found, _)| found == name)
        {
            copies.push((name.clone(), location.url.directory().map(Path::to_path_buf)));
        }
    }
    copies
}

/// What must not be touched.
fn production(config: &Config) -> Production {
    let mut production = Production::default();
    for (name, workload) in &config.workloads {
        let connections =
            std::iter::once(&workload.connection).chain(workload.primary.iter().map(|one| &one.connection));
        for connection in connections {
            production.addresses.extend(of_connection(&format!("the server of {name}"), connection));
        }
        production.paths.extend(workload.data_dir.iter().map(|path| (format!("the data of {name}"), path.clone())));
    }
    for (name, location) in &config.locations {
        match location.url.directory() {
            Some(path) => production.paths.push((format!("location {name}"), path.to_path_buf())),
            None => {
                production.is_remote = true;
                production.addresses.extend(of_location(name, location));
            }
        }
    }
    for (name, cluster) in &config.clusters {
        of_cluster(name, cluster, &mut production);
    }
    production
}

fn of_cluster(name: &str, cluster: &ClusterConfig, production: &mut Production) {
    for (member, config) in &cluster.members {
        let what = format!("member {member} of cluster {name}");
        production.addresses.extend(of_url(&format!("the agent of {what}"), &config.agent));
        let database = config.database.iter();
        production.addresses.extend(database.map(|(host, port)| Address {
            what: what.clone(),
            host: host.clone(),
            port: *port,
        }));
    }
    production.paths.extend(cluster.data_dir.iter().map(|path| (format!("the data of cluster {name}"), path.clone())));
    match &cluster.lease {
        LeaseConfig::Etcd { endpoints, .. } => {
            let what = format!("the lease store of cluster {name}");
            production.addresses.extend(endpoints.iter().filter_map(|url| of_url(&what, url)));
        }
        LeaseConfig::Directory(path) => production.paths.push((format!("the lease of cluster {name}"), path.clone())),
        LeaseConfig::Location(_) => {}
    }
}

/// The addresses of a connection as libpq writes it; a directory of sockets is none.
fn of_connection(what: &str, connection: &str) -> Vec<Address> {
    let word = |key: &str| {
        let mut words = connection.split_whitespace().filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('\'').to_owned())
    };
    let hosts = word("hostaddr").or_else(|| word("host")).unwrap_or_default();
    let ports: Vec<Option<u16>> = word("port").unwrap_or_default().split(',').map(|port| port.parse().ok()).collect();
    let hosts = hosts.split(',').enumerate().filter(|(_, host)| !host.is_empty() && !host.starts_with('/'));
    hosts
        .map(|(number, host)| {
            let port = ports.get(number).or(ports.first()).copied().flatten().unwrap_or(POSTGRES_PORT);
            Address { what: what.to_owned(), host: host.to_owned(), port }
        })
        .collect()
}

fn of_location(name: &str, location: &LocationConfig) -> Option<Address> {
    let what = format!("location {name}");
    if let Some(endpoint) = &location.endpoint {
        return of_url(&what, endpoint);
    }
    let host = match location.url.store() {
        Store::Directory => return None,
        Store::S3 => location
            .region
            .as_ref()
            .map_or("s3.amazonaws.com".to_owned(), |region| format!("s3.{region}.amazonaws.com")),
        Store::Azure => "login.microsoftonline.com".to_owned(),
        Store::Google => "storage.googleapis.com".to_owned(),
    };
    Some(Address { what, host, port: 443 })
}

fn of_url(what: &str, url: &str) -> Option<Address> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, port.parse().ok()),
        _ => (authority, None),
    };
    let usual = if scheme == "http" { 80 } else { 443 };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(Address { what: what.to_owned(), host, port: port.unwrap_or(usual) })
}

/// The account of this machine that asks.
fn account_name() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid)).and_then(|line| line.split(':').next());
    line.map_or_else(|| format!("user {uid}"), str::to_owned)
}

/// What was given with `--with`.
pub fn parameters(with: &[String]) -> Result<std::collections::BTreeMap<String, String>, Failure> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            Failure::new(FailureKind::Usage, format!("--with {text:?} has no `=`")).with_hint("write --with NAME=VALUE")
        })?;
        Ok((name.to_owned(), value.to_owned()))
    };
    with.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_wherever_they_stand() {
        let show = |addresses: Vec<Address>| {
            addresses.iter().map(|one| format!("{}:{}", one.host, one.port)).collect::<Vec<_>>().join(" ")
        };
        for (connection, found) in [
            ("host=/run/postgresql user=a", ""),
            ("host=db1 user=a", "db1:5432"),
            ("host=db1,db2 port=5433,5434", "db1:5433 db2:5434"),
            ("host=db1,db2 port=5433", "db1:5433 db2:5433"),
            ("host=name hostaddr=10.0.0.1 port=1", "10.0.0.1:1"),
            ("user=a", ""),
        ] {
            assert_eq!(show(of_connection("x", connection)), found, "{connection}");
        }
        for (url, found) in [
            ("https://a:8443", "a:8443"),
            ("http://127.0.0.1:9000/x", "127.0.0.1:9000"),
            ("https://a/b", "a:443"),
            ("http://[::1]:5", "::1:5"),
        ] {
            assert_eq!(show(of_url("x", url).into_iter().collect()), found, "{url}");
        }
    }

    #[test]
    fn the_order_of_a_group_is_kept_and_a_circle_is_seen() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let after =
            |pairs: &[(&str, &[&str])]| pairs.iter().map(|(name, before)| ((*name).to_owned(), set(before))).collect();
        let ordered = order(&set(&["a", "b", "c"]), &set(&["v"]), &after(&[("a", &["c", "v"]), ("v", &["b"])]));
        assert_eq!(ordered.unwrap(), ["b", "c", "v", "a"]);
        assert_eq!(order(&set(&["a", "b"]), &set(&[]), &after(&[("a", &["b"]), ("b", &["a"])])), None);
    }
}

//! `lifeboat standby status`: asks the primary who follows, and judges.

mod page;

use crate::cli::Global;
use crate::commands::cluster::Asking;
use crate::commands::find_named;
use crate::config::{self, Clusters, Config, UnknownKeys, load_clusters};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::rooms;
use lifeboat_postgres::connection::{ErrorKind, Secret, Target};
use lifeboat_postgres::standbys::{Severity, findings, loss, observe_within};
use std::collections::BTreeMap;
use std::time::Duration;

/// A server that is asked who follows and says nothing for so long isn't there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom to ask, and who should be there.
struct Question {
    of: String,
    primary: Target,
    /// By their `application_name`.
    expected: Vec<String>,
    is_cluster: bool,
    /// Of those who have one.
    regions: BTreeMap<String, String>,
}

pub async fn run(global: &Global, name: Option<&str>, output: &Output) -> Result<(), Failure> {
    let question = question(global, name, output).await?;
    let client = match question.primary.connect().await {
        Err(error) if error.kind() == ErrorKind::NoDatabase => {
            question.primary.clone().with_database("postgres").connect().await?
        }
        connected => connected?,
    };
    let mut facts = observe_within(&client, PATIENCE).await?;
    if question.is_cluster {
        // There they say behind their name which timeline they believe in.
        for sender in &mut facts.senders {
            if let Some((member, _)) = lifeboat_agent::database::from_name(&sender.name) {
                sender.name = member.to_string();
            }
        }
    }
    let found = findings(&facts, &question.expected);
    let report = page::Report { question: &question, facts: &facts, findings: &found, loss: loss(&facts) };
    report.show(output)?;
    match found.iter().find(|finding| finding.severity() == Severity::Bad) {
        Some(finding) => Err(Failure::new(FailureKind::CheckFailed, page::sentence(finding))
            .with_hint(page::advice(finding, &question.of))
            .after_its_document()),
        None => Ok(()),
    }
}

/// A cluster of that name goes first: it knows who should be there.
async fn question(global: &Global, name: Option<&str>, output: &Output) -> Result<Question, Failure> {
    let clusters = load_clusters(global.config.as_deref()).map(|(_, clusters)| clusters).unwrap_or_default();
    // A configuration without repositories, as a witness has, is one all the same.
    let config = config::load(global.config.as_deref(), UnknownKeys::Warn).map(|loaded| loaded.parsed.config);
    let name = meant(name, &clusters, config.as_ref().ok())?;
    if let Some(name) = name.as_deref().filter(|name| clusters.clusters.contains_key(*name)) {
        return of_cluster(global, name).await;
    }
    let config = config?;
    let name = name.unwrap_or_default();
    let workload = find_named("workload", &name, &config.workloads)?;
    if workload.standbys.is_empty() {
        output.hint(&format!("`standbys = [\"NAME\"]` in [workload.{name}] says who must be there"));
    }
    let connection = workload.primary.as_ref().map_or(&workload.connection, |primary| &primary.connection);
    Ok(Question {
        of: name,
        primary: Target::parse(connection, &rooms::secret(workload)?)?,
        expected: workload.standbys.clone(),
        is_cluster: false,
        regions: BTreeMap::new(),
    })
}

/// The named one, or the only one.
fn meant(name: Option<&str>, clusters: &Clusters, config: Option<&Config>) -> Result<Option<String>, Failure> {
    if let Some(name) = name {
        return Ok(Some(name.to_owned()));
    }
    let workloads = config.map(|config| config.workloads.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut names: Vec<String> = clusters.clusters.keys().cloned().chain(workloads).collect();
    names.sort();
    names.dedup();
    match names.len() {
        0 | 1 => Ok(names.pop()),
        _ => {
            Err(Failure::new(FailureKind::Usage, "whose standbys? the configuration has several workloads or clusters")
                .with_hint(format!("add one of {}", names.join(", "))))
        }
    }
}

async fn of_cluster(global: &Global, name: &str) -> Result<Question, Failure> {
    let asking = Asking::of(global, Some(name))?;
    let holder = asking.holder().await?;
    let config = &asking.chosen.cluster;
    let database = config.members.get(&holder).and_then(|member| member.database.clone());
    let own = config.connection.as_ref().filter(|_| config.member.as_ref() == Some(&holder));
    let primary = match (own, database) {
        (Some(connection), _) => {
            let secret = match &config.password {
                Some(source) => Secret::Password(source.resolve()?.expose().to_owned()),
                None => Secret::None,
            };
            Target::parse(connection, &secret)?
        }
        (None, Some((host, port))) => {
            let replication = config.replication.as_deref().unwrap_or("user=postgres");
            Target::parse(&format!("host='{host}' port={port} dbname=postgres {replication}"), &Secret::None)?
        }
        (None, None) => {
            let message = format!("the primary of cluster {name} is {holder}, of which the configuration says nothing");
            return Err(Failure::new(FailureKind::NotFound, message)
                .with_hint("the members are the same in every configuration"));
        }
    };
    let others = config.members.iter().filter(|(other, member)| **other != holder && member.database.is_some());
    let region = |(name, member): (&String, &config::MemberConfig)| Some((name.clone(), member.region.clone()?));
    Ok(Question {
        of: name.to_owned(),
        primary,
        expected: others.map(|(name, _)| name.clone()).collect(),
        is_cluster: true,
        regions: config.members.iter().filter_map(region).collect(),
    })
}

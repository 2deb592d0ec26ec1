//! What is to be made: from what was typed, the configuration, and for a cluster's member from what the agents say.

use crate::cli::{Global, StandbyCreateArguments, StandbySource};
use crate::commands::cluster::{Asking, Chosen};
use crate::commands::{find_named, load_config, restore};
use crate::config::{Config, UnknownKeys, WorkloadConfig, load_clusters};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::rooms;
use lifeboat_agent::database::slot_name;
use lifeboat_postgres::connection::{Secret, Target};
use lifeboat_recovery::RestoreCommand;
use lifeboat_recovery::standby::conninfo_named;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A standby that is wanted.
pub struct Intent {
    /// The workload or the cluster.
    pub of: String,
    pub to: PathBuf,
    /// How we reach the server that it will follow.
    pub primary: Target,
    /// How the standby will.
    pub conninfo: String,
    pub name: String,
    pub slot: Option<String>,
    /// `None`: as the repository allows.
    pub source: Option<StandbySource>,
    pub location: Option<String>,
    pub tablespaces: BTreeMap<u32, PathBuf>,
    pub bin_dir: Option<PathBuf>,
    pub archive: Option<Archive>,
    /// A member's own, in PostgreSQL's words.
    pub restore_command: Option<String>,
    /// Its agent starts it.
    pub is_member: bool,
    /// Who asks the standby once it runs: user, database, and what proves it.
    pub asks: (String, String, Secret),
}

/// The repository that has its workload.
pub struct Archive {
    pub config: Config,
    pub workload: String,
    pub command: RestoreCommand,
}

impl Archive {
    pub fn settings(&self) -> &WorkloadConfig {
        &self.config.workloads[&self.workload]
    }
}

/// See the module.
pub async fn read(global: &Global, arguments: &StandbyCreateArguments, output: &Output) -> Result<Intent, Failure> {
    let is_plain = arguments.to.is_none() && arguments.primary.is_none();
    let clusters = load_clusters(global.config.as_deref()).ok().map(|(_, clusters)| clusters);
    match clusters.filter(|clusters| is_plain && clusters.clusters.contains_key(&arguments.of)) {
        Some(_) => of_member(global, arguments, output).await,
        None => of_workload(global, arguments, output),
    }
}

fn of_workload(global: &Global, arguments: &StandbyCreateArguments, output: &Output) -> Result<Intent, Failure> {
    let (path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let name = &arguments.of;
    let workload = find_named("workload", name, &config.workloads)?;
    if let Some(location) = &arguments.location {
        find_named("location", location, &config.locations)?;
    }
    let to = arguments.to.as_ref().ok_or_else(|| {
        Failure::new(FailureKind::Usage, "where is the standby to be written?").with_hint("add --to DIR")
    })?;
    let configured = workload.primary.as_ref().map_or(&workload.connection, |primary| &primary.connection);
    let conninfo = arguments.primary.as_ref().unwrap_or(configured);
    no_password(conninfo)?;
    let secret = rooms::secret(workload)?;
    if matches!(secret, Secret::Password(_)) && !conninfo.contains("passfile") {
        output.warn("the standby gets no password from the configuration: put passfile=FILE into --primary");
    }
    let own = arguments.name.clone().unwrap_or_else(rooms::host_name);
    if own.is_empty() || own.len() > 63 || own.chars().any(char::is_control) {
        return Err(Failure::new(FailureKind::Usage, format!("{own:?} is no name for a standby"))
            .with_hint("--name takes 1 to 63 bytes"));
    }
    let slot = arguments.slot.clone().unwrap_or_else(|| slot_name(&own.as_str().into()));
    let (user, database) = rooms::user_and_database(workload);
    Ok(Intent {
        of: name.clone(),
        to: absolute(to)?,
        primary: Target::parse(conninfo, &secret)?.with_application_name("lifeboat standby create"),
        conninfo: conninfo_named(conninfo, &own),
        name: own,
        slot: (!arguments.no_slot).then_some(slot),
        source: arguments.from,
        location: arguments.location.clone(),
        tablespaces: restore::tablespaces(&arguments.tablespaces)?,
        bin_dir: workload.bin_dir.clone(),
        restore_command: None,
        is_member: false,
        asks: (user, database, secret),
        archive: Some(Archive { command: restore::restore_command(&path, name)?, workload: name.clone(), config }),
    })
}

async fn of_member(global: &Global, arguments: &StandbyCreateArguments, output: &Output) -> Result<Intent, Failure> {
    let asking = Asking::of(global, Some(&arguments.of))?;
    let Chosen { name: cluster, cluster: config, .. } = &asking.chosen;
    let wrong = |message: String, hint: &str| Failure::new(FailureKind::Usage, message).with_hint(hint);
    if arguments.start {
        return Err(wrong(format!("a member of cluster {cluster} is started by its agent"), "leave out --start"));
    }
    if arguments.slot.is_some() || arguments.no_slot || arguments.name.is_some() {
        let message = format!("name and slot of a member of cluster {cluster} are given by the configuration");
        return Err(wrong(message, "leave out --name, --slot and --no-slot"));
    }
    let own = config.member.clone().ok_or_else(|| {
        wrong(format!("[cluster.{cluster}] doesn't say which member this machine is"), "add this_member = \"NAME\"")
    })?;
    let to = config.data_dir.clone().filter(|_| config.members[&own].database.is_some()).ok_or_else(|| {
        wrong(format!("member {own} of cluster {cluster} has no database"), "give it `database` and `data_dir`")
    })?;
    let to = arguments.beside.clone().unwrap_or(to);
    let holder = asking.holder().await?;
    if holder == own {
        return Err(wrong(format!("{own} is the primary of cluster {cluster} itself"), "lifeboat cluster status"));
    }
    let (host, port) = config.members.get(&holder).and_then(|member| member.database.clone()).ok_or_else(|| {
        let message = format!("the primary of cluster {cluster} is {holder}, of which the configuration says nothing");
        Failure::new(FailureKind::NotFound, message).with_hint("the members are the same in every configuration")
    })?;
    let replication = config.replication.as_deref().unwrap_or("user=postgres");
    let conninfo = format!("host='{host}' port={port} {replication}");
    let archive = archive_of_member(global, cluster, output);
    Ok(Intent {
        of: cluster.clone(),
        to,
        primary: Target::parse(&conninfo, &Secret::None)?.with_application_name("lifeboat standby create"),
        conninfo: conninfo_named(&conninfo, &own),
        slot: Some(slot_name(&own.as_str().into())),
        name: own,
        source: arguments.from,
        location: arguments.location.clone(),
        tablespaces: restore::tablespaces(&arguments.tablespaces)?,
        bin_dir: config.bin_dir.clone(),
        restore_command: config.restore_command.clone(),
        is_member: true,
        asks: ("postgres".into(), "postgres".into(), Secret::None),
        archive,
    })
}

/// A workload of the same name, if the configuration has it whole: then there may be recovery points.
pub fn archive_of_member(global: &Global, cluster: &str, output: &Output) -> Option<Archive> {
    let (path, config) = load_config(global, UnknownKeys::Warn, &output.for_parts()).ok()?;
    config.workloads.get(cluster)?;
    let command = restore::restore_command(&path, cluster).ok()?;
    Some(Archive { config, workload: cluster.to_owned(), command })
}

/// What is typed is seen by everybody on this machine.
fn no_password(conninfo: &str) -> Result<(), Failure> {
    let compact = conninfo.to_lowercase().replace(' ', "");
    let in_url = conninfo.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
    if compact.contains("password=") || in_url.is_some_and(|(user, _)| user.contains(':')) {
        return Err(Failure::new(
            FailureKind::Usage,
            "--primary holds a password, which everybody on this machine can see",
        )
        .with_hint("write it into a file as .pgpass has it, and add passfile=FILE"));
    }
    Ok(())
}

fn absolute(path: &std::path::Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::from_error(FailureKind::Usage, &error).while_doing("read --to"))
}

//! `lifeboat agent`: one member of a cluster, until it is told to end.

mod remake;
mod routes;

use super::alarms::Alarms;
use super::cluster::{self, Chosen};
use super::standby::archive_of_member;
use crate::cli::Global;
use crate::config::{ClusterConfig, Clusters, LeaseConfig, ModeConfig};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::{interrupt, rooms};
use lifeboat_agent::database::{Address, DatabaseSettings, system_id};
use lifeboat_agent::lease::{Etcd, EtcdSettings, LeaseStore, Register, Secret as LeaseSecret};
use lifeboat_agent::{Agent, AgentSettings, Entry};
use lifeboat_failover::{MemberName, MemberSettings, Mode, Settings, Timing, WhenAlone};
use lifeboat_location::Directory;
use lifeboat_postgres::cluster::{Account, Programs};
use lifeboat_postgres::connection::{Secret, Target};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Lines of the journal that somebody must hear of, and what to type next.
const ALARMS: &[(&str, &str)] = &[
    ("suspected", "lifeboat cluster status"),
    ("replaced", "lifeboat cluster status"),
    ("lease ends", "is the lease store reachable from here?"),
    ("safe mode", "is the lease store reachable from here?"),
    ("store went back", "was the lease store brought back from a backup? see docs/failover.md"),
    ("foreign lease", "does another cluster of the same name use this store?"),
    ("would lose", "lifeboat cluster failover --to MEMBER --force accepts the loss"),
    ("diverged", "lifeboat cluster status"),
    ("wrong lineage", "lifeboat cluster status"),
    ("taken over", "lifeboat cluster reprotect"),
    ("clock", "is NTP running on both?"),
    ("redundancy", "docs/runbooks/member-does-not-follow.md"),
    ("lag", "lifeboat cluster status"),
    ("slot lost", "docs/runbooks/member-does-not-follow.md"),
    ("log kept", "lifeboat cluster status; max_slot_wal_keep_size bounds it"),
    ("route fails", "docs/routing.md"),
    ("no traffic", "lifeboat cluster status; docs/routing.md"),
];

pub fn run(global: &Global, named: Option<&str>, output: &Output) -> Result<(), Failure> {
    let chosen = cluster::choose(global, named)?;
    let (store, settings) = (open_store(&chosen)?, settings(global, &chosen, output)?);
    let outward = routes::outward(&chosen)?;
    let name = settings.failover.name.clone();
    let config = &chosen.cluster;
    let alarms = Alarms { output, workload: &chosen.name, command: config.alarm.as_deref() };
    rooms::runtime()?.block_on(async {
        let (told, mut entries) = mpsc::unbounded_channel();
        let listen = settings.listen;
        let agent = Agent::start(settings, store, outward, told).await?;
        output.tell(&format!("{name} of cluster {} looks after its server, and listens on {listen}", chosen.name));
        let (end, ended) = oneshot::channel();
        let mut stop = interrupt::signal();
        let ends = tokio::spawn(async move {
            // Without anybody who could ask for the end, it never comes.
            let _ = stop.wait_for(|asked| *asked).await;
            let _ = end.send(());
        });
        let run = agent.run(ended);
        tokio::pin!(run);
        loop {
            tokio::select! {
                finished = &mut run => {
                    ends.abort();
                    return finished.map_err(Failure::from);
                }
                Some(entry) = entries.recv() => show(output, &alarms, &entry)?,
            }
        }
    })
}

fn show(output: &Output, alarms: &Alarms<'_>, entry: &Entry) -> Result<(), Failure> {
    if output.is_json() {
        let line = serde_json::to_string(entry).unwrap_or_default();
        output.text(&line)?;
    } else {
        let at = i64::try_from(entry.at_milliseconds).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        let at = at.map(|at| at.to_string()).unwrap_or_default();
        output.tell(&format!("{at} {}: {}", entry.what, entry.text));
    }
    if entry.what == "over" {
        alarms.over_of(&entry.text);
    }
    if let Some((kind, hint)) = ALARMS.iter().find(|(kind, _)| *kind == entry.what) {
        alarms.raise_of(kind, &format!("{}: {}", entry.member, entry.text), hint);
    }
    Ok(())
}

fn settings(global: &Global, chosen: &Chosen, output: &Output) -> Result<AgentSettings, Failure> {
    let config = &chosen.cluster;
    let wrong = |message: String| Failure::new(FailureKind::Usage, message);
    let own = config.member.clone().ok_or_else(|| {
        wrong(format!("[cluster.{}] doesn't say which member this machine is", chosen.name))
            .with_hint("add this_member = \"NAME\"")
    })?;
    let listen = config.listen.ok_or_else(|| wrong(format!("[cluster.{}] has no `listen`", chosen.name)))?;
    let failover = failover_settings(&chosen.name, &own, config);
    let state_dir = match &config.state_dir {
        Some(path) => path.clone(),
        None => PathBuf::from("/var/lib/lifeboat").join(format!("{}-{own}", chosen.name)),
    };
    let database = match &config.data_dir {
        Some(data_dir) if config.members[&own].database.is_some() => {
            Some(database_settings(&failover, config, data_dir, &state_dir)?)
        }
        _ => None,
    };
    let unreadable = |error: lifeboat_postgres::control::ControlError| {
        Failure::from_error(FailureKind::NotFound, &error)
            .with_hint("a standby's data is made with `lifeboat standby create`")
    };
    let program = std::env::current_exe();
    let program = program.map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
    let remake =
        remake::ByCreate { program: program.clone(), config: global.config.clone(), cluster: chosen.name.clone() };
    let database = database.map(|database| DatabaseSettings {
        remake: Some(Arc::new(remake)),
        archive: archive_of_member(global, &chosen.name, output).map(|archive| archive.command.for_standby(None)),
        ..database
    });
    let system_id = database.as_ref().map(|database| system_id(&database.data_dir)).transpose().map_err(unreadable)?;
    Ok(AgentSettings {
        places: cluster::places(config),
        failover,
        database,
        system_id,
        listen,
        token: cluster::token(config)?,
        tls: cluster::tls(config)?,
        state_dir,
        dead_man: Some(vec![program.into_os_string(), OsString::from("dead-man")]),
        watchdog: config.watchdog.as_deref().map(usable_watchdog).transpose()?,
    })
}

/// Opening it would begin its count: only whether it is there, and may be written.
fn usable_watchdog(path: &Path) -> Result<PathBuf, Failure> {
    use rustix::fs::{Access, access};
    let able = access(path, Access::WRITE_OK);
    able.map(|()| path.to_path_buf()).map_err(|error| {
        Failure::from_error(FailureKind::Usage, &std::io::Error::from(error))
            .while_doing(format!("use the watchdog {}", path.display()))
            .with_hint("load its driver (`modprobe softdog` where the machine has none), and let the agent's user write it; or leave `watchdog` out")
    })
}

fn failover_settings(cluster: &str, own: &str, config: &ClusterConfig) -> Settings {
    let member = |member: &crate::config::MemberConfig| MemberSettings {
        witness: member.database.is_none(),
        priority: member.priority,
        barred: member.region.as_ref().is_some_and(|region| config.never_primary_in.contains(region)),
    };
    Settings {
        cluster: cluster.to_owned(),
        name: own.into(),
        members: config.members.iter().map(|(name, config)| (name.as_str().into(), member(config))).collect(),
        mode: match config.mode {
            ModeConfig::Asynchronous => Mode::Asynchronous,
            ModeConfig::Synchronous { needed, continues_alone } => Mode::Synchronous {
                needed,
                when_alone: if continues_alone { WhenAlone::Continue } else { WhenAlone::Wait },
            },
        },
        loss_max: config.loss_max_bytes,
        timing: if config.is_wide { Timing::regions() } else { Timing::local() },
    }
}

fn database_settings(
    failover: &Settings,
    config: &ClusterConfig,
    data_dir: &Path,
    state_dir: &Path,
) -> Result<DatabaseSettings, Failure> {
    let secret = match &config.password {
        Some(source) => Secret::Password(source.resolve()?.expose().to_owned()),
        None => Secret::None,
    };
    let local = Target::parse(config.connection.as_deref().unwrap_or_default(), &secret)?;
    let addresses: std::collections::BTreeMap<MemberName, Address> = config
        .members
        .iter()
        .filter_map(|(name, member)| {
            let (host, port) = member.database.clone()?;
            Some((name.as_str().into(), Address { host, port }))
        })
        .collect();
    let first_quorum = failover.quorum_of(&failover.name, &addresses.keys().cloned().collect());
    Ok(DatabaseSettings {
        name: failover.name.clone(),
        programs: programs(data_dir, config.bin_dir.as_deref())?,
        run_as: Account::owner_when_root(data_dir)?,
        local,
        addresses,
        replication: config.replication.clone().unwrap_or_else(|| "user=postgres".to_owned()),
        restore_command: config.restore_command.clone(),
        archive: None,
        first_quorum,
        log_file: state_dir.join("postgresql.log"),
        state_dir: state_dir.to_path_buf(),
        remake: None,
        data_dir: data_dir.to_path_buf(),
    })
}

fn programs(data_dir: &Path, bin_dir: Option<&Path>) -> Result<Programs, Failure> {
    let path = data_dir.join("PG_VERSION");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::from_error(FailureKind::NotFound, &error)
            .while_doing(format!("read {}", path.display()))
            .with_hint("a standby's data is made with `lifeboat standby create`")
    })?;
    let major = text.trim().parse::<u16>().ok().and_then(|major| major.try_into().ok()).ok_or_else(|| {
        Failure::new(FailureKind::Usage, format!("{} names no version of PostgreSQL from 14 to 18", path.display()))
    })?;
    let search: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    Ok(Programs::find(major, bin_dir, &search)?)
}

fn open_store(chosen: &Chosen) -> Result<Arc<dyn LeaseStore>, Failure> {
    let timing = if chosen.cluster.is_wide { Timing::regions() } else { Timing::local() };
    let limit = timing.operation_timeout;
    match &chosen.cluster.lease {
        LeaseConfig::Etcd { endpoints, user, password, authority } => {
            let password = password.as_ref().map(|source| source.resolve()).transpose()?;
            let password = password.map(|secret| secret.expose().to_owned()).unwrap_or_default();
            let settings = EtcdSettings {
                endpoints: endpoints.clone(),
                user: user.clone().map(|user| (user, LeaseSecret::new(password))),
                certificate_authority: authority.as_deref().map(cluster::read_file).transpose()?,
                ..EtcdSettings::default()
            };
            Ok(Arc::new(Etcd::new(&settings, &chosen.name, limit)?))
        }
        LeaseConfig::Location(name) => {
            let location = location(&chosen.clusters, name)?;
            Ok(Arc::new(Register::new(location, &chosen.name, limit)))
        }
        LeaseConfig::Directory(path) => {
            let created = Directory::create(path.clone());
            let location = created.map_err(|error| Failure::from(lifeboat_repository::Error::from(error)))?;
            Ok(Arc::new(Register::new(Arc::new(location), &chosen.name, limit)))
        }
    }
}

fn location(clusters: &Clusters, name: &str) -> Result<Arc<dyn lifeboat_location::Location>, Failure> {
    let config = super::find_named("location", name, &clusters.locations)?;
    let settings = rooms::location_settings(config)?;
    lifeboat_location::open(&settings).map_err(|error| Failure::from(lifeboat_repository::Error::from(error)))
}

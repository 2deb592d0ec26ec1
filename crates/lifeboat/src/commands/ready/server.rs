//! The server of a workload, its standbys, and what a restore would need on this machine.

use super::observe::{NO_ANSWER, follows, known, within};
use super::{archiving, followers, machine};
use crate::config::{Config, WorkloadConfig};
use crate::failure::Failure;
use crate::rooms;
use lifeboat_plan::readiness::Seen;
use lifeboat_plan::readiness::observed::{Archiving, Followers, Point, Room, Server};
use lifeboat_postgres::connection::{Client, Error};
use lifeboat_postgres::control;
use lifeboat_postgres::inspection::{self, Means, ServerFacts as Facts, Severity};
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was seen of a workload, but for what is stored.
pub struct ServerFacts {
    pub reachable: Seen<Vec<String>>,
    pub server: Seen<Server>,
    pub archiving: Seen<Archiving>,
    pub programs: Seen<Vec<String>>,
    pub extensions: Seen<Vec<String>>,
    pub followers: Seen<Followers>,
    pub promotion: Seen<Vec<String>>,
    /// None: it doesn't say.
    pub sent: Option<Sent>,
}

/// Up to where the log left the server.
#[derive(Debug, Clone)]
pub struct Sent {
    pub system_id: SystemId,
    pub timeline: TimelineId,
    /// The end of the log.
    pub end: Lsn,
    /// The last segment that was archived.
    pub segment: Option<String>,
    /// How old what hasn't left may be.
    pub age_seconds: Option<f64>,
}

/// A server that answers, and what it said of itself.
struct Answered {
    client: Client,
    facts: Facts,
    clock_ahead_seconds: f64,
}

impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.facts, self.clock_ahead_seconds)
    }
}

/// Asks the server of one workload.
pub async fn look(config: &Config, name: &str, patience: Duration) -> ServerFacts {
    let section = &config.workloads[name];
    let asked = format!("server of {name}: {}", section.connection);
    let answered = within(patience, &asked, answer(section)).await;
    let Seen::Known(Answered { client, facts, clock_ahead_seconds }, evidence) = &answered else {
        return silent(section, &answered);
    };
    let archiving = within(patience, archiving::QUERY, archiving::look(client, facts, section, name));
    let followers = followers::look(section, patience);
    let promotion = followers::promotion(section, facts, client, patience);
    let extensions = machine::extensions(section, facts, client, patience);
    let (archiving, followers, promotion, extensions) = futures::join!(archiving, followers, promotion, extensions);
    let sent = facts.current_lsn.map(|end| Sent {
        system_id: facts.system_id,
        timeline: facts.timeline,
        end,
        segment: facts.archiver.as_ref().and_then(|archiver| archiver.last_archived.clone()),
        age_seconds: archiving.known().and_then(|archiving: &Archiving| archiving.age_seconds),
    });
    ServerFacts {
        reachable: Seen::Known(troubles(section, facts), evidence.clone()),
        server: Seen::Known(server(section, facts, *clock_ahead_seconds), evidence.clone()),
        archiving,
        programs: machine::programs(section, facts.version_number),
        extensions,
        followers,
        promotion,
        sent,
    }
}

async fn answer(section: &WorkloadConfig) -> Result<Answered, Failure> {
    let client = rooms::server(section)?.connect().await?;
    let facts = inspection::observe(&client).await?;
    let begun = Instant::now();
    let before = jiff::Timestamp::now();
    let row = client.query_one("select extract(epoch from clock_timestamp())::float8", &[]).await;
    let there: f64 = row.map_err(|error| Failure::from(Error::from_driver("ask the time", error)))?.get(0);
    // The question was answered about half way between its beginning and its end.
    let here = before.as_millisecond() as f64 / 1000.0 + begun.elapsed().as_secs_f64() / 2.0;
    Ok(Answered { client, facts, clock_ahead_seconds: there - here })
}

/// A server that refuses isn't ready; of one that doesn't answer in time that isn't known. Of all else nothing is.
fn silent(section: &WorkloadConfig, answered: &Seen<Answered>) -> ServerFacts {
    let why = match answered {
        Seen::Unknown { why, .. } => why.clone(),
        Seen::Known(..) | Seen::Absent { .. } => String::new(),
    };
    let asked = format!("server: {}", section.connection);
    let reachable = match why.starts_with(NO_ANSWER) {
        true => Seen::unknown(why.clone(), asked.clone()),
        false => known(vec![why.clone()], asked.clone()),
    };
    let why = format!("the server doesn't answer: {why}");
    let followers = match section.standbys.is_empty() {
        true => Seen::absent("nobody is named in `standbys`, and the server doesn't answer"),
        false => Seen::unknown(why.clone(), "pg_stat_replication"),
    };
    ServerFacts {
        reachable,
        server: Seen::unknown(why.clone(), asked),
        archiving: Seen::unknown(why.clone(), archiving::QUERY),
        programs: machine::programs_of_data(section),
        extensions: Seen::unknown(why.clone(), "pg_extension"),
        followers,
        promotion: followers::no_standby(section).unwrap_or_else(|| Seen::unknown(why, "pg_settings of both")),
        sent: None,
    }
}

/// Whether it is the one that was protected.
fn troubles(section: &WorkloadConfig, facts: &Facts) -> Vec<String> {
    let of_data = section.data_dir.as_deref().and_then(|directory| control::read(directory).ok());
    let other = of_data.filter(|control| control.system_id != facts.system_id);
    let told = other.map(|control| {
        format!("data_dir is cluster {}, the connection leads to cluster {}", control.system_id, facts.system_id)
    });
    told.into_iter().collect()
}

fn server(section: &WorkloadConfig, facts: &Facts, clock_ahead_seconds: f64) -> Server {
    let means = if section.data_dir.is_some() { Means::Files } else { Means::Replication };
    let found = inspection::findings(facts, means);
    let refused =
        found.iter().filter(|finding| finding.severity == Severity::Refusal).map(|finding| finding.what.clone());
    let mut settings: Vec<String> = refused.collect();
    if !facts.hands_on_log()
        && !facts.in_recovery
        && facts.archive_mode == "off"
        && !facts.slots.iter().any(|slot| slot.is_active)
    {
        settings.push("the server hands its log to nobody: archive_mode is off, and nobody streams".to_owned());
    }
    let mut excess = Vec::new();
    if facts.role.is_superuser {
        excess.push(format!("role {} is a superuser", facts.role.name));
    }
    Server {
        version_number: facts.version_number,
        settings,
        has_checksums: facts.data_checksums,
        role: facts.role.name.clone(),
        excess,
        clock_ahead_seconds,
    }
}

/// Where a restore would write: the named directory, else beside the data directory, else where test restores go.
pub fn room(
    section: &WorkloadConfig,
    named: Option<PathBuf>,
    needed: Option<u64>,
    points: &Seen<Vec<Point>>,
) -> Seen<Room> {
    if let Some(unseen) = follows(points) {
        return unseen;
    }
    let Some(needed_bytes) = needed else { return Seen::absent("there is no point yet") };
    let beside = section.data_dir.as_deref().and_then(Path::parent).map(Path::to_owned);
    let directory = named.or(beside).unwrap_or_else(std::env::temp_dir);
    let there = directory.ancestors().find(|directory| directory.is_dir()).unwrap_or(Path::new("/"));
    let asked = format!("free space of {}", there.display());
    match rustix::fs::statvfs(there) {
        Ok(found) => {
            let free_bytes = found.f_bavail.saturating_mul(found.f_frsize);
            known(Room { directory: directory.display().to_string(), needed_bytes, free_bytes }, asked)
        }
        Err(error) => Seen::unknown(error.to_string(), asked),
    }
}

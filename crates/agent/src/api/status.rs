//! All that a member knows, for people and programs.

use crate::database::{Run, Seen, Told};
use crate::settings::AgentSettings;
use lifeboat_failover::{Lease, LeaseState, MemberName, StateKind, Summary};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub cluster: String,
    pub member: MemberName,
    pub region: Option<String>,
    /// `primary`, `standby`, `candidate`, …
    pub state: String,
    pub system_id: Option<String>,
    pub promised_epoch: u64,
    pub lease: Option<LeaseView>,
    /// How long our own lease still holds.
    pub holds_for_milliseconds: Option<u64>,
    /// `running`, `starting`, `stopped`, `none`.
    pub database: String,
    pub timeline: Option<u32>,
    /// Durable up to here.
    pub position: Option<u64>,
    pub replayed: Option<u64>,
    pub replay_age_milliseconds: Option<u64>,
    /// From whom it receives.
    pub receives_from: Option<MemberName>,
    /// Who receives from it.
    pub members: Vec<MemberView>,
    /// What may be lost if the primary went now without a trace: `Some(0)` when commits wait for others.
    pub at_risk_bytes: Option<u64>,
    /// Commits wait, and too few of those they wait for receive: no write is acknowledged now.
    #[serde(default)]
    pub commits_wait: bool,
    /// The log that slots keep, for those who are behind.
    pub kept_bytes: Option<u64>,
    /// Slots whose log is gone: who used them can't go on.
    #[serde(default)]
    pub lost_slots: Vec<String>,
    /// Somebody works at it: it takes over from nobody, and what stops there stays stopped.
    #[serde(default)]
    pub in_maintenance: bool,
    /// What was last told of its server: what was put aside, why it can't follow.
    #[serde(default)]
    pub told: Option<String>,
    /// How often the data was made anew since its agent began.
    #[serde(default)]
    pub made_anew: u64,
}

/// Another member, seen from here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberView {
    pub name: MemberName,
    pub region: Option<String>,
    pub witness: bool,
    pub heard_milliseconds_ago: Option<u64>,
    /// It receives from us now; how far it has it durably.
    pub confirmed: Option<u64>,
    pub lag_bytes: Option<u64>,
    #[serde(default)]
    pub in_maintenance: bool,
}

/// The lease, as it was last read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaseView {
    pub epoch: u64,
    /// Grows with every write within an epoch.
    #[serde(default)]
    pub sequence: u64,
    pub holder: MemberName,
    /// `held`, `draining`, `released`.
    pub state: String,
    pub paused: bool,
    /// What commits wait for: `1 of ohio, oregon`; `nobody`.
    pub quorum: String,
    pub position: u64,
}

/// Whether enough receive of those that commits wait for.
fn is_met(summary: &Summary, told: &Told) -> bool {
    let receiving = told.confirmed.keys().cloned().collect();
    summary.lease.as_ref().and_then(|lease| lease.quorums.newest()).is_none_or(|quorum| quorum.met_by(&receiving))
}

/// From what the agent knows to what it shows. Pure.
pub fn view(settings: &AgentSettings, summary: &Summary, seen: Option<&Seen>) -> Status {
    let told = seen.and_then(|seen| seen.told.as_ref());
    let place = settings.places.get(&settings.failover.name);
    let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let position = told
        .map(|told| told.position.offset)
        .or_else(|| settings.database.is_some().then_some(summary.position.offset));
    let is_primary = summary.state == StateKind::Primary;
    let others = settings.failover.others().map(|name| {
        let confirmed = told.and_then(|told| told.confirmed.get(name)).map(|position| position.offset);
        MemberView {
            name: name.clone(),
            region: settings.places.get(name).and_then(|place| place.region.clone()),
            witness: !settings.failover.has_database(name),
            heard_milliseconds_ago: summary
                .heard
                .iter()
                .find(|(who, _)| who == name)
                .map(|(_, ago)| milliseconds(*ago)),
            confirmed,
            in_maintenance: summary.maintained.contains(name),
            lag_bytes: confirmed.zip(position).map(|(confirmed, position)| position.saturating_sub(confirmed)),
        }
    });
    let members: Vec<MemberView> = others.collect();
    let asynchronous = summary.lease.as_ref().is_some_and(|lease| lease.quorums.any_asynchronous());
    let least_lag = members.iter().filter_map(|member| member.lag_bytes).min();
    let kept = told.zip(position).and_then(|(told, position)| {
        told.slots.values().flatten().min().map(|oldest| position.saturating_sub(*oldest))
    });
    Status {
        cluster: settings.failover.cluster.clone(),
        member: settings.failover.name.clone(),
        region: place.and_then(|place| place.region.clone()),
        state: summary.state.to_string(),
        system_id: settings.system_id.map(|id| id.to_string()),
        promised_epoch: summary.promised.0,
        lease: summary.lease.as_ref().map(lease_view),
        holds_for_milliseconds: summary.holds_for.map(milliseconds),
        database: database_word(settings, seen).to_owned(),
        timeline: settings.database.is_some().then_some(summary.position.lineage.0),
        position,
        replayed: told.filter(|told| told.in_recovery).map(|told| told.replayed),
        replay_age_milliseconds: told.and_then(|told| told.replay_age).map(milliseconds),
        receives_from: told
            .and_then(|told| told.receiver.as_ref())
            .filter(|receiver| receiver.streams)
            .and_then(|receiver| receiver.from.clone()),
        members,
        at_risk_bytes: if !is_primary {
            None
        } else if asynchronous {
            least_lag
        } else {
            Some(0)
        },
        commits_wait: is_primary && told.is_some_and(|told| !is_met(summary, told)),
        kept_bytes: kept,
        lost_slots: told.map(|told| told.lost_slots.clone()).unwrap_or_default(),
        in_maintenance: summary.maintained.contains(&settings.failover.name),
        told: seen.and_then(|seen| seen.last_told.clone()),
        made_anew: seen.map_or(0, |seen| seen.made_anew),
    }
}

fn database_word(settings: &AgentSettings, seen: Option<&Seen>) -> &'static str {
    match (settings.database.is_some(), seen.map(|seen| (seen.run, seen.told.is_some()))) {
        (false, _) => "none",
        (true, None | Some((Run::Starting | Run::Remains, _))) => "starting",
        (true, Some((Run::Stopped, _))) => "stopped",
        (true, Some((Run::Running, true))) => "running",
        (true, Some((Run::Running, false))) => "silent",
    }
}

fn lease_view(lease: &Lease) -> LeaseView {
    let quorum = match lease.quorums.newest() {
        Some(quorum) if !quorum.is_asynchronous() => {
            let voters: Vec<_> = quorum.voters.iter().map(MemberName::as_str).collect();
            format!("{} of {}", quorum.needed, voters.join(", "))
        }
        _ => "nobody".to_owned(),
    };
    let state = match lease.state {
        LeaseState::Held => "held",
        LeaseState::Draining { .. } => "draining",
        LeaseState::Released { .. } => "released",
    };
    LeaseView {
        epoch: lease.epoch.0,
        sequence: lease.sequence,
        holder: lease.holder.clone(),
        state: state.to_owned(),
        paused: lease.paused,
        quorum,
        position: lease.position.offset,
    }
}

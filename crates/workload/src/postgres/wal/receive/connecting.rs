//! One connection, up to the moment when log comes: who the server is, where to begin, who stores.

use super::super::archive::{ClusterIdentity, WalArchive};
use super::super::error::{Result, WalError, describe};
use super::super::inventory;
use super::super::journal::Journal;
use super::super::push;
use super::course::{Course, Habit};
use super::lanes::{Lane, Lanes, alone};
use super::pending::Pending;
use super::session::Session;
use super::start::{self, Position};
use super::storing::{OneLocation, Place};
use super::{Carried, Context, Ended, Keeping, server};
use bytes::Bytes;
use lifeboat_postgres::connection::ErrorKind;
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::inspection::synchronous;
use lifeboat_postgres::replication::{ReplicationClient, SystemIdentity};
use lifeboat_postgres::wal_file::{Segment, SegmentSize, WalFileName};
use lifeboat_postgres::{Lsn, MajorVersion, TimelineId};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is known of the server when log is to be stored.
struct Seen {
    cluster: ClusterIdentity,
    history: TimelineHistory,
    /// As the server has it; `None` for the first timeline.
    history_file: Option<(TimelineId, Bytes)>,
    /// From here on the server keeps its log for us.
    otherwise: Lsn,
}

/// Connects, receives and stores until the stream ends.
pub(crate) async fn run(context: &mut Context<'_>, carried: &mut Carried) -> Result<Ended> {
    let slot = context.options.slot.clone();
    let target = context.target.clone().with_application_name(&slot);
    let reach = |error| server("connect to the server for replication", error);
    let mut client = ReplicationClient::connect(&target).await.map_err(reach)?;
    let identity = client.identify_system().await.map_err(|error| server("identify the server", error))?;
    let segment_size = segment_size(&mut client).await?;
    let cluster = same_cluster(context, carried, identity, segment_size)?;
    refuse_remote_apply(&mut client, context, carried).await?;
    let archive = WalArchive::new(context.repository(), context.workload, cluster);
    if context.options.synchronous.is_none() {
        push::claim(&archive, context.spool).await?;
    }
    client.create_slot_if_missing(&slot).await.map_err(|error| server("make the replication slot", error))?;
    let (history, history_file) = history(&mut client, &archive, identity.timeline).await?;
    let otherwise = kept_from(&mut client, &slot, &identity).await?;
    let seen = Seen { cluster, history, history_file, otherwise };
    let lanes = match context.options.synchronous.as_ref().map(|synchronous| &synchronous.keeping) {
        None => anywhere(context, carried, &archive, &seen).await?,
        Some(Keeping::Count(needed)) => in_locations(context, carried, &archive, &seen, None, *needed).await?,
        Some(Keeping::Named(names)) => {
            in_locations(context, carried, &archive, &seen, Some(names), names.len()).await?
        }
        Some(Keeping::Spool(spool)) => in_journal(context, carried, &archive, &seen, spool).await?,
    };
    let (from, timeline) = (lanes.pending.start(), lanes.timeline());
    let stream = match client.start_streaming(Some(&slot), from, timeline).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::WalRemoved | ErrorKind::SlotLost) => {
            let from = lanes.acknowledged().unwrap_or(from).max(from);
            return Err(WalError::Gap { timeline, from, source: Box::new(error) });
        }
        Err(error) if error.kind() == ErrorKind::Busy => {
            return Err(WalError::SlotInUse { slot, source: Box::new(error) });
        }
        Err(error) => return Err(server("start the stream", error)),
    };
    carried.has_streamed = true;
    context.progress.connected(timeline, from);
    Session::new(stream, lanes, identity.flush_lsn).drive(context, carried).await
}

/// `16MB`, `1GB`: how `SHOW` says it.
async fn segment_size(client: &mut ReplicationClient) -> Result<SegmentSize> {
    let text = client.show("wal_segment_size").await.map_err(|error| server("ask for the segment size", error))?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => 1,
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).unwrap_or(0);
    Ok(SegmentSize::new(bytes)?)
}

fn same_cluster(
    context: &Context<'_>,
    carried: &mut Carried,
    identity: SystemIdentity,
    segment_size: SegmentSize,
) -> Result<ClusterIdentity> {
    let cluster = ClusterIdentity { system_id: identity.system_id, segment_size };
    if let Some(before) = carried.cluster.filter(|before| *before != cluster) {
        return Err(WalError::ForeignCluster {
            workload: context.workload.to_owned(),
            recorded: before.system_id,
            recorded_bytes: before.segment_size.bytes(),
            found: cluster.system_id,
            found_bytes: segment_size.bytes(),
        });
    }
    carried.cluster = Some(cluster);
    Ok(cluster)
}

/// Commits that wait until we have applied them wait for ever. At the start that is a refusal; once commits rely on us,
/// going on is the smaller evil, and the watch raises an alarm.
async fn refuse_remote_apply(client: &mut ReplicationClient, context: &Context<'_>, carried: &Carried) -> Result<()> {
    if carried.has_streamed {
        return Ok(());
    }
    let failed = |error| server("ask for the server's settings", error);
    let commit = client.show("synchronous_commit").await.map_err(failed)?;
    let names = client.show("synchronous_standby_names").await.map_err(failed)?;
    let name = &context.options.slot;
    if commit == "remote_apply" && synchronous::names(&names, name) {
        return Err(WalError::RemoteApply { name: name.clone() });
    }
    Ok(())
}

/// The server's own path, and the file that says so.
async fn history(
    client: &mut ReplicationClient,
    archive: &WalArchive,
    timeline: TimelineId,
) -> Result<(TimelineHistory, Option<(TimelineId, Bytes)>)> {
    if timeline.0 <= 1 {
        return Ok((TimelineHistory::without_ancestors(timeline), None));
    }
    let file = client.timeline_history(timeline).await.map_err(|error| server("read the timeline's history", error))?;
    let name = WalFileName::History(timeline);
    push::check(archive, name, &file.content)?;
    let damaged = |what: String| WalError::Damaged { name: name.to_string(), what };
    let history = TimelineHistory::parse(timeline, &file.content).map_err(|error| damaged(error.to_string()))?;
    Ok((history, Some((timeline, file.content.into()))))
}

/// From where on the server keeps its log for us.
///
/// A slot that lost what it should keep (`max_slot_wal_keep_size`) keeps nothing ever after. It is made anew, so that
/// the next backup is followed by a log without a gap. PostgreSQL 14 can't tell over this protocol.
async fn kept_from(client: &mut ReplicationClient, slot: &str, identity: &SystemIdentity) -> Result<Lsn> {
    let failed = |error| server("look at the replication slot", error);
    if client.version().map_err(failed)? == MajorVersion::V14 {
        return Ok(identity.flush_lsn);
    }
    if let Some(kept) = client.read_slot(slot).await.map_err(failed)?.and_then(|state| state.restart_lsn) {
        return Ok(kept);
    }
    client.drop_slot(slot).await.map_err(|error| server("remove the replication slot that was lost", error))?;
    client.create_slot_if_missing(slot).await.map_err(|error| server("make the replication slot anew", error))?;
    let state = client.read_slot(slot).await.map_err(failed)?;
    Ok(state.and_then(|state| state.restart_lsn).unwrap_or(identity.flush_lsn))
}

/// Where to go on according to a former connection, or to having left a gap.
fn known(carried: &Carried, lane: &str, seen: &Seen) -> Option<Position> {
    let size = seen.cluster.segment_size;
    match carried.positions.get(lane) {
        Some(position) => Some(start::again(*position, &seen.history, size, seen.otherwise)),
        None if carried.beyond_gap => Some(start::at_slot(&seen.history, size, seen.otherwise)),
        None => None,
    }
}

/// In whatever locations work, sparingly.
async fn anywhere(context: &Context<'_>, carried: &mut Carried, archive: &WalArchive, seen: &Seen) -> Result<Lanes> {
    // Before anything of its timeline: recovery needs it to get there.
    if let Some((timeline, content)) = &seen.history_file {
        push::store(archive, WalFileName::History(*timeline), content).await?;
    }
    let position = match known(carried, context.workload, seen) {
        Some(position) => position,
        None => start::first(&inventory::observe(archive).await?, &seen.history, seen.otherwise),
    };
    let pending = Pending::new(position.timeline, position.stored, seen.cluster.segment_size);
    let course = Course::new(Habit::Sparing, position.stored, pending.start());
    let lane = Lane::new(context.workload.to_owned(), Place::Any(archive.clone()), Habit::Sparing, course, true);
    Ok(Lanes::new(pending, vec![lane], 1))
}

/// In each location by itself, promptly.
async fn in_locations(
    context: &Context<'_>,
    carried: &Carried,
    archive: &WalArchive,
    seen: &Seen,
    named: Option<&[String]>,
    needed: usize,
) -> Result<Lanes> {
    let size = seen.cluster.segment_size;
    let names: Vec<String> = archive.repository.replicas().iter().map(|replica| replica.name.clone()).collect();
    let looks = names.iter().map(|name| async move {
        let archive = alone(archive, name)?;
        let found = match known(carried, name, seen) {
            Some(position) => Ok((position, None)),
            None => inventory::observe(&archive)
                .await
                .map(|found| (start::first(&found, &seen.history, seen.otherwise), Some(found))),
        };
        Ok::<_, WalError>((name, archive, found))
    });
    let mut places = Vec::new();
    for look in futures::future::join_all(looks).await {
        let (name, archive, found) = look?;
        let found = found.map_err(|error| context.progress.problem(&format!("{name}: {}", describe(&error)))).ok();
        let counts = named.is_none_or(|named| named.contains(name));
        places.push((name, archive, found, counts));
    }
    let mut positions: Vec<Position> =
        places.iter().filter(|place| place.3).filter_map(|place| place.2.as_ref()).map(|found| found.0).collect();
    positions.sort_by_key(|position| std::cmp::Reverse((position.stored, position.timeline)));
    let Some(agreed) = needed.checked_sub(1).and_then(|last| positions.get(last)).copied() else {
        return Err(WalError::TooFewPlaces { needed, found: positions.len() });
    };
    let pending = Pending::new(agreed.timeline, agreed.stored, size);
    let from = pending.start();
    let lanes = places.into_iter().map(|(name, archive, found, counts)| {
        let stored = match found {
            Some((_, Some(inventory))) => start::continued(&inventory, &seen.history, from),
            Some((position, None)) if position.timeline == agreed.timeline => position.stored.max(from),
            _ => from,
        };
        let history = seen.history_file.clone();
        let place = Place::One(Arc::new(OneLocation { archive, history, is_ready: AtomicBool::new(false) }));
        Lane::new(name.clone(), place, Habit::Prompt, Course::new(Habit::Prompt, stored, from), counts)
    });
    let lanes = lanes.collect();
    Ok(Lanes::new(pending, lanes, needed))
}

/// In a journal on this machine, which is shipped beside.
async fn in_journal(
    context: &Context<'_>,
    carried: &mut Carried,
    archive: &WalArchive,
    seen: &Seen,
    spool: &std::path::Path,
) -> Result<Lanes> {
    let size = seen.cluster.segment_size;
    let journal = match &carried.journal {
        Some(journal) => journal.clone(),
        None => Arc::new(Journal::open(spool, context.workload, seen.cluster)?),
    };
    carried.journal = Some(journal.clone());
    context.journal.send_replace(Some((journal.clone(), seen.cluster)));
    if let Some((timeline, content)) = &seen.history_file {
        journal.keep_history(*timeline, content)?;
    }
    let end = journal.end()?.map(|(timeline, stored)| Position { timeline, stored });
    let position = match end {
        _ if carried.beyond_gap && carried.positions.is_empty() => start::at_slot(&seen.history, size, seen.otherwise),
        Some(end) => start::again(end, &seen.history, size, seen.otherwise),
        None => match inventory::observe(archive).await {
            Ok(found) => start::first(&found, &seen.history, seen.otherwise),
            Err(error) => {
                context.progress.problem(&describe(&error));
                start::at_slot(&seen.history, size, seen.otherwise)
            }
        },
    };
    let from = Segment::containing(position.timeline, position.stored, size).start(size);
    // A file of the journal holds a segment from its first byte on.
    let stored = if end == Some(position) { position.stored } else { from };
    let pending = Pending::new(position.timeline, from, size);
    let course = Course::new(Habit::Journal, stored, from);
    let lane = Lane::new(context.workload.to_owned(), Place::Journal(journal), Habit::Journal, course, true);
    Ok(Lanes::new(pending, vec![lane], 1))
}

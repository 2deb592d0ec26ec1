//! Where the log of a stopped server ends: by reading it, because a server that crashed has told nobody.

use super::seen::Stopped;
use lifeboat_failover::Lineage;
use lifeboat_postgres::control::{ClusterState, ControlFile};
use lifeboat_postgres::history::{HISTORY_BYTES_MAX, TimelineHistory};
use lifeboat_postgres::wal::{DecoderSettings, Keep, RecordDecoder};
use lifeboat_postgres::wal_file::{Segment, SegmentNumber};
use lifeboat_postgres::{Lsn, TimelineId};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much is read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// The path of timelines to `timeline`, as the server's own files tell it.
pub fn history(data_dir: &Path, timeline: TimelineId) -> TimelineHistory {
    let path = data_dir.join("pg_wal").join(format!("{:08X}.history", timeline.0));
    let known = std::fs::metadata(&path).is_ok_and(|data| data.len() <= HISTORY_BYTES_MAX as u64);
    let read = known.then(|| std::fs::read(&path).ok()).flatten();
    read.and_then(|bytes| TimelineHistory::parse(timeline, &bytes).ok())
        .unwrap_or_else(|| TimelineHistory::without_ancestors(timeline))
}

/// The timeline that a server would go on with.
pub fn timeline(control: &ControlFile) -> TimelineId {
    control.latest_checkpoint.timeline.max(control.min_recovery_timeline)
}

/// See the module. `boundary`: the beginning of a record that is known to be there, for a shorter way than from the last checkpoint.
pub fn stopped(data_dir: &Path, control: &ControlFile, boundary: Option<Lsn>) -> Stopped {
    let timeline = timeline(control);
    let lineage = Lineage(timeline.0);
    if control.state == ClusterState::ShutDownInRecovery || data_dir.join("standby.signal").exists() {
        // What it had when it last noted that down; the rest is found when it runs.
        let position = control.min_recovery_point.max(control.latest_checkpoint.redo).0;
        return Stopped { lineage, position, end: position };
    }
    let path = history(data_dir, timeline);
    let end_from = |start: Lsn| end_of_log(data_dir, control, &path, start);
    let checkpoint = control.checkpoint;
    if control.state == ClusterState::ShutDown {
        // The record of the shutdown itself is nothing that anybody was told.
        return Stopped { lineage, position: checkpoint.0, end: end_from(checkpoint).0 };
    }
    let short = boundary.map(|start| (start, end_from(start))).filter(|(start, end)| end > start).map(|(_, end)| end);
    let end = short.unwrap_or_else(|| end_from(control.latest_checkpoint.redo)).0;
    Stopped { lineage, position: end, end }
}

fn end_of_log(data_dir: &Path, control: &ControlFile, path: &TimelineHistory, start: Lsn) -> Lsn {
    let size = control.wal_segment_size;
    let settings =
        DecoderSettings { block_bytes: control.wal_block_bytes, keep: Keep::Nothing, ..DecoderSettings::new(size) };
    let mut decoder = RecordDecoder::new(settings, start);
    let mut piece = vec![0; PIECE_BYTES];
    while let Some(mut file) = open(data_dir, control, path, decoder.position()) {
        if file.seek(SeekFrom::Start(size.offset_of(decoder.position()))).is_err() {
            break;
        }
        let segment = SegmentNumber::containing(decoder.position(), size);
        while SegmentNumber::containing(decoder.position(), size) == segment {
            let Ok(count @ 1..) = file.read(&mut piece) else { return decoder.end_of_valid() };
            let mut input = &piece[..count];
            while !input.is_empty() {
                match decoder.next(&mut input) {
                    Ok(_) => {}
                    Err(end) => return end.at,
                }
            }
        }
    }
    decoder.end_of_valid()
}

/// The file that holds a position: of the newest timeline on the path that has one.
fn open(data_dir: &Path, control: &ControlFile, path: &TimelineHistory, at: Lsn) -> Option<File> {
    let size = control.wal_segment_size;
    let number = SegmentNumber::containing(at, size);
    let timelines = path.ancestors.iter().map(|ancestor| ancestor.timeline).chain([path.timeline]);
    timelines.rev().find_map(|timeline| {
        let name = Segment { timeline, number }.name(size);
        File::open(data_dir.join("pg_wal").join(name.to_string())).ok()
    })
}

//! Where the log of a workload ends, and what was committed behind what survived: what a rehearsal asks to measure a loss. Both only read.

use crate::cli::{DrillLostArguments, Global};
use crate::commands::restore::restore_command;
use crate::commands::{find_named, load_config, wal};
use crate::config::{Config, UnknownKeys, WorkloadConfig};
use crate::failure::Failure;
use crate::output::Output;
use crate::rooms;
use lifeboat_drill::loss::{Bounds, Committed, Counted, End, Ends, count};
use lifeboat_postgres::connection::Client;
use lifeboat_postgres::inspection::observe_flushed;
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_recovery::when::Line;
use lifeboat_recovery::{Action, Target, TimelineChoice, Wanted, Window};
use lifeboat_repository::Silent;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// The record of a commit can begin so much before the end of what survived, in bytes, and end behind it. Only one that drops
/// thousands of tables is longer.
const RECORD_BYTES_MAX: u64 = 1 << 20;
/// A server that lives answers sooner; the drill goes on without one that doesn't.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);

/// `lifeboat drill ends WORKLOAD`.
pub fn ends(global: &Global, workload: &str, output: &Output) -> Result<(), Failure> {
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let section = find_named("workload", workload, &config.workloads)?;
    let line = wanted(&config_path, workload, None)?;
    let ends = rooms::runtime()?.block_on(async {
        // The session is there before anything is looked at, so that little is written between the two answers.
        let session = within(connect(section)).await;
        // The locations FIRST, the server THEN: what arrives in between counts as lost although it is not. The other way round, what is written in
        // between would count as neither, and a loss could look smaller than it is. So it can only be overstated.
        let archive = archive_end(&config, workload, &line, output).await;
        let production = match session {
            Ok(client) => within(flushed_end(&client)).await,
            Err(why) => Err(why),
        };
        let (archive, archive_unknown) = either(archive);
        let (production, production_unknown) = either(production);
        Ends { archive, archive_unknown, production, production_unknown }
    });
    if output.is_json() {
        return output.document(&json!(ends));
    }
    output.text(&format!("{workload}: {}", ends.said()))
}

fn either(found: Result<End, String>) -> (Option<End>, Option<String>) {
    match found {
        Ok(end) => (Some(end), None),
        Err(why) => (None, Some(why)),
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let answer = tokio::time::timeout(SERVER_PATIENCE, asked).await;
    answer.unwrap_or_else(|_| Err(format!("its server did not answer within {} s", SERVER_PATIENCE.as_secs())))
}

async fn connect(section: &WorkloadConfig) -> Result<Client, String> {
    let server = rooms::server(section).map_err(|failure| failure.sentence())?;
    server.connect().await.map_err(|error| Failure::from(error).sentence())
}

async fn flushed_end(client: &Client) -> Result<End, String> {
    let state = observe_flushed(client).await.map_err(|error| Failure::from(error).sentence())?;
    let (timeline, lsn) = state.flushed.ok_or("its server is in recovery itself, and has no end of its own")?;
    let at = state.now.ok_or("its server's clock makes no sense")?;
    Ok(End { system_id: state.system_id, timeline, lsn, at })
}

/// The end of the line that a restore takes, as the locations have it now.
async fn archive_end(config: &Config, workload: &str, wanted: &Wanted, output: &Output) -> Result<End, String> {
    let line = find(config, workload, wanted, output).await.map_err(|failure| failure.sentence())?;
    let last = line.windows.last().ok_or("no moment of it can be brought back")?;
    Ok(End { system_id: line.system_id, timeline: line.timeline, lsn: last.lsn_to, at: last.to })
}

async fn find(config: &Config, workload: &str, wanted: &Wanted, output: &Output) -> Result<Line, Failure> {
    let locations = wal::locations(config, workload, None);
    let repository = rooms::open_attached(config, &locations, output).await?;
    let line = Line::find(&repository, workload, wanted, &Silent).await?;
    line.notes.iter().for_each(|note| output.warn(note));
    Ok(line)
}

fn wanted(config_path: &Path, workload: &str, timeline: Option<u32>) -> Result<Wanted, Failure> {
    Ok(Wanted {
        target: Target::Latest,
        inclusive: false,
        timeline: timeline.map_or(TimelineChoice::default(), |id| TimelineChoice::Exactly(TimelineId(id))),
        point: None,
        location: None,
        zone: None,
        restore_command: restore_command(config_path, workload)?,
        action: Action::Promote,
        archives: false,
    })
}

/// `lifeboat drill lost WORKLOAD --survived LSN --until LSN`.
pub fn lost(global: &Global, arguments: &DrillLostArguments, output: &Output) -> Result<(), Failure> {
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let workload = &arguments.workload;
    find_named("workload", workload, &config.workloads)?;
    let wanted = wanted(&config_path, workload, arguments.timeline)?;
    let DrillLostArguments { survived, until, .. } = *arguments;
    let bounds = Bounds { survived, stored: arguments.stored.unwrap_or(survived), until };
    let counted = rooms::runtime()?.block_on(async {
        let line = find(&config, workload, &wanted, output).await?;
        let Some(from) = covering(&line.windows, bounds) else {
            return Ok(Counted { covered: false, ..count([], bounds) });
        };
        let commits = line.commits(from, until, &Silent).await.map_err(Failure::from)?;
        let commits =
            commits.into_iter().map(|commit| Committed { start: commit.start, end: commit.end, at: commit.at });
        Ok::<_, Failure>(count(commits, bounds))
    })?;
    if output.is_json() {
        return output.document(&json!(counted));
    }
    let covered = if counted.covered { "" } else { "; the log up to there is not in a location yet" };
    output.text(&format!("{} transactions did not survive{covered}", counted.lost))
}

/// From where to read when the log from what survived up to the end is there without a hole.
fn covering(windows: &[Window], bounds: Bounds) -> Option<Lsn> {
    let whole = |window: &&Window| window.lsn_from <= bounds.survived && bounds.until <= window.lsn_to;
    let window = windows.iter().find(whole)?;
    Some(Lsn(bounds.survived.0.saturating_sub(RECORD_BYTES_MAX)).max(window.lsn_from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn what_is_counted_is_there_without_a_hole() {
        let window = |from: u64, to: u64| Window {
            timeline: TimelineId(1),
            from: Timestamp::UNIX_EPOCH,
            to: Timestamp::UNIX_EPOCH,
            lsn_from: Lsn(from),
            lsn_to: Lsn(to),
            points: Vec::new(),
        };
        let mebibyte = 1 << 20;
        let windows = [window(0, 2 * mebibyte), window(3 * mebibyte, 9 * mebibyte)];
        for (survived, until, from) in [
            (5 * mebibyte, 9 * mebibyte, Some(4 * mebibyte)),
            (3 * mebibyte + 8, 9 * mebibyte, Some(3 * mebibyte)),
            (8, 16, Some(0)),
            (5 * mebibyte, 9 * mebibyte + 8, None),
            (mebibyte, 4 * mebibyte, None),
        ] {
            let bounds = Bounds { survived: Lsn(survived), stored: Lsn(survived), until: Lsn(until) };
            assert_eq!(covering(&windows, bounds), from.map(Lsn), "{survived} to {until}");
        }
    }
}

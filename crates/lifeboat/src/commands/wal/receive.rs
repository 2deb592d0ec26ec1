//! `lifeboat wal receive`: stream the log of a workload until told to stop.

use crate::cli::Global;
use crate::commands::{find_named, load_config};
use crate::config::UnknownKeys;
use crate::failure::Failure;
use crate::output::{Output, human};
use crate::{interrupt, rooms};
use jiff::Timestamp;
use lifeboat_workload::postgres::wal::{ReceiveOptions, ReceiveProgress, ReceiveStatus, receive};
use serde_json::json;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about how far it is.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

pub fn run(global: &Global, name: &str, accept_gap: bool, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Refuse, output)?;
    let workload = find_named("workload", name, &config.workloads)?;
    let server = rooms::server(workload)?;
    let spool = rooms::spool(&config, name)?;
    let options = ReceiveOptions {
        slot: workload.slot.clone().unwrap_or_else(|| slot_of(name)),
        tail_interval: workload.wal_tail_interval,
        accept_gap,
        ..ReceiveOptions::default()
    };
    let report = rooms::runtime()?.block_on(async {
        let repository = rooms::open_repository(&config, &workload.locations, output).await?;
        output.hint(&format!("streaming {name} on slot {}; Ctrl-C stops it cleanly", options.slot));
        let lines = Lines { output, last: Mutex::new(None) };
        Ok::<_, Failure>(receive(repository, name, &server, &spool, &options, &lines, interrupt::signal()).await?)
    })?;
    let (timeline, stored) = report.stored.unzip();
    if output.is_json() {
        return output.document(&json!({
            "workload": name,
            "segments": report.segments,
            "tails": report.tails,
            "reconnects": report.reconnects,
            "timeline": timeline,
            "stored": stored,
            "complete": report.complete,
        }));
    }
    let end = stored.map_or("nothing".to_owned(), |lsn| format!("everything before {lsn}"));
    let rest = if report.complete { "" } else { "; what arrived last is not stored yet, the server keeps it" };
    output.text(&format!("{name}: {end} is stored ({} segments, {} parts){rest}", report.segments, report.tails))
}

/// Slots may have letters, digits and underscores only.
fn slot_of(workload: &str) -> String {
    format!("lifeboat_{}", workload.replace('-', "_"))
}

struct Lines<'a> {
    output: &'a Output,
    last: Mutex<Option<Instant>>,
}

impl ReceiveProgress for Lines<'_> {
    fn status(&self, status: &ReceiveStatus) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < LINE_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        let behind = status.unstored_since.map_or(Duration::ZERO, |since| {
            Timestamp::now().duration_since(since).try_into().unwrap_or(Duration::ZERO)
        });
        self.output.hint(&format!(
            "timeline {}, stored up to {}, {} behind the server, oldest unstored byte {} old",
            status.timeline,
            status.stored,
            human::size(status.lag_bytes),
            human::duration(behind)
        ));
    }

    fn problem(&self, what: &str) {
        self.output.warn(what);
    }
}

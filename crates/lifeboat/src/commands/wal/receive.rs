//! `lifeboat wal receive`: stream the log of a workload until told to stop.

mod locations;

use crate::cli::Global;
use crate::commands::alarms::Alarms;
use crate::commands::{find_named, load_config};
use crate::config::{Config, SyncKeeping, SynchronousConfig, UnknownKeys, WorkloadConfig};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, human};
use crate::{interrupt, rooms};
use jiff::Timestamp;
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_workload::postgres::wal::{
    Alarm, AlarmKind, Keeping, ReceiveOptions, ReceiveProgress, ReceiveReport, ReceiveStatus, ShipReport, Synchronous,
    receive, ship,
};
use serde_json::json;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about how far it is.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// What was typed.
pub struct Request<'a> {
    pub workload: &'a str,
    pub accept_gap: bool,
    pub sync: bool,
    pub ship_only: bool,
}

pub fn run(global: &Global, request: &Request<'_>, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    let name = request.workload;
    let workload = find_named("workload", name, &config.workloads)?;
    if request.ship_only {
        return ship_only(&config, name, workload, output);
    }
    let server = rooms::server(workload)?;
    let spool = rooms::spool(&config, name)?;
    let options = options(request, workload);
    let lines = Lines {
        output,
        name,
        slot: &options.slot,
        last: Mutex::new(None),
        alarms: Alarms { output, workload: name, command: workload.alarm.as_deref() },
    };
    let report = rooms::runtime()?.block_on(async {
        let stop = interrupt::signal();
        let patience = options.synchronous.as_ref().map(|synchronous| synchronous.patience);
        let Some(repositories) = locations::open(&config, workload, patience, &lines, stop.clone()).await? else {
            return Ok(ReceiveReport::default());
        };
        if !request.sync {
            without_sync(&repositories.borrow().clone(), name, workload, output).await;
        }
        receive(repositories, name, &server, &spool, &options, &lines, stop).await.map_err(Failure::from)
    });
    // Whoever waits for it must hear that nobody comes any more.
    if let (Err(failure), true) = (&report, request.sync) {
        lines.alarms.ended(failure);
    }
    tell(&report?, name, output)
}

fn options(request: &Request<'_>, workload: &WorkloadConfig) -> ReceiveOptions {
    let synchronous = request.sync.then(|| {
        let SynchronousConfig { keeping, patience } = workload.synchronous.clone().unwrap_or_default();
        let keeping = match keeping {
            SyncKeeping::Count(count) => Keeping::Count(count),
            SyncKeeping::Named(names) => Keeping::Named(names),
            SyncKeeping::Spool(path) => Keeping::Spool(path),
        };
        Synchronous { keeping, patience }
    });
    ReceiveOptions {
        slot: slot_of(request.workload, workload),
        tail_interval: workload.wal_tail_interval,
        accept_gap: request.accept_gap,
        synchronous,
        ..ReceiveOptions::default()
    }
}

/// The slot, and the name under which the server knows the receiver. Letters, digits and underscores only.
pub fn slot_of(name: &str, workload: &WorkloadConfig) -> String {
    workload.slot.clone().unwrap_or_else(|| format!("lifeboat_{}", name.replace('-', "_")))
}

/// What a receiver with `--sync` left is brought home, and somebody who forgot the word hears of it.
async fn without_sync(
    repository: &std::sync::Arc<lifeboat_repository::Repository>,
    name: &str,
    workload: &WorkloadConfig,
    output: &Output,
) {
    let Some(synchronous) = &workload.synchronous else { return };
    output
        .hint("`synchronous` is configured; without --sync a commit that waits for this receiver waits about a second");
    if let Some(path) = synchronous.spool()
        && let Err(error) = ship(repository, name, path).await
    {
        let failure = Failure::from(error);
        output.warn(&format!("the spool {} is not shipped: {failure}", path.display()));
    }
}

fn ship_only(config: &Config, name: &str, workload: &WorkloadConfig, output: &Output) -> Result<(), Failure> {
    let Some(path) = workload.synchronous.as_ref().and_then(SynchronousConfig::spool) else {
        return Err(Failure::new(FailureKind::Usage, format!("workload {name} has no spool that could be shipped"))
            .with_hint("only `synchronous = { spool = \"/path\" }` keeps log on the receiver's machine"));
    };
    let shipped = rooms::runtime()?.block_on(async {
        let repository = rooms::open_repository(config, &workload.locations, output).await?;
        Ok::<ShipReport, Failure>(ship(&repository, name, path).await?)
    })?;
    let (timeline, end) = shipped.end.unzip();
    if output.is_json() {
        return output.document(&json!({
            "workload": name,
            "segments": shipped.segments,
            "parts": shipped.parts,
            "timeline": timeline,
            "end": end,
        }));
    }
    let end = end.map_or("the spool is empty".to_owned(), |end| format!("everything before {end} is stored"));
    output.text(&format!("{name}: {end} ({} segments, {} parts)", shipped.segments, shipped.parts))
}

fn tell(report: &ReceiveReport, name: &str, output: &Output) -> Result<(), Failure> {
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

struct Lines<'a> {
    output: &'a Output,
    name: &'a str,
    slot: &'a str,
    last: Mutex<Option<Instant>>,
    alarms: Alarms<'a>,
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

    fn connected(&self, timeline: TimelineId, from: Lsn) {
        let (name, slot) = (self.name, self.slot);
        self.output.hint(&format!(
            "streaming {name} on slot {slot}, timeline {timeline} from {from}; Ctrl-C stops it cleanly"
        ));
    }

    fn alarm(&self, alarm: &Alarm) {
        self.alarms.raise(alarm);
    }

    fn alarm_over(&self, kind: AlarmKind) {
        self.alarms.over(kind);
    }
}

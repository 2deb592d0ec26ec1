//! Starting a standby that was made, until it streams.

use super::intent::Intent;
use crate::commands::served::REPLAY_PATIENCE;
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, human};
use lifeboat_postgres::Lsn;
use lifeboat_postgres::cluster::{Cluster, PidFile, Programs, RunState, StartOptions, WaitFor, run_state};
use lifeboat_postgres::connection::{Error, ErrorKind, Target};
use lifeboat_postgres::standbys::{Receiving, receiving, upstream};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A standby that replays nothing new for so long, and doesn't stream, never will by itself.
const STILL_PATIENCE: Duration = Duration::from_secs(60);
const LOG_FILE: &str = "lifeboat-start.log";
const LOG_LINES: usize = 5;

/// A standby that was started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Streaming {
    /// From the start to the first look at which it streamed; `None`: nobody lets us ask it.
    pub seconds: Option<f64>,
    /// What the primary has, and it hasn't replayed.
    pub behind_bytes: Option<u64>,
    pub process_id: u32,
}

impl fmt::Display for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seconds) = self.seconds else {
            return f.write_str("it runs, and doesn't let us ask whether it streams");
        };
        write!(f, "it streams, {seconds:.1} s after its start")?;
        match self.behind_bytes {
            Some(0) => f.write_str("; it has all that the primary has"),
            Some(bytes) => write!(f, "; it is {} of log behind the primary", human::size(bytes)),
            None => Ok(()),
        }
    }
}

/// Starts it, and waits until it streams.
pub async fn start(intent: &Intent, programs: Programs, output: &Output) -> Result<Streaming, Failure> {
    let begun = Instant::now();
    let cluster = Cluster::open(&intent.to, programs)?;
    let log = intent.to.join(LOG_FILE);
    let file = cluster.start(&StartOptions::new(&log).wait_for(WaitFor::Ready, REPLAY_PATIENCE)).await?;
    output.tell(&format!("it runs (process {}) and catches up", file.process_id));
    let process_id = file.process_id;
    let (mut last, mut moved_at) = (None, Instant::now());
    loop {
        match look(intent, &file).await {
            Ok(seen) if seen.status.as_deref() == Some("streaming") => {
                let seconds = Some(begun.elapsed().as_secs_f64());
                let behind_bytes = behind(intent, &file).await;
                return Ok(Streaming { seconds, behind_bytes, process_id });
            }
            Ok(seen) if seen.replayed != last => (last, moved_at) = (seen.replayed, Instant::now()),
            Err(error) if matches!(error.kind(), ErrorKind::Authentication | ErrorKind::Denied) => {
                return Ok(Streaming { seconds: None, behind_bytes: None, process_id });
            }
            Ok(_) | Err(_) => {}
        }
        if !matches!(run_state(&intent.to)?, RunState::Running(_)) {
            return Err(stuck("the standby ended while it caught up", &log));
        }
        if moved_at.elapsed() > STILL_PATIENCE {
            return Err(stuck("the standby runs, and neither streams nor replays anything new", &log));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn look(intent: &Intent, file: &PidFile) -> Result<Receiving, Error> {
    let (user, database, secret) = &intent.asks;
    let socket = file.socket_dir.as_deref().map_or_else(|| "localhost".into(), |path| path.display().to_string());
    let text = format!("host='{socket}' port={} user='{user}' dbname='{database}'", file.port);
    receiving(&Target::parse(&text, secret)?.connect().await?).await
}

/// The primary first: what it writes meanwhile doesn't count.
async fn behind(intent: &Intent, file: &PidFile) -> Option<u64> {
    let mut client = upstream::connect(&intent.primary).await.ok()?;
    let flushed: Lsn = client.identify_system().await.ok()?.flush_lsn;
    client.close().await;
    Some(flushed.bytes_since(look(intent, file).await.ok()?.replayed?))
}

fn stuck(what: &str, log: &Path) -> Failure {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut failure = Failure::new(FailureKind::Unavailable, what)
        .with_hint(format!("its log is {}; where log is missing, make it anew", log.display()));
    failure.details = lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| (*line).to_owned()).collect();
    failure
}

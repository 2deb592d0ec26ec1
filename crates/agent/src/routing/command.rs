//! A route that is a program: it is told where the primary is, and does what this crate knows nothing of.
//!
//! Guarded by the epoch as far as can be from here: no older one is told after a newer. What the program changes, it has to guard itself: it is told
//! the epoch for that.

use super::target::{Mark, refused, superseded, unavailable};
use super::{Applied, RouteError, RouteTable, RouteTarget};
use async_trait::async_trait;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// Of what it says, the end: an error is there.
const OUTPUT_KEPT_BYTES: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct CommandRoute {
    program: PathBuf,
    arguments: Vec<String>,
    limit: Duration,
    name: String,
    /// The newest that it was told, whether or not it succeeded.
    told: std::sync::Mutex<Option<Mark>>,
    /// One at a time.
    running: tokio::sync::Mutex<()>,
}

impl CommandRoute {
    /// `program` gets `arguments` as they are: no shell. It is killed after `limit`.
    pub fn new(program: impl Into<PathBuf>, arguments: Vec<String>, limit: Duration) -> Self {
        let program = program.into();
        let name = format!("command {}", program.display());
        Self {
            program,
            arguments,
            limit,
            name,
            told: std::sync::Mutex::default(),
            running: tokio::sync::Mutex::default(),
        }
    }

    fn start(&self, cluster: &str, mark: &Mark) -> Result<Child, RouteError> {
        Command::new(&self.program)
            .args(&self.arguments)
            .env("LIFEBOAT_CLUSTER", cluster)
            .env("LIFEBOAT_EPOCH", mark.epoch.to_string())
            .env("LIFEBOAT_PRIMARY", mark.primary.name.as_str())
            .env("LIFEBOAT_HOST", &mark.primary.host)
            .env("LIFEBOAT_PORT", mark.primary.port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // With all that it started: a child that hangs keeps the output open.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| refused(&self.name, format!("it can't be started: {error}")))
    }

    async fn carry_out(&self, mut child: Child) -> Result<(), RouteError> {
        let group = child.id();
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let work = async { tokio::join!(child.wait(), end_of(output), end_of(errors)) };
        let done = tokio::time::timeout(self.limit, work).await;
        let Ok((ended, output, errors)) = done else {
            kill_group(group);
            let _ = child.wait().await;
            return Err(unavailable(&self.name, format!("it didn't end within {:?}, and was killed", self.limit)));
        };
        let ended = ended.map_err(|error| unavailable(&self.name, error.to_string()))?;
        if ended.success() {
            return Ok(());
        }
        Err(unavailable(&self.name, said(ended, &if errors.trim().is_empty() { output } else { errors })))
    }
}

fn said(ended: ExitStatus, output: &str) -> String {
    match output.trim() {
        "" => format!("{ended}, and it said nothing"),
        output => format!("{ended}: {output}"),
    }
}

fn kill_group(group: Option<u32>) {
    let group = group.and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    if let Some(group) = group {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Reads all, and keeps the end.
async fn end_of(stream: Option<impl AsyncRead + Unpin>) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    let Some(mut stream) = stream else { return String::new() };
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let beyond = kept.len().saturating_sub(OUTPUT_KEPT_BYTES);
        kept.drain(..beyond);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[async_trait]
impl RouteTarget for CommandRoute {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn apply(&self, table: &RouteTable) -> Result<Applied, RouteError> {
        let Some(mark) = Mark::of(table) else { return Ok(Applied::Nothing) };
        let _alone = self.running.lock().await;
        let newest = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(newest) = newest.filter(|newest| newest.epoch > mark.epoch) {
            return Err(superseded(&self.name, mark.epoch, newest.epoch));
        }
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark.clone());
        self.carry_out(self.start(&table.cluster, &mark)?).await?;
        Ok(Applied::Changed)
    }
}

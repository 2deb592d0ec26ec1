//! Carrying out one step. Each may be done again, and each is short; only refitting takes long, and runs beside.

use super::archive_away::put_aside;
use super::managed::{self, Managed};
use super::plan::Ending;
use super::remake::remake;
use super::{Address, DatabaseSettings, kill, lineage, unarchived};
use lifeboat_failover::{Lineage, Position};
use lifeboat_postgres::cluster::{Cluster, RunState, StartOptions, WaitFor, run_state};
use lifeboat_postgres::connection::{Client, Secret, Target};
use rustix::process::Signal;
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Until a server that was started has its process file.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// A checkpoint of a large, busy server takes minutes.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(600);
/// Files that say how a server runs here, which a rewind would replace by the other's.
pub const CONFIGURATION: &[&str] = &["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"];
/// Says that something was begun with the data directory.
const UNFINISHED: &str = "lifeboat.unfinished";

pub fn end(settings: &DatabaseSettings, ending: Ending) {
    let signal = match ending {
        Ending::Orderly => Signal::INT,
        Ending::AtOnce => Signal::QUIT,
        Ending::Kill => {
            kill::kill_servers(&settings.data_dir);
            return;
        }
    };
    if let Ok(RunState::Running(file)) = run_state(&settings.data_dir)
        && let Ok(number) = i32::try_from(file.process_id)
    {
        kill::signal(number, signal);
        // One that was halted hears nothing.
        kill::signal(number, Signal::CONT);
    }
}

pub fn settle(settings: &DatabaseSettings, values: &Managed) -> io::Result<()> {
    managed::write(&settings.data_dir, values, settings.run_as)?;
    if let Ok(RunState::Running(file)) = run_state(&settings.data_dir)
        && let Ok(number) = i32::try_from(file.process_id)
    {
        kill::signal(number, Signal::HUP);
    }
    Ok(())
}

pub fn become_standby(settings: &DatabaseSettings) -> io::Result<()> {
    signal_standby(&settings.data_dir, settings)
}

/// What starts in `data_dir` is a standby.
pub fn signal_standby(data_dir: &Path, settings: &DatabaseSettings) -> io::Result<()> {
    let path = data_dir.join("standby.signal");
    std::fs::File::create(&path)?.sync_all()?;
    if let Some(account) = settings.run_as {
        chown(&path, Some(account.uid), Some(account.gid))?;
    }
    std::fs::File::open(data_dir)?.sync_all()
}

pub async fn start(settings: &DatabaseSettings) -> Result<(), String> {
    let cluster = Cluster::open(&settings.data_dir, settings.programs.clone()).map_err(|error| error.to_string())?;
    let options = StartOptions::new(&settings.log_file).wait_for(WaitFor::Nothing, START_PATIENCE);
    cluster.start(&options).await.map(|_| ()).map_err(|error| error.to_string())
}

/// Asks for the promotion; it is over when the server says so.
pub async fn promote(settings: &DatabaseSettings, client: &Client, now: Position, to: Lineage) -> Result<(), String> {
    lineage::reserve(&settings.data_dir, now.lineage, now.offset, to).map_err(|error| error.to_string())?;
    offer_unarchived(settings, client, now).await;
    client.execute("select pg_promote(false)", &[]).await.map(|_| ()).map_err(|error| error.to_string())
}

/// What can't be offered now holds up no promotion: it is missing in the archive at worst, and a backup makes up for it.
async fn offer_unarchived(settings: &DatabaseSettings, client: &Client, now: Position) {
    let asks_us = client.query_one(unarchived::ASKS_US, &[]).await;
    if !asks_us.is_ok_and(|row| row.try_get(0).unwrap_or(false)) {
        return;
    }
    let path = lineage::history(&settings.data_dir, now.lineage);
    let offered = lifeboat_postgres::control::read(&settings.data_dir).map_err(io::Error::other).and_then(|control| {
        let log = (control.wal_segment_size, control.system_id);
        unarchived::offer(&settings.data_dir, log, &path, now)
    });
    match offered {
        Ok(count) => tracing::debug!(count, "segments are offered to the archive once more"),
        Err(error) => tracing::warn!(%error, "what the last primary may not have archived can't be offered"),
    }
}

pub fn is_unfinished(settings: &DatabaseSettings) -> bool {
    settings.data_dir.join(UNFINISHED).exists()
}

/// How what didn't fit was taken away.
#[derive(Debug)]
pub struct Refitted {
    /// The whole data is.
    pub is_new: bool,
    /// For the journal.
    pub text: String,
}

/// Takes away what isn't on the other's lineage: puts it aside, rewinds, and where that can't be done, makes the directory anew. Blocks nobody.
pub async fn refit(
    settings: DatabaseSettings,
    to: Address,
    fork: Option<u64>,
    end: Option<Position>,
    anew: bool,
) -> Result<Refitted, String> {
    let said = |error: io::Error| error.to_string();
    // Before anything is changed: what passes by itself is no reason to make the data anew.
    forget_dead_server(&settings.data_dir).map_err(said)?;
    let control = lifeboat_postgres::control::read(&settings.data_dir).map_err(|error| error.to_string())?;
    let mut kept = None;
    if let (Some(fork), Some(end)) = (fork, end) {
        kept = Some(put_aside(&settings, fork, end, control.wal_segment_size).map_err(said)?);
    }
    let again = is_unfinished(&settings);
    std::fs::write(settings.data_dir.join(UNFINISHED), "being rewound\n").map_err(said)?;
    std::fs::File::open(&settings.data_dir).and_then(|directory| directory.sync_all()).map_err(said)?;
    let rewound = match () {
        () if anew => Err("an operator wants it".to_owned()),
        () if again => Err("an earlier rewind was broken off".to_owned()),
        () => rewind(&settings, &to).await,
    };
    let how = match rewound {
        Ok(()) => "rewound",
        Err(why) => {
            tracing::warn!(%why, "can't be rewound; it is made anew");
            remake(&settings, &to).await.map_err(|error| format!("{why}; {error}"))?;
            "made anew"
        }
    };
    become_standby(&settings).map_err(said)?;
    let done = std::fs::remove_file(settings.data_dir.join(UNFINISHED));
    if done.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
        return Err("the mark of an unfinished rewind can't be removed".into());
    }
    std::fs::File::open(&settings.data_dir).and_then(|directory| directory.sync_all()).map_err(said)?;
    let aside = kept.map(|path| format!("; what only it had is in {}", path.display())).unwrap_or_default();
    Ok(Refitted { is_new: how == "made anew", text: format!("{how}{aside}") })
}

async fn rewind(settings: &DatabaseSettings, to: &Address) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    let program = settings.programs.program("pg_rewind").map_err(|error| error.to_string())?;
    checkpoint_of_source(settings, to).await?;
    let aside = settings.state_dir.join("configuration");
    keep_configuration(&settings.data_dir, &aside).map_err(said)?;
    let mut command = tokio::process::Command::new(program);
    command.arg("--target-pgdata").arg(&settings.data_dir);
    command.arg("--source-server").arg(format!("{} dbname=postgres", managed::conninfo(settings, to, None)));
    command.current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    if let Some(account) = settings.run_as {
        command.uid(account.uid).gid(account.gid);
    }
    let output = command.output().await.map_err(said)?;
    bring_back_configuration(settings, &aside).map_err(said)?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let last: Vec<_> = words.lines().rev().take(3).collect();
    Err(format!("pg_rewind: {}", last.into_iter().rev().collect::<Vec<_>>().join("; ")))
}

/// PostgreSQL's programs refuse a directory whose last server has ended and wasn't waited for by its parent yet: its number is still in use. What
/// the file says is true no more when nothing of that server runs.
fn forget_dead_server(data_dir: &Path) -> io::Result<()> {
    if kill::anything_runs(data_dir) {
        return Err(io::Error::other("its server has not ended yet"));
    }
    match std::fs::remove_file(data_dir.join("postmaster.pid")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Before its first checkpoint a primary that was promoted looks to `pg_rewind` (up to 15) as if it were on its old timeline still, and nothing
/// would be rewound. Asks for one, and waits.
async fn checkpoint_of_source(settings: &DatabaseSettings, to: &Address) -> Result<(), String> {
    let words = format!("{} dbname=postgres", managed::question(settings, to));
    let target = Target::parse(&words, &Secret::None).map_err(|error| error.to_string())?;
    let client = target.connect().await.map_err(|error| error.to_string())?;
    // A role that may not ask waits for the one that comes by itself.
    let _ = tokio::time::timeout(CHECKPOINT_PATIENCE, client.batch_execute("checkpoint")).await;
    let question = "select case when pg_is_in_recovery() then true else timeline_id::bigint = \
                    ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint end \
                    from pg_control_checkpoint()";
    let begun = std::time::Instant::now();
    while begun.elapsed() < CHECKPOINT_PATIENCE {
        let row = client.query_one(question, &[]).await.map_err(|error| error.to_string())?;
        if row.get(0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err("the primary has made no checkpoint since its promotion".into())
}

fn keep_configuration(data_dir: &Path, aside: &Path) -> io::Result<()> {
    crate::private::directory(aside)?;
    for name in CONFIGURATION {
        match std::fs::copy(data_dir.join(name), aside.join(name)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn bring_back_configuration(settings: &DatabaseSettings, aside: &Path) -> io::Result<()> {
    for name in CONFIGURATION {
        let (from, to) = (aside.join(name), settings.data_dir.join(name));
        if from.exists() {
            std::fs::copy(&from, &to)?;
            if let Some(account) = settings.run_as {
                chown(&to, Some(account.uid), Some(account.gid))?;
            }
            std::fs::File::open(&to)?.sync_all()?;
        }
    }
    Ok(())
}

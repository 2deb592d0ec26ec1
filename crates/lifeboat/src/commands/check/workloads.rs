//! Can this workload be backed up, does its log arrive, and could it be brought back?

use super::{Finding, sending};
use crate::commands::wal::slot_of;
use crate::config::{Config, WorkloadConfig};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, human};
use crate::rooms;
use lifeboat_postgres::cluster::Programs;
use lifeboat_postgres::control::{self, ControlFile};
use lifeboat_postgres::inspection::{self, Means, ServerFacts, Severity, synchronous};
use lifeboat_recovery::{observe, windows};
use lifeboat_repository::{Repository, Silent};
use lifeboat_workload::postgres::PostgresDetails;
use lifeboat_workload::postgres::wal::WalArchive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a new segment may take from the server to the archive.
const ARCHIVE_TIME_LIMIT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Everything about one workload.
pub async fn look(config: &Config, name: &str, output: &Output) -> Vec<Finding> {
    let workload = &config.workloads[name];
    let subject = format!("workload {name}");
    let mut findings = Vec::new();
    let control = workload.data_dir.as_ref().map(|directory| {
        let read = control::read(directory).map_err(|error| Failure::from_error(FailureKind::NotFound, &error));
        (directory, read)
    });
    if let Some((directory, read)) = &control {
        findings.push(Finding::new(&subject, read.as_ref().map(|read| seen(directory, read)).map_err(Clone::clone)));
    }
    let facts = match ask_server(workload).await {
        Ok(facts) => facts,
        Err(failure) => {
            findings.push(Finding::new(format!("{subject} server"), Err(failure)));
            return findings;
        }
    };
    findings.extend(judge(&subject, &facts, control.as_ref().map(|(_, read)| read.as_ref().ok())));
    if control.is_none() {
        findings.push(sending::files_can_be_sent(&subject, workload).await);
    }
    if workload.primary.is_some() {
        findings.push(sending::primary(&subject, workload, &facts).await);
    }
    findings.extend(commits(&subject, workload, name).await);
    findings.push(programs(&subject, workload, &facts));
    match rooms::open_repository(config, &workload.locations, output).await {
        Ok(repository) => {
            if let Some(finding) = whose(&subject, &facts, &repository, name).await {
                findings.push(finding);
                return findings;
            }
            findings.extend(unrecorded(&subject, &repository, name).await);
            findings.push(log_arrives(&subject, workload, &facts, &repository, name).await);
            findings.push(reachable(&subject, &repository, name).await);
        }
        // The locations' own findings say what is wrong with them.
        Err(_) => return findings,
    }
    findings
}

fn seen(directory: &Path, control: &ControlFile) -> String {
    let sums = if control.has_page_checksums() { "with page checksums" } else { "without page checksums" };
    format!("{} is cluster {}, {sums}", directory.display(), control.system_id)
}

async fn ask_server(workload: &WorkloadConfig) -> Result<ServerFacts, Failure> {
    let client = rooms::server(workload)?.connect().await?;
    Ok(inspection::observe(&client).await?)
}

/// `control` is `None` where the server sends its files, and `Some(None)` where the control file can't be read.
fn judge(subject: &str, facts: &ServerFacts, control: Option<Option<&ControlFile>>) -> Vec<Finding> {
    let means = if control.is_some() { Means::Files } else { Means::Replication };
    let number = facts.version_number;
    let role = if facts.in_recovery { "standby" } else { "primary" };
    let seen =
        format!("PostgreSQL {}.{} answers, a {role} on timeline {}", number / 10_000, number % 10_000, facts.timeline);
    let mut findings = vec![Finding::new(format!("{subject} server"), Ok(seen))];
    if let Some(Some(control)) = control
        && control.system_id != facts.system_id
    {
        let message =
            format!("data_dir is cluster {}, the connection leads to cluster {}", control.system_id, facts.system_id);
        let failure =
            Failure::new(FailureKind::Usage, message).with_hint("make data_dir and connection name the same server");
        findings.push(Finding::new(format!("{subject} server"), Err(failure)));
    }
    findings.extend(inspection::findings(facts, means).into_iter().map(|finding| {
        let subject = format!("{subject} {}", finding.name);
        match finding.severity {
            Severity::Warning => Finding::warning(subject, finding.what, finding.hint),
            Severity::Refusal => {
                Finding::new(subject, Err(Failure::new(FailureKind::Usage, finding.what).with_hint(finding.hint)))
            }
        }
    }));
    findings
}

/// Do commits wait for our receiver, and is it there? Asked whether it is meant or happens: a receiver that is named and gone
/// blocks every commit, and only another process than the receiver can tell.
async fn commits(subject: &str, workload: &WorkloadConfig, name: &str) -> Vec<Finding> {
    let subject = format!("{subject} commits");
    let slot = slot_of(name, workload);
    let is_meant = workload.synchronous.is_some();
    let patience = workload.synchronous.clone().unwrap_or_default().patience;
    let seen = async {
        let client = rooms::server(workload)?.connect().await?;
        Ok::<_, Failure>(synchronous::observe(&client, &slot).await?)
    };
    let facts = match seen.await {
        Ok(facts) => facts,
        Err(failure) => return vec![Finding::new(subject, Err(failure))],
    };
    let troubles = synchronous::troubles(&facts, &slot, is_meant, patience);
    if troubles.is_empty() && is_meant {
        let state = facts.receivers.iter().find(|receiver| receiver.name.eq_ignore_ascii_case(&slot));
        let state = state.map_or("", |receiver| receiver.sync_state.as_str());
        return vec![Finding::new(subject, Ok(format!("they wait for {slot}, which is connected ({state})")))];
    }
    let finding = |trouble: synchronous::Trouble| {
        let hint = trouble.hint(&slot).replace("WORKLOAD", name);
        let failure = Failure::new(FailureKind::CheckFailed, trouble.what(&slot)).with_hint(hint);
        Finding::new(subject.clone(), Err(failure))
    };
    troubles.into_iter().map(finding).collect()
}

/// Without the programs a backup works and a rehearsal doesn't.
fn programs(subject: &str, workload: &WorkloadConfig, facts: &ServerFacts) -> Finding {
    let subject = format!("{subject} programs");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let search: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let Ok(major) = lifeboat_postgres::MajorVersion::from_server_version_num(facts.version_number) else {
        return Finding::warning(subject, "the server's version is not known", "upgrade Lifeboat");
    };
    match Programs::find(major, workload.bin_dir.as_deref(), &search) {
        Ok(found) => Finding::new(subject, Ok(format!("found in {}", found.directory().display()))),
        Err(error) => Finding::warning(subject, error.to_string(), "set bin_dir; `lifeboat verify --boot` needs them"),
    }
}

/// Asks the server for a new segment and waits until it is in the archive; not when it is known that nobody takes it there.
async fn log_arrives(
    subject: &str,
    workload: &WorkloadConfig,
    facts: &ServerFacts,
    repository: &Arc<Repository>,
    name: &str,
) -> Finding {
    let subject = format!("{subject} log");
    if let Some(failure) = receiver_is_away(workload, facts, name) {
        return Finding::new(subject, Err(failure));
    }
    if facts.in_recovery || !facts.role.may_switch_wal || !facts.role.may_create_restore_point {
        return Finding::warning(
            subject,
            "not tried: a standby, or a role that may not switch WAL files",
            "try it on the primary",
        );
    }
    if !facts.hands_on_log() {
        let message = "not tried: the server hands its log to nobody";
        let hint = format!("set archive_command, or start `lifeboat wal receive {name}`");
        return Finding::new(subject, Err(Failure::new(FailureKind::Unavailable, message).with_hint(hint)));
    }
    let attempt = async {
        let client = rooms::server(workload)?.connect().await?;
        let failed = |error| Failure::from(lifeboat_postgres::connection::Error::from_driver("switch WAL file", error));
        let text = "select pg_walfile_name(pg_create_restore_point('lifeboat check')), pg_switch_wal()::text";
        let row = client.query_one(text, &[]).await.map_err(failed)?;
        let segment: String = row.get(0);
        let begun = Instant::now();
        while begun.elapsed() < ARCHIVE_TIME_LIMIT {
            // Of this cluster: another one under the same name has segments of the same names.
            let prefix = format!("{}/", facts.system_id);
            if repository.list_logs(name, &prefix).await?.iter().any(|entry| entry.name == segment) {
                return Ok(format!("segment {segment} arrived after {:.1} s", begun.elapsed().as_secs_f64()));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let message = format!("segment {segment} did not arrive within {} s", ARCHIVE_TIME_LIMIT.as_secs());
        Err(Failure::new(FailureKind::Unavailable, message).with_hint(format!(
            "set archive_command = 'lifeboat wal push %p --workload {name}' and look for its failures in the server's log"
        )))
    };
    Finding::new(subject, attempt.await)
}

/// Where the server sends its files and archives nothing, only a receiver brings its log. `None` when it is connected.
fn receiver_is_away(workload: &WorkloadConfig, facts: &ServerFacts, name: &str) -> Option<Failure> {
    let slot = slot_of(name, workload);
    let is_connected = facts.slots.iter().any(|known| known.name == slot && known.is_active);
    let is_needed = workload.data_dir.is_none() && facts.archive_mode == "off" && !facts.in_recovery;
    let is_away = is_needed && !is_connected && !facts.hands_on_log();
    let message = format!("not tried: `lifeboat wal receive {name}` isn't running, nobody streams on slot {slot}");
    let hint = format!("start `lifeboat wal receive {name}` and keep it running, on any machine");
    is_away.then(|| Failure::new(FailureKind::Unavailable, message).with_hint(hint))
}

/// Whether what is stored under this name is of this cluster. After a new initdb or an upgrade it isn't: then every backup is
/// refused, and the server's log piles up.
async fn whose(subject: &str, facts: &ServerFacts, repository: &Arc<Repository>, name: &str) -> Option<Finding> {
    let stored = async {
        let identity = WalArchive::of_workload(repository.clone(), name).await?.map(|archive| archive.system_id);
        let newest = repository.list_points(Some(name)).await?.pop();
        let of_point = match newest {
            Some(header) => {
                let point = repository.read_point(name, &header.id, &mut Vec::new()).await?;
                Some(PostgresDetails::of(&point)?.system_id)
            }
            None => None,
        };
        Ok::<_, Failure>([of_point, identity])
    };
    let subject = format!("{subject} cluster");
    let ids = match stored.await {
        Ok(ids) => ids,
        Err(failure) => return Some(Finding::new(subject, Err(failure))),
    };
    let other = ids.into_iter().flatten().find(|id| *id != facts.system_id)?;
    let message = format!("{name} holds what cluster {other} stored, but this server is cluster {}", facts.system_id);
    let hint = "give the new cluster a workload name of its own; the old points stay restorable";
    Some(Finding::new(subject, Err(Failure::new(FailureKind::Usage, message).with_hint(hint))))
}

/// Log of which nothing records whose it is any more.
async fn unrecorded(subject: &str, repository: &Repository, name: &str) -> Option<Finding> {
    let is_unclaimed = WalArchive::is_unclaimed(repository, name).await.unwrap_or_default();
    let what = "nothing records any more which cluster the stored log is of";
    let hint = format!("`lifeboat backup {name}` writes it again");
    is_unclaimed.then(|| Finding::warning(format!("{subject} record"), what, hint))
}

/// What could be brought back now.
async fn reachable(subject: &str, repository: &Arc<Repository>, name: &str) -> Finding {
    let subject = format!("{subject} recovery");
    let observed = match observe(repository, name, None, &Silent).await {
        Ok(observed) => observed,
        Err(error) => return Finding::new(subject, Err(error.into())),
    };
    let reachable = observed.known.logs.iter().flat_map(|log| windows(&observed.known.points, log));
    match reachable.max_by_key(|window| window.to) {
        Some(window) => {
            let now = jiff::Timestamp::now();
            let ages = (human::age(window.from, now), human::age(window.to, now));
            Finding::new(subject, Ok(format!("every moment from {} to {} can be reached", ages.0, ages.1)))
        }
        None => Finding::warning(
            subject,
            "nothing can be brought back yet",
            format!("`lifeboat backup {name}` makes the first recovery point"),
        ),
    }
}

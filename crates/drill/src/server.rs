//! A PostgreSQL of the place: private, archiving nothing, connecting to nobody.

use crate::cluster::{self, Cluster};
use crate::place::{PORT, Place};
use crate::process::{Processes, Who};
use crate::surroundings::Protected;
use lifeboat_plan::run::Isolation;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::cluster::Programs;
use lifeboat_postgres::connection::{Client, Secret, Target};
use lifeboat_postgres::control::{self, ControlSettings};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Child;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A receiver, its slot and a backup need some, whatever the original had.
const SENDERS_MIN: i32 = 6;

/// What went wrong with a server.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(pub String);

fn failed(what: &str) -> impl FnOnce(std::io::Error) -> ServerError {
    move |error| ServerError(format!("{what}: {error}"))
}

/// How it is reached.
pub fn target(place: &Place, server: &str, protected: &Protected) -> Result<Target, ServerError> {
    Target::parse(&place.connection(server, protected), &Secret::None).map_err(|error| ServerError(error.to_string()))
}

/// Starts what lies in the data directory, and waits until it may be written to.
///
/// # Errors
/// With the end of its log.
pub async fn start(
    place: &Place,
    processes: &Processes,
    (server, protected): (&str, &Protected),
    search_path: &[PathBuf],
    limit: Duration,
) -> Result<Child, ServerError> {
    let data_dir = place.data_dir(server);
    let programs = programs(&data_dir, protected, search_path)?;
    let settings = control::read(&data_dir).map_err(|error| ServerError(error.to_string()))?.settings;
    configure(place, server, &settings, programs.major())?;
    let (log, file) = place.log(&format!("server-{server}.log")).map_err(failed("open its log"))?;
    let program = programs.program("postgres").map_err(|error| ServerError(error.to_string()))?;
    let mut command = processes.command(&program, Who::Servers);
    command.arg("-D").arg(&data_dir).args(arguments(place, server));
    command.stdout(file.try_clone().map_err(failed("open its log"))?).stderr(file);
    let mut child = command.spawn().map_err(failed("start postgres"))?;
    let target = target(place, server, protected)?;
    let deadline = Instant::now() + limit;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(ServerError(format!("the server {server} ended ({status}): {}", last_words(&log))));
        }
        if is_primary(&target).await {
            return Ok(child);
        }
        if Instant::now() > deadline {
            return Err(ServerError(format!("the server {server} does not answer: {}", last_words(&log))));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// PostgreSQL's programs for what lies there.
///
/// # Errors
/// When there are none of its version.
pub fn programs(data_dir: &Path, protected: &Protected, search_path: &[PathBuf]) -> Result<Programs, ServerError> {
    let version = std::fs::read_to_string(data_dir.join("PG_VERSION")).map_err(failed("read PG_VERSION"))?;
    let major = version.trim().parse::<u16>().ok().and_then(|major| MajorVersion::try_from(major).ok());
    let major = major.ok_or_else(|| ServerError(format!("PostgreSQL {} is not supported", version.trim())))?;
    Programs::find(major, protected.bin_dir.as_deref(), search_path).map_err(|error| ServerError(error.to_string()))
}

async fn is_primary(target: &Target) -> bool {
    let Ok(client) = target.connect().await else { return false };
    let answer = client.query_one("select not pg_is_in_recovery()", &[]).await;
    answer.is_ok_and(|row| row.try_get(0).unwrap_or(false))
}

/// The command line stands above every file of the copy.
fn arguments(place: &Place, server: &str) -> Vec<String> {
    let configuration = place.path("conf").join(format!("{server}.conf"));
    let settings = [
        ("config_file", configuration.display().to_string()),
        ("unix_socket_directories", place.socket_dir(server).display().to_string()),
        ("listen_addresses", String::new()),
        ("archive_mode", "off".into()),
        ("archive_command", String::new()),
        ("primary_conninfo", String::new()),
        ("shared_preload_libraries", String::new()),
        ("max_logical_replication_workers", "0".into()),
    ];
    settings.into_iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect()
}

/// Nothing of the original's configuration is used but what recovery needs, and what it must replay.
fn configure(place: &Place, server: &str, settings: &ControlSettings, major: MajorVersion) -> Result<(), ServerError> {
    let socket_dir = place.socket_dir(server);
    if !socket_dir.exists() {
        place.make_directory(&socket_dir).map_err(failed("make its socket's directory"))?;
    }
    let text = settings_text(place, server, settings, major, SENDERS_MIN);
    let write = |name: String, text: &str| place.write(&name, text, 0o600).map_err(failed("write its configuration"));
    write(format!("conf/{server}.conf"), &text)?;
    write(format!("conf/{server}.hba"), "local all all trust\nlocal replication all trust\n")?;
    write(format!("conf/{server}.ident"), "")?;
    let auto = place.data_dir(server).join("postgresql.auto.conf");
    let said = std::fs::read_to_string(&auto).unwrap_or_default();
    write(format!("servers/{server}/postgresql.auto.conf"), &only_recovery(&said))
}

/// A member of a cluster is started by its agent: its configuration lies with its data.
///
/// # Errors
/// Of the file system.
pub fn configure_member(cluster: &Cluster<'_>, member: &str, major: MajorVersion) -> Result<(), ServerError> {
    let place = cluster.place;
    let settings = control::read(&place.data_dir(member)).map_err(|error| ServerError(error.to_string()))?.settings;
    if !place.socket_dir(member).exists() {
        place.make_directory(&place.socket_dir(member)).map_err(failed("make its socket's directory"))?;
    }
    let text = settings_text(place, member, &settings, major, cluster::SENDERS_MIN) + &cluster.settings(member);
    let write = |name: String, text: &str| place.write(&name, text, 0o600).map_err(failed("write its configuration"));
    write(format!("servers/{member}/postgresql.conf"), &text)?;
    write(format!("servers/{member}/postgresql.auto.conf"), "")?;
    write(format!("conf/{member}.hba"), &cluster::access())?;
    write(format!("conf/{member}.ident"), "")
}

/// What every server of the place is told, so that it can replay what the original wrote.
fn settings_text(
    place: &Place,
    server: &str,
    settings: &ControlSettings,
    major: MajorVersion,
    senders_min: i32,
) -> String {
    let path = |ending: &str| place.path("conf").join(format!("{server}.{ending}")).display().to_string();
    let mut text = format!(
        "port = {PORT}\nmax_connections = {}\nmax_worker_processes = {}\nmax_wal_senders = {}\n\
         max_prepared_transactions = {}\nmax_locks_per_transaction = {}\nmax_replication_slots = 10\nwal_level = replica\n\
         hot_standby = on\nlogging_collector = off\nlog_destination = 'stderr'\nhuge_pages = off\nssl = off\n\
         unix_socket_permissions = 0700\ndynamic_shared_memory_type = mmap\nautovacuum = off\n\
         hba_file = '{}'\nident_file = '{}'\n",
        settings.max_connections,
        settings.max_worker_processes,
        i32::try_from(settings.max_wal_senders).unwrap_or(senders_min).max(senders_min),
        settings.max_prepared_transactions,
        settings.max_locks_per_transaction,
        path("hba"),
        path("ident")
    );
    if major >= MajorVersion::V17 {
        text.push_str("summarize_wal = off\nsync_replication_slots = off\n");
    }
    text
}

/// Of what was set with ALTER SYSTEM, only what says up to where is replayed.
fn only_recovery(text: &str) -> String {
    let keeps = |line: &&str| line.starts_with("restore_command") || line.starts_with("recovery_target");
    text.lines().filter(keeps).map(|line| format!("{line}\n")).collect()
}

/// What the server itself says about whom it can reach.
pub async fn proofs(client: &Client, server: &str) -> Vec<Isolation> {
    let wanted = [
        ("listen_addresses", ""),
        ("archive_mode", "off"),
        ("primary_conninfo", ""),
        ("max_logical_replication_workers", "0"),
        ("shared_preload_libraries", ""),
    ];
    proofs_of(client, server, &wanted).await
}

/// The same for a server of a cluster, which listens on its host, and follows another host.
pub async fn proofs_of_member(client: &Client, member: &str, address: &str) -> Vec<Isolation> {
    let wanted = [
        ("listen_addresses", address),
        ("archive_mode", "off"),
        ("max_logical_replication_workers", "0"),
        ("shared_preload_libraries", ""),
    ];
    proofs_of(client, member, &wanted).await
}

async fn proofs_of(client: &Client, server: &str, wanted: &[(&str, &str)]) -> Vec<Isolation> {
    let mut proofs = Vec::new();
    for &(name, value) in wanted {
        let seen = client.query_one("select current_setting($1, true)", &[&name]).await;
        let seen = seen.map(|row| row.get::<_, Option<String>>(0).unwrap_or_default());
        let holds = seen.as_deref().is_ok_and(|seen| seen == value);
        let seen = seen.unwrap_or_else(|error| error.to_string());
        proofs.push(Isolation { tried: format!("{name} of the server {server}"), seen: format!("'{seen}'"), holds });
    }
    proofs
}

/// The end of a log, on one line.
fn last_words(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_on_the_original_does_not_come_along() {
        let text = "archive_command = 'scp %p production:'\nrestore_command = 'x'\nrecovery_target_lsn = '0/1'\nprimary_conninfo = 'host=production'\n";
        assert_eq!(only_recovery(text), "restore_command = 'x'\nrecovery_target_lsn = '0/1'\n");
    }
}

//! From the configuration to the rooms: which repository, which server, which directories of this machine.

use crate::config::{Config, Credentials, Fallback, LocationConfig, WorkloadConfig};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::removable;
use lifeboat_location as location;
use lifeboat_postgres::connection::{Secret as ServerSecret, Target as ServerTarget};
use lifeboat_repository::{Passphrase, Replica, Repository};
use lifeboat_workload::postgres::{self, backup::Primary, wal::Spool};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Variables in which the clouds' own tools look for credentials.
const CLOUD_PREFIXES: [&str; 4] = ["AWS_", "AZURE_", "GOOGLE_", "GCE_"];

/// The runtime that all commands use.
pub fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(FailureKind::Internal, &error).while_doing("start threads"))
}

/// Settings of a location, secrets fetched.
pub fn location_settings(config: &LocationConfig) -> Result<location::Settings, Failure> {
    let key = |id: String, secret: &crate::config::SecretSource| -> Result<location::Credentials, Failure> {
        let secret = location::Secret::new(secret.resolve()?.expose());
        Ok(location::Credentials::Key { id, secret, session_token: None })
    };
    let credentials = match &config.credentials {
        Credentials::Ambient => location::Credentials::Ambient,
        Credentials::S3 { access_key_id, secret_access_key } => {
            key(access_key_id.resolve()?.expose().to_owned(), secret_access_key)?
        }
        Credentials::Azure { account, account_key: Some(account_key) } => key(account.clone(), account_key)?,
        Credentials::Azure { account_key: None, .. } => location::Credentials::Ambient,
        Credentials::Google { service_account_key } => key(String::new(), service_account_key)?,
    };
    let mut settings = plain_settings(&config.url.to_string(), config.endpoint.clone());
    settings.region.clone_from(&config.region);
    settings.credentials = credentials;
    settings.time_limit = config.time_limit;
    Ok(settings)
}

/// Settings of a place that no configuration knows: credentials as the cloud's own tools find them.
pub fn plain_settings(url: &str, endpoint: Option<String>) -> location::Settings {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| CLOUD_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    let mut settings = location::Settings::new(url);
    settings.environment = environment.collect();
    settings.endpoint = endpoint;
    settings
}

/// The locations of these names, in this order.
pub fn replicas(config: &Config, names: &[String]) -> Result<Vec<Replica>, Failure> {
    let mut replicas = Vec::with_capacity(names.len());
    for name in names {
        let settings = location_settings(super::commands::find_named("location", name, &config.locations)?)?;
        let location =
            location::open(&settings).map_err(|error| Failure::from(lifeboat_repository::Error::from(error)))?;
        let location = match config.locations[name].max_rate_bytes_per_second {
            Some(rate) => Arc::new(location::Paced::new(location, rate)),
            None => location,
        };
        replicas.push(Replica { name: name.clone(), location });
    }
    Ok(replicas)
}

/// The passphrase of the configuration.
pub fn passphrase(config: &Config) -> Result<Passphrase, Failure> {
    Ok(Passphrase::new(config.encryption.passphrase.resolve()?.expose().to_owned()))
}

/// Opens the repository in the locations of a workload, or in those that are named. Locations that don't answer are
/// told of, and the others serve. Removable ones that aren't there are expected not to be: one note.
pub async fn open_repository(config: &Config, names: &[String], output: &Output) -> Result<Arc<Repository>, Failure> {
    for absent in removable::attached(config, names).1 {
        output.tell(&format!("note: {absent} is not attached, and left out"));
    }
    open_attached(config, names, output).await
}

/// The same without the note, for commands that run all day.
pub async fn open_attached(config: &Config, names: &[String], output: &Output) -> Result<Arc<Repository>, Failure> {
    let (names, absent) = removable::attached(config, names);
    if let Some(absent) = absent.first().filter(|_| names.is_empty()) {
        return Err(removable::not_attached(config, absent));
    }
    let names = &names;
    let repository = Repository::open(replicas(config, names)?, &passphrase(config)?, config.compression_level).await?;
    for (name, reason) in repository.unavailable() {
        output.warn(&format!("location {name} is left out: {reason}"));
    }
    for (name, reason) in repository.rootless() {
        output.warn(&format!("location {name} is used all the same: {reason}; `lifeboat repair` writes it again"));
    }
    for (name, reason) in repository.keyless() {
        let mended = "`lifeboat repair` and `lifeboat copy` bring the key record back";
        output.warn(&format!("location {name} is used all the same, with another one's key: {reason}; {mended}"));
    }
    Ok(Arc::new(repository))
}

/// All locations of the configuration.
pub fn all_locations(config: &Config) -> Vec<String> {
    config.locations.keys().cloned().collect()
}

/// How to reach the server of a workload.
pub fn server(workload: &WorkloadConfig) -> Result<ServerTarget, Failure> {
    target(workload, &workload.connection)
}

/// The primary of a workload that is a standby.
pub fn primary(workload: &WorkloadConfig) -> Result<Option<Primary>, Failure> {
    let Some(config) = &workload.primary else { return Ok(None) };
    Ok(Some(Primary {
        connection: target(workload, &config.connection)?,
        max_lag: config.standby_max_lag,
        fallback: match config.fallback {
            Fallback::Fail => postgres::backup::Fallback::Fail,
            Fallback::Primary => postgres::backup::Fallback::Primary,
        },
    }))
}

fn target(workload: &WorkloadConfig, connection: &str) -> Result<ServerTarget, Failure> {
    ServerTarget::parse(connection, &secret(workload)?).map_err(Failure::from)
}

/// What proves to a server of this workload who we are.
pub fn secret(workload: &WorkloadConfig) -> Result<ServerSecret, Failure> {
    Ok(match &workload.password {
        Some(source) => ServerSecret::Password(source.resolve()?.expose().to_owned()),
        None => ServerSecret::None,
    })
}

/// Where this machine keeps locks, marks and what is on its way. Deleting it loses nothing but time.
pub fn state_dir(config: &Config) -> Result<PathBuf, Failure> {
    if let Some(named) = &config.state_dir {
        return Ok(named.clone());
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/cache/lifeboat"));
    }
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
    let found = cache.map(|cache| cache.join("lifeboat"));
    found.ok_or_else(|| {
        Failure::new(FailureKind::Usage, "neither state_dir nor HOME says where this machine's state is kept")
            .with_hint("add state_dir = \"/var/cache/lifeboat\" to the configuration")
    })
}

/// The marks about the log of a workload. They hold for the locations they were made with.
pub fn spool(config: &Config, name: &str) -> Result<Spool, Failure> {
    let workload = super::commands::find_named("workload", name, &config.workloads)?;
    let places = workload.locations.iter().filter_map(|name| config.locations.get(name));
    let destination = places.map(|location| location.url.to_string()).collect::<Vec<_>>().join(" ");
    Ok(Spool::new(&state_dir(config)?, name, destination))
}

/// Threads for reading and compressing.
pub fn workers(workload: &WorkloadConfig) -> usize {
    workload.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from))
}

/// The workload that is meant: the named one, or the only one.
pub fn workload_name(config: &Config, named: Option<&str>) -> Result<String, Failure> {
    match (named, config.workloads.len()) {
        (Some(name), _) => super::commands::find_named("workload", name, &config.workloads).map(|_| name.to_owned()),
        (None, 1) => Ok(config.workloads.keys().next().cloned().unwrap_or_default()),
        (None, _) => {
            let names: Vec<&str> = config.workloads.keys().map(String::as_str).collect();
            Err(Failure::new(FailureKind::Usage, "which workload? the configuration has several")
                .with_hint(format!("add --workload, one of {}", names.join(", "))))
        }
    }
}

/// User and group of the account `postgres`, if this machine has it.
pub fn postgres_account() -> Option<(u32, u32)> {
    account("postgres")
}

/// User and group of an account of this machine.
pub fn account(name: &str) -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = passwd.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == name)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// Who asks a restored copy, and in which database: as in the connection of the workload.
pub fn user_and_database(workload: &WorkloadConfig) -> (String, String) {
    let word = |key: &str| {
        let mut words = workload.connection.split_whitespace().filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('\'').to_owned())
    };
    let user = word("user").unwrap_or_else(|| "postgres".to_owned());
    let database = word("dbname").unwrap_or_else(|| user.clone());
    (user, database)
}

/// The name of this machine, for records.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

//! Sessions on a live server: where it is, how we prove who we are, and what a failure means.
//!
//! A [`Target`] holds a password and never shows it: not in `Debug`, not in errors. Everything is given by the
//! caller; unlike libpq, nothing is taken from the environment or the home directory.
//!
//! Not here: pools and retries. A backup lives in one session, and its end must be noticed.

mod conninfo;
mod error;
mod tls;

pub use error::{Error, ErrorKind, Result};

use rustls::ClientConfig;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::{Config, Host, SslMode};
/// The driver's session, and its failure, which [`Error::from_driver`] understands.
pub use tokio_postgres::{Client, Error as DriverError, SimpleQueryMessage};

/// How long a connection may take when the string doesn't say (`connect_timeout`). libpq waits for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A session that holds a backup is silent for hours: without these a firewall forgets it, and a dead peer stays
/// unnoticed. 30 s + 3 × 10 s: a minute until we know.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// The largest password file that is read.
const PASSFILE_BYTES_MAX: u64 = 1 << 20;

/// Where a password comes from when the connection string has none.
#[derive(Clone, Default)]
pub enum Secret {
    /// Only from the string: `password`, or the file that `passfile` names.
    #[default]
    None,
    /// This one.
    Password(String),
    /// A file in the form of `.pgpass`.
    Passfile(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Password(_) => f.write_str("Password(..)"),
            Self::Passfile(path) => f.debug_tuple("Passfile").field(path).finish(),
        }
    }
}

/// A server, a database, a role, and what proves it.
#[derive(Clone)]
pub struct Target {
    config: Config,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// Understands libpq's strings and URLs: the driver's words, `sslmode` with all its values, `sslrootcert`,
    /// `sslcert`, `sslkey`, `passfile`. Reads the certificates and the password file.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the string or a file can't be understood.
    pub fn parse(conninfo: &str, secret: &Secret) -> Result<Self> {
        let conninfo::Conninfo { mut config, tls, passfile } = conninfo::parse(conninfo)?;
        config.application_name("lifeboat").keepalives(true).keepalives_idle(KEEPALIVE_IDLE);
        config.keepalives_interval(KEEPALIVE_INTERVAL).keepalives_retries(KEEPALIVE_RETRIES);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let mut target = Self { tls: tls.client_config()?, config };
        if target.config.get_password().is_none() {
            match (secret, passfile) {
                (Secret::Password(password), _) => {
                    target.config.password(password);
                }
                (Secret::Passfile(path), _) => target.read_password(path)?,
                (Secret::None, Some(path)) => target.read_password(&path)?,
                (Secret::None, None) => {}
            }
        }
        Ok(target)
    }

    /// The same server and role, another database.
    pub fn with_database(mut self, name: &str) -> Self {
        self.config.dbname(name);
        self
    }

    /// The same, known to the server by this name: `application_name` of its views and of `synchronous_standby_names`.
    pub fn with_application_name(mut self, name: &str) -> Self {
        self.config.application_name(name);
        self
    }

    /// Who asks, where the string says so.
    pub fn user(&self) -> Option<&str> {
        self.config.get_user()
    }

    fn read_password(&mut self, path: &Path) -> Result<()> {
        let action = || format!("read {}", path.display());
        let unreadable = |error| Error::new(ErrorKind::Invalid, action(), "it can't be read").with_source(error);
        if std::fs::metadata(path).map_err(unreadable)?.len() > PASSFILE_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, action(), "it is too large for a password file"));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(_)) => "localhost".to_owned(),
            None => self.config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let user = self.config.get_user().unwrap_or_default().to_owned();
        let database = self.config.get_dbname().unwrap_or(&user).to_owned();
        let found = conninfo::password_from_file(&text, &host, port, &database, &user);
        if let Some(password) = found {
            self.config.password(password);
        }
        Ok(())
    }

    /// Opens a session. Needs a tokio runtime; a task of it carries the bytes until the client is dropped.
    ///
    /// # Errors
    /// Classified: see [`ErrorKind`].
    pub async fn connect(&self) -> Result<Client> {
        let action = format!("connect to {self}");
        let (client, connection) = self
            .config
            .connect(tls::Tls(self.tls.clone()))
            .await
            .map_err(|error| connect_error(action, error, self.config.get_ssl_mode()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "session ended"); // whoever uses the client sees it too
            }
        });
        Ok(client)
    }

    /// What the replication client needs: it speaks the protocol itself.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The same.
    pub(crate) fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }
}

/// Opens a session with a connection string: [`Target::parse`] and [`Target::connect`] in one.
///
/// # Errors
/// Classified: see [`ErrorKind`].
pub async fn connect(conninfo: &str, secret: &Secret) -> Result<Client> {
    Target::parse(conninfo, secret)?.connect().await
}

fn connect_error(action: String, error: tokio_postgres::Error, mode: SslMode) -> Error {
    let found = Error::from_driver(action, error);
    if found.hint().is_some() {
        return found;
    }
    match found.kind() {
        ErrorKind::Unreachable => found.with_hint("check host and port, that the server runs, and listen_addresses"),
        ErrorKind::Tls if mode == SslMode::Require => {
            found.with_hint("check sslmode and sslrootcert, and that ssl = on in postgresql.conf")
        }
        ErrorKind::Authentication => found.with_hint("add passfile=FILE to the connection string"),
        _ => found,
    }
}

/// `user@host:port/database`, for people.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let all: Vec<String> = hosts.chain(self.config.get_hostaddrs().iter().map(ToString::to_string)).collect();
        f.write_str(&all.join(","))?;
        for port in self.config.get_ports() {
            write!(f, ":{port}")?;
        }
        self.config.get_dbname().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

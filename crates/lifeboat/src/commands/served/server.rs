//! The server over what is served.

use super::Service;
use crate::failure::Failure;
use crate::rooms;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::cluster::{Cluster, PidFile, Programs, StartOptions, StopMode, WaitFor};
use lifeboat_postgres::connection::{ErrorKind, Secret, Target as Server};
use lifeboat_repository::Point;
use lifeboat_workload::postgres::PostgresDetails;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long replay may take until the server is what was asked for.
pub const REPLAY_PATIENCE: Duration = Duration::from_secs(6 * 3600);
const STOP_PATIENCE: Duration = Duration::from_secs(300);

/// A server that was started.
pub struct Started {
    cluster: Cluster,
    options: StartOptions,
    /// From the command to the first answer. None when it was not to answer.
    pub first_query_seconds: Option<f64>,
}

impl Service<'_> {
    /// PostgreSQL's programs of the point's version.
    pub fn programs(&self, point: &Point) -> Result<Programs, Failure> {
        let details = PostgresDetails::of(point)?;
        let search: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
        Ok(Programs::find(details.major, self.settings()?.bin_dir.as_deref(), &search)?)
    }

    /// Starts the server, waits until it is what the options say, and asks it something if it `answers` then.
    pub async fn start(&self, point: &Point, options: StartOptions, answers: bool) -> Result<Started, Failure> {
        let cluster = Cluster::open(&self.to, self.programs(point)?)?;
        let (user, database) = rooms::user_and_database(self.settings()?);
        let mut options = options;
        options.user.clone_from(&user);
        let secret = rooms::secret(self.settings()?)?;
        options.secret = secret.clone();
        // Or it would open every file before it begins, to sync it.
        let mut first = options.clone().setting("recovery_init_sync_method", "syncfs");
        if PostgresDetails::of(point)?.major >= MajorVersion::V15 {
            // It asks ahead also for pages of which a whole image comes just before: that would bring most of a cluster for nothing.
            first = first.setting("recovery_prefetch", "off");
        }
        let file = cluster.start(&first).await?;
        let mut first_query_seconds = None;
        if answers {
            let mut asked = ask(&file, &user, &database, &secret).await;
            // At this moment it may not have been there yet.
            if asked.as_ref().is_err_and(|error| error.kind() == ErrorKind::NoDatabase) {
                asked = ask(&file, &user, "postgres", &secret).await;
            }
            match asked {
                Ok(()) => first_query_seconds = Some(self.begun.elapsed().as_secs_f64()),
                // Others may be let in, and who looks for help now needs the server.
                Err(error) if error.kind() == ErrorKind::Authentication => {
                    self.output.warn(&format!("the server runs, and does not let us ask it: {error}"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Started { cluster, options, first_query_seconds })
    }
}

impl Started {
    /// Whether replay was over when it counted as started.
    pub fn has_replayed(&self) -> bool {
        self.options.wait_for != WaitFor::Nothing
    }

    /// Stops it, as a careful person would.
    pub async fn stop(&self) -> Result<(), Failure> {
        Ok(self.cluster.stop(StopMode::Fast, STOP_PATIENCE).await?)
    }

    /// Stops it as fast as it goes: nobody needs what it holds.
    pub async fn drop_it(&self) -> Result<(), Failure> {
        Ok(self.cluster.stop(StopMode::Immediate, STOP_PATIENCE).await?)
    }

    /// Starts it again, on what has become an ordinary directory.
    pub async fn start_again(&self) -> Result<(), Failure> {
        self.cluster.start(&self.options).await?;
        Ok(())
    }
}

async fn ask(
    file: &PidFile,
    user: &str,
    database: &str,
    secret: &Secret,
) -> Result<(), lifeboat_postgres::connection::Error> {
    let socket =
        file.socket_dir.as_deref().map_or_else(|| "localhost".into(), |path: &Path| path.display().to_string());
    let text = format!("host='{socket}' port={} user='{user}' dbname='{database}'", file.port);
    let client = Server::parse(&text, secret)?.connect().await?;
    let asked = client.query_one("select count(*) from pg_class", &[]).await;
    asked.map(|_| ()).map_err(|error| lifeboat_postgres::connection::Error::from_driver("ask the server", error))
}

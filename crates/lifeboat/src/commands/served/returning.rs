//! Locations that were away when it began are used when they come back.

use crate::config::Config;
use crate::failure::Failure;
use crate::output::progress;
use crate::{removable, rooms};
use jiff::Timestamp;
use lifeboat_recovery::instant::Readers;
use lifeboat_repository::{ChunkReader, Hold, Progress, hold_until};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often is looked. A location that is away costs a request each time, or the time limit of one.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Looks by itself for as long as this is there.
pub struct Returning(JoinHandle<()>);

/// Who is to be told, and where.
pub struct Wanted {
    pub config: Config,
    /// All that are configured, in their order.
    pub names: Vec<String>,
    pub readers: Arc<Readers>,
    /// To be held there, too.
    pub hold: Option<Hold>,
    pub progress: Arc<progress::ForRooms>,
}

impl Returning {
    /// Begins. Call within the runtime.
    pub fn begin(wanted: Wanted) -> Self {
        Self(tokio::spawn(async move {
            while wanted.missing().next().is_some() {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Err(failure) = wanted.look().await {
                    tracing::warn!("a location that came back can't be used yet: {}", failure.sentence());
                }
            }
        }))
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Wanted {
    fn missing(&self) -> impl Iterator<Item = &String> {
        let reader = self.readers.now();
        let has = move |name: &str| reader.repository().replicas().iter().any(|replica| replica.name == name);
        self.names.iter().filter(move |name| !has(name))
    }

    async fn look(&self) -> Result<(), Failure> {
        let missing: Vec<String> = self.missing().cloned().collect();
        let (here, _) = removable::attached(&self.config, &missing);
        let before = self.readers.now();
        let replicas = rooms::replicas(&self.config, &here)?;
        let after = Arc::new(before.repository().joined_by(replicas, &self.names).await);
        if after.replicas().len() == before.repository().replicas().len() {
            return Ok(());
        }
        self.readers.exchange(Arc::new(ChunkReader::open(after.clone()).await?));
        let is_new = |name: &&String| after.replicas().iter().any(|replica| replica.name == **name);
        for name in missing.iter().filter(is_new) {
            self.progress.warn(&format!("location {name} is back, and used from now on"));
        }
        if let Some(hold) = &self.hold {
            after.renew(hold, hold_until(Timestamp::now())).await?;
        }
        Ok(())
    }
}

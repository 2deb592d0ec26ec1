//! Whether our log is a beginning of another member's: asked of that member itself.

use super::{Address, DatabaseSettings, lineage, managed};
use lifeboat_failover::Position;
use lifeboat_postgres::connection::{Secret, Target};
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::replication::ReplicationClient;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use std::time::Duration;

/// Two short questions. A connection that got lost on its way isn't heard of again: asking anew after a moment is faster than waiting, and who is
/// far away gets more time with each attempt.
pub const PATIENCE: (Duration, Duration) = (Duration::from_millis(750), Duration::from_secs(3));

/// Why it can't be said.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    #[error("it doesn't answer: {0}")]
    Unreachable(String),
    #[error("it can't be asked with these words: {0}")]
    Settings(String),
    /// Following it would mix two databases.
    #[error("it belongs to another cluster: its system identifier is {theirs}, ours is {ours}")]
    AnotherCluster { ours: SystemId, theirs: SystemId },
}

/// Where the log of `other` left ours, which ends at `end`; `None`: ours is a beginning of it, and can go on with what it sends.
pub async fn fork(
    settings: &DatabaseSettings,
    other: &Address,
    end: Position,
    patience: Duration,
) -> Result<Option<u64>, FitError> {
    let asked = tokio::time::timeout(patience, ask(settings, other, end)).await;
    asked.unwrap_or_else(|_| Err(FitError::Unreachable(format!("nothing within {} ms", patience.as_millis()))))
}

async fn ask(settings: &DatabaseSettings, other: &Address, end: Position) -> Result<Option<u64>, FitError> {
    let unreachable = |error: lifeboat_postgres::connection::Error| FitError::Unreachable(error.to_string());
    let target = Target::parse(&managed::question(settings, other), &Secret::None);
    let target = target.map_err(|error| FitError::Settings(error.to_string()))?;
    let target = target.with_application_name("lifeboat agent");
    let mut client = ReplicationClient::connect(&target).await.map_err(unreachable)?;
    let identity = client.identify_system().await.map_err(unreachable)?;
    let ours = super::system_id(&settings.data_dir).map_err(|error| FitError::Unreachable(error.to_string()))?;
    if identity.system_id != ours {
        return Err(FitError::AnotherCluster { ours, theirs: identity.system_id });
    }
    let history = if identity.timeline.0 > 1 {
        let file = client.timeline_history(identity.timeline).await.map_err(unreachable)?;
        TimelineHistory::parse(identity.timeline, &file.content)
            .map_err(|error| FitError::Unreachable(error.to_string()))?
    } else {
        TimelineHistory::without_ancestors(identity.timeline)
    };
    client.close().await;
    if history.contains_end(TimelineId(end.lineage.0), Lsn(end.offset)) {
        // Before it is promoted it has our timeline, and what we have beyond its end isn't going to be its.
        if identity.timeline.0 == end.lineage.0 && identity.flush_lsn.0 < end.offset {
            return Err(FitError::Unreachable("it isn't as far as we are".to_owned()));
        }
        return Ok(None);
    }
    let left = history.span(TimelineId(end.lineage.0)).and_then(|(_, end)| end);
    // A lineage that it never was on: all of it is ours alone.
    let began = || lineage::history(&settings.data_dir, end.lineage).forks().last().map_or(0, |fork| fork.start);
    Ok(Some(left.map_or_else(began, |left| left.0)))
}

//! Waiting for locations: all are asked at once, and one that is much slower than the others is passed over.
//!
//! Not here: time limits of single requests, which every location has itself. This is for those whose limits fail, such
//! as a directory on a file server that is gone.

use crate::error::{Error, Result};
use crate::open::Replica;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lifeboat_location::ErrorKind;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How much one location may cost the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a location may be silent while another has done its part.
    pub patience: Duration,
    /// Bytes of sealed objects that may be in memory on their way, over all locations. One object may exceed it.
    pub budget_bytes: usize,
    /// A location slower than this counts as silent.
    pub bytes_per_second_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: Duration::from_secs(30), budget_bytes: 64 * 1024 * 1024, bytes_per_second_min: 1024 * 1024 }
    }
}

impl Limits {
    /// How long moving `bytes` may take.
    pub(crate) fn time_for(&self, bytes: u64) -> Duration {
        self.patience + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second_min.max(1) as f64)
    }

    /// How long a listing may take after another location gave its own: a bucket answers a thousand keys at a time.
    pub(crate) fn listing(&self) -> Duration {
        self.patience * 10
    }
}

/// Asks every location at once. After the first good answer the others get `patience`; the answers come back in the
/// order of `replicas`.
pub(crate) async fn ask_all<T, Answer>(
    replicas: &[Replica],
    patience: Duration,
    ask: impl Fn(Replica) -> Answer,
) -> Vec<Result<T>>
where
    Answer: Future<Output = Result<T>>,
{
    let mut answers: Vec<Option<Result<T>>> = replicas.iter().map(|_| None).collect();
    let mut pending: FuturesUnordered<_> = FuturesUnordered::new();
    for (number, replica) in replicas.iter().cloned().enumerate() {
        let answer = ask(replica);
        pending.push(async move { (number, answer.await) });
    }
    let mut deadline: Option<Instant> = None;
    loop {
        let next = match deadline {
            None => pending.next().await,
            Some(at) => tokio::time::timeout_at(at, pending.next()).await.unwrap_or(None),
        };
        let Some((number, answer)) = next else { break };
        if answer.is_ok() && deadline.is_none() {
            deadline = Some(Instant::now() + patience);
        }
        answers[number] = Some(answer);
    }
    let answered = answers.into_iter().zip(replicas);
    answered.map(|(answer, replica)| answer.unwrap_or_else(|| Err(silent(replica, patience)))).collect()
}

/// The result of `work`, or that there was none within `limit`.
pub(crate) async fn within<T>(
    replica: &Replica,
    limit: Duration,
    work: impl Future<Output = lifeboat_location::Result<T>>,
) -> Result<T> {
    answer_within(replica, limit, async { Ok(work.await?) }).await
}

/// The same for work of several steps.
pub(crate) async fn answer_within<T>(
    replica: &Replica,
    limit: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(silent(replica, limit)))
}

fn silent(replica: &Replica, limit: Duration) -> Error {
    let error = lifeboat_location::Error::new(ErrorKind::Unavailable, replica.location.address(), "wait for an answer");
    error.with_source(format!("none within {limit:?}")).into()
}

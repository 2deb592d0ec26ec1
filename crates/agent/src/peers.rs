//! Talking to the other agents: one message, one request, none of them waited for.

use crate::api::{Envelope, MESSAGE_PATH};
use crate::settings::{AgentSettings, Place, Tls};
use lifeboat_failover::{Event, MemberName, Message};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// A message that isn't taken within this time is lost: the next one says more.
const PATIENCE: Duration = Duration::from_millis(900);
/// To one member at a time; more would wait behind a machine that doesn't answer.
const UNDER_WAY_MAX: usize = 8;

/// The same refusal is told again after this.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Why nobody can be talked to.
#[derive(Debug, thiserror::Error)]
#[error("the certificates can't be used")]
pub struct TlsError(#[from] reqwest::Error);

/// See the module.
pub struct Peers {
    client: reqwest::Client,
    token: String,
    from: MemberName,
    cluster: String,
    system_id: Option<String>,
    others: BTreeMap<MemberName, Other>,
    events: mpsc::UnboundedSender<Event>,
}

/// One of the others.
struct Other {
    place: Place,
    under_way: Arc<Semaphore>,
    refusal: Arc<Mutex<Refusal>>,
}

/// Why it last refused us, and when that was told: several times a second would bury everything else.
#[derive(Debug, Default)]
struct Refusal(Option<(String, Instant)>);

impl Refusal {
    /// Whether it is to be told.
    fn is_news(&mut self, why: &str, now: Instant) -> bool {
        let known = self.0.as_ref().is_some_and(|(said, at)| said == why && now - *at < TOLD_AGAIN_AFTER);
        if !known {
            self.0 = Some((why.to_owned(), now));
        }
        !known
    }
}

/// A client for agents.
///
/// # Errors
/// When the certificates can't be used.
pub fn client(tls: Option<&Tls>, patience: Duration) -> Result<reqwest::Client, TlsError> {
    let mut builder = reqwest::Client::builder()
        .timeout(patience)
        .connect_timeout(patience)
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .no_proxy();
    if let Some(tls) = tls {
        for certificate in reqwest::Certificate::from_pem_bundle(&tls.authority)? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    Ok(builder.build()?)
}

impl Peers {
    pub fn new(settings: &AgentSettings, events: mpsc::UnboundedSender<Event>) -> Result<Self, TlsError> {
        let others = settings.places.iter().filter(|(name, _)| **name != settings.failover.name);
        Ok(Self {
            client: client(settings.tls.as_ref(), PATIENCE)?,
            token: settings.token.reveal().to_owned(),
            from: settings.failover.name.clone(),
            cluster: settings.failover.cluster.clone(),
            system_id: settings.system_id.map(|id| id.to_string()),
            others: others
                .map(|(name, place)| {
                    let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
                    (name.clone(), Other { place: place.clone(), under_way, refusal: Arc::default() })
                })
                .collect(),
            events,
        })
    }

    /// Sends, and forgets.
    pub fn send(&self, to: MemberName, message: Message) {
        let Some(Other { place, under_way, refusal }) = self.others.get(&to) else { return };
        let Ok(permit) = under_way.clone().try_acquire_owned() else { return };
        let envelope = Envelope {
            cluster: self.cluster.clone(),
            system_id: self.system_id.clone(),
            from: self.from.clone(),
            to: to.clone(),
            clock: Some(crate::clock::time_of_day_seconds()),
            message,
        };
        let request = self
            .client
            .post(format!("{}{MESSAGE_PATH}", place.agent.trim_end_matches('/')))
            .bearer_auth(&self.token)
            .json(&envelope);
        let (events, refusal) = (self.events.clone(), refusal.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match request.send().await {
                Ok(answer) if answer.status().is_success() => {
                    refusal.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
                }
                Ok(answer) => {
                    let (status, why) = (answer.status(), answer.text().await.unwrap_or_default());
                    let why: String = why.trim().chars().take(200).collect();
                    if refusal.lock().unwrap_or_else(PoisonError::into_inner).is_news(&why, Instant::now()) {
                        tracing::warn!(%to, %status, %why, "refuses us");
                    }
                }
                Err(error) if is_refused(&error) => {
                    // Nobody is left to listen when we end ourselves.
                    let _ = events.send(Event::NobodyListens { at: to });
                }
                Err(error) => tracing::debug!(%to, %error, "not told"),
            }
        });
    }
}

/// Whether the machine is there and says that nobody listens.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_a_minute_and_when_it_is_another() {
        let (begun, mut refusal) = (Instant::now(), Refusal::default());
        assert!(refusal.is_news("no copies", begun));
        assert!(!refusal.is_news("no copies", begun + Duration::from_secs(59)));
        assert!(refusal.is_news("the token", begun + Duration::from_secs(59)));
        assert!(refusal.is_news("the token", begun + Duration::from_secs(119)));
    }
}

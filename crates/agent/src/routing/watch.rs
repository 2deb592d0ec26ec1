//! Follows several agents at once, and makes one table of what they say.
//!
//! Promise: the table never goes back to an older epoch, also when every agent was away, for as long as this lives. A reader that is
//! started anew knows nothing, and believes the first that answers: give it all agents, so that one of them is of the newest epoch.

use super::{Heard, Merge, RouteTable, TABLE_BYTES_MAX, TableError};
use crate::lease::Secret;
use reqwest::{Certificate, Client, Response};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// An agent answers a long poll after at most 10 s; a slow line gets some more.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// An agent that is away is asked again after this, then twice as long, up to the most.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A server that doesn't wait with its answers is not asked more often than this.
const PAUSE_OF_IMPATIENT: Duration = Duration::from_millis(500);

/// Whom to follow.
#[derive(Debug, Clone, Default)]
pub struct WatchSettings {
    pub cluster: String,
    /// Where agents answer: `https://ohio:7432`. All of the cluster's, if possible.
    pub agents: Vec<String>,
    /// What proves to them who we are.
    pub token: Option<Secret>,
    /// PEM: who may have signed their certificates, instead of whom this machine trusts.
    pub certificate_authority: Option<Vec<u8>>,
}

/// Settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("there is no agent to follow")]
    NoAgent,
    #[error("the address {url} of an agent must begin with https:// or http://")]
    Address { url: String },
    #[error("the certificate of the authority can't be used")]
    Authority(#[source] reqwest::Error),
    #[error("there can be no client for HTTP")]
    Client(#[source] reqwest::Error),
}

/// What is known of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSeen {
    pub url: String,
    /// When it last answered.
    pub answered: Option<SystemTime>,
    /// Why it isn't believed, or doesn't answer, if so.
    pub trouble: Option<String>,
}

/// Follows until dropped.
#[derive(Debug)]
pub struct Watching {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    merge: Mutex<Merge>,
    seen: Mutex<Vec<AgentSeen>>,
    tables: watch::Sender<RouteTable>,
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no answer")]
    Asked(#[from] reqwest::Error),
    #[error("it answers {0}")]
    Status(reqwest::StatusCode),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Begins to follow. The receiver has epoch nought, nowhere, until an agent answers. Needs a tokio runtime.
///
/// # Errors
/// When the settings can't be used; nothing is asked yet.
pub fn follow(settings: &WatchSettings) -> Result<(Watching, watch::Receiver<RouteTable>), WatchError> {
    let client = client(settings)?;
    let merge = Merge::new(&settings.cluster);
    let (tables, receiver) = watch::channel(merge.table().clone());
    let urls = settings.agents.iter().map(|url| url.trim_end_matches('/').to_owned()).collect::<Vec<_>>();
    let unseen = |url: &String| AgentSeen { url: url.clone(), answered: None, trouble: None };
    let seen = Mutex::new(urls.iter().map(unseen).collect());
    let shared = Arc::new(Shared { merge: Mutex::new(merge), seen, tables });
    let mut tasks = JoinSet::new();
    for (number, url) in urls.into_iter().enumerate() {
        tasks.spawn(poll(client.clone(), url, settings.token.clone(), number, shared.clone()));
    }
    Ok((Watching { shared, _tasks: tasks }, receiver))
}

impl Watching {
    /// How each agent is, in the order of the settings.
    pub fn seen(&self) -> Vec<AgentSeen> {
        lock(&self.shared.seen).clone()
    }
}

fn client(settings: &WatchSettings) -> Result<Client, WatchError> {
    if settings.agents.is_empty() {
        return Err(WatchError::NoAgent);
    }
    let is_wrong = |url: &&String| !url.starts_with("http://") && !url.starts_with("https://");
    if let Some(url) = settings.agents.iter().find(is_wrong) {
        return Err(WatchError::Address { url: url.clone() });
    }
    let mut client = Client::builder().connect_timeout(CONNECT_TIME_MAX).timeout(ANSWER_TIME_MAX).no_proxy();
    if let Some(pem) = &settings.certificate_authority {
        client = client.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(WatchError::Authority)?);
    }
    client.build().map_err(WatchError::Client)
}

async fn poll(client: Client, url: String, token: Option<Secret>, number: usize, shared: Arc<Shared>) {
    let (mut after, mut pause) = (None, PAUSE_FIRST);
    loop {
        let begun = Instant::now();
        let answer = ask(&client, &url, token.as_ref(), after).await;
        let trouble = match &answer {
            Ok(table) => shared.hear(table),
            Err(error) => Some(told(error)),
        };
        shared.note(number, answer.is_ok(), trouble);
        match answer {
            Ok(table) => {
                pause = PAUSE_FIRST;
                if after == Some(table.version) && begun.elapsed() < PAUSE_OF_IMPATIENT {
                    tokio::time::sleep(PAUSE_OF_IMPATIENT).await;
                }
                after = Some(table.version);
            }
            Err(_) => {
                // Whoever answers next may be another life of the agent, which counts anew.
                after = None;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

async fn ask(client: &Client, url: &str, token: Option<&Secret>, after: Option<u64>) -> Result<RouteTable, AskError> {
    let query = after.map(|version| format!("?after={version}")).unwrap_or_default();
    let mut request = client.get(format!("{url}/v1/route{query}"));
    if let Some(token) = token {
        request = request.bearer_auth(token.reveal());
    }
    let answer = request.send().await?;
    if !answer.status().is_success() {
        return Err(AskError::Status(answer.status()));
    }
    Ok(RouteTable::decode(&bounded(answer).await?)?)
}

/// The body, or that it is too large: whatever its length is said to be.
async fn bounded(mut answer: Response) -> Result<Vec<u8>, AskError> {
    let mut content = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if content.len() + piece.len() > TABLE_BYTES_MAX {
            return Err(TableError::TooLarge { bytes: content.len() + piece.len() }.into());
        }
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

impl Shared {
    /// Takes in what an agent says; why it isn't believed, if so.
    fn hear(&self, table: &RouteTable) -> Option<String> {
        let mut merge = lock(&self.merge);
        match merge.hear(table) {
            Heard::Changed => {
                // While the lock is held: another poll must not send an older table after this one.
                self.tables.send_replace(merge.table().clone());
                None
            }
            Heard::Same => None,
            Heard::Older => Some(format!("it is at epoch {}, and {} has begun", table.epoch, merge.table().epoch)),
            Heard::Refused if table.cluster != merge.table().cluster => {
                Some(format!("it is of the cluster {}", table.cluster))
            }
            Heard::Refused => Some(format!("it names a second primary in epoch {}", table.epoch)),
        }
    }

    fn note(&self, number: usize, answered: bool, trouble: Option<String>) {
        let mut seen = lock(&self.seen);
        if answered {
            seen[number].answered = Some(SystemTime::now());
        }
        seen[number].trouble = trouble;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

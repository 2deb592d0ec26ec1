//! A lease in etcd: one key, changed by transactions that compare its revision.
//!
//! Spoken is etcd's JSON gateway (<https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/>), which every server from 3.4 on has. Its own leases aren't
//! used: they are extended when its leader changes, and our members time what doesn't change themselves.

use super::{LeaseStore, StoreError, Swapped, Version};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use reqwest::{Certificate, Client, Identity};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// An answer is a lease and some numbers.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where etcd is, and who we are to it.
#[derive(Debug, Clone, Default)]
pub struct EtcdSettings {
    /// Of its members: `https://etcd1:2379`.
    pub endpoints: Vec<String>,
    /// Before every key: `lifeboat/` if empty.
    pub prefix: String,
    pub user: Option<(String, Secret)>,
    /// PEM: who may have signed the servers' certificates, instead of whom this machine trusts.
    pub certificate_authority: Option<Vec<u8>>,
    /// PEM: our certificate and its key.
    pub identity: Option<Secret>,
}

/// See the module.
pub struct Etcd {
    client: Client,
    endpoints: Vec<String>,
    key: String,
    user: Option<(String, Secret)>,
    token: Mutex<Option<String>>,
    /// Which endpoint answered last: it is asked first.
    first: Mutex<usize>,
    limit: Duration,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("endpoints", &self.endpoints).field("key", &self.key).finish()
    }
}

/// How a request failed.
struct Failed {
    why: String,
    /// It certainly never reached the server.
    unsent: bool,
    /// The server doesn't let us.
    refused: bool,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    value: String,
    mod_revision: String,
}

#[derive(Deserialize)]
struct Header {
    revision: String,
}

#[derive(Deserialize)]
struct Transaction {
    header: Header,
    /// Left out when it is false.
    #[serde(default)]
    succeeded: bool,
}

impl Etcd {
    /// The lease of `cluster`; operations take at most `limit`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when an address or a certificate can't be understood.
    pub fn new(settings: &EtcdSettings, cluster: &str, limit: Duration) -> Result<Self, StoreError> {
        let refused = |why: String| StoreError::Refused { store: "etcd".into(), why };
        if settings.endpoints.is_empty() {
            return Err(refused("it has no endpoint".into()));
        }
        let is_url = |text: &&String| !text.starts_with("http://") && !text.starts_with("https://");
        if let Some(wrong) = settings.endpoints.iter().find(is_url) {
            return Err(refused(format!("the endpoint {wrong} must begin with https:// or http://")));
        }
        let mut client = Client::builder().connect_timeout(limit / 2).timeout(limit).no_proxy();
        if let Some(pem) = &settings.certificate_authority {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|error| refused(told(&error)))?;
            client = client.tls_certs_only(certificates);
        }
        if let Some(Secret(pem)) = &settings.identity {
            client = client.identity(Identity::from_pem(pem.as_bytes()).map_err(|error| refused(told(&error)))?);
        }
        let prefix = if settings.prefix.is_empty() { "lifeboat/" } else { &settings.prefix };
        Ok(Self {
            client: client.build().map_err(|error| refused(told(&error)))?,
            endpoints: settings.endpoints.iter().map(|url| url.trim_end_matches('/').to_owned()).collect(),
            key: format!("{prefix}leases/{cluster}"),
            user: settings.user.clone(),
            token: Mutex::default(),
            first: Mutex::default(),
            limit,
        })
    }

    fn token(&self) -> Option<String> {
        self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Asks one member after the other, for as long as a request certainly wasn't carried out, or may be carried out twice.
    async fn ask(&self, path: &str, body: &Value, may_repeat: bool) -> Result<Bytes, Failed> {
        let begun = Instant::now();
        let first = *self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut last = None;
        for turn in 0..self.endpoints.len() {
            let place = (first + turn) % self.endpoints.len();
            let left = self.limit.saturating_sub(begun.elapsed());
            // One that hangs must leave time for another.
            let share = if may_repeat && turn + 1 < self.endpoints.len() { left / 2 } else { left };
            if share.is_zero() {
                break;
            }
            match self.ask_one(&self.endpoints[place], path, body, share).await {
                Ok(answer) => {
                    *self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = place;
                    return Ok(answer);
                }
                Err(failed) if failed.refused || !(may_repeat || failed.unsent) => return Err(failed),
                Err(failed) => last = Some(failed),
            }
        }
        let late = Failed { why: format!("no answer within {:?}", self.limit), unsent: false, refused: false };
        Err(last.unwrap_or(late))
    }

    async fn ask_one(&self, endpoint: &str, path: &str, body: &Value, limit: Duration) -> Result<Bytes, Failed> {
        if self.user.is_some() && self.token().is_none() {
            self.authenticate(endpoint, limit).await?;
        }
        let mut request = self.client.post(format!("{endpoint}{path}")).timeout(limit).json(body);
        if let Some(token) = self.token() {
            request = request.header("Authorization", token);
        }
        let sent = request.send().await;
        let answer = sent.map_err(|error| Failed { unsent: error.is_connect(), refused: false, why: told(&error) })?;
        let status = answer.status();
        let too_large = answer.content_length().is_some_and(|length| length > ANSWER_BYTES_MAX as u64);
        let failed = |why: String, refused: bool| Failed { why, unsent: false, refused };
        if too_large {
            return Err(failed("the answer is too large for a lease".into(), false));
        }
        let content = answer.bytes().await.map_err(|error| failed(told(&error), false))?;
        if status.is_success() {
            return Ok(content);
        }
        let text = String::from_utf8_lossy(&content);
        if status.as_u16() == 401 {
            // Tokens end; the next request gets a new one.
            *self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        }
        let refused = matches!(status.as_u16(), 401 | 403);
        Err(failed(format!("{status}: {}", text.chars().take(200).collect::<String>()), refused))
    }

    async fn authenticate(&self, endpoint: &str, limit: Duration) -> Result<(), Failed> {
        #[derive(Deserialize)]
        struct Answer {
            token: String,
        }
        let Some((name, Secret(password))) = &self.user else { return Ok(()) };
        let refused = |why: String| Failed { why, unsent: true, refused: true };
        let body = json!({ "name": name, "password": password });
        let request = self.client.post(format!("{endpoint}/v3/auth/authenticate")).timeout(limit).json(&body);
        let answer = request.send().await;
        let answer = answer.map_err(|error| Failed { why: told(&error), unsent: true, refused: false })?;
        if !answer.status().is_success() {
            return Err(refused(format!("etcd doesn't let the user {name} in ({})", answer.status())));
        }
        let answer: Answer = answer.json().await.map_err(|error| refused(told(&error)))?;
        *self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(answer.token);
        Ok(())
    }

    pub(crate) async fn read_key(&self, key: &str) -> Result<Option<(Bytes, Version)>, StoreError> {
        let body = json!({ "key": BASE64.encode(key) });
        let answer = self.ask("/v3/kv/range", &body, true).await.map_err(|failed| self.error(failed))?;
        let wrong = |why: String| StoreError::Unavailable { store: self.address(), why };
        let range: Range = serde_json::from_slice(&answer).map_err(|error| wrong(error.to_string()))?;
        let Some(found) = range.kvs.into_iter().next() else { return Ok(None) };
        let content = BASE64.decode(found.value).map_err(|error| wrong(error.to_string()))?;
        Ok(Some((content.into(), Version(found.mod_revision))))
    }

    pub(crate) async fn swap_key(&self, key: &str, expected: Option<&Version>, content: &[u8]) -> Swapped {
        let key = BASE64.encode(key);
        // A key that isn't there has been modified at revision nought.
        let revision = expected.map_or("0", |version| &version.0);
        let body = json!({
            "compare": [{ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision }],
            "success": [{ "request_put": { "key": key, "value": BASE64.encode(content) } }],
        });
        let answer = match self.ask("/v3/kv/txn", &body, false).await {
            Ok(answer) => answer,
            Err(failed) => return Swapped::Unknown(failed.why),
        };
        match serde_json::from_slice::<Transaction>(&answer) {
            Ok(done) if done.succeeded => Swapped::Applied(Version(done.header.revision)),
            Ok(_) => Swapped::Lost,
            Err(error) => Swapped::Unknown(error.to_string()),
        }
    }

    fn error(&self, failed: Failed) -> StoreError {
        let (store, why) = (self.address(), failed.why);
        if failed.refused { StoreError::Refused { store, why } } else { StoreError::Unavailable { store, why } }
    }
}

/// An error with its causes, without the address, which is told anyway.
fn told(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { String::new() };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

#[async_trait]
impl LeaseStore for Etcd {
    fn address(&self) -> String {
        format!("etcd at {}", self.endpoints.join(", "))
    }

    async fn read(&self) -> Result<Option<(Bytes, Version)>, StoreError> {
        self.read_key(&self.key).await
    }

    async fn swap(&self, expected: Option<&Version>, content: Bytes) -> Swapped {
        self.swap_key(&self.key, expected, &content).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let key = format!("{}.probe", self.key);
        let known = self.read_key(&key).await?.map(|(_, version)| version);
        let unsafe_because = |why: &str| StoreError::Unsafe { store: self.address(), why: why.into() };
        match self.swap_key(&key, known.as_ref(), b"probe").await {
            Swapped::Applied(_) => {}
            // Another member probes at the same moment: it is refused as it should be.
            Swapped::Lost => return Ok(()),
            Swapped::Unknown(why) => return Err(StoreError::Unavailable { store: self.address(), why }),
        }
        match self.swap_key(&key, known.as_ref(), b"stale").await {
            Swapped::Lost => Ok(()),
            Swapped::Applied(_) => Err(unsafe_because("it took a write that was made for an older version")),
            Swapped::Unknown(why) => Err(StoreError::Unavailable { store: self.address(), why }),
        }
    }
}

//! The primary as a service of Consul.
//!
//! One transaction (`PUT /v1/txn`) sets a key that says the epoch, compared with the index that was read (`cas`), and the service in the catalogue with
//! the tag `primary`: both or neither. The service is of a node of its own that no Consul agent is of, because an agent removes services of its node that it
//! doesn't know. Nobody checks its health there: it says where the primary is, and a primary that is gone is replaced here.
//!
//! Tested against a stand-in that honours `cas` and transactions, since no Consul can be installed where the tests run.

use super::target::{Mark, refused, superseded, unavailable};
use super::{Applied, RouteError, RouteTable, RouteTarget};
use crate::lease::Secret;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Certificate, Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Others change it once for each of their epochs; who loses more often than this comes again later.
const TURNS_MAX: usize = 4;
/// An answer is a mark and some numbers, or some errors.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where Consul is, and what the primary is called there.
#[derive(Debug, Clone, Default)]
pub struct ConsulSettings {
    /// Of an agent or a server: `http://127.0.0.1:8500`.
    pub url: String,
    pub token: Option<Secret>,
    /// PEM: who may have signed its certificate, instead of whom this machine trusts.
    pub certificate_authority: Option<Vec<u8>>,
    /// Clients look for `primary.SERVICE.service.consul`. The cluster's name if empty.
    pub service: String,
}

/// See the module.
#[derive(Debug)]
pub struct ConsulRoute {
    client: Client,
    url: String,
    token: Option<Secret>,
    service: String,
    /// `lifeboat-CLUSTER`
    node: String,
    key: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    value: Option<String>,
    modify_index: u64,
}

impl ConsulRoute {
    /// Operations take at most `limit`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`RouteError::Refused`] when the address or the certificate can't be understood.
    pub fn new(settings: &ConsulSettings, cluster: &str, limit: Duration) -> Result<Self, RouteError> {
        let url = settings.url.trim_end_matches('/').to_owned();
        let service = if settings.service.is_empty() { cluster } else { &settings.service }.to_owned();
        let name = format!("Consul service {service} at {url}");
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(refused(&name, "its address must begin with https:// or http://"));
        }
        let mut client = Client::builder().timeout(limit).connect_timeout(limit / 2).no_proxy();
        if let Some(pem) = &settings.certificate_authority {
            let authorities = Certificate::from_pem_bundle(pem).map_err(|error| refused(&name, error.to_string()))?;
            client = client.tls_certs_only(authorities);
        }
        let client = client.build().map_err(|error| refused(&name, error.to_string()))?;
        let (node, key) = (format!("lifeboat-{cluster}"), format!("lifeboat/{cluster}/primary"));
        Ok(Self { client, url, token: settings.token.clone(), service, node, key, name })
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), RouteError> {
        let request = match &self.token {
            Some(token) => request.header("X-Consul-Token", token.reveal()),
            None => request,
        };
        let away = |error: reqwest::Error| unavailable(&self.name, error.to_string());
        let mut answer = request.send().await.map_err(away)?;
        let (status, mut content) = (answer.status(), Vec::new());
        while let Some(piece) = answer.chunk().await.map_err(away)? {
            content.extend_from_slice(&piece);
            if content.len() > ANSWER_BYTES_MAX {
                return Err(unavailable(&self.name, "the answer is too large"));
            }
        }
        if status == StatusCode::FORBIDDEN || status == StatusCode::UNAUTHORIZED {
            return Err(refused(&self.name, format!("{status}: {}", beginning(&content))));
        }
        Ok((status, content))
    }

    /// What is there, and the index to compare with.
    async fn read(&self) -> Result<Option<(Mark, u64)>, RouteError> {
        // `consistent`: a follower that lags must not show an old epoch.
        let url = format!("{}/v1/kv/{}?consistent", self.url, self.key);
        let (status, content) = self.ask(self.client.get(url)).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(unavailable(&self.name, format!("{status}: {}", beginning(&content))));
        }
        let found: Vec<Found> =
            serde_json::from_slice(&content).map_err(|error| unavailable(&self.name, error.to_string()))?;
        let Some(found) = found.into_iter().next() else { return Ok(None) };
        let mark = found.value.and_then(|value| BASE64.decode(value).ok()).and_then(|value| Mark::from_json(&value));
        match mark {
            Some(mark) => Ok(Some((mark, found.modify_index))),
            None => {
                let why = format!("the value of the key {} isn't one of ours; delete it if nobody needs it", self.key);
                Err(refused(&self.name, why))
            }
        }
    }

    /// Whether it was carried out; `false`: somebody was between.
    async fn write(&self, wanted: &Mark, index: u64) -> Result<bool, RouteError> {
        let request = self.client.put(format!("{}/v1/txn", self.url)).json(&self.transaction(wanted, index));
        let (status, content) = self.ask(request).await?;
        match status {
            StatusCode::OK => Ok(true),
            StatusCode::CONFLICT => Ok(false),
            _ => Err(unavailable(&self.name, format!("{status}: {}", beginning(&content)))),
        }
    }

    fn transaction(&self, wanted: &Mark, index: u64) -> Value {
        let (value, primary) = (BASE64.encode(wanted.to_json()), &wanted.primary);
        // Index nought: only if it isn't there.
        json!([
            { "KV": { "Verb": "cas", "Key": self.key, "Value": value, "Index": index } },
            { "Node": { "Verb": "set", "Node": {
                "Node": self.node, "Address": primary.host, "Meta": { "external-node": "true" } } } },
            { "Service": { "Verb": "set", "Node": self.node, "Service": {
                "ID": self.service, "Service": self.service, "Tags": ["primary"],
                "Address": primary.host, "Port": primary.port,
                "Meta": { "member": primary.name, "epoch": wanted.epoch.to_string() } } } },
        ])
    }
}

fn beginning(content: &[u8]) -> String {
    String::from_utf8_lossy(content).chars().take(200).collect()
}

#[async_trait]
impl RouteTarget for ConsulRoute {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn apply(&self, table: &RouteTable) -> Result<Applied, RouteError> {
        let Some(wanted) = Mark::of(table) else { return Ok(Applied::Nothing) };
        for _ in 0..TURNS_MAX {
            let found = self.read().await?;
            match &found {
                Some((there, _)) if *there == wanted => return Ok(Applied::Already),
                Some((there, _)) if there.epoch > wanted.epoch => {
                    return Err(superseded(&self.name, wanted.epoch, there.epoch));
                }
                _ => {}
            }
            if self.write(&wanted, found.map_or(0, |(_, index)| index)).await? {
                return Ok(Applied::Changed);
            }
        }
        Err(unavailable(&self.name, "others change it all the time"))
    }
}

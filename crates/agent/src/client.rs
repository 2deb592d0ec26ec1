//! Asking agents, from outside: what they know, and to do something.

use crate::api::{Answered, Asked, Status};
use crate::peers::{TlsError, client};
use crate::settings::{Tls, Token};
use std::time::Duration;

/// An agent that says nothing for so long isn't there.
const PATIENCE: Duration = Duration::from_secs(5);
/// A command takes as long as what it orders.
const COMMAND_PATIENCE: Duration = Duration::from_secs(130);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{agent} doesn't answer")]
    Unreachable {
        agent: String,
        #[source]
        source: reqwest::Error,
    },
    /// It doesn't know our token, or isn't who we think it is.
    #[error("{agent} refuses us: {why}")]
    Refused { agent: String, why: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    token: Token,
}

impl Client {
    /// # Errors
    /// When the certificates can't be used.
    pub fn new(tls: Option<&Tls>, token: Token) -> Result<Self, AskError> {
        Ok(Self { http: client(tls, PATIENCE)?, token })
    }

    /// What the agent at `url` knows.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn status(&self, url: &str) -> Result<Status, AskError> {
        let request = self.http.get(at(url, "/v1/status"));
        read(url, self.send(url, request).await?).await
    }

    /// Tells the agent at `url` to do something, and waits until it is done.
    ///
    /// # Errors
    /// See [`AskError`]; that it wasn't done is an answer.
    pub async fn command(&self, url: &str, asked: &Asked) -> Result<Answered, AskError> {
        let request = self.http.post(at(url, "/v1/command")).json(asked).timeout(COMMAND_PATIENCE);
        read(url, self.send(url, request).await?).await
    }

    async fn send(&self, url: &str, request: reqwest::RequestBuilder) -> Result<reqwest::Response, AskError> {
        let sent = request.bearer_auth(self.token.reveal()).send().await;
        let answer =
            sent.map_err(|source| AskError::Unreachable { agent: url.to_owned(), source: source.without_url() })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let why: String = answer.text().await.unwrap_or_default().trim().chars().take(300).collect();
        let why = if why.is_empty() { status.to_string() } else { why };
        Err(AskError::Refused { agent: url.to_owned(), why })
    }
}

fn at(url: &str, path: &str) -> String {
    format!("{}{path}", url.trim_end_matches('/'))
}

async fn read<T: serde::de::DeserializeOwned>(url: &str, answer: reqwest::Response) -> Result<T, AskError> {
    answer.json().await.map_err(|source| AskError::Unreachable { agent: url.to_owned(), source: source.without_url() })
}

//! The server: small, of one kind of request and answer, and nothing that waits for ever.

use super::{Answered, Asked, Incoming, MESSAGE_BYTES_MAX, MESSAGE_PATH, Status, decode, health, metrics};
use crate::clock;
use crate::routing::RouteTable;
use crate::settings::{Tls, Token};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming as Body;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lifeboat_failover::{MemberName, Moment};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// At a time; agents, proxies and load balancers keep few.
const CONNECTIONS_MAX: usize = 512;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
/// How long a question about routes waits for a change.
const ROUTE_PATIENCE: Duration = Duration::from_secs(10);
/// A command that has no answer by then is asked about with the status.
const COMMAND_PATIENCE: Duration = Duration::from_secs(120);
/// What the agent knew longer ago isn't shown to load balancers: it is stuck.
const STALE: Duration = Duration::from_secs(3);

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the certificate or its key can't be read")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("the certificate and its key can't be used")]
    Tls(#[from] rustls::Error),
}

/// What there is to show, and whom it concerns.
#[derive(Debug, Clone)]
pub struct Shown {
    pub cluster: String,
    pub name: MemberName,
    pub members: BTreeSet<MemberName>,
    pub system_id: Option<String>,
    pub token: Token,
    pub status: watch::Receiver<Option<(Moment, Status)>>,
    pub routes: watch::Receiver<RouteTable>,
    pub incoming: mpsc::UnboundedSender<Incoming>,
}

/// Answers until it is dropped.
///
/// # Errors
/// When the certificates can't be used; what goes wrong with one connection ends that one.
pub async fn serve(listener: TcpListener, tls: Option<&Tls>, shown: Shown) -> Result<(), ServeError> {
    let acceptor = tls.map(acceptor).transpose()?;
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Who is talked to ends with us.
    let mut talks = JoinSet::new();
    loop {
        while talks.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, say: it passes.
                tracing::warn!(%error, "no connection can be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, shown) = (acceptor.clone(), shown.clone());
        talks.spawn(async move {
            let _permit = permit;
            match acceptor {
                None => talk(stream, shown).await,
                Some(acceptor) => match tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => talk(stream, shown).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                    Err(_) => tracing::debug!("no TLS in time"),
                },
            }
        });
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ServeError> {
    let chain = CertificateDer::pem_slice_iter(&tls.certificate).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, shown: Shown) {
    let service = hyper::service::service_fn(move |request| {
        let shown = shown.clone();
        async move { Ok::<_, Infallible>(answer(request, shown).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended");
    }
}

type Reply = Response<Full<Bytes>>;

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    reply
}

fn text(status: StatusCode, body: impl Into<String>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body.into())
}

fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => reply(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn answer(request: Request<Body>, shown: Shown) -> Reply {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if let Some(reply) = open_question(&path, &query, &shown) {
        return reply;
    }
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if !shown.token.is(given) {
        return text(StatusCode::UNAUTHORIZED, "this wants the cluster's token\n");
    }
    match (request.method(), path.as_str()) {
        (&Method::POST, MESSAGE_PATH) => message(request, &shown).await,
        (&Method::POST, "/v1/command") => command(request, &shown).await,
        (&Method::GET, "/v1/status") => match &*shown.status.borrow() {
            Some((_, status)) => json(StatusCode::OK, status),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "nothing is known yet\n"),
        },
        (&Method::GET, "/v1/route") => route(&query, shown).await,
        (&Method::GET, "/metrics") => match &*shown.status.borrow() {
            Some((_, status)) => reply(StatusCode::OK, "text/plain; version=0.0.4", metrics::page(status)),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "nothing is known yet\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "there is nothing here\n"),
    }
}

/// What load balancers ask, who have no token: yes or no.
fn open_question(path: &str, query: &str, shown: &Shown) -> Option<Reply> {
    if !matches!(path, "/primary" | "/replica" | "/health") {
        return None;
    }
    let known = shown.status.borrow();
    let fresh = known.as_ref().filter(|(at, _)| clock::now() - *at <= STALE).map(|(_, status)| status);
    let yes = match (path, health::lag_of(query), fresh) {
        (_, Err(why), _) => return Some(text(StatusCode::BAD_REQUEST, format!("{why}\n"))),
        (_, _, None) => false,
        ("/primary", _, Some(status)) => health::is_primary(status),
        ("/replica", Ok(lag), Some(status)) => health::is_replica(status, lag),
        _ => true,
    };
    let status = if yes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Some(text(status, if yes { "yes\n" } else { "no\n" }))
}

async fn body(request: Request<Body>) -> Result<Bytes, Reply> {
    let collected = tokio::time::timeout(HEADER_PATIENCE, Limited::new(request, MESSAGE_BYTES_MAX).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(text(StatusCode::PAYLOAD_TOO_LARGE, "too large, or cut off\n")),
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "too slow\n")),
    }
}

async fn message(request: Request<Body>, shown: &Shown) -> Reply {
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(reply) => return reply,
    };
    let envelope = match decode(&bytes) {
        Ok(envelope) => envelope,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let conflict = |why: String| text(StatusCode::CONFLICT, why);
    if envelope.cluster != shown.cluster {
        return conflict(format!(
            "{} belongs to cluster {}, this is {}\n",
            envelope.from, envelope.cluster, shown.cluster
        ));
    }
    if envelope.to != shown.name {
        return conflict(format!("this is {}, not {}: look at the addresses\n", shown.name, envelope.to));
    }
    if envelope.from == shown.name || !shown.members.contains(&envelope.from) {
        return conflict(format!("{} is no other member of {}\n", envelope.from, shown.cluster));
    }
    if let (Some(ours), Some(theirs)) = (&shown.system_id, &envelope.system_id)
        && ours != theirs
    {
        return conflict(format!(
            "{}'s database has the system identifier {theirs}, this one's is {ours}: they are not copies of one another\n",
            envelope.from
        ));
    }
    let clock_seconds = envelope.clock.map(|theirs| theirs.saturating_sub(clock::time_of_day_seconds()));
    match shown.incoming.send(Incoming::Message { from: envelope.from, message: envelope.message, clock_seconds }) {
        Ok(()) => Response::new(Full::new(Bytes::new())),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "ending\n"),
    }
}

async fn command(request: Request<Body>, shown: &Shown) -> Reply {
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(reply) => return reply,
    };
    let asked: Asked = match serde_json::from_slice(&bytes) {
        Ok(asked) => asked,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("not a command: {error}\n")),
    };
    let (answer, answered) = oneshot::channel();
    if shown.incoming.send(asked.with(answer)).is_err() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "ending\n");
    }
    match tokio::time::timeout(COMMAND_PATIENCE, answered).await {
        Ok(Ok(Ok(text))) => json(StatusCode::OK, &Answered { done: true, text }),
        Ok(Ok(Err(text))) => json(StatusCode::OK, &Answered { done: false, text }),
        Ok(Err(_)) => text(StatusCode::SERVICE_UNAVAILABLE, "ending\n"),
        Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "no end of it yet: see the status\n"),
    }
}

async fn route(query: &str, mut shown: Shown) -> Reply {
    let after = query.split('&').find_map(|pair| pair.strip_prefix("after=")).and_then(|text| text.parse().ok());
    let changed = shown.routes.wait_for(|table| Some(table.version) != after);
    // Without a change in time the answer is the same once more.
    let _ = tokio::time::timeout(ROUTE_PATIENCE, changed).await.map(|found| found.map(|_| ()));
    let table = shown.routes.borrow().encode();
    reply(StatusCode::OK, "application/json", table)
}

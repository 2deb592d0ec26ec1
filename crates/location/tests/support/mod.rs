//! An S3 server inside the test process, and a server that says what the test tells it to.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod google;

use lifeboat_location::{Credentials, Location, Secret, Settings, open};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub fn key(id: &str, secret: &str) -> Credentials {
    Credentials::Key { id: id.into(), secret: Secret::new(secret), session_token: None }
}

/// Keys of the in-process server.
pub fn settings(url: &str, endpoint: &str) -> Settings {
    Settings {
        endpoint: Some(endpoint.into()),
        credentials: key("access", "hush-hush"),
        time_limit: Duration::from_secs(10),
        ..Settings::new(url)
    }
}

/// A file server that speaks S3, on loopback, with one bucket named `bucket`.
pub struct InProcessS3 {
    pub endpoint: String,
    pub directory: tempfile::TempDir,
}

impl InProcessS3 {
    pub async fn start() -> Self {
        Self::start_with(true).await
    }

    /// Takes unsigned requests, so that what stands in between may change them.
    pub async fn start_open() -> Self {
        Self::start_with(false).await
    }

    async fn start_with(signed: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(directory.path()).unwrap());
        if signed {
            builder.set_auth(SimpleAuth::from_single("access", "hush-hush"));
        }
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    use hyper_util::rt::{TokioExecutor, TokioIo};
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { endpoint, directory }
    }

    pub fn open(&self, prefix: &str) -> Arc<dyn Location> {
        open(&settings(&format!("s3://bucket{prefix}"), &self.endpoint)).unwrap()
    }
}

/// What the scripted server does with one request.
#[derive(Clone)]
pub enum Reply {
    /// Sends this status and body.
    Say(u16, String),
    /// Sends this text as it is, then nothing more, and keeps the connection open.
    Stall(String),
    /// Passes the request on and throws the answer away: answers 500 instead.
    Swallow,
    /// Passes request and answer on.
    Pass,
    /// The same, but the store never sees `If-Match` and `If-None-Match`.
    PassWithoutConditions,
}

/// A server between client and store that follows `script`, given the number of the request and its first line.
pub struct Scripted {
    pub endpoint: String,
    pub requests: Arc<AtomicUsize>,
}

impl Scripted {
    pub async fn start(
        upstream: Option<String>,
        script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let (counter, script) = (Arc::clone(&requests), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (counter, script, upstream) = (Arc::clone(&counter), Arc::clone(&script), upstream.clone());
                tokio::spawn(async move {
                    let _ = serve(socket, &counter, &*script, upstream).await;
                });
            }
        });
        Self { endpoint, requests }
    }
}

/// One request for each connection. The client signs the Host header, so it goes upstream as it came.
async fn serve(
    mut client: TcpStream,
    counter: &AtomicUsize,
    script: &(impl Fn(usize, &str) -> Reply + Send + Sync),
    upstream: Option<String>,
) -> std::io::Result<()> {
    let request = read_message(&mut client).await?;
    let text = String::from_utf8_lossy(&request);
    let line = text.lines().next().unwrap_or_default().to_string();
    match script(counter.fetch_add(1, Ordering::SeqCst), &line) {
        Reply::Say(status, body) => {
            // An answer to HEAD has no body.
            let body = if line.starts_with("HEAD") { String::new() } else { body };
            let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            client.write_all((head + &body).as_bytes()).await
        }
        Reply::Stall(text) => {
            client.write_all(text.as_bytes()).await?;
            std::future::pending().await
        }
        reply => {
            let request = match reply {
                Reply::PassWithoutConditions => {
                    text.replace("if-none-match:", "x-ignored:").replace("if-match:", "x-ignored:").into()
                }
                _ => request.clone(),
            };
            let mut store = TcpStream::connect(upstream.unwrap().trim_start_matches("http://")).await?;
            store.write_all(&request).await?;
            let answer =
                if line.starts_with("HEAD") { read_head(&mut store).await? } else { read_message(&mut store).await? };
            if !matches!(reply, Reply::Swallow) {
                let closing = String::from_utf8_lossy(&answer).replacen("\r\n", "\r\nconnection: close\r\n", 1);
                client.write_all(closing.as_bytes()).await
            } else {
                client.write_all(b"HTTP/1.1 500 Swallowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await
            }
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await?);
    }
    Ok(bytes)
}

/// Head and body of a message with a content-length. The tests' bodies are text.
async fn read_message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = read_head(stream).await?;
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0_u8; length];
    stream.read_exact(&mut body).await?;
    bytes.extend(body);
    Ok(bytes)
}

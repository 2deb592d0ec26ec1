//! Whether somebody answers.

use crate::engine::Seen;
use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::time::Duration;

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// Of an answer, so much is looked at.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Whether somebody listens there.
pub(super) async fn tcp(address: &str) -> Seen {
    match tokio::time::timeout(CONNECT_PATIENCE, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => Seen::of(true),
        Ok(Err(error)) => Seen { value: false.into(), ..Seen::wrong(error.to_string()) },
        Err(_) => Seen { value: false.into(), ..Seen::wrong("no answer") },
    }
}

/// A request. What is seen: `status` and `body`.
pub(super) async fn http(
    method: &str,
    url: &str,
    body: Option<&str>,
    headers: &BTreeMap<String, String>,
    limit: Duration,
) -> Seen {
    let asked = async {
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder().timeout(limit).build().map_err(|error| error.to_string())?;
        let mut request = client.request(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let mut answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        let status = answer.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > BODY_BYTES_MAX {
                break;
            }
        }
        Ok::<_, String>((status, bytes))
    };
    match asked.await {
        Ok((status, bytes)) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let body = serde_json::from_slice(&bytes).unwrap_or(serde_json::Value::from(text));
            let wrong = (status >= 400).then(|| format!("status {status}"));
            let hash = Some(blake3::hash(&bytes).to_hex().to_string());
            Seen { value: serde_json::json!({"status": status, "body": body}), wrong, hash, ..Seen::default() }
        }
        Err(why) => Seen::wrong(why),
    }
}

/// Tries to connect, for a proof. Blocks.
///
/// # Errors
/// Why nobody was reached.
pub fn reach(host: &str, port: u16) -> Result<(), String> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("{host} has no address here: {error}"))?;
    let mut why = format!("{host} has no address here");
    for address in addresses {
        match std::net::TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(why)
}

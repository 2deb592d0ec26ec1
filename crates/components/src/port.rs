//! Free TCP ports on loopback.

use anyhow::{Context, Result};
use std::net::TcpListener;

/// A port that nobody listens on now. Another process may take it before the caller does: whoever starts a server
/// on it must look whether it is the server that answers.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("look for a free port on 127.0.0.1")?;
    Ok(listener.local_addr().context("look for a free port on 127.0.0.1")?.port())
}

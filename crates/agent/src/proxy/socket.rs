//! What is asked of a TCP connection besides bytes: to notice a peer that is gone, and to end at once.

use super::ProxySettings;
use rustix::net::sockopt;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// How soon a silent peer is asked whether it is there, and how often.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// Linux takes no more.
const KEEPALIVES_MAX: u32 = 127;

/// Small packets at once, and a peer that is gone is noticed: after `silence_max` if nothing is on its way to it. If something is, the system tries again for
/// about a quarter of an hour, or `stall_max` (`TCP_USER_TIMEOUT`). That one has no default: Linux takes a peer that is well and reads nothing for a
/// peer that is gone, and a client may look at the first page of a large answer for as long as it likes.
pub(super) fn prepare(stream: &TcpStream, settings: &ProxySettings) -> io::Result<()> {
    let beyond_idle = settings.silence_max.saturating_sub(KEEPALIVE_IDLE);
    let asks = u32::try_from(beyond_idle.as_secs() / KEEPALIVE_INTERVAL.as_secs()).unwrap_or(u32::MAX);
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, asks.clamp(1, KEEPALIVES_MAX))?;
    if let Some(stall) = settings.stall_max {
        // Nought would mean none.
        sockopt::set_tcp_user_timeout(stream, u32::try_from(stall.as_millis()).unwrap_or(u32::MAX).max(1))?;
    }
    Ok(())
}

/// From now on the connection's end is a reset: the peer learns it whatever it is doing, and what is on its way is thrown away.
pub(super) fn end_with_reset(stream: &TcpStream) {
    // If it can't be set the connection is gone already.
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

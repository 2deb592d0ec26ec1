//! What is asked of a TCP connection besides bytes: to notice a peer that is gone, and to end at once.

use rustix::net::sockopt;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// How soon a silent peer is asked whether it is there, and how often.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// Small packets at once, and a peer that is gone is noticed after `silence_max`: also while it owes us the receipt of bytes, when the system
/// would otherwise try again for a quarter of an hour.
pub(super) fn prepare(stream: &TcpStream, silence_max: Duration) -> io::Result<()> {
    let silence = u32::try_from(silence_max.as_millis()).unwrap_or(u32::MAX);
    let asks = (silence_max.saturating_sub(KEEPALIVE_IDLE).as_secs() / KEEPALIVE_INTERVAL.as_secs()).clamp(1, 100);
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, u32::try_from(asks).unwrap_or(1))?;
    sockopt::set_tcp_user_timeout(stream, silence)?;
    Ok(())
}

/// From now on the connection's end is a reset: the peer learns it whatever it is doing, and what is on its way is thrown away.
pub(super) fn end_with_reset(stream: &TcpStream) {
    // If it can't be set the connection is gone already.
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

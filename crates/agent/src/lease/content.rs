//! The lease as bytes: JSON, so that a person can read it in the store.

use lifeboat_failover::Lease;

/// A lease is some hundred bytes; what is larger isn't one.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// Why bytes aren't a lease.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("{bytes} bytes are too many for a lease")]
    TooLarge { bytes: usize },
    #[error("it is not a lease")]
    NotALease(#[from] serde_json::Error),
}

/// # Panics
/// Never: a lease has nothing that JSON can't say.
pub fn encode(lease: &Lease) -> Vec<u8> {
    serde_json::to_vec(lease).expect("a lease holds texts, numbers and lists")
}

/// # Errors
/// When it is something else.
pub fn decode(bytes: &[u8]) -> Result<Lease, ContentError> {
    if bytes.len() > CONTENT_BYTES_MAX {
        return Err(ContentError::TooLarge { bytes: bytes.len() });
    }
    Ok(serde_json::from_slice(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_failover::{Epoch, History, LeaseState, Lineage, Position, Quorum, Quorums};
    use std::time::Duration;

    fn lease(state: LeaseState) -> Lease {
        Lease {
            cluster: "shop".into(),
            epoch: Epoch(7),
            holder: "virginia".into(),
            incarnation: u64::MAX,
            writer: 3,
            sequence: 12,
            state,
            lifetime: Duration::from_secs(6),
            position: Position { lineage: Lineage(2), offset: 1 << 40 },
            history: History::default().forked(Lineage(1), 0).forked(Lineage(2), 4096),
            quorums: Quorums::only(Quorum { voters: ["ohio".into()].into(), needed: 1 }),
            paused: false,
        }
    }

    #[test]
    fn every_state_comes_back_as_it_was() {
        let states = [
            LeaseState::Held,
            LeaseState::Draining { to: "ohio".into() },
            LeaseState::Released { to: None },
            LeaseState::Released { to: Some("ohio".into()) },
        ];
        for state in states {
            let lease = lease(state);
            assert_eq!(decode(&encode(&lease)).expect("a lease"), lease);
        }
    }

    #[test]
    fn it_reads_as_a_person_would_write_it() {
        let text = String::from_utf8(encode(&lease(LeaseState::Held))).expect("text");
        assert_eq!(
            text,
            r#"{"cluster":"shop","epoch":7,"holder":"virginia","incarnation":18446744073709551615,"writer":3,"sequence":12,"state":"held","lifetime_milliseconds":6000,"position":{"lineage":2,"offset":1099511627776},"history":[{"lineage":1,"start":0},{"lineage":2,"start":4096}],"quorums":[{"voters":["ohio"],"needed":1}],"paused":false}"#
        );
    }

    #[test]
    fn what_is_no_lease_is_refused() {
        for bytes in [&b""[..], b"{}", b"[1]", b"\xff\xfe", &[b' '; CONTENT_BYTES_MAX + 1]] {
            decode(bytes).expect_err("no lease");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_lease_or_an_error(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}

//! The lease as bytes: JSON, so that a person can read it in the store.

use lifeboat_failover::Lease;
use std::time::Duration;

/// A lease is some hundred bytes; what is larger isn't one.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// Why bytes aren't a lease.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("{bytes} bytes are too many for a lease")]
    TooLarge { bytes: usize },
    #[error("it is not a lease")]
    NotALease(#[from] serde_json::Error),
    #[error("{what} of the lease is beyond all reason")]
    Absurd { what: &'static str },
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
    let lease = serde_json::from_slice(bytes)?;
    match absurdity(&lease) {
        None => Ok(lease),
        Some(what) => Err(ContentError::Absurd { what }),
    }
}

/// What no member would have written, and numbers could overflow with.
fn absurdity(lease: &Lease) -> Option<&'static str> {
    // A leadership a second for a million years.
    const EPOCH_MAX: u64 = 1 << 45;
    const LINEAGE_MAX: u32 = 1 << 31;
    const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
    let lineages = lease.history.forks().iter().map(|fork| fork.lineage).chain([lease.position.lineage]);
    if lease.epoch.0 > EPOCH_MAX {
        Some("the epoch")
    } else if lease.lifetime > LIFETIME_MAX {
        Some("the lifetime")
    } else if lineages.into_iter().any(|lineage| lineage.0 > LINEAGE_MAX) {
        Some("a lineage")
    } else if lease.sequence > u64::MAX / 2 {
        Some("the sequence")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_failover::{Epoch, History, LeaseState, Lineage, Position, Quorum, Quorums};

    fn lease(state: LeaseState) -> Lease {
        Lease {
            cluster: "shop".into(),
            system_id: Some("7711246107313402139".into()),
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
            former: 0,
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
            r#"{"cluster":"shop","system_id":"7711246107313402139","epoch":7,"holder":"virginia","incarnation":18446744073709551615,"writer":3,"sequence":12,"state":"held","lifetime_milliseconds":6000,"position":{"lineage":2,"offset":1099511627776},"history":[{"lineage":1,"start":0},{"lineage":2,"start":4096}],"quorums":[{"voters":["ohio"],"needed":1}],"former":0,"paused":false}"#
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

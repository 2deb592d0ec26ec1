//! Leases: what was read is written and read the same, and no number in it makes a decision panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_agent::lease::{decode, encode};
use lifeboat_failover::{MemberName, Timing};
use std::collections::BTreeSet;

fuzz_target!(|bytes: &[u8]| {
    let Ok(lease) = decode(bytes) else { return };
    assert_eq!(decode(&encode(&lease)).unwrap(), lease);
    let everybody: BTreeSet<MemberName> = ["a", "b"].into_iter().map(MemberName::from).collect();
    let _ = (lease.quorums.blocked_by(&everybody), lease.quorums.met_by(&everybody), lease.quorums.newest());
    let _ = (lease.history.contains(lease.position), lease.epoch.next());
    let timing = Timing::local();
    assert!(timing.validity(lease.lifetime) <= timing.patience(lease.lifetime));
});

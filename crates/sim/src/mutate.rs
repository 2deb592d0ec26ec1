//! What mutants write into the lease store in place of what the member wanted.

use crate::mutant::Mutant;
use lifeboat_failover::{LeaseOperation, Quorum, Quorums};

/// Changes an operation as the mutant would.
pub(crate) fn operation(mutant: Option<Mutant>, operation: &mut LeaseOperation) {
    let LeaseOperation::Swap { lease, .. } = operation else { return };
    match mutant {
        Some(Mutant::QuorumWithoutJoint) => {
            if let Some(newest) = lease.quorums.newest().cloned() {
                lease.quorums = Quorums::only(newest);
            }
        }
        Some(Mutant::TooFewPromises) => {
            // One promise of all: as if every standby had to confirm every write, which they don't.
            if let Some(newest) = lease.quorums.newest() {
                let all = Quorum { voters: newest.voters.clone(), needed: newest.voters.len() };
                if newest.needed > 0 {
                    lease.quorums = Quorums::only(all);
                }
            }
        }
        Some(Mutant::AllFormer) => lease.former = lease.quorums.count(),
        _ => {}
    }
}

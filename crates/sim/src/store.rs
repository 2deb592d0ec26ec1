//! The lease store: one register, compared and swapped, with answers that come late or never.

use crate::mutant::Mutant;
use lifeboat_failover::{Lease, LeaseAnswer, LeaseOperation, Version};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Store {
    register: Option<Lease>,
    version: u64,
    /// Until then nobody gets an answer.
    pub away_until: u64,
}

impl Store {
    /// The operation arrives. What was applied is returned too, for the checkers.
    pub fn apply(&mut self, operation: LeaseOperation, mutant: Option<Mutant>) -> (LeaseAnswer, Option<Lease>) {
        let present = self.register.as_ref().map(|_| Version(self.version.to_string()));
        match operation {
            LeaseOperation::Read => {
                let found = self.register.clone().map(|lease| (Box::new(lease), Version(self.version.to_string())));
                (LeaseAnswer::Read(found), None)
            }
            LeaseOperation::Swap { expected, lease } => {
                if expected != present && mutant != Some(Mutant::UnconditionalStore) {
                    return (LeaseAnswer::Lost, None);
                }
                let mut lease = *lease;
                if let Some(before) = &self.register
                    && mutant == Some(Mutant::EpochReused)
                    && before.is_released()
                {
                    lease.epoch = before.epoch;
                }
                self.version += 1;
                self.register = Some(lease.clone());
                (LeaseAnswer::Swapped(Version(self.version.to_string())), Some(lease))
            }
        }
    }

    pub fn lease(&self) -> Option<&Lease> {
        self.register.as_ref()
    }
}

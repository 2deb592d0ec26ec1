//! One host: its clock, its agent, its database, and the process that ends the database when the agent says nothing any more.

use crate::database::Database;
use lifeboat_failover::{Durable, Member, MemberName, Moment, Settings};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) struct Node {
    pub settings: Settings,
    pub agent: Option<Member>,
    /// Counts the lives of the agent: what belongs to a former one is dropped.
    pub life: u64,
    /// What is on the disk.
    pub durable: Durable,
    pub database: Option<Database>,
    /// When the database last answered, by the node's clock.
    pub answered_at: Moment,
    /// The epoch that the database was last made a primary with.
    pub term: lifeboat_failover::Epoch,
    /// The database lets its sessions end.
    pub closing: bool,
    pub deadline: Option<Moment>,
    clock: Clock,
    pub agent_paused_until: u64,
    pub database_paused_until: u64,
    pub down: bool,
    /// The earliest wake that is in the queue.
    pub wakes_at: Option<u64>,
}

#[derive(Debug)]
struct Clock {
    offset: u64,
    /// Parts in a million by which it is fast, or slow.
    drift: i64,
}

impl Node {
    pub fn new(settings: Settings, witness: bool, offset: u64, drift: i64) -> Self {
        Self {
            settings,
            agent: None,
            life: 0,
            durable: Durable::default(),
            database: (!witness).then(Database::new),
            answered_at: Moment::default(),
            term: lifeboat_failover::Epoch::default(),
            closing: false,
            deadline: None,
            clock: Clock { offset, drift },
            agent_paused_until: 0,
            database_paused_until: 0,
            down: false,
            wakes_at: None,
        }
    }

    pub fn name(&self) -> &MemberName {
        &self.settings.name
    }

    /// What its clock shows at `now`, in microseconds of the world.
    pub fn local(&self, now: u64) -> Moment {
        let drifted = i128::from(now) * i128::from(1_000_000 + self.clock.drift) / 1_000_000;
        Moment(Duration::from_micros(self.clock.offset + u64::try_from(drifted).unwrap_or(0)))
    }

    /// When its clock will show `moment`, or a little after.
    pub fn world(&self, now: u64, moment: Moment) -> u64 {
        let ahead = u64::try_from((moment - self.local(now)).as_micros()).unwrap_or(u64::MAX).min(1 << 40);
        let drifted = i128::from(ahead) * 1_000_000 / i128::from(1_000_000 + self.clock.drift);
        now + u64::try_from(drifted).unwrap_or(0) + 2
    }

    /// Its clock jumps ahead.
    pub fn jump(&mut self, by: u64) {
        self.clock.offset += by;
    }
}

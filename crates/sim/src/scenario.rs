//! What a seed means: how many members, in which mode, what goes wrong when; and what came of it.

use crate::checkers::Finding;
use crate::mutant::Mutant;
use crate::random::Random;
use crate::world::World;
use lifeboat_failover::{MemberName, MemberSettings, Mode, Settings, Timing, WhenAlone};
use std::collections::BTreeMap;

/// One world from beginning to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    pub seed: u64,
    /// Commits wait for nobody: clocks keep primaries apart.
    pub asynchronous: bool,
    /// Nothing goes wrong: then nothing must happen either.
    pub calm: bool,
    pub mutant: Option<Mutant>,
    /// Keep a line for everything that happens.
    pub traced: bool,
}

impl Scenario {
    /// As seeds are: one in four without synchronous commits.
    pub fn of(seed: u64) -> Self {
        Self { seed, asynchronous: seed % 4 == 3, calm: false, mutant: None, traced: false }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub findings: Vec<Finding>,
    /// The same for the same scenario, or something in the world isn't determined by its seed.
    pub trace: u64,
    pub acknowledged: usize,
    /// How high the epoch got.
    pub epochs: u64,
    pub faults: usize,
    pub lines: Vec<String>,
}

/// Runs one world.
pub fn run(scenario: Scenario) -> Outcome {
    World::new(scenario).run()
}

/// The members of a scenario.
pub(crate) fn settings(scenario: Scenario, random: &mut Random) -> Vec<Settings> {
    let databases = random.between(2, 5);
    let witness = random.chance(300) || databases == 2;
    let mut members = BTreeMap::new();
    for place in 0..databases {
        let priority =
            if place > 1 && random.chance(150) { 0 } else { u32::try_from(random.between(1, 4)).unwrap_or(1) };
        let barred = place > 1 && random.chance(60);
        members.insert(MemberName::from(format!("m{place}")), MemberSettings { witness: false, priority, barred });
    }
    if witness {
        members.insert(MemberName::from("witness"), MemberSettings { witness: true, priority: 0, barred: false });
    }
    let standbys = usize::try_from(databases).unwrap_or(2) - 1;
    let needed = 1 + random.index(standbys);
    let when_alone = if random.chance(400) { WhenAlone::Continue } else { WhenAlone::Wait };
    let mode = if scenario.asynchronous { Mode::Asynchronous } else { Mode::Synchronous { needed, when_alone } };
    // In bytes of log; here a write is one byte. Without a bound nothing may be lost.
    let loss_max = (scenario.asynchronous && random.chance(700)).then_some(1_000_000);
    let timing = if random.chance(200) { Timing::regions() } else { Timing::local() };
    members
        .keys()
        .map(|name| Settings {
            cluster: "shop".into(),
            name: name.clone(),
            members: members.clone(),
            mode,
            loss_max,
            timing: timing.clone(),
        })
        .collect()
}

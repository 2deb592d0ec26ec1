//! The primary dies, hangs, is cut off, or is handed over, under load: real agents with their dead man's processes, real PostgreSQL, real etcd, each
//! member in a network namespace of its own. Nothing that was acknowledged may be lost, and no two may acknowledge.
//!
//! `LIFEBOAT_FAILOVER_SEED` repeats the order of the faults and the choices in each, `LIFEBOAT_FAILOVER_FAULT=KillHost` does one fault alone (several
//! with commas), `LIFEBOAT_FAILOVER_MAJOR` says on which PostgreSQL, `LIFEBOAT_FAILOVER_FAULTS` how many the long run has. What isn't repeated is how
//! processes interleave.
//!
//! Needs root, `ip` and `nft`: without them these tests fail, and say what to install.

mod certificates;
mod checks;
mod clients;
mod faults;
mod figures;
mod history;
mod member;
#[path = "../e2e/program.rs"]
mod program;
#[allow(dead_code)] // The same choices as in the torture, which makes more kinds of them.
#[path = "../torture/random.rs"]
mod random;
mod run;
mod world;

use anyhow::{Context, Result};
use faults::Fault;
use figures::Figures;
use random::Random;
use std::time::SystemTime;
use world::SYNCHRONOUS;

/// What the short runs choose by.
const SHORT_SEED: u64 = 1_795_360_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Those that are asked for, or these; in the seed's order.
fn chosen(these: &[Fault], seed: u64) -> Vec<Fault> {
    if let Ok(names) = std::env::var("LIFEBOAT_FAILOVER_FAULT") {
        let known = |name: &str| faults::ALL.into_iter().find(|fault| format!("{fault:?}") == name.trim());
        return names.split(',').map(|name| known(name).unwrap_or_else(|| panic!("no fault {name}"))).collect();
    }
    let (mut left, mut random) = (these.to_vec(), Random::of(seed, 0));
    let mut order = Vec::new();
    while !left.is_empty() {
        order.push(left.swap_remove(usize::try_from(random.below(left.len() as u64)).unwrap_or(0)));
    }
    order
}

async fn short(major: u16, these: &[Fault]) -> Result<()> {
    let seed = variable("LIFEBOAT_FAILOVER_SEED").unwrap_or(SHORT_SEED);
    let major = variable("LIFEBOAT_FAILOVER_MAJOR").and_then(|major| u16::try_from(major).ok()).unwrap_or(major);
    eprintln!("seed {seed}; repeat with LIFEBOAT_FAILOVER_SEED={seed}");
    let figures = run::faults(major, SYNCHRONOUS, seed, &chosen(these, seed)).await?;
    eprintln!("{figures}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_or_full_on_15() -> Result<()> {
    use Fault::{DiskFull, KillAgent, KillAgentBriefly, KillHost, KillServer, KillStandby, KillWhileOneRejoins};
    let killed = [KillHost, KillServer, KillAgentBriefly, KillAgent, KillStandby, KillWhileOneRejoins];
    short(15, &[&killed[..], &[DiskFull, Fault::Switchover, Fault::KillAndCutOffAnother]].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_cut_off_or_halted_on_15() -> Result<()> {
    use Fault::{AloneWithClients, CutOff, CutOffFromStore, FreezeAgent, FreezeBoth, FreezeServer, HearsNothing};
    let halted = [FreezeAgent, FreezeServer, FreezeBoth, Fault::StoreAwayForAll];
    short(15, &[&halted[..], &[CutOff, Fault::NotHeard, HearsNothing, AloneWithClients, CutOffFromStore]].concat())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn some_of_it_on_18() -> Result<()> {
    short(18, &[Fault::KillHost, Fault::Switchover, Fault::FreezeBoth]).await
}

/// Rounds of all faults, on 15 and 18 by turns, each in a new world with a seed of its own.
#[tokio::test(flavor = "multi_thread")]
async fn long_two_hundred_faults() -> Result<()> {
    let wanted = variable("LIFEBOAT_FAILOVER_FAULTS").and_then(|count| usize::try_from(count).ok()).unwrap_or(200);
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
    let mut seed = variable("LIFEBOAT_FAILOVER_SEED").unwrap_or(now);
    let (mut all, mut seeds) = (Figures::default(), Vec::new());
    while all.runs() < wanted {
        let major = if seed.is_multiple_of(2) { 15 } else { 18 };
        let figures = run::faults(major, SYNCHRONOUS, seed, &chosen(&faults::ALL, seed)).await;
        all.add(figures.inspect_err(|_| eprintln!("so far, seeds {seeds:?}: {all}"))?);
        seeds.push(seed);
        seed += 1;
        eprintln!("so far: {all}");
    }
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let path = format!("{}/results/failover-{date}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        "# Failover under faults, {date}: three members in network namespaces, synchronous (needed = 1), one etcd, debug build.\n\
         # cargo nextest run --profile all -p lifeboat-tests -E 'test(long_two_hundred_faults)' --no-capture\n\
         # seeds, even on PostgreSQL 15, odd on 18: {seeds:?}\n\
         # Every acknowledged write was there after every fault, nothing was acknowledged by two, and all members held the same.\n\n{all}"
    );
    std::fs::write(&path, text).with_context(|| format!("write {path}"))
}

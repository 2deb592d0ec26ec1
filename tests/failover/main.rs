//! The primary dies, hangs, is cut off, or is handed over, under load: real agents with their dead man's processes, real PostgreSQL, real etcd, each
//! member in a network namespace of its own. Nothing that was acknowledged may be lost, and no two may acknowledge.
//!
//! `LIFEBOAT_FAILOVER_SEED` repeats the order of the faults and the choices in each, `LIFEBOAT_FAILOVER_FAULT=KillHost` does one fault alone (several
//! with commas), `LIFEBOAT_FAILOVER_MAJOR` says on which PostgreSQL, `LIFEBOAT_FAILOVER_FAULTS` how many the long run has. What isn't repeated is how
//! processes interleave.
//!
//! Needs root, `ip` and `nft`: without them these tests fail, and say what to install.

mod checks;
mod clients;
#[allow(dead_code)] // Of its world only how a copy is started.
#[path = "../e2e/world.rs"]
mod copies;
mod faults;
mod figures;
mod history;
mod member;
mod operations;
mod past;
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
use world::{Kind, Mode};

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

async fn short(major: u16, mode: Mode, these: &[Fault]) -> Result<()> {
    let seed = variable("LIFEBOAT_FAILOVER_SEED").unwrap_or(SHORT_SEED);
    let major = variable("LIFEBOAT_FAILOVER_MAJOR").and_then(|major| u16::try_from(major).ok()).unwrap_or(major);
    eprintln!("seed {seed}; repeat with LIFEBOAT_FAILOVER_SEED={seed}");
    let figures = run::faults(major, Kind { mode, archives: false }, seed, &chosen(these, seed)).await?;
    eprintln!("{figures}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_or_full_on_15() -> Result<()> {
    use Fault::{DiskFull, KillAgent, KillAgentBriefly, KillHost, KillServer, KillStandby, KillWhileOneRejoins};
    let killed = [KillHost, KillServer, KillAgentBriefly, KillAgent, KillStandby, KillWhileOneRejoins];
    short(
        15,
        Mode::Synchronous,
        &[&killed[..], &[DiskFull, Fault::Switchover, Fault::KillAndCutOffAnother, Fault::KillAndNobodyReceives]]
            .concat(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_cut_off_or_halted_on_15() -> Result<()> {
    use Fault::{AloneWithClients, CutOff, CutOffFromStore, FreezeAgent, FreezeBoth, FreezeServer, HearsNothing};
    let halted = [FreezeAgent, FreezeServer, FreezeBoth, Fault::HaltedUntilReplaced, Fault::StoreAwayForAll];
    short(
        15,
        Mode::Synchronous,
        &[&halted[..], &[CutOff, Fault::NotHeard, HearsNothing, AloneWithClients, CutOffFromStore]].concat(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn some_of_it_on_18() -> Result<()> {
    short(18, Mode::Synchronous, &[Fault::KillHost, Fault::Switchover, Fault::FreezeBoth]).await
}

/// Commits wait for nobody: then only clocks and the dead man keep two from acknowledging.
#[tokio::test(flavor = "multi_thread")]
async fn asynchronous_on_15() -> Result<()> {
    short(
        15,
        Mode::Asynchronous,
        &[Fault::FreezeAgent, Fault::KillServer, Fault::AloneWithClients, Fault::AloneWithClientsAndHalted],
    )
    .await
}

/// Every moment of every timeline comes back.
#[tokio::test(flavor = "multi_thread")]
async fn every_moment_comes_back_over_failovers_on_15() -> Result<()> {
    let these = [Fault::KillHostUnarchived, Fault::KillServer, Fault::Switchover];
    archiving(Mode::Synchronous, &these).await
}

/// The tail of a dead primary's log is in the archive too, and hides nothing of its successor's.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_else_had_hides_nothing_in_the_archive_on_15() -> Result<()> {
    archiving(Mode::Asynchronous, &[Fault::AloneWithClients, Fault::KillHost]).await
}

async fn archiving(mode: Mode, these: &[Fault]) -> Result<()> {
    let seed = variable("LIFEBOAT_FAILOVER_SEED").unwrap_or(SHORT_SEED);
    let figures = run::faults(15, Kind { mode, archives: true }, seed, &chosen(these, seed)).await?;
    eprintln!("{figures}");
    Ok(())
}

/// Rounds of all faults in one world after another, each with a seed of its own, until there are as many as wanted.
async fn rounds(major: u16, first_seed: u64, wanted: usize) -> Result<(Figures, Vec<u64>)> {
    let (mut all, mut seeds, mut seed) = (Figures::default(), Vec::new(), first_seed);
    let kind = Kind { mode: Mode::Synchronous, archives: true };
    while all.runs() < wanted {
        let figures = run::faults(major, kind, seed, &chosen(&faults::ALL, seed)).await;
        all.add(figures.inspect_err(|_| eprintln!("so far on {major}, seeds {seeds:?}: {all}"))?);
        seeds.push(seed);
        seed += 1;
        eprintln!("so far on {major}: {all}");
    }
    Ok((all, seeds))
}

/// Half of them on 15 and half on 18, at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn long_two_hundred_faults() -> Result<()> {
    let wanted = variable("LIFEBOAT_FAILOVER_FAULTS").and_then(|count| usize::try_from(count).ok()).unwrap_or(200);
    let clock = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
    let seed = variable("LIFEBOAT_FAILOVER_SEED").unwrap_or(clock);
    let lane = |major| tokio::spawn(rounds(major, seed, wanted.div_ceil(2)));
    let (older, newer) = tokio::try_join!(lane(15), lane(18)).context("a lane")?;
    let ((older, older_seeds), (newer, newer_seeds)) = (older?, newer?);
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let path = format!("{}/results/failover-{date}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        "# Failover under faults, {date}: three members in network namespaces, synchronous (needed = 1), one etcd, debug build,\n\
         # two worlds at once on two cores, beside other work. Time without a write: of six clients together.\n\
         # cargo nextest run --profile all -p lifeboat-tests -E 'test(long_two_hundred_faults)' --no-capture\n\
         # After every fault every acknowledged write was there, nothing was acknowledged by two, all members held the same.\n\n\
         PostgreSQL 15, seeds {older_seeds:?}: {older}\nPostgreSQL 18, seeds {newer_seeds:?}: {newer}"
    );
    std::fs::write(&path, text).with_context(|| format!("write {path}"))
}

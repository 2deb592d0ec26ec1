//! The torture run: random operations against a model, with the real program and real servers.
//!
//! A world is one cluster and three places that hold copies. In each step commands run, one or two at once, while clients
//! commit and statements change everything that can change; places fail and heal, the program and the server are killed.
//! After each step a moment that is said to be reachable is restored and compared with what the cluster held, and what must
//! be reachable must be said to be. Nothing that was acknowledged may be lost, nothing that is damaged may pass, and when
//! everything is healed it must be whole.
//!
//! `LIFEBOAT_TORTURE_SEED` repeats the choices of a run, `LIFEBOAT_TORTURE_STEPS` says how many steps it has,
//! `LIFEBOAT_TORTURE_MAJOR` which PostgreSQL, `LIFEBOAT_TORTURE_MINUTES` how long the long one lasts. What isn't repeated:
//! how far a command has come when it is killed or a place fails, how two at once interleave, how much the clients
//! write meanwhile, and what is chosen from that.

mod actions;
mod checks;
mod contents;
#[allow(dead_code)] // The same ledger as in the tests of whole recoveries, which ask it for more.
#[path = "../e2e/ledger.rs"]
mod ledger;
mod model;
mod places;
#[path = "../e2e/program.rs"]
mod program;
mod random;
mod run;
mod settle;
mod sql;
mod tally;
mod world;

use anyhow::{Context, Result};
use run::Run;
use std::time::{Duration, Instant, SystemTime};
use tally::Tally;

/// Steps of a world: enough for promotions on promotions, few enough to start over in often.
const STEPS: u64 = 42;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What the short run chooses by.
const SHORT_SEED: u64 = 1_795_286_968;

/// The seed that is given, or one that nobody had before.
fn first_seed() -> u64 {
    let clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
    variable("LIFEBOAT_TORTURE_SEED").unwrap_or_else(clock)
}

/// One world. On failure it stays where it is, and the error says how to repeat the run.
async fn world(seed: u64, steps: u64, deadline: Instant) -> Result<Tally> {
    let major = variable("LIFEBOAT_TORTURE_MAJOR").and_then(|major| u16::try_from(major).ok());
    let shape = run::shape(seed, major);
    eprintln!("seed {seed}: {shape:?}");
    let directory = tempfile::Builder::new().prefix("lifeboat-torture-").tempdir_in("/tmp").context("make a world")?;
    let root = directory.path().to_path_buf();
    let mut run = Run::begin(&root, seed, shape).await.with_context(|| format!("seed {seed}: the beginning"))?;
    let mut outcome = Ok(());
    let mut number = 0;
    while outcome.is_ok() && number < steps && Instant::now() < deadline {
        number += 1;
        outcome = run.step(number).await;
    }
    if outcome.is_ok() && !number.is_multiple_of(run::STEPS_BETWEEN_SETTLING) {
        outcome = run.settle(&mut random::Random::of(seed, u64::MAX)).await;
    }
    if let Err(error) = outcome {
        eprintln!("seed {seed}, step {number} found something:\n{}", run.tally);
        keep(&run, &root);
        let kept = directory.keep();
        return Err(error.context(format!(
            "seed {seed}, step {number}; the world is kept in {}; repeat with LIFEBOAT_TORTURE_SEED={seed} \
             LIFEBOAT_TORTURE_STEPS={number} cargo nextest run -p lifeboat-tests -E 'test(=torture_in_short)'",
            kept.display()
        )));
    }
    run.receiver = None;
    let mut tally = std::mem::take(&mut run.tally);
    tally.count("worlds");
    Ok(tally)
}

/// What would go away with the servers is put beside the rest.
fn keep(run: &Run, root: &std::path::Path) {
    let _ = std::fs::write(root.join("keep"), "");
    let _ = std::fs::write(root.join("server.log"), run.world.cluster.log());
    let _ =
        std::process::Command::new("cp").arg("-a").arg(run.world.cluster.data_dir()).arg(root.join("data")).status();
    let _ = run.world.places.save_bucket();
}

#[tokio::test(flavor = "multi_thread")]
async fn torture_in_short() -> Result<()> {
    let steps = variable("LIFEBOAT_TORTURE_STEPS");
    let deadline = if steps.is_some() { Duration::from_secs(24 * 3600) } else { Duration::from_secs(25) };
    // The same choices each time, unless told otherwise: looking for new ones is for the long one.
    let seed = variable("LIFEBOAT_TORTURE_SEED").unwrap_or(SHORT_SEED);
    let tally = world(seed, steps.unwrap_or(STEPS), Instant::now() + deadline).await?;
    eprintln!("{tally}");
    Ok(())
}

/// World after world until the time is over, an hour unless said otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn long_torture() -> Result<()> {
    let minutes = variable("LIFEBOAT_TORTURE_MINUTES").unwrap_or(60);
    let steps = variable("LIFEBOAT_TORTURE_STEPS").unwrap_or(STEPS);
    let deadline = Instant::now() + Duration::from_secs(minutes * 60);
    let mut all = Tally::default();
    let mut seed = first_seed();
    while Instant::now() < deadline {
        let begun = Instant::now();
        all.add(world(seed, steps, deadline).await.inspect_err(|_| eprintln!("so far:\n{all}"))?);
        eprintln!("seed {seed} passed in {} s; so far:\n{all}", begun.elapsed().as_secs());
        seed += 1;
    }
    Ok(())
}

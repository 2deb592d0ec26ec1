//! One fault after another in one world; after each everything is checked.

use crate::checks;
use crate::faults::{self, Fault};
use crate::figures::Figures;
use crate::history::Operation;
use crate::random::Random;
use crate::world::{Kind, LOOK_EVERY, LOSS_MAX_BYTES, Mode, PATIENCE, World};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What clients of these runs write, at most, after the last renewal of a lease that says how far the primary is.
const WRITTEN_UNTOLD_MAX_BYTES: u64 = 8 << 20;

/// After so many faults, and after the last.
const RESTORE_EVERY: u64 = 7;
/// Moments that are brought back each time, beside the end.
const RESTORES: usize = 3;

/// Does these faults in a new world. On failure the world is kept, and the error says how to repeat it.
pub async fn faults(major: u16, kind: Kind, seed: u64, faults: &[Fault]) -> Result<Figures> {
    let mut world = World::new(major, kind).await.with_context(|| format!("seed {seed}: the beginning"))?;
    let mut figures = Figures::default();
    for (number, fault) in (1..).zip(faults) {
        let begun = Instant::now();
        let mut random = Random::of(seed, number);
        let mut outcome = one(&mut world, *fault, &mut random, &mut figures).await;
        if outcome.is_ok()
            && (number as usize == faults.len() || number % RESTORE_EVERY == 0)
            && let Err(error) = comes_back(&mut world, major, &mut random).await
        {
            outcome = Err(error);
        }
        match outcome {
            Ok(silence) => eprintln!(
                "seed {seed}, PostgreSQL {major}, {number}: {}: {:.2} s without a write, done in {:.0} s",
                fault.words(),
                silence.as_secs_f64(),
                begun.elapsed().as_secs_f64()
            ),
            Err(error) => {
                eprintln!("so far: {figures}");
                let kept = PathBuf::from(format!("/tmp/lifeboat-failover-{seed}-{major}-{number}"));
                let at = world.now();
                world.keep(&kept);
                return Err(error.context(format!(
                    "seed {seed}, PostgreSQL {major}, fault {number} ({fault:?}), {at:?} after the beginning; the world is kept in {}; \
                     repeat with LIFEBOAT_FAILOVER_SEED={seed}, or this fault alone with LIFEBOAT_FAILOVER_FAULT={fault:?}",
                    kept.display()
                )));
            }
        }
    }
    Ok(figures)
}

async fn one(world: &mut World, fault: Fault, random: &mut Random, figures: &mut Figures) -> Result<Duration> {
    let primary = world.settle().await.context("before the fault")?;
    world.note(format!("before {fault:?}"), primary, true).await?;
    let clients = world.clients();
    // The moment of the fault is some number of writes away.
    let first = 30 + usize::try_from(random.below(150)).unwrap_or(0);
    let deadline = Instant::now() + PATIENCE;
    while clients.so_far().iter().filter(|operation| operation.is_ok()).count() < first {
        if Instant::now() > deadline {
            bail!("clients can't write before the fault");
        }
        tokio::time::sleep(LOOK_EVERY / 10).await;
    }
    if world.mode == Mode::Synchronous {
        world.note(format!("just before {fault:?}, on the old timeline"), primary, false).await?;
    }
    let done = faults::carry_out(world, &clients, primary, fault, random).await;
    let settled = match &done {
        Ok(_) => world.settle().await.context("after the fault"),
        Err(_) => Ok(primary),
    };
    let after = world.now();
    let wrote = match (&done, &settled) {
        (Ok(_), Ok(_)) => writes_again(&clients, after).await,
        _ => Ok(()),
    };
    let to = world.now();
    let history = clients.end().await?;
    world.history.extend(history.iter().cloned());
    let came_to_rest = done.and_then(|from| Ok((from, settled?))).and_then(|rest| wrote.map(|()| rest));
    let (from, primary) = match (came_to_rest, checks::acknowledged_by_two(&history)) {
        (Err(error), Some(found)) => return Err(error.context(found)),
        (rest, _) => rest?,
    };
    everything_holds(world, primary, &history).await?;
    let counted = match fault {
        // Nobody could write until healed: from then on it counts.
        Fault::KillAndCutOffAnother | Fault::KillAndNobodyReceives => {
            history.iter().filter(|operation| operation.ended > from).cloned().collect()
        }
        _ => history.clone(),
    };
    let silence = checks::without_a_write(&counted, from, to);
    figures.note(fault.words(), silence, history.iter().filter(|operation| operation.is_ok()).count());
    Ok(silence)
}

/// Everybody together, and each client of the proxy: none of them is left in a session that leads nowhere.
async fn writes_again(clients: &crate::clients::Clients, after: Duration) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let proxied = clients.on(crate::clients::Way::is_proxied);
    loop {
        let so_far = clients.so_far();
        let again: Vec<&Operation> =
            so_far.iter().filter(|operation| operation.is_ok() && operation.asked > after).collect();
        let silent: Vec<&i32> =
            proxied.iter().filter(|client| !again.iter().any(|operation| operation.client == **client)).collect();
        if again.len() >= 10 && silent.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("everything is healed, and clients can't write; of the proxy's these: {silent:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What was archived brings back the moments that were noted, and the end.
async fn comes_back(world: &mut World, major: u16, random: &mut Random) -> Result<()> {
    if world.archive.is_none() {
        return Ok(());
    }
    let primary = world.settle().await?;
    world.note("at the end".into(), primary, true).await?;
    world.archived(primary).await?;
    let rows = world.rows(primary).await?;
    match &world.archive {
        Some(archive) => archive.comes_back(major, &world.history, &rows, RESTORES, random).await,
        None => Ok(()),
    }
}

/// All checks, over everything that was ever acknowledged in this world.
async fn everything_holds(world: &World, primary: usize, latest: &[Operation]) -> Result<()> {
    let rows = world.rows(primary).await?;
    let (timeline, text) = world.timeline(primary).await?;
    let ancestors = checks::ancestors(&text).context("a timeline's file that can't be read")?;
    let lost = match world.mode {
        Mode::Synchronous => checks::lost(&world.history, &rows),
        Mode::Asynchronous => {
            let lost: Vec<&Operation> =
                latest.iter().filter(|operation| operation.is_ok() && !rows.contains(&operation.row())).collect();
            eprintln!("acknowledged and lost, as commits wait for nobody: {}", lost.len());
            loss_is_wrong(world, &lost)
        }
    };
    let found = [
        lost,
        checks::refused_and_there(&world.history, &rows),
        checks::never_asked(latest, &rows),
        checks::acknowledged_by_two(&world.history),
        checks::path_is_wrong(&world.history, timeline, &ancestors),
        all_have_the_same(world).await?,
    ];
    let found: Vec<String> = found.into_iter().flatten().collect();
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    Ok(())
}

/// What is lost is no more than may be, and lies where the one that had it put it aside.
fn loss_is_wrong(world: &World, lost: &[&Operation]) -> Option<String> {
    let mut aside = Vec::new();
    for member in &world.members {
        let entries = std::fs::read_dir(member.state_dir.join("lost")).into_iter().flatten().flatten();
        aside.extend(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    let position = |text: &str| u64::from_str_radix(text, 16).ok();
    let parsed = |name: &String| {
        let (lineage, rest) = name.strip_prefix("lineage-")?.split_once("-from-")?;
        let (from, to) = rest.split_once("-to-")?;
        Some((lineage.parse::<u32>().ok()?, position(to)?.checked_sub(position(from)?)?))
    };
    let known: Vec<(u32, u64)> = aside.iter().filter_map(parsed).collect();
    let most = LOSS_MAX_BYTES + WRITTEN_UNTOLD_MAX_BYTES;
    if let Some(found) = known.iter().find(|(_, bytes)| *bytes > most) {
        return Some(format!("{} bytes of timeline {} were lost: more than {most}", found.1, found.0));
    }
    let untold = lost.iter().find(|operation| match operation.outcome {
        crate::history::Outcome::Ok { timeline, .. } => !known.iter().any(|(lineage, _)| *lineage == timeline),
        _ => false,
    });
    untold.map(|operation| format!("lost, and put aside nowhere ({aside:?}): {operation:?}"))
}

/// Standbys replay what they have; what a client left behind unfinished may still come.
async fn all_have_the_same(world: &World) -> Result<Option<String>> {
    let deadline = Instant::now() + PATIENCE / 3;
    loop {
        let mut members = Vec::new();
        for (place, member) in world.members.iter().enumerate() {
            members.push((member.name.to_owned(), world.rows(place).await?));
        }
        let differ = checks::members_differ(&members);
        if differ.is_none() || Instant::now() > deadline {
            return Ok(differ);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

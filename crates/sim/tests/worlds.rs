//! Thousands of worlds; every mutant; the same seed twice.

use lifeboat_sim::{Mutant, Outcome, Scenario, run};
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs these seeds on all processors. Returns those with findings, in order.
fn failing(seeds: std::ops::Range<u64>, scenario: impl Fn(u64) -> Scenario + Sync) -> Vec<(u64, Outcome)> {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let mut found: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut found = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end || found.len() >= 10 {
                            return found;
                        }
                        let outcome = run(scenario(seed));
                        if !outcome.findings.is_empty() {
                            found.push((seed, outcome));
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a world panicked")).collect()
    });
    found.sort_by_key(|(seed, _)| *seed);
    found
}

fn told(found: &[(u64, Outcome)]) -> String {
    found.iter().map(|(seed, outcome)| format!("seed {seed}: {:?}\n", outcome.findings)).collect()
}

#[test]
fn five_thousand_worlds_lose_nothing_and_come_back() {
    let found = failing(0..std::env::var("WORLDS").map_or(5_000, |text| text.parse().expect("a number")), Scenario::of);
    assert!(found.is_empty(), "{}", told(&found));
}

#[test]
fn where_nothing_goes_wrong_nothing_happens() {
    for seed in 0..100 {
        let outcome = run(Scenario { calm: true, ..Scenario::of(seed) });
        assert!(outcome.findings.is_empty(), "seed {seed}: {:?}", outcome.findings);
        assert_eq!(outcome.epochs, 1, "seed {seed}: a primary was replaced although nothing was wrong");
        assert!(outcome.acknowledged > 300, "seed {seed}: only {} writes were acknowledged", outcome.acknowledged);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..50 {
        let (one, other) = (run(Scenario::of(seed)), run(Scenario::of(seed)));
        assert_eq!(one, other, "seed {seed}");
        assert_ne!(one.trace, run(Scenario::of(seed + 4)).trace, "seed {seed}: another seed, the same trace");
    }
}

#[test]
fn every_mutant_is_caught() {
    for mutant in Mutant::ALL {
        let of =
            |seed| Scenario { asynchronous: mutant.needs_asynchronous(), mutant: Some(mutant), ..Scenario::of(seed) };
        let found = failing(0..2_000, of);
        assert!(!found.is_empty(), "{mutant:?} wasn't found in 2,000 worlds");
        println!("{mutant:?}: {}", told(&found[..1]));
    }
}

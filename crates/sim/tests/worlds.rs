//! Thousands of worlds; every mutant; the same seed twice.

use lifeboat_sim::{Finding, Mutant, Outcome, Scenario, run};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Runs these seeds on all processors, until so many have findings. Returns those, in order.
fn failing(
    seeds: std::ops::Range<u64>,
    most: usize,
    scenario: impl Fn(u64) -> Scenario + Sync,
    is_meant: impl Fn(&Finding) -> bool + Sync,
) -> Vec<(u64, Outcome)> {
    let (next, all) = (AtomicU64::new(seeds.start), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let mut found: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut found = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end || all.load(Ordering::Relaxed) >= most {
                            return found;
                        }
                        let outcome = run(scenario(seed));
                        if outcome.findings.iter().any(&is_meant) {
                            found.push((seed, outcome));
                            all.fetch_add(1, Ordering::Relaxed);
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

/// So many worlds; `LIFEBOAT_WORLDS=1000..9000` looks at others.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("LIFEBOAT_WORLDS") else { return usual };
    let (from, to) = text.split_once("..").expect("LIFEBOAT_WORLDS=FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn five_thousand_worlds_lose_nothing_and_come_back() {
    let found = failing(seeds(0..5_000), 10, Scenario::of, |_| true);
    assert!(found.is_empty(), "{}", told(&found));
}

/// What a long run found once is asked again each time. A change that lets other things happen at other times makes them other worlds; they are
/// kept all the same.
#[test]
fn worlds_that_once_failed_hold() {
    // A lease written late, by a candidate that had caught up meanwhile, named a lineage that nobody had begun: nobody could take over for ever.
    // In the second it had caught up on another lineage. In the third its agent was started anew meanwhile, where nobody promises anything.
    const KEPT: [u64; 3] = [1_882_596_377_118_038, 1_882_610_519_248_604, 1_882_624_339_477_931];
    for seed in KEPT {
        let outcome = run(Scenario::of(seed));
        assert!(outcome.findings.is_empty(), "seed {seed}: {:?}", outcome.findings);
    }
}

/// An hour of them, each time others.
#[test]
fn long_an_hour_of_worlds_loses_nothing() {
    let from = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()) << 20;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(3600);
    let mut worlds = 0;
    while std::time::Instant::now() < end {
        let next = from + worlds..from + worlds + 500;
        let found = failing(next, 10, Scenario::of, |_| true);
        assert!(found.is_empty(), "{}", told(&found));
        worlds += 500;
    }
    println!("{worlds} worlds from seed {from}");
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
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        let of =
            |seed| Scenario { asynchronous: mutant.needs_asynchronous(), mutant: Some(mutant), ..Scenario::of(seed) };
        let found = failing(seeds(0..4_000), 1, of, Finding::is_of_safety);
        if found.is_empty() {
            missed.push(mutant);
        } else {
            println!("{mutant:?}: {}", told(&found[..1]));
        }
    }
    assert!(missed.is_empty(), "{missed:?} not found");
}

//! One world, told line by line: `SEED=17 cargo test -p lifeboat-sim --test one -- --nocapture --ignored`.
use lifeboat_sim::{Scenario, run};

#[test]
#[ignore = "for looking at one seed"]
fn one_world() {
    let seed = std::env::var("SEED").expect("SEED").parse().expect("a number");
    let outcome = run(Scenario { traced: true, ..Scenario::of(seed) });
    for line in &outcome.lines {
        println!("{line}");
    }
    println!("{:?} {} writes, epoch {}", outcome.findings, outcome.acknowledged, outcome.epochs);
}

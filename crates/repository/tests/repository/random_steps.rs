//! Random steps in three places: backups while some are away, marks, sweeps that stop halfway, copies that stop halfway, disks that are
//! exchanged, packs that are damaged or lost. In the end every place is whole by itself, or `repair` makes it so.
//!
//! `SEEDS=0..400` plays other worlds than the usual few.

use crate::bench::*;
use crate::place::{Fault, Place};
use crate::removal::*;
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use std::sync::Arc;

async fn told(repository: &Arc<Repository>) -> (Vec<Damage>, Vec<Damage>) {
    let report = repository.verify(None, true, &Silent).await.unwrap();
    (report.bad, report.behind)
}

fn empty(place: &Place) {
    place.objects().keys().filter(|key| *key != "lifeboat.json").for_each(|key| _ = place.remove(key));
}

struct Rng(u64);
impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

fn few(seed: u64) -> Files {
    // Parts are shared between sets.
    (0..4).map(|n| (format!("f{n}"), noise((seed + n) % 9 + 100, 700 + n as usize))).collect()
}

#[tokio::test]
async fn random_steps_leave_every_place_whole() {
    let seeds: std::ops::Range<u64> = std::env::var("SEEDS").map_or(0..6, |s| {
        let (a, b) = s.split_once("..").unwrap();
        a.parse().unwrap()..b.parse().unwrap()
    });
    let mut failed = Vec::new();
    for seed in seeds {
        if let Err(what) = random_run(seed).await {
            println!("SEED {seed}: {what}");
            failed.push(seed);
        }
    }
    assert_eq!(failed, Vec::<u64>::new());
}

const NAMES: [&str; 3] = ["north", "south", "west"];

async fn sweep_all(repository: &Arc<Repository>, name: &str, gave_up: &[MarkedPoint]) -> Vec<String> {
    let alone = Arc::new(repository.only(name).unwrap());
    let going = Going { points: gave_up.iter().cloned().collect(), logs: Vec::new() };
    let mut out = Vec::new();
    for mark in alone.marks().await.unwrap() {
        match alone.sweep(&mark, &going).await {
            Ok(report) => out.extend(report.failures),
            Err(error) => out.push(error.to_string()),
        }
    }
    out
}

async fn mend(repository: &Arc<Repository>, log: &mut Vec<String>) {
    let bad = repository.verify(None, true, &Silent).await.unwrap().bad;
    let plan = match repository.plan_repair(&bad).await {
        Ok(plan) => plan,
        Err(error) => return log.push(format!("plan_repair: {error}")),
    };
    for one in &plan.replace {
        if let Err(error) = repository.put_back(one).await {
            log.push(format!("put_back: {error}"));
        }
    }
    match repository.rescue(&plan.lost).await {
        Ok(rescued) => log.push(format!("rescued {rescued:?}")),
        Err(error) => log.push(format!("rescue: {error}")),
    }
    for name in NAMES {
        let bad: Vec<Damage> = repository.verify(None, true, &Silent).await.unwrap().bad;
        repository.put_findings(Findings::of(name, "data", true, &bad, jiff::Timestamp::now())).await.unwrap();
    }
}

async fn random_run(seed: u64) -> std::result::Result<(), String> {
    let mut rng = Rng(seed);
    let (places, repository) = create(3).await;
    let mut points: Vec<(Point, Files)> = Vec::new();
    let mut gave_up: Vec<Vec<MarkedPoint>> = vec![Vec::new(); 3];
    let mut log = Vec::new();
    for _ in 0..14 {
        let at = rng.below(3) as usize;
        match rng.below(11) {
            0..=2 => {
                let away: Vec<String> =
                    NAMES.iter().filter(|_| rng.below(4) == 0).map(|name| (*name).to_owned()).collect();
                let some = Arc::new(repository.without(&away));
                let files = few(rng.below(9));
                match try_backup(&some, &files).await {
                    Ok((point, _)) => {
                        log.push(format!("backup {} without {away:?}", points.len()));
                        points.push((point, files));
                    }
                    Err(error) => log.push(format!("backup failed: {error}")),
                }
            }
            3 | 4 => {
                let alone = Arc::new(repository.only(NAMES[at]).unwrap());
                let here = alone.points_everywhere(None).await.unwrap();
                let some: Vec<MarkedPoint> =
                    here.into_iter().filter(|one| !gave_up[at].contains(one) && rng.below(2) == 0).collect();
                let_pass(&places, GRACE);
                gave_up[at].extend(some.clone());
                match alone.plan_removal(some.clone(), Vec::new(), GRACE).await {
                    Ok(removal) if !removal.is_empty() => {
                        log.push(format!("mark at {at}: {} points, {} packs", some.len(), removal.packs.len()));
                        alone.mark(removal).await.unwrap();
                    }
                    Ok(_) => {}
                    Err(error) => log.push(format!("mark at {at}: {error}")),
                }
            }
            5 | 6 => {
                let_pass(&places, GRACE);
                let deletes = rng.below(14) as usize;
                places[at].break_deletes(deletes);
                let failures = sweep_all(&repository, NAMES[at], &gave_up[at]).await;
                places[at].repair();
                log.push(format!("sweep at {at} stopped after {deletes}: {} failures", failures.len()));
            }
            7 | 8 => {
                if rng.below(2) == 0 {
                    let count = rng.below(8) as usize;
                    places[at].break_writes("", count, Fault::Fail(ErrorKind::Full));
                    log.push(format!("heal, {at} full after {count}"));
                } else {
                    log.push("heal".into());
                }
                repository.bring_up_to_date().await;
                places[at].repair();
            }
            9 => {
                let done = repository.forget_gone().await;
                log.push(format!("forget {done:?}"));
            }
            _ => {
                // The disk is exchanged, when nothing is lost by it.
                let unique = points.iter().any(|(point, _)| {
                    let key = format!("points/{WORKLOAD}/{}", point.id);
                    places[at].keys("points/").contains(&key)
                        && !(0..3).any(|other| other != at && places[other].keys("points/").contains(&key))
                });
                if !unique && rng.below(2) == 0 {
                    log.push(format!("disk {at} exchanged"));
                    empty(&places[at]);
                    gave_up[at].clear();
                } else if let Some(key) = {
                    let keys = places[at].keys("packs/");
                    (!keys.is_empty()).then(|| keys[rng.below(keys.len() as u64) as usize].clone())
                } {
                    let elsewhere = (0..3).any(|other| other != at && places[other].keys("packs/").contains(&key));
                    if elsewhere {
                        let mut bytes = places[at].objects()[&key].to_vec();
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 1;
                        match rng.below(2) {
                            0 => places[at].set(&key, bytes),
                            _ => _ = places[at].remove(&key),
                        }
                        log.push(format!("damage at {at}"));
                        mend(&repository, &mut log).await;
                    }
                }
            }
        }
    }
    let_pass(&places, GRACE);
    for round in 0..2 {
        for at in 0..3 {
            let failures = sweep_all(&repository, NAMES[at], &gave_up[at]).await;
            if !failures.is_empty() {
                log.push(format!("at the end, round {round}, at {at}: {failures:?}"));
            }
        }
        repository.bring_up_to_date().await;
        let forgot = repository.forget_gone().await;
        if forgot.is_err() {
            log.push(format!("{forgot:?}"));
        }
        repository.bring_up_to_date().await;
    }
    let before = told(&repository).await;
    let mut problem = None;
    if before != (vec![], vec![]) {
        problem = Some(format!("not clean: {before:?}"));
        mend(&repository, &mut log).await;
        repository.bring_up_to_date().await;
        let after = told(&repository).await;
        let way = if after == (vec![], vec![]) { "repair mends it" } else { "DEAD END" };
        problem = problem.map(|text| format!("{way}: {text}"));
    }
    for (at, name) in NAMES.into_iter().enumerate() {
        let alone = Arc::new(repository.only(name).unwrap());
        for (number, (point, files)) in points.iter().enumerate() {
            if alone.read_point(WORKLOAD, &point.id, &mut Vec::new()).await.is_err() {
                continue;
            }
            if !read_back(&alone, &point.id).await.is_ok_and(|(found, _)| &found == files) {
                problem = Some(format!("UNREADABLE point {number} at {at}; {}", problem.unwrap_or_default()));
            }
        }
        let marks = alone.marks().await.unwrap();
        if !marks.is_empty() && problem.is_none() {
            problem = Some(format!("{} marks stand at {at}", marks.len()));
        }
    }
    problem.map_or(Ok(()), |problem| Err(format!("{problem}\n    {}", log.join("\n    "))))
}

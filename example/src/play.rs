//! A script without a screen: each step's effect as one line.

use crate::director::{Director, Told};
use crate::effect::seconds;
use crate::ending::Ending;
use crate::script::Step;
use anyhow::Result;
use std::time::Duration;

const WATCH_EVERY: Duration = Duration::from_millis(50);
/// Until all is well before the first step, or somebody writes after another.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same at the end: nothing is repaired any more that could take longer.
const END_PATIENCE: Duration = Duration::from_secs(15);

/// Plays it. Whether nothing that was acknowledged was lost, and all is well at the end.
///
/// # Errors
/// When it is ended from outside.
pub async fn play(mut director: Director, steps: &[Step], lasts: Option<Duration>, mut ending: Ending) -> Result<bool> {
    let played = async {
        rest(&director, PATIENCE).await;
        println!("all is well: {} writes, PostgreSQL {}", writer(&director), director.addresses.version);
        for step in steps {
            one(&mut director, *step).await;
        }
    };
    let over = async {
        match lasts {
            Some(span) => tokio::time::sleep(span).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = played => {}
        () = over => println!("the time is over"),
        () = ending.wanted() => ending.check()?,
    }
    Ok(verdict(&director).await)
}

async fn one(director: &mut Director, step: Step) {
    match step {
        Step::Wait(Some(span)) => return tokio::time::sleep(span).await,
        Step::Wait(None) => return rest_or_write(director).await,
        _ => {}
    }
    let before = director.told.len();
    director.begin(step);
    while director.told.len() == before {
        director.watch().await;
        tokio::time::sleep(WATCH_EVERY).await;
    }
    for told in &director.told[before..] {
        println!("{}", line(told));
    }
}

fn line(told: &Told) -> String {
    format!("{:>7}  {}\n         → {}", seconds(told.at), told.done, told.effect)
}

fn writer(director: &Director) -> &'static str {
    director.look().primary().map_or("nobody", |place| crate::script::NAMES[place])
}

/// Until all is well, or long enough.
async fn rest(director: &Director, patience: Duration) -> Option<String> {
    let since = director.now();
    let deadline = since + patience;
    loop {
        let unwell = director.look().unwell(since);
        if unwell.is_none() || director.now() > deadline {
            return unwell;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Until clients write, however unwell the rest is.
async fn rest_or_write(director: &Director) {
    let (since, deadline) = (director.now(), director.now() + PATIENCE);
    while director.now() < deadline && director.traffic().written.is_none_or(|(_, at)| at < since) {
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

async fn verdict(director: &Director) -> bool {
    let unwell = rest(director, END_PATIENCE).await;
    let lost = director.count(director.look().primary()).await.unwrap_or_else(|error| Err(error.to_string()));
    let traffic = director.traffic();
    let lost_words = lost.as_ref().map_or_else(|why| format!("not looked for: {why}"), |count| format!("{count} lost"));
    println!(
        "{} steps in {}, {} acknowledged writes, {lost_words}; at the end {}",
        director.told.len(),
        seconds(director.now()),
        traffic.acknowledged,
        unwell.as_ref().map_or("all is well".to_owned(), |why| format!("not all is well: {why}"))
    );
    unwell.is_none() && lost == Ok(0) && director.lost == 0
}

//! `reprotect`, `rejoin`, `failback`: until every member follows the present primary, and nothing would be lost if that went too.

use super::{Answers, Asking, Chosen, status};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human};
use lifeboat_agent::api::{Asked, MemberView, Status};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A standby that is further behind doesn't protect yet: what commits wait for doesn't take it in before, either.
const LAG_MAX_BYTES: u64 = 16 << 20;
/// How often it is said what is still waited for, when that doesn't change.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How far it is. Pure: see [`standing`].
#[derive(Debug, Default, PartialEq, Eq)]
struct Standing {
    primary: Option<String>,
    /// What commits wait for.
    quorum: String,
    follow: Vec<String>,
    /// Who doesn't, and why.
    missing: BTreeMap<String, Missing>,
    /// In maintenance: left out.
    skipped: Vec<String>,
}

/// Why a member doesn't protect yet.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    why: String,
    /// Its agent says that the data it has can't be made to follow.
    stuck: bool,
    /// Its agent could be asked to try again.
    can_retry: bool,
}

/// What is to be reached.
struct Goal<'a> {
    /// `None`: all members.
    member: Option<&'a str>,
    anew: bool,
    wait: Duration,
}

pub async fn reprotect(asking: &Asking, anew: bool, wait: Duration, output: &Output) -> Result<(), Failure> {
    let begun = Instant::now();
    let standing = reach(asking, &Goal { member: None, anew, wait }, output).await?;
    tell(asking, &standing, begun.elapsed(), output)
}

pub async fn rejoin(asking: &Asking, member: &str, anew: bool, wait: Duration, output: &Output) -> Result<(), Failure> {
    let config = crate::commands::find_named("member", member, &asking.chosen.cluster.members)?;
    let begun = Instant::now();
    let before = asking.client.status(&config.agent).await?.made_anew;
    let answered = asking.client.command(&config.agent, &Asked::Rejoin { anew }).await?;
    if !answered.done {
        return Err(Failure::new(FailureKind::CheckFailed, answered.text)
            .with_hint(format!("lifeboat cluster status {}", asking.chosen.name)));
    }
    output.tell(&answered.text);
    while anew && asking.client.status(&config.agent).await.is_ok_and(|status| status.made_anew == before) {
        let said = asking.client.status(&config.agent).await.ok().and_then(|status| status.told);
        if let Some(why) = said.as_ref().filter(|said| said.starts_with("can't follow")) {
            return Err(Failure::new(FailureKind::CheckFailed, format!("{member}: {why}"))
                .with_hint("its agent tries again by itself; docs/runbooks/member-does-not-follow.md"));
        }
        if begun.elapsed() >= wait {
            return Err(late(&asking.chosen.name, format!("{member} is still being made anew")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let left = wait.saturating_sub(begun.elapsed());
    let standing = reach(asking, &Goal { member: Some(member), anew: false, wait: left }, output).await?;
    tell(asking, &standing, begun.elapsed(), output)
}

pub async fn failback(asking: &Asking, to: Option<&str>, wait: Duration, output: &Output) -> Result<(), Failure> {
    let begun = Instant::now();
    let answers = asking.everybody().await;
    let Some(leader) = status::primary(&answers) else { return Err(no_primary(asking)) };
    let leader = leader.member.to_string();
    let to = match to {
        Some(to) => {
            crate::commands::find_named("member", to, &asking.chosen.cluster.members)?;
            to.to_owned()
        }
        None => preferred(&asking.chosen, &leader)?,
    };
    if to == leader {
        return said(asking, &format!("{to} is the primary already"), begun.elapsed(), output);
    }
    reach(asking, &Goal { member: Some(&to), anew: false, wait }, output).await?;
    asking.tell(&leader, Asked::Switchover { to: Some(to.as_str().into()) }, &output.for_parts()).await?;
    output.tell(&format!("{to} is the primary again"));
    let left = wait.saturating_sub(begun.elapsed());
    let standing = reach(asking, &Goal { member: None, anew: false, wait: left }, output).await?;
    tell(asking, &standing, begun.elapsed(), output)
}

/// The member that is preferred to `leader`, or `leader`.
fn preferred(chosen: &Chosen, leader: &str) -> Result<String, Failure> {
    let cluster = &chosen.cluster;
    let open = |region: &Option<String>| !region.as_ref().is_some_and(|name| cluster.never_primary_in.contains(name));
    let able = || cluster.members.iter().filter(|(_, member)| member.database.is_some() && open(&member.region));
    let highest = able().map(|(_, member)| member.priority).max().unwrap_or(0);
    let best: Vec<&String> = able().filter(|(_, member)| member.priority == highest).map(|(name, _)| name).collect();
    match best.as_slice() {
        [one] => Ok((*one).clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|name| name.as_str()).filter(|name| *name != leader).collect();
            let message = "no member is preferred: several have the highest priority".to_owned();
            let hint = format!("lifeboat cluster failback {} --to {}", chosen.name, names.join(" | "));
            Err(Failure::new(FailureKind::Usage, message).with_hint(hint))
        }
    }
}

/// Looks, asks who doesn't follow to try again, and looks again, until it is so.
async fn reach(asking: &Asking, goal: &Goal<'_>, output: &Output) -> Result<Standing, Failure> {
    let begun = Instant::now();
    let (mut asked, mut asked_anew) = (BTreeSet::new(), BTreeSet::new());
    let (mut said, mut said_at) = (String::new(), Instant::now());
    loop {
        let standing = standing(&asking.chosen, &asking.everybody().await, goal.member);
        if standing.primary.is_some() && standing.missing.is_empty() {
            return Ok(standing);
        }
        let words = waits_for(&standing);
        if words != said || said_at.elapsed() >= SAY_EVERY {
            output.tell(&format!("waiting: {words}"));
            (said, said_at) = (words, Instant::now());
        }
        for (name, missing) in &standing.missing {
            let anew = goal.anew && missing.stuck && asked_anew.insert(name.clone());
            if anew || missing.can_retry && asked.insert(name.clone()) {
                let agent = &asking.chosen.cluster.members[name].agent;
                // Who can't be told now is looked at again.
                let _ = asking.client.command(agent, &Asked::Rejoin { anew }).await;
            }
        }
        if begun.elapsed() >= goal.wait {
            return Err(late(&asking.chosen.name, waits_for(&standing)));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn waits_for(standing: &Standing) -> String {
    let mut reasons: Vec<String> = Vec::new();
    reasons.extend(standing.primary.is_none().then(|| "there is no primary".to_owned()));
    reasons.extend(standing.missing.iter().map(|(name, missing)| format!("{name} {}", missing.why)));
    reasons.join("; ")
}

fn late(cluster: &str, why: String) -> Failure {
    Failure::new(FailureKind::CheckFailed, format!("not protected in time: {why}"))
        .with_hint(format!("lifeboat cluster status {cluster}; docs/runbooks/member-does-not-follow.md"))
}

fn no_primary(asking: &Asking) -> Failure {
    let name = &asking.chosen.name;
    Failure::new(FailureKind::CheckFailed, format!("cluster {name} has no primary now"))
        .with_hint(format!("lifeboat cluster status {name}; docs/runbooks/nobody-took-over.md"))
}

/// From what the agents say. Pure.
fn standing(chosen: &Chosen, answers: &Answers, only: Option<&str>) -> Standing {
    let Some(leader) = status::primary(answers) else { return Standing::default() };
    let mut found = Standing {
        primary: Some(leader.member.to_string()),
        quorum: leader.lease.as_ref().map(|lease| lease.quorum.clone()).unwrap_or_default(),
        ..Standing::default()
    };
    for (name, member) in &chosen.cluster.members {
        let meant = only.is_none_or(|only| only == name);
        if member.database.is_none() || leader.member.as_str() == name || !meant {
            continue;
        }
        let seen = leader.members.iter().find(|view| view.name.as_str() == name);
        match answers.get(name) {
            Some(Ok(status)) if status.in_maintenance && only.is_none() => found.skipped.push(name.clone()),
            Some(Ok(status)) => match hindrance(leader, seen, status) {
                Some(missing) => {
                    found.missing.insert(name.clone(), missing);
                }
                None => found.follow.push(name.clone()),
            },
            _ => {
                let missing = Missing { why: "doesn't answer".to_owned(), stuck: false, can_retry: false };
                found.missing.insert(name.clone(), missing);
            }
        }
    }
    found
}

fn hindrance(leader: &Status, seen: Option<&MemberView>, status: &Status) -> Option<Missing> {
    let stuck = status.told.as_ref().is_some_and(|told| told.starts_with("can't follow"));
    let missing = |why: String| Some(Missing { why, stuck, can_retry: !status.in_maintenance });
    if status.in_maintenance {
        return missing("is in maintenance".to_owned());
    }
    if status.receives_from.as_ref() != Some(&leader.member) {
        let told = status.told.as_ref().map(|told| format!(": {told}")).unwrap_or_default();
        return missing(format!("doesn't receive from {} (its server is {}){told}", leader.member, status.database));
    }
    match seen.and_then(|view| view.lag_bytes) {
        None => Some(Missing { why: "has just begun to receive".to_owned(), stuck: false, can_retry: false }),
        Some(lag) if lag > LAG_MAX_BYTES => {
            Some(Missing { why: format!("is {} behind", human::size(lag)), stuck: false, can_retry: false })
        }
        Some(_) => None,
    }
}

fn tell(asking: &Asking, standing: &Standing, elapsed: Duration, output: &Output) -> Result<(), Failure> {
    for name in &standing.skipped {
        output.warn(&format!("{name} is in maintenance, and protects nothing"));
    }
    let primary = standing.primary.as_deref().unwrap_or_default();
    if output.is_json() {
        return output.document(&json!({
            "cluster": asking.chosen.name,
            "protected": true,
            "primary": primary,
            "follow": standing.follow,
            "in_maintenance": standing.skipped,
            "quorum": standing.quorum,
            "seconds": elapsed.as_secs_f64(),
        }));
    }
    let follow = match standing.follow.as_slice() {
        [] => "nobody follows".to_owned(),
        [one] => format!("{one} follows"),
        several => format!("{} follow", several.join(", ")),
    };
    let done = output.paint("protected", Tone::Good);
    let (quorum, took) = (&standing.quorum, human::duration(elapsed));
    output.text(&format!("{done}: {follow} {primary}; commits wait for {quorum} ({took})"))
}

fn said(asking: &Asking, text: &str, elapsed: Duration, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        let seconds = elapsed.as_secs_f64();
        return output.document(&json!({ "cluster": asking.chosen.name, "text": text, "seconds": seconds }));
    }
    output.text(text)
}

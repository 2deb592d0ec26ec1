//! The table of a cluster: who is what, how far, and what would be lost.

use super::{Answers, Chosen};
use crate::failure::{Failure, FailureKind};
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, Tone, human};
use lifeboat_agent::api::{LeaseView, Status};
use lifeboat_postgres::Lsn;
use serde_json::json;
use std::time::Duration;

pub fn show(chosen: &Chosen, answers: &Answers, output: &Output) -> Result<(), Failure> {
    let verdict = verdict(chosen, answers);
    if output.is_json() {
        let members: Vec<_> = answers
            .iter()
            .map(|(name, answer)| match answer {
                Ok(status) => json!({ "name": name, "answers": true, "status": status }),
                Err(error) => json!({ "name": name, "answers": false, "error": error.to_string() }),
            })
            .collect();
        let lease = newest(answers);
        output.document(&json!({
            "cluster": chosen.name,
            "lease": lease,
            "at_risk_bytes": primary(answers).and_then(|status| status.at_risk_bytes),
            "healthy": verdict.is_none(),
            "members": members,
        }))?;
    } else {
        output.text(&page(chosen, answers, output))?;
    }
    match verdict {
        None => Ok(()),
        Some(why) => Err(Failure::new(FailureKind::CheckFailed, why).after_its_document()),
    }
}

/// The newest lease that anybody knows.
pub fn newest(answers: &Answers) -> Option<&LeaseView> {
    answers
        .values()
        .flatten()
        .filter_map(|status| status.lease.as_ref())
        .max_by_key(|lease| (lease.epoch, lease.sequence))
}

/// The one that is the primary of the newest epoch.
pub fn primary(answers: &Answers) -> Option<&Status> {
    let epoch = newest(answers)?.epoch;
    answers
        .values()
        .flatten()
        .find(|status| status.state == "primary" && status.lease.as_ref().is_some_and(|lease| lease.epoch == epoch))
}

fn page(chosen: &Chosen, answers: &Answers, output: &Output) -> String {
    let heading = match newest(answers) {
        None if answers.values().all(Result::is_err) => format!("{}: no agent answers", chosen.name),
        None => format!("{}: no lease yet", chosen.name),
        Some(lease) => {
            let paused = if lease.paused { ", PAUSED: nobody takes over" } else { "" };
            let (epoch, quorum) = (lease.epoch, &lease.quorum);
            format!(
                "{}: epoch {epoch}, lease {} by {}, commits wait for {quorum}{paused}",
                chosen.name, lease.state, lease.holder
            )
        }
    };
    let columns = [
        Column::Left("member"),
        Column::Left("role"),
        Column::Left("region"),
        Column::Left("server"),
        Column::Right("timeline"),
        Column::Right("position"),
        Column::Right("behind"),
        Column::Right("seconds"),
        Column::Left("follows"),
    ];
    let leader = primary(answers);
    let rows: Vec<Vec<String>> = answers
        .iter()
        .map(|(name, answer)| match answer {
            Ok(status) => row(status, leader),
            Err(_) => {
                let region = chosen.cluster.members.get(name).and_then(|member| member.region.clone());
                let mut row = vec![name.clone(), "doesn't answer".to_owned(), region.unwrap_or_default()];
                row.resize(columns.len(), String::new());
                row
            }
        })
        .collect();
    let table = render(&columns, &rows, terminal_width());
    let silent = newest(answers).filter(|lease| !answers.get(lease.holder.as_str()).is_some_and(Result::is_ok));
    let risk = match leader {
        None => match silent {
            Some(lease) => {
                let text =
                    format!("{} holds the lease and doesn't answer: whether it writes is not known", lease.holder);
                output.paint(&text, Tone::Bad)
            }
            None => output.paint("no primary: writes are not possible now", Tone::Bad),
        },
        Some(status) if status.commits_wait => {
            let waits_for = newest(answers).map(|lease| lease.quorum.clone()).unwrap_or_default();
            let text =
                format!("commits wait for {waits_for}, and too few of them follow: no write is acknowledged now");
            output.paint(&text, Tone::Bad)
        }
        Some(status) => match status.at_risk_bytes {
            Some(0) => "if the primary went now, no acknowledged write would be lost".to_owned(),
            Some(bytes) => format!("if the primary went now, about {} of log would be lost", human::size(bytes)),
            None => output.paint("if the primary went now, nobody could take over", Tone::Bad),
        },
    };
    format!("{heading}\n\n{table}\n\n{risk}")
}

fn row(status: &Status, leader: Option<&Status>) -> Vec<String> {
    let position = status.position.filter(|_| status.database != "none");
    let behind = leader
        .filter(|leader| leader.member != status.member)
        .and_then(|leader| leader.position)
        .zip(status.replayed.or(position))
        .map(|(leader, own)| leader.saturating_sub(own));
    // Nothing was written lately: then the last replayed commit is old, and it is not behind.
    let seconds = match behind {
        Some(0) => Some(Duration::ZERO),
        Some(_) => status.replay_age_milliseconds.map(Duration::from_millis),
        None => None,
    };
    vec![
        status.member.to_string(),
        if status.in_maintenance { format!("{}, in maintenance", status.state) } else { status.state.clone() },
        status.region.clone().unwrap_or_default(),
        status.database.clone(),
        status.timeline.filter(|_| position.is_some()).map(|timeline| timeline.to_string()).unwrap_or_default(),
        position.map(|position| Lsn(position).to_string()).unwrap_or_default(),
        behind.map(human::size).unwrap_or_default(),
        seconds.map(|seconds| format!("{:.1}", seconds.as_secs_f64())).unwrap_or_default(),
        status.receives_from.as_ref().map(ToString::to_string).unwrap_or_default(),
    ]
}

/// The first thing that isn't as it should be.
fn verdict(chosen: &Chosen, answers: &Answers) -> Option<String> {
    if let Some((name, error)) =
        answers.iter().find_map(|(name, answer)| answer.as_ref().err().map(|error| (name, error)))
    {
        return Some(format!("{name}: {error}"));
    }
    let Some(leader) = primary(answers) else { return Some(format!("cluster {} has no primary", chosen.name)) };
    if leader.commits_wait {
        return Some(format!("no write is acknowledged by {}: too few follow it", leader.member));
    }
    answers.values().flatten().find_map(|status| {
        let follows = status.receives_from.as_ref() == Some(&leader.member);
        if status.member == leader.member || status.state == "witness" || status.in_maintenance {
            return None;
        }
        match status.state.as_str() {
            "standby" if follows => None,
            "standby" => Some(format!("{} doesn't receive from {}", status.member, leader.member)),
            state => Some(format!("{} is {state}: it doesn't follow {} yet", status.member, leader.member)),
        }
    })
}

/// What a takeover by `to` would lose, in words.
pub fn loss(to: &str, answers: &Answers) -> String {
    let lease = newest(answers);
    let own = answers.get(to).and_then(|answer| answer.as_ref().ok()).and_then(|status| status.position);
    match (lease, own) {
        (None, _) => "nobody says what would be lost".to_owned(),
        (_, None) => format!("{to} doesn't say how far it is"),
        (Some(lease), Some(_)) if lease.quorum != "nobody" => {
            format!(
                "commits waited for {}: no acknowledged write is lost, or the takeover waits for who has it",
                lease.quorum
            )
        }
        (Some(lease), Some(own)) => {
            let behind = lease.position.saturating_sub(own);
            format!(
                "commits waited for nobody: {to} lacks {} of what {} had at its last renewal, and what was written since",
                human::size(behind),
                lease.holder
            )
        }
    }
}

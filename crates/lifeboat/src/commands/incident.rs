//! `lifeboat incident`: what happened for real, kept as evidence. Nothing in the configuration keeps anybody from telling it.

use super::load_config;
use crate::cli::{Global, IncidentCloseArguments, IncidentCommand, IncidentNoteArguments, IncidentOpenArguments};
use crate::config::{Config, UnknownKeys, nearest};
use crate::evidence::{Book, DRILL, Kept, run_of};
use crate::failure::{Failure, FailureKind};
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, human};
use crate::{rooms, target};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_ledger::Gathered;
use lifeboat_plan::incidents::{Event, Figures, Incident, Opened, figures, fold, take};
use lifeboat_plan::model::Disruption;
use lifeboat_plan::run::Run;
use serde_json::json;
use std::time::Duration;

/// The kind of their entries.
const INCIDENT: &str = "incident";
/// How much of an id is shown.
const ID_DIGITS: usize = 8;
/// How much of it must be typed.
const ID_DIGITS_MIN: usize = 4;

pub fn run(global: &Global, command: &IncidentCommand, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    rooms::runtime()?.block_on(async {
        match command {
            IncidentCommand::Open(arguments) => open(&config, arguments, output).await,
            IncidentCommand::Note(arguments) => note(&config, arguments, output).await,
            IncidentCommand::Close(arguments) => close(&config, arguments, output).await,
            IncidentCommand::List { process, open } => list(&config, process.as_deref(), *open, output).await,
        }
    })
}

async fn open(config: &Config, arguments: &IncidentOpenArguments, output: &Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let began_at = moment("--began", arguments.began.as_deref(), now)?.unwrap_or(now);
    let plan = &config.plan.plan;
    warn_of_unknown("process", &arguments.process, plan.processes.keys(), output);
    warn_of_unknown("group", arguments.group.as_slice(), plan.groups.keys(), output);
    warn_of_unknown("workload", &arguments.workload, config.workloads.keys(), output);
    let opened = Event::Opened(Opened {
        what: sentence(&arguments.what)?,
        processes: arguments.process.clone(),
        group: arguments.group.clone(),
        workloads: arguments.workload.clone(),
        disruption: arguments.disruption.as_deref().map(disruption).transpose()?,
        began_at,
        detected_at: moment("--detected", arguments.detected.as_deref(), now)?,
    });
    let mut book = Book::open(config, output).await?;
    let (kept, incident) = tell(&mut book, Vec::new(), opened, output).await?;
    let id = &kept.hash[..ID_DIGITS];
    said(&kept, &incident, &format!("incident {id} is open, since {:.0}", incident.opened.began_at), output)?;
    output.hint(&format!("when it is over: `lifeboat incident close {id} --recovered \"2 minutes ago\"`"));
    Ok(())
}

async fn note(config: &Config, arguments: &IncidentNoteArguments, output: &Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let mut book = Book::open(config, output).await?;
    let (incidents, incident) = known(&book, &arguments.id, output).await?;
    let noted = Event::Noted {
        incident,
        what: sentence(&arguments.what)?,
        began_at: moment("--began", arguments.began.as_deref(), now)?,
        detected_at: moment("--detected", arguments.detected.as_deref(), now)?,
    };
    let (kept, incident) = tell(&mut book, incidents, noted, output).await?;
    said(&kept, &incident, &format!("noted to incident {}", &incident.id[..ID_DIGITS]), output)
}

async fn close(config: &Config, arguments: &IncidentCloseArguments, output: &Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let mut book = Book::open(config, output).await?;
    let (incidents, incident) = known(&book, &arguments.id, output).await?;
    let closed = Event::Closed {
        incident,
        what: arguments.what.as_deref().map(sentence).transpose()?,
        recovered_at: moment("--recovered", arguments.recovered.as_deref(), now)?.unwrap_or(now),
        writes_lost: arguments.writes_lost,
    };
    let (kept, incident) = tell(&mut book, incidents, closed, output).await?;
    let told = format!("incident {} is over after {}", &incident.id[..ID_DIGITS], lasted(&incident));
    said(&kept, &incident, &told, output)
}

/// Keeps a step, if it can be believed beside those before it; gives back what is known with it.
async fn tell(
    book: &mut Book,
    mut incidents: Vec<Incident>,
    event: Event,
    output: &Output,
) -> Result<(Kept, Incident), Failure> {
    let id = match &event {
        Event::Opened(_) => None,
        Event::Noted { incident, .. } | Event::Closed { incident, .. } => Some(incident.clone()),
    };
    let body = serde_json::to_value(&event).map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
    take(&mut incidents, "", Timestamp::now(), event)
        .map_err(|error| Failure::from_error(FailureKind::Usage, &error))?;
    let kept = book.keep(INCIDENT, body, output).await?;
    let id = id.unwrap_or_default();
    let mut incident = incidents.into_iter().find(|incident| incident.id == id);
    incident.iter_mut().filter(|incident| incident.id.is_empty()).for_each(|new| new.id.clone_from(&kept.hash));
    let incident = incident.ok_or_else(|| Failure::new(FailureKind::Internal, "the incident is not what it was"))?;
    Ok((kept, incident))
}

fn said(kept: &Kept, incident: &Incident, told: &str, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.document(&json!({ "entry": kept.hash, "locations": kept.locations, "incident": incident }));
    }
    output.text(&format!("{told}; kept in {} as entry {}", kept.locations.join(", "), kept.sequence))
}

fn sentence(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned()).ok_or_else(|| {
        Failure::new(FailureKind::Usage, "an incident is told in a sentence, and this one is empty")
            .with_hint("say what happened, such as \"the primary is gone\"")
    })
}

fn disruption(text: &str) -> Result<Disruption, Failure> {
    serde_json::from_value(json!(text)).map_err(|_| {
        Failure::new(FailureKind::Usage, format!("--disruption {text:?} is no kind of disruption"))
            .with_hint("one of corruption, ransomware, instance, site, network, dependency")
    })
}

/// What happened was before now.
fn moment(option: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let time = target::time_of(option, text, now, &TimeZone::system())?;
    if time > now {
        return Err(Failure::new(FailureKind::Usage, format!("{option} {text:?} is still to come"))
            .with_hint(format!("what happened was before {now}")));
    }
    Ok(Some(time))
}

/// A record with a name that nobody knows is worth more than none.
fn warn_of_unknown<'a>(what: &str, names: &[String], all: impl Iterator<Item = &'a String>, output: &Output) {
    let all: Vec<&str> = all.map(String::as_str).collect();
    for name in names.iter().filter(|name| !all.contains(&name.as_str())) {
        let near = nearest(name, all.iter().copied()).map(|near| format!("; is it {near}?")).unwrap_or_default();
        output.warn(&format!("no {what} is named {name:?} in the configuration{near}"));
    }
}

/// All incidents that the ledger tells of.
fn incidents(gathered: &Gathered, output: &Output) -> Vec<Incident> {
    let entries = gathered.in_order().into_iter().filter(|signed| signed.entry.kind == INCIDENT);
    let steps = entries.filter_map(|signed| match serde_json::from_value::<Event>(signed.entry.body.clone()) {
        Ok(event) => Some((signed.hash.to_string(), signed.entry.at, event)),
        Err(error) => {
            output.warn(&format!(
                "entry {} of the ledger is left out: it is no step of an incident: {error}",
                signed.name()
            ));
            None
        }
    });
    let (incidents, refused) = fold(steps);
    for (id, why) in refused {
        output.warn(&format!("entry {id} of the ledger is left out: {why}"));
    }
    incidents
}

/// All incidents, and the whole id of the one that is meant.
async fn known(book: &Book, id: &str, output: &Output) -> Result<(Vec<Incident>, String), Failure> {
    let incidents = incidents(&book.gather(output).await?, output);
    let hint = "`lifeboat incident list` shows their ids";
    let fits = |incident: &&Incident| id.len() >= ID_DIGITS_MIN && incident.id.starts_with(id);
    let found: Vec<&Incident> = incidents.iter().filter(fits).collect();
    let found = match &found[..] {
        [only] => Ok(only.id.clone()),
        [] => Err(Failure::new(FailureKind::NotFound, format!("no incident is {id}")).with_hint(hint)),
        _ => Err(Failure::new(FailureKind::NotFound, format!("several incidents are {id}")).with_hint(hint)),
    }?;
    Ok((incidents, found))
}

async fn list(config: &Config, process: Option<&str>, open: bool, output: &Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let gathered = Book::open(config, output).await?.gather(output).await?;
    let mut incidents = incidents(&gathered, output);
    if let Some(process) = process {
        incidents.retain(|incident| incident.opened.processes.iter().any(|name| name == process));
    }
    let runs: Vec<Run> = match process {
        // Which processes a drill was about, the plan says, and not the drill.
        Some(_) => Vec::new(),
        None => {
            let drills = gathered.in_order().into_iter().filter(|signed| signed.entry.kind == DRILL);
            drills.filter_map(|signed| run_of(&signed.entry.body).ok()).collect()
        }
    };
    let first = gathered.entries.values().map(|signed| signed.entry.at).min();
    let since = incidents.iter().map(|incident| incident.opened.began_at).chain(first).min().unwrap_or(now);
    let figures = figures(&incidents, &runs, since, now);
    if open {
        incidents.retain(|incident| incident.recovered_at.is_none());
    }
    if output.is_json() {
        return output.document(&json!({ "incidents": incidents, "since": since, "until": now, "figures": figures }));
    }
    if incidents.is_empty() {
        output.text(if open { "no incident is open" } else { "no incident was told of" })?;
    } else {
        output.text(&table(&incidents))?;
    }
    output.text(&in_words(&figures, since))
}

fn table(incidents: &[Incident]) -> String {
    let columns = [
        Column::Left("id"),
        Column::Left("began"),
        Column::Right("lasted"),
        Column::Right("writes lost"),
        Column::Left("what"),
    ];
    let row = |incident: &Incident| {
        let lost = match (incident.recovered_at, incident.writes_lost) {
            (_, Some(count)) => count.to_string(),
            (Some(_), None) => "unknown".to_owned(),
            (None, None) => "-".to_owned(),
        };
        vec![
            incident.id.chars().take(ID_DIGITS).collect(),
            incident.opened.began_at.strftime("%F %H:%MZ").to_string(),
            lasted(incident),
            lost,
            incident.opened.what.clone(),
        ]
    };
    render(&columns, &incidents.iter().map(row).collect::<Vec<_>>(), terminal_width())
}

fn lasted(incident: &Incident) -> String {
    incident.outage_seconds().map_or_else(|| "open".to_owned(), duration)
}

fn duration(seconds: f64) -> String {
    human::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn in_words(figures: &Figures, since: Timestamp) -> String {
    let or_unknown = |seconds: Option<f64>| seconds.map_or_else(|| "too few to say".to_owned(), duration);
    let availability =
        figures.availability.map_or_else(|| "unknown".to_owned(), |part| format!("{:.3} %", part * 100.0));
    let lines = [
        format!(
            "since {}: {}, {} open",
            since.strftime("%F"),
            human::count(figures.incidents, "incident"),
            figures.open
        ),
        format!("mean time to restoration (MTTR)            {}", or_unknown(figures.mttr_seconds)),
        format!("of that until it was noticed (MTTD)        {}", or_unknown(figures.mttd_seconds)),
        format!("mean operating time between them (MTBF)    {}", or_unknown(figures.mtbf_seconds)),
        format!("in drills, from the fault to an answer     {}", or_unknown(figures.mttr_in_drills_seconds)),
        format!("available                                  {availability}"),
    ];
    format!("\n{}", lines.join("\n"))
}

//! What is shown, as values: from what was seen to words. Pure; it knows no terminal, and says everything without colours.

use crate::director::Told;
use crate::effect::seconds;
use crate::ledger::Traffic;
use crate::look::{Life, Look, Place, Status};
use crate::script::{DATABASES, NAMES, PLACES};
use std::time::Duration;

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Since the beginning.
    pub now: Duration,
    /// Of PostgreSQL.
    pub version: String,
    pub look: Look,
    pub traffic: Traffic,
    pub told: Vec<Told>,
    /// What was done to its lines and isn't healed.
    pub cuts: [Option<&'static str>; PLACES],
    /// What was begun and isn't over, and when.
    pub under_way: Option<(String, Duration)>,
}

/// How it is meant; the words say it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Quiet,
}

pub type Words = Vec<(String, Tone)>;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub title: String,
    pub summary: (String, Tone),
    pub panels: [Panel; PLACES],
    pub lease: Words,
    pub rate: Words,
    /// Writes a second, oldest first.
    pub rates: Vec<u64>,
    pub silence: Words,
    pub clients: Words,
    /// Newest last.
    pub events: Vec<Happened>,
    /// What was done and what came of it, newest last.
    pub effects: Vec<Told>,
    pub under_way: Option<String>,
}

/// One region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panel {
    pub name: String,
    pub holds_lease: bool,
    pub tone: Tone,
    pub rows: Vec<Words>,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// `1:23.4`
    pub at: String,
    /// Since the last step, `+0.6`; empty before it.
    pub after: String,
    pub who: String,
    pub text: String,
    pub tone: Tone,
}

/// See the module.
pub fn picture(seen: &Seen) -> Picture {
    let primary = seen.look.primary();
    let panel = |place: usize| panel(place, seen, primary);
    Picture {
        title: format!("Lifeboat, PostgreSQL {}, {}", seen.version, clock(seen.now)),
        summary: summary(seen),
        panels: [panel(0), panel(1), panel(2)],
        lease: lease(&seen.look),
        rate: rate(seen),
        rates: seen.traffic.rates.clone(),
        silence: silence(seen),
        clients: clients(seen),
        events: events(seen),
        effects: seen.told.clone(),
        under_way: seen.under_way.as_ref().map(|(words, at)| {
            format!("{words} {} ago; its effect isn't known yet", seconds(seen.now.saturating_sub(*at)))
        }),
    }
}

/// `1:02:03`, `2:03`.
fn clock(span: Duration) -> String {
    let all = span.as_secs();
    let (hours, minutes, seconds) = (all / 3_600, all / 60 % 60, all % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

fn summary(seen: &Seen) -> (String, Tone) {
    let Some((_, written)) = seen.traffic.written else { return ("nobody has written yet".into(), Tone::Warning) };
    let silent = seen.now.saturating_sub(written);
    if silent > Duration::from_secs(1) {
        return (format!("NOBODY WRITES for {}", seconds(silent)), Tone::Bad);
    }
    // What was asked for lately enough.
    match seen.look.unwell(seen.now.saturating_sub(Duration::from_secs(3))) {
        None => ("all is well".into(), Tone::Good),
        Some(why) => (format!("writes go on; {why}"), Tone::Warning),
    }
}

fn panel(place: usize, seen: &Seen, primary: Option<usize>) -> Panel {
    let found = &seen.look.places[place];
    let (role, tone) = role(found);
    let mut rows = vec![vec![(role, tone)]];
    let status = found.status.as_ref();
    let age = status.filter(|_| found.is_silent).map(|(asked, _)| seen.now.saturating_sub(*asked));
    let quiet = if age.is_some() { Tone::Quiet } else { Tone::Plain };
    let row = |text: Option<String>| vec![(text.unwrap_or_default(), quiet)];
    rows.push(row(status.map(|(_, status)| leadership(status))));
    if place < DATABASES {
        let at = status.and_then(|(_, status)| status.position).map(|position| {
            let age = age.map_or(String::new(), |age| format!(", {} ago", seconds(age)));
            format!("at {:X}/{:X}{age}", position >> 32, position & 0xffff_ffff)
        });
        rows.push(row(at));
        rows.push(match age {
            Some(_) => row(Some("behind: not known".into())),
            None => vec![behind(place, &seen.look, primary)],
        });
        rows.push(vec![("server ".into(), Tone::Plain), life(found.server)]);
    } else {
        rows.push(row(Some("no database: it tells".into())));
        rows.push(row(Some("whom it sees, and keeps".into())));
        rows.push(row(Some("a third of the store".into())));
    }
    let store = if found.store == Life::Runs && !found.store_answers {
        ("alone".to_owned(), Tone::Bad)
    } else {
        life(found.store)
    };
    let labels = [("agent ".to_owned(), Tone::Plain), life(found.agent), ("  store ".to_owned(), Tone::Plain), store];
    rows.push(labels.into());
    let cut = seen.cuts[place].map_or(String::new(), |cut| format!(", {cut}"));
    Panel { name: format!("{}{cut}", NAMES[place]), holds_lease: primary == Some(place), tone, rows }
}

fn role(place: &Place) -> (String, Tone) {
    let Some((_, status)) = &place.status else { return ("NO ANSWER".into(), Tone::Bad) };
    let role = status.state.to_uppercase();
    if place.is_silent {
        return (format!("NO ANSWER, was {}", status.state), Tone::Bad);
    }
    match status.state.as_str() {
        "primary" => (format!("{role}: writes"), Tone::Good),
        "standby" => match &status.receives_from {
            Some(from) => (format!("{role} of {from}"), Tone::Good),
            None => (format!("{role} of nobody yet"), Tone::Warning),
        },
        "witness" => (role, Tone::Good),
        _ => (role, Tone::Warning),
    }
}

fn leadership(status: &Status) -> String {
    let epoch = status.lease.as_ref().map_or("no lease".to_owned(), |lease| format!("epoch {}", lease.epoch));
    status.timeline.map_or(epoch.clone(), |timeline| format!("{epoch}, timeline {timeline}"))
}

/// Of a standby how far it has replayed, of the primary what would be lost with it.
fn behind(place: usize, look: &Look, primary: Option<usize>) -> (String, Tone) {
    let position = |place: usize| look.places[place].status.as_ref()?.1.position;
    let Some((_, status)) = &look.places[place].status else { return (String::new(), Tone::Plain) };
    if primary == Some(place) {
        return match status.at_risk_bytes {
            Some(bytes) => (format!("at risk: {}", size(bytes)), Tone::Plain),
            None if status.state == "primary" => ("nobody could take over".into(), Tone::Warning),
            None => (String::new(), Tone::Plain),
        };
    }
    let (Some(leader), Some(own)) = (primary.and_then(position), status.replayed.or(status.position)) else {
        return ("behind: not known".into(), Tone::Plain);
    };
    let bytes = leader.saturating_sub(own);
    let age = if bytes == 0 { 0 } else { status.replay_age_milliseconds.unwrap_or_default() };
    (format!("behind {}, {:.1} s", size(bytes), Duration::from_millis(age).as_secs_f64()), Tone::Plain)
}

/// `0 B`, `12 kB`, `3.4 MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

fn life(life: Life) -> (String, Tone) {
    match life {
        Life::Runs => ("runs".into(), Tone::Good),
        Life::Halted => ("HANGS".into(), Tone::Bad),
        Life::Gone => ("GONE".into(), Tone::Bad),
    }
}

fn lease(look: &Look) -> Words {
    let healthy = look.places.iter().filter(|place| place.store_answers).count();
    let tone = match healthy {
        PLACES => Tone::Good,
        0 | 1 => Tone::Bad,
        _ => Tone::Warning,
    };
    let store = (format!("store {healthy} of {PLACES}"), tone);
    let Some(lease) = look.lease() else { return vec![("nobody has it; ".into(), Tone::Bad), store] };
    let holder = look.primary().and_then(|place| {
        let place = &look.places[place];
        place.status.as_ref().filter(|_| !place.is_silent)?.1.holds_for_milliseconds
    });
    let left = holder.map_or("".to_owned(), |left| format!(", {}.{} s left", left / 1_000, left / 100 % 10));
    let (waits, tone) = match lease.quorum.as_str() {
        "nobody" => ("commits wait for NOBODY".to_owned(), Tone::Warning),
        quorum => (format!("commits wait for {quorum}"), Tone::Plain),
    };
    let known = if look.places.iter().all(|place| place.is_silent) { "last known: " } else { "" };
    let state = if lease.state == "held" { String::new() } else { format!(", {}", lease.state) };
    let held = format!("{known}{}, epoch {}{state}{left}; ", lease.holder, lease.epoch);
    vec![(held, Tone::Plain), store, ("; ".into(), Tone::Plain), (waits, tone)]
}

fn rate(seen: &Seen) -> Words {
    let last = seen.traffic.rates.last().copied().unwrap_or_default();
    let tone = if last == 0 { Tone::Bad } else { Tone::Good };
    vec![(format!("{last}/s"), tone)]
}

fn silence(seen: &Seen) -> Words {
    let longest = seen.traffic.longest;
    let tone = if longest > Duration::from_secs(1) { Tone::Warning } else { Tone::Plain };
    let since = if seen.told.is_empty() && seen.under_way.is_none() { "so far" } else { "since the last step" };
    vec![
        ("longest without a write ".into(), Tone::Plain),
        (seconds(longest), tone),
        (format!(" {since}; {} acknowledged", seen.traffic.acknowledged), Tone::Plain),
    ]
}

fn clients(seen: &Seen) -> Words {
    let traffic = &seen.traffic;
    let by = |answer: Option<(usize, Duration)>| {
        let found = answer.filter(|(_, at)| seen.now.saturating_sub(*at) < Duration::from_secs(2));
        found
            .and_then(|(place, _)| NAMES.get(place))
            .map_or(("nobody".to_owned(), Tone::Bad), |name| ((*name).to_owned(), Tone::Plain))
    };
    let errors = match &traffic.last_error {
        None => "no errors".to_owned(),
        Some((at, why)) => {
            format!("{} errors, last {} ago: {why}", traffic.errors, seconds(seen.now.saturating_sub(*at)))
        }
    };
    vec![
        ("written by ".into(), Tone::Plain),
        by(traffic.written),
        (", read from ".into(), Tone::Plain),
        by(traffic.read),
        (format!("; {errors}"), Tone::Plain),
    ]
}

fn events(seen: &Seen) -> Vec<Happened> {
    use crate::look::journal::Kind;
    let step = seen.under_way.as_ref().map(|(_, at)| *at).or_else(|| seen.told.last().map(|told| told.at));
    let mut all: Vec<(Duration, Happened)> = Vec::new();
    for event in &seen.look.events {
        let tone = match event.kind {
            Kind::Detected => Tone::Bad,
            Kind::Decided | Kind::Promoted | Kind::Routed => Tone::Good,
            Kind::Candidate | Kind::Other => Tone::Plain,
        };
        let epoch = event.epoch.filter(|_| event.kind == Kind::Routed);
        let text = event.text.clone() + &epoch.map_or(String::new(), |epoch| format!(" (epoch {epoch})"));
        all.push((event.at, happened(event.at, step, &event.who, text, tone)));
    }
    // Where clients went on as they were, the first write after a step is no news.
    let is_led = |since| seen.look.events.iter().any(|event| event.kind == Kind::Routed && event.at >= since);
    let writer = seen.traffic.written.map(|(place, _)| place).filter(|_| step.is_some_and(is_led));
    if let Some((place, at)) = writer.and_then(|place| Some((place, (*seen.traffic.first.get(place)?)?))) {
        let text = format!("the first write, acknowledged by {}", NAMES[place]);
        all.push((at, happened(at, step, "clients", text, Tone::Good)));
    }
    if let Some((words, at)) = &seen.under_way {
        all.push((*at, happened(*at, step, "you", words.clone(), Tone::Warning)));
    }
    for told in &seen.told {
        all.push((told.at, happened(told.at, step, "you", told.done.clone(), Tone::Warning)));
    }
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, happened)| happened).collect()
}

fn happened(at: Duration, step: Option<Duration>, who: &str, text: String, tone: Tone) -> Happened {
    let after = step.and_then(|step| at.checked_sub(step));
    Happened {
        at: format!("{}.{}", clock(at), at.subsec_millis() / 100),
        after: after.map_or(String::new(), |after| format!("+{:.1}", after.as_secs_f64())),
        who: who.into(),
        text,
        tone,
    }
}

#[cfg(test)]
#[path = "picture/examples.rs"]
pub mod examples;

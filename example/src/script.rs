//! What can be done to the regions: the words of a script, the keys of the screen, and what each does.

use std::time::Duration;

/// The places, in the order of everything here. The third has an agent and a member of the lease store, and no database.
pub const NAMES: [&str; 3] = ["virginia", "ohio", "witness"];
pub const PLACES: usize = NAMES.len();
/// Those with a database.
pub const DATABASES: usize = 2;
pub const VIRGINIA: usize = 0;

/// One thing to do. Where a place can be named and none is, it happens to the primary's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    KillHost(Option<usize>),
    CutOff(Option<usize>),
    Heal(Option<usize>),
    OneWay(Option<usize>),
    HangServer(Option<usize>),
    HangAgent(Option<usize>),
    KillServer(Option<usize>),
    PauseHost(Option<usize>),
    StopStore,
    Switchover,
    Failback,
    Repair,
    /// Until the world is quiet, or for so long.
    Wait(Option<Duration>),
}

type Make = fn(Option<usize>) -> Step;

/// Words of a script, the key, what the menu says, and whether a place may follow.
pub const STEPS: [(&str, char, &str, bool, Make); 12] = [
    ("kill", 'k', "kill the primary's host", true, Step::KillHost),
    ("cut", 'c', "cut its region off", true, Step::CutOff),
    ("one-way", 'o', "it hears, isn't heard", true, Step::OneWay),
    ("heal", 'e', "heal every cut", true, Step::Heal),
    ("hang server", 'h', "hang PostgreSQL", true, Step::HangServer),
    ("hang agent", 'a', "hang the agent", true, Step::HangAgent),
    ("kill server", 's', "kill PostgreSQL only", true, Step::KillServer),
    ("pause", 'p', "pause the host 1 s", true, Step::PauseHost),
    ("stop store", 'l', "stop 2 of 3 stores", false, |_| Step::StopStore),
    ("switchover", 'w', "switchover", false, |_| Step::Switchover),
    ("failback", 'f', "failback to virginia", false, |_| Step::Failback),
    ("repair", 'r', "repair everything", false, |_| Step::Repair),
];

impl Step {
    /// What a key does. `1`, `2`, `3` cut the place of that number off.
    pub fn of_key(key: char) -> Option<Self> {
        if let Some(place) = key.to_digit(10).and_then(|number| (number as usize).checked_sub(1)) {
            return (place < PLACES).then_some(Self::CutOff(Some(place)));
        }
        STEPS.iter().find(|(_, known, ..)| *known == key).map(|(.., make)| make(None))
    }

    /// What is done, to whom it is done by then.
    pub fn words(self, primary: Option<usize>) -> String {
        let at = |place: Option<usize>| place.or(primary).map_or("nobody", |place| NAMES[place]);
        match self {
            Self::KillHost(place) => format!("{}'s host is killed", at(place)),
            Self::CutOff(place) => format!("{} is cut off", at(place)),
            Self::Heal(None) => "every cut is healed".into(),
            Self::Heal(place) => format!("{} is reached again", at(place)),
            Self::OneWay(place) => format!("{} hears and isn't heard", at(place)),
            Self::HangServer(place) => format!("PostgreSQL in {} hangs", at(place)),
            Self::HangAgent(place) => format!("the agent in {} hangs", at(place)),
            Self::KillServer(place) => format!("PostgreSQL in {} is killed", at(place)),
            Self::PauseHost(place) => format!("{} stands still for 1 s", at(place)),
            Self::StopStore => "the lease store is stopped in two regions".into(),
            Self::Switchover => format!("switchover away from {}", at(None)),
            Self::Failback => "failback to virginia".into(),
            Self::Repair => "everything is repaired".into(),
            Self::Wait(_) => "wait".into(),
        }
    }
}

/// Reads `kill; wait; repair; cut ohio`.
///
/// # Errors
/// A sentence that names what isn't known, and what is.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    text.split(';').map(str::trim).filter(|words| !words.is_empty()).map(one).collect()
}

fn one(words: &str) -> Result<Step, String> {
    let unknown = || {
        let known: Vec<&str> = STEPS.iter().map(|(words, ..)| *words).collect();
        format!("\"{words}\" is nothing that can be done; there are {}, wait (or wait 5s)", known.join(", "))
    };
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(rest) = words.strip_prefix("wait") {
        let span = Some(rest.trim()).filter(|rest| !rest.is_empty());
        return span.map(|span| duration(span).ok_or_else(unknown)).transpose().map(Step::Wait);
    }
    let (words, place) = match words.rsplit_once(' ') {
        Some((first, last)) if NAMES.contains(&last) => (first, NAMES.iter().position(|name| *name == last)),
        _ => (words.as_str(), None),
    };
    let found = STEPS.iter().find(|(known, ..)| *known == words).ok_or_else(unknown)?;
    let (known, _, _, takes_place, make) = found;
    match place {
        Some(_) if !takes_place => Err(format!("{known} takes no place")),
        Some(2) if known.ends_with("server") => Err("the witness has no database".into()),
        _ => Ok(make(place)),
    }
}

/// `30s`, `5m`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read() {
        let script = "kill; wait;repair ; cut ohio; hang  server; kill server virginia; wait 5s;";
        let steps = [
            Step::KillHost(None),
            Step::Wait(None),
            Step::Repair,
            Step::CutOff(Some(1)),
            Step::HangServer(None),
            Step::KillServer(Some(0)),
            Step::Wait(Some(Duration::from_secs(5))),
        ];
        assert_eq!(parse(script).as_deref(), Ok(&steps[..]));
        for wrong in ["explode", "kill paris", "repair ohio", "kill server witness", "wait long", "cut ohio virginia"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_key_does_one_thing() {
        let mut keys: Vec<char> = STEPS.iter().map(|(_, key, ..)| *key).collect();
        keys.extend(['q', '1', '2', '3']);
        keys.sort_unstable();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all);
        assert_eq!(Step::of_key('2'), Some(Step::CutOff(Some(1))));
        assert_eq!(Step::of_key('0').or(Step::of_key('4')).or(Step::of_key('q')), None);
    }
}

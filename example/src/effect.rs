//! What came of a step. Pure: from what was seen since to one sentence, or that it is too early to say.

use crate::ledger::Traffic;
use crate::look::{Look, journal::Kind};
use crate::script::{NAMES, PLACES, Step};
use std::time::Duration;

/// A step after which nobody took over for so long, and clients write, had no other effect: longer than a server's silence is borne.
const WATCHED_FOR: Duration = Duration::from_secs(8);
/// Nothing is waited for longer.
const WAITED_FOR: Duration = Duration::from_secs(60);
/// Clients write when the last one was acknowledged so lately.
const LATELY: Duration = Duration::from_secs(1);

/// A step that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doing {
    pub step: Step,
    pub at: Duration,
    /// Who held the lease before it, and its epoch.
    pub primary: Option<usize>,
    pub epoch: u64,
    /// When it was carried out; or why it couldn't be.
    pub done: Option<Result<Duration, String>>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    TookOver { who: usize, epoch: u64, detected: Option<Duration>, first_write: Duration },
    WentOn { who: usize, epoch: Option<u64>, longest: Duration, unwell: Option<String> },
    Repaired { primary: usize, after: Duration },
    NobodyWrites { lasts: Duration, unwell: Option<String> },
    NotDone(String),
}

/// `None`: wait.
pub fn judge(doing: &Doing, now: Duration, look: &Look, traffic: &Traffic) -> Option<Outcome> {
    let since = match doing.done.as_ref()? {
        Ok(at) => *at,
        Err(why) => return Some(Outcome::NotDone(why.clone())),
    };
    let spent = now.saturating_sub(since);
    let writer = traffic.written.filter(|(_, at)| now.saturating_sub(*at) < LATELY).map(|(who, _)| who);
    let writer = writer.filter(|who| *who < PLACES && traffic.first[*who].is_some());
    let unwell = look.unwell(since);
    let restores = matches!(doing.step, Step::Repair | Step::Heal(_));
    if let Some(primary) = writer.filter(|_| restores && unwell.is_none()) {
        return Some(Outcome::Repaired { primary, after: now.saturating_sub(doing.at) });
    }
    if spent > WAITED_FOR || restores && spent > WAITED_FOR / 2 && writer.is_some() {
        return Some(match writer {
            Some(who) => went_on(doing, who, look, traffic, unwell),
            None => Outcome::NobodyWrites { lasts: traffic.longest, unwell },
        });
    }
    if restores {
        return None;
    }
    let epoch = look.lease().map_or(0, |lease| lease.epoch);
    let other = writer.filter(|who| Some(*who) != doing.primary && look.primary() == Some(*who));
    if let Some(who) = other.filter(|_| epoch > doing.epoch) {
        let first_write = traffic.first[who]?.saturating_sub(doing.at);
        return Some(Outcome::TookOver { who, epoch, detected: detected(doing, look), first_write });
    }
    let quiet = spent > WATCHED_FOR && !look.is_changing();
    writer.filter(|_| quiet).map(|who| went_on(doing, who, look, traffic, None))
}

fn went_on(doing: &Doing, who: usize, look: &Look, traffic: &Traffic, unwell: Option<String>) -> Outcome {
    let epoch = look.lease().map(|lease| lease.epoch).filter(|epoch| *epoch > doing.epoch);
    Outcome::WentOn { who, epoch, longest: traffic.longest, unwell }
}

/// Nobody has to find out about what was ordered.
fn detected(doing: &Doing, look: &Look) -> Option<Duration> {
    if matches!(doing.step, Step::Switchover | Step::Failback) {
        return None;
    }
    let detects = |kind| matches!(kind, Kind::Detected | Kind::Candidate);
    let first = look.events.iter().find(|event| event.at >= doing.at && detects(event.kind));
    first.map(|event| event.at.saturating_sub(doing.at))
}

impl Outcome {
    /// The sentence, with what was found of the acknowledged writes.
    pub fn words(&self, lost: &Result<usize, String>) -> String {
        let lost = match lost {
            Ok(1) => "1 acknowledged write LOST".to_owned(),
            Ok(0) => "0 acknowledged writes lost".to_owned(),
            Ok(count) => format!("{count} acknowledged writes LOST"),
            Err(why) => format!("writes not looked for: {why}"),
        };
        let but = |unwell: &Option<String>| unwell.as_ref().map_or(String::new(), |why| format!(", but {why}"));
        match self {
            Self::TookOver { who, epoch, detected, first_write } => {
                let detected = detected.map_or(String::new(), |span| format!("detected after {}, ", seconds(span)));
                let first = seconds(*first_write);
                format!("{} took over: {detected}first write after {first}, epoch {epoch}, {lost}", NAMES[*who])
            }
            Self::WentOn { who, epoch, longest, unwell } => {
                let epoch = epoch.map_or(String::new(), |epoch| format!("epoch {epoch}, "));
                let longest = seconds(*longest);
                format!("{} went on: {epoch}at most {longest} without a write, {lost}{}", NAMES[*who], but(unwell))
            }
            Self::Repaired { primary, after } => {
                format!("all is well after {}: {} writes, and is followed; {lost}", seconds(*after), NAMES[*primary])
            }
            Self::NobodyWrites { lasts, unwell } => {
                let why = unwell.as_ref().map_or(String::new(), |why| format!(": {why}"));
                format!("NOBODY WRITES for {}{why}", seconds(*lasts))
            }
            Self::NotDone(why) => format!("not done: {why}"),
        }
    }

    /// Where the rows are to be looked for.
    pub fn writer(&self) -> Option<usize> {
        match self {
            Self::TookOver { who, .. } | Self::WentOn { who, .. } => Some(*who),
            Self::Repaired { primary, .. } => Some(*primary),
            Self::NobodyWrites { .. } | Self::NotDone(_) => None,
        }
    }
}

/// `1.1 s`, of small spans `0.02 s`.
pub fn seconds(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    if seconds < 0.1 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::examples;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn doing(step: Step) -> Doing {
        Doing { step, at: at(70_000), primary: Some(0), epoch: 3, done: Some(Ok(at(70_100))) }
    }

    fn told(doing: &Doing, now: Duration, look: &Look, traffic: &Traffic) -> Option<String> {
        judge(doing, now, look, traffic).map(|outcome| outcome.words(&Ok(0)))
    }

    #[test]
    fn who_took_over_is_told_with_times_from_the_step_on() {
        let seen = examples::after_a_takeover();
        let (now, kill) = (seen.now, doing(Step::KillHost(None)));
        let words =
            "ohio took over: detected after 0.6 s, first write after 1.1 s, epoch 4, 0 acknowledged writes lost";
        assert_eq!(told(&kill, now, &seen.look, &seen.traffic).as_deref(), Some(words));
        let ordered = told(&doing(Step::Switchover), now, &seen.look, &seen.traffic);
        assert!(!ordered.expect("it is over").contains("detected"), "nobody has to find out");
        // The old primary's writes, and an epoch that isn't newer, are no takeover.
        let mut traffic = seen.traffic.clone();
        (traffic.written, traffic.first) = (Some((0, now)), [Some(at(70_050)), None, None]);
        assert_eq!(told(&kill, at(72_000), &seen.look, &traffic), None);
        let same = Doing { epoch: 4, ..kill.clone() };
        assert_eq!(told(&same, at(72_000), &seen.look, &seen.traffic), None);
        assert_eq!(
            told(&Doing { done: None, ..kill }, now, &seen.look, &seen.traffic),
            None,
            "it isn't carried out yet"
        );
    }

    #[test]
    fn a_step_without_a_takeover_is_watched_for_a_while() {
        let mut seen = examples::after_a_takeover();
        let pause = Doing { primary: Some(1), epoch: 4, ..doing(Step::PauseHost(None)) };
        seen.traffic.written = Some((1, at(74_900)));
        assert_eq!(told(&pause, at(75_000), &seen.look, &seen.traffic), None, "too early to say");
        seen.traffic.written = Some((1, at(78_900)));
        let words = told(&pause, at(79_000), &seen.look, &seen.traffic);
        assert_eq!(words.as_deref(), Some("ohio went on: at most 1.1 s without a write, 0 acknowledged writes lost"));
        seen.traffic.written = Some((1, at(71_000)));
        assert_eq!(told(&pause, at(79_000), &seen.look, &seen.traffic), None, "nobody writes");
        let words = told(&pause, at(131_000), &seen.look, &seen.traffic).expect("nothing is waited for longer");
        assert!(words.starts_with("NOBODY WRITES"), "{words}");
    }

    #[test]
    fn a_repair_is_over_when_all_is_well() {
        let mut seen = examples::after_a_takeover();
        let repair = doing(Step::Repair);
        let words = told(&repair, seen.now, &seen.look, &seen.traffic).expect("it is over");
        assert!(words.starts_with("all is well after 13.4 s: ohio writes"), "{words}");
        seen.look.places[0].is_silent = true;
        assert_eq!(told(&repair, seen.now, &seen.look, &seen.traffic), None);
        seen.traffic.written = Some((1, at(105_000)));
        let words = told(&repair, at(105_100), &seen.look, &seen.traffic).expect("long enough");
        assert!(words.ends_with("but virginia's agent doesn't answer"), "{words}");
    }

    #[test]
    fn what_was_lost_is_told_loudly() {
        let outcome = Outcome::WentOn { who: 0, epoch: None, longest: at(50), unwell: None };
        assert!(outcome.words(&Ok(1)).contains("1 acknowledged write LOST"));
        assert!(outcome.words(&Ok(2)).contains("2 acknowledged writes LOST"));
        assert!(outcome.words(&Err("it is silent".into())).contains("not looked for: it is silent"));
        assert_eq!(Outcome::NotDone("why".into()).words(&Ok(0)), "not done: why");
    }
}

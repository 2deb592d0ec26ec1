//! What happened for real, and what it says about the next time: how long a recovery takes, and how long it is between two.
//!
//! An incident is told of in steps (it was opened, something more is known, it is over), and each step is kept; here the steps become one
//! value each, and the values become figures. What nobody knows is `None`: it is never counted as nought.
//!
//! Not here: keeping the steps, asking the clock.

use crate::model::Disruption;
use crate::run::{Run, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One mean of one value is that value, and says nothing about the next.
const COUNT_MIN: usize = 2;
/// A span shorter than a day says nothing about a year.
const OBSERVED_SECONDS_MIN: f64 = 24.0 * 3600.0;

/// A step, as it was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Something happened.
    Opened(Opened),
    /// Something more is known, or was done.
    Noted {
        /// The id of the step that opened it.
        incident: String,
        /// In one sentence.
        what: String,
        /// It began then, after all.
        began_at: Option<Timestamp>,
        /// It was noticed then.
        detected_at: Option<Timestamp>,
    },
    /// It is over.
    Closed {
        /// The id of the step that opened it.
        incident: String,
        /// What it was, in one sentence.
        what: Option<String>,
        /// When the application worked again.
        recovered_at: Timestamp,
        /// Acknowledged writes that are lost. None: nobody knows.
        writes_lost: Option<u64>,
    },
}

/// What is known at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// In one sentence.
    pub what: String,
    /// Names of processes of the plan that stand still.
    pub processes: Vec<String>,
    /// The protection group.
    pub group: Option<String>,
    /// Names of workloads.
    pub workloads: Vec<String>,
    /// Which kind.
    pub disruption: Option<Disruption>,
    /// When it began, as far as was known.
    pub began_at: Timestamp,
    /// When somebody or something noticed.
    pub detected_at: Option<Timestamp>,
}

/// Something that happened, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// Of the step that opened it.
    pub id: String,
    /// What was known at the beginning; times as they are known now.
    #[serde(flatten)]
    pub opened: Opened,
    /// When the application worked again. None: it doesn't yet.
    pub recovered_at: Option<Timestamp>,
    /// Acknowledged writes that are lost. None: nobody knows.
    pub writes_lost: Option<u64>,
    /// What else was told, with the time when it was.
    pub notes: Vec<(Timestamp, String)>,
}

impl Incident {
    /// From its beginning until the application worked again.
    pub fn outage_seconds(&self) -> Option<f64> {
        Some(seconds_between(self.opened.began_at, self.recovered_at?))
    }
}

/// Why a step can't be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// Nobody opened it.
    Unknown(String),
    /// It was over before.
    Over(String),
    /// It would end or be noticed before it began.
    Before {
        /// What would be.
        what: &'static str,
        /// When it began.
        began_at: Timestamp,
    },
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(id) => write!(f, "no incident is {id}"),
            Self::Over(id) => write!(f, "incident {id} is over already"),
            Self::Before { what, began_at } => write!(f, "{what} before it began, at {began_at}"),
        }
    }
}

impl std::error::Error for StepError {}

/// What happened, from the steps in their order: the id of each, when it was told, and what.
///
/// Steps that can't be believed are left out, and given back with the reason.
pub fn fold(steps: impl IntoIterator<Item = (String, Timestamp, Event)>) -> (Vec<Incident>, Vec<(String, StepError)>) {
    let (mut incidents, mut refused) = (Vec::new(), Vec::new());
    for (id, at, event) in steps {
        if let Err(error) = take(&mut incidents, &id, at, event) {
            refused.push((id, error));
        }
    }
    (incidents, refused)
}

/// Adds a step to what is known; asks nothing but whether it can be.
pub fn take(incidents: &mut Vec<Incident>, id: &str, at: Timestamp, event: Event) -> Result<(), StepError> {
    match event {
        Event::Opened(opened) => {
            in_order(opened.began_at, opened.detected_at, "it would be noticed")?;
            let id = id.to_owned();
            incidents.push(Incident { id, opened, recovered_at: None, writes_lost: None, notes: Vec::new() });
        }
        Event::Noted { incident, what, began_at, detected_at } => {
            let found = find(incidents, &incident)?;
            let began_at = began_at.unwrap_or(found.opened.began_at);
            let detected_at = detected_at.or(found.opened.detected_at);
            in_order(began_at, detected_at, "it would be noticed")?;
            in_order(began_at, found.recovered_at, "it would be over")?;
            (found.opened.began_at, found.opened.detected_at) = (began_at, detected_at);
            found.notes.push((at, what));
        }
        Event::Closed { incident, what, recovered_at, writes_lost } => {
            let found = find(incidents, &incident)?;
            if found.recovered_at.is_some() {
                return Err(StepError::Over(incident));
            }
            in_order(found.opened.began_at, Some(recovered_at), "it would be over")?;
            (found.recovered_at, found.writes_lost) = (Some(recovered_at), writes_lost);
            found.notes.extend(what.map(|what| (at, what)));
        }
    }
    Ok(())
}

fn find<'a>(incidents: &'a mut [Incident], id: &str) -> Result<&'a mut Incident, StepError> {
    incidents.iter_mut().find(|incident| incident.id == id).ok_or_else(|| StepError::Unknown(id.to_owned()))
}

fn in_order(began_at: Timestamp, then: Option<Timestamp>, what: &'static str) -> Result<(), StepError> {
    then.is_none_or(|then| then >= began_at).then_some(()).ok_or(StepError::Before { what, began_at })
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// What incidents and drills say. Seconds; `None`: too few to say.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Figures {
    /// Incidents that began in the span.
    pub incidents: usize,
    /// Those of them that are not over.
    pub open: usize,
    /// Mean time to restoration: from the beginning of an incident, detection included, until the application worked again; over those
    /// that are over (ISO/TR 12489:2013, "mean time to restoration"; the R of ITIL's MTRS).
    pub mttr_seconds: Option<f64>,
    /// The longest of them: a mean hides it.
    pub longest_seconds: Option<f64>,
    /// Mean time to detection: a part of the former; over those of which it is known.
    pub mttd_seconds: Option<f64>,
    /// Mean operating time between failures: the time in the span during which nothing was down, for each incident in it
    /// (IEC 60050-191, "mean operating time between failures": the expected operating time between successive failures).
    pub mtbf_seconds: Option<f64>,
    /// The part of the span during which nothing was down, 0 to 1. None: less than a day was observed.
    pub availability: Option<f64>,
    /// Acknowledged writes that are known to be lost.
    pub writes_lost: u64,
    /// Incidents that are over and of which nobody knows how many writes are lost.
    pub writes_lost_unknown: usize,
    /// Drills that passed and measured a recovery.
    pub drills: usize,
    /// The mean of what they took from the fault to the first right answer. Apart from `mttr_seconds`: a drill is expected, and nobody has to
    /// notice it.
    pub mttr_in_drills_seconds: Option<f64>,
}

/// Figures of a span: from when incidents were kept, or the beginning of a report, until now or its end.
pub fn figures(incidents: &[Incident], runs: &[Run], since: Timestamp, until: Timestamp) -> Figures {
    let within: Vec<&Incident> =
        incidents.iter().filter(|incident| (since..=until).contains(&incident.opened.began_at)).collect();
    let outages: Vec<f64> = within.iter().filter_map(|incident| incident.outage_seconds()).collect();
    let detections = within
        .iter()
        .filter_map(|incident| Some(seconds_between(incident.opened.began_at, incident.opened.detected_at?)));
    let observed = seconds_between(since, until).max(0.0);
    let operating = observed - down_seconds(incidents, since, until);
    let passed = |run: &&Run| run.verdict == Verdict::Passed && (since..=until).contains(&run.started_at);
    let recoveries: Vec<f64> =
        runs.iter().filter(passed).filter_map(|run| run.measured.fault_to_healthy_seconds).collect();
    let closed = within.iter().filter(|incident| incident.recovered_at.is_some());
    Figures {
        incidents: within.len(),
        open: within.len() - outages.len(),
        longest_seconds: outages.iter().copied().reduce(f64::max),
        mttr_seconds: mean(&outages),
        mttd_seconds: mean(&detections.collect::<Vec<_>>()),
        mtbf_seconds: (within.len() >= COUNT_MIN).then(|| operating / within.len() as f64),
        availability: (observed >= OBSERVED_SECONDS_MIN).then(|| operating / observed),
        writes_lost: within.iter().filter_map(|incident| incident.writes_lost).sum(),
        writes_lost_unknown: closed.filter(|incident| incident.writes_lost.is_none()).count(),
        drills: recoveries.len(),
        mttr_in_drills_seconds: mean(&recoveries),
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (values.len() >= COUNT_MIN).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// How long something was down in a span. Incidents at the same time count once; one that is not over lasts until the end.
fn down_seconds(incidents: &[Incident], since: Timestamp, until: Timestamp) -> f64 {
    let mut spans: Vec<(Timestamp, Timestamp)> = incidents
        .iter()
        .map(|incident| (incident.opened.began_at.max(since), incident.recovered_at.unwrap_or(until).min(until)))
        .filter(|(from, to)| from < to)
        .collect();
    spans.sort();
    let (mut down, mut counted) = (0.0, since);
    for (from, to) in spans {
        let from = from.max(counted);
        if from < to {
            down += seconds_between(from, to);
            counted = to;
        }
    }
    down
}

#[cfg(test)]
mod tests;

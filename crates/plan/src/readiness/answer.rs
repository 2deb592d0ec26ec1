//! What a check is, and what it answers. The one place where a figure is compared with its threshold.

use super::Observed;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The server that is protected.
    Postgres,
    /// What is stored.
    Repository,
    /// Where it is stored.
    Location,
    /// Standbys, clusters and where clients go.
    Failover,
    /// Plan, people, rehearsals, evidence.
    Governance,
}

impl Group {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 5] = [Self::Postgres, Self::Repository, Self::Location, Self::Failover, Self::Governance];

    /// As it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Repository => "repository",
            Self::Location => "location",
            Self::Failover => "failover",
            Self::Governance => "governance",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a check counts for in the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// Would the promise be kept?
    Objective,
    /// Was it tried?
    Test,
    /// Would somebody notice?
    Monitoring,
    /// Would people know what to do, and be able to?
    Procedure,
}

impl Aspect {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 4] = [Self::Objective, Self::Test, Self::Monitoring, Self::Procedure];

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Objective => "objective",
            Self::Test => "test",
            Self::Monitoring => "monitoring",
            Self::Procedure => "procedure",
        }
    }
}

/// What it means when a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A recovery may fail, or break its promise.
    Critical,
    /// It would be harder than it should be.
    Warning,
}

/// How a figure is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparator {
    /// The figure may not be larger than the threshold.
    AtMost,
    /// Nor smaller.
    AtLeast,
}

impl Comparator {
    /// Whether the figure keeps to the threshold. What is no number doesn't.
    pub fn holds(self, measured: f64, threshold: f64) -> bool {
        match self {
            Self::AtMost => measured <= threshold,
            Self::AtLeast => measured >= threshold,
        }
    }

    /// As it is written between the two.
    pub fn sign(self) -> &'static str {
        match self {
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ready,
    /// Not so.
    NotReady,
    /// It couldn't be seen. That is no better.
    Unknown,
    /// There is nothing that it could be asked of.
    Skipped,
}

impl Status {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }
}

/// What was asked, and a hash of what was answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Evidence {
    /// As somebody could ask it again: a query, a command, an object's name.
    pub asked: String,
    /// Of the raw answer, in hexadecimal. None: nothing answered.
    pub answer_hash: Option<String>,
}

/// Something that was looked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen<T> {
    /// It was seen.
    Known(T, Evidence),
    /// It was asked for and not seen, and why.
    Unknown {
        /// One sentence.
        why: String,
        /// What was asked.
        asked: String,
    },
    /// There is no such thing here, and why.
    Absent {
        /// One sentence.
        why: String,
    },
}

impl<T> Seen<T> {
    /// It couldn't be seen.
    pub fn unknown(why: impl Into<String>, asked: impl Into<String>) -> Self {
        Self::Unknown { why: why.into(), asked: asked.into() }
    }

    /// There is none.
    pub fn absent(why: impl Into<String>) -> Self {
        Self::Absent { why: why.into() }
    }

    /// What was seen.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value, _) => Some(value),
            Self::Unknown { .. } | Self::Absent { .. } => None,
        }
    }

    /// What was seen, to be changed.
    pub fn known_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Known(value, _) => Some(value),
            Self::Unknown { .. } | Self::Absent { .. } => None,
        }
    }

    /// An opinion about it.
    pub fn read(&self, target: impl Into<String>, judge: impl FnOnce(&T) -> Opinion) -> Reading {
        let (opinion, evidence) = match self {
            Self::Known(value, evidence) => (judge(value), evidence.clone()),
            Self::Unknown { why, asked } => {
                (Opinion::Unknown(why.clone()), Evidence { asked: asked.clone(), answer_hash: None })
            }
            Self::Absent { why } => (Opinion::Skip(why.clone()), Evidence::default()),
        };
        Reading { target: target.into(), opinion, evidence }
    }
}

/// What one check thinks of one target.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// A workload, a location, both, a cluster, a group, a drill; `all` for what there is one of.
    pub target: String,
    /// See there.
    pub opinion: Opinion,
    /// What it rests on.
    pub evidence: Evidence,
}

/// What is thought.
#[derive(Debug, Clone, PartialEq)]
pub enum Opinion {
    /// There is a figure.
    Figure(Figure),
    /// What was seen doesn't tell.
    Unknown(String),
    /// There is nothing to ask.
    Skip(String),
}

/// A figure beside its threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// None: it never happened, which no threshold allows.
    pub measured: Option<f64>,
    /// In the check's unit.
    pub threshold: f64,
    /// Where the threshold comes from: `RPO of tier gold`.
    pub basis: String,
    /// What was seen, in one sentence.
    pub why: String,
    /// What to do about it, where that is something else than the check's own advice.
    pub advice: Option<String>,
    /// It is no more than a warning this time.
    pub is_warning: bool,
}

impl Figure {
    /// One that is there.
    pub fn of(measured: f64, threshold: f64, basis: impl Into<String>, why: impl Into<String>) -> Opinion {
        Opinion::Figure(Self::plain(Some(measured), threshold, basis.into(), why.into()))
    }

    /// It never happened.
    pub fn never(threshold: f64, basis: impl Into<String>, why: impl Into<String>) -> Opinion {
        Opinion::Figure(Self::plain(None, threshold, basis.into(), why.into()))
    }

    /// So many things are wrong, where none may be.
    pub fn none_of(wrong: &[String], fine: impl Into<String>) -> Opinion {
        let why = if wrong.is_empty() { fine.into() } else { wrong.join("; ") };
        Self::of(wrong.len() as f64, 0.0, "always", why)
    }

    fn plain(measured: Option<f64>, threshold: f64, basis: String, why: String) -> Self {
        Self { measured, threshold, basis, why, advice: None, is_warning: false }
    }
}

impl Opinion {
    /// The same, with something else to do about it.
    pub fn with_advice(mut self, advice: impl Into<String>) -> Self {
        if let Self::Figure(figure) = &mut self {
            figure.advice = Some(advice.into());
        }
        self
    }

    /// The same, as no more than a warning.
    pub fn as_warning(mut self) -> Self {
        if let Self::Figure(figure) = &mut self {
            figure.is_warning = true;
        }
        self
    }
}

/// One line of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// As it is typed and remembered. Never change one.
    pub id: &'static str,
    /// What it is about.
    pub group: Group,
    /// What it counts for.
    pub aspect: Aspect,
    /// What its failure means.
    pub severity: Severity,
    /// What should hold, as a sentence without a full stop.
    pub title: &'static str,
    /// `seconds`, `bytes`, `days`, `ratio`, `count`.
    pub unit: &'static str,
    /// How it is compared.
    pub comparator: Comparator,
    /// Where its threshold comes from, in words, with the default.
    pub threshold: &'static str,
    /// What to do when it fails, or couldn't be seen.
    pub advice: &'static str,
    /// The clauses that ask for it.
    pub standards: &'static [&'static str],
    /// Reads what was observed; one reading for each target.
    pub judge: fn(&Observed) -> Vec<Reading>,
}

/// What a check found of one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The check.
    pub id: &'static str,
    /// See [`Check::group`].
    pub group: Group,
    /// See [`Check::aspect`].
    pub aspect: Aspect,
    /// What it means, this time.
    pub severity: Severity,
    /// See [`Check::title`].
    pub title: &'static str,
    /// Of what.
    pub target: String,
    /// See there.
    pub status: Status,
    /// When this status began, as far as it is remembered; see [`super::Memory`].
    pub since: Option<Timestamp>,
    /// None: it was not seen, or never happened.
    pub measured: Option<f64>,
    /// See [`Check::unit`].
    pub unit: &'static str,
    /// None: there is nothing to compare.
    pub threshold: Option<f64>,
    /// Where the threshold comes from.
    pub threshold_of: Option<String>,
    /// See there.
    pub comparator: Comparator,
    /// What was seen, or why nothing was.
    pub why: String,
    /// What to do. None: nothing.
    pub advice: Option<String>,
    /// What it rests on.
    pub evidence: Evidence,
    /// The clauses that ask for it.
    pub standards: &'static [&'static str],
}

impl Check {
    /// Compares.
    pub fn answer(&self, reading: Reading) -> Answer {
        let Reading { target, opinion, evidence } = reading;
        let plain = |status, why: String, advice: Option<String>| Answer {
            id: self.id,
            group: self.group,
            aspect: self.aspect,
            severity: self.severity,
            title: self.title,
            target,
            status,
            since: None,
            measured: None,
            unit: self.unit,
            threshold: None,
            threshold_of: None,
            comparator: self.comparator,
            why,
            advice,
            evidence,
            standards: self.standards,
        };
        match opinion {
            Opinion::Unknown(why) => plain(Status::Unknown, why, Some(self.advice.to_owned())),
            Opinion::Skip(why) => plain(Status::Skipped, why, None),
            Opinion::Figure(figure) => {
                let holds = figure.measured.is_some_and(|measured| self.comparator.holds(measured, figure.threshold));
                let (status, advice) = match holds {
                    true => (Status::Ready, None),
                    false => (Status::NotReady, Some(figure.advice.unwrap_or_else(|| self.advice.to_owned()))),
                };
                let answer = plain(status, figure.why, advice);
                let severity = if figure.is_warning { Severity::Warning } else { self.severity };
                let threshold = Some(figure.threshold);
                Answer { severity, measured: figure.measured, threshold, threshold_of: Some(figure.basis), ..answer }
            }
        }
    }
}

//! What a route is: something outside that has to name the primary.

use super::{Endpoint, RouteTable};
use async_trait::async_trait;
use lifeboat_failover::Epoch;
use serde::{Deserialize, Serialize};

/// What became of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The target names the table's primary now, and didn't before.
    Changed,
    /// It did already.
    Already,
    /// The table names no primary: the target is left as it is.
    Nothing,
}

/// Why a target doesn't name the primary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Somebody has applied a newer epoch. It is us who are late: trying again would be wrong.
    #[error("{target} is at epoch {theirs} already, and this is {ours}")]
    Superseded { target: String, ours: Epoch, theirs: Epoch },
    /// It doesn't answer, or answers that it can't, or others change it too fast. Try again.
    #[error("{target} isn't reached: {why}")]
    Unavailable { target: String, why: String },
    /// Our right, or our settings, are wrong, or what is there isn't ours. Trying again helps when somebody has changed that.
    #[error("{target} refuses us: {why}")]
    Refused { target: String, why: String },
}

/// Something outside that has to name the primary.
///
/// Promise of each: what is there is replaced only if it is of a lower epoch, or of the same; looking and replacing are one step there, or nothing
/// is replaced if somebody else was between.
#[async_trait]
pub trait RouteTarget: Send + Sync + std::fmt::Debug {
    /// For people, without secrets, unique among the routes of a cluster.
    fn name(&self) -> String;

    /// Makes it name the primary of `table`.
    async fn apply(&self, table: &RouteTable) -> Result<Applied, RouteError>;
}

/// What is written where a target can keep a text: readable, and enough to compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub epoch: Epoch,
    #[serde(flatten)]
    pub primary: Endpoint,
}

/// A mark has a name, a host and some numbers.
const MARK_BYTES_MAX: usize = 2048;

impl Mark {
    /// Of the table's primary, if it has one.
    pub fn of(table: &RouteTable) -> Option<Self> {
        Some(Self { epoch: table.epoch, primary: table.primary.clone()? })
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a mark holds texts and numbers")
    }

    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MARK_BYTES_MAX { None } else { serde_json::from_slice(bytes).ok() }
    }

    /// `epoch=7 primary=ohio host=10.0.0.1 port=5432`: for records that people read.
    pub fn to_line(&self) -> String {
        let Endpoint { name, host, port } = &self.primary;
        format!("epoch={} primary={name} host={host} port={port}", self.epoch)
    }

    /// The epoch of a line.
    pub fn epoch_of_line(line: &str) -> Option<Epoch> {
        let number = line.split(' ').next()?.strip_prefix("epoch=")?;
        number.parse().ok().map(Epoch)
    }
}

/// Who is late, and to what.
pub(crate) fn superseded(target: &str, ours: Epoch, theirs: Epoch) -> RouteError {
    RouteError::Superseded { target: target.to_owned(), ours, theirs }
}

pub(crate) fn unavailable(target: &str, why: impl Into<String>) -> RouteError {
    RouteError::Unavailable { target: target.to_owned(), why: why.into() }
}

pub(crate) fn refused(target: &str, why: impl Into<String>) -> RouteError {
    RouteError::Refused { target: target.to_owned(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back() {
        let primary = Endpoint { name: "ohio".into(), host: "10.0.0.1".into(), port: 5432 };
        let mark = Mark { epoch: Epoch(7), primary };
        assert_eq!(mark.to_json(), r#"{"epoch":7,"name":"ohio","host":"10.0.0.1","port":5432}"#);
        assert_eq!(Mark::from_json(mark.to_json().as_bytes()), Some(mark.clone()));
        assert_eq!(mark.to_line(), "epoch=7 primary=ohio host=10.0.0.1 port=5432");
        assert_eq!(Mark::epoch_of_line(&mark.to_line()), Some(Epoch(7)));
        for line in ["", "epoch=", "epoch=x", "primary=ohio epoch=7", "epoch=-1", "v=spf1 -all"] {
            assert_eq!(Mark::epoch_of_line(line), None, "{line}");
        }
        assert_eq!(Mark::from_json(&[b' '; MARK_BYTES_MAX + 1]), None);
    }
}

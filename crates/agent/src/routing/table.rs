//! Where clients go, as one agent knows it: the answer of `GET /v1/route`, as JSON that a person can read.
//!
//! Promise: what is decoded is bounded, and its numbers can be reckoned with. Not here: whom to believe ([`super::Merge`]).

use lifeboat_failover::{Epoch, MemberName};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A table is some hundred bytes for each standby; what is larger isn't one.
pub const TABLE_BYTES_MAX: usize = 256 * 1024;

/// Far more than a primary sends its log to.
const STANDBYS_MAX: usize = 1000;
/// What DNS allows for a name; names of members are no longer.
const NAME_BYTES_MAX: usize = 255;
/// A leadership a second for a million years.
const EPOCH_MAX: u64 = 1 << 45;

/// Where clients go, as the agent of `by` knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub cluster: String,
    /// Whose agent says this. The primary's own knows best whether it takes clients.
    pub by: MemberName,
    pub epoch: Epoch,
    /// Grows with every change within one agent's life: for long polls.
    pub version: u64,
    /// `None`: nowhere at present; new connections are held.
    pub primary: Option<Endpoint>,
    #[serde(default)]
    pub standbys: Vec<StandbyEndpoint>,
}

/// A database that can be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub name: MemberName,
    /// A name or an address, as clients reach it.
    pub host: String,
    pub port: u16,
}

/// A standby, and how far it is behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyEndpoint {
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// What the primary has and it hasn't replayed.
    pub lag_bytes: u64,
    /// How old what it shows is.
    #[serde(rename = "lag_milliseconds", with = "milliseconds")]
    pub lag: Duration,
    /// It receives from the primary of this epoch now.
    pub streaming: bool,
}

mod milliseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Why bytes aren't a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("{bytes} bytes are too many for a route table")]
    TooLarge { bytes: usize },
    #[error("it is not a route table")]
    NotATable(#[from] serde_json::Error),
    #[error("{what} of the route table is beyond all reason")]
    Absurd { what: &'static str },
}

impl RouteTable {
    /// Of a cluster of which nothing is known yet: epoch nought, nowhere.
    pub fn nowhere(cluster: &str, by: MemberName) -> Self {
        Self { cluster: cluster.to_owned(), by, epoch: Epoch(0), version: 0, primary: None, standbys: Vec::new() }
    }

    /// # Errors
    /// When it is something else, or has what no agent would say.
    pub fn decode(bytes: &[u8]) -> Result<Self, TableError> {
        if bytes.len() > TABLE_BYTES_MAX {
            return Err(TableError::TooLarge { bytes: bytes.len() });
        }
        let table: Self = serde_json::from_slice(bytes)?;
        match table.absurdity() {
            None => Ok(table),
            Some(what) => Err(TableError::Absurd { what }),
        }
    }

    /// # Panics
    /// Never: a table has nothing that JSON can't say.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a table holds texts, numbers and lists")
    }

    fn absurdity(&self) -> Option<&'static str> {
        let endpoints = || self.primary.iter().chain(self.standbys.iter().map(|standby| &standby.endpoint));
        let is_name = |text: &str| {
            !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(|c| c.is_control() || c == ' ')
        };
        if self.epoch.0 > EPOCH_MAX {
            Some("the epoch")
        } else if self.standbys.len() > STANDBYS_MAX {
            Some("the number of standbys")
        } else if !endpoints().all(|endpoint| is_name(&endpoint.host)) {
            Some("a host")
        } else if !endpoints().all(|endpoint| is_name(endpoint.name.as_str())) || !is_name(self.by.as_str()) {
            Some("the name of a member")
        } else if self.cluster.len() > NAME_BYTES_MAX {
            Some("the name of the cluster")
        } else if endpoints().any(|endpoint| endpoint.port == 0) {
            Some("a port")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RouteTable {
        let endpoint = |name: &str, port| Endpoint { name: name.into(), host: "10.0.0.1".into(), port };
        let standby = StandbyEndpoint {
            endpoint: endpoint("ohio", 5433),
            lag_bytes: 4096,
            lag: Duration::from_millis(120),
            streaming: true,
        };
        RouteTable {
            cluster: "shop".into(),
            by: "virginia".into(),
            epoch: Epoch(7),
            version: 12,
            primary: Some(endpoint("virginia", 5432)),
            standbys: vec![standby],
        }
    }

    #[test]
    fn it_reads_as_a_person_would_write_it_and_comes_back() {
        let bytes = table().encode();
        let text = r#"{"cluster":"shop","by":"virginia","epoch":7,"version":12,"primary":{"name":"virginia","host":"10.0.0.1","port":5432},"standbys":[{"name":"ohio","host":"10.0.0.1","port":5433,"lag_bytes":4096,"lag_milliseconds":120,"streaming":true}]}"#;
        assert_eq!(String::from_utf8_lossy(&bytes), text);
        assert_eq!(RouteTable::decode(&bytes).expect("a table"), table());
    }

    #[test]
    fn what_no_agent_would_say_is_refused() {
        let mut huge = table();
        huge.epoch = Epoch(u64::MAX);
        let mut crowded = table();
        crowded.standbys = vec![crowded.standbys[0].clone(); STANDBYS_MAX + 1];
        let mut blank = table();
        blank.primary.as_mut().expect("set above").host = "10.0.0.1\nSet-Cookie: x".into();
        let mut portless = table();
        portless.standbys[0].endpoint.port = 0;
        for (table, expected) in [(huge, "epoch"), (crowded, "number of standbys"), (blank, "host"), (portless, "port")]
        {
            let error = RouteTable::decode(&table.encode()).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        for bytes in [&b""[..], b"{}", b"[1]", b"\xff", &[b' '; TABLE_BYTES_MAX + 1]] {
            RouteTable::decode(bytes).expect_err("no table");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_table_or_an_error(bytes: Vec<u8>) {
            let _ = RouteTable::decode(&bytes);
        }
    }
}

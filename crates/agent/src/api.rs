//! What an agent answers: messages of other agents, commands of operators, and questions about itself.
//!
//! | path | who | what |
//! |---|---|---|
//! | `POST /v1/message` | agents | one message of a member |
//! | `POST /v1/command` | operators | a command; answered when it has ended |
//! | `GET /v1/status` | operators | all that is known here |
//! | `GET /v1/route?after=N` | proxies | where clients go; waits for a change |
//! | `GET /metrics` | Prometheus | figures |
//! | `GET /primary`, `/replica?lag=BYTES`, `/health` | load balancers | 200 or 503, without a token |
//!
//! All but the last line want the cluster's token. Beyond the machine it is TLS always.

mod health;
mod metrics;
mod serve;
mod status;

pub use serve::{ServeError, Shown, serve};
pub use status::{LeaseView, MemberView, Status, view};

use lifeboat_failover::{Command, MemberName, Message};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub(crate) const MESSAGE_PATH: &str = "/v1/message";
/// A message is some hundred bytes; a history of ten thousand promotions is the longest.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A message with who says it. That the sender belongs to the cluster is proven by the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub cluster: String,
    /// Of the sender's database; a witness has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system_id: Option<String>,
    pub from: MemberName,
    pub to: MemberName,
    /// The sender's time of day, in seconds of Unix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock: Option<i64>,
    pub message: Message,
}

/// Why bytes aren't a message.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    #[error("{bytes} bytes are too many for a message")]
    TooLarge { bytes: usize },
    #[error("it is not a message")]
    NotAMessage(#[from] serde_json::Error),
}

/// # Errors
/// When it is something else.
pub fn decode(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(EnvelopeError::TooLarge { bytes: bytes.len() });
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// What an operator asks, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Asked {
    Bootstrap,
    Switchover {
        #[serde(default)]
        to: Option<MemberName>,
    },
    Failover {
        #[serde(default)]
        force: bool,
    },
    Pause,
    Resume,
    Maintenance {
        on: bool,
    },
    /// What keeps it from following is tried again at once; `anew`: its data is made anew, whatever it is.
    Rejoin {
        #[serde(default)]
        anew: bool,
    },
}

/// To whoever asked: what was done, or why it wasn't.
pub type Answer = oneshot::Sender<Result<String, String>>;

impl Asked {
    /// For the agent: most is the member's to decide.
    fn with(self, answer: Answer) -> Incoming {
        let command = match self {
            Self::Rejoin { anew } => return Incoming::Rejoin { anew, answer },
            Self::Bootstrap => Command::Bootstrap,
            Self::Switchover { to } => Command::Switchover { to },
            Self::Failover { force } => Command::Failover { force },
            Self::Pause => Command::Pause,
            Self::Resume => Command::Resume,
            Self::Maintenance { on } => Command::Maintenance { on },
        };
        Incoming::Command { command, answer }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub done: bool,
    pub text: String,
}

/// What the server passes on to the agent.
#[derive(Debug)]
pub enum Incoming {
    /// `clock_seconds`: by so much the sender's time of day is ahead of ours.
    Message {
        from: MemberName,
        message: Message,
        clock_seconds: Option<i64>,
    },
    Command {
        command: Command,
        answer: Answer,
    },
    Rejoin {
        anew: bool,
        answer: Answer,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn what_is_too_large_is_not_looked_at() {
        assert!(matches!(decode(&vec![b' '; MESSAGE_BYTES_MAX + 1]), Err(EnvelopeError::TooLarge { .. })));
    }
}

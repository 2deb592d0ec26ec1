//! How a command fails: an exit code, one sentence with its causes, and the next thing to type.
//!
//! The exit codes are for ever: scripts know them. This is the one place that has them.

use crate::config::{LoadError, Problems, SecretError};
use serde_json::{Value, json};
use std::fmt;
use std::io::Write;

/// What kind of failure it is, for whoever reads the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// A defect of Lifeboat.
    Internal,
    /// The command or the configuration is wrong.
    Usage,
    /// No such workload, point or location; a target outside every window.
    NotFound,
    /// A check was carried out and said no.
    CheckFailed,
    /// Could not be done now: no network, a busy server, no space. Try again.
    Unavailable,
    /// Data is not what it was when it was written.
    Corrupt,
    /// Somebody else may, we may not: fenced, locked, access denied.
    Locked,
}

impl FailureKind {
    /// The exit code. Never change one.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::CheckFailed => 4,
            Self::Unavailable => 5,
            Self::Corrupt => 6,
            Self::Locked => 7,
        }
    }

    /// The kind that this exit code tells of. None for success, and for what is none of ours.
    pub fn of_exit_code(code: u8) -> Option<Self> {
        let all = [
            Self::Internal,
            Self::Usage,
            Self::NotFound,
            Self::CheckFailed,
            Self::Unavailable,
            Self::Corrupt,
            Self::Locked,
        ];
        all.into_iter().find(|kind| kind.exit_code() == code)
    }

    /// The word in the error document. Never change one.
    pub fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::CheckFailed => "check_failed",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Locked => "locked",
        }
    }
}

/// Why a command didn't do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// One lowercase sentence that names the thing.
    pub message: String,
    /// Why, from the outermost to the innermost.
    pub causes: Vec<String>,
    /// Where several things are wrong: each on a line of its own.
    pub details: Vec<String>,
    /// The next thing to type.
    pub hint: Option<String>,
    /// The command's own document is on stdout already: with `--json` there is one, and this is told on stderr.
    pub documented: bool,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), details: Vec::new(), hint: None, documented: false }
    }

    /// An error of a room, with its chain of causes.
    pub fn from_error(kind: FailureKind, error: &dyn std::error::Error) -> Self {
        Self::new(kind, error.to_string()).caused_by(error)
    }

    /// Adds the causes of an error, without the error itself.
    fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = error.source();
        while let Some(cause) = next {
            let said = cause.to_string();
            // Some libraries repeat their cause in their own words.
            if !self.causes.iter().chain([&self.message]).any(|before| before.contains(&said)) {
                self.causes.push(said);
            }
            next = cause.source();
        }
        self
    }

    /// Says what was being done: the former message becomes the first cause.
    pub fn while_doing(mut self, what: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.message, what.into());
        self.causes.insert(0, inner);
        self
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// One more thing to know, after the hint that is there.
    pub fn with_more_hint(mut self, hint: impl Into<String>) -> Self {
        let more = hint.into();
        self.hint = Some(self.hint.map_or_else(|| more.clone(), |hint| format!("{hint}; {more}")));
        self
    }

    /// For a command that has printed its result, of which this is the verdict.
    pub fn after_its_document(mut self) -> Self {
        self.documented = true;
        self
    }

    /// The message with its causes, without the hint: to be quoted in another.
    pub fn sentence(&self) -> String {
        self.causes.iter().fold(self.message.clone(), |sentence, cause| format!("{sentence}: {cause}"))
    }

    /// What a script gets on stdout with `--json`.
    pub fn document(&self) -> Value {
        let mut error = json!({
            "code": self.kind.exit_code(),
            "kind": self.kind.word(),
            "message": self.message,
            "causes": self.causes,
            "hint": self.hint,
        });
        if !self.details.is_empty() {
            error["details"] = json!(self.details);
        }
        json!({ "error": error })
    }

    /// Tells it: a document on stdout when the caller asked for JSON, else sentences on stderr.
    /// A reader that has gone away is no reason to fail differently.
    pub fn tell(&self, as_json: bool) {
        let _ = if as_json && !self.documented {
            writeln!(std::io::stdout().lock(), "{:#}", self.document())
        } else {
            writeln!(std::io::stderr().lock(), "{self}")
        };
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl From<Problems> for Failure {
    fn from(Problems(problems): Problems) -> Self {
        if let [only] = &problems[..] {
            return Self::new(FailureKind::Usage, only.to_string());
        }
        let file = problems.first().map_or("the configuration", |problem| &problem.file);
        let mut failure = Self::new(FailureKind::Usage, format!("{} problems in {file}", problems.len()));
        failure.details = problems.iter().map(ToString::to_string).collect();
        failure
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Problems(problems) => problems.into(),
            LoadError::Read { .. } => Self::from_error(FailureKind::Usage, &error)
                .with_hint("name a file that this user can read: --config FILE, or LIFEBOAT_CONFIG"),
            LoadError::Nowhere => Self::from_error(FailureKind::Usage, &error)
                .with_hint("name it with `--config FILE` or LIFEBOAT_CONFIG; the README has one to start from"),
            other => Self::from_error(FailureKind::Usage, &other),
        }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        let hint = match &error {
            SecretError::File { .. } => {
                "write the secret into the file, readable by the user that runs lifeboat and nobody else"
            }
            SecretError::NotSet(_) => {
                "set it where lifeboat runs (a service has its own environment), or use { file = \"PATH\" }"
            }
            SecretError::Start { .. } | SecretError::Command { .. } => {
                "run the command by hand, as the user that runs lifeboat"
            }
            SecretError::Empty(_) | SecretError::TooLarge(_) | SecretError::NotText(_) => {
                "a secret is one line of text; look whether this is the right place"
            }
        };
        Self::from_error(FailureKind::Usage, &error).with_hint(hint)
    }
}

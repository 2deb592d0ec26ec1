//! What people and scripts see. Results on stdout, everything else on stderr; with `--json` one document on stdout.

pub mod human;
pub mod progress;
pub mod shell;
pub mod table;

use crate::cli::Color;
use crate::failure::{Failure, FailureKind};
use std::collections::BTreeSet;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Where output goes, and how.
#[derive(Debug, Clone)]
pub struct Output {
    json: bool,
    quiet: bool,
    colored: bool,
    /// Warnings that were told, where each is told once.
    told: Option<Arc<Mutex<BTreeSet<String>>>>,
}

/// What a word means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Warning,
    Bad,
    Faint,
}

impl Output {
    pub fn new(json: bool, quiet: bool, color: Color) -> Self {
        Self { json, quiet, colored: !json && color.wants(std::io::stdout().is_terminal()), told: None }
    }

    /// For parts of a work that are much alike: none tells how far it is, and what several warn of is told once.
    pub fn for_parts(&self) -> Self {
        Self { quiet: true, told: Some(Arc::default()), ..self.clone() }
    }

    /// Whether the command prints a document instead of text.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether hints and progress are unwanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The result as a document. Call it once.
    pub fn document(&self, value: &serde_json::Value) -> Result<(), Failure> {
        to_stdout(format!("{value:#}\n").as_bytes())
    }

    /// A result as text; nothing with `--json`.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { to_stdout(format!("{text}\n").as_bytes()) }
    }

    /// Raw bytes, such as a manual page, whatever was asked for.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        to_stdout(bytes)
    }

    /// A remark on stderr: what to type next. Not when quiet.
    pub fn hint(&self, text: &str) {
        if !self.quiet {
            // Nobody can be told that stderr is gone.
            let _ = writeln!(std::io::stderr().lock(), "hint: {text}");
        }
    }

    /// A line of a story on stderr; nothing when quiet.
    pub fn tell(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// A warning on stderr, also when quiet.
    pub fn warn(&self, text: &str) {
        let told = self.told.as_ref().map(|told| told.lock().unwrap_or_else(PoisonError::into_inner));
        if told.is_some_and(|mut told| !told.insert(text.to_owned())) {
            return;
        }
        let _ = writeln!(std::io::stderr().lock(), "warning: {text}");
    }

    /// A word in its tone, where colors are wanted.
    pub fn paint(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "1;31",
            Tone::Faint => "2",
        };
        if self.colored { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Whether this machine's settings say that its terminals know more than ASCII. Nothing said: they do today.
pub fn is_unicode_wanted() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let charset = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    charset.is_none_or(|name| {
        let name = name.to_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    })
}

/// A reader that went away (`lifeboat points | head`) has what it wanted: that is a success.
fn to_stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::from_error(FailureKind::Unavailable, &error).while_doing("write to standard output"))
        }
        _ => Ok(()),
    }
}

//! What happened, in order, with times: a line of JSON for each thing, in the state directory, and to whoever listens.

use lifeboat_failover::{Epoch, Note};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Its name in a member's own directory.
pub(crate) const FILE: &str = "journal.jsonl";

/// A journal longer than this is put aside, once.
const BYTES_MAX: u64 = 16 << 20;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// By this machine's clock, for people; nothing is decided by it.
    pub at_milliseconds: u64,
    pub member: String,
    pub what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    pub text: String,
}

/// See the module.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    member: String,
}

impl Journal {
    /// Opens the journal of a member, or begins it.
    pub fn open(directory: &Path, member: &str) -> io::Result<Self> {
        let path = directory.join(FILE);
        Ok(Self { file: open(&path)?, path, member: member.to_owned() })
    }

    /// Writes one line. A journal that can't be written stops nothing: the disk may be what is wrong.
    pub fn write(&mut self, what: &'static str, epoch: Option<Epoch>, text: String) -> Entry {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_milliseconds = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let entry = Entry { at_milliseconds, member: self.member.clone(), what, epoch, text };
        let written = serde_json::to_vec(&entry).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)?;
            if self.file.metadata()?.len() > BYTES_MAX {
                std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
                self.file = open(&self.path)?;
            }
            Ok(())
        });
        if let Err(error) = written {
            tracing::warn!(%error, "the journal can't be written");
        }
        entry
    }

    /// What the member notes, in words.
    pub fn note(&mut self, note: &Note) -> Entry {
        let (what, epoch, text) = words(note);
        self.write(what, epoch, text)
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

fn words(note: &Note) -> (&'static str, Option<Epoch>, String) {
    match note {
        Note::Entered { from, to, why } => ("state", None, format!("{from} → {to}: {why}")),
        Note::Suspected { primary, epoch } => ("suspected", Some(*epoch), format!("{primary} isn't seen any more")),
        Note::Took { epoch } => ("lease taken", Some(*epoch), "the lease is ours".into()),
        Note::Replaced { by, epoch } => ("replaced", Some(*epoch), format!("{by} has taken over")),
        Note::LeaseEnds { epoch } => {
            ("lease ends", Some(*epoch), "the lease couldn't be renewed: the database is stopped".into())
        }
        Note::SafeMode { epoch } => {
            ("safe mode", Some(*epoch), "the lease store is away, and every member has agreed to wait".into())
        }
        Note::StoreAnswers { epoch } => ("over", Some(*epoch), "safe mode: the lease store answers again".into()),
        Note::StoreWentBack { had } => (
            "store went back",
            Some(*had),
            "the lease store has forgotten what it said before: it is not believed".into(),
        ),
        Note::ForeignLease => (
            "foreign lease",
            None,
            "what lies in the lease store belongs to another cluster or to other data, or is no lease".into(),
        ),
        Note::WouldLose { bytes } => {
            ("would lose", None, format!("taking over would lose {bytes} bytes of log, more than is allowed"))
        }
        Note::Diverged { position } => (
            "diverged",
            None,
            format!(
                "this database has writes that are not the primary's, up to {}",
                lifeboat_postgres::Lsn(position.offset)
            ),
        ),
        Note::Maintenance { on: true } => (
            "maintenance",
            None,
            "somebody works at this member: it takes over from nobody, and what stops stays stopped".into(),
        ),
        Note::Maintenance { on: false } => ("maintenance", None, "this member is at work again".into()),
        Note::QuorumChanged { quorum } => {
            let voters: Vec<_> = quorum.voters.iter().map(ToString::to_string).collect();
            ("quorum", None, format!("commits wait for {} of {}", quorum.needed, voters.join(", ")))
        }
        Note::WrongLineage { position } => (
            "wrong lineage",
            None,
            format!("the promotion came out on timeline {}, which wasn't reserved", position.lineage.0),
        ),
    }
}

//! Asking whoever serves a mount how it goes, and telling it to end, through the mount itself.
//!
//! There is one file at the top that is listed nowhere and lies nowhere. Who reads it gets a text; who writes a [`Command`] to it
//! wants something. It belongs to the owner of the directory and is there exactly as long as somebody serves it: no process number that another
//! process may have meanwhile, no socket that is left behind.

use crate::root::PRIVATE_DIRECTORY;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What whoever serves a mount can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// To leave an ordinary directory as soon as everything is here.
    Finish,
    /// To end now.
    End,
}

impl Command {
    /// As it is written.
    fn words(self) -> &'static [u8] {
        match self {
            Self::Finish => b"finish\n",
            Self::End => b"end\n",
        }
    }

    /// What was written. None for what is no command.
    pub(crate) fn of(words: &[u8]) -> Option<Self> {
        [Self::Finish, Self::End].into_iter().find(|command| command.words() == words)
    }
}

/// Answers for a mount.
pub trait Control: Send + Sync {
    /// How it goes, for whoever asks.
    fn status(&self) -> Vec<u8>;

    /// Somebody wants something. Returns at once.
    fn told(&self, command: Command);
}

/// A mount that nobody can ask.
#[derive(Debug)]
pub struct Silent;

impl Control for Silent {
    fn status(&self) -> Vec<u8> {
        Vec::new()
    }

    fn told(&self, _command: Command) {}
}

/// Where one asks, below a mounted directory.
fn place(mounted: &Path) -> PathBuf {
    mounted.join(PRIVATE_DIRECTORY)
}

/// What the mount at `mounted` says of itself. An error where nothing of ours is mounted.
pub fn status_of(mounted: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(place(mounted))?.read_to_end(&mut text)?;
    Ok(text)
}

/// Tells the mount at `mounted`. Returns when it was told, not when it is done.
pub fn send(mounted: &Path, command: Command) -> io::Result<()> {
    File::options().write(true).open(place(mounted))?.write_all(command.words())
}

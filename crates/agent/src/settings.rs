//! One agent: which member it is, whom it talks to, and what proves that.

use crate::database::{Address, DatabaseSettings, slot_name};
use lifeboat_failover::{MemberName, Settings, SettingsError};
use lifeboat_postgres::SystemId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A shared word that proves that one belongs to the cluster. Not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is it, in a time that doesn't tell how much of it is right.
    pub fn is(&self, given: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), given.as_bytes());
        let differs = ours.iter().enumerate().fold(ours.len() ^ theirs.len(), |differs, (place, byte)| {
            differs | usize::from(byte ^ theirs.get(place).copied().unwrap_or(0))
        });
        differs == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What encrypts and proves: PEM.
#[derive(Clone)]
pub struct Tls {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    /// Who signed the members' certificates.
    pub authority: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Where a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its agent: `http://` or `https://`, host and port.
    pub agent: String,
    /// Its database; a witness has none.
    pub database: Option<Address>,
    pub region: Option<String>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    pub failover: Settings,
    pub places: BTreeMap<MemberName, Place>,
    /// `None`: a witness.
    pub database: Option<DatabaseSettings>,
    /// Of our data directory.
    pub system_id: Option<SystemId>,
    pub listen: SocketAddr,
    pub token: Token,
    pub tls: Option<Tls>,
    /// Where promises are written down: durable, this member's own.
    pub state_dir: PathBuf,
    /// The program that ends the database when we don't: with its arguments, to which the file of the deadline and the data directory are added.
    pub dead_man: Option<Vec<std::ffi::OsString>>,
    /// The device that resets the machine when that program hangs too.
    pub watchdog: Option<PathBuf>,
}

/// Why an agent can't be what it is told to be.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    #[error(transparent)]
    Failover(#[from] SettingsError),
    #[error("{0} listens for other machines without TLS: give it a certificate, or an address of this machine alone")]
    OpenWithoutTls(SocketAddr),
    #[error("the token has only {0} letters: 16 at least")]
    WeakToken(usize),
    #[error("{0} and {1} would share a replication slot: their names differ too little")]
    SameSlot(MemberName, MemberName),
    #[error("{0} and {1} have the same address {2}")]
    SameAddress(MemberName, MemberName, String),
}

/// The shortest token.
const TOKEN_LETTERS_MIN: usize = 16;

impl AgentSettings {
    /// # Errors
    /// The first thing that can't work, or isn't safe.
    pub fn check(&self) -> Result<(), InvalidSettings> {
        self.failover.check()?;
        if !self.listen.ip().is_loopback() && self.tls.is_none() {
            return Err(InvalidSettings::OpenWithoutTls(self.listen));
        }
        let letters = self.token.reveal().chars().count();
        if letters < TOKEN_LETTERS_MIN {
            return Err(InvalidSettings::WeakToken(letters));
        }
        let mut slots = BTreeMap::new();
        let mut agents = BTreeMap::new();
        for (name, place) in &self.places {
            if let Some(other) = slots.insert(slot_name(name), name.clone()) {
                return Err(InvalidSettings::SameSlot(other, name.clone()));
            }
            let addresses: BTreeSet<String> =
                place.database.iter().map(ToString::to_string).chain([place.agent.clone()]).collect();
            for address in addresses {
                if let Some(other) = agents.insert(address.clone(), name.clone()) {
                    return Err(InvalidSettings::SameAddress(other, name.clone(), address));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_right() {
        let token = Token::new("sixteen letters!".into());
        assert!(token.is("sixteen letters!"));
        for wrong in ["", "sixteen letters", "sixteen letters!!", "Sixteen letters!"] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert!(!format!("{token:?}").contains("sixteen"));
    }
}

//! Evidence: what was done and measured is kept in the ledger of every location, and read from there.
//!
//! The room `ledger` signs, chains and verifies; here it meets the configuration: which locations, which key, and what this machine
//! remembers of what it saw.

mod seen;

use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::rooms;
use jiff::Timestamp;
use lifeboat_ledger::{Error, Gathered, Place, PublicKey, Shelf, Signed, SigningKey, Written};
use lifeboat_plan::run::Run;
use lifeboat_repository::Repository;
pub use seen::Seen;
use serde_json::Value;
use std::path::PathBuf;

/// The kind of entries that hold a [`Run`].
pub const DRILL: &str = "drill";

/// An entry of the ledger whose signature and place in the chain were verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its name in the chain.
    pub hash: String,
    pub sequence: u64,
    pub at: Timestamp,
    /// `drill`, `incident`, `page` (a person was called and answered), `ready`, `learnt` (a finding was closed), ...
    pub kind: String,
    pub body: Value,
    /// Where it is.
    pub locations: Vec<String>,
}

impl Kept {
    pub fn new(signed: &Signed, locations: Vec<String>) -> Self {
        let entry = &signed.entry;
        Self {
            hash: signed.hash.to_string(),
            sequence: entry.sequence,
            at: entry.at,
            kind: entry.kind.clone(),
            body: entry.body.clone(),
            locations,
        }
    }
}

/// The ledger of a configuration.
#[derive(Debug)]
pub struct Book {
    /// The locations that answered.
    pub places: Vec<Place>,
    /// Those that didn't, and why.
    pub away: Vec<(String, String)>,
    pub key: SigningKey,
    shelf: Shelf,
    /// What this machine saw there.
    pub seen: Seen,
}

impl Book {
    /// Opens the repository in all locations: its key signs.
    pub async fn open(config: &Config, output: &Output) -> Result<Self, Failure> {
        let repository = rooms::open_attached(config, &rooms::all_locations(config), output).await?;
        Self::of(config, &repository)
    }

    fn of(config: &Config, repository: &Repository) -> Result<Self, Failure> {
        let key = SigningKey::from_seed(&*repository.signing_seed()?)?;
        let replicas = repository.replicas().iter();
        let places = replicas.map(|replica| Place { name: replica.name.clone(), location: replica.location.clone() });
        Ok(Self {
            places: places.collect(),
            away: repository.unavailable().to_vec(),
            shelf: Shelf::in_directory(directory(config, key.public())?.join("entries")),
            seen: Self::seen(config, key.public())?,
            key,
        })
    }

    /// What this machine saw of the ledger with this key.
    pub fn seen(config: &Config, key: &PublicKey) -> Result<Seen, Failure> {
        let addresses = config.locations.iter().map(|(name, location)| (name.clone(), location.url.to_string()));
        Ok(Seen::read(directory(config, key)?.join("seen.json"), addresses.collect()))
    }

    /// Every entry that any location has whole. What isn't is warned of.
    pub async fn gather(&self, output: &Output) -> Result<Gathered, Failure> {
        let gathered = lifeboat_ledger::gather(&self.places, self.key.public(), &self.shelf).await?;
        for (object, flaw) in &gathered.flawed {
            output.warn(&format!(
                "{object} is left out ({}): {}; `lifeboat ledger verify` tells more",
                flaw.kind, flaw.why
            ));
        }
        for (place, why) in &gathered.away {
            output.warn(&format!("the ledger of location {place} is not read: {why}"));
        }
        for (place, name) in self.seen.missing(&gathered.names) {
            output.warn(&format!(
                "{name} is gone from the ledger of location {place}; `lifeboat ledger verify` tells more"
            ));
        }
        Ok(gathered)
    }

    /// Signs and appends an entry.
    pub async fn keep(&mut self, kind: &str, body: Value, output: &Output) -> Result<Kept, Failure> {
        let written = Written {
            kind: kind.to_owned(),
            body,
            at: Timestamp::now(),
            host: rooms::host_name(),
            software: format!("lifeboat {}", env!("CARGO_PKG_VERSION")),
        };
        let appended = lifeboat_ledger::append(&self.places, &self.key, &self.shelf, written).await?;
        for (place, why) in &appended.away {
            output.warn(&format!("location {place} has no copy of this evidence yet: {why}; the next entry brings it"));
        }
        self.seen.appended(&appended);
        Ok(Kept::new(&appended.signed, appended.kept))
    }

    /// Brings every location what others have.
    pub async fn catch_up(&self) -> Result<(Vec<lifeboat_ledger::Caught>, Vec<(String, String)>), Failure> {
        Ok(lifeboat_ledger::catch_up(&self.places, &self.key, &self.shelf).await?)
    }
}

/// Where this machine keeps what it saw and read of one ledger.
fn directory(config: &Config, key: &PublicKey) -> Result<PathBuf, Failure> {
    Ok(rooms::state_dir(config)?.join("ledger").join(key.id().as_str()))
}

/// Signs and appends an entry in every location that answers; an error only when none took it.
pub async fn keep(config: &Config, kind: &str, body: Value, output: &Output) -> Result<Kept, Failure> {
    Book::open(config, output).await?.keep(kind, body, output).await
}

/// Every entry of these kinds (all when empty) that any location has, oldest first. What doesn't verify is warned of and left out.
pub async fn read(config: &Config, kinds: &[&str], output: &Output) -> Result<Vec<Kept>, Failure> {
    let gathered = Book::open(config, output).await?.gather(output).await?;
    let wanted = gathered.in_order().into_iter();
    let wanted = wanted.filter(|signed| kinds.is_empty() || kinds.contains(&signed.entry.kind.as_str()));
    Ok(wanted.map(|signed| Kept::new(signed, gathered.holders(&signed.name()))).collect())
}

/// The runs among them: records whose verdict doesn't follow from the rest are warned of and left out.
pub async fn runs(config: &Config, output: &Output) -> Result<Vec<(Kept, Run)>, Failure> {
    let mut runs = Vec::new();
    for kept in read(config, &[DRILL], output).await? {
        match run_of(&kept.body) {
            Ok(run) => runs.push((kept, run)),
            Err(why) => output.warn(&format!("entry {} of the ledger is left out: {why}", kept.hash)),
        }
    }
    Ok(runs)
}

/// The run that a body holds.
///
/// # Errors
/// Why it can't be believed.
pub fn run_of(body: &Value) -> Result<Run, String> {
    let run: Run =
        serde_json::from_value(body.clone()).map_err(|error| format!("it is no record of a drill: {error}"))?;
    if run.is_consistent() {
        return Ok(run);
    }
    let (verdict, reasons) = run.entailed();
    let told = reasons.first().map(|reason| format!(": {reason}")).unwrap_or_default();
    Err(format!("it says {:?}, and its own record leads to {verdict:?}{told}", run.verdict))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (kind, reasons) = match &error {
            Error::Invalid(_) => (FailureKind::Usage, &[][..]),
            Error::NotKept { failures } | Error::NobodyThere { failures } => (FailureKind::Unavailable, &failures[..]),
            Error::Internal(_) => (FailureKind::Internal, &[][..]),
        };
        let mut failure = Self::from_error(kind, &error);
        failure.details = reasons.iter().map(|(place, why)| format!("{place}: {why}")).collect();
        match kind {
            FailureKind::Unavailable => failure.with_hint("`lifeboat check` says what is wrong with each location"),
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_plan::run::{Measured, Promised, Verdict};

    fn run(verdict: Verdict) -> Run {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        Run {
            id: "1".into(),
            scenario: "restore".into(),
            scenario_hash: String::new(),
            drill: None,
            disruption: None,
            workloads: Vec::new(),
            group: None,
            requested_by: "root".into(),
            approved_by: None,
            participants: Vec::new(),
            started_at: at,
            ended_at: at,
            promised: Promised { tier: None, rto_seconds: None, rpo_seconds: None },
            configuration_hash: String::new(),
            versions: Default::default(),
            host: "db1".into(),
            point: None,
            location: None,
            isolation: Vec::new(),
            steps: Vec::new(),
            measured: Measured::default(),
            alert_seen: None,
            aborted: None,
            refused: Some("not isolated".into()),
            verdict,
            learnt: Vec::new(),
            does_not_show: Vec::new(),
        }
    }

    #[test]
    fn a_record_that_contradicts_its_verdict_is_not_believed() {
        let honest = serde_json::to_value(run(Verdict::Refused)).unwrap();
        assert_eq!(run_of(&honest).unwrap(), run(Verdict::Refused));
        let flattering = serde_json::to_value(run(Verdict::Passed)).unwrap();
        let why = run_of(&flattering).unwrap_err();
        assert!(why.contains("Passed") && why.contains("Refused: not isolated"), "{why}");
        assert!(run_of(&serde_json::json!({})).is_err());
    }
}

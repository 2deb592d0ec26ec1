//! The archive of a cluster whose primary changes: every member archives into one location, moments are noted along the way, and at the end they come
//! back with exactly the rows that there were.

use crate::checks::{Rows, told};
use crate::copies;
use crate::history::{Operation, Outcome};
use crate::random::Random;
use anyhow::{Context, Result, bail, ensure};
use lifeboat_components::{Account, TestCluster};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A moment of the cluster's life.
#[derive(Debug, Clone)]
pub struct Note {
    pub about: String,
    /// As the primary of then says: its clock, and a position that a successor has too.
    pub time: String,
    pub position: String,
    pub timeline: u32,
    /// Between these it was taken, by the clients' clock.
    pub between: (Duration, Duration),
    /// All rows, when nobody wrote.
    pub exactly: Option<Rows>,
}

impl Note {
    /// What is wrong with these rows for this moment.
    pub fn differs(&self, history: &[Operation], rows: &Rows) -> Option<String> {
        if let Some(exactly) = &self.exactly {
            let (missing, more) = (exactly.difference(rows).count(), rows.difference(exactly).count());
            return (missing + more > 0).then(|| format!("{missing} rows are missing, and {more} are too many"));
        }
        let missing = history.iter().filter(|operation| {
            operation.is_ok() && operation.ended < self.between.0 && !rows.contains(&operation.row())
        });
        let missing = told("acknowledged before and not there", missing.map(|found| format!("{found:?}")).collect());
        let might = |operation: &&Operation| {
            operation.asked <= self.between.1 && !matches!(operation.outcome, Outcome::Refused { .. })
        };
        let might: Rows = history.iter().filter(might).map(Operation::row).collect();
        let early = rows.difference(&might).map(|row| format!("{row:?}")).collect();
        let found: Vec<String> = missing.into_iter().chain(told("there too early", early)).collect();
        (!found.is_empty()).then(|| found.join("\n"))
    }
}

/// See the module.
pub struct Archive {
    directory: PathBuf,
    program: PathBuf,
    account: Option<Account>,
    pub notes: Vec<Note>,
}

impl Archive {
    /// Below `scratch`; `program` gets a name there that the servers' account can reach.
    pub fn new(scratch: &Path, program: &Path) -> Result<Self> {
        let directory = scratch.join("archive");
        let account = Account::for_servers()?;
        fs::create_dir_all(&directory).context("make a directory")?;
        let archive = Self { program: directory.join("lifeboat"), directory, account, notes: Vec::new() };
        fs::hard_link(program, &archive.program).or_else(|_| fs::copy(program, &archive.program).map(drop))?;
        archive.write("passphrase", "correct horse battery staple\n")?;
        archive.give(&archive.directory)?;
        Ok(archive)
    }

    fn give(&self, path: &Path) -> Result<()> {
        match self.account {
            Some(account) => chown(path, Some(account.uid), Some(account.gid)).context("give a file away"),
            None => Ok(()),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        self.give(&path)
    }

    /// The configuration of one member's workload: the same location for all, a state of its own.
    pub fn configure(&self, member: &str, data_dir: &Path, socket: &Path) -> Result<()> {
        let (here, data_dir, socket) = (self.directory.display(), data_dir.display(), socket.display());
        let text = format!(
            "state_dir = \"{here}/{member}-state\"\n[location.vault]\nurl = \"file://{here}/vault\"\n\
             [encryption]\npassphrase = {{ file = \"{here}/passphrase\" }}\n\
             [workload.shop]\nkind = \"postgres\"\ndata_dir = \"{data_dir}\"\n\
             connection = \"host={socket} user=postgres dbname=postgres\"\n"
        );
        self.write(&format!("{member}.toml"), &text)
    }

    /// What the server of `member` archives with.
    pub fn command_of(&self, member: &str) -> String {
        format!("{} --config {}/{member}.toml wal push %p", self.program.display(), self.directory.display())
    }

    /// Runs the program for the workload as `member` has it, to a good end. Gives what it said.
    pub fn lifeboat(&self, member: &str, arguments: &[&str]) -> Result<String> {
        let mut command: Command = Account::command(self.account, &self.program);
        command.arg("--config").arg(self.directory.join(format!("{member}.toml"))).args(arguments);
        let output = command.stdin(Stdio::null()).output().context("run lifeboat")?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "lifeboat {arguments:?}: {said}");
        Ok(said)
    }

    /// Brings a moment back beside the cluster, and gives all rows of it.
    async fn rows_at(&self, major: u16, target: &[&str]) -> Result<Rows> {
        let mut copy = TestCluster::builder(major).adopt(|data| {
            self.give(data)?;
            fs::set_permissions(data, Permissions::from_mode(0o700))?;
            let to = data.display().to_string();
            self.lifeboat("a", &[&["restore", "shop", "--to", &to], target].concat()).map(drop)
        })?;
        copies::start_to_the_end(&mut copy).await?;
        let all = copy.sql("select coalesce(string_agg(client || ' ' || number, ','), '') from ledger").await?;
        let all = all.context("rows")?;
        let row = |text: &str| {
            let (client, number) = text.split_once(' ')?;
            Some((client.parse().ok()?, number.parse().ok()?))
        };
        all.split(',').filter(|text| !text.is_empty()).map(|text| row(text).context("a row")).collect()
    }

    /// Restores `count` of the notes, half of them by position and half by time, and the end: `now` are its rows.
    pub async fn comes_back(
        &self,
        major: u16,
        history: &[Operation],
        now: &Rows,
        count: usize,
        random: &mut Random,
    ) -> Result<()> {
        let mut left = self.notes.clone();
        for number in 0..count.min(left.len()) {
            let note = left.swap_remove(usize::try_from(random.below(left.len() as u64)).unwrap_or(0));
            let target = if number % 2 == 0 { ["--lsn", &note.position] } else { ["--at", &note.time] };
            let what = format!("{} ({target:?}, timeline {})", note.about, note.timeline);
            let rows = self.rows_at(major, &target).await.with_context(|| format!("restore {what}"))?;
            if let Some(wrong) = note.differs(history, &rows) {
                bail!("the restore of {what} is wrong: {wrong}");
            }
            eprintln!("came back with {} rows: {what}", rows.len());
        }
        let end = Note { about: "the end".into(), exactly: Some(now.clone()), ..self.notes[0].clone() };
        let rows = self.rows_at(major, &[]).await.context("restore the end")?;
        if let Some(wrong) = end.differs(history, &rows) {
            bail!("the restore of the end is wrong: {wrong}");
        }
        eprintln!("came back with {} rows: the end", rows.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_too_early_or_not_at_all_is_found() {
        let at = Duration::from_millis;
        let ok = |number, asked, ended| Operation {
            client: 1,
            number,
            asked: at(asked),
            ended: at(ended),
            outcome: Outcome::Ok { server: 0, timeline: 1 },
        };
        let refused = Operation { outcome: Outcome::Refused { code: "25006".into() }, ..ok(4, 10, 20) };
        let history = [ok(1, 10, 20), ok(2, 25, 60), ok(3, 55, 70), refused];
        let note = Note {
            about: String::new(),
            time: String::new(),
            position: String::new(),
            timeline: 1,
            between: (at(40), at(50)),
            exactly: None,
        };
        for rows in [&[(1, 1)][..], &[(1, 1), (1, 2)]] {
            assert_eq!(note.differs(&history, &rows.iter().copied().collect()), None);
        }
        for rows in [&[][..], &[(1, 2)], &[(1, 1), (1, 3)], &[(1, 1), (1, 4)], &[(1, 1), (9, 9)]] {
            assert!(note.differs(&history, &rows.iter().copied().collect()).is_some(), "{rows:?}");
        }
        let exact = Note { exactly: Some([(1, 1)].into()), ..note };
        assert_eq!(exact.differs(&history, &[(1, 1)].into()), None);
        assert!(exact.differs(&history, &[(1, 1), (1, 2)].into()).is_some());
        assert!(exact.differs(&history, &Rows::new()).is_some());
    }
}

//! People: who must agree, and who is called.
//!
//! A question is a file beside the journal; whoever answers writes another one (`lifeboat drill approve`).

use crate::engine::{Called, Rehearsal, Seen};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long somebody has to answer a call when the role doesn't say.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The run.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// A person or a role of the plan.
    pub of: Option<String>,
    /// Since when.
    pub asked_at: Timestamp,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Who.
    pub by: String,
    /// Whether they agree.
    pub agrees: bool,
    /// When.
    pub at: Timestamp,
}

fn question_path(directory: &Path, id: &str) -> PathBuf {
    directory.join(format!("{id}.question.json"))
}

fn answer_path(directory: &Path, id: &str) -> PathBuf {
    directory.join(format!("{id}.answer.json"))
}

/// Everything that waits for an answer.
pub fn questions(directory: &Path) -> Vec<Question> {
    let listing = std::fs::read_dir(directory).into_iter().flatten();
    let paths = listing.filter_map(|entry| Some(entry.ok()?.path()));
    let asked =
        paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".question.json")));
    asked.filter_map(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok()).collect()
}

/// Answers the question of a run.
///
/// # Errors
/// When nothing is asked, or of the file system.
pub fn answer(directory: &Path, id: &str, answer: &Answer) -> io::Result<()> {
    if !question_path(directory, id).exists() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "nothing is asked in this run"));
    }
    write(&answer_path(directory, id), &serde_json::to_vec(answer)?)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&new)?.write_all(bytes)?;
    std::fs::rename(new, path)
}

/// Takes the question away again, whatever becomes of it.
struct Asked<'p>(&'p Path, &'p Path);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        for path in [self.0, self.1] {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Rehearsal<'_> {
    /// Waits until somebody who may says yes; their name.
    ///
    /// # Errors
    /// Who said no, or that nobody can be asked.
    pub(crate) async fn ask(&self, question: &str, of: Option<&str>) -> Result<String, String> {
        let may = of.map(|of| self.around.plan.people_behind(of)).unwrap_or_default();
        if let Some(of) = of.filter(|_| may.is_empty()) {
            return Err(format!("the plan has no person and no role {of}"));
        }
        let is_allowed = |by: &str| may.is_empty() || may.contains(&by);
        if let Some(by) = &self.around.approved_by {
            let said = format!("{by} may not answer this; {} may", may.join(", "));
            return if is_allowed(by) { Ok(by.clone()) } else { Err(said) };
        }
        let (directory, id) = (&self.around.journal_dir, &self.journal.id);
        let (asked, answered) = (question_path(directory, id), answer_path(directory, id));
        let _taken = Asked(&asked, &answered);
        let text = Question {
            id: id.clone(),
            question: question.into(),
            of: of.map(str::to_owned),
            asked_at: Timestamp::now(),
        };
        let written = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(directory);
        let written = written.and_then(|()| write(&asked, &serde_json::to_vec(&text)?));
        written.map_err(|error| format!("write {}: {error}", asked.display()))?;
        (self.tell)(&format!(
            "waiting for {}: {question}\n   $ lifeboat drill approve {id} --as PERSON",
            of.unwrap_or("somebody")
        ));
        loop {
            let found = std::fs::read(&answered).ok().and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok());
            match found {
                Some(answer) if !is_allowed(&answer.by) => {
                    (self.tell)(&format!("{} may not answer this", answer.by));
                    let _ = std::fs::remove_file(&answered);
                }
                Some(answer) if answer.agrees => return Ok(answer.by),
                Some(answer) => return Err(format!("{} said no", answer.by)),
                None => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn ask_step(&mut self, question: &str, of: Option<&str>) -> Seen {
        let begun = std::time::Instant::now();
        match self.ask(question, of).await {
            Ok(by) => {
                let before = self.run().measured.approval_seconds.unwrap_or_default();
                self.run().measured.approval_seconds = Some(before + begun.elapsed().as_secs_f64());
                self.run().approved_by.get_or_insert_with(|| by.clone());
                Seen { by: Some(by), ..Seen::default() }
            }
            Err(why) => Seen::wrong(why),
        }
    }

    /// Calls one after the other, deputies too, until somebody answers.
    pub(super) async fn page(&mut self, role: &str) -> Seen {
        let plan = &self.around.plan;
        let people: Vec<String> = plan.people_behind(role).into_iter().map(str::to_owned).collect();
        if people.is_empty() {
            return Seen::wrong(format!("the plan has no person and no role {role}"));
        }
        let patience = plan.roles.get(role).and_then(|role| role.escalate_after).unwrap_or(ANSWER_PATIENCE);
        let mut line = Vec::new();
        for person in people {
            let deputy = plan.people.get(&person).and_then(|person| person.deputy.clone());
            line.extend([Some(person), deputy].into_iter().flatten());
        }
        let mut tried = Line::default();
        let begun = std::time::Instant::now();
        for person in line {
            if !tried.is_new(&person) {
                continue;
            }
            let called_at = Timestamp::now();
            let answered = self.call(&person, patience).await;
            let answered_at = answered.is_ok().then(Timestamp::now);
            self.called.push(Called { person: person.clone(), called_at, answered_at });
            match answered {
                Ok(()) => {
                    let said = format!("{}{person} answered", tried.said);
                    let value =
                        serde_json::json!({"by": person, "said": said, "seconds": begun.elapsed().as_secs_f64()});
                    return Seen { value, by: Some(person), ..Seen::default() };
                }
                Err(why) => {
                    (self.tell)(&format!("   {person}: {why}"));
                    tried.said.push_str(&format!("{person}: {why}; "));
                }
            }
        }
        Seen::wrong(format!("nobody answered: {}", tried.said.trim_end_matches("; ")))
    }

    /// One call. The message comes on standard input; its end with success is the answer.
    async fn call(&self, person: &str, patience: Duration) -> Result<(), String> {
        let words = self.around.plan.people.get(person).and_then(|person| person.page.clone());
        let words = words.ok_or("has no `page` that reaches them")?;
        let (program, arguments) = words.split_first().ok_or("has an empty `page`")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("run `{program}`: {error}"))?;
        let group = crate::process::Group::of(Some(&child));
        if let Some(mut input) = child.stdin.take() {
            let message = format!("DRILL {}: {}. Please answer.\n", self.journal.id, self.scenario.title);
            // One that doesn't read may answer all the same.
            let _ = input.write_all(message.as_bytes()).await;
        }
        let status = tokio::time::timeout(patience, child.wait()).await;
        drop(group);
        match status {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("was not reached ({status})")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("did not answer within {:.0} s", patience.as_secs_f64())),
        }
    }
}

/// Who was called, and what came of it.
#[derive(Default)]
struct Line {
    called: std::collections::BTreeSet<String>,
    said: String,
}

impl Line {
    fn is_new(&mut self, person: &str) -> bool {
        self.called.insert(person.to_owned())
    }
}

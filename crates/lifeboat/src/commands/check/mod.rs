//! `lifeboat check`: is this configuration right, and will it work?
//!
//! A configuration that can't be read is a failure of its own (exit code 2). What is found after that is a list, and
//! the command goes through all of it: somebody who mends one thing wants to know of the next.

mod copies;
mod freshness;
mod locations;
mod mounts;
mod sending;
mod workloads;

pub use freshness::proof;

use super::{find_named, load_config};
use crate::cli::{CheckArguments, Global};
use crate::config::{Config, Credentials, SecretSource, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone};
use crate::rooms;
use serde_json::json;

/// The subject of the passphrase's finding.
const PASSPHRASE: &str = "encryption passphrase";

pub use copies::{judge_workload, spoken as spoken_currency};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `configuration`, `encryption passphrase`, `location ohio`.
    pub subject: String,
    /// What was seen.
    pub outcome: Outcome,
}

/// What was seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Good(String),
    /// It works, and something will be missing or slow when it is needed.
    Warning { what: String, hint: String },
    /// It won't work.
    Bad(Failure),
}

impl Finding {
    /// From something that either was seen or failed.
    pub fn new(subject: impl Into<String>, outcome: Result<String, Failure>) -> Self {
        let outcome = outcome.map_or_else(Outcome::Bad, Outcome::Good);
        Self { subject: subject.into(), outcome }
    }

    /// Something that works but shouldn't stay so.
    pub fn warning(subject: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { subject: subject.into(), outcome: Outcome::Warning { what: what.into(), hint: hint.into() } }
    }
}

pub fn run(global: &Global, arguments: &CheckArguments, output: &Output) -> Result<(), Failure> {
    let (path, config) = load_config(global, UnknownKeys::Refuse, output)?;
    for name in &arguments.workloads {
        find_named("workload", name, &config.workloads)?;
    }
    let seen = format!(
        "{}: {}, {}",
        path.display(),
        count(config.locations.len(), "location"),
        count(config.workloads.len(), "workload")
    );
    let mut findings = vec![Finding::new("configuration", Ok(seen))];
    let secrets: Vec<Finding> = secrets(&config).into_iter().map(|(subject, source)| secret(subject, source)).collect();
    let all_found = secrets.iter().all(|finding| !matches!(finding.outcome, Outcome::Bad(_)));
    findings.extend(secrets);
    findings.extend(mounts::look(&config));
    let mut copies = json!({});
    // Without its secrets nothing can be asked.
    if all_found {
        let chosen = |name: &&String| arguments.workloads.is_empty() || arguments.workloads.contains(name);
        let names: Vec<String> = config.workloads.keys().filter(chosen).cloned().collect();
        rooms::runtime()?.block_on(async {
            findings.extend(locations::look(&config).await);
            let seen = copies::look(&config, &names, output).await;
            findings.extend(seen.findings);
            copies = seen.document;
            for name in &names {
                findings.extend(workloads::look(&config, name, output).await);
                findings.extend(freshness::look(&config, name, output).await);
            }
        });
    }
    report(&findings, &copies, output)
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A passphrase that is shorter can be guessed by whoever has a copy of the repository. In characters.
const PASSPHRASE_LENGTH_MIN: usize = 12;

fn secret(subject: String, source: &SecretSource) -> Finding {
    let found = match source.resolve() {
        Ok(found) => found,
        Err(error) => return Finding::new(subject, Err(Failure::from(error))),
    };
    if let Some(path) = source.is_open_to_others() {
        let path = path.display();
        let what = format!("found in {source}, which others than its owner may read");
        return Finding::warning(subject, what, format!("`chmod 600 {path}`"));
    }
    if subject == PASSPHRASE && found.expose().chars().count() < PASSPHRASE_LENGTH_MIN {
        let what = format!("found in {source}, and shorter than {PASSPHRASE_LENGTH_MIN} characters: it can be guessed");
        return Finding::warning(
            subject,
            what,
            "`lifeboat key add --passphrase-file FILE` takes a longer one; then remove this one",
        );
    }
    Finding::new(subject, Ok(format!("found in {source}")))
}

/// Every secret that the configuration refers to, with what it is for.
fn secrets(config: &Config) -> Vec<(String, &SecretSource)> {
    let mut secrets = vec![(PASSPHRASE.to_owned(), &config.encryption.passphrase)];
    for ((step, header), source) in &config.plan.vendor_secrets {
        secrets.push((format!("vendor step {step} header {header}"), source));
    }
    for (name, location) in &config.locations {
        let mut add = |what: &str, source| secrets.push((format!("location {name} {what}"), source));
        match &location.credentials {
            Credentials::Ambient => {}
            Credentials::S3 { access_key_id, secret_access_key } => {
                add("access key id", access_key_id);
                add("secret access key", secret_access_key);
            }
            Credentials::Azure { account_key, .. } => {
                if let Some(source) = account_key {
                    add("account key", source);
                }
            }
            Credentials::Google { service_account_key } => add("service account key", service_account_key),
        }
    }
    let passwords = config.workloads.iter().filter_map(|(name, workload)| Some((name, workload.password.as_ref()?)));
    secrets.extend(passwords.map(|(name, source)| (format!("workload {name} password"), source)));
    secrets
}

/// Shows every finding; fails with exit code 4 when one of them is bad.
pub fn report(findings: &[Finding], copies: &serde_json::Value, output: &Output) -> Result<(), Failure> {
    let bad = findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Bad(_))).count();
    if output.is_json() && bad == 0 {
        return output.document(&json!({ "ok": true, "findings": documents(findings), "copies": copies }));
    }
    for Finding { subject, outcome } in findings {
        let line = match outcome {
            Outcome::Good(seen) => format!("{}    {subject}: {seen}", output.paint("ok", Tone::Good)),
            Outcome::Warning { what, hint } => {
                format!("{}  {subject}: {what}\n      hint: {hint}", output.paint("warn", Tone::Warning))
            }
            Outcome::Bad(failure) => {
                let text = failure.to_string();
                let text = text.strip_prefix("error: ").unwrap_or(&text).replace('\n', "\n      ");
                format!("{}   {subject}: {text}", output.paint("bad", Tone::Bad))
            }
        };
        output.text(&line)?;
    }
    if bad == 0 {
        return Ok(());
    }
    let mut failure = Failure::new(FailureKind::CheckFailed, format!("{bad} of {} checks said no", findings.len()));
    if output.is_json() {
        failure.details = findings
            .iter()
            .filter_map(|finding| match &finding.outcome {
                Outcome::Bad(failure) => Some(format!("{}: {}", finding.subject, one_line(failure))),
                _ => None,
            })
            .collect();
    }
    Err(failure)
}

fn one_line(failure: &Failure) -> String {
    let mut line = failure.message.clone();
    for cause in &failure.causes {
        line.push_str(": ");
        line.push_str(cause);
    }
    line
}

fn documents(findings: &[Finding]) -> Vec<serde_json::Value> {
    let document = |finding: &Finding| match &finding.outcome {
        Outcome::Good(seen) => json!({ "subject": finding.subject, "ok": true, "seen": seen }),
        Outcome::Warning { what, hint } => {
            json!({ "subject": finding.subject, "ok": true, "warning": what, "hint": hint })
        }
        Outcome::Bad(failure) => json!({ "subject": finding.subject, "ok": false, "seen": one_line(failure) }),
    };
    findings.iter().map(document).collect()
}

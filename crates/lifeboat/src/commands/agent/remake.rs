//! A member's data made anew: by `lifeboat standby create`, in a process of its own, as an operator would.

use async_trait::async_trait;
use lifeboat_agent::database::{Address, Remake};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// See the module.
#[derive(Debug)]
pub struct ByCreate {
    pub program: PathBuf,
    pub config: Option<PathBuf>,
    pub cluster: String,
}

#[async_trait]
impl Remake for ByCreate {
    async fn remake(&self, data_dir: &Path, from: &Address) -> Result<(), String> {
        let first = self.run(data_dir, None).await?;
        if first.status.success() {
            return Ok(());
        }
        let why = words(&first);
        tracing::warn!(%why, %from, "not from the repository: the primary sends its files");
        let _ = tokio::fs::remove_dir_all(data_dir).await;
        let second = self.run(data_dir, Some("primary")).await?;
        if second.status.success() { Ok(()) } else { Err(words(&second)) }
    }
}

impl ByCreate {
    async fn run(&self, data_dir: &Path, from: Option<&str>) -> Result<Output, String> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(config) = &self.config {
            arguments.extend(["--config".into(), config.into()]);
        }
        arguments.extend(["--quiet".into(), "standby".into(), "create".into(), (&self.cluster).into()]);
        arguments.extend(["--beside".into(), data_dir.into()]);
        if let Some(from) = from {
            arguments.extend(["--from".into(), from.into()]);
        }
        let mut command = tokio::process::Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command.output().await.map_err(|error| format!("run {}: {error}", self.program.display()))
    }
}

/// The sentence that it ended with, without its hints.
fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let sentence = text.lines().find_map(|line| line.strip_prefix("error: "));
    sentence.or_else(|| text.lines().last()).unwrap_or("it ended without a word").to_owned()
}

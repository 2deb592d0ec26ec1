//! Runs the program in a directory of its own, in a known environment.

use std::path::Path;
use std::process::{Command, Stdio};

/// What one run left behind.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `lifeboat` with arguments, in `directory`.
pub fn lifeboat(directory: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command.env_clear().env("TZ", "Europe/Berlin").env("PATH", "/usr/bin:/bin").env("COLUMNS", "100");
    let output = command.output().expect("the program starts");
    Ran {
        code: output.status.code().expect("ended by itself"),
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

impl Ran {
    /// The whole screen: both streams, and the exit code.
    pub fn screen(&self) -> String {
        let code = self.code;
        [self.stdout.trim_end(), self.stderr.trim_end(), &format!("[{code}]")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

//! The command PostgreSQL runs to get a piece of log, through three quotings: a shell word, PostgreSQL's `%` sequences,
//! and a string in its configuration file.
//!
//! Promise: the arguments arrive as they were given, or there is an error. A name with a quote or a percent sign must
//! not end a recovery, nor run something else.

use lifeboat_postgres::{Lsn, TimelineId};

/// Text that can't be brought through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotingError {
    /// Neither a command line nor a configuration file can hold a zero byte.
    #[error("{what} holds a zero byte")]
    ZeroByte {
        /// What it is.
        what: &'static str,
    },
}

/// How this program is called to fetch a file of the log. Its parts are checked when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreCommand {
    program: String,
    config: String,
    workload: String,
}

impl RestoreCommand {
    /// `program` and `config` by their whole paths: PostgreSQL calls from the data directory.
    pub fn new(
        program: impl Into<String>,
        config: impl Into<String>,
        workload: impl Into<String>,
    ) -> Result<Self, QuotingError> {
        let command = Self { program: program.into(), config: config.into(), workload: workload.into() };
        match [&command.program, &command.config, &command.workload].iter().any(|text| text.contains('\0')) {
            true => Err(QuotingError::ZeroByte { what: "an argument of the restore command" }),
            false => Ok(command),
        }
    }

    /// The value of `restore_command`: a line for the shell in which PostgreSQL replaces `%f` and `%p`.
    ///
    /// `incomplete_of` is the timeline on which replay ends: its last segment is given even when only a part of it is
    /// archived. `location`: ask this one alone. `ends_at`: what comes from there on is as good as not archived.
    pub fn to_command_line(&self, incomplete_of: TimelineId, location: Option<&str>, ends_at: Option<Lsn>) -> String {
        let mut line = self.plain();
        line.push_str(&format!(" --incomplete-of {incomplete_of}"));
        if let Some(location) = location {
            line.push_str(" --from ");
            line.push_str(&shell_word(location));
        }
        if let Some(ends_at) = ends_at {
            line.push_str(&format!(" --ends-at {ends_at}"));
        }
        line
    }

    /// The same for a standby: what isn't archived whole, it gets from the server it follows.
    pub fn for_standby(&self, location: Option<&str>) -> String {
        let mut line = self.plain();
        if let Some(location) = location {
            line.push_str(" --from ");
            line.push_str(&shell_word(location));
        }
        line
    }

    fn plain(&self) -> String {
        let [program, config, workload] = [&self.program, &self.config, &self.workload].map(|text| shell_word(text));
        format!("{program} --config {config} wal fetch %f \"%p\" --workload {workload}")
    }
}

/// One word for `sh`, in a line in which PostgreSQL reads `%` sequences.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''").replace('%', "%%"))
}

/// A value for PostgreSQL's configuration file, with its quotes.
pub(crate) fn configuration_string(text: &str) -> Result<String, QuotingError> {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\0' => return Err(QuotingError::ZeroByte { what: "the value of a setting" }),
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            // A string ends with its line; an escape doesn't.
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As PostgreSQL reads a string of its configuration (`DeescapeQuotedString` of `guc-file.l`).
    fn read_configuration_string(quoted: &str) -> Option<String> {
        let inner = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
        let mut text = String::new();
        let mut chars = inner.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\n' => return None,
                '\\' => match chars.next()? {
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    'b' | 'f' | 't' | '0'..='7' => return None,
                    other => text.push(other),
                },
                '\'' => {
                    if chars.next() != Some('\'') {
                        return None;
                    }
                    text.push('\'');
                }
                other => text.push(other),
            }
        }
        Some(text)
    }

    /// As PostgreSQL replaces `%` sequences (`BuildRestoreCommand`).
    fn replace_percent(line: &str, name: &str, path: &str) -> String {
        let mut result = String::new();
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match chars.next() {
                    Some('f') => result.push_str(name),
                    Some('p') => result.push_str(path),
                    Some('%') => result.push('%'),
                    other => panic!("%{other:?} in {line}"),
                },
                other => result.push(other),
            }
        }
        result
    }

    fn arguments_that_arrive(command: &RestoreCommand) -> Vec<String> {
        let written = configuration_string(&command.to_command_line(TimelineId(3), Some("far away"), None)).unwrap();
        let read = read_configuration_string(&written).unwrap_or_else(|| panic!("{written}"));
        let line = replace_percent(&read, "00000002.history", "pg_wal/RECOVERYHISTORY");
        // A real shell tells what it would have passed on.
        let script = format!("show() {{ for a in \"$@\"; do printf '%s\\0' \"$a\"; done; }}; show {line}");
        let output = std::process::Command::new("/bin/sh").arg("-c").arg(&script).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim_end_matches('\0').split('\0').map(str::to_owned).collect()
    }

    #[test]
    fn an_ordinary_command_is_readable() {
        let command = RestoreCommand::new("/usr/bin/lifeboat", "/etc/lifeboat/lifeboat.toml", "shop").unwrap();
        assert_eq!(
            command.to_command_line(TimelineId(2), None, None),
            "/usr/bin/lifeboat --config /etc/lifeboat/lifeboat.toml wal fetch %f \"%p\" --workload shop --incomplete-of 2"
        );
        let from = command.to_command_line(TimelineId(2), Some("far away"), None);
        assert!(from.ends_with(" --incomplete-of 2 --from 'far away'"));
    }

    #[test]
    fn a_zero_byte_is_refused() {
        assert!(RestoreCommand::new("/a", "/b\0", "c").is_err());
        assert!(configuration_string("a\0").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn arguments_arrive_as_given(
            program in "[^\0]{1,12}",
            config in "[ -~\n\r\t]{1,20}",
            workload in "[%'\"\\\\$`!fp ;&|#\n]{1,10}",
        ) {
            let arrived = arguments_that_arrive(&RestoreCommand::new(&program, &config, &workload).unwrap());
            let expected = [
                &program, "--config", &config, "wal", "fetch", "00000002.history", "pg_wal/RECOVERYHISTORY",
                "--workload", &workload, "--incomplete-of", "3", "--from", "far away",
            ];
            prop_assert_eq!(arrived, expected);
        }
    }
}

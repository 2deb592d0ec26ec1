//! What was typed.

use crate::script::{self, Step};
use std::path::PathBuf;
use std::time::Duration;

pub const USAGE: &str = "\
usage: cargo xtask regions [--postgres 15] [--play \"kill; repair; cut ohio; ...\"] [--for 30s]

Virginia, Ohio and a witness as three network namespaces of this machine: a PostgreSQL and an agent each (the witness has no
database), a lease store in all three, a proxy, and clients that write all the while. A screen shows them, and keys break them.

  --postgres N   which PostgreSQL: 15 (if nothing is said), or 18
  --play SCRIPT  without a screen: each step's effect as one line; exit code 0 only if no acknowledged write was lost and all is
                 well at the end. Steps: kill, cut, one-way, heal, hang server, hang agent, kill server, pause (each may name
                 virginia, ohio or the witness; else it is the primary's), stop store, switchover, failback, repair, wait, wait 5s
  --for 30s      end by itself";

/// What is played without a screen when nothing is said.
const TOUR: &str = "kill; repair; cut; repair; hang server; repair; stop store; repair; failback";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    pub major: u16,
    /// `None`: the screen.
    pub script: Option<Vec<Step>>,
    pub lasts: Option<Duration>,
    /// The program whose agents are shown.
    pub program: Option<PathBuf>,
}

/// Reads the words after the program's name. `None`: help is asked for.
///
/// # Errors
/// A sentence that names what is wrong.
pub fn parse(words: impl Iterator<Item = String>, is_terminal: bool) -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments { major: 15, script: None, lasts: None, program: None };
    let mut words = words.flat_map(|word| match word.split_once('=') {
        Some((option, value)) if option.starts_with("--") => vec![option.to_owned(), value.to_owned()],
        _ => vec![word],
    });
    while let Some(option) = words.next() {
        if ["--help", "-h", "help"].contains(&option.as_str()) {
            return Ok(None);
        }
        if !["--postgres", "--play", "--for", "--lifeboat"].contains(&option.as_str()) {
            return Err(format!("regions knows no {option}"));
        }
        let value = words.next().ok_or_else(|| format!("{option} wants something after it"))?;
        match option.as_str() {
            "--postgres" => {
                let major = value.parse().ok().filter(|major| [15, 18].contains(major));
                arguments.major = major.ok_or_else(|| format!("--postgres is 15 or 18, not {value}"))?;
            }
            "--play" => arguments.script = Some(script::parse(&value)?),
            "--for" => {
                let span = script::duration(&value);
                arguments.lasts =
                    Some(span.ok_or_else(|| format!("--for wants a time such as 30s or 5m, not {value}"))?);
            }
            _ => arguments.program = Some(value.into()),
        }
    }
    if !is_terminal && arguments.script.is_none() {
        arguments.script = Some(script::parse(TOUR)?);
    }
    Ok(Some(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str], is_terminal: bool) -> Result<Option<Arguments>, String> {
        parse(words.iter().map(|word| (*word).to_owned()), is_terminal)
    }

    #[test]
    fn arguments_say_what_is_wanted() {
        let usual = Arguments { major: 15, script: None, lasts: None, program: None };
        assert_eq!(parsed(&[], true), Ok(Some(usual.clone())));
        let script = Some(vec![Step::KillHost(None), Step::Repair]);
        let wanted = Arguments { major: 18, script, lasts: Some(Duration::from_secs(30)), ..usual };
        assert_eq!(parsed(&["--postgres", "18", "--play=kill; repair", "--for", "30s"], true), Ok(Some(wanted)));
        assert_eq!(parsed(&["--help"], true), Ok(None));
        let without = parsed(&[], false).unwrap().unwrap();
        assert!(without.script.is_some_and(|steps| steps.len() > 5), "without a terminal something is played");
        for wrong in [&["--postgres", "13"][..], &["--play"], &["--play", "explode"], &["--for", "ever"], &["--fast"]] {
            assert!(parsed(wrong, true).is_err(), "{wrong:?}");
        }
    }
}

//! `cargo xtask test`: formatting, lints, and every test. The last line is the runner's summary.

use crate::{install, step};
use anyhow::{Result, bail};

/// What was asked for.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    /// The tests that take long, too.
    all: bool,
    /// Only tests whose name contains this. Then formatting and lints are left out: somebody is working on one thing.
    filter: Option<String>,
}

pub fn run(arguments: &[String]) -> Result<()> {
    let wanted = parse(arguments)?;
    let nextest = install::nextest();
    install::for_tests(wanted.all)?;
    if wanted.filter.is_none() {
        step::run("formatting", step::cargo().args(["fmt", "--all", "--check"]))?;
        step::run(
            "lints (compiles everything once; the first time takes some minutes)",
            step::cargo().args([
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ]),
        )?;
    }
    let mut command = step::cargo();
    if nextest {
        command.args(["nextest", "run", "--locked", "--workspace", "--cargo-quiet"]);
        command.args(["--profile", if wanted.all { "all" } else { "default" }]);
        command.args(["--test-threads", &test_threads().to_string()]);
        command.args(&wanted.filter);
    } else {
        command.args(["test", "--locked", "--workspace", "--no-fail-fast", "--"]);
        command.args(&wanted.filter);
        if !wanted.all {
            command.args(["--skip", "long_"]);
        }
    }
    step::run(if wanted.all { "all tests, also the long ones" } else { "tests" }, &mut command)
}

/// Half as many again as there are processors: most tests wait for servers for a part of their time.
fn test_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    processors + processors.div_ceil(2)
}

fn parse(arguments: &[String]) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    for argument in arguments {
        match argument.as_str() {
            "--all" => wanted.all = true,
            option if option.starts_with('-') => bail!("test knows no option {option} (only --all)"),
            filter if wanted.filter.is_none() => wanted.filter = Some(filter.to_owned()),
            second => bail!("test takes one filter, and {second} is a second one"),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wanted> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_say_what_is_wanted() {
        assert_eq!(parsed("").unwrap(), Wanted::default());
        assert_eq!(parsed("--all wal").unwrap(), Wanted { all: true, filter: Some("wal".into()) });
        assert!(parsed("--fast").is_err());
        assert!(parsed("one two").is_err());
    }
}

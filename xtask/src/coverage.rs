//! `cargo xtask coverage`: how much of each room its own tests run, and a floor below which no room may fall.
//!
//! Only the tests in the rooms count (`crates/*/src`, `crates/*/tests`), not those from outside: a line that only a whole recovery
//! reaches is a line that nobody can change in peace. The figures are the compiler's own instrumentation, by lines.

use crate::step;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms, and the least part of their lines, in percent, that their own tests run. Raise one when it has risen.
const FLOORS: [(&str, u64); 6] =
    [("plan", 92), ("location", 86), ("repository", 91), ("postgres", 84), ("workload", 77), ("recovery", 86)];

/// Lines, and those of them that no test ran.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Lines {
    all: u64,
    missed: u64,
}

impl Lines {
    fn percent(self) -> f64 {
        if self.all == 0 { 0.0 } else { 100.0 * (self.all - self.missed) as f64 / self.all as f64 }
    }
}

pub fn run(arguments: &[String]) -> Result<()> {
    if let Some(unknown) = arguments.first() {
        bail!("coverage takes no argument, and {unknown} is one");
    }
    crate::install::for_tests(false)?;
    let tools = tools()?;
    let target = step::root().join("target/coverage");
    let profiles = target.join("profiles");
    let _ = std::fs::remove_dir_all(&profiles);
    let binaries = binaries(instrumented(&target, &profiles).args(["--no-run", "--message-format=json"]))?;
    step::run("tests of the rooms, counted", &mut instrumented(&target, &profiles))?;
    let merged = target.join("merged.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    merge.args(["merge", "-sparse", "-o"]).arg(&merged).args(raw_profiles(&profiles)?);
    step::run("add the counts up", &mut merge)?;
    let mut report = Command::new(tools.join("llvm-cov"));
    report.arg("report").arg("--instr-profile").arg(&merged).current_dir(step::root());
    for binary in &binaries {
        report.arg("--object").arg(binary);
    }
    let output = report.output().context("start llvm-cov")?;
    if !output.status.success() {
        bail!("llvm-cov ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    judge(&by_room(&String::from_utf8_lossy(&output.stdout)))
}

/// `cargo test` of the rooms, with counters in the code. A directory of its own: everything is built once more.
fn instrumented(target: &Path, profiles: &Path) -> Command {
    let mut command = step::cargo();
    command.args(["test", "--locked", "--quiet", "--tests"]);
    for (room, _) in FLOORS {
        command.args(["--package", &format!("lifeboat-{room}")]);
    }
    command.env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", "-C instrument-coverage");
    command.env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw"));
    command
}

/// The compiler's own tools, which read what its code has counted.
fn tools() -> Result<PathBuf> {
    let sysroot = answer(Command::new("rustc").args(["--print", "sysroot"]))?;
    let verbose = answer(Command::new("rustc").arg("-vV"))?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc doesn't name its host")?;
    let tools = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    if !tools.join("llvm-cov").exists() {
        step::run("install llvm-tools", Command::new("rustup").args(["component", "add", "llvm-tools"]))
            .context("the toolchain lacks llvm-tools, which come with rustup")?;
    }
    Ok(tools)
}

fn answer(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?} ended with {}", command.get_program(), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The test programs, as cargo names them while it builds.
fn binaries(build: &mut Command) -> Result<Vec<PathBuf>> {
    step::say("build the tests of the rooms with counters (everything, the first time)");
    let messages = answer(build)?;
    Ok(messages.lines().filter_map(executable).map(PathBuf::from).collect())
}

/// The program that a message of cargo names, if it does.
fn executable(message: &str) -> Option<&str> {
    message.split_once("\"executable\":\"")?.1.split('"').next()
}

fn raw_profiles(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).context("no test has counted anything")? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("profraw")) {
            found.push(path);
        }
    }
    Ok(found)
}

/// The table of `llvm-cov report`, added up: file, then regions, functions and lines, each with how many were missed.
fn by_room(report: &str) -> BTreeMap<String, Lines> {
    let mut rooms: BTreeMap<String, Lines> = BTreeMap::new();
    for line in report.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [file, .., _, _, _] = &columns[..] else { continue };
        let Some((_, inside)) = file.split_once("crates/").filter(|(_, inside)| inside.contains("/src/")) else {
            continue;
        };
        let number = |column: usize| columns.get(column).and_then(|text| text.parse::<u64>().ok());
        let (Some(room), Some(all), Some(missed)) = (inside.split('/').next(), number(7), number(8)) else { continue };
        let lines = rooms.entry(room.to_owned()).or_default();
        (lines.all, lines.missed) = (lines.all + all, lines.missed + missed);
    }
    rooms
}

fn judge(rooms: &BTreeMap<String, Lines>) -> Result<()> {
    println!("{:<12} {:>7} {:>8} {:>7} {:>6}", "room", "lines", "not run", "run", "floor");
    let mut below = Vec::new();
    for (room, floor) in FLOORS {
        let lines = rooms.get(room).copied().unwrap_or_default();
        println!("{room:<12} {:>7} {:>8} {:>6.1}% {floor:>5}%", lines.all, lines.missed, lines.percent());
        if lines.percent() < floor as f64 {
            below.push(room);
        }
    }
    if !below.is_empty() {
        bail!("less is tested than before in {}: test what is new, beside it", below.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
Filename                      Regions    Missed Regions     Cover   Functions  Missed Functions  Executed       Lines      Missed Lines     Cover    Branches   Missed Branches     Cover
-------------------------------------------------------------------------------------------------------------------------
crates/plan/src/lib.rs             10                 1    90.00%           2                 0   100.00%          40                 4    90.00%           0                 0         -
crates/plan/src/retention.rs       10                 1    90.00%           2                 0   100.00%          60                 6    90.00%           0                 0         -
crates/plan/tests/it.rs            10                 1    90.00%           2                 0   100.00%         900                 6    90.00%           0                 0         -
TOTAL                              30                 3    90.00%           6                 0   100.00%        1000                16    90.00%           0                 0         -
";

    #[test]
    fn the_lines_of_a_room_are_those_of_its_sources() {
        let rooms = by_room(REPORT);
        assert_eq!(rooms.len(), 1);
        assert_eq!(rooms["plan"], Lines { all: 100, missed: 10 });
        assert_eq!(format!("{:.1}", rooms["plan"].percent()), "90.0");
        assert!(judge(&BTreeMap::new()).is_err(), "what was not counted is not covered");
    }

    #[test]
    fn programs_are_found_in_what_cargo_says() {
        let message = r#"{"reason":"compiler-artifact","executable":"/t/deps/plan-0a","fresh":false}"#;
        assert_eq!(executable(message), Some("/t/deps/plan-0a"));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","executable":null}"#), None);
    }
}

//! What the documentation tells people to type works: every command line parses, every piece of configuration is understood.
//!
//! Command lines: in Markdown between fences and as inline code, in systemd's units, in the help of the program itself.
//! Configuration: each block of TOML is laid over the README's first, in all the variants that its comments offer.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use lifeboat_cli::cli::Cli;
use lifeboat_cli::config::{UnknownKeys, parse};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use toml::Table;

/// Locations that blocks mention and don't define.
const ELSEWHERE: &str =
    "[location.vault]\nurl = \"file:///vault/lifeboat\"\n[location.disk-a]\nurl = \"file:///mnt/disk-a/lifeboat\"\n";
/// Every block of the README that isn't about one section says whose it is; those that don't are the workload's.
const SECTION_OF_FRAGMENTS: &str = "[workload.shop]\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the project")
}

/// All files below `docs` with this ending, and the README.
fn documents(ending: &str) -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    let mut directories = vec![root().join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("list docs").flatten() {
            match entry.path().is_dir() {
                true => directories.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|found| found == ending));
    found.sort();
    found
}

/// The blocks between fences: language and text.
fn blocks(markdown: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in markdown.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(block)) => found.push(block),
            (None, Some((language, mut text))) => {
                writeln!(text, "{}", line.trim_start()).expect("write to a string");
                open = Some((language, text));
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    found
}

fn lay_over(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            // One that says of what kind it is stands for itself.
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) if !above.contains_key("kind") => {
                lay_over(below, above);
            }
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// The block, and the same with each line that `# or:` offers in place of the line that it is about.
fn variants(block: &str) -> Vec<String> {
    let lines: Vec<&str> = block.lines().collect();
    let mut found = vec![block.to_owned()];
    let offered = |line: &str| line.split("# or:").nth(1).map(|line| line.trim().to_owned());
    for line in lines.iter().filter_map(|line| offered(line)) {
        let key = line.split('=').next().unwrap_or_default().trim().to_owned();
        let is_it = |other: &&&str| other.split('=').next().is_some_and(|found| found.trim() == key);
        let kept: Vec<&str> = lines.iter().filter(|other| !is_it(other)).copied().collect();
        let place = lines.iter().position(|other| is_it(&other)).expect("a line that it replaces");
        let mut changed = kept;
        changed.insert(place, &line);
        found.push(changed.join("\n"));
    }
    found
}

#[test]
fn every_piece_of_configuration_is_understood() {
    let base = fs::read_to_string(root().join("README.md")).expect("read the README");
    let base = blocks(&base).into_iter().find(|(language, _)| language == "toml").expect("a first configuration").1;
    let base = base.replace("\"ohio\"]", "\"ohio\", \"vault\"]");
    let base: Table = format!("{base}\n{ELSEWHERE}").parse().expect("the first configuration");
    let mut count = 0;
    for path in documents("md") {
        let text = fs::read_to_string(&path).expect("read a document");
        for (_, block) in blocks(&text).into_iter().filter(|(language, _)| language == "toml") {
            for variant in variants(&block) {
                let is_fragment = !variant.lines().any(|line| line.starts_with('['));
                let whole = if is_fragment { format!("{SECTION_OF_FRAGMENTS}{variant}") } else { variant };
                let above: Table = whole.parse().unwrap_or_else(|error| panic!("{}: {error}\n{whole}", path.display()));
                let mut configuration = base.clone();
                lay_over(&mut configuration, above);
                let text = configuration.to_string();
                if let Err(problems) = parse("lifeboat.toml", &text, UnknownKeys::Refuse) {
                    panic!("{}: {problems}\n{whole}", path.display());
                }
                count += 1;
            }
        }
    }
    assert!(count >= 12, "{count} pieces are fewer than there were");
}

/// Words as a shell would see them. What is in quotes is one.
fn words(line: &str) -> Vec<String> {
    let (mut found, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (None, '#') if word.is_none() => break,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == character => quote = None,
            (None, ' ') => found.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    found.extend(word);
    found
}

/// What is wrong with a line that begins with the program's name. `whole`: its arguments are all there.
fn complaint(line: &str, whole: bool) -> Option<String> {
    let line = line.split(" > ").next().unwrap_or(line).replace(" &&", "");
    let error = Cli::try_parse_from(words(&line)).err()?;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        // "help COMMAND" and its like name no command of their own.
        ErrorKind::InvalidSubcommand if !whole && line.contains("COMMAND") => None,
        ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !whole => None,
        _ => Some(format!("{line}\n{error}")),
    }
}

/// Everything from the program's name to the end of the line, or of the quotes around it.
fn command_in(line: &str) -> Option<&str> {
    let start = line.find("lifeboat ")?;
    let before = &line[..start];
    match before.trim_end_matches("/usr/bin/").chars().last() {
        None | Some(' ' | '=') => Some(&line[start..]),
        Some('\'') => line[start..].split('\'').next(),
        _ => None,
    }
}

#[test]
fn every_command_of_the_documents_parses() {
    let (mut complaints, mut count) = (Vec::new(), 0);
    let mut judge = |path: &Path, line: &str, whole: bool| {
        count += 1;
        complaints.extend(complaint(line, whole).map(|what| format!("{}: {what}", path.display())));
    };
    for path in documents("md") {
        let text = fs::read_to_string(&path).expect("read a document");
        for (_, block) in blocks(&text).into_iter().filter(|(language, _)| language != "toml" && language != "sql") {
            let is_ours =
                |line: &&str| line.starts_with("lifeboat ") || line.contains("_command") || line.contains("ExecStart");
            for line in block.lines().filter(is_ours) {
                if let Some(command) = command_in(line) {
                    judge(&path, command, true);
                }
            }
        }
        let outside: String = text.split("```").step_by(2).collect();
        for code in outside.split('`').skip(1).step_by(2).filter(|code| code.starts_with("lifeboat ")) {
            judge(&path, &code.replace('\n', " "), false);
        }
    }
    for path in documents("service") {
        let text = fs::read_to_string(&path).expect("read a unit");
        for line in text.lines().filter(|line| line.starts_with("Exec")) {
            if let Some(command) = command_in(line) {
                judge(&path, command, true);
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(count >= 50, "{count} commands are fewer than there were");
}

#[test]
fn every_example_of_the_help_parses() {
    let (mut complaints, mut count) = (Vec::new(), 0);
    let mut waiting = vec![Cli::command()];
    while let Some(command) = waiting.pop() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().map(str::trim).filter(|line| line.starts_with("lifeboat ")) {
            // What it does stands behind some spaces.
            let line = line.split("   ").next().unwrap_or(line);
            count += 1;
            complaints.extend(complaint(line, true));
        }
        waiting.extend(command.get_subcommands().cloned());
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(count >= 15, "{count} examples are fewer than there were");
}

#[test]
fn what_is_wrong_is_seen() {
    for line in
        ["lifeboat backpu shop", "lifeboat backup --typ full", "lifeboat restore shop", "lifeboat points shop  extra"]
    {
        assert!(complaint(line, true).is_some(), "{line}");
    }
    assert_eq!(words("lifeboat restore --at \"a b\" 'c d' # e"), ["lifeboat", "restore", "--at", "a b", "c d"]);
    assert_eq!(variants("a = 1\n# or: a = 2\nb = 3").len(), 2);
}

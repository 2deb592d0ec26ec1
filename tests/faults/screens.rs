//! What a person sees, one screen per mistake, with everything that differs between two runs given a name.

use crate::world::{Ran, World, finish};
use std::fmt::Write;
use std::process::Stdio;
use std::time::Instant;

/// Collects screens for a snapshot.
pub struct Screens<'w> {
    pub world: &'w World,
    text: String,
    names: Vec<(String, String)>,
    cases: usize,
    wrong: Vec<String>,
}

impl<'w> Screens<'w> {
    pub fn new(world: &'w World) -> Self {
        let mut names = vec![(world.path(".").display().to_string(), "DIR".to_owned())];
        if let Some(cluster) = &world.cluster {
            names.push((cluster.directory().display().to_string(), "SERVER".into()));
            names.push((format!("port={}", cluster.port()), "port=PORT".into()));
            names.push((format!(":{}/", cluster.port()), ":PORT/".into()));
            names.push((format!(":{}:", cluster.port()), ":PORT:".into()));
            names.push((format!("port {}", cluster.port()), "port PORT".into()));
            names.push((format!(".s.PGSQL.{}", cluster.port()), ".s.PGSQL.PORT".into()));
        }
        Self { world, text: String::new(), names, cases: 0, wrong: Vec::new() }
    }

    /// From now on `found` is shown as `name`.
    pub fn name(&mut self, found: impl Into<String>, name: &str) {
        self.names.push((found.into(), name.into()));
    }

    /// Runs the program as configured.
    pub fn case(&mut self, what: &str, code: i32, arguments: &[&str]) {
        let configuration = self.world.configuration();
        self.case_with(what, code, &configuration, arguments);
    }

    /// The same with one text of the configuration replaced.
    pub fn changed(&mut self, what: &str, code: i32, (from, to): (&str, &str), arguments: &[&str]) {
        let configuration = self.world.configuration();
        assert!(configuration.contains(from), "{what}: nothing to replace");
        self.case_with(what, code, &configuration.replacen(from, to, 1), arguments);
    }

    /// Runs the program with that configuration.
    pub fn case_with(&mut self, what: &str, code: i32, configuration: &str, arguments: &[&str]) {
        let path = self.world.write("case.toml", configuration);
        let mut command = self.world.command(arguments);
        command.env("LIFEBOAT_CONFIG", path).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("the program starts");
        let ran = finish(crate::world::Started { child, at: Instant::now() }, arguments);
        self.add(what, code, arguments, &ran);
    }

    pub fn add(&mut self, what: &str, code: i32, arguments: &[&str], ran: &Ran) {
        let screen = self.steady(&ran.screen());
        let typed = self.named(&arguments.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "));
        if ran.code != code || screen.contains("internal error") {
            self.wrong.push(format!("{what}: exit code {code} expected\n$ lifeboat {typed}\n{screen}"));
        }
        self.cases += 1;
        writeln!(self.text, "── {what}\n$ lifeboat {typed}\n{screen}\n").expect("write to a string");
    }

    /// All screens; fails when there are fewer than `at_least`, or one ended with another exit code than it should.
    pub fn finish(self, at_least: usize) -> String {
        assert!(self.wrong.is_empty(), "\n{}\n", self.wrong.join("\n\n"));
        assert!(self.cases >= at_least, "{} cases", self.cases);
        self.text
    }

    fn steady(&self, text: &str) -> String {
        let lines = text.lines().filter(|line| !is_progress(line)).collect::<Vec<_>>().join("\n");
        steady_words(&self.named(&lines))
    }

    fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (found, name)| text.replace(found, name))
    }
}

/// How many lines there are about progress depends on the time it takes.
fn is_progress(line: &str) -> bool {
    ["shop: ", "verify: ", "copy: "].iter().any(|start| line.starts_with(start))
        || line.contains("pages checked")
        || line.contains("RPA at most")
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("{word:?}") } else { word.to_owned() }
}

/// Replaces times, positions, identifiers and sizes, which differ from run to run, by what they are.
fn steady_words(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "/:.-+".contains(c);
    let (mut steady, mut word) = (String::new(), String::new());
    let mut before = String::new();
    for c in text.chars().chain(['\n']) {
        if is_part(c) {
            word.push(c);
        } else {
            // A full stop or colon behind a word is not a part of it.
            let bare = word.trim_end_matches([':', '.', '/', '-']);
            // How far into a cut file: its times have more or fewer digits.
            let counted = bare.chars().all(|c| c.is_ascii_digit()) && !bare.is_empty();
            let named = match before.as_str() {
                "process" if counted => Some("PID"),
                "column" if counted => Some("NUMBER"),
                _ => name_of(bare),
            };
            match named {
                Some(name) => steady.push_str(name),
                None => bare.split_inclusive(['/', '-']).for_each(|piece| {
                    let inner = piece.trim_end_matches(['/', '-']);
                    steady.push_str(name_of(inner).unwrap_or(inner));
                    steady.push_str(&piece[inner.len()..]);
                }),
            }
            steady.push_str(&word[bare.len()..]);
            steady.push(c);
            before = std::mem::take(&mut word);
        }
    }
    steady.trim_end().to_owned()
}

fn name_of(word: &str) -> Option<&'static str> {
    let hexadecimal = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let position = word.split_once('/');
    if position.is_some_and(|(high, low)| hexadecimal(high) && hexadecimal(low) && low.len() >= 5) {
        return Some("LSN");
    }
    if word.starts_with("20") && word.contains('T') && word.len() >= 16 {
        return Some(if word.ends_with('Z') && word.contains(':') { "TIME" } else { "POINT" });
    }
    let is_clock = |c: char| c.is_ascii_digit() || ":.+Z".contains(c);
    if word.matches(':').count() >= 2 && word.chars().all(is_clock) {
        return Some("CLOCK");
    }
    let number = word.strip_suffix("ms").unwrap_or(word);
    if number.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part)) {
        return Some("NUMBER");
    }
    match word.len() {
        10 if word.starts_with("20") && word.split('-').count() == 3 && word.split('-').all(digits) => Some("DATE"),
        17..=20 if digits(word) => Some("SYSTEM"),
        24 if word.split('-').count() == 5 && word.split('-').all(hexadecimal) => Some("FINGERPRINT"),
        16 if hexadecimal(word) => Some("ID"),
        32 | 64 if hexadecimal(word) => Some("HASH"),
        _ => None,
    }
}

#[test]
fn what_differs_gets_a_name() {
    let before = "a 0/3000028: at 2026-11-21T03:00:00.5Z; cluster 7443207777777777777, packs.";
    assert_eq!(steady_words(before), "a LSN: at TIME; cluster SYSTEM, packs.");
    assert_eq!(steady_words("000000010000000000000002 and 1/2"), "000000010000000000000002 and 1/2");
}

//! `include = ["plan.toml", "plan.d/*.toml"]`: files with more of the plan, beside the one that names them.
//!
//! Promise: an included file holds the plan and nothing else, and includes nothing itself.

use super::{MAIN_ONLY, PlanConfig, SECTIONS, read_part};
use crate::config::find::read_file;
use crate::config::section::{Findings, Section, shown, syntax_error};
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// The files that a pattern names: their names as they are shown, and their texts. Else why not, in words.
pub type Fetch<'f> = dyn Fn(&str) -> Result<Vec<(String, String)>, String> + 'f;

/// More is a mistake in a pattern.
const FILES_MAX: usize = 1000;

/// Reads what the main file includes.
pub(super) fn read(top: &mut Section, findings: &mut Findings, config: &mut PlanConfig, fetch: &Fetch) {
    const EXPECTED: &str = "a list of files such as [\"plan.toml\", \"plan.d/*.toml\"]";
    let Some(patterns) = top.texts(findings, "include", EXPECTED) else { return };
    let span = top.span_of("include");
    for pattern in patterns {
        match fetch(&pattern) {
            Err(why) => findings.problem(&span, format!("`include` names {}: {why}", shown(&pattern))),
            Ok(files) => {
                for (file, text) in files {
                    // Two patterns may meet in one file.
                    if !config.included.contains(&file) {
                        read_one(findings, config, &file, &text);
                        config.included.push(file);
                    }
                }
            }
        }
    }
}

fn read_one(main: &mut Findings, config: &mut PlanConfig, file: &str, text: &str) {
    let unknown_keys = main.unknown_keys;
    let mut findings = Findings { text, file, unknown_keys, problems: Vec::new(), warnings: Vec::new() };
    let (root, errors) = DeTable::parse_recoverable(text);
    match errors.first() {
        Some(error) => syntax_error(&mut findings, error),
        None => {
            let mut top = Section::new("the file", root.get_ref(), root.span());
            read_part(&mut top, &mut findings, config);
            refuse_others(&mut top, &mut findings, main.file);
            top.finish(&mut findings);
        }
    }
    main.problems.append(&mut findings.problems);
    main.warnings.append(&mut findings.warnings);
}

/// What has its place in the main file.
fn refuse_others(top: &mut Section, findings: &mut Findings, main: &str) {
    for key in MAIN_ONLY {
        if let Some(span) = top.key_span(key) {
            top.value(key);
            let message = format!(
                "`{key}` stands in an included file; those hold the plan only ({}): connections, secrets and locations stay in {main}",
                SECTIONS.join(", ")
            );
            findings.problem(&span, message);
        }
    }
    if let Some(span) = top.key_span("include") {
        top.value("include");
        let message = format!("`include` stands in an included file; expected all files in the `include` of {main}");
        findings.problem(&span, message);
    }
}

/// Reads the files of a pattern, relative to the file that includes them. Only the last part of a pattern may have a `*`.
pub fn fetch(main: &Path, pattern: &str) -> Result<Vec<(String, String)>, String> {
    let whole = main.parent().unwrap_or(Path::new("")).join(pattern);
    let (Some(directory), Some(last)) = (whole.parent(), whole.file_name().and_then(|name| name.to_str())) else {
        return Err("that is no file".to_owned());
    };
    if directory.to_string_lossy().contains('*') {
        return Err("only the last part of a path may have a `*`".to_owned());
    }
    let own = main.canonicalize().ok();
    let is_own = |path: &Path| own.is_some() && path.canonicalize().ok() == own;
    let paths = match last.contains('*') {
        true => matching(directory, last)?.into_iter().filter(|path| !is_own(path)).collect(),
        false if is_own(&whole) => return Err("that is this file itself".to_owned()),
        false => vec![whole.clone()],
    };
    if paths.is_empty() {
        return Err(format!("no file matches in {}", shown_directory(directory)));
    }
    if paths.len() > FILES_MAX {
        return Err(format!("{} files match; {FILES_MAX} are the most", paths.len()));
    }
    paths.into_iter().map(|path| Ok((path.to_string_lossy().into_owned(), text(&path)?))).collect()
}

fn text(path: &Path) -> Result<String, String> {
    let why = |error: &dyn std::error::Error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    read_file(path).map_err(|error| why(&error))
}

fn shown_directory(directory: &Path) -> String {
    if directory.as_os_str().is_empty() { "this directory".to_owned() } else { directory.display().to_string() }
}

/// The files of a directory, by name. Hidden ones are an editor's.
fn matching(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = std::fs::read_dir(here).map_err(|error| format!("list {}: {error}", shown_directory(directory)))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("list {}: {error}", shown_directory(directory)))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let path = directory.join(name);
        if matches(pattern, name) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name is what a pattern with `*` says.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.split_once(part) {
            _ if part.is_empty() => {}
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml~", false),
            ("*.toml", ".toml", true),
            ("plan-*.toml", "plan-a.toml", true),
            ("plan-*.toml", "plan.toml", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxc", false),
            ("a*bc*c", "abc", false),
            ("**", "x", true),
            ("x", "x", true),
            ("x", "xy", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}

//! Walks a TOML table key by key, so that each message can name line, key, what was found and what is expected.
//!
//! Reading goes on after a problem: the caller gets `None` for that key and the problem is kept in the [`Findings`].

use super::UnknownKeys;
use super::problem::Problem;
use super::secret::SecretSource;
use super::values;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How a secret is given.
pub(super) const SECRET_EXPECTED: &str =
    "{ file = \"/path\" }, { env = \"NAME\" } or { command = [\"program\", \"argument\"] }";

/// What was found wrong so far, and how to say where.
pub(super) struct Findings<'t> {
    pub text: &'t str,
    pub file: &'t str,
    pub unknown_keys: UnknownKeys,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Findings<'_> {
    /// A problem at a span of the text.
    pub fn problem(&mut self, at: &Range<usize>, message: String) {
        let problem = self.at(at, message);
        self.problems.push(problem);
    }

    /// A problem of the file as a whole.
    pub fn missing(&mut self, message: String) {
        self.problems.push(Problem { file: self.file.to_owned(), line: None, message });
    }

    fn unknown(&mut self, at: &Range<usize>, message: String) {
        let problem = self.at(at, message);
        match self.unknown_keys {
            UnknownKeys::Refuse | UnknownKeys::RefuseButInPlan => self.problems.push(problem),
            UnknownKeys::Warn => self.warnings.push(problem),
        }
    }

    fn at(&self, span: &Range<usize>, message: String) -> Problem {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Problem { file: self.file.to_owned(), line: Some(line), message }
    }
}

/// One table of the file, and which of its keys have been asked for.
pub(super) struct Section<'a, 't> {
    table: &'a DeTable<'t>,
    /// For messages: `[location.ohio]`, or `the file` for the outermost.
    name: String,
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'a, 't> Section<'a, 't> {
    pub fn new(name: impl Into<String>, table: &'a DeTable<'t>, span: Range<usize>) -> Self {
        Self { table, name: name.into(), span, known: Vec::new() }
    }

    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the value of a key stands, or the section when there is none.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.span(), |value| value.span())
    }

    /// Where the name of a key stands, if it is there.
    pub fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }

    /// What the file says, as it is.
    pub fn table(&self) -> &'a DeTable<'t> {
        self.table
    }

    /// The keys that were asked for and are not there.
    pub fn missing(&self) -> Vec<&'static str> {
        self.known.iter().copied().filter(|key| !self.has(key)).collect()
    }

    /// Whether the file names the key.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key. From here on the key is known.
    pub fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    /// The value of a key, converted; a problem when the conversion says `None`.
    pub fn read<T>(
        &mut self,
        findings: &mut Findings,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let converted = convert(value.get_ref());
        if converted.is_none() {
            let found = describe(value.get_ref());
            findings.problem(&value.span(), format!("`{key}` in {} is {found}; expected {expected}", self.name));
        }
        converted
    }

    /// The same for a key that must be there.
    pub fn require<T>(
        &mut self,
        findings: &mut Findings,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            findings.problem(&self.span(), format!("`{key}` is missing in {}; expected {expected}", self.name));
        }
        self.read(findings, key, expected, convert)
    }

    pub fn text(&mut self, findings: &mut Findings, key: &'static str, expected: &str) -> Option<String> {
        self.read(findings, key, expected, text_of)
    }

    pub fn integer(&mut self, findings: &mut Findings, key: &'static str, range: Range<u64>) -> Option<u64> {
        let expected = format!("a whole number of {} to {}", range.start, range.end - 1);
        self.read(findings, key, &expected, |value| {
            let number = value.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| range.contains(number))
        })
    }

    pub fn duration(
        &mut self,
        findings: &mut Findings,
        key: &'static str,
        (least, most): (Duration, Duration),
        expected: &str,
    ) -> Option<Duration> {
        self.read(findings, key, expected, |value| {
            values::parse_duration(value.as_str()?).filter(|duration| (least..=most).contains(duration))
        })
    }

    /// Bytes per second.
    pub fn rate(&mut self, findings: &mut Findings, key: &'static str) -> Option<u64> {
        self.read(findings, key, values::RATE_EXPECTED, |value| values::parse_rate(value.as_str()?))
    }

    pub fn absolute_path(&mut self, findings: &mut Findings, key: &'static str) -> Option<PathBuf> {
        self.read(findings, key, "an absolute path", |value| absolute(value.as_str()?))
    }

    pub fn texts(&mut self, findings: &mut Findings, key: &'static str, expected: &str) -> Option<Vec<String>> {
        self.read(findings, key, expected, texts_of)
    }

    /// A secret by reference. A secret that stands in the file itself is refused, and not repeated in the message.
    pub fn secret(&mut self, findings: &mut Findings, key: &'static str) -> Option<SecretSource> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            let found = if value.get_ref().is_str() { "written out" } else { describe_kind(value.get_ref()) };
            let message =
                format!("`{key}` in {} is {found}; a secret is given by reference: {SECRET_EXPECTED}", self.name);
            findings.problem(&value.span(), message);
            return None;
        };
        Section::new(format!("`{key}` in {}", self.name), table, value.span()).into_secret(findings)
    }

    /// This table, when it is the reference to a secret.
    pub fn into_secret(mut self, findings: &mut Findings) -> Option<SecretSource> {
        let (before, name, span) = (findings.problems.len(), self.name.clone(), self.span());
        let file = self.absolute_path(findings, "file").map(SecretSource::File);
        let variable = self.read(findings, "env", "the name of an environment variable", |value| {
            value.as_str().filter(|name| !name.is_empty() && !name.contains(['=', '\0'])).map(str::to_owned)
        });
        let command = self.read(findings, "command", "a list: program and arguments", |value| {
            texts_of(value).filter(|words| words.first().is_some_and(|program| !program.is_empty()))
        });
        self.finish(findings);
        let sources = [file, variable.map(SecretSource::Environment), command.map(SecretSource::Command)];
        let mut sources: Vec<SecretSource> = sources.into_iter().flatten().collect();
        if sources.len() != 1 && findings.problems.len() == before {
            let count = if sources.is_empty() { "no source" } else { "more than one source" };
            findings.problem(&span, format!("{name} names {count}; expected one of {SECRET_EXPECTED}"));
        }
        sources.pop()
    }

    /// The table of a key, such as `[plan]`, as a section of its own.
    pub fn section(&mut self, findings: &mut Findings, key: &'static str) -> Option<Section<'a, 't>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            let found = describe(value.get_ref());
            findings.problem(&value.span(), format!("`{key}` is {found}; expected a section [{key}]"));
            return None;
        };
        let span = self.key_span(key).unwrap_or_else(|| value.span());
        Some(Section::new(format!("[{key}]"), table, span))
    }

    /// Each entry of a table of tables, such as `[location.*]`, as a section of its own.
    pub fn subsections(&mut self, findings: &mut Findings, key: &'static str) -> Vec<(String, Section<'a, 't>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            let found = describe(value.get_ref());
            findings.problem(&value.span(), format!("`{key}` is {found}; expected sections [{key}.NAME]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (name, value) in table {
            let text: &str = name.get_ref();
            let Some(table) = value.get_ref().as_table() else {
                let found = describe(value.get_ref());
                let message = format!("`{}` in [{key}] is {found}; expected a section [{key}.NAME]", shown(text));
                findings.problem(&name.span(), message);
                continue;
            };
            if !values::is_name(text) {
                let message = format!(
                    "[{key}.{}] is not a name; expected 1 to 63 of a-z, 0-9, `-`, `_`, the first a letter or digit",
                    shown(text)
                );
                findings.problem(&name.span(), message);
            }
            sections.push((text.to_owned(), Section::new(format!("[{key}.{}]", shown(text)), table, name.span())));
        }
        sections
    }

    /// Reports every key that nobody asked for, with the nearest one that is known.
    pub fn finish(self, findings: &mut Findings) {
        for key in self.table.keys() {
            let text: &str = key.get_ref();
            if self.known.contains(&text) {
                continue;
            }
            let advice = match values::nearest(text, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            findings.unknown(&key.span(), format!("unknown key `{}` in {}; {advice}", shown(text), self.name));
        }
    }
}

/// One slip makes several errors; the first is the one to mend.
pub(super) fn syntax_error(findings: &mut Findings, error: &toml::de::Error) {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    findings.problem(&error.span().unwrap_or(0..0), format!("not valid TOML: {message}"));
}

pub(super) fn absolute(text: &str) -> Option<PathBuf> {
    (text.starts_with('/') && !text.contains('\0')).then(|| PathBuf::from(text))
}

fn text_of(value: &DeValue) -> Option<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

pub(super) fn texts_of(value: &DeValue) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| text_of(item.get_ref())).collect()
}

/// A foreign text in a message: on one line, and not longer than one.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

pub(super) fn describe(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shown(text)),
        DeValue::Integer(number) => shown(&number.to_string()),
        DeValue::Float(number) => shown(&number.to_string()),
        DeValue::Boolean(value) => value.to_string(),
        other => describe_kind(other).to_owned(),
    }
}

fn describe_kind(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(array) if array.is_empty() => "an empty list",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

//! Walks a TOML table key by key, so that each message can name line, key, what was found and what is expected.

use super::parse::Problem;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Of a text, so much is repeated in a message.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// What is wrong so far.
pub(super) struct Findings<'t> {
    pub file: &'t str,
    pub text: &'t str,
    pub problems: Vec<Problem>,
}

impl Findings<'_> {
    pub fn problem(&mut self, at: &Range<usize>, message: String) {
        let line = self.text.as_bytes().iter().take(at.start).filter(|byte| **byte == b'\n').count() + 1;
        self.problems.push(Problem { file: self.file.to_owned(), line: Some(line), message });
    }
}

/// One table, and which of its keys were asked for.
pub(super) struct Table<'a, 't> {
    table: &'a DeTable<'t>,
    pub name: String,
    pub span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'a, 't> Table<'a, 't> {
    pub fn new(name: impl Into<String>, table: &'a DeTable<'t>, span: Range<usize>) -> Self {
        Self { table, name: name.into(), span, known: Vec::new() }
    }

    /// The table behind a value, or a problem.
    pub fn of(name: &str, value: &'a Spanned<DeValue<'t>>, findings: &mut Findings) -> Option<Self> {
        let found = value.get_ref().as_table().map(|table| Self::new(name, table, value.span()));
        if found.is_none() {
            findings.problem(&value.span(), format!("{name} is {}; expected a table", describe(value.get_ref())));
        }
        found
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.table.keys().map(|key| (key.get_ref().as_ref(), key.span()))
    }

    /// From here on the key is known.
    pub fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

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

    pub fn text(&mut self, findings: &mut Findings, key: &'static str) -> Option<String> {
        self.read(findings, key, "a text", text_of)
    }

    pub fn texts(&mut self, findings: &mut Findings, key: &'static str) -> Option<Vec<String>> {
        self.read(findings, key, "a list of texts, not empty", |value| texts_of(value).filter(|list| !list.is_empty()))
    }

    pub fn boolean(&mut self, findings: &mut Findings, key: &'static str) -> Option<bool> {
        self.read(findings, key, "true or false", DeValue::as_bool)
    }

    pub fn duration(&mut self, findings: &mut Findings, key: &'static str) -> Option<Duration> {
        self.read(findings, key, "a duration such as \"500ms\", \"30s\", \"5m\", \"2h\"", |value| {
            duration_of(value.as_str()?)
        })
    }

    /// A table of texts.
    pub fn map(&mut self, findings: &mut Findings, key: &'static str) -> BTreeMap<String, String> {
        let found = self.read(findings, key, "a table of texts", |value| {
            let pairs = value.as_table()?.iter();
            pairs.map(|(key, value)| Some((key.get_ref().to_string(), text_of(value.get_ref())?))).collect()
        });
        found.unwrap_or_default()
    }

    /// Every key that nobody asked for is a problem.
    pub fn finish(self, findings: &mut Findings) {
        for key in self.table.keys() {
            let text: &str = key.get_ref();
            if !self.known.contains(&text) {
                let advice = advice(text, &self.known);
                findings.problem(&key.span(), format!("unknown key `{}` in {}; {advice}", shown(text), self.name));
            }
        }
    }
}

/// "did you mean", or what there is.
pub(super) fn advice(text: &str, known: &[&str]) -> String {
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(text, name), name)).min();
    match near {
        Some((distance, near)) if distance <= 1 + text.len() / 4 => format!("did you mean `{near}`?"),
        _ => format!("known are {}", known.join(", ")),
    }
}

pub(super) fn text_of(value: &DeValue) -> Option<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

pub(super) fn texts_of(value: &DeValue) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| text_of(item.get_ref())).collect()
}

/// Reads `"500ms"`, `"30s"`, `"5m"`, `"2h"`, `"1d"`.
pub(super) fn duration_of(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let found = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
    (found > 0).then(|| Duration::from_millis(found))
}

/// A value as JSON. `None` for what is not finite.
pub(super) fn json_of(value: &DeValue) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => serde_json::Number::from_f64(number.as_str().parse().ok()?)?.into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(list) => list.iter().map(|item| json_of(item.get_ref())).collect::<Option<Vec<_>>>()?.into(),
        DeValue::Table(table) => {
            let pairs = table.iter();
            let map: Option<serde_json::Map<_, _>> =
                pairs.map(|(key, value)| Some((key.get_ref().to_string(), json_of(value.get_ref())?))).collect();
            map?.into()
        }
    })
}

pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}

pub(super) fn describe(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shown(text)),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

//! Reads one section of the plan: what every [`Section`] can, and what only plans need (dates, amounts, names of other sections).

use crate::config::section::{Findings, Section, describe, texts_of};
use crate::config::values::is_name;
use jiff::civil::Date;
use lifeboat_plan::money::Money;
use std::collections::BTreeSet;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// No time of a plan is longer: ten years.
pub(super) const TIME_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// No amount is more, in units of the currency: more money than there is.
const AMOUNT_MAX: f64 = 1e15;
const NAME_EXPECTED: &str = "1 to 63 of a-z, 0-9, `-`, `_`";

/// See the module.
pub(super) struct Reader<'r, 'a, 't, 'f> {
    pub section: Section<'a, 't>,
    pub findings: &'r mut Findings<'f>,
}

impl<'r, 'a, 't, 'f> Reader<'r, 'a, 't, 'f> {
    pub fn new(section: Section<'a, 't>, findings: &'r mut Findings<'f>) -> Self {
        Self { section, findings }
    }

    /// Words of somebody, on one line.
    pub fn text(&mut self, key: &'static str, expected: &str) -> Option<String> {
        let expected = format!("{expected}, on one line");
        self.section.read(self.findings, key, &expected, |value| line_of(value.as_str()?))
    }

    /// The same; it must be there.
    pub fn title(&mut self, key: &'static str, expected: &str) -> Option<String> {
        let expected = format!("{expected}, on one line");
        self.section.require(self.findings, key, &expected, |value| line_of(value.as_str()?))
    }

    /// Words of somebody, on as many lines as it takes.
    pub fn prose(&mut self, key: &'static str, expected: &str) -> Option<String> {
        self.section.read(self.findings, key, expected, |value| {
            let lines: Option<Vec<String>> =
                value.as_str()?.trim().lines().map(|line| clean(line.trim_end())).collect();
            lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join("\n"))
        })
    }

    /// Several texts of one line each.
    pub fn lines(&mut self, key: &'static str, expected: &str) -> Vec<String> {
        let lines = self
            .section
            .read(self.findings, key, expected, |value| texts_of(value)?.iter().map(|text| line_of(text)).collect());
        lines.unwrap_or_default()
    }

    /// The name of another section.
    pub fn name(&mut self, key: &'static str, of: &str) -> Option<String> {
        let expected = format!("the name of {of}: {NAME_EXPECTED}");
        self.section.read(self.findings, key, &expected, |value| name_of(value.as_str()?))
    }

    /// The same; it must be there.
    pub fn required_name(&mut self, key: &'static str, of: &str) -> Option<String> {
        let expected = format!("the name of {of}: {NAME_EXPECTED}");
        self.section.require(self.findings, key, &expected, |value| name_of(value.as_str()?))
    }

    /// Names of other sections, in their order, each once.
    pub fn names(&mut self, key: &'static str, of: &str) -> Vec<String> {
        let found = self.section.value(key);
        let name = format!("`{key}` in {}", self.section.name());
        found.and_then(|value| names(self.findings, &name, value, of)).unwrap_or_default()
    }

    pub fn set(&mut self, key: &'static str, of: &str) -> BTreeSet<String> {
        self.names(key, of).into_iter().collect()
    }

    /// A time of at least `least`.
    pub fn time(&mut self, key: &'static str, least: Duration, expected: &str) -> Option<Duration> {
        self.section.duration(self.findings, key, (least, TIME_MAX), expected)
    }

    /// A day of the calendar.
    pub fn date(&mut self, key: &'static str) -> Option<Date> {
        self.section.read(self.findings, key, "a day without a time, such as 2026-10-01", date_of)
    }

    /// An amount, in the plan's currency.
    pub fn amount(&mut self, key: &'static str) -> Option<Money> {
        self.section.read(self.findings, key, "an amount such as 4000 or 12.50, in the plan's currency", amount_of)
    }

    /// Program and arguments.
    pub fn program(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.section.read(self.findings, key, "a list: program and arguments", |value| {
            let words: Option<Vec<String>> =
                value.as_array()?.iter().map(|word| word.get_ref().as_str().map(str::to_owned)).collect();
            let words = words?;
            let sound = words.first().is_some_and(|program| !program.trim().is_empty());
            (sound && !words.iter().any(|word| word.contains('\0'))).then_some(words)
        })
    }

    /// One of these words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let expected = listed(choices.iter().map(|(word, _)| *word));
        self.section.read(self.findings, key, &expected, |value| {
            let word = value.as_str()?;
            choices.iter().find(|(known, _)| *known == word).map(|(_, choice)| *choice)
        })
    }

    /// The same; it must be there.
    pub fn required_choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        if !self.section.has(key) {
            let expected = listed(choices.iter().map(|(word, _)| *word));
            self.section.require(self.findings, key, &expected, |_| None::<()>);
        }
        self.choice(key, choices)
    }

    /// A table in the section, to be read and finished by itself.
    pub fn inner(&mut self, key: &'static str, expected: &str) -> Option<Reader<'_, 'a, 't, 'f>> {
        let value = self.section.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            return self.section.read(self.findings, key, expected, |_| None);
        };
        let section = Section::new(format!("`{key}` in {}", self.section.name()), table, self.section.span_of(key));
        Some(Reader::new(section, self.findings))
    }

    /// A problem at a key, or at the section when the key isn't there.
    pub fn problem(&mut self, key: &str, message: String) {
        let span = self.section.span_of(key);
        self.findings.problem(&span, message);
    }

    /// Complains of unknown keys. Gives the keys that could be there and are not.
    pub fn finish(self) -> Vec<&'static str> {
        let missing = self.section.missing();
        self.section.finish(self.findings);
        missing
    }
}

/// Names in a list, in their order, each once.
pub(super) fn names(
    findings: &mut Findings,
    name: &str,
    value: &Spanned<DeValue<'_>>,
    of: &str,
) -> Option<Vec<String>> {
    let Some(items) = value.get_ref().as_array() else {
        let found = describe(value.get_ref());
        findings.problem(&value.span(), format!("{name} is {found}; expected a list of names of {of}"));
        return None;
    };
    let mut found: Vec<String> = Vec::new();
    for item in items.iter() {
        match item.get_ref().as_str().and_then(name_of) {
            Some(text) if found.contains(&text) => {
                findings.problem(&item.span(), format!("{name} names `{text}` twice; once is enough"));
            }
            Some(text) => found.push(text),
            None => {
                let what = describe(item.get_ref());
                findings.problem(&item.span(), format!("{name} holds {what}; expected names of {of}: {NAME_EXPECTED}"));
            }
        }
    }
    Some(found)
}

fn listed<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(""),
    }
}

fn name_of(text: &str) -> Option<String> {
    is_name(text).then(|| text.to_owned())
}

/// Without what would move the cursor of a terminal.
fn clean(line: &str) -> Option<String> {
    (!line.chars().any(char::is_control)).then(|| line.to_owned())
}

pub(super) fn line_of(text: &str) -> Option<String> {
    clean(text.trim()).filter(|line| !line.is_empty())
}

fn date_of(value: &DeValue) -> Option<Date> {
    if let Some(text) = value.as_str() {
        return (text.len() == 10).then(|| text.parse().ok()).flatten();
    }
    let moment = value.as_datetime().filter(|moment| moment.time.is_none() && moment.offset.is_none())?;
    let date = moment.date?;
    let part = |number: u8| i8::try_from(number).ok();
    Date::new(i16::try_from(date.year).ok()?, part(date.month)?, part(date.day)?).ok()
}

/// What a number is, whole or not.
pub(super) fn number_of(value: &DeValue) -> Option<f64> {
    let number = match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()? as f64,
        DeValue::Float(number) => number.as_str().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn amount_of(value: &DeValue) -> Option<Money> {
    number_of(value).filter(|number| (0.0..=AMOUNT_MAX).contains(number)).and_then(Money::from_float)
}

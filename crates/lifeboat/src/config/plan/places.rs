//! Where each thing stands: file and line, by the path of its names.

use crate::config::section::Section;
use crate::config::values::is_name;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
}

/// The lines of one file.
pub(super) struct Lines<'f> {
    file: &'f str,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl<'f> Lines<'f> {
    pub fn of(file: &'f str, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        Self { file, ends: ends.collect() }
    }

    fn place(&self, at: usize) -> Place {
        Place { file: self.file.to_owned(), line: self.ends.partition_point(|end| *end < at) + 1 }
    }

    /// A section and everything in it.
    pub fn note(&self, places: &mut BTreeMap<String, Place>, path: &str, section: &Section) {
        places.insert(path.to_owned(), self.place(section.span().start));
        self.note_table(places, path, section.table());
    }

    /// The same for the value of a key, whatever it is.
    pub fn note_key(&self, places: &mut BTreeMap<String, Place>, top: &Section, key: &str) {
        if let Some((name, value)) = top.table().get_key_value(key) {
            places.insert(key.to_owned(), self.place(name.span().start));
            self.note_value(places, key, value);
        }
    }

    /// Keys that could be in a section and are not: where they would be.
    pub fn note_missing(&self, places: &mut BTreeMap<String, Place>, path: &str, keys: &[&str]) {
        let Some(section) = places.get(path).cloned() else { return };
        for key in keys {
            places.insert(format!("{path}.{key}"), section.clone());
        }
    }

    fn note_table(&self, places: &mut BTreeMap<String, Place>, path: &str, table: &DeTable) {
        for (key, value) in table {
            let inner = format!("{path}.{}", key.get_ref());
            places.insert(inner.clone(), self.place(key.span().start));
            self.note_value(places, &inner, value);
        }
    }

    fn note_value(&self, places: &mut BTreeMap<String, Place>, path: &str, value: &Spanned<DeValue>) {
        match value.get_ref() {
            DeValue::Table(table) => self.note_table(places, path, table),
            DeValue::Array(array) => {
                for (number, item) in array.iter().enumerate() {
                    let name = item.get_ref().as_str().filter(|text| is_name(text)).map(str::to_owned);
                    let inner = format!("{path}.{}", name.unwrap_or_else(|| number.to_string()));
                    places.insert(inner.clone(), self.place(item.span().start));
                    self.note_value(places, &inner, item);
                }
            }
            _ => {}
        }
    }
}

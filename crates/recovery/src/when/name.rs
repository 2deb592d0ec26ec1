//! The name of a table as a person types it, and whether a table is meant by it.

use lifeboat_postgres::catalog::RelationKind;
use serde::Serialize;
use std::fmt;

/// Names of this length and less are PostgreSQL's own (`NAMEDATALEN`).
const NAME_BYTES_MAX: usize = 63;

/// What was typed: `table` or `schema.table`, as in SQL: in small letters unless quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedTable {
    /// None: in any schema but PostgreSQL's own.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// None: in any database.
    pub database: Option<String>,
}

/// A text that can't be a table's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a table's name")]
pub struct NotAName(String);

/// A table, with all its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TableName {
    /// The database; its number when its name isn't known.
    pub database: String,
    /// The schema; its number when its name isn't known.
    pub schema: String,
    /// The table.
    pub table: String,
}

impl WantedTable {
    /// From what was typed.
    pub fn parse(text: &str, database: Option<&str>) -> Result<Self, NotAName> {
        let wrong = || NotAName(text.chars().take(200).collect());
        let mut parts = Vec::new();
        let mut rest = text.chars().peekable();
        loop {
            let mut part = String::new();
            if rest.next_if_eq(&'"').is_some() {
                loop {
                    match rest.next().ok_or_else(wrong)? {
                        '"' if rest.next_if_eq(&'"').is_none() => break,
                        letter => part.push(letter),
                    }
                }
            } else {
                while let Some(letter) = rest.next_if(|letter| !matches!(letter, '.' | '"')) {
                    part.extend(letter.to_lowercase());
                }
            }
            if part.is_empty() || part.len() > NAME_BYTES_MAX {
                return Err(wrong());
            }
            parts.push(part);
            match rest.next() {
                None => break,
                Some('.') => {}
                Some(_) => return Err(wrong()),
            }
        }
        let (schema, table) = match <[String; 2]>::try_from(parts) {
            Ok([schema, table]) => (Some(schema), table),
            Err(parts) => match <[String; 1]>::try_from(parts) {
                Ok([table]) => (None, table),
                Err(_) => return Err(wrong()),
            },
        };
        Ok(Self { schema, table, database: database.map(str::to_owned) })
    }

    /// Whether this table is meant.
    pub fn means(&self, name: &TableName) -> bool {
        let is_own = name.schema.starts_with("pg_") || name.schema == "information_schema";
        self.table == name.table
            && self.schema.as_ref().map_or(!is_own, |schema| *schema == name.schema)
            && self.database.as_ref().is_none_or(|database| *database == name.database)
    }
}

impl fmt::Display for WantedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quoted(schema))?;
        }
        f.write_str(&quoted(&self.table))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(&self.schema), quoted(&self.table))
    }
}

/// As it must be typed.
fn quoted(name: &str) -> String {
    let is_plain = |letter: char| letter.is_lowercase() || letter.is_ascii_digit() || letter == '_' || letter == '$';
    match name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Whether what has this name is something one loses.
pub fn is_table(kind: RelationKind) -> bool {
    kind != RelationKind::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(Option<String>, String)> {
        WantedTable::parse(text, None).ok().map(|wanted| (wanted.schema, wanted.table))
    }

    #[test]
    fn names_are_read_as_sql_reads_them_and_told_as_they_must_be_typed() {
        for (text, schema, table, told) in [
            ("orders", None, "orders", "orders"),
            ("Public.Orders", Some("public"), "orders", "public.orders"),
            ("\"Orders\"", None, "Orders", "\"Orders\""),
            ("a.\"x.y\"", Some("a"), "x.y", "a.\"x.y\""),
            ("\"a\"\"b\".c", Some("a\"b"), "c", "\"a\"\"b\".c"),
            ("größe", None, "größe", "größe"),
        ] {
            assert_eq!(parsed(text), Some((schema.map(str::to_owned), table.to_owned())), "{text}");
            assert_eq!(WantedTable::parse(text, None).unwrap().to_string(), told);
        }
        for text in ["", ".", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "a\"b\"", "\"\"", &"x".repeat(64)] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn without_a_schema_all_are_meant_but_postgresqls_own() {
        let name = |database: &str, schema: &str, table: &str| TableName {
            database: database.into(),
            schema: schema.into(),
            table: table.into(),
        };
        let any = WantedTable::parse("orders", None).unwrap();
        assert!(any.means(&name("app", "public", "orders")) && any.means(&name("app", "old", "orders")));
        assert!(!any.means(&name("app", "pg_temp_3", "orders")) && !any.means(&name("app", "public", "order")));
        let one = WantedTable::parse("pg_catalog.orders", Some("app")).unwrap();
        assert!(one.means(&name("app", "pg_catalog", "orders")) && !one.means(&name("b", "pg_catalog", "orders")));
        assert!(!one.means(&name("app", "public", "orders")));
    }
}

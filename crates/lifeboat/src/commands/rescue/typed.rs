//! What was typed for `rescue`, understood before anything is looked at; and lines to type next. Pure.

use super::names::{Names, told};
use crate::cli::{MomentArguments, RescueArguments};
use crate::failure::{Failure, FailureKind};
use crate::output::shell;
use lifeboat_recovery::when::WantedTable;

/// A longer condition is a mistake.
const FILTER_BYTES_MAX: usize = 100_000;

/// A table that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// As it was typed.
    pub text: String,
    /// None: wherever the server looks for it.
    pub schema: Option<String>,
    pub name: String,
}

/// All that was asked for, as far as it can be understood without a server.
#[derive(Debug)]
pub struct Wish<'a> {
    arguments: &'a RescueArguments,
    pub tables: Vec<Typed>,
    pub filter: Option<&'a str>,
    pub database: String,
    /// Whether it is the one that is meant when none is named.
    is_default_database: bool,
    pub names: Names,
}

impl<'a> Wish<'a> {
    /// From what was typed, and the database that the workload's connection names.
    pub fn new(arguments: &'a RescueArguments, default_database: String, names: Names) -> Result<Self, Failure> {
        let filter = arguments.filter.as_deref();
        if let Some(filter) = filter
            && (filter.trim().is_empty() || filter.len() > FILTER_BYTES_MAX || filter.contains('\0'))
        {
            return Err(not_a_condition("--where is no condition".into()));
        }
        let database = arguments.database.clone().unwrap_or_else(|| default_database.clone());
        let is_default_database = database == default_database;
        Ok(Self { arguments, tables: tables(&arguments.tables)?, filter, database, is_default_database, names })
    }

    /// A line that asks the same moment of the same database for something else.
    pub fn line(&self, more: &[&str]) -> String {
        let workload = self.arguments.workload.as_str();
        let mut words: Vec<String> =
            ["lifeboat", "rescue", workload].iter().chain(more).map(ToString::to_string).collect();
        if !self.is_default_database {
            words.extend(["--database".to_owned(), self.database.clone()]);
        }
        words.extend(moment(&self.arguments.moment));
        shell::line(words)
    }
}

/// A condition that is none.
pub fn not_a_condition(message: String) -> Failure {
    Failure::new(FailureKind::Usage, message).with_hint("--where takes an SQL condition, such as \"customer = 7\"")
}

/// The options that name a moment, as they were typed.
fn moment(moment: &MomentArguments) -> Vec<String> {
    let MomentArguments { point, timeline, from, exclusive, target } = moment;
    let options = [
        ("--at", target.at.clone()),
        ("--lsn", target.lsn.map(|lsn| lsn.to_string())),
        ("--xid", target.xid.map(|xid| xid.to_string())),
        ("--name", target.name.clone()),
        ("--point", point.clone()),
        ("--timeline", timeline.map(|timeline| timeline.to_string())),
        ("--from", from.clone()),
    ];
    let given = options.into_iter().filter_map(|(option, value)| Some([option.to_owned(), value?])).flatten();
    let flags = [("--immediate", target.immediate), ("--exclusive", *exclusive)];
    given.chain(flags.into_iter().filter(|(_, is_given)| *is_given).map(|(flag, _)| flag.to_owned())).collect()
}

/// The names of tables, several of which may stand behind one option.
fn tables(given: &[String]) -> Result<Vec<Typed>, Failure> {
    given.iter().flat_map(|text| apart(text)).map(|text| one(&text)).collect()
}

/// Cut at commas, but not in quoted names.
fn apart(text: &str) -> Vec<String> {
    let (mut all, mut is_quoted) = (vec![String::new()], false);
    for letter in text.chars() {
        is_quoted ^= letter == '"';
        match all.last_mut() {
            Some(last) if letter != ',' || is_quoted => last.push(letter),
            _ => all.push(String::new()),
        }
    }
    all
}

fn one(text: &str) -> Result<Typed, Failure> {
    // As a shell is given it, and nobody took the quotes away.
    let bare = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(text).trim();
    let wanted = WantedTable::parse(bare, None).map_err(|error| {
        Failure::from_error(FailureKind::Usage, &error)
            .with_hint("write table or schema.table, as in SQL; for a shell, '\"My Schema\".\"Orders\"'")
    })?;
    Ok(Typed { text: bare.to_owned(), schema: wanted.schema, name: wanted.table })
}

impl Typed {
    /// As SQL must be given it.
    pub fn in_sql(&self) -> String {
        match &self.schema {
            Some(schema) => super::names::qualified(schema, &self.name),
            None => super::names::quoted(&self.name),
        }
    }

    /// For people, under another name.
    pub fn called(&self, name: &str) -> String {
        self.schema.as_ref().map_or_else(|| super::names::plain(name), |schema| told(schema, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_cut_at_commas_outside_of_quotes() {
        let typed = |text: &str| -> Vec<(Option<String>, String)> {
            let typed = tables(&[text.to_owned()]).unwrap_or_else(|failure| panic!("{text}: {failure}"));
            typed.into_iter().map(|typed| (typed.schema, typed.name)).collect()
        };
        let in_schema = |schema: &str, name: &str| (Some(schema.to_owned()), name.to_owned());
        let alone = |name: &str| (None, name.to_owned());
        assert_eq!(typed("orders,Public.Customers"), [alone("orders"), in_schema("public", "customers")]);
        assert_eq!(typed("orders, items"), [alone("orders"), alone("items")]);
        assert_eq!(typed("\"a,b\".\"c.d\",e"), [in_schema("a,b", "c.d"), alone("e")]);
        assert_eq!(typed("\"say \"\"no\"\", please\""), [alone("say \"no\", please")]);
        assert_eq!(typed("'\"My Schema\".\"Orders\"'"), [in_schema("My Schema", "Orders")]);
        for text in ["", "a,,b", "a.b.c", "\"a", "a\"b", "''"] {
            let refused = tables(&[text.to_owned()]).unwrap_err();
            assert!(refused.kind == FailureKind::Usage && refused.hint.is_some(), "{text}: {refused:?}");
        }
    }

    #[test]
    fn the_next_line_to_type_asks_the_same_moment_of_the_same_database() {
        use clap::Parser;
        let typed = "lifeboat rescue shop --table orders --database my-app --at|10 minutes ago|--from|ohio|--exclusive";
        let words =
            typed.split('|').flat_map(|part| if part.contains("ago") { vec![part] } else { part.split(' ').collect() });
        let cli = crate::cli::Cli::try_parse_from(words).unwrap();
        let crate::cli::Command::Rescue(arguments) = cli.command else { panic!("another command") };
        let line = |default: &str| {
            let wish = Wish::new(&arguments, default.into(), Names::Same).unwrap();
            wish.line(&["--table", "\"Orders\""])
        };
        let moment = "--at '10 minutes ago' --from ohio --exclusive";
        assert_eq!(line("shop"), format!("lifeboat rescue shop --table '\"Orders\"' --database my-app {moment}"));
        assert_eq!(line("my-app"), format!("lifeboat rescue shop --table '\"Orders\"' {moment}"));
    }
}

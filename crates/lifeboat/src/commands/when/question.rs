//! A condition, put to the server of one moment.

use super::super::served::Past;
use crate::failure::{Failure, FailureKind};
use crate::output::human;
use jiff::Timestamp;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::connection::{Client, DriverError};
use serde::Serialize;
use std::time::Duration;

/// How long the server of one moment may think about it. What it reads must come first.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What the condition is at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer", content = "why")]
pub enum Answer {
    True,
    False,
    Null,
    /// What it is about isn't there, or a value can't be computed: what the server said.
    #[serde(rename = "no_answer")]
    Nothing(String),
}

/// What was seen at one moment.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Up to where the log was replayed; none when nothing of it was.
    pub reached: Option<Lsn>,
    /// When the last transaction in it ended.
    pub at: Option<Timestamp>,
    pub answer: Answer,
}

impl Answer {
    /// For people.
    pub fn spoken(&self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Null => "null",
            Self::Nothing(_) => "no answer",
        }
    }

    /// With what the server said.
    pub fn in_full(&self) -> String {
        match self {
            Self::Nothing(why) => format!("no answer ({why})"),
            _ => self.spoken().into(),
        }
    }

    /// Whether it is the same, whatever the server's words were.
    pub fn is_like(&self, other: &Self) -> bool {
        self.spoken() == other.spoken()
    }
}

/// What the server's refusal means for the condition, by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// At this moment it has no answer.
    NoAnswer,
    /// It is no condition.
    Wrong,
    TooSlow,
    /// The server's own trouble.
    Other,
}

fn meaning(code: &str) -> Meaning {
    match code {
        // A relation, column, schema, function, type or database that isn't there, and values that can't be computed.
        "42P01" | "42703" | "3F000" | "42883" | "42704" | "3D000" => Meaning::NoAnswer,
        _ if code.starts_with("22") => Meaning::NoAnswer,
        "57014" => Meaning::TooSlow,
        // Syntax and its kin; what only a session may do that writes.
        _ if code.starts_with("42") || code == "25006" || code == "0A000" => Meaning::Wrong,
        _ => Meaning::Other,
    }
}

/// Asks how far the server came, and the condition.
pub async fn ask(past: &Past<'_>, condition: &str, database: &str) -> Result<Seen, Failure> {
    // The database that is asked may not be there yet.
    let client = match past.session("template1").await {
        Err(failure) if failure.kind == FailureKind::NotFound => past.session("postgres").await?,
        client => client?,
    };
    let query = "select pg_last_wal_replay_lsn()::text, \
                 (extract(epoch from pg_last_xact_replay_timestamp()) * 1000000)::bigint, \
                 exists (select from pg_database where datname = $1 and datallowconn and datconnlimit >= -1)";
    let row = client.query_one(query, &[&database]).await.map_err(|error| failed(&error, condition))?;
    let (reached, at): (Option<String>, Option<i64>) =
        (row.try_get(0).unwrap_or_default(), row.try_get(1).unwrap_or_default());
    let is_there: bool = row.try_get(2).unwrap_or(true);
    drop(client);
    let answer = match is_there {
        true => answer(&past.session(database).await?, condition).await?,
        false => Answer::Nothing(format!("there is no database {database:?} that lets anybody in")),
    };
    Ok(Seen {
        reached: reached.and_then(|lsn| lsn.parse().ok()),
        at: at.and_then(|at| Timestamp::from_microsecond(at).ok()),
        answer,
    })
}

async fn answer(client: &Client, condition: &str) -> Result<Answer, Failure> {
    let settings = format!("set default_transaction_read_only = on; set statement_timeout = {}", PATIENCE.as_millis());
    client.batch_execute(&settings).await.map_err(|error| failed(&error, condition))?;
    // On lines of its own: it may end with a comment.
    let query = format!("select (\n{condition}\n)");
    let refused = |error: DriverError| match error.as_db_error() {
        Some(said) if meaning(said.code().code()) == Meaning::NoAnswer => {
            Ok(Answer::Nothing(said.message().to_owned()))
        }
        _ => Err(failed(&error, condition)),
    };
    // Only one statement can be prepared: whatever stands in it, nothing follows.
    let statement = match client.prepare(&query).await {
        Ok(statement) => statement,
        Err(error) => return refused(error),
    };
    let types: Vec<&str> = statement.columns().iter().map(|column| column.type_().name()).collect();
    if types != ["bool"] || !statement.params().is_empty() {
        let message = match types[..] {
            [one] if one != "bool" => format!("--sql is of type {one}, and not true or false"),
            _ => "--sql is not one value that is true or false".into(),
        };
        let hint = "compare it with something, such as \"(select count(*) from orders) > 1000\"";
        return Err(Failure::new(FailureKind::Usage, message).with_hint(hint));
    }
    match client.query_one(&statement, &[]).await {
        Ok(row) => Ok(match row.try_get::<_, Option<bool>>(0) {
            Ok(Some(true)) => Answer::True,
            Ok(Some(false)) => Answer::False,
            Ok(None) => Answer::Null,
            Err(error) => return Err(failed(&error, condition)),
        }),
        Err(error) => refused(error),
    }
}

fn failed(error: &DriverError, condition: &str) -> Failure {
    let Some(said) = error.as_db_error() else {
        return Failure::from_error(FailureKind::Unavailable, error).while_doing("ask the server of a moment");
    };
    let (kind, hint) = match meaning(said.code().code()) {
        Meaning::Wrong => (
            FailureKind::Usage,
            "write what could stand behind `select`, such as \"(select count(*) from orders) > 1000\"",
        ),
        Meaning::TooSlow => {
            let message = format!("--sql had no answer within {}", human::duration(PATIENCE));
            let hint = "what it reads must come from the location first: ask for less, or for what an index finds";
            return Failure::new(FailureKind::Unavailable, message).with_hint(hint);
        }
        Meaning::NoAnswer | Meaning::Other => {
            (FailureKind::Unavailable, "`lifeboat open` shows what is the matter there")
        }
    };
    let shown: String = condition.chars().take(200).collect();
    let failure = Failure::new(kind, format!("--sql {shown:?} can't be asked: {}", said.message()));
    failure.with_hint(said.hint().map_or_else(|| hint.to_owned(), |said| format!("{said}; {hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_mean_something_for_the_condition() {
        for (code, expected) in [
            ("42P01", Meaning::NoAnswer),
            ("42703", Meaning::NoAnswer),
            ("3F000", Meaning::NoAnswer),
            ("42883", Meaning::NoAnswer),
            ("3D000", Meaning::NoAnswer),
            ("22012", Meaning::NoAnswer),
            ("42601", Meaning::Wrong),
            ("42804", Meaning::Wrong),
            ("25006", Meaning::Wrong),
            ("57014", Meaning::TooSlow),
            ("58030", Meaning::Other),
            ("XX001", Meaning::Other),
        ] {
            assert_eq!(meaning(code), expected, "{code}");
        }
    }
}

//! What a rescued table is called. Pure.

use crate::cli::{MomentArguments, RescueArguments};
use crate::failure::{Failure, FailureKind};
use jiff::Zoned;

/// The longest name that PostgreSQL keeps, in bytes: NAMEDATALEN less one.
const NAME_BYTES_MAX: usize = 63;

/// How what comes back is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// As it was.
    Same,
    /// As it was, with something behind it, so that it stands beside the present one.
    Beside(String),
}

impl Names {
    pub fn new(arguments: &RescueArguments, suffix: String) -> Self {
        if arguments.to.is_some() { Self::Same } else { Self::Beside(suffix) }
    }

    /// The name for what was called so.
    pub fn of(&self, name: &str) -> String {
        match self {
            Self::Same => name.to_owned(),
            Self::Beside(suffix) => {
                let mut end = name.len().min(NAME_BYTES_MAX.saturating_sub(suffix.len()));
                while !name.is_char_boundary(end) {
                    end -= 1;
                }
                format!("{}{suffix}", &name[..end])
            }
        }
    }
}

/// What stands behind the names: what was asked for, or the time of day that was wanted, else of now.
pub fn suffix(called: &Option<String>, moment: &MomentArguments, now: &Zoned) -> Result<String, Failure> {
    if let Some(called) = called {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if called.is_empty() || called.len() > 30 || !called.bytes().all(is_plain) {
            let message = format!("--suffix {called:?} can't stand behind a name");
            return Err(Failure::new(FailureKind::Usage, message)
                .with_hint("up to 30 small letters, digits and `_`, such as _before"));
        }
        return Ok(called.clone());
    }
    let wanted = moment.target.at.as_deref().and_then(|at| crate::target::parse_time(at, now.timestamp()).ok());
    let time = wanted.map_or_else(|| now.clone(), |time| time.to_zoned(now.time_zone().clone()));
    Ok(format!("_rescued_{}", time.strftime("%H%M")))
}

/// A name as SQL wants it, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table as SQL wants it.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

/// As SQL wants it, without quotes where it does without.
pub fn plain(name: &str) -> String {
    let is_plain = |letter: char| letter.is_lowercase() || letter.is_ascii_digit() || letter == '_';
    match name.chars().all(is_plain) && !name.starts_with(|letter: char| letter.is_ascii_digit()) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// A table, for people who may type it.
pub fn told(schema: &str, name: &str) -> String {
    format!("{}.{}", plain(schema), plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_where_a_character_ends() {
        let names = Names::Beside("_rescued_1031".into());
        assert_eq!(names.of("orders"), "orders_rescued_1031");
        let long = names.of(&"ö".repeat(31));
        assert_eq!(long, format!("{}_rescued_1031", "ö".repeat(25)));
        assert!(long.len() <= NAME_BYTES_MAX);
        assert_eq!(Names::Same.of("orders"), "orders");
    }

    #[test]
    fn the_suffix_is_the_moment_that_was_wanted() {
        let now: Zoned = "2026-11-21T14:03:05+01:00[Europe/Berlin]".parse().unwrap();
        let moment = |at: Option<&str>| {
            let target = crate::cli::TargetArguments { at: at.map(str::to_owned), ..Default::default() };
            MomentArguments { point: None, timeline: None, from: None, exclusive: false, target }
        };
        assert_eq!(suffix(&None, &moment(Some("2026-11-21T09:31:05Z")), &now).unwrap(), "_rescued_1031");
        assert_eq!(suffix(&None, &moment(None), &now).unwrap(), "_rescued_1403");
        assert_eq!(suffix(&Some("_old".into()), &moment(None), &now).unwrap(), "_old");
        assert!(suffix(&Some("; drop".into()), &moment(None), &now).is_err());
    }

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        assert_eq!(qualified("My Schema", "a\"b"), "\"My Schema\".\"a\"\"b\"");
        assert_eq!(told("public", "orders_2"), "public.orders_2");
        assert_eq!(told("My Schema", "größe"), "\"My Schema\".größe");
        assert_eq!(told("2026", "a.b"), "\"2026\".\"a.b\"");
    }
}

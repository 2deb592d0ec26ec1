//! Whether what was seen is what it should be.
//!
//! What was seen comes from databases, servers and programs, which write numbers and truth as text: `3` and `"3"`, `true` and `"t"` are the same here.

use serde::Serialize;
use serde_json::Value;

/// What something must be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    /// This.
    Equals(Value),
    /// A number from here to there, both included.
    Between(f64, f64),
    /// One of these.
    OneOf(Vec<Value>),
    /// A text in which this is found.
    Matches(String),
}

impl Tolerance {
    /// Why not; none when it holds. What isn't there never holds.
    pub fn refuses(&self, seen: Option<&Value>) -> Option<String> {
        let Some(seen) = seen else { return Some("nothing was seen there".into()) };
        let holds = match self {
            Self::Equals(wanted) => is_same(wanted, seen),
            Self::OneOf(wanted) => wanted.iter().any(|wanted| is_same(wanted, seen)),
            Self::Between(low, high) => number(seen).is_some_and(|number| (*low..=*high).contains(&number)),
            Self::Matches(pattern) => regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(&text(seen))),
        };
        (!holds).then(|| format!("{}; expected {}", brief(&text(seen)), self.spoken()))
    }

    /// In words.
    pub fn spoken(&self) -> String {
        match self {
            Self::Equals(value) => brief(&text(value)),
            Self::Between(low, high) => format!("{low} to {high}"),
            Self::OneOf(values) => {
                format!("one of {}", values.iter().map(|value| brief(&text(value))).collect::<Vec<_>>().join(", "))
            }
            Self::Matches(pattern) => format!("a text in which `{pattern}` is found"),
        }
    }
}

/// Enough of a text for one line.
pub fn brief(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= CHARACTERS_MAX {
        line
    } else {
        line.chars().take(CHARACTERS_MAX).chain(['…']).collect()
    }
}

/// As people read it.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number: &f64| number.is_finite())
}

fn truth(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| match value.as_str()? {
        "t" | "true" => Some(true),
        "f" | "false" => Some(false),
        _ => None,
    })
}

fn is_same(wanted: &Value, seen: &Value) -> bool {
    match wanted {
        Value::Number(_) => number(wanted) == number(seen),
        Value::Bool(wanted) => truth(seen) == Some(*wanted),
        Value::String(wanted) => *wanted == text(seen),
        _ => wanted == seen,
    }
}

/// The part of a document that a path names: `$.findings[0].xid`, `windows[-1].to`. `None` when there is no such part.
pub fn part<'v>(document: &'v Value, path: &str) -> Option<&'v Value> {
    let path = path.strip_prefix('$').unwrap_or(path);
    let mut found = document;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let (name, indexes) = step.split_at(step.find('[').unwrap_or(step.len()));
        if !name.is_empty() {
            found = found.get(name)?;
        }
        for index in indexes.split('[').filter(|index| !index.is_empty()) {
            let list = found.as_array()?;
            let index: i64 = index.strip_suffix(']')?.parse().ok()?;
            let index = if index < 0 { i64::try_from(list.len()).ok()?.checked_add(index)? } else { index };
            found = list.get(usize::try_from(index).ok()?)?;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_holds_and_what_does_not() {
        for (tolerance, seen, holds) in [
            (Tolerance::Equals(json!(3)), json!("3"), true),
            (Tolerance::Equals(json!(3)), json!(3.0), true),
            (Tolerance::Equals(json!(3)), json!("three"), false),
            (Tolerance::Equals(json!(true)), json!("t"), true),
            (Tolerance::Equals(json!(true)), json!("f"), false),
            (Tolerance::Equals(json!("a")), json!("a"), true),
            (Tolerance::Equals(json!(0)), json!(null), false),
            (Tolerance::Equals(json!(false)), json!(null), false),
            (Tolerance::Between(1.0, 2.0), json!(2), true),
            (Tolerance::Between(1.0, 2.0), json!("2.1"), false),
            (Tolerance::Between(0.0, 2.0), json!(null), false),
            (Tolerance::OneOf(vec![json!(200), json!(204)]), json!(204), true),
            (Tolerance::OneOf(vec![json!(200), json!(204)]), json!(203), false),
            (Tolerance::Matches("^ab+$".into()), json!("abb"), true),
            (Tolerance::Matches("^ab+$".into()), json!("a"), false),
        ] {
            assert_eq!(tolerance.refuses(Some(&seen)).is_none(), holds, "{tolerance:?} {seen}");
            assert!(tolerance.refuses(None).is_some(), "what isn't there holds nowhere");
        }
    }

    #[test]
    fn parts_are_found() {
        let document = json!({"a": [{"b": 1}, {"b": 2}], "c": null});
        for (path, found) in [
            ("$.a[0].b", Some(json!(1))),
            ("a[-1].b", Some(json!(2))),
            ("$", Some(document.clone())),
            ("$.c", Some(json!(null))),
            ("$.a[2].b", None),
            ("$.a[-3].b", None),
            ("$.d", None),
            ("$.a.b", None),
            ("$.a[x]", None),
        ] {
            assert_eq!(part(&document, path), found.as_ref(), "{path}");
        }
    }
}

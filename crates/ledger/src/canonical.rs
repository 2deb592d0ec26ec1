//! Canonical JSON: one text for each value, so that a signature over the text is one over the value.
//!
//! Members sorted by their names' bytes, no white space, strings with as few escapes as JSON allows, numbers in plain decimal digits
//! without exponent and as short as they come back the same. A reader writes again what it read and compares the bytes; so what two readers might
//! understand differently (a member twice, `1.0` beside `1`, `\u0041`) is refused.

use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// How deep arrays and objects may lie in each other. A reader in another language recurses.
pub const DEPTH_MAX: usize = 64;

/// The one text of a value. None when it is nested too deeply.
pub fn to_canonical(value: &Value) -> Option<Vec<u8>> {
    let mut text = String::new();
    write(value, &mut text, 0)?;
    Some(text.into_bytes())
}

/// Reads a text that must be the one of its value.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(bytes: &[u8]) -> std::result::Result<Value, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    let same = to_canonical(&value).is_some_and(|text| text == bytes);
    same.then_some(value).ok_or_else(|| "it is not in the one form that its content has".to_owned())
}

fn write(value: &Value, text: &mut String, depth: usize) -> Option<()> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => text.push_str(&digits(number)?),
        Value::String(string) => quote(string, text),
        Value::Array(_) | Value::Object(_) if depth == DEPTH_MAX => return None,
        Value::Array(values) => {
            text.push('[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write(value, text, depth + 1)?;
            }
            text.push(']');
        }
        Value::Object(members) => {
            let sorted: BTreeMap<&str, &Value> = members.iter().map(|(name, value)| (name.as_str(), value)).collect();
            text.push('{');
            for (position, (name, value)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                quote(name, text);
                text.push(':');
                write(value, text, depth + 1)?;
            }
            text.push('}');
        }
    }
    Some(())
}

/// `1`, `-2`, `0.5`, `0.0000001`: whole numbers without a point, whatever they were kept as.
fn digits(number: &Number) -> Option<String> {
    if let Some(whole) = number.as_u64() {
        return Some(whole.to_string());
    }
    if let Some(whole) = number.as_i64() {
        return Some(whole.to_string());
    }
    let value = number.as_f64().filter(|value| value.is_finite())?;
    // Nought has no sign.
    Some(if value == 0.0 { "0".to_owned() } else { value.to_string() })
}

fn quote(string: &str, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_value_has_one_text() {
        let table = [
            (json!({"b": 1, "a": [true, null, false], "": {}}), r#"{"":{},"a":[true,null,false],"b":1}"#),
            (
                json!({"é": 1, "z": 2, "\u{10000}": 3, "\u{ffff}": 4}),
                "{\"z\":2,\"é\":1,\"\u{ffff}\":4,\"\u{10000}\":3}",
            ),
            (json!("\u{0}\u{1f}\u{7f}\u{8}\u{c}\n\r\t\"\\/é"), "\"\\u0000\\u001f\u{7f}\\b\\f\\n\\r\\t\\\"\\\\/é\""),
            (
                json!([1.0, -0.0, 0.5, 1e-7, 1e21, -3, u64::MAX]),
                "[1,0,0.5,0.0000001,1000000000000000000000,-3,18446744073709551615]",
            ),
        ];
        for (value, text) in table {
            assert_eq!(String::from_utf8(to_canonical(&value).unwrap()).unwrap(), text);
            assert!(parse(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn another_text_of_the_same_value_is_refused() {
        let texts = [
            "{ }",
            "[1.0]",
            "[1e2]",
            "[-0]",
            "[0.50]",
            "\"\\u0041\"",
            "\"\\/\"",
            "\"\\u001F\"",
            r#"{"a":1,"a":1}"#,
            r#"{"b":1,"a":1}"#,
            "1 ",
            "\n1",
            "[0.10000000000000001]",
            "NaN",
            "[1,]",
            "",
            "1e400",
        ];
        for text in texts {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_has_a_bound() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(parse(nested(DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(parse(nested(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn every_finite_number_comes_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = to_canonical(&json!(value)).unwrap();
            let read = parse(&text).unwrap();
            prop_assert_eq!(read.as_f64().unwrap(), value);
        }
    }
}

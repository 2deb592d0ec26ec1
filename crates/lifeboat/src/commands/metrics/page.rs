//! Prometheus' text format, version 0.0.4. Pure.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use serde_json::{Value, json};
use std::fmt::Write;

/// Figures of one name. All are gauges: what was seen just now.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Letters, digits and underscores; the unit last.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    pub samples: Vec<Sample>,
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// The whole text. A family without figures is left out.
pub fn page(families: &[Family]) -> String {
    let mut text = String::new();
    for Family { name, help, samples } in families.iter().filter(|family| !family.samples.is_empty()) {
        // Writing to a text doesn't fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for Sample { labels, value } in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

/// The same for `--json`.
pub fn document(families: &[Family]) -> Vec<Value> {
    let samples = families.iter().flat_map(|family| family.samples.iter().map(move |sample| (family.name, sample)));
    let document = |(name, sample): (&str, &Sample)| {
        let labels: serde_json::Map<String, Value> =
            sample.labels.iter().map(|(label, value)| ((*label).to_owned(), json!(value))).collect();
        json!({ "name": name, "labels": labels, "value": sample.value })
    };
    samples.map(document).collect()
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_as_the_format_wants_it() {
        let sample = |labels: &[(&'static str, &str)], value| Sample {
            labels: labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect(),
            value,
        };
        let families = [
            Family { name: "one", help: "First.", samples: vec![sample(&[], 1_763_719_200.25)] },
            Family { name: "none", help: "Nothing.", samples: vec![] },
            Family { name: "two", help: "Second.", samples: vec![sample(&[("a", "x\"\\\n"), ("b", "")], 1e15)] },
        ];
        let expected = "# HELP one First.\n# TYPE one gauge\none 1763719200.25\n# HELP two Second.\n# TYPE two gauge\n\
                        two{a=\"x\\\"\\\\\\n\",b=\"\"} 1000000000000000\n";
        assert_eq!(page(&families), expected);
    }
}

//! An experiment as a scenario.
//!
//! Any `version` is taken, because the engine never looks at it. What would run through a shell is refused, and so is every secret that stands
//! in the file; a process without a time limit gets one. A probe's list of two values against the result of a request or process is a
//! membership, as the engine has it.

use serde_json::Value;
use std::path::Path;
use toml::Table;

/// For a step that has none: the toolkit would wait for ever.
const TIME_LIMIT_SECONDS: u64 = 300;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The scenario, to be kept in a file.
    pub text: String,
    /// What was changed on the way.
    pub notes: Vec<String>,
}

struct Import {
    problems: Vec<String>,
    notes: Vec<String>,
}

/// Reads an experiment in JSON. `path` is where it lies, for what only `chaos` itself can run.
///
/// # Errors
/// Everything that can't be taken over, each in a sentence.
pub fn import(name: &str, text: &str, path: &Path) -> Result<Imported, Vec<String>> {
    let experiment: Value = serde_json::from_str(text).map_err(|error| vec![format!("it is not JSON: {error}")])?;
    let mut import = Import { problems: Vec::new(), notes: Vec::new() };
    let title = experiment["title"].as_str().unwrap_or(name).to_owned();
    if !experiment["method"].is_array() {
        import.problems.push("it has no `method`".into());
    }
    import.secrets(&experiment["secrets"]);
    let mut scenario = Table::new();
    scenario.insert("title".into(), title.into());
    scenario.insert("target".into(), "nothing".into());
    scenario.insert("isolated".into(), false.into());
    let not_shown = "anything about isolation: it was imported, and acts where its steps act".to_owned();
    scenario.insert("does_not_show".into(), vec![toml::Value::from(not_shown)].into());
    if needs_chaos(&experiment) {
        import.whole(&mut scenario, path);
    } else {
        import.phases(&mut scenario, &experiment);
    }
    if !import.problems.is_empty() {
        return Err(import.problems);
    }
    let text = toml::to_string(&scenario).map_err(|error| vec![error.to_string()])?;
    crate::scenario::parse(name, name, &text)
        .map_err(|problems| problems.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    Ok(Imported { text, notes: import.notes })
}

/// Whether a step is one that only the toolkit itself can do.
fn needs_chaos(experiment: &Value) -> bool {
    let lists = [&experiment["method"], &experiment["rollbacks"], &experiment["steady-state-hypothesis"]["probes"]];
    let mut all = lists.into_iter().filter_map(Value::as_array).flatten();
    all.any(|activity| activity["provider"]["type"] == "python" || activity["ref"].is_string())
        || experiment["controls"].is_array()
}

impl Import {
    fn secrets(&mut self, secrets: &Value) {
        let is_reference = |value: &Value| {
            value.get("type").and_then(Value::as_str).is_some_and(|kind| ["env", "vault", "file"].contains(&kind))
        };
        for (scope, values) in secrets.as_object().into_iter().flatten() {
            for (name, value) in values.as_object().into_iter().flatten() {
                if !is_reference(value) {
                    self.problems
                        .push(format!("the secret {scope}.{name} stands in the file; take it from the environment"));
                }
            }
        }
        if secrets.as_object().is_some_and(|secrets| !secrets.is_empty()) {
            self.notes.push("its secrets are not taken over: give its commands their own".into());
        }
    }

    /// The toolkit does it; its journal says how it went.
    fn whole(&mut self, scenario: &mut Table, path: &Path) {
        self.notes
            .push("it has steps in Python, controls or references, so that `chaos run` does the whole of it".into());
        let step = |name: &str, words: &[&str]| {
            let words: Vec<toml::Value> = words.iter().map(|word| (*word).into()).collect();
            let pairs = [("name", name.into()), ("command", words.into())];
            pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Table>()
        };
        let experiment = path.display().to_string();
        let journal = "{place}/journal.json";
        let run = [
            "chaos",
            "--no-version-check",
            "run",
            "--rollback-strategy",
            "always",
            "--journal-path",
            journal,
            &experiment,
        ];
        let check = ["chaos", "--version"];
        let mut after = step("it completed, and did not deviate", &["cat", journal]);
        after.insert("path".into(), "$.status".into());
        after.insert("equals".into(), "completed".into());
        let mut deviated = step("what was steady still is", &["cat", journal]);
        deviated.insert("path".into(), "$.deviated".into());
        deviated.insert("equals".into(), false.into());
        let lists = [
            ("before", vec![step("the Chaos Toolkit is installed", &check)]),
            ("fault", vec![step("chaos run", &run)]),
            ("after", vec![after, deviated]),
        ];
        for (phase, steps) in lists {
            scenario.insert(phase.into(), steps.into_iter().map(toml::Value::from).collect::<Vec<_>>().into());
        }
    }

    fn phases(&mut self, scenario: &mut Table, experiment: &Value) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let probes = list(&experiment["steady-state-hypothesis"]["probes"]);
        let steady: Vec<toml::Value> =
            probes.iter().filter_map(|probe| self.step(probe, true)).map(Into::into).collect();
        let method: Vec<toml::Value> =
            list(&experiment["method"]).iter().filter_map(|one| self.step(one, false)).map(Into::into).collect();
        let rollbacks: Vec<toml::Value> =
            list(&experiment["rollbacks"]).iter().filter_map(|one| self.step(one, false)).map(Into::into).collect();
        if steady.is_empty() {
            self.problems.push("it has no steady-state hypothesis, so that nothing would be asked afterwards".into());
        }
        for (phase, steps) in [("before", steady.clone()), ("fault", method), ("after", steady), ("cleanup", rollbacks)]
        {
            if !steps.is_empty() {
                scenario.insert(phase.into(), steps.into());
            }
        }
    }

    fn step(&mut self, activity: &Value, is_probe: bool) -> Option<Table> {
        let name = activity["name"].as_str().unwrap_or("a step without a name").to_owned();
        let provider = &activity["provider"];
        let mut step = Table::new();
        step.insert("name".into(), name.clone().into());
        match provider["type"].as_str() {
            Some("process") => drop(step.insert("command".into(), self.words(&name, provider)?.into())),
            Some("http") => drop(step.insert("http".into(), self.request(&name, provider)?.into())),
            other => {
                self.problems.push(format!("{name}: its provider {} is none that is known", other.unwrap_or("(none)")));
                return None;
            }
        }
        let seconds = provider["timeout"].as_f64().or_else(|| provider["timeout"].as_array()?.first()?.as_f64());
        let seconds = seconds.filter(|seconds| *seconds > 0.0).map_or_else(
            || {
                self.notes.push(format!("{name}: it had no time limit, and got one of {TIME_LIMIT_SECONDS} s"));
                TIME_LIMIT_SECONDS
            },
            |seconds| seconds.ceil() as u64,
        );
        step.insert("time_limit".into(), format!("{seconds}s").into());
        if activity["background"] == true {
            step.insert("background".into(), true.into());
        }
        if activity.get("pauses").is_some() {
            self.notes.push(format!("{name}: its pauses are left out; a step may wait for something instead"));
        }
        self.tolerance(&name, activity, is_probe, &mut step);
        Some(step)
    }

    /// Program and arguments; a text would go through a shell.
    fn words(&mut self, name: &str, provider: &Value) -> Option<Vec<toml::Value>> {
        let path = provider["path"].as_str()?.to_owned();
        let arguments = &provider["arguments"];
        let mut words = vec![path];
        match arguments {
            Value::Null => {}
            Value::Array(list) => words.extend(list.iter().map(crate::scenario::tolerance::text)),
            // The toolkit makes `--key value` of each pair.
            Value::Object(pairs) => {
                for (key, value) in pairs {
                    words.push(key.clone());
                    words.extend((!value.is_null() && value != "").then(|| crate::scenario::tolerance::text(value)));
                }
            }
            _ => {
                self.problems.push(format!(
                    "{name}: its arguments are a text, which the toolkit gives to a shell; write them as a list"
                ));
                return None;
            }
        }
        if let Some(word) = words.iter().find(|word| word.contains("${")) {
            self.problems.push(format!("{name}: `{word}` is filled in by the toolkit; write what it means"));
            return None;
        }
        Some(words.into_iter().map(toml::Value::from).collect())
    }

    fn request(&mut self, name: &str, provider: &Value) -> Option<Table> {
        let url = provider["url"].as_str()?;
        if url.contains("${") {
            self.problems.push(format!("{name}: its url is filled in by the toolkit; write what it means"));
            return None;
        }
        let mut request = Table::new();
        request.insert("url".into(), url.into());
        request.insert("method".into(), provider["method"].as_str().unwrap_or("GET").to_uppercase().into());
        let mut headers = Table::new();
        for (header, value) in provider["headers"].as_object().into_iter().flatten() {
            let is_secret = ["authorization", "cookie", "x-api-key"].contains(&header.to_lowercase().as_str());
            if is_secret {
                self.problems.push(format!("{name}: the header {header} is a secret, and can't stand in a scenario"));
            }
            headers.insert(header.clone(), crate::scenario::tolerance::text(value).into());
        }
        if !headers.is_empty() {
            request.insert("headers".into(), headers.into());
        }
        if !provider["arguments"].is_null() {
            request.insert("body".into(), crate::scenario::tolerance::text(&provider["arguments"]).into());
        }
        Some(request)
    }

    fn tolerance(&mut self, name: &str, activity: &Value, is_probe: bool, step: &mut Table) {
        let tolerance = &activity["tolerance"];
        let is_request = activity["provider"]["type"] == "http";
        let mut set = |path: Option<&str>, key: &str, value: &Value| {
            let value = toml::Value::try_from(value).ok();
            step.extend(path.map(|path| ("path".to_owned(), path.into())));
            step.extend(value.map(|value| (key.to_owned(), value)));
        };
        match tolerance {
            // A process: its exit code. A request: its status.
            Value::Number(number) if is_request => set(Some("$.status"), "equals", &number.clone().into()),
            Value::Number(number) if number.is_i64() => set(None, "exit_code", &number.clone().into()),
            Value::Number(_) => {
                self.problems.push(format!("{name}: a tolerance of a broken number is none; the toolkit wants a range"))
            }
            Value::Array(list) if is_request => set(Some("$.status"), "one_of", &list.clone().into()),
            Value::String(_) | Value::Bool(_) => set(None, "equals", tolerance),
            Value::Object(object) => match object.get("type").and_then(Value::as_str) {
                Some("regex") => set(is_request.then_some("$.body"), "matches", &object["pattern"]),
                Some("range") => set(object.get("target").and_then(Value::as_str), "between", &object["range"]),
                Some("jsonpath") if object.contains_key("expect") => {
                    let path = object["path"].as_str().unwrap_or("$");
                    let path =
                        if is_request { format!("$.body{}", path.trim_start_matches('$')) } else { path.to_owned() };
                    // The toolkit compares the list of all that matches.
                    let expect = object["expect"]
                        .as_array()
                        .filter(|list| list.len() == 1)
                        .map_or(&object["expect"], |list| &list[0]);
                    set(Some(&path), "equals", expect);
                }
                other => self
                    .problems
                    .push(format!("{name}: a tolerance of type {} can't be taken over", other.unwrap_or("(none)"))),
            },
            Value::Null if !is_probe => {}
            Value::Null => self.problems.push(format!("{name}: a probe of the hypothesis has no tolerance")),
            _ => self.problems.push(format!("{name}: its tolerance can't be taken over")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn experiment(provider: Value, tolerance: Value) -> String {
        json!({
            "version": "whatever",
            "title": "t",
            "steady-state-hypothesis": {"title": "s", "probes": [{"type": "probe", "name": "p", "provider": provider, "tolerance": tolerance}]},
            "method": [],
        })
        .to_string()
    }

    fn imported(provider: Value, tolerance: Value) -> Result<Imported, Vec<String>> {
        import("x", &experiment(provider, tolerance), Path::new("/x.json"))
    }

    #[test]
    fn tolerances_are_those_of_the_engine() {
        let http = || json!({"type": "http", "url": "http://127.0.0.1:1/", "timeout": 3});
        let process = || json!({"type": "process", "path": "true", "arguments": ["a", 1], "timeout": 2.5});
        for (provider, tolerance, line) in [
            (http(), json!(200), "path = \"$.status\""),
            (http(), json!([200, 300]), "one_of = [200, 300]"),
            (http(), json!({"type": "regex", "pattern": "^ok"}), "matches = \"^ok\""),
            (http(), json!({"type": "jsonpath", "path": "$.a.b", "expect": ["x"]}), "path = \"$.body.a.b\""),
            (process(), json!(3), "exit_code = 3"),
            (process(), json!("text"), "equals = \"text\""),
            (process(), json!({"type": "range", "range": [1.0, 2.5]}), "between = [1.0, 2.5]"),
            (process(), json!(0), "command = [\"true\", \"a\", \"1\"]"),
            (process(), json!(0), "time_limit = \"3s\""),
        ] {
            let text = imported(provider, tolerance.clone()).unwrap().text;
            assert!(text.contains(line), "{tolerance} gave {text}, not {line}");
        }
    }

    #[test]
    fn what_is_dangerous_or_unknown_is_refused() {
        let process = |arguments: Value| json!({"type": "process", "path": "true", "arguments": arguments});
        for (provider, tolerance, word) in [
            (process(json!("a; rm -rf b")), json!(0), "shell"),
            (process(json!(["${secret}"])), json!(0), "filled in"),
            (process(json!([])), json!(0.5), "range"),
            (process(json!([])), json!(null), "no tolerance"),
            (process(json!([])), json!({"type": "probe"}), "can't be taken over"),
            (json!({"type": "rust"}), json!(0), "none that is known"),
            (
                json!({"type": "http", "url": "http://a/", "headers": {"Authorization": "Bearer x"}}),
                json!(200),
                "secret",
            ),
        ] {
            let problems = imported(provider.clone(), tolerance).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(word)), "{provider}: {problems:?}");
        }
        let text =
            json!({"title": "t", "method": [], "secrets": {"a": {"b": "c"}, "d": {"e": {"type": "env", "key": "E"}}}})
                .to_string();
        let problems = import("x", &text, Path::new("/x.json")).unwrap_err();
        assert!(
            problems.iter().any(|one| one.contains("a.b")) && !problems.iter().any(|one| one.contains("d.e")),
            "{problems:?}"
        );
    }

    #[test]
    fn a_process_without_a_limit_gets_one_and_python_goes_to_chaos() {
        let found = imported(json!({"type": "process", "path": "true"}), json!(0)).unwrap();
        assert!(
            found.text.contains("time_limit = \"300s\"") && found.notes.iter().any(|note| note.contains("time limit"))
        );
        let found = imported(json!({"type": "python", "module": "m", "func": "f"}), json!(true)).unwrap();
        assert!(found.text.contains("\"chaos\"") && found.text.contains("/x.json"), "{}", found.text);
        assert!(found.text.contains("$.deviated"));
    }
}

//! A scenario as an experiment: its one step calls this program, so that a pipeline that knows experiments can rehearse recoveries.

use crate::scenario::Scenario;
use serde_json::{Value, json};
use std::path::Path;

/// Makes it. Nothing secret is in it: the configuration is named, not copied.
pub fn export(scenario: &Scenario, config: &Path, workload: Option<&str>, group: Option<&str>) -> Value {
    let mut run =
        vec!["--config".to_owned(), config.display().to_string(), "drill".into(), "run".into(), scenario.name.clone()];
    for (option, value) in [("--workload", workload), ("--group", group)] {
        run.extend(value.into_iter().flat_map(|value| [option.to_owned(), value.to_owned()]));
    }
    for (name, parameter) in &scenario.parameters {
        let value = parameter.default.clone().unwrap_or_else(|| format!("${{{name}}}"));
        run.extend(["--with".to_owned(), format!("{name}={value}")]);
    }
    let asked: Vec<(&String, &crate::scenario::Parameter)> =
        scenario.parameters.iter().filter(|(_, parameter)| parameter.default.is_none()).collect();
    let configuration: serde_json::Map<String, Value> = asked
        .iter()
        .map(|(name, _)| ((*name).clone(), json!({"type": "env", "key": format!("LIFEBOAT_{}", name.to_uppercase())})))
        .collect();
    let process = |arguments: &[String], seconds: u64| json!({"type": "process", "path": "lifeboat", "arguments": arguments, "timeout": seconds});
    let cleanup: Vec<String> =
        ["--config".to_owned(), config.display().to_string(), "drill".into(), "cleanup".into()].into();
    json!({
        "version": "1.0.0",
        "title": scenario.title,
        "description": format!("Runs the scenario {} of lifeboat in a place apart, and fails when it doesn't pass.", scenario.name),
        "tags": ["lifeboat", "disaster-recovery", scenario.name],
        "configuration": configuration,
        "steady-state-hypothesis": {
            "title": "The rehearsal passes",
            "probes": [{
                "type": "probe",
                "name": "nothing is left of an earlier rehearsal",
                "tolerance": 0,
                "provider": process(&cleanup, 600),
            }],
        },
        "method": [{
            "type": "probe",
            "name": scenario.name,
            "tolerance": 0,
            "provider": process(&run, scenario.time_limit.as_secs()),
        }],
        "rollbacks": [{"type": "action", "name": "remove what is left", "provider": process(&cleanup, 600)}],
        "extensions": [{
            "name": "dr",
            "scenario_hash": crate::hash(scenario.text.as_bytes()),
            "disruption": scenario.disruption,
            "does_not_show": scenario.does_not_show,
            // The toolkit leaves rollbacks out after a failure unless it is told otherwise.
            "run_with": "chaos run --rollback-strategy always",
        }],
    })
}

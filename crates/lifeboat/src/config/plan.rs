//! The plan of the configuration, and where in the files each thing stands.

use lifeboat_plan::model::Plan;
use std::collections::BTreeMap;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanConfig {
    pub plan: Plan,
    /// By path: `process.checkout` for the section, `process.checkout.tier` for a key in it.
    pub places: BTreeMap<String, Place>,
    /// The text of each file that has sections [scenario.NAME], for whoever reads scenarios.
    pub scenario_files: Vec<(String, String)>,
}

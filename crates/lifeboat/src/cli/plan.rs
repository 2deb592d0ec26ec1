//! What can be typed about the plan.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Whether the plan holds together; each finding with its place in the file
    Check,
    /// What downtime and protection cost, and the cheapest strategy that meets each objective
    Cost,
    /// Write the runbook: from the configuration as it is, and the last drill
    Runbook,
}

//! What can be typed about the plan.

use super::CostArguments;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Whether the plan holds together; each finding with its place in the file
    Check,
    /// What downtime and protection cost, and the cheapest strategy that meets each objective
    ///
    /// Storage is measured in the locations, recovery in drills; what strategies cost, the file of assumptions says. What nobody said is told
    /// as not given, and a sum that lacks something says "at least".
    #[command(after_help = "Examples:\n  lifeboat plan cost --write-assumptions costs.toml   then fill it in\n  \
        lifeboat plan cost --assumptions costs.toml --years 5\n  \
        lifeboat plan cost --write-price-book prices.toml   then edit it\n  \
        lifeboat plan cost --assumptions costs.toml --price-book prices.toml --svg cost.svg")]
    Cost(CostArguments),
    /// Write the runbook: from the configuration as it is, and the last drill
    Runbook,
}

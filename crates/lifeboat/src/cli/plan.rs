//! What can be typed about the plan.

use super::CostArguments;
use crate::papers::Format;
use clap::{Args, Subcommand};
use jiff::civil::Date;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Whether the plan holds together; each finding with its place in the file
    ///
    /// Promises against what is bearable and what the configuration can give, everything protected exactly once, names, circles, copies,
    /// reviews, contacts, drills. Nothing is connected to. Exit code 4 when something is wrong, 0 when there are only warnings.
    #[command(
        after_help = "Examples:\n  lifeboat plan check\n  lifeboat plan check --on 2027-06-30   what will be overdue then"
    )]
    Check(PlanCheckArguments),
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
    ///
    /// Who is called, what is done in which order, with which commands, how long it took the last time, and where copies and keys are. It is
    /// read with nothing of ours. Names, numbers and addresses of people stand in it, and in the locations it is not encrypted.
    #[command(
        after_help = "Examples:\n  lifeboat plan runbook --to /srv/papers\n  lifeboat plan runbook --publish --without-contacts\n  lifeboat plan runbook --check"
    )]
    Runbook(PlanRunbookArguments),
}

#[derive(Debug, Args)]
pub struct PlanRunbookArguments {
    /// Into this directory: runbook.md, runbook.html, runbook.pdf, for their owner only [default: here]
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    pub to: Option<PathBuf>,
    /// As what
    #[arg(long, value_enum, default_value_t = Format::All, conflicts_with = "check")]
    pub format: Format,
    /// Keep all three in every location, below plan/, not encrypted
    #[arg(long, conflicts_with = "check")]
    pub publish: bool,
    /// Leave out telephone numbers and addresses
    #[arg(long, conflicts_with = "check")]
    pub without_contacts: bool,
    /// Write nothing; say whether a location has the runbook of this configuration. Exit code 4 when none has
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct PlanCheckArguments {
    /// As if it were that day, such as 2027-06-30 [default: today]
    #[arg(long, value_name = "DATE")]
    pub on: Option<Date>,
}

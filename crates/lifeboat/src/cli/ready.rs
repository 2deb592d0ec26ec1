//! What can be typed about readiness.

use clap::Args;

#[derive(Debug, Args)]
pub struct ReadyArguments {
    /// Only these workloads [default: all]
    #[arg(value_name = "WORKLOAD")]
    pub workloads: Vec<String>,
}

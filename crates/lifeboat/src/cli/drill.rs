//! What can be typed about rehearsals.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// The scenarios that there are
    List,
}

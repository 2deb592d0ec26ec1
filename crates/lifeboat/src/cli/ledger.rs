//! What can be typed about the ledger.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Whether every entry is there, whole, signed, and in its place
    Verify,
}

//! What can be typed about costs.

use clap::{Args, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CostArguments {
    /// Look so far ahead
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub years: u32,
    /// Prices of storage [default: the ones that are shipped]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub price_book: Option<PathBuf>,
    /// What strategies cost, and what is expected of those that nobody rehearsed [default: not given]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub assumptions: Option<PathBuf>,
    /// Write the picture here
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Write the shipped prices into a new file, to be edited, and end
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["price_book", "assumptions", "svg"])]
    pub write_price_book: Option<PathBuf>,
    /// Write a new file of assumptions, to be filled in, and end
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["price_book", "assumptions", "svg"])]
    pub write_assumptions: Option<PathBuf>,
}

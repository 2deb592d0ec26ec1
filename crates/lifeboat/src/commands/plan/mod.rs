//! `lifeboat plan`: one file for each of its commands.

mod check;
pub(crate) mod cost;
pub(super) mod known;
mod runbook;

use crate::cli::{Global, PlanCommand};
use crate::failure::Failure;
use crate::output::Output;

pub fn run(global: &Global, command: &PlanCommand, output: &Output) -> Result<(), Failure> {
    match command {
        PlanCommand::Check(arguments) => check::run(global, arguments, output),
        PlanCommand::Cost(arguments) => cost::run(global, arguments, output),
        PlanCommand::Runbook(arguments) => runbook::run(global, arguments, output),
    }
}

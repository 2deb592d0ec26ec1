//! `lifeboat plan`: one file for each of its commands.

mod check;
mod known;
//! `lifeboat plan`: each of its commands has its own file.

mod cost;
mod runbook;

use crate::cli::{Global, PlanCommand};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;

pub fn run(global: &Global, command: &PlanCommand, output: &Output) -> Result<(), Failure> {
    match command {
        PlanCommand::Check(arguments) => check::run(global, arguments, output),
        PlanCommand::Cost | PlanCommand::Runbook => Err(Failure::new(FailureKind::Internal, "to be written")),
        PlanCommand::Cost(arguments) => cost::run(global, arguments, output),
        PlanCommand::Check | PlanCommand::Runbook => Err(Failure::new(FailureKind::Internal, "to be written")),
        PlanCommand::Runbook(arguments) => runbook::run(global, arguments, output),
        PlanCommand::Check | PlanCommand::Cost => Err(Failure::new(FailureKind::Internal, "to be written")),
    }
}

//! `lifeboat plan`: one file for each of its commands.

mod runbook;

use crate::cli::{Global, PlanCommand};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;

pub fn run(global: &Global, command: &PlanCommand, output: &Output) -> Result<(), Failure> {
    match command {
        PlanCommand::Runbook(arguments) => runbook::run(global, arguments, output),
        PlanCommand::Check | PlanCommand::Cost => Err(Failure::new(FailureKind::Internal, "to be written")),
    }
}

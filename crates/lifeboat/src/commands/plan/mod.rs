//! To be written.

use crate::cli::{Global, PlanCommand};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;

pub fn run(_global: &Global, _arguments: &PlanCommand, _output: &Output) -> Result<(), Failure> {
    Err(Failure::new(FailureKind::Internal, "to be written"))
}

//! To be written.

use crate::cli::{Global, ReadyArguments};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;

pub fn run(_global: &Global, _arguments: &ReadyArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::new(FailureKind::Internal, "to be written"))
}

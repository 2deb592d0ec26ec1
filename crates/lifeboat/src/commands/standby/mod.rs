//! `lifeboat standby`: making one that follows, and seeing who does.

mod create;
mod intent;
mod slot;
mod start;
mod status;

pub use intent::archive_of_member;

use crate::cli::{Global, StandbyCommand};
use crate::failure::Failure;
use crate::output::Output;
use crate::{interrupt, rooms};

pub fn run(global: &Global, command: &StandbyCommand, output: &Output) -> Result<(), Failure> {
    rooms::runtime()?.block_on(async {
        match command {
            StandbyCommand::Create(arguments) => create::run(global, arguments, output).await,
            StandbyCommand::Status { name } => {
                let _ = interrupt::ends(output, "run it again", || {});
                status::run(global, name.as_deref(), output).await
            }
        }
    })
}

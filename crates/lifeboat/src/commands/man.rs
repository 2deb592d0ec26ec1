//! `lifeboat man`: the manual, made from the same texts as `--help`.

use crate::cli::Cli;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use clap::CommandFactory;
use std::path::Path;

pub fn run(to: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let Some(directory) = to else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
        return output.bytes(&page);
    };
    let failed = |error: std::io::Error| {
        Failure::from_error(FailureKind::Unavailable, &error)
            .while_doing(format!("write manual pages to {}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)
}

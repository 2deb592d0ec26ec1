//! `lifeboat metrics`: what an alarm needs to know, in Prometheus' text format.
//!
//! For the textfile collector of `node_exporter`, or for whoever reads standard output. Times are given as times, not as ages: a
//! file that nobody writes any more then gets older by itself.
//!
//! Promise: the file is there whole or not at all. A location that doesn't answer is a figure, not a failure.
//!
//! Absent: a server of its own. A process that must always run is one more thing that can be down.

mod families;
mod gather;
mod page;

use super::load_config;
use crate::cli::{Global, MetricsArguments};
use crate::config::UnknownKeys;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::rooms;
use serde_json::json;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub fn run(global: &Global, arguments: &MetricsArguments, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    let seen = rooms::runtime()?.block_on(gather::gather(&config, output));
    let families = families::families(&seen);
    let text = page::page(&families);
    if let Some(path) = &arguments.output {
        write_whole(path, text.as_bytes()).map_err(|error| {
            let what = format!("write {}", path.display());
            let kind = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => {
                    FailureKind::Usage
                }
                _ => FailureKind::Unavailable,
            };
            Failure::from_error(kind, &error)
                .with_hint("name a file in a directory that is there, and that this user may write to")
                .while_doing(what)
        })?;
    }
    let samples = families.iter().map(|family| family.samples.len()).sum::<usize>();
    match &arguments.output {
        Some(path) if output.is_json() => output.document(&json!({ "written": path, "samples": samples })),
        Some(path) => {
            output.tell(&format!("{samples} figures in {}", path.display()));
            Ok(())
        }
        None if output.is_json() => output.document(&json!({ "metrics": page::document(&families) })),
        None => output.text(text.trim_end()),
    }
}

/// Beside it first, under a name that the collector passes over, readable by whoever collects.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("that is no name of a file"))?.to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

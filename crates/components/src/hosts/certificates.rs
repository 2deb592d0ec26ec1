//! An authority for one network, and a certificate that it signed for all of the network's hosts.

use super::Host;
use crate::{Component, install};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes `ca.pem`, `member.pem` and `member.key` into `directory`. They are good for two days.
///
/// # Errors
/// When `openssl` can't.
pub fn certificates(directory: &Path, hosts: &[Host]) -> Result<()> {
    install(Component::Namespaces)?;
    let names: Vec<String> = hosts.iter().map(|host| format!("IP:{}", host.address())).collect();
    let extensions = format!("subjectAltName={}\nbasicConstraints=critical,CA:FALSE\n", names.join(","));
    fs::write(directory.join("extensions"), extensions).context("write what a certificate says")?;
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(
        directory,
        &["req", "-x509", "-days", "2", "-subj", "/CN=lifeboat on one machine", "-keyout", "ca.key", "-out", "ca.pem"],
        &key,
    )?;
    openssl(directory, &["req", "-subj", "/CN=member", "-keyout", "member.key", "-out", "member.csr"], &key)?;
    let sign = ["x509", "-req", "-days", "2", "-in", "member.csr", "-CA", "ca.pem", "-CAkey", "ca.key"];
    openssl(directory, &sign, &["-CAcreateserial", "-extfile", "extensions", "-out", "member.pem"])
}

fn openssl(directory: &Path, first: &[&str], more: &[&str]) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(first).args(more).current_dir(directory).stdin(Stdio::null());
    let output = command.output().context("run openssl")?;
    if !output.status.success() {
        bail!("openssl {first:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

//! The part of a workload that is about where its files come from: sent by the server, or those of a standby, whose
//! primary stands in when it lags.

use super::section::{Findings, Section};
use super::workload::read_conninfo;
use std::time::Duration;

/// The lag that can be asked for. Below a second, the measuring itself takes longer.
const LAG_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));

/// What a backup does when the standby can't serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// It fails.
    #[default]
    Fail,
    /// It asks the primary to send its files.
    Primary,
}

/// The primary of a workload whose `connection` leads to a standby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryConfig {
    /// As libpq writes it. Holds no password: the workload's is used.
    pub connection: String,
    /// `None`: it isn't measured.
    pub standby_max_lag: Option<Duration>,
    pub fallback: Fallback,
}

/// Reads the keys. `None` when there is no primary, or there were problems.
pub(super) fn read(section: &mut Section, findings: &mut Findings) -> Option<PrimaryConfig> {
    const EXPECTED: &str = "how to reach the primary, such as \"host=db1 user=lifeboat\"";
    let connection = read_conninfo(section, findings, "primary", EXPECTED, false);
    let standby_max_lag =
        section.duration(findings, "standby_max_lag", LAG_RANGE, "a duration of \"1s\" to \"7d\", such as \"5m\"");
    let fallback = section.read(findings, "fallback", "\"fail\" or \"primary\"", |value| match value.as_str()? {
        "fail" => Some(Fallback::Fail),
        "primary" => Some(Fallback::Primary),
        _ => None,
    });
    if !section.has("primary") {
        for key in ["standby_max_lag", "fallback"].into_iter().filter(|key| section.has(key)) {
            let message = format!("`{key}` in {} needs `primary`, {EXPECTED}", section.name());
            findings.problem(&section.span_of(key), message);
        }
    }
    Some(PrimaryConfig { connection: connection?, standby_max_lag, fallback: fallback.unwrap_or_default() })
}

/// Whether the server compresses what it sends.
pub(super) fn read_compression(section: &mut Section, findings: &mut Findings) -> bool {
    let compresses =
        section.read(findings, "server_compression", "\"none\" or \"zstd\"", |value| match value.as_str()? {
            "none" => Some(false),
            "zstd" => Some(true),
            _ => None,
        });
    if section.has("data_dir") && !section.has("primary") && compresses == Some(true) {
        let message =
            format!("`server_compression` in {} has no effect: files are read from `data_dir`", section.name());
        findings.problem(&section.span_of("server_compression"), message);
    }
    compresses.unwrap_or(false)
}

//! The two papers that come out of the plan and the ledger: the runbook for the night, and the report for management and the auditor.
//!
//! Promise: the same input gives the same document. Each figure about recovery names its source, an entry of the ledger or a key of the
//! configuration; what wasn't measured is said to be so. No secret can be in the input, and what looks like one in a command is left out.
//!
//! Not here: reading the configuration or the ledger, a clock, writing files.

mod input;
mod report;
mod runbook;
mod words;

pub use input::{ClusterView, Evidence, LocationView, MemberView, Surroundings, WorkloadView};
pub use report::{Finding, Incidents, Readiness, ReportInput, report};
pub use runbook::{RunbookInput, runbook, runbook_hash};

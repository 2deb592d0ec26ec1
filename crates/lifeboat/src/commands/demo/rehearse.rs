//! After the disaster: is the promise kept from here on? The recovered server is protected again, the readiness is asked, two rehearsals are carried
//! out, and a report is written from what they measured.

use super::ledger::Customers;
use super::stage::Stage;
use crate::failure::{Failure, FailureKind};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A receiver is connected after a moment.
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);
/// Two rehearsals, of different kinds of disaster.
const REHEARSALS: [(&str, &[&str]); 2] = [("restore-database", &[]), ("dropped-table", &["--with", "table=orders"])];

/// What was found and measured, as the commands told it.
pub struct Rehearsed {
    /// `lifeboat ready --json`.
    pub ready: Value,
    /// The records of the rehearsals.
    pub runs: Vec<Value>,
    /// Where the report is.
    pub report: PathBuf,
}

/// Goes on from the recovered server. New orders are numbered from `first_order`.
pub async fn rehearse(stage: &Stage, first_order: i64) -> Result<Rehearsed, Failure> {
    stage.say("8. the recovered server is protected from here on, and customers order again");
    stage.protect("recovered")?;
    let mut receiver = stage.receive()?;
    let rehearsed = with_customers(stage, first_order).await;
    // Whatever came of it: nobody is left running.
    let ended = receiver.kill().and_then(|()| receiver.wait());
    let rehearsed = rehearsed?;
    ended.map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
    Ok(rehearsed)
}

async fn with_customers(stage: &Stage, first_order: i64) -> Result<Rehearsed, Failure> {
    let server = stage.server()?;
    let client = server.connect().await?;
    let begun = Instant::now();
    while !is_received(&client).await? {
        if begun.elapsed() > CONNECTED_WITHIN {
            return Err(Failure::new(FailureKind::Unavailable, "the receiver doesn't connect to the recovered server"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let customers = Customers::send(&server, 1, first_order).await?;
    let rehearsed = stage.lifeboat(&["backup", "shop"]).and_then(|_| measure(stage));
    customers.stop().await;
    rehearsed
}

async fn is_received(client: &lifeboat_postgres::connection::Client) -> Result<bool, Failure> {
    let row = client.query_one("select count(*) > 0 from pg_stat_replication", &[]).await;
    Ok(row.map_err(super::story::server_failed)?.get(0))
}

fn measure(stage: &Stage) -> Result<Rehearsed, Failure> {
    stage.say("9. rehearse: the database lost, then a table dropped; each apart from the server that runs");
    let mut runs = Vec::new();
    for (scenario, more) in REHEARSALS {
        let answer = stage.lifeboat(&[&["drill", "run", scenario, "--workload", "shop"], more].concat())?;
        runs.push(answer["run"].clone());
    }
    stage.say("10. and if it burned now? What is ready, what is not, and what nobody knows");
    let ready = stage.lifeboat_says(&["ready", "--keep"])?;
    stage.say("11. what was promised and what was measured, for whoever has to sign for it");
    let report = stage.report_directory()?;
    stage.lifeboat(&["report", "--to", &report.display().to_string()])?;
    Ok(Rehearsed { ready, runs, report })
}

//! `lifeboat prune --release`: whoever held a point is gone for good, and it is let go of.

use crate::commands::points::held;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use jiff::Timestamp;
use lifeboat_repository::{HoldRecord, Repository};
use serde_json::{Value, json};

pub async fn run(repository: &Repository, point: &str, output: &Output) -> Result<(), Failure> {
    let mut records = repository.holds(None).await?;
    records.retain(|record| record.point.0 == point);
    if records.is_empty() && !repository.list_points(None).await?.iter().any(|header| header.id.0 == point) {
        return Err(Failure::new(FailureKind::NotFound, format!("there is no recovery point {point:?}"))
            .with_hint("`lifeboat points` lists them, and says who holds one"));
    }
    let mut stays: Vec<(String, String)> = Vec::new();
    for record in &records {
        stays.extend(repository.remove_hold(record).await);
    }
    if output.is_json() {
        let released: Vec<Value> = records.iter().map(document).collect();
        let stays: Vec<Value> =
            stays.iter().map(|(location, reason)| json!({ "location": location, "reason": reason })).collect();
        output.document(&json!({ "point": point, "released": released, "stays": stays }))?;
    }
    let now = Timestamp::now();
    for record in &records {
        output.text(&format!("released: {point} of {}: {}", record.workload, held::sentence(record, now)))?;
    }
    match records.is_empty() {
        true => output.text(&format!("nobody holds {point}"))?,
        false => output.hint("who reads from it after all holds it again within a day; until then `prune` may mark it"),
    }
    let Some((location, reason)) = stays.first() else { return Ok(()) };
    let message = format!("location {location} keeps the hold until it ends: {reason}");
    Err(Failure::new(FailureKind::Unavailable, message)
        .with_hint("where objects are locked nothing can be deleted; `lifeboat points` says when it ends")
        .after_its_document())
}

fn document(record: &HoldRecord) -> Value {
    let mut document = held::document(record);
    document["workload"] = json!(record.workload);
    document
}

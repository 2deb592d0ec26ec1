//! Rehearsals, the runbook and the evidence where a location is a bucket.

use crate::bucket::Bucket;
use crate::drills::Shop;
use crate::served::as_ourselves;
use crate::world::Plan;
use anyhow::{Context, Result, ensure};

/// Guards: with the bucket alone one gets the runbook, what it says works, and every entry of the ledger is there; one that is taken out of it
/// is missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_has_the_runbook_that_suffices_and_evidence_that_nobody_takes_away_unseen() -> Result<()> {
    let world = Plan::new(15).workload("check = [\"select count(*) = 20000 from orders\"]").start()?;
    let make = "create table orders (id int primary key, t text); \
        insert into orders select g, md5(g::text) from generate_series(1, 20000) g";
    world.cluster.sql(make).await?;
    let bucket = Bucket::new(30)?;
    bucket.configure(&world, "lifeboat.toml", "")?;
    bucket.fill(&world, "lifeboat.toml")?;
    world.backup("full")?;
    world.archive_all().await?;
    world.done(&["plan", "runbook", "--publish"])?;
    let safe = world.path("safe");
    std::fs::write(&safe, "correct horse battery staple\n")?;
    let shop = Shop { world };

    let escrow = format!("escrow_file={}", safe.display());
    let follow = ["runbook-from-copy", "--with", &escrow, "--with", "location=bucket"];
    // The paper says which files; they aren't on this machine, and nothing of this machine's is taken instead.
    shop.ends(&follow, "failed", "the runbook wants access-key-id of the location's store")?;
    let credentials = shop.world.path("credentials");
    std::fs::create_dir(&credentials)?;
    std::fs::write(credentials.join("access-key-id"), "key\n")?;
    std::fs::write(credentials.join("secret-access-key"), "word\n")?;
    let given = format!("credentials_dir={}", credentials.display());
    let run = shop.passes(&[&follow[..], &["--with", &given]].concat())?;
    ensure!(run["location"] == "bucket", "{run:#}");
    ensure!(run["measured"]["fault_to_healthy_seconds"].as_f64() > Some(0.0), "{:#}", run["measured"]);

    let verify = ["ledger", "verify", "--from", "bucket", "--json"];
    let whole = as_ourselves(&shop.world, "lifeboat.toml", &verify)?;
    ensure!(whole.code == Some(0), "{whole:?}");
    ensure!(whole.json()?["verified"] == true, "{whole:?}");
    shop.passes(&["restore-database"])?;
    let entries = bucket.keys("lifeboat/ledger/0")?;
    ensure!(entries.len() >= 2, "{entries:?}");
    let first = entries.first().context("entries")?;
    bucket.delete(first)?;
    let robbed = as_ourselves(&shop.world, "lifeboat.toml", &verify)?;
    ensure!(robbed.code == Some(6) && robbed.stdout.contains("removed"), "{robbed:?}");
    // The other location has it still.
    let mended = as_ourselves(&shop.world, "lifeboat.toml", &["ledger", "sync"])?;
    ensure!(mended.code == Some(0), "{mended:?}");
    let again = as_ourselves(&shop.world, "lifeboat.toml", &verify)?;
    ensure!(again.code == Some(0), "{again:?}");
    Ok(())
}

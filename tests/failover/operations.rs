//! What operators do to a cluster that works: maintenance of one member, its data made anew, going back to where the primary was.

use crate::clients;
use crate::world::{Kind, LOOK_EVERY, Mode, PATIENCE, World};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};

/// An agent starts a standby that died within half a second: one that isn't started for so long is left alone.
const LEFT_ALONE_FOR: Duration = Duration::from_secs(4);
/// Far less than the time after which a standby that is silent isn't waited for any longer.
const AT_ONCE: Duration = Duration::from_secs(3);

/// On a busy machine an agent may be too slow for once.
async fn run(world: &World, arguments: &[&str]) -> Result<(bool, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (done, said) = world.lifeboat(0, arguments).await?;
        if !said.contains("answers") && !said.contains("doesn't answer") || Instant::now() > deadline {
            return Ok((done, said));
        }
    }
}

async fn done(world: &World, arguments: &[&str]) -> Result<String> {
    let (done, said) = run(world, arguments).await?;
    ensure!(done, "{arguments:?}: {said}");
    Ok(said)
}

async fn refused(world: &World, arguments: &[&str], words: &str) -> Result<()> {
    let (done, said) = run(world, arguments).await?;
    ensure!(!done && said.contains(words), "{arguments:?} isn't refused with {words:?}: {said}");
    Ok(())
}

async fn database(world: &World, name: &str) -> Result<String> {
    let (_, said) = world.lifeboat(0, &["--json", "cluster", "status"]).await?;
    // What is said on stderr comes after it.
    let document: Value =
        serde_json::Deserializer::from_str(&said).into_iter().next().context("a status")?.context("a status")?;
    let members = document["members"].as_array().context("members")?;
    let member = members.iter().find(|member| member["name"] == name).context("the member")?;
    Ok(member["status"]["database"].as_str().unwrap_or("?").to_owned())
}

async fn wait_for_database(world: &World, name: &str, wanted: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while database(world, name).await? != wanted {
        ensure!(Instant::now() < deadline, "the server of {name} isn't {wanted}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// So long a commit takes at the primary.
async fn commit(world: &World, place: usize, number: i64) -> Result<Duration> {
    let session = clients::open(&clients::config(world.members[place].host.address())).await?;
    let begun = Instant::now();
    let text = format!("insert into ledger (client, number) values (1000, {number})");
    tokio::time::timeout(PATIENCE, session.batch_execute(&text)).await.context("a commit")??;
    Ok(begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_worked_at_made_anew_and_the_primary_goes_back_on_15() -> Result<()> {
    let mut world = World::new(15, Kind { mode: Mode::Synchronous, archives: false }).await?;
    ensure!(world.settle().await? == 0, "the first primary is the first member");
    maintenance(&mut world).await.context("maintenance")?;
    made_anew(&mut world).await.context("made anew")?;
    there_and_back(&mut world).await.context("there and back")
}

async fn maintenance(world: &mut World) -> Result<()> {
    refused(world, &["cluster", "maintenance", "--member", "a"], "hands over to another first").await?;
    refused(world, &["cluster", "maintenance", "--member", "z"], "no member is named").await?;
    done(world, &["cluster", "maintenance", "--member", "b"]).await?;
    world.members[1].kill_server();
    wait_for_database(world, "b", "stopped").await?;
    let took = commit(world, 0, 1).await?;
    ensure!(took < AT_ONCE, "a commit waited {took:?} for a member in maintenance");
    let until = Instant::now() + LEFT_ALONE_FOR;
    while Instant::now() < until {
        ensure!(database(world, "b").await? == "stopped", "what somebody works at was started");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    refused(world, &["cluster", "switchover", "--to", "b"], "b is in maintenance").await?;
    refused(world, &["cluster", "failover", "--to", "b", "--force"], "b is in maintenance").await?;
    refused(world, &["cluster", "rejoin", "--member", "b"], "b is in maintenance").await?;
    // Its agent may be restarted meanwhile.
    world.members[1].kill_agent();
    world.members[1].start_agent()?;
    wait_for_database(world, "b", "stopped").await?;
    let said = done(world, &["cluster", "reprotect", "--wait", "60s"]).await?;
    ensure!(said.contains("b is in maintenance, and protects nothing") && said.contains("c follows a"), "{said}");
    done(world, &["cluster", "maintenance", "--member", "b", "--end"]).await?;
    world.settle().await?;
    Ok(())
}

async fn made_anew(world: &mut World) -> Result<()> {
    refused(world, &["cluster", "rejoin", "--member", "a", "--anew"], "only a standby rejoins").await?;
    let said = done(world, &["cluster", "rejoin", "--member", "b", "--anew", "--wait", "120s"]).await?;
    ensure!(said.contains("b follows a"), "{said}");
    ensure!(world.members[1].directory.join("data.lifeboat-before/PG_VERSION").exists(), "the old data isn't kept");
    ensure!(!world.members[1].directory.join("data.lifeboat-new").exists(), "half a copy is left");
    world.settle().await?;
    commit(world, 0, 2).await?;
    let deadline = Instant::now() + PATIENCE;
    while world.rows(1).await? != world.rows(0).await? {
        ensure!(Instant::now() < deadline, "what was made anew has other rows");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn there_and_back(world: &mut World) -> Result<()> {
    done(world, &["cluster", "switchover", "--to", "b"]).await?;
    ensure!(world.settle().await? == 1, "b is the primary");
    refused(world, &["cluster", "failback"], "several have the highest priority").await?;
    let said = done(world, &["cluster", "failback", "--to", "a", "--wait", "60s"]).await?;
    ensure!(said.contains("a is the primary again") && said.contains("b, c follow a"), "{said}");
    ensure!(world.settle().await? == 0, "a is the primary");
    let said = done(world, &["cluster", "failback", "--to", "a"]).await?;
    ensure!(said.contains("a is the primary already"), "{said}");
    Ok(())
}

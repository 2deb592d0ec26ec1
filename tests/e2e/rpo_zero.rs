//! `wal receive --sync`: the database's host is lost under load, and every commit that was acknowledged comes back from
//! the repository alone.
//!
//! Each run is a world of its own. What varies: version, size of segments, what a commit waits for (a location, two of
//! them, the receiver's own disk), whether the receiver dies at the same moment, from where the copy is restored.

use crate::contents::must_be_sound;
use crate::exactness::more_rows;
use crate::ledger::{Clients, Moment};
use crate::random::Random;
use crate::world::{Background, Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use std::time::{Duration, Instant};

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    OneLocation,
    BothLocations,
    Spool,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    major: u16,
    segment_mib: u32,
    keeping: Keeping,
    receiver_dies: bool,
    /// From the first kill to the next, and from acknowledged to dead: as it falls.
    wait: Duration,
    receiver_first: bool,
    /// Of two locations that both have all.
    from: &'static str,
}

impl Run {
    fn random(random: &mut Random) -> Self {
        let one_of = |random: &mut Random, many: u64| random.between(0, many);
        Self {
            major: [14, 15, 15, 16, 17, 18][usize::try_from(one_of(random, 6)).unwrap_or_default()],
            segment_mib: [1, 1, 16][usize::try_from(one_of(random, 3)).unwrap_or_default()],
            keeping: [Keeping::OneLocation, Keeping::BothLocations, Keeping::Spool]
                [usize::try_from(one_of(random, 3)).unwrap_or_default()],
            receiver_dies: one_of(random, 2) == 0,
            wait: Duration::from_micros(random.between(1_000, 3_000_000)),
            receiver_first: one_of(random, 2) == 0,
            from: ["local", "far"][usize::try_from(one_of(random, 2)).unwrap_or_default()],
        }
    }

    fn plan(self) -> Plan {
        let plan = Plan::new(self.major)
            .without_archiving()
            .cluster(|builder| builder.wal_segment_size_mib(self.segment_mib).setting("min_wal_size", "32MB"))
            .location("far");
        match self.keeping {
            Keeping::OneLocation => plan.workload("synchronous = { locations = 1 }"),
            Keeping::BothLocations => plan.workload("synchronous = { locations = [\"local\", \"far\"] }"),
            Keeping::Spool => plan.workload_in(|root| format!("synchronous = {{ spool = \"{root}/spool\" }}")),
        }
    }
}

/// Starts the receiver and lets commits wait for it.
pub async fn receiving(world: &World) -> Result<Background> {
    let receiver = world.spawn("lifeboat.toml", &["wal", "receive", "shop", "--sync"])?;
    connected(world, &receiver).await?;
    world.cluster.sql("alter system set synchronous_standby_names = 'lifeboat_shop'").await?;
    world.cluster.sql("select pg_reload_conf()").await?;
    let is_sync = "select coalesce(bool_or(sync_state = 'sync'), false)::text from pg_stat_replication";
    until("commits wait for the receiver", || async {
        Ok(world.cluster.sql(is_sync).await?.as_deref() == Some("true"))
    })
    .await
    .with_context(|| receiver.log())?;
    Ok(receiver)
}

pub async fn connected(world: &World, receiver: &Background) -> Result<()> {
    let ask = "select count(*)::text from pg_stat_replication where application_name = 'lifeboat_shop' \
        and state = 'streaming'";
    until("the receiver is connected", || async { Ok(world.cluster.sql(ask).await?.as_deref() == Some("1")) })
        .await
        .with_context(|| receiver.log())
}

/// Rows by the hundred, until the server is gone: segments fill while small commits wait.
fn bulk(cluster: &TestCluster) -> tokio::task::JoinHandle<Result<()>> {
    let connection = cluster.connection_string();
    tokio::spawn(async move {
        let (client, session) = tokio_postgres::connect(&connection, tokio_postgres::NoTls).await?;
        let session = tokio::spawn(session);
        client.simple_query("create table if not exists bulk (filler text)").await?;
        let insert = "insert into bulk select repeat(md5(random()::text), 20) from generate_series(1, 400)";
        while client.simple_query(insert).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        session.abort();
        Ok(())
    })
}

/// One lost host. Returns how many acknowledged rows had to come back.
async fn lost_host(run: Run) -> Result<usize> {
    let mut world = run.plan().start()?;
    let mut receiver = receiving(&world).await?;
    world.backup("full")?;
    let clients = Clients::start(&world.cluster, 3).await?;
    let load = bulk(&world.cluster);
    more_rows(&world.cluster, 20).await.with_context(|| receiver.log())?;
    tokio::time::sleep(run.wait).await;
    if run.receiver_dies && run.receiver_first {
        receiver.child.kill()?;
    }
    world.cluster.kill()?;
    if run.receiver_dies {
        receiver.child.kill()?;
        receiver.child.wait()?;
    }
    let ledger = clients.stop().await?;
    load.await??;
    // Nothing is left but the repository, the configuration, the passphrase; and, on its own machine, the spool.
    std::fs::remove_dir_all(world.cluster.data_dir())?;
    std::fs::remove_dir_all(world.path("state"))?;
    let mut copy = match run.keeping {
        Keeping::BothLocations => {
            // All of it is in each of them: the other one burns as well.
            let other = if run.from == "local" { "far" } else { "local" };
            drop(receiver);
            std::fs::remove_dir_all(world.path(&format!("repository-{other}")))?;
            world.restore(&["--from", run.from]).await
        }
        Keeping::Spool if !run.receiver_dies && run.receiver_first => {
            // The receiver's machine brings it home by itself, and then burns too.
            drop(receiver);
            world.done(&["wal", "receive", "shop", "--ship-only"])?;
            std::fs::remove_dir_all(world.path("spool"))?;
            world.restore(&[]).await
        }
        _ => world.restore(&[]).await,
    }?;
    let (must, _) = ledger.judge(&copy, Moment::End).await?;
    ensure!(must >= 20, "nothing was put to the test: {must} acknowledged rows");
    must_be_sound(&mut copy).await?;
    Ok(must)
}

async fn kills(count: usize) -> Result<()> {
    let mut random = Random::new();
    let mut rows = 0;
    for number in 1..=count {
        let run = Run::random(&mut random);
        let begun = Instant::now();
        let must = lost_host(run).await.with_context(|| format!("kill {number}: {run:?}"))?;
        eprintln!("kill {number}: {must} acknowledged rows came back, {:.1} s, {run:?}", begun.elapsed().as_secs_f64());
        rows += must;
    }
    eprintln!("{count} kills, {rows} acknowledged rows, none lost");
    Ok(())
}

/// Guards: a commit is acknowledged to the server before it is durable where it must be; parts that don't join; a spool that
/// nobody ships.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_commits_survive_the_loss_of_the_host() -> Result<()> {
    let mut random = Random::new();
    for keeping in [Keeping::OneLocation, Keeping::BothLocations, Keeping::Spool] {
        let run = Run { major: 15, segment_mib: 1, keeping, receiver_dies: true, ..Run::random(&mut random) };
        let must = lost_host(run).await.with_context(|| format!("{run:?}"))?;
        eprintln!("{must} acknowledged rows came back, {run:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn long_rpo_zero_50_kills() -> Result<()> {
    kills(50).await
}

/// Guards: a receiver that is gone blocks commits and can't say so; one that can't store says so, by the command too.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_hears_when_commits_wait() -> Result<()> {
    let world = Plan::new(15)
        .without_archiving()
        .workload("synchronous = { locations = 1, patience = \"1s\" }")
        .workload_in(|root| {
            let script =
                format!("echo \\\"$LIFEBOAT_ALARM $LIFEBOAT_ALARM_KIND $LIFEBOAT_WORKLOAD: $0\\\" >> {root}/alarms");
            format!("alarm = {{ command = [\"sh\", \"-c\", \"{script}\"] }}")
        })
        .start()?;
    let early = world.lifeboat(&["check"])?;
    ensure!(early.code == Some(4) && early.stdout.contains("synchronous_standby_names is empty"), "{early:?}");
    let mut receiver = receiving(&world).await?;
    let good = world.lifeboat(&["check"])?;
    ensure!(good.stdout.contains("they wait for lifeboat_shop, which is connected (sync)"), "{good:?}");
    let second = world.lifeboat(&["wal", "receive", "shop", "--sync"])?;
    ensure!(second.code == Some(7) && second.stderr.contains("another receiver streams on slot"), "{second:?}");
    ensure!(!second.stderr.contains("streaming shop"), "it claims to stream: {second:?}");

    world.cluster.sql("create table promised (n int)").await?;
    std::fs::rename(world.path("repository-local"), world.path("away"))?;
    let (client, session) = tokio_postgres::connect(&world.cluster.connection_string(), tokio_postgres::NoTls).await?;
    tokio::spawn(session);
    let waiting = tokio::spawn(async move { client.simple_query("insert into promised values (1)").await.map(drop) });
    let alarms = || std::fs::read_to_string(world.path("alarms")).unwrap_or_default();
    until("the command is run", || async { Ok(alarms().contains("raised waiting shop: commits have waited")) })
        .await
        .with_context(|| receiver.log())?;
    ensure!(receiver.log().contains("ALARM shop: commits have waited"), "{}", receiver.log());
    ensure!(!waiting.is_finished(), "acknowledged, and stored nowhere");
    std::fs::rename(world.path("away"), world.path("repository-local"))?;
    waiting.await??;
    until("the alarm is over", || async { Ok(alarms().contains("over waiting shop")) }).await?;

    receiver.child.kill()?;
    receiver.child.wait()?;
    let gone = world.lifeboat(&["check"])?;
    ensure!(gone.code == Some(4) && gone.stdout.contains("is not connected"), "{gone:?}");
    world.cluster.sql("alter system set synchronous_commit = 'remote_apply'").await?;
    world.cluster.sql("select pg_reload_conf()").await?;
    let refused = world.lifeboat(&["wal", "receive", "shop", "--sync"])?;
    ensure!(refused.code == Some(2) && refused.stderr.contains("wait for ever"), "{refused:?}");
    Ok(())
}

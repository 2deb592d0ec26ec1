//! A standby is backed up so that its primary has peace: unless it lags, is down, or isn't a standby any more.

use crate::contents::Contents;
use crate::load::prepare;
use crate::remote::run;
use crate::world::{Output, Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;

const ROLE: &str = "create role sender login replication; grant pg_read_all_settings to sender; \
    grant execute on function pg_switch_wal() to sender";

/// A primary that archives, and its standby.
struct Pair {
    world: World,
    standby: TestCluster,
}

impl Pair {
    async fn start(major: u16) -> Result<Self> {
        let world = Plan::new(major).start()?;
        world.cluster.sql(ROLE).await?;
        prepare(&world.cluster, 1)?;
        let mut standby = world.cluster.standby(|builder| builder.setting("archive_mode", "off")).await?;
        standby.start()?;
        // The time of the last commit is only known of what was replayed since the start.
        world.cluster.sql("create table started (at timestamptz)").await?;
        Ok(Self { world, standby })
    }

    /// Writes a configuration that leads to the standby, with or without its files.
    fn configure(&self, name: &str, has_files: bool, more: &str) -> Result<()> {
        let sender = |cluster: &TestCluster| cluster.connection_string_tcp().replace("user=postgres", "user=sender");
        let own = self.standby.data_dir().display().to_string();
        let primary = format!("primary = \"{}\"", sender(&self.world.cluster));
        self.world.configure(name, |text| {
            let lines = text.lines().filter_map(|line| match line {
                line if line.starts_with("data_dir") => has_files.then(|| format!("data_dir = \"{own}\"")),
                line if line.starts_with("connection") && has_files => {
                    Some(format!("connection = \"{}\"", self.standby.connection_string()))
                }
                line if line.starts_with("connection") => Some(format!("connection = \"{}\"", sender(&self.standby))),
                line => Some(line.to_owned()),
            });
            format!("{}\n{primary}\n{more}\n", lines.collect::<Vec<_>>().join("\n"))
        })
    }

    fn backup(&self, configuration: &str) -> Result<Output> {
        run(&self.world, configuration, &["backup", "shop", "--json"])
    }

    fn notes(&self, configuration: &str) -> Result<String> {
        let output = self.backup(configuration)?;
        ensure!(output.code == Some(0), "{output:?}\nstandby: {}", self.standby.log());
        Ok(output.json()?["notes"].to_string())
    }

    async fn standby_has_all(&self) -> Result<()> {
        let ask = "select pg_current_wal_flush_lsn()::text";
        let end = self.world.cluster.sql(ask).await?.context("a position")?;
        let ask = format!("select (pg_last_wal_replay_lsn() >= '{end}')::text");
        until("the standby has all", || async { Ok(self.standby.sql(&ask).await?.as_deref() == Some("true")) }).await
    }

    fn points(&self) -> Result<usize> {
        let points = self.world.done(&["points", "shop", "--json"])?.json()?;
        points["points"].as_array().map(Vec::len).context("points")
    }
}

/// Guards: the end of a backup arrives although nobody writes; an idle primary isn't taken for a lagging standby; points
/// of standby and primary, read and sent, are each other's parents.
async fn idle(major: u16) -> Result<()> {
    let pair = Pair::start(major).await?;
    let world = &pair.world;
    pair.standby_has_all().await?;
    let limits = "standby_max_lag = \"1s\"\nfallback = \"fail\"";
    pair.configure("sent.toml", false, limits)?;
    pair.configure("read.toml", true, limits)?;
    let old = "select (now() - pg_last_xact_replay_timestamp() > interval '1500 ms')::text";
    until("the last commit is old", || async { Ok(pair.standby.sql(old).await?.as_deref() == Some("true")) }).await?;
    for configuration in ["sent.toml", "read.toml", "lifeboat.toml", "sent.toml"] {
        let notes = pair.notes(configuration)?;
        ensure!(notes == "[]", "{configuration}: {notes}");
    }
    let points = world.done(&["points", "shop", "--json"])?.json()?;
    let points = points["points"].as_array().context("points")?;
    ensure!(points.len() == 4 && points.iter().filter(|point| point["type"] == "full").count() == 1, "{points:?}");
    let expected = Contents::of(&world.cluster).await?;
    for target in [&["--immediate"][..], &[]] {
        let copy = world.restore(target).await?;
        Contents::of(&copy).await?.must_be(&expected)?;
    }
    let check = run(world, "sent.toml", &["check"])?;
    ensure!(check.code == Some(0) && check.stdout.contains("shop primary"), "{check:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_primary_of_15() -> Result<()> {
    idle(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_an_idle_primary_of_all_others() -> Result<()> {
    for major in [14, 16, 17, 18] {
        idle(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

/// Guards: a standby that stopped replaying gives no backup that is older than allowed; nor does one that is down. Who
/// asked for the primary then gets it, and is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_lags_or_is_down() -> Result<()> {
    let mut pair = Pair::start(18).await?;
    pair.standby_has_all().await?;
    pair.configure("fail.toml", false, "standby_max_lag = \"2s\"")?;
    pair.configure("primary.toml", true, "standby_max_lag = \"2s\"\nfallback = \"primary\"")?;
    pair.standby.sql("select pg_wal_replay_pause()").await?;
    pair.world.cluster.sql("create table missed as select g from generate_series(1, 1000) g").await?;
    let old = "select (now() - pg_last_xact_replay_timestamp() > interval '2500 ms')::text";
    until("the standby is behind", || async { Ok(pair.standby.sql(old).await?.as_deref() == Some("true")) }).await?;
    let refused = pair.backup("fail.toml")?;
    ensure!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
    ensure!(refused.stdout.contains("behind") && refused.stdout.contains("paused"), "{refused:?}");
    ensure!(pair.points()? == 0, "a backup that was refused left a point");
    let notes = pair.notes("primary.toml")?;
    ensure!(notes.contains("behind") && notes.contains("from the primary"), "{notes}");
    let copy = pair.world.restore(&["--immediate"]).await?;
    let missed = copy.sql("select count(*)::text from missed").await?;
    ensure!(missed.as_deref() == Some("1000"), "the point isn't the primary's: {missed:?}");
    drop(copy);

    pair.standby.sql("select pg_wal_replay_resume()").await?;
    pair.standby_has_all().await?;
    ensure!(pair.notes("primary.toml")? == "[]", "a standby that keeps up isn't used");

    pair.standby.stop(Shutdown::Fast)?;
    let refused = pair.backup("fail.toml")?;
    ensure!(refused.code.is_some_and(|code| code != 0) && refused.stdout.contains("standby"), "{refused:?}");
    let notes = pair.notes("primary.toml")?;
    ensure!(notes.contains("can't be asked") && notes.contains("from the primary"), "{notes}");

    pair.world.cluster.sql("alter system set full_page_writes = off").await?;
    pair.world.cluster.sql("select pg_reload_conf()").await?;
    let ask = "show full_page_writes";
    until("it is off", || async { Ok(pair.world.cluster.sql(ask).await?.as_deref() == Some("off")) }).await?;
    pair.standby.start()?;
    let refused = pair.backup("fail.toml")?;
    ensure!(refused.code.is_some_and(|code| code != 0) && refused.stdout.contains("full_page_writes"), "{refused:?}");
    ensure!(pair.points()? == 3, "there are other points than those that were told");
    Ok(())
}

/// Guards: what is copied from a standby that becomes a primary meanwhile is worth nothing, and nothing is left of it.
async fn promoted_midway(major: u16, has_files: bool) -> Result<()> {
    let mut pair = Pair::start(major).await?;
    pair.configure("slow.toml", has_files, "max_rate = \"1MB\"\nworkers = 1")?;
    let log = pair.world.path("background.log");
    let mut running = pair.world.spawn("slow.toml", &["backup", "shop"])?;
    // What is read here shows in the repository, what is sent on the server.
    let sending = "select count(*)::text from pg_stat_progress_basebackup where backup_streamed > 1000000";
    let reading = "select count(*)::text from pg_locks where locktype = 'advisory' and granted";
    let ask = if has_files { reading } else { sending };
    until("it copies", || async { Ok(pair.standby.sql(ask).await?.as_deref() == Some("1")) }).await?;
    pair.standby.promote()?;
    let status = running.child.wait()?;
    let said = std::fs::read_to_string(log)?;
    ensure!(!status.success() && said.contains("promoted"), "{status}: {said}");
    ensure!(pair.points()? == 0, "there is a point of what was promoted: {said}");

    pair.configure("primary.toml", has_files, "fallback = \"primary\"")?;
    let notes = pair.notes("primary.toml")?;
    ensure!(notes.contains("promoted") && notes.contains("from the primary"), "{notes}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_while_it_sends() -> Result<()> {
    promoted_midway(15, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_while_it_is_read() -> Result<()> {
    promoted_midway(15, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_promoted_while_all_others_send() -> Result<()> {
    for major in [14, 16, 17, 18] {
        promoted_midway(major, false).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

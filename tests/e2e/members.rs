//! A cluster of two members, with the agents of the program: the second is made by `lifeboat standby create`.

use crate::following::create_with;
use crate::remote::run;
use crate::world::{Background, Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use lifeboat_components::{TestCluster, free_port};
use std::path::Path;

/// What a configuration says of one member.
struct Member<'a> {
    name: &'a str,
    data_dir: &'a Path,
    connection: String,
    port: u16,
    agent: u16,
}

/// Writes the configuration of the machine of `own`.
fn configure(world: &World, file: &str, own: &Member, other: &Member) -> Result<()> {
    let root = world.path("").display().to_string();
    let Member { name, data_dir, connection, agent, .. } = own;
    let mut text = format!(
        "\n[cluster.shop]\nthis_member = \"{name}\"\ndata_dir = \"{}\"\nconnection = \"{connection}\"\nbin_dir = \"{}\"\n\
         replication = \"user=postgres\"\nlease = {{ directory = \"{root}leases\" }}\nmode = \"asynchronous\"\n\
         listen = \"127.0.0.1:{agent}\"\ntoken = {{ file = \"{root}token\" }}\nstate_dir = \"{root}agent-{name}\"\n",
        data_dir.display(),
        world.cluster.programs().display(),
    );
    for Member { name, port, agent, .. } in [own, other] {
        text.push_str(&format!(
            "[cluster.shop.member.{name}]\nagent = \"http://127.0.0.1:{agent}\"\ndatabase = \"127.0.0.1:{port}\"\nregion = \"{name}-1\"\n"
        ));
    }
    world.configure(file, |before| before + &text)
}

/// What ends with the test, in this order: an agent would start its server again, and no server here is a child of ours.
struct Machines<'a> {
    world: &'a World,
    agents: Vec<Background>,
    data_dirs: Vec<String>,
    /// Only kept: its directory goes with it.
    standby: Option<TestCluster>,
}

impl Drop for Machines<'_> {
    fn drop(&mut self) {
        self.agents.clear();
        let _directory = self.standby.take();
        for data_dir in &self.data_dirs {
            let mut command = self.world.cluster.command("pg_ctl");
            let _ = command.args(["stop", "-s", "-m", "immediate", "-D", data_dir]).output();
        }
    }
}

/// Whatever the member that was just made needs, the primary has no more, and the archive has.
async fn take_log_away(world: &World) -> Result<()> {
    let cluster = &world.cluster;
    let current = cluster.sql("select pg_walfile_name(pg_current_wal_lsn())").await?.context("a segment")?;
    until("the log is gone", || async {
        // The agent makes the slot anew, and it keeps what there is then.
        let drop =
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'lifeboat_ohio'";
        cluster.sql(drop).await?;
        cluster.sql("insert into t values (0)").await?;
        cluster.sql("select pg_switch_wal()").await?;
        cluster.sql("checkpoint").await?;
        Ok(segments(&cluster.data_dir())?.iter().all(|name| *name > current))
    })
    .await
}

fn listens_on(data_dir: &Path, port: u16) -> Result<()> {
    let settings = data_dir.join("postgresql.conf");
    let text = std::fs::read_to_string(&settings)?;
    Ok(std::fs::write(&settings, format!("{text}port = {port}\n"))?)
}

fn segments(data_dir: &Path) -> Result<Vec<String>> {
    let names = std::fs::read_dir(data_dir.join("pg_wal"))?.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.into_string().ok()).filter(|name| name.len() == 24).collect())
}

/// Guards: the log that the primary has removed since comes from the repository, of whose workload the cluster has its name. And: the primary is found by asking the agents; what is made is started by the agent and follows, under the name and with the slot that
/// the agents expect.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_made_and_its_agent_starts_it() -> Result<()> {
    let mut world = Plan::new(15).start()?;
    world.cluster.sql("create table t as select g from generate_series(1, 1000) g").await?;
    world.backup("full")?;
    world.cluster.stop(Shutdown::Fast)?;
    let log = world.cluster.directory().join("started.log").display().to_string();
    let data_dir = world.cluster.data_dir();
    let first = data_dir.display().to_string();
    let started = world.cluster.command("pg_ctl").args(["start", "-s", "-w", "-D", &first, "-l", &log]).status()?;
    ensure!(started.success(), "{}", world.cluster.log());
    std::fs::write(world.path("token"), "a token for tests only\n")?;
    world.cluster.give_to_server(&world.path("token"))?;

    let (port, place) = (free_port()?, world.path("nowhere"));
    let virginia = Member {
        name: "virginia",
        data_dir: &data_dir,
        connection: world.cluster.connection_string(),
        port: world.cluster.port(),
        agent: free_port()?,
    };
    let mut ohio =
        Member { name: "ohio", data_dir: &place, connection: "host=/nowhere".into(), port, agent: free_port()? };
    configure(&world, "virginia.toml", &virginia, &ohio)?;
    let mut machines = Machines { world: &world, agents: Vec::new(), data_dirs: vec![first], standby: None };
    machines.agents.push(world.spawn("virginia.toml", &["agent", "shop"])?);
    let is_primary = until("the first member is the primary", || async {
        Ok(run(&world, "virginia.toml", &["cluster", "bootstrap", "shop"])?.code == Some(0))
    });
    is_primary.await.with_context(|| machines.agents[0].log())?;
    let missing = run(&world, "virginia.toml", &["standby", "status", "shop"])?;
    ensure!(missing.code == Some(4) && missing.stderr.contains("standby ohio"), "{missing:?}");
    let itself = run(&world, "virginia.toml", &["standby", "create", "shop"])?;
    ensure!(itself.code == Some(2) && itself.stderr.contains("virginia is the primary"), "{itself:?}");

    let standby = TestCluster::builder(15).adopt(|data| {
        world.cluster.give_to_server(data)?;
        let ohio = Member { name: "ohio", data_dir: data, connection: "host=/nowhere".into(), ..ohio };
        configure(&world, "ohio.toml", &ohio, &virginia)?;
        let made = create_with(&world, "ohio.toml", &["standby", "create", "shop", "--json"])?;
        ensure!(made["from"] == "repository" && made["slot"]["name"] == "lifeboat_ohio", "{made}");
        Ok(())
    })?;
    take_log_away(&world).await?;
    let own = standby.data_dir();
    listens_on(&own, port)?;
    let socket = standby.directory().display().to_string();
    ohio = Member {
        connection: format!("host={socket} port={port} user=postgres dbname=postgres"),
        data_dir: &own,
        ..ohio
    };
    configure(&world, "ohio.toml", &ohio, &virginia)?;
    machines.data_dirs.push(own.display().to_string());
    machines.standby = Some(standby);
    machines.agents.push(world.spawn("ohio.toml", &["agent", "shop"])?);
    let follows = until("the second member follows", || async {
        let status = run(&world, "ohio.toml", &["standby", "status", "shop", "--json"])?;
        let document = status.json()?;
        let standby = &document["standbys"][0];
        let is_there =
            standby["name"] == "ohio" && standby["state"] == "streaming" && standby["slot"] == "lifeboat_ohio";
        Ok(status.code == Some(0) && is_there && standby["region"] == "ohio-1")
    });
    follows.await.with_context(|| {
        let server = std::fs::read_to_string(world.path("agent-ohio/postgresql.log")).unwrap_or_default();
        machines.agents.iter().map(Background::log).collect::<String>() + &server
    })
}

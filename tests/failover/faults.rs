//! What is done to the world, and what must come of it by itself before it is undone.

use crate::checks;
use crate::clients::{self, Clients, Way};
use crate::history::{Operation, Outcome};
use crate::member::{DATABASE_PORT, is_agent, is_archiver, is_dead_man};
use crate::random::Random;
use crate::world::{LOOK_EVERY, PATIENCE, World};
use anyhow::{Context, Result, bail, ensure};
use lifeboat_components::hosts::{Cut, Process, Signal};
use std::process::Command;
use std::time::{Duration, Instant};

/// Longer than any lease of these worlds, and than a server's silence is borne.
const FREEZE: Duration = Duration::from_secs(15);
const STORE_AWAY: Duration = Duration::from_secs(20);
/// Time enough for one who thinks that he may take over.
const NOBODY_FOR: Duration = Duration::from_secs(10);

/// See the module. Where nothing else is said, it happens to the primary's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    KillHost,
    KillHostUnarchived,
    KillServer,
    KillAgentBriefly,
    KillAgent,
    CutOff,
    NotHeard,
    HearsNothing,
    AloneWithClients,
    AloneWithClientsAndHalted,
    CutOffFromStore,
    StoreAwayForAll,
    FreezeAgent,
    FreezeServer,
    FreezeBoth,
    HaltedUntilReplaced,
    DiskFull,
    Switchover,
    KillStandby,
    KillWhileOneRejoins,
    KillAndCutOffAnother,
    KillAndNobodyReceives,
}

pub const ALL: [Fault; 22] = [
    Fault::KillHost,
    Fault::KillHostUnarchived,
    Fault::KillServer,
    Fault::KillAgentBriefly,
    Fault::KillAgent,
    Fault::CutOff,
    Fault::NotHeard,
    Fault::HearsNothing,
    Fault::AloneWithClients,
    Fault::AloneWithClientsAndHalted,
    Fault::CutOffFromStore,
    Fault::StoreAwayForAll,
    Fault::FreezeAgent,
    Fault::FreezeServer,
    Fault::FreezeBoth,
    Fault::HaltedUntilReplaced,
    Fault::DiskFull,
    Fault::Switchover,
    Fault::KillStandby,
    Fault::KillWhileOneRejoins,
    Fault::KillAndCutOffAnother,
    Fault::KillAndNobodyReceives,
];

impl Fault {
    pub fn words(self) -> &'static str {
        match self {
            Self::KillHost => "host killed",
            Self::KillHostUnarchived => "host killed, its archiver halted before",
            Self::KillServer => "server killed",
            Self::KillAgentBriefly => "agent killed, started again",
            Self::KillAgent => "agent killed for good",
            Self::CutOff => "host cut off",
            Self::NotHeard => "host hears and isn't heard",
            Self::HearsNothing => "host is heard and hears nothing",
            Self::AloneWithClients => "host cut off from all but clients",
            Self::AloneWithClientsAndHalted => "the same, and its agent halted",
            Self::CutOffFromStore => "host cut off from etcd",
            Self::StoreAwayForAll => "etcd away for all, 20 s",
            Self::FreezeAgent => "agent halted, 15 s",
            Self::FreezeServer => "server halted, 15 s",
            Self::FreezeBoth => "agent and server halted, 15 s",
            Self::HaltedUntilReplaced => "host halted until another promises",
            Self::DiskFull => "disk full",
            Self::Switchover => "switchover",
            Self::KillStandby => "standby's host killed",
            Self::KillWhileOneRejoins => "host killed while another rejoins",
            Self::KillAndCutOffAnother => "host killed, another cut off (after healing)",
            Self::KillAndNobodyReceives => "host killed, nobody streams (after healing)",
        }
    }
}

/// The place where it happens, and the clients.
struct Scene<'a> {
    world: &'a mut World,
    clients: &'a Clients,
    primary: usize,
    at: Duration,
}

/// Does it, waits for what must come of it, and undoes it. Gives from when on the time without a write counts.
pub async fn carry_out(
    world: &mut World,
    clients: &Clients,
    primary: usize,
    fault: Fault,
    random: &mut Random,
) -> Result<Duration> {
    let at = world.now();
    let mut scene = Scene { world, clients, primary, at };
    match fault {
        Fault::KillHost => scene.kill_host().await?,
        Fault::KillHostUnarchived => {
            scene.member().host.signal(Signal::STOP, is_archiver);
            scene.whole_segments().await?;
            scene.at = scene.world.now();
            scene.kill_host().await?;
            return Ok(scene.at);
        }
        Fault::KillServer => {
            scene.member().kill_server();
            scene.taken_over().await?;
        }
        Fault::KillAgentBriefly => {
            scene.member().kill_agent();
            tokio::time::sleep(Duration::from_millis(100 + random.below(5_000))).await;
            scene.member().start_agent()?;
        }
        Fault::KillAgent => scene.kill_agent().await?,
        Fault::CutOff => scene.cut_off(Cut::Both).await?,
        Fault::NotHeard => scene.cut_off(Cut::Outgoing).await?,
        Fault::HearsNothing => scene.cut_off(Cut::Incoming).await?,
        Fault::AloneWithClients => scene.alone_with_clients().await?,
        Fault::AloneWithClientsAndHalted => {
            // Nobody but the dead man's process is left to end the server, and that one isn't the first of its kind.
            scene.another_dead_man().await?;
            scene.member().host.signal(Signal::STOP, is_agent);
            scene.alone_with_clients().await?;
            tokio::time::sleep(FREEZE / 3).await;
            scene.member().host.signal(Signal::CONT, is_agent);
        }
        Fault::CutOffFromStore => {
            let store = scene.world.etcd.address().to_owned();
            scene.member().host.cut_off_from(&store, Cut::Both)?;
            tokio::time::sleep(STORE_AWAY / 2).await;
            scene.writes_since(scene.world.now(), None).await?;
            scene.member().host.heal()?;
        }
        Fault::StoreAwayForAll => {
            scene.world.etcd.cut_off(Cut::Both)?;
            tokio::time::sleep(STORE_AWAY).await;
            scene.world.etcd.heal()?;
        }
        Fault::FreezeAgent => scene.freeze(is_agent).await?,
        Fault::FreezeServer => scene.freeze(Process::is_of_postgres).await?,
        Fault::FreezeBoth => scene.freeze(|process| is_agent(process) || process.is_of_postgres()).await?,
        Fault::HaltedUntilReplaced => scene.halted_until_replaced().await?,
        Fault::DiskFull => scene.disk_full().await?,
        Fault::Switchover => scene.switchover(random).await?,
        Fault::KillStandby => {
            let standby = scene.other(random);
            scene.world.members[standby].kill_host();
            scene.writes_since(scene.world.now() + Duration::from_secs(1), None).await?;
            scene.world.members[standby].start_agent()?;
        }
        Fault::KillWhileOneRejoins => scene.kill_while_one_rejoins(random).await?,
        Fault::KillAndCutOffAnother => return scene.kill_and_cut_off_another(random).await,
        Fault::KillAndNobodyReceives => return scene.kill_and_nobody_receives().await,
    }
    Ok(at)
}

impl Scene<'_> {
    fn member(&mut self) -> &mut crate::member::Member {
        &mut self.world.members[self.primary]
    }

    /// A standby.
    fn other(&self, random: &mut Random) -> usize {
        let step = 1 + usize::try_from(random.below(2)).unwrap_or(0);
        (self.primary + step) % self.world.members.len()
    }

    /// Waits for a write that was asked for after `since` and acknowledged, by another server than `not_by`. Gives who took it.
    async fn writes_since(&self, since: Duration, not_by: Option<usize>) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let so_far = self.clients.so_far();
            let found = so_far.iter().rev().find_map(|operation| match operation {
                Operation { asked, outcome: Outcome::Ok { server, .. }, .. } if *asked > since => {
                    (Some(*server) != not_by).then_some(*server)
                }
                _ => None,
            });
            if let Some(server) = found {
                return Ok(server);
            }
            if Instant::now() > deadline {
                let last: Vec<_> = so_far.iter().rev().take(6).collect();
                let (_, status) = self.world.lifeboat(0, &["cluster", "status"]).await?;
                bail!("nobody could write for {PATIENCE:?}; last: {last:?}\n{status}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Somebody else is the primary, and acknowledges.
    async fn taken_over(&self) -> Result<usize> {
        self.writes_since(self.at, Some(self.primary)).await
    }

    async fn kill_host(&mut self) -> Result<()> {
        self.member().kill_host();
        self.taken_over().await?;
        self.member().start_agent()
    }

    /// Some that its successor has, and nobody has archived.
    async fn whole_segments(&mut self) -> Result<()> {
        let session = clients::open(&clients::config(self.member().host.address())).await.context("a session")?;
        for _ in 0..3 {
            let since = self.world.now();
            session.batch_execute("select pg_switch_wal()").await.context("close a segment")?;
            self.writes_since(since, None).await?;
        }
        Ok(())
    }

    async fn kill_agent(&mut self) -> Result<()> {
        self.member().kill_agent();
        self.taken_over().await?;
        // Whoever might still write there is ended by the process that is there for that.
        let deadline = Instant::now() + PATIENCE;
        while self.member().host.processes().iter().any(Process::is_of_postgres) {
            ensure!(Instant::now() < deadline, "the server of a dead agent goes on");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.member().start_agent()
    }

    async fn cut_off(&mut self, cut: Cut) -> Result<()> {
        self.member().host.cut_off(cut)?;
        self.taken_over().await?;
        self.member().host.heal()
    }

    async fn alone_with_clients(&mut self) -> Result<()> {
        let hosts = self.world.members.iter().map(|member| member.host.address());
        let others: Vec<String> = hosts.chain([self.world.etcd.address()]).map(str::to_owned).collect();
        for address in others.iter().filter(|address| *address != self.world.members[self.primary].host.address()) {
            self.world.members[self.primary].host.cut_off_from(address, Cut::Both)?;
        }
        // Nobody else ever has the rest of this segment; where there is an archive, it goes there. Without an answer the server has ended.
        let session = clients::open(&clients::config(self.world.members[self.primary].host.address())).await;
        if let Ok(session) = session {
            let _ = tokio::time::timeout(LOOK_EVERY * 10, session.batch_execute("select pg_switch_wal()")).await;
        }
        self.taken_over().await?;
        self.member().host.heal()
    }

    /// Kills the one there is, and waits for the next.
    async fn another_dead_man(&mut self) -> Result<()> {
        let first: Vec<_> = self.dead_men();
        ensure!(first.len() == 1, "not one process that ends the database: {first:?}");
        self.member().host.kill(is_dead_man);
        let deadline = Instant::now() + PATIENCE;
        while self.dead_men().iter().all(|process| first.contains(process)) {
            ensure!(Instant::now() < deadline, "the process that ends the database isn't started again");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let journal =
            std::fs::read_to_string(self.member().state_dir.join("journal.jsonl")).context("read a journal")?;
        ensure!(journal.contains("was gone, and is started again"), "nobody is told that it was gone");
        Ok(())
    }

    fn dead_men(&self) -> Vec<Process> {
        let all = self.world.members[self.primary].host.processes();
        all.into_iter().filter(is_dead_man).collect()
    }

    async fn freeze(&mut self, meant: impl Fn(&Process) -> bool) -> Result<()> {
        let member = &self.world.members[self.primary];
        member.host.signal(Signal::STOP, &meant);
        tokio::time::sleep(FREEZE).await;
        member.host.signal(Signal::CONT, &meant);
        Ok(())
    }

    /// Everything in the host, as a machine that is paused; it goes on when somebody is about to replace it, with sessions and receivers as they were.
    async fn halted_until_replaced(&mut self) -> Result<()> {
        let promises = |world: &World| {
            let journals = world.members.iter().map(|member| member.state_dir.join("journal.jsonl"));
            let texts = journals.filter_map(|path| std::fs::read_to_string(path).ok());
            texts.map(|text| text.matches("→ promised").count()).sum::<usize>()
        };
        let before = promises(self.world);
        let host = &self.world.members[self.primary].host;
        host.signal(Signal::STOP, |_| true);
        let deadline = Instant::now() + FREEZE;
        while promises(self.world) == before && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        host.signal(Signal::CONT, |_| true);
        Ok(())
    }

    /// Fills the disk, and writes log until the server notices.
    async fn disk_full(&mut self) -> Result<()> {
        let member = &self.world.members[self.primary];
        let stuff = member.directory.join("stuff");
        // It ends when there is no more room.
        let _ = Command::new("dd").args(["if=/dev/zero", "bs=1M"]).arg(format!("of={}", stuff.display())).output();
        let session = clients::open(&clients::config(member.host.address())).await.context("a session")?;
        let deadline = Instant::now() + PATIENCE;
        // Without an answer it has gone, or waits for others that have.
        while let Ok(Ok(_)) = tokio::time::timeout(
            Duration::from_secs(5),
            session.batch_execute(
                "select pg_logical_emit_message(false, 'fill', repeat('x', 1000)); select pg_switch_wal()",
            ),
        )
        .await
        {
            ensure!(Instant::now() < deadline, "the disk doesn't become full");
        }
        self.taken_over().await?;
        std::fs::remove_file(&stuff).context("make room")
    }

    async fn switchover(&mut self, random: &mut Random) -> Result<()> {
        let to = self.other(random);
        let name = self.world.members[to].name;
        let (done, said) = self.world.lifeboat(self.primary, &["cluster", "switchover", "--to", name]).await?;
        ensure!(done, "switchover to {name}: {said}");
        let takes = self.taken_over().await?;
        ensure!(takes == to, "switchover to {name}, and {} took it", self.world.members[takes].name);
        self.nobody_at_the_proxy_saw_it().await
    }

    /// Who comes anew for each write waits a little, and sees no error.
    async fn nobody_at_the_proxy_saw_it(&self) -> Result<()> {
        let since = self.world.now();
        let mut longest = Duration::ZERO;
        for client in self.clients.on(|way| way == Way::ProxiedAnew) {
            let deadline = Instant::now() + PATIENCE;
            let all = loop {
                let mut all = self.clients.so_far();
                all.retain(|operation| operation.client == client && operation.ended > self.at);
                if all.iter().any(|operation| operation.asked > since) {
                    break all;
                }
                ensure!(
                    Instant::now() < deadline,
                    "after the switchover client {client} of the proxy doesn't come through"
                );
                tokio::time::sleep(LOOK_EVERY).await;
            };
            let wrong = all.iter().find(|operation| !operation.is_ok());
            ensure!(wrong.is_none(), "client {client} of the proxy saw the switchover: {wrong:?}");
            longest = longest.max(checks::without_a_write(&all, self.at, self.world.now()));
        }
        eprintln!("clients of the proxy saw no error, and waited for {:.3} s at most", longest.as_secs_f64());
        Ok(())
    }

    async fn kill_while_one_rejoins(&mut self, random: &mut Random) -> Result<()> {
        let first = self.primary;
        self.world.members[first].kill_host();
        let second = self.taken_over().await?;
        self.world.members[first].start_agent()?;
        tokio::time::sleep(Duration::from_millis(random.below(4_000))).await;
        self.primary = second;
        self.at = self.world.now();
        self.world.members[second].kill_host();
        self.taken_over().await?;
        self.world.members[second].start_agent()
    }

    /// One of three is left: it can't know whether the other has what was acknowledged, and takes nothing over.
    async fn kill_and_cut_off_another(&mut self, random: &mut Random) -> Result<Duration> {
        let other = self.other(random);
        self.world.members[other].host.cut_off(Cut::Both)?;
        self.member().kill_host();
        self.nobody_acknowledges().await?;
        let until = self.world.now();
        self.world.members[other].host.heal()?;
        self.taken_over().await?;
        self.member().start_agent()?;
        Ok(until)
    }

    /// The two that are left agree on a new primary, and the other one can't receive from it: no commit is safe.
    async fn kill_and_nobody_receives(&mut self) -> Result<Duration> {
        let left: Vec<usize> = (0..self.world.members.len()).filter(|place| *place != self.primary).collect();
        for (place, other) in [(left[0], left[1]), (left[1], left[0])] {
            let address = self.world.members[other].host.address().to_owned();
            self.world.members[place].host.cut_off_from_port(&address, DATABASE_PORT)?;
        }
        self.member().kill_host();
        self.nobody_acknowledges().await?;
        let until = self.world.now();
        for place in left {
            self.world.members[place].host.heal()?;
        }
        self.taken_over().await?;
        self.member().start_agent()?;
        Ok(until)
    }

    async fn nobody_acknowledges(&self) -> Result<()> {
        let since = self.world.now();
        tokio::time::sleep(NOBODY_FOR).await;
        let all = self.clients.so_far().into_iter();
        let wrong: Vec<Operation> = all.filter(|operation| operation.is_ok() && operation.asked > since).collect();
        ensure!(wrong.is_empty(), "what nobody else has was acknowledged, {} times: {:?}", wrong.len(), wrong.first());
        Ok(())
    }
}

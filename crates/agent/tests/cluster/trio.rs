//! Three members on this machine, each with a real PostgreSQL, and their agents as tasks that can be cut off like a process that is killed.

use lifeboat_agent::database::{Address, DatabaseSettings, kill_servers, system_id};
use lifeboat_agent::lease::{LeaseStore, Register};
use lifeboat_agent::{Agent, AgentSettings, Outward, Place, Token};
use lifeboat_components::postgres::Shutdown;
use lifeboat_components::{TestCluster, free_port};
use lifeboat_failover::{MemberName, MemberSettings, Mode, Settings, Timing, WhenAlone};
use lifeboat_location::Directory;
use lifeboat_postgres::cluster::{Account, Cluster, Programs, StartOptions};
use lifeboat_postgres::connection::{Secret, Target};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub const NAMES: [&str; 3] = ["virginia", "ohio", "oregon"];
const TOKEN: &str = "a token for tests only";
/// Until something has happened that must.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A status is as old as this, at most.
const SHOWN_LATE_MILLISECONDS: u64 = 600;

pub struct Node {
    pub name: MemberName,
    pub cluster: TestCluster,
    pub agent_port: u16,
    pub state_dir: PathBuf,
    pub agent: Option<(JoinHandle<()>, oneshot::Sender<()>)>,
}

pub struct Trio {
    pub nodes: Vec<Node>,
    pub mode: Mode,
    pub store: Arc<dyn LeaseStore>,
    pub http: reqwest::Client,
    _scratch: tempfile::TempDir,
}

impl Trio {
    /// Three members; the first runs, the others are copies that were never started.
    pub async fn new(major: u16, mode: Mode) -> Self {
        let builder = || {
            TestCluster::builder(major)
                .setting("wal_log_hints", "on")
                .setting("wal_keep_size", "64MB")
                .setting("max_wal_senders", 10)
        };
        let mut first = builder().start().expect("a cluster");
        first.sql("create table ledger (client int, number int, primary key (client, number))").await.expect("a table");
        let second = first
            .standby(|builder| builder.setting("max_wal_senders", 10).setting("wal_log_hints", "on"))
            .await
            .expect("a standby");
        let third = first
            .standby(|builder| builder.setting("max_wal_senders", 10).setting("wal_log_hints", "on"))
            .await
            .expect("a standby");
        // From now on no server is a child of ours that somebody would have to take note of.
        first.stop(Shutdown::Fast).expect("it stops");
        let programs = Programs::in_directory(first.programs()).expect("programs");
        let cluster = Cluster::open(&first.data_dir(), programs).expect("a cluster");
        cluster.start(&StartOptions::new(first.directory().join("log"))).await.expect("it starts");
        let scratch = tempfile::tempdir().expect("a directory");
        let location = Directory::create(scratch.path().join("leases")).expect("a location");
        let store = Arc::new(Register::new(Arc::new(location), "shop", Duration::from_secs(2)));
        let nodes = [first, second, third].into_iter().zip(NAMES).map(|(cluster, name)| Node {
            name: name.into(),
            cluster,
            agent_port: free_port().expect("a port"),
            state_dir: scratch.path().join(name),
            agent: None,
        });
        let nodes = nodes.collect();
        let mut trio = Self { nodes, mode, store, http: reqwest::Client::new(), _scratch: scratch };
        for place in 0..NAMES.len() {
            trio.start_agent(place).await;
        }
        trio.command_done(0, r#"{"command":"bootstrap"}"#).await;
        trio
    }

    pub fn synchronous() -> Mode {
        Mode::Synchronous { needed: 1, when_alone: WhenAlone::Wait }
    }

    pub fn settings(&self, place: usize) -> AgentSettings {
        let node = &self.nodes[place];
        let member = |_: &Node| MemberSettings { witness: false, priority: 1, barred: false };
        let address = |node: &Node| Address { host: "127.0.0.1".into(), port: node.cluster.port() };
        let failover = Settings {
            cluster: "shop".into(),
            name: node.name.clone(),
            members: self.nodes.iter().map(|node| (node.name.clone(), member(node))).collect(),
            mode: self.mode,
            loss_max: Some(16 << 20),
            timing: Timing::local(),
        };
        let addresses: BTreeMap<_, _> = self.nodes.iter().map(|node| (node.name.clone(), address(node))).collect();
        let first_quorum = failover.quorum_of(&node.name, &addresses.keys().cloned().collect());
        let data_dir = node.cluster.data_dir();
        let account = node.cluster.account().map(|account| Account { uid: account.uid, gid: account.gid });
        AgentSettings {
            places: self
                .nodes
                .iter()
                .map(|node| {
                    let agent = format!("http://127.0.0.1:{}", node.agent_port);
                    (node.name.clone(), Place { agent, database: Some(address(node)), region: None })
                })
                .collect(),
            system_id: Some(system_id(&data_dir).expect("a control file")),
            database: Some(DatabaseSettings {
                name: node.name.clone(),
                programs: Programs::in_directory(node.cluster.programs()).expect("programs"),
                run_as: account,
                local: Target::parse(&node.cluster.connection_string(), &Secret::None).expect("a target"),
                addresses,
                replication: "user=postgres".into(),
                restore_command: None,
                archive: None,
                first_quorum,
                log_file: node.cluster.directory().join("log"),
                state_dir: node.state_dir.clone(),
                remake: None,
                data_dir,
            }),
            failover,
            listen: ([127, 0, 0, 1], node.agent_port).into(),
            token: Token::new(TOKEN.into()),
            tls: None,
            state_dir: node.state_dir.clone(),
            dead_man: None,
            watchdog: None,
        }
    }

    pub async fn start_agent(&mut self, place: usize) {
        let settings = self.settings(place);
        let (told, mut entries) = mpsc::unbounded_channel();
        let agent = Agent::start(settings, self.store.clone(), Outward::default(), told).await.expect("an agent");
        let begun = Instant::now();
        let name = self.nodes[place].name.clone();
        tokio::spawn(async move {
            while let Some(entry) = entries.recv().await {
                println!("{:8.3} {name}: {} {}", begun.elapsed().as_secs_f64(), entry.what, entry.text);
            }
        });
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            agent.run(ended).await.expect("it goes on");
        });
        self.nodes[place].agent = Some((task, end));
    }

    /// As `kill -9` of the agent: nothing is tidied up.
    pub async fn kill_agent(&mut self, place: usize) {
        if let Some((task, _)) = self.nodes[place].agent.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// As `kill -9` of every process of the server.
    pub fn kill_database(&self, place: usize) {
        kill_servers(&self.nodes[place].cluster.data_dir());
    }

    pub async fn command(&self, place: usize, body: &'static str) -> String {
        let url = format!("http://127.0.0.1:{}/v1/command", self.nodes[place].agent_port);
        let request = self.http.post(url).bearer_auth(TOKEN).body(body);
        request.send().await.expect("an answer").text().await.expect("a text")
    }

    /// The same, until it is done: a member may not know yet what it must for that.
    pub async fn command_done(&self, place: usize, body: &'static str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.command(place, body).await;
            if answer.contains("\"done\":true") {
                return answer;
            }
            assert!(Instant::now() < deadline, "{answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn status(&self, place: usize) -> Option<serde_json::Value> {
        let url = format!("http://127.0.0.1:{}/v1/status", self.nodes[place].agent_port);
        self.http.get(url).bearer_auth(TOKEN).send().await.ok()?.json().await.ok()
    }

    pub async fn is_yes(&self, place: usize, path: &str) -> bool {
        let url = format!("http://127.0.0.1:{}{path}", self.nodes[place].agent_port);
        self.http.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until one of the members says that it is the primary.
    pub async fn primary(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for place in 0..self.nodes.len() {
                if self.nodes[place].agent.is_some() && self.is_yes(place, "/primary").await {
                    return place;
                }
            }
            assert!(Instant::now() < deadline, "nobody is the primary");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a member is a standby that receives from the primary.
    pub async fn follows(&self, place: usize) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_yes(place, "/replica").await {
            if Instant::now() > deadline {
                panic!("{} doesn't follow: {:?}", self.nodes[place].name, self.status(place).await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a member's journal says so.
    pub async fn tells(&self, place: usize, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let journal =
                std::fs::read_to_string(self.nodes[place].state_dir.join("journal.jsonl")).unwrap_or_default();
            if journal.contains(words) {
                return;
            }
            assert!(Instant::now() < deadline, "{} never says {words:?}:\n{journal}", self.nodes[place].name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a member has heard all others after this call: what they could do has come to it.
    pub async fn hears_all(&self, place: usize) {
        let begun = Instant::now();
        loop {
            let ago = |status: serde_json::Value| -> Option<Vec<u64>> {
                let members = status["members"].as_array()?;
                members.iter().map(|member| member["heard_milliseconds_ago"].as_u64()).collect()
            };
            let heard = self.status(place).await.and_then(ago).unwrap_or_default();
            let since = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            if heard.len() + 1 == self.nodes.len() && heard.iter().all(|ago| ago + SHOWN_LATE_MILLISECONDS < since) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the others aren't heard: {:?}", self.status(place).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A session with a member's database, however many tries it takes.
    pub async fn session(&self, place: usize) -> lifeboat_postgres::connection::Client {
        let target =
            Target::parse(&self.nodes[place].cluster.connection_string_tcp(), &Secret::None).expect("a target");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match target.connect().await {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some((task, _)) = node.agent.take() {
                task.abort();
            }
        }
        for node in &self.nodes {
            kill_servers(&node.cluster.data_dir());
        }
    }
}

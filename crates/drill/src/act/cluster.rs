//! A cluster of three members in the place, and what happens to its hosts.

use crate::cluster::{self, Cluster, DIRECTORY, PROXY};
use crate::engine::{Rehearsal, Seen};
use crate::hosts::{CLIENTS, MEMBERS, address};
use crate::place::random_text;
use crate::process::{Who, end, which};
use crate::server::{self, proofs_of_member};
use lifeboat_postgres::cluster::Programs;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Between two looks whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Rehearsal<'_> {
    /// The running server `first` becomes the first member; two more are made of its data. Ends when all follow the primary.
    pub(super) async fn begin_cluster(&mut self, first: &str, limit: Duration) -> Seen {
        let deadline = Instant::now() + limit;
        let begun = Instant::now();
        match self.make_cluster(first, deadline).await {
            Ok(()) => Seen::of(serde_json::json!({ "seconds": begun.elapsed().as_secs_f64() })),
            Err(why) => Seen::wrong(why),
        }
    }

    async fn make_cluster(&mut self, first: &str, deadline: Instant) -> Result<(), String> {
        if first != MEMBERS[0] {
            return Err(format!("the first member of a cluster is the server {}, not {first}", MEMBERS[0]));
        }
        let protected = self.protected_of(first).cloned().ok_or("there is no workload")?;
        let programs = server::programs(&self.place.data_dir(first), &protected, &self.around.search_path);
        let programs = programs.map_err(|error| error.to_string())?;
        // Made with the cluster: it always is, and it has the number 10.
        let superuser = self.sql(first, None, "select rolname from pg_roles where oid = 10").await;
        let superuser = superuser.value.as_str().map(str::to_owned).ok_or("the server names no superuser")?;
        self.end_well(first, &programs, deadline).await?;
        let place = self.place.clone();
        let bin_dir = programs.directory().to_path_buf();
        let cluster = Cluster { place: &place, protected: &protected, superuser, bin_dir };
        self.write_cluster(&cluster).map_err(|error| format!("write the cluster's configuration: {error}"))?;
        self.make_certificates(deadline).await?;
        self.lay_members(&cluster, &programs, deadline).await?;
        for member in MEMBERS {
            self.start_store(member)?;
        }
        let data = place.data_dir(first).display().to_string();
        let log = place.path("logs").join("first.log").display().to_string();
        let pg_ctl = programs.program("pg_ctl").map_err(|error| error.to_string())?;
        let mut command = self.in_host(first, &pg_ctl);
        command.args(["-D", &data, "-w", "start", "-l", &log]);
        self.well(command, "start the first member", deadline).await?;
        for member in MEMBERS {
            self.start_agent(member)?;
        }
        self.until_done(&["cluster", "bootstrap", "--member", first], deadline).await?;
        self.start_clients()?;
        self.until_done(&["cluster", "status"], deadline).await?;
        self.prove_members().await
    }

    /// In good order: what is cloned needs no recovery.
    async fn end_well(&mut self, server: &str, programs: &Programs, deadline: Instant) -> Result<(), String> {
        let pg_ctl = programs.program("pg_ctl").map_err(|error| error.to_string())?;
        let mut command = self.processes.command(&pg_ctl, Who::Servers);
        command.arg("-D").arg(self.place.data_dir(server)).args(["-m", "fast", "-w", "stop"]);
        self.well(command, "stop what was restored", deadline).await?;
        match self.servers.remove(server) {
            Some(child) => end(child).await.map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    fn write_cluster(&self, cluster: &Cluster) -> std::io::Result<()> {
        let place = &self.place;
        place.make_directory(&place.path(DIRECTORY))?;
        place.make_directory(&place.socket_dir(PROXY))?;
        let write = |name: &str, text: &str| place.write(&format!("{DIRECTORY}/{name}"), text, 0o600);
        write("token", &random_text()?)?;
        write("extensions", &cluster::certificate_extensions())?;
        write("clients.toml", &cluster.configuration(None))?;
        MEMBERS.iter().try_for_each(|member| write(&format!("{member}.toml"), &cluster.configuration(Some(member))))
    }

    async fn make_certificates(&mut self, deadline: Instant) -> Result<(), String> {
        for words in cluster::certificate_calls() {
            let mut command = self.processes.command(Path::new("openssl"), Who::Servers);
            command.args(words).current_dir(self.place.path(DIRECTORY));
            self.well(command, "make the agents' certificates", deadline).await?;
        }
        Ok(())
    }

    /// The same data three times, the second and third as standbys.
    async fn lay_members(
        &mut self,
        cluster: &Cluster<'_>,
        programs: &Programs,
        deadline: Instant,
    ) -> Result<(), String> {
        let first = self.place.data_dir(MEMBERS[0]);
        let spaces = std::fs::read_dir(first.join("pg_tblspc")).into_iter().flatten().flatten();
        if spaces.count() > 0 {
            return Err(
                "its tablespaces would be shared by all members; a cluster is rehearsed only of a database without"
                    .into(),
            );
        }
        for member in &MEMBERS[1..] {
            let mut command = self.processes.command(Path::new("cp"), Who::Servers);
            command.args(["-a", "--reflink=auto"]).arg(&first).arg(self.place.data_dir(member));
            self.well(command, "copy the data for another member", deadline).await?;
        }
        for member in MEMBERS {
            server::configure_member(cluster, member, programs.major()).map_err(|error| error.to_string())?;
        }
        for member in &MEMBERS[1..] {
            let signal = self.place.write(&format!("servers/{member}/standby.signal"), "", 0o600);
            signal.map_err(|error| format!("write standby.signal: {error}"))?;
        }
        Ok(())
    }

    fn start_store(&mut self, member: &str) -> Result<(), String> {
        let etcd = which("etcd", &self.around.search_path).ok_or("there is no `etcd` on PATH")?;
        let mut command = self.in_host(member, &etcd);
        command.args(cluster::store_arguments(&self.place, member));
        self.leave(command, &format!("etcd-{member}.log"))
    }

    fn start_agent(&mut self, member: &str) -> Result<(), String> {
        let mut command = self.in_host(member, &self.around.program);
        command.arg("--config").arg(cluster::config(&self.place, member)).arg("agent");
        self.leave(command, &format!("agent-{member}.log"))
    }

    /// The proxy, and a door to it: a socket of the place like that of a server.
    fn start_clients(&mut self) -> Result<(), String> {
        let mut command = self.in_host(CLIENTS, &self.around.program);
        command.arg("--config").arg(cluster::clients_config(&self.place)).arg("proxy");
        self.leave(command, "proxy.log")?;
        let mut command = self.in_host(CLIENTS, &self.around.program);
        command.args(["drill", "door"]).arg(self.place.socket(PROXY)).arg(cluster::PROXY_ADDRESS);
        self.leave(command, "door.log")
    }

    async fn prove_members(&mut self) -> Result<(), String> {
        for member in MEMBERS {
            let client = self.session(member, None).await?;
            let seen = proofs_of_member(&client, member, &address(member)).await;
            let broken = seen.iter().find(|proof| !proof.holds).map(|proof| format!("{}: {}", proof.tried, proof.seen));
            self.run().isolation.extend(seen);
            if let Some(broken) = broken {
                self.run().aborted = Some(format!("it is not isolated: {broken}"));
            }
        }
        Ok(())
    }

    /// A program in a host, as the servers' account.
    pub(super) fn in_host(&self, host: &str, program: &Path) -> Command {
        self.processes.command_in(&self.hosts.file(host), program, Who::Servers)
    }

    /// It goes on until it is killed, or the hosts go.
    fn leave(&mut self, mut command: Command, log: &str) -> Result<(), String> {
        let opened = self.place.log(log).and_then(|(_, log)| Ok((log.try_clone()?, log)));
        let (out, err) = opened.map_err(|error| format!("open {log}: {error}"))?;
        let child: Child = command.stdout(out).stderr(err).spawn().map_err(|error| format!("start {log}: {error}"))?;
        self.in_hosts.push(child);
        Ok(())
    }

    /// Runs it, and it must succeed.
    async fn well(&mut self, command: Command, what: &str, deadline: Instant) -> Result<(), String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = self.run_to_end(command, left).await;
        let ended = ended.map_err(|seen| format!("{what}: {}", seen.wrong.unwrap_or_default()))?;
        if ended.code == Some(0) { Ok(()) } else { Err(format!("{what}: {}", ended.said())) }
    }

    /// An operator's command, again and again until it succeeds.
    async fn until_done(&mut self, words: &[&str], deadline: Instant) -> Result<(), String> {
        loop {
            let mut command = self.in_host(CLIENTS, &self.around.program);
            command.arg("--config").arg(cluster::clients_config(&self.place)).args(words).args(["--json", "--quiet"]);
            let what = format!("lifeboat {}", words.join(" "));
            let done = self.well(command, &what, deadline).await;
            if done.is_ok() || Instant::now() + LOOK_EVERY > deadline {
                return done;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What happens to hosts.
    pub(super) fn host_fault(&mut self, name: &str, host: &str) -> Result<(), String> {
        let is_of_a_host = !["lose-lease-store", "lease-store-back"].contains(&name);
        if is_of_a_host && !MEMBERS.contains(&host) {
            return Err(format!("there is no member {host}; there are {}", MEMBERS.join(", ")));
        }
        let hosts = self.hosts.clone();
        match name {
            "kill-host" => hosts.kill(host, |_| true),
            "kill-agent" => hosts.kill(host, cluster::is_agent),
            "cut-off" => hosts.cut_off(host),
            "heal" => hosts.heal(host),
            "host-back" => {
                self.start_store(host)?;
                self.start_agent(host)
            }
            "lose-lease-store" => MEMBERS.iter().try_for_each(|member| hosts.kill(member, cluster::is_store)),
            "lease-store-back" => MEMBERS.iter().try_for_each(|member| self.start_store(member)),
            other => Err(format!("there is no fault {other}")),
        }
    }
}

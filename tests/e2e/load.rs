//! A busy database: `pgbench`, whose transactions move money between tables that must agree afterwards.

use anyhow::{Context, Result, ensure};
use lifeboat_components::{TestCluster, any_postgres};
use std::process::{Child, Command, Stdio};

/// Running `pgbench`; ends when dropped.
#[derive(Debug)]
pub struct Load {
    child: Child,
}

fn pgbench(cluster: &TestCluster) -> Result<Command> {
    // A client of any version serves: not every installation has one.
    let mut command = Command::new(any_postgres()?.programs.join("pgbench"));
    command.arg("-h").arg(cluster.directory()).args(["-p", &cluster.port().to_string(), "-U", "postgres"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Makes its tables.
pub fn prepare(cluster: &TestCluster, scale: u32) -> Result<()> {
    let status = pgbench(cluster)?.args(["-i", "-q", "-s", &scale.to_string(), "postgres"]).status()?;
    ensure!(status.success(), "pgbench -i ended with {status}");
    Ok(())
}

impl Load {
    /// Begins. The rate is held down: tests share two processors.
    pub fn start(cluster: &TestCluster) -> Result<Self> {
        let child = pgbench(cluster)?
            .args(["-n", "-c", "2", "-T", "600", "-R", "200", "postgres"])
            .spawn()
            .context("start pgbench")?;
        Ok(Self { child })
    }

    /// Fails when it has ended by itself.
    pub fn stop(mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "pgbench ended before it was told to");
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether accounts, tellers, branches and history agree.
pub async fn must_balance(copy: &TestCluster) -> Result<()> {
    let ask = "select ((select sum(abalance) from pgbench_accounts) = (select sum(tbalance) from pgbench_tellers) \
        and (select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches) \
        and (select sum(bbalance) from pgbench_branches) = (select coalesce(sum(delta), 0) from pgbench_history))::text";
    let answer = copy.sql(ask).await?;
    ensure!(answer.as_deref() == Some("true"), "the books of pgbench don't balance");
    Ok(())
}

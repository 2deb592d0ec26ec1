//! Garage: three nodes on loopback that keep every object three times, as one S3 store.
//!
//! It shows what a store without conditional writes does: `If-None-Match` and `If-Match` of a put are not looked at.
//! Every read and write asks two nodes of three, so what one node has accepted another knows.

use super::START_TIME_MAX;
use crate::command::{last_lines, run};
use crate::{Component, free_port, install};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The one key, made with the cluster. Not secrets: they open a store that lives as long as a test.
pub const GARAGE_KEY_ID: &str = "GK0123456789abcdef01234567";
/// See [`GARAGE_KEY_ID`].
pub const GARAGE_SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const NODES: usize = 3;
/// With it the nodes know each other.
const RPC_SECRET: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// A running cluster with one bucket. Stops, and forgets everything, on drop.
#[derive(Debug)]
pub struct Garage {
    program: PathBuf,
    nodes: Vec<Node>,
    _scratch: TempDir,
}

#[derive(Debug)]
struct Node {
    directory: PathBuf,
    url: String,
    child: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a cluster with `bucket`, which [`GARAGE_KEY_ID`] may read and write.
pub fn garage(bucket: &str) -> Result<Garage> {
    let program = install(Component::Garage)?.join("bin/garage");
    let scratch = tempfile::Builder::new().prefix("lifeboat-garage-").tempdir().context("make scratch directory")?;
    let nodes = (0..NODES).map(|number| start_node(&program, &scratch.path().join(number.to_string())));
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    let mut cluster = Garage { program, nodes, _scratch: scratch };
    cluster.join_nodes()?;
    cluster.tell(&["key", "import", "--yes", "-n", "lifeboat", GARAGE_KEY_ID, GARAGE_SECRET])?;
    cluster.tell(&["bucket", "create", bucket])?;
    cluster.tell(&["bucket", "allow", "--read", "--write", bucket, "--key", GARAGE_KEY_ID])?;
    Ok(cluster)
}

impl Garage {
    /// Where each node answers, such as `http://127.0.0.1:40123`, without a slash at the end. All show the same
    /// objects. The region is `us-east-1`.
    pub fn urls(&self) -> impl ExactSizeIterator<Item = &str> {
        self.nodes.iter().map(|node| node.url.as_str())
    }

    fn join_nodes(&mut self) -> Result<()> {
        let names = (0..NODES).map(|node| self.until_done(node, &["node", "id", "-q"]));
        let names = names.collect::<Result<Vec<String>>>()?;
        self.until_done(0, &["status"])?;
        for name in &names[1..] {
            self.until_done(0, &["node", "connect", name.trim()])?;
        }
        for name in &names {
            let id = name.split('@').next().unwrap_or_default();
            self.tell(&["layout", "assign", "-z", "here", "-c", "1GB", id])?;
        }
        self.tell(&["layout", "apply", "--version", "1"])?;
        self.until_done(0, &["health"])?;
        Ok(())
    }

    /// Once, to the first node.
    fn tell(&self, words: &[&str]) -> Result<String> {
        run(&mut self.command(0, words))
    }

    /// Again and again: a node that has just started, or just met another, needs a moment.
    fn until_done(&mut self, node: usize, words: &[&str]) -> Result<String> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            let answer = run(&mut self.command(node, words));
            let Node { child, directory, .. } = &mut self.nodes[node];
            if let Some(status) = child.try_wait().context("wait for garage")? {
                let said = fs::read_to_string(directory.join("log")).unwrap_or_default();
                bail!("garage ended ({status}):\n{}", last_lines(&said));
            }
            if answer.is_ok() || Instant::now() > deadline {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn command(&self, node: usize, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.nodes[node].directory.join("garage.toml")).args(words);
        command
    }
}

fn start_node(program: &Path, directory: &Path) -> Result<Node> {
    fs::create_dir(directory).with_context(|| format!("create {}", directory.display()))?;
    let (s3, rpc) = (free_port()?, free_port()?);
    let configuration = format!(
        r#"
metadata_dir = "{directory}/meta"
data_dir = "{directory}/data"
db_engine = "lmdb"
replication_factor = {NODES}
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{RPC_SECRET}"

[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:{s3}"
"#,
        directory = directory.display(),
    );
    let path = directory.join("garage.toml");
    fs::write(&path, configuration).with_context(|| format!("write {}", path.display()))?;
    let log = File::create(directory.join("log")).context("create log")?;
    let child = Command::new(program)
        .arg("-c")
        .arg(&path)
        .arg("server")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    Ok(Node { directory: directory.to_path_buf(), url: format!("http://127.0.0.1:{s3}"), child })
}

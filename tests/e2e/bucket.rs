//! A bucket with a copy of all that `local` has, behind a proxy that can be told to be slow or to fail.

use crate::world::World;
use anyhow::{Context, Result, ensure};
use lifeboat_components::servers::{self, LoopbackServer, Proxy};
use std::io::{Read, Write};
use std::net::TcpStream;

/// The imitation wants a signature, and looks at none.
const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, \
    SignedHeaders=host, Signature=0\r\n";

pub struct Bucket {
    pub proxy: Proxy,
    /// How long an answer may take, in seconds. Short where it is to be missed.
    time_limit_seconds: u32,
    store: LoopbackServer,
}

impl Bucket {
    /// Empty.
    pub fn new(time_limit_seconds: u32) -> Result<Self> {
        let store = servers::moto()?;
        let bucket = Self { proxy: Proxy::before(store.url()), time_limit_seconds, store };
        bucket.ask("PUT", "")?;
        Ok(bucket)
    }

    /// One question to the store itself, below the bucket.
    fn ask(&self, method: &str, below: &str) -> Result<String> {
        let address = self.store.url().strip_prefix("http://").context("a plain url")?;
        let mut socket = TcpStream::connect(address)?;
        write!(
            socket,
            "{method} /shop-dr{below} HTTP/1.1\r\nHost: {address}\r\n{SIGNED}Content-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        ensure!(answer.contains(" 200 ") || answer.contains(" 204 "), "{answer}");
        Ok(answer)
    }

    /// The objects whose key begins so, in their order.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let answer = self.ask("GET", &format!("?list-type=2&prefix={prefix}"))?;
        let keys = answer.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        Ok(keys.map(str::to_owned).collect())
    }

    /// As somebody would who has the bucket's credentials.
    pub fn delete(&self, key: &str) -> Result<()> {
        self.ask("DELETE", &format!("/{key}")).map(drop)
    }

    /// Writes `name`: the world's configuration with programs of its server's version, the location `bucket`, and these lines for the workload.
    pub fn configure(&self, world: &World, name: &str, lines: &str) -> Result<()> {
        let programs = world.cluster.programs().display().to_string();
        let bucket = format!(
            "[location.bucket]\nurl = \"s3://shop-dr/lifeboat\"\nendpoint = \"{}\"\ntime_limit = \"{}s\"\n\
             access_key_id = {{ command = [\"echo\", \"key\"] }}\nsecret_access_key = {{ command = [\"echo\", \"word\"] }}\n[encryption]",
            self.proxy.url(),
            self.time_limit_seconds
        );
        let all = |text: String| format!("{text}bin_dir = \"{programs}\"\n{lines}\n");
        world.configure(name, |text| all(text).replace("[encryption]", &bucket))
    }

    /// Copies everything, with a configuration that has both.
    pub fn fill(&self, world: &World, configuration: &str) -> Result<()> {
        for arguments in [&["init"][..], &["copy", "--from", "local", "--to", "bucket"]] {
            let done = world.command(configuration).args(arguments).output()?;
            ensure!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }
}

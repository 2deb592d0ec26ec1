//! The three places that hold copies, and what befalls them: a directory, a bucket behind a proxy, a small file system.
//!
//! A fault stands until it is healed. Damage is done to one object in one place, and only where another place has the
//! same object whole; it stands until it is mended.

use crate::random::Random;
use anyhow::{Context, Result, bail, ensure};
use lifeboat_components::Account;
use lifeboat_components::servers::{self, LoopbackServer, Mode, Proxy};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

pub const NAMES: [&str; 3] = ["near", "bucket", "small"];

/// What can be wrong with a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A directory that isn't mounted.
    Away,
    /// No space left on the device.
    Full,
    /// Every request ends like this.
    Bucket(Mode),
}

impl Fault {
    /// Whether the place still works.
    pub fn is_bearable(self) -> bool {
        matches!(self, Self::Bucket(Mode::Slow(_)))
    }
}

/// One object that isn't what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub place: &'static str,
    pub key: String,
    pub was_removed: bool,
}

pub struct Places {
    root: PathBuf,
    account: Option<Account>,
    store: LoopbackServer,
    proxy: Proxy,
    pub faults: BTreeMap<&'static str, Fault>,
    pub damage: Option<Damage>,
}

const SMALL_KIB: u32 = 400 << 10;

impl Places {
    pub fn create(root: &Path, account: Option<Account>) -> Result<Self> {
        let store = servers::moto()?;
        let (answer, _) = ask(store.url(), "PUT", "/torture", &[])?;
        ensure!(answer.contains(" 200 "), "{answer}");
        let proxy = Proxy::before(store.url());
        let small = root.join("small");
        fs::create_dir(&small)?;
        let owner = account.context("run this as root: it mounts a small tmpfs")?;
        let options = format!("size={SMALL_KIB}k,uid={},gid={},mode=700", owner.uid, owner.gid);
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&small).status()?;
        ensure!(status.success(), "mount a small tmpfs on {}", small.display());
        let root = root.to_path_buf();
        Ok(Self { root, account, store, proxy, faults: BTreeMap::new(), damage: None })
    }

    /// The sections of the configuration.
    pub fn sections(&self) -> String {
        format!(
            "[location.near]\nurl = \"file://{}\"\n[location.bucket]\nurl = \"s3://torture/lifeboat\"\nendpoint = \"{}\"\n\
             time_limit = \"4s\"\naccess_key_id = {{ command = [\"echo\", \"key\"] }}\n\
             secret_access_key = {{ command = [\"echo\", \"word\"] }}\n[location.small]\nurl = \"file://{}\"\n",
            self.directory("near").display(),
            self.proxy.url(),
            self.directory("small").display()
        )
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.root.join(if name == "small" { "small/repository" } else { name })
    }

    /// Whether a place answers and takes what it is given.
    pub fn works(&self, name: &str) -> bool {
        self.faults.get(name).is_none_or(|fault| fault.is_bearable())
    }

    /// Whether a place can be read.
    pub fn is_readable(&self, name: &str) -> bool {
        self.works(name) || self.faults.get(name) == Some(&Fault::Full)
    }

    /// Something goes wrong with a place.
    pub fn inject(&mut self, name: &'static str, fault: Fault) -> Result<()> {
        match fault {
            Fault::Away => fs::rename(self.directory(name), self.root.join(format!("{name}-away")))?,
            Fault::Full => self.resize(self.used_kib()? + 64)?,
            Fault::Bucket(mode) => self.proxy.set(mode),
        }
        self.faults.insert(name, fault);
        Ok(())
    }

    /// In a while: after so many more writes.
    pub fn inject_after_writes(&mut self, writes: u32, mode: Mode) {
        self.proxy.set_after_writes(writes, mode);
        self.faults.insert("bucket", Fault::Bucket(mode));
    }

    pub fn heal(&mut self, name: &'static str) -> Result<()> {
        match self.faults.remove(name) {
            Some(Fault::Away) => {
                ensure!(!self.directory(name).exists(), "somebody made {name} anew while it was away");
                fs::rename(self.root.join(format!("{name}-away")), self.directory(name))?;
            }
            Some(Fault::Full) => self.resize(SMALL_KIB.max(self.used_kib()? * 2))?,
            Some(Fault::Bucket(_)) => self.proxy.set(Mode::Pass),
            None => {}
        }
        Ok(())
    }

    fn resize(&self, kib: u32) -> Result<()> {
        let options = format!("remount,size={kib}k");
        let status = Command::new("mount").args(["-o", &options]).arg(self.root.join("small")).status()?;
        ensure!(status.success(), "resize the small file system to {kib} KiB");
        Ok(())
    }

    fn used_kib(&self) -> Result<u32> {
        fn blocks(path: &Path) -> Result<u64> {
            let own = fs::symlink_metadata(path)?;
            let mut sum = own.blocks();
            if own.is_dir() {
                for entry in fs::read_dir(path)? {
                    sum += blocks(&entry?.path())?;
                }
            }
            Ok(sum)
        }
        Ok(u32::try_from(blocks(&self.root.join("small"))?.div_ceil(2))?)
    }

    /// What was written before looks older by `by`: removals and packs, whose age `prune` asks for. Only once for each.
    pub fn age(&self, written_before: SystemTime, by: Duration) -> Result<()> {
        self.proxy.age(written_before, by);
        for name in ["near", "small"] {
            for kind in ["removals", "packs"] {
                age_below(&self.directory(name).join(kind), written_before, by)?;
            }
        }
        Ok(())
    }

    /// Keys of one kind in one place.
    fn keys(&self, place: &str, kind: &str) -> Result<Vec<String>> {
        if place == "bucket" {
            let (_, body) =
                ask(self.store.url(), "GET", &format!("/torture?list-type=2&prefix=lifeboat/{kind}/"), &[])?;
            let text = String::from_utf8_lossy(&body).into_owned();
            let keys = text.split("<Key>lifeboat/").skip(1).filter_map(|rest| rest.split_once("</Key>"));
            return Ok(keys.map(|(key, _)| key.to_owned()).collect());
        }
        let mut found = Vec::new();
        collect(&self.directory(place).join(kind), &self.directory(place), &mut found)?;
        found.sort();
        Ok(found)
    }

    fn read(&self, place: &str, key: &str) -> Result<Option<Vec<u8>>> {
        if place == "bucket" {
            let (head, body) = ask(self.store.url(), "GET", &format!("/torture/lifeboat/{key}"), &[])?;
            return Ok(head.contains(" 200 ").then_some(body));
        }
        Ok(fs::read(self.directory(place).join(key)).ok())
    }

    fn write(&self, place: &str, key: &str, bytes: &[u8]) -> Result<()> {
        if place == "bucket" {
            let (head, _) = ask(self.store.url(), "PUT", &format!("/torture/lifeboat/{key}"), bytes)?;
            ensure!(head.contains(" 200 "), "{head}");
            return Ok(());
        }
        let path = self.directory(place).join(key);
        fs::write(&path, bytes)?;
        let owner = self.account.map(|account| (account.uid, account.gid));
        owner.map_or(Ok(()), |(uid, gid)| chown(&path, Some(uid), Some(gid))).context("give an object away")
    }

    fn remove(&self, place: &str, key: &str) -> Result<()> {
        if place == "bucket" {
            return ask(self.store.url(), "DELETE", &format!("/torture/lifeboat/{key}"), &[]).map(drop);
        }
        Ok(fs::remove_file(self.directory(place).join(key))?)
    }

    /// Flips a bit of an object or removes it, where another place that works has it whole.
    pub fn damage(&mut self, random: &mut Random) -> Result<Option<Damage>> {
        for _ in 0..20 {
            let Some(place) = random.pick(&NAMES).copied() else { continue };
            let kind = random.weighted(&[(4, "packs"), (3, "wal/shop"), (2, "index"), (2, "points/shop")]);
            let keys = self.keys(place, kind)?;
            let Some(key) = random.pick(&keys).cloned() else { continue };
            let Some(mut bytes) = self.read(place, &key)? else { continue };
            let others = NAMES.iter().filter(|other| **other != place && self.works(other));
            let mut is_elsewhere = false;
            for other in others {
                is_elsewhere |= self.read(other, &key)?.is_some_and(|found| found == bytes);
            }
            if !is_elsewhere || bytes.is_empty() || !self.works(place) || key.contains("/cluster/") {
                continue;
            }
            // A part of a segment isn't missed where the whole is.
            let whole = key.split_once('.').map(|(segment, _)| format!("{segment}-"));
            let is_needless = whole.is_some_and(|whole| keys.iter().any(|other| other.starts_with(&whole)));
            // Nor what the place is about to give up: what that is, only the program can read.
            let gives_up = self.keys(place, "removals")?.iter().any(|key| key.ends_with("/mark"));
            let was_removed = random.chance(40) && !is_needless && !gives_up;
            if was_removed {
                self.remove(place, &key)?;
            } else {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
                self.write(place, &key, &bytes)?;
            }
            self.damage = Some(Damage { place, key, was_removed });
            return Ok(self.damage.clone());
        }
        Ok(None)
    }

    /// What is in the bucket, as files: the server keeps it in memory and takes it along when it ends.
    pub fn save_bucket(&self) -> Result<()> {
        for kind in ["packs", "index", "points", "wal", "receipts", "removals", "keys", "verifications"] {
            for key in self.keys("bucket", kind)? {
                let path = self.root.join("bucket").join(&key);
                fs::create_dir_all(path.parent().context("a key has a folder")?)?;
                fs::write(path, self.read("bucket", &key)?.unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // What was kept for a look is copied out of memory first.
        let small = self.root.join("small");
        let kept = self.root.join("small-kept");
        if self.root.join("keep").exists() {
            let _ = Command::new("cp").arg("-a").args([&small, &kept]).status();
        }
        let _ = Command::new("umount").arg("-l").arg(small).status();
    }
}

fn collect(path: &Path, root: &Path, found: &mut Vec<String>) -> Result<()> {
    if path.is_file() {
        found.push(path.strip_prefix(root)?.display().to_string());
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        collect(&entry.path(), root, found)?;
    }
    Ok(())
}

fn age_below(path: &Path, written_before: SystemTime, by: Duration) -> Result<()> {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            age_below(&path, written_before, by)?;
            continue;
        }
        let modified = entry.metadata()?.modified()?;
        let is_aged = SystemTime::now().duration_since(modified).unwrap_or_default() >= by;
        if modified < written_before && !is_aged {
            File::options().write(true).open(&path)?.set_modified(modified - by)?;
        }
    }
    Ok(())
}

/// One request to the store itself, past the proxy: head and body of the answer.
fn ask(url: &str, method: &str, path: &str, body: &[u8]) -> Result<(String, Vec<u8>)> {
    let address = url.strip_prefix("http://").context("a plain url")?;
    let mut socket = TcpStream::connect(address).context("connect to the store")?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    write!(head, "Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n", body.len())?;
    socket.write_all(head.as_bytes())?;
    socket.write_all(body)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        bail!("no answer to {method} {path}")
    };
    let rest = answer.split_off(end + 4);
    Ok((String::from_utf8_lossy(&answer).into_owned(), rest))
}

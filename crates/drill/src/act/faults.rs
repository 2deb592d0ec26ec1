//! Our own ways to break something in the place.

use crate::engine::{Planned, Rehearsal, Seen};
use crate::process::Who;
use rustix::mount::{MountFlags, mount};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Nothing breaks: from then on nothing of production may be used but what is in its locations.
pub const ASSUMED_LOSS: &str = "assumed-loss";

/// All of them.
pub const FAULTS: [&str; 19] = [
    ASSUMED_LOSS,
    "kill-server",
    "lose-data-directory",
    "corrupt-pages",
    "ransomware",
    "lose-location",
    "small-disk",
    "fill-disk",
    "empty-disk",
    "out-of-reach",
    "in-reach",
    "stop-background",
    "kill-host",
    "host-back",
    "kill-agent",
    "cut-off",
    "heal",
    "lose-lease-store",
    "lease-store-back",
];

const PAGE_BYTES: u64 = 8192;
/// Files of this size or more are damaged: smaller ones hold little.
const DAMAGED_FILE_BYTES_MIN: u64 = 2 * PAGE_BYTES;
const PAGES_DAMAGED: usize = 3;
/// Of a small disk, when nothing is said.
const SMALL_DISK: &str = "96m";
/// Left by whoever fills a disk.
const FILLER: &str = "filler";

impl Rehearsal<'_> {
    pub(super) async fn fault(&mut self, planned: &Planned, name: &str, on: &str, limit: Duration) -> Seen {
        let server = self.server_of(on, planned.workload);
        let path = self.place.path(on);
        let done = match name {
            ASSUMED_LOSS => Ok(self.assume_loss(limit).await),
            "kill-server" => self.kill(&server).map(Into::into),
            "lose-data-directory" => {
                self.kill(&server).and_then(|()| lose(&self.place.data_dir(&server))).map(Into::into)
            }
            "corrupt-pages" => self
                .kill(&server)
                .and_then(|()| corrupt(&self.place.data_dir(&server)).map_err(|e| e.to_string()))
                .map(Into::into),
            "ransomware" => return self.ransomware(&server, limit).await,
            "lose-location" => lose(&path).map(Into::into),
            "small-disk" => self.small_disk(&path).map_err(|error| error.to_string()).map(Into::into),
            "fill-disk" => fill(&path).map_err(|error| error.to_string()).map(Into::into),
            "empty-disk" => std::fs::remove_file(path.join(FILLER)).map_err(|error| error.to_string()).map(Into::into),
            "out-of-reach" => out_of_reach(&path).map_err(|error| error.to_string()).map(Into::into),
            "in-reach" => self.in_reach(&path).map_err(|error| error.to_string()).map(Into::into),
            "stop-background" => {
                let all = std::mem::take(&mut self.background);
                for (_, _, child) in all {
                    if let Err(error) = crate::process::end(child).await {
                        return Seen::wrong(error.to_string());
                    }
                }
                Ok(serde_json::Value::Null)
            }
            other => self.host_fault(other, on).map(Into::into),
        };
        done.map_or_else(Seen::wrong, Seen::of)
    }

    fn server_of(&self, on: &str, workload: usize) -> String {
        let meanings = self.meanings_of(workload);
        meanings.get(on).filter(|_| ["copy", "restored"].contains(&on)).cloned().unwrap_or_else(|| on.to_owned())
    }

    /// Somebody has taken over the host: with the rights that the servers' account has there.
    async fn ransomware(&mut self, server: &str, limit: Duration) -> Seen {
        let mut command = self.processes.command(&self.around.program, Who::Servers);
        command.args(["drill", "attack", "--place"]).arg(self.place.directory());
        command.arg("--data").arg(self.place.data_dir(server));
        for location in ["vault", "second"] {
            command.arg("--repository").arg(self.place.path(location));
        }
        command.args(["--json", "--quiet"]);
        let ended = match self.run_to_end(command, limit).await {
            Ok(ended) => ended,
            Err(seen) => return seen,
        };
        let wrong = (ended.code != Some(0)).then(|| ended.said());
        let value = ended.value();
        let stopped = self.kill(server).err();
        Seen { wrong: wrong.or(stopped), value, hash: Some(ended.hash), ..Seen::default() }
    }

    /// A disk that is soon full. Only root can make one.
    fn small_disk(&self, path: &Path) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::other("a small disk can only be mounted by root"));
        }
        self.place.make_directory(path)?;
        let size = self.meanings.get("disk_size").map_or(SMALL_DISK, String::as_str);
        let options = std::ffi::CString::new(format!("size={size}")).map_err(io::Error::other)?;
        mount("tmpfs", path, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, options.as_c_str())?;
        if let Some((uid, gid)) = self.place.owner() {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
    }
}

impl Rehearsal<'_> {
    /// The servers' account may read it again.
    fn in_reach(&self, path: &Path) -> io::Result<()> {
        match self.place.owner() {
            Some((uid, gid)) => std::os::unix::fs::chown(path, Some(uid), Some(gid)),
            None => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)),
        }
    }
}

fn lose(path: &Path) -> Result<(), String> {
    std::fs::remove_dir_all(path).map_err(|error| format!("remove {}: {error}", path.display()))
}

/// It belongs to root from now on: a copy that another account pulled away. Without root it could be taken back by whoever attacks.
fn out_of_reach(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(io::Error::other("only root can put a copy out of an account's reach"));
    }
    std::os::unix::fs::chown(path, Some(0), Some(0))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// Writes until nothing fits any more.
fn fill(path: &Path) -> io::Result<u64> {
    let mut file = std::fs::File::create(path.join(FILLER))?;
    let block = vec![0x5a; 1 << 16];
    let mut written = 0;
    loop {
        match file.write(&block) {
            Ok(0) => return Ok(written),
            Ok(count) => written += count as u64,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(written),
            Err(error) => return Err(error),
        }
    }
}

/// Flips bytes in the middle of pages of the largest tables. Returns how many.
fn corrupt(data_dir: &Path) -> io::Result<u64> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for database in std::fs::read_dir(data_dir.join("base"))? {
        for entry in std::fs::read_dir(database?.path())?.flatten() {
            let (length, name) = (entry.metadata()?.len(), entry.file_name());
            let is_main = name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
            // Those of the system keep the server from starting; the numbers of users' tables begin here.
            let is_users = name.to_string_lossy().parse::<u32>().is_ok_and(|number| number >= 16384);
            if is_main && is_users && length >= DAMAGED_FILE_BYTES_MIN {
                found.push((length, entry.path()));
            }
        }
    }
    found.sort();
    let (_, path) = found.pop().ok_or_else(|| io::Error::other("no table is large enough to be damaged"))?;
    let file = std::fs::File::options().read(true).write(true).open(path)?;
    let pages = file.metadata()?.len() / PAGE_BYTES;
    let damaged = pages.min(PAGES_DAMAGED as u64);
    for page in 0..damaged {
        let at = page * PAGE_BYTES + PAGE_BYTES / 2;
        let mut bytes = [0; 64];
        file.read_exact_at(&mut bytes, at)?;
        bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
        file.write_all_at(&bytes, at)?;
    }
    file.sync_all()?;
    Ok(damaged)
}

//! Ending a server that nobody needs, also where its files can't be read any more: below a mount whose program is gone, say.

use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Ends every server of a data directory at once (SIGQUIT), and waits for it. `data_dir` as it was started with: its process is found by its
/// command line, `postgres -D DIR`, because `postmaster.pid` may be out of reach. What it hasn't written is lost. Blocks.
pub fn end_at_once(data_dir: &Path) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(process) = servers_of(data_dir)?.first() {
        let _ = kill_process(*process, Signal::QUIT);
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("its server (process {}) doesn't end", process.as_raw_nonzero())));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn servers_of(data_dir: &Path) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        // One that ended meanwhile, or is somebody else's, says nothing.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        found.extend(number.filter(|_| is_server(&line, data_dir)));
    }
    Ok(found)
}

/// Whether a command line is that of a server's first process. Its children write other words there.
fn is_server(line: &[u8], data_dir: &Path) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let is_postgres = words.first().is_some_and(|program| *program == b"postgres" || program.ends_with(b"/postgres"));
    is_postgres && words.windows(2).any(|pair| pair[0] == b"-D" && pair[1] == data_dir.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_of_that_directory_is_meant() {
        let data_dir = Path::new("/srv/shop");
        assert!(is_server(b"/usr/lib/postgresql/15/bin/postgres\0-D\0/srv/shop\0-c\0a=b\0", data_dir));
        for line in [
            &b"/usr/lib/postgresql/15/bin/postgres\0-D\0/srv/shop2\0"[..],
            b"postgres: walwriter \0",
            b"/usr/bin/pg_ctl\0-D\0/srv/shop\0start\0",
            b"vi\0/srv/shop\0",
            b"",
        ] {
            assert!(!is_server(line, data_dir), "{}", String::from_utf8_lossy(line));
        }
    }
}

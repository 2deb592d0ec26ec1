//! Ending a server that nobody needs, also where its files can't be read any more: below a mount whose program is gone, say.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Ends every server of a data directory at once (SIGQUIT), and waits until nothing is left of it. `data_dir` as it was started with: its process
/// is found by its command line, `postgres -D DIR`, because `postmaster.pid` may be out of reach. What it hasn't written is lost. Returns whether there was one. Blocks.
pub fn end_at_once(data_dir: &Path) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    let (mut told, mut was_any) = (Vec::new(), false);
    loop {
        let found = servers_of(data_dir)?;
        was_any |= !found.is_empty();
        for process in &found {
            let _ = kill_process(*process, Signal::QUIT);
        }
        told.extend(found);
        // One that ends has no command line any more, and as long as it has its number, no other server starts there.
        told.retain(|process| {
            // One that was started here, and whose start was broken off, has nobody else who takes note: the runtime does when it next
            // has something to do, and while this blocks that may be never.
            let _ = waitpid(Some(*process), WaitOptions::NOHANG);
            test_kill_process(*process) != Err(Errno::SRCH)
        });
        let Some(process) = told.first() else { return Ok(was_any) };
        if Instant::now() > deadline {
            return Err(does_not_end(*process));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Waits for a server that has ended and of which its parent has taken no note yet: as long as it has its number, no other one starts there.
/// Such a one is found by `postmaster.pid` only. Blocks.
pub fn wait_for_the_ended(data_dir: &Path) -> io::Result<()> {
    let file = std::fs::read_to_string(data_dir.join("postmaster.pid")).unwrap_or_default();
    let number = file.lines().next().and_then(|line| line.trim().parse().ok());
    let Some(process) = number.filter(|number| *number > 1).and_then(Pid::from_raw) else { return Ok(()) };
    let deadline = Instant::now() + PATIENCE;
    while is_zombie(process) {
        if Instant::now() > deadline {
            return Err(does_not_end(process));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn does_not_end(process: Pid) -> io::Error {
    let number = process.as_raw_nonzero();
    io::Error::other(match is_zombie(process) {
        false => format!("its server (process {number}) doesn't end"),
        true => format!(
            "its server (process {number}) has ended, and its parent takes no note of it: end that one; a container needs an init (`--init`)"
        ),
    })
}

fn is_zombie(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
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
    fn who_has_ended_is_waited_for_until_somebody_takes_note() {
        let directory = tempfile::tempdir().unwrap();
        wait_for_the_ended(directory.path()).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = Pid::from_child(&child);
        while !is_zombie(process) {
            std::thread::sleep(POLL_INTERVAL);
        }
        std::fs::write(directory.path().join("postmaster.pid"), format!("{}\n", child.id())).unwrap();
        let path = directory.path().to_path_buf();
        let waiting = std::thread::spawn(move || wait_for_the_ended(&path));
        let long_enough = Instant::now() + POLL_INTERVAL * 5;
        while Instant::now() < long_enough {
            assert!(!waiting.is_finished(), "its number is taken still");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        waiting.join().unwrap().unwrap();
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "that it is waited for by somebody else is what is tested")]
    fn a_server_of_ours_is_taken_note_of() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("sh");
        // Under the name of a server it waits to be ended.
        std::os::unix::process::CommandExt::arg0(&mut command, "postgres");
        command.args(["-c", "read line", "-D"]).arg(directory.path()).stdin(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        // In the middle of becoming another program a process has no command line.
        while servers_of(directory.path()).unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert!(end_at_once(directory.path()).unwrap());
        assert!(!end_at_once(directory.path()).unwrap(), "there is none any more");
        assert_eq!(test_kill_process(Pid::from_child(&child)), Err(Errno::SRCH));
    }

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

//! The whole of it, for real: a short script, and what is left of it afterwards.
//!
//! Needs root, `ip` and `nft`: without them these tests fail, and say what to install.

#[allow(dead_code)] // It refuses programs that are older than their sources, here as there.
#[path = "../../tests/e2e/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);

fn regions(script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat-regions"));
    command.arg("--lifeboat").arg(program::path().expect("the program is built")).args(["--play", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
    command
}

/// Starts it, and reads until a line of its output contains `words`. Gives what it said so far, and the rest of its output.
fn started(command: &mut Command, words: &str) -> (Child, Vec<String>, impl Iterator<Item = String> + use<>) {
    let mut child = command.spawn().expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let mut lines = output.lines().map_while(Result::ok);
    let mut said = Vec::new();
    while !said.last().is_some_and(|line: &String| line.contains(words)) {
        let line = lines.next();
        said.push(line.unwrap_or_else(|| panic!("it ended without saying {words}: {said:?}")));
    }
    (child, said, lines)
}

/// Processes of this machine that have this directory among their words: number and words.
fn processes_with(directory: &Path) -> BTreeSet<(String, String)> {
    let entries = fs::read_dir("/proc").expect("read /proc").flatten();
    let named = format!("{}/", directory.display());
    let found = entries.filter_map(|entry| {
        let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
        line.contains(&named).then(|| (entry.file_name().to_string_lossy().into_owned(), line))
    });
    found.collect()
}

/// Whose directory it is, by the words of the process that was started.
fn directory_of(child: &Child) -> PathBuf {
    // The proxy is its child, and names the directory.
    let own = format!("PPid:\t{}\n", child.id());
    let entries = fs::read_dir("/proc").expect("read /proc").flatten();
    let ours = entries
        .filter(|entry| fs::read_to_string(entry.path().join("status")).is_ok_and(|status| status.contains(&own)));
    let lines = ours.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines =
        lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains("/tmp/"));
    let line = lines.into_iter().next().expect("a child that names the directory");
    let at = line.find("/tmp/lifeboat-network-").expect("the directory's name");
    let name: String = line[at + "/tmp/".len()..].chars().take_while(|letter| *letter != '/').collect();
    Path::new("/tmp").join(name)
}

/// The file of one of its namespaces.
fn namespace(directory: &Path) -> PathBuf {
    let number = directory.to_string_lossy().rsplit('-').next().unwrap_or_default().to_owned();
    format!("/run/netns/lifeboat-{number}-virginia").into()
}

#[test]
fn a_script_is_played_and_nothing_is_left() {
    let (mut child, mut said, rest) = started(&mut regions("kill; repair; switchover"), "all is well");
    let directory = directory_of(&child);
    let processes = processes_with(&directory);
    assert!(processes.len() > 5 && namespace(&directory).exists(), "{processes:?}");
    said.extend(rest);
    let status = child.wait().expect("it ends");
    let said = said.join("\n");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("→ ohio took over: detected after"), "{said}");
    assert!(said.contains("→ virginia took over: first write after"), "{said}");
    assert!(said.contains("epoch 3, 0 acknowledged writes lost"), "{said}");
    // Another run may have the number by now, and then has processes and namespaces of the same names.
    let left: BTreeSet<_> = processes_with(&directory).intersection(&processes).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
    let others = processes_with(&directory);
    assert!(!namespace(&directory).exists() || !others.is_empty(), "a namespace in which nothing runs");
    assert!(!directory.exists() || !others.is_empty(), "a directory that nobody uses");
}

#[test]
fn what_a_killed_run_leaves_is_taken_away_by_the_next() {
    let (mut child, ..) = started(&mut regions("wait 300s"), "all is well");
    let directory = directory_of(&child);
    let processes = processes_with(&directory);
    child.kill().expect("it is killed");
    child.wait().expect("it ended");
    let left = || processes_with(&directory).intersection(&processes).cloned().collect::<Vec<_>>();
    let deadline = Instant::now() + PATIENCE;
    while left().iter().any(|(_, line)| line.contains(" proxy")) {
        assert!(Instant::now() < deadline, "the proxy has no namespace, and must end with who started it");
        std::thread::yield_now();
    }
    let (mut next, ..) = started(&mut regions("wait 300s"), "all is well");
    assert!(left().is_empty(), "{:?}", left());
    let (directory, processes) = (directory_of(&next), processes_with(&directory_of(&next)));
    // As a service manager does.
    let id = i32::try_from(next.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is told to end");
    assert_eq!(next.wait().expect("it ends").code(), Some(1), "it was broken off");
    let left: Vec<_> = processes_with(&directory).intersection(&processes).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_made() {
    let output = regions("explode").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}

//! What commands leave running in the background: which processes, and that they are in nobody's way.

use crate::comparison::{archive_everything, change, make_table};
use crate::world::{World, wait_until};
use rustix::process::Pid;
use std::fs;
use std::path::Path;

/// Processes of this world's program whose command line has this word.
pub fn left_running(world: &World, word: &str) -> Vec<Pid> {
    let here = world.path("lifeboat").display().to_string();
    let processes = fs::read_dir("/proc").expect("read /proc").flatten();
    let is_ours = |entry: &fs::DirEntry| {
        let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        line.contains(word) && line.contains(&here)
    };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw);
    processes.filter(is_ours).filter_map(number).collect()
}

/// PostgreSQL calls `wal fetch` in its data directory. What that leaves behind lives for seconds longer: if it stayed there, no mount could be
/// taken away meanwhile.
#[test]
fn what_loads_the_next_segments_isn_t_in_the_data_directory() {
    let world = World::with_cluster(|builder| builder);
    make_table(&world);
    archive_everything(&world);
    world.run(&["backup"]).ok();
    let segment = world.sql("select pg_walfile_name(pg_current_wal_insert_lsn())").expect("a segment");
    change(&world, 1);
    archive_everything(&world);
    let called_in = world.make_directory("data-directory");
    let into = called_in.join("segment").display().to_string();
    let config = world.path("lifeboat.toml").display().to_string();
    let mut command = world.command(&["--config", &config, "wal", "fetch", &segment, &into]);
    let status = command.current_dir(&called_in).status();
    assert!(status.expect("run the program").success());
    let mut found = Vec::new();
    wait_until("something loads the next segments", || {
        found = left_running(&world, "prefetch");
        !found.is_empty()
    });
    for process in found {
        let directory = fs::read_link(format!("/proc/{}/cwd", process.as_raw_nonzero())).expect("still there");
        assert_eq!(directory, Path::new("/"));
    }
}

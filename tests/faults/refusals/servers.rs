//! Backups that can't be taken: because of the data directory, the server, the role, or somebody else's backup.

use crate::screens::Screens;
use crate::world::{World, wait_until};
use lifeboat_components::TestCluster;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn backups() {
    let world = World::with_cluster(|builder| builder);
    let other = TestCluster::builder(15).setting("wal_level", "minimal").setting("max_wal_senders", "0");
    let other = other.start().expect("start another cluster");
    let mut screens = Screens::new(&world);
    screens.name(other.directory().display().to_string(), "OTHER");
    screens.name(format!("port={}", other.port()), "port=OTHER");
    screens.name(format!(".s.PGSQL.{}", other.port()), ".s.PGSQL.OTHER");
    data_directories(&mut screens, &other);
    connections(&mut screens);
    roles(&mut screens);
    servers(&mut screens, &other);
    one_at_a_time(&mut screens);
    insta::assert_snapshot!("backups", screens.finish(22));
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn data_directories(screens: &mut Screens, other: &TestCluster) {
    let world = screens.world;
    let data = shown(&world.cluster().data_dir());
    let instead = |path: &Path| shown(path);
    screens.case("unknown workload", 3, &["backup", "shob"]);
    screens.changed("no such directory", 2, (&data, &instead(&world.path("missing"))), &["backup"]);
    screens.changed("not a data directory", 2, (&data, &instead(&world.path("first"))), &["backup"]);
    screens.changed("of another cluster", 2, (&data, &instead(&other.data_dir())), &["backup"]);
    let copy = world.path("copy");
    let copied = std::process::Command::new("cp").args(["-a", &data]).arg(&copy).status().expect("run cp");
    assert!(copied.success());
    screens.changed("a copy of the cluster", 2, (&data, &instead(&copy)), &["backup"]);
    fs::write(copy.join("global/pg_control"), "short").expect("damage a control file");
    screens.changed("control file damaged", 6, (&data, &instead(&copy)), &["backup"]);
    fs::remove_file(copy.join("global/pg_control")).expect("remove a control file");
    screens.changed("control file gone", 6, (&data, &instead(&copy)), &["backup"]);
    fs::set_permissions(&copy, Permissions::from_mode(0o000)).expect("close a directory");
    screens.changed("data directory may not be read", 7, (&data, &instead(&copy)), &["backup"]);
    world.write("file", "");
    screens.changed("state is a file", 5, ("/state\"", "/file\""), &["backup"]);
    let closed = world.make_directory("closed");
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).expect("close a directory");
    screens.changed("state may not be written", 7, ("/state\"", "/closed/state\""), &["backup"]);
}

fn connections(screens: &mut Screens) {
    let world = screens.world;
    let host = world.cluster().connection_string();
    let port = world.cluster().port();
    screens.changed("no such socket", 5, (&host, "host=/nonexistent user=postgres"), &["backup"]);
    screens.changed("nobody listens", 5, (&host, "host=127.0.0.1 port=1 user=postgres"), &["backup"]);
    let directory = shown(world.cluster().directory());
    let at = |rest: &str| format!("host={directory} port={port} {rest}");
    screens.changed("no such role", 7, (&host, &at("user=nobody_here")), &["backup"]);
    screens.changed("no such database", 3, (&host, &at("user=postgres dbname=nowhere")), &["backup"]);
    screens.changed("connection misspelt", 2, (&host, &at("user=postgres databse=x")), &["backup"]);
}

fn roles(screens: &mut Screens) {
    let world = screens.world;
    world.sql("create role plain login; create role locked login password 'right'");
    let hba = world.cluster().data_dir().join("pg_hba.conf");
    let lines = fs::read_to_string(&hba).expect("read pg_hba.conf");
    fs::write(&hba, format!("local all locked scram-sha-256\nlocal all banned reject\n{lines}")).expect("write it");
    world.sql("create role banned login; select pg_reload_conf()");
    // The server reads the file a moment later.
    wait_until("the file is in use", || {
        world.sql("select count(*) > 3 from pg_hba_file_rules").as_deref() == Some("t")
    });
    let as_role = |role: &str| world.cluster().connection_string().replace("user=postgres", &format!("user={role}"));
    let connection = world.cluster().connection_string();
    screens.changed("role without rights", 2, (&connection, &as_role("plain")), &["backup"]);
    screens.changed("no password", 7, (&connection, &as_role("locked")), &["backup"]);
    let line = format!("connection = \"{connection}\"");
    let secret = "password = { command = [\"echo\", \"wrong\"] }";
    let wrong = format!("connection = \"{}\"\n{secret}", as_role("locked"));
    screens.changed("wrong password", 7, (&line, &wrong), &["backup"]);
    screens.changed("no line in pg_hba.conf", 7, (&connection, &as_role("banned")), &["backup"]);
    screens.changed("role may not stream", 2, (&connection, &as_role("plain")), &["wal", "receive", "shop"]);
}

fn servers(screens: &mut Screens, other: &TestCluster) {
    let world = screens.world;
    let of_other = world.configuration().replace(&shown(&world.cluster().data_dir()), &shown(&other.data_dir()));
    let of_other = of_other.replace(&world.cluster().connection_string(), &other.connection_string());
    screens.case_with("wal_level minimal", 2, &of_other, &["backup"]);
    world.sql("alter system set archive_command = ''");
    world.sql("select pg_reload_conf()");
    world.wait_for_sql("select current_setting('archive_command') in ('', '(disabled)')");
    screens.case("nothing keeps the log", 2, &["backup"]);
    world.sql("select pg_create_physical_replication_slot('lifeboat_shop')");
    screens.case("the receiver is away", 5, &["backup"]);
    world.sql("select pg_drop_replication_slot('lifeboat_shop')");
    world.sql("alter system reset archive_command");
    world.sql("select pg_reload_conf()");
    world.wait_for_sql("select current_setting('archive_command') not in ('', '(disabled)')");
    screens.case("streaming of an unknown workload", 3, &["wal", "receive", "shob"]);
}

fn one_at_a_time(screens: &mut Screens) {
    let world = screens.world;
    let lock = world.make_directory("state").join("shop.backup.lock");
    let held = File::options().create(true).append(true).open(&lock).expect("open the lock");
    world.give_away(&lock);
    held.lock().expect("take the lock");
    fs::write(&lock, "process 4711 on this machine\n").expect("say who holds it");
    screens.case("another backup on this machine", 7, &["backup"]);
    drop(held);
    // From another machine: the same server, another state directory.
    let slow = world.configuration().replace("kind = ", "max_rate = \"1MiB\"\nkind = ").replace("/state\"", "/far\"");
    world.write("slow.toml", slow);
    let mut running = world.spawn(&["--config", "slow.toml", "--quiet", "backup"]);
    world.wait_for_sql("select count(*) > 0 from pg_locks where locktype = 'advisory'");
    screens.case("another backup from another machine", 7, &["backup"]);
    running.child.kill().expect("end the slow backup");
    let _ = running.child.wait();
    world.wait_for_sql("select count(*) = 0 from pg_locks where locktype = 'advisory'");
}

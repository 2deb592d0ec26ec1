//! What the database holds, before and after: the same text means the same content.

use crate::world::World;
use lifeboat_components::TestCluster;
use std::fs;

/// Makes the table that everything here changes and compares. Some megabytes.
pub fn make_table(world: &World) {
    world.sql(
        "create table ledger (id int primary key, round int not null, text text not null);
         insert into ledger select i, 0, repeat(md5(i::text), 8) from generate_series(1, 8000) i;
         checkpoint",
    );
}

/// Changes some rows all over the table, adds some, and has the log archived up to here or a bit less.
pub fn change(world: &World, round: u64) {
    world.sql(&format!(
        "update ledger set round = {round}, text = md5(text || '{round}') where id % 97 = {round} % 97;
         insert into ledger select max(id) + 1, {round}, 'added' from ledger"
    ));
}

const CONTENT: &str =
    "select count(*) || ' ' || md5(string_agg(id || ',' || round || ',' || text, ';' order by id)) from ledger";

pub fn content(world: &World) -> String {
    world.sql(CONTENT).expect("a table with rows")
}

/// Ends the current segment and waits until everything so far is archived.
pub fn archive_everything(world: &World) {
    let name = world.sql("select pg_walfile_name(pg_current_wal_insert_lsn())").expect("a segment");
    // Something must be in it, or the switch does nothing.
    world.sql("select pg_create_restore_point('here'); select pg_switch_wal()");
    world.wait_for_sql(&format!("select coalesce(last_archived_wal >= '{name}', false) from pg_stat_archiver"));
}

/// Restores with these arguments, starts what was restored, waits for the end of recovery and returns the content.
pub fn content_of_restored(world: &World, to: &str, arguments: &[&str]) -> String {
    let to = world.path(to);
    let shown = to.display().to_string();
    world.run(&[&["restore", "shop", "--to", &shown], arguments].concat()).ok();
    content_when_started(world, to)
}

/// Starts a restored directory and asks it. It is gone afterwards.
pub fn content_when_started(world: &World, restored: std::path::PathBuf) -> String {
    let adopted = TestCluster::builder(15).adopt(|data| {
        fs::remove_dir(data)?;
        Ok(fs::rename(restored, data)?)
    });
    let mut cluster = adopted.expect("adopt what was restored");
    cluster.start().expect("start what was restored");
    cluster
        .wait_until("end recovery", |cluster| {
            world.runtime.block_on(cluster.sql("select pg_is_in_recovery()")).is_ok_and(|answer| answer.as_deref() == Some("f"))
        })
        .expect("end of recovery");
    world.runtime.block_on(cluster.sql(CONTENT)).expect("ask what was restored").expect("a table with rows")
}

/// The database is as if nobody had been there: no session of ours, no lock, no backup mode.
pub fn assert_unharmed(world: &World) {
    world.wait_for_sql(
        "select count(*) = 0 from pg_stat_activity where application_name ilike '%lifeboat%' and pid <> pg_backend_pid()",
    );
    world.wait_for_sql("select count(*) = 0 from pg_locks where locktype = 'advisory'");
    let data = world.cluster().data_dir();
    assert!(!data.join("backup_label").exists(), "a backup mode that would hold up the next start");
}

//! Every field against what PostgreSQL's own `pg_controldata` prints.

use crate::fixtures::fixture;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::control::{self, ClusterState, ControlError, ControlFile, WalLevel};
use std::collections::HashMap;

/// Our fields, in the words of `pg_controldata`.
fn printed(control: &ControlFile) -> Vec<(&'static str, String)> {
    let time = |seconds| {
        let moment = jiff::Timestamp::from_second(seconds).unwrap();
        jiff::fmt::strtime::format("%a %b %e %H:%M:%S %Y", moment).unwrap()
    };
    let on = |flag: bool| if flag { "on" } else { "off" }.to_owned();
    let last = &control.latest_checkpoint;
    let settings = &control.settings;
    let state = match control.state {
        ClusterState::InProduction => "in production",
        ClusterState::ShutDown => "shut down",
        _ => "something else",
    };
    let level = match settings.wal_level {
        WalLevel::Minimal => "minimal",
        WalLevel::Replica => "replica",
        WalLevel::Logical => "logical",
    };
    let mut fields = vec![
        ("pg_control version number", control.control_version.to_string()),
        ("Catalog version number", control.catalog_version.to_string()),
        ("Database system identifier", control.system_id.to_string()),
        ("Database cluster state", state.to_owned()),
        ("pg_control last modified", time(control.modified_unix_seconds)),
        ("Latest checkpoint location", control.checkpoint.to_string()),
        ("Latest checkpoint's REDO location", last.redo.to_string()),
        ("Latest checkpoint's TimeLineID", last.timeline.to_string()),
        ("Latest checkpoint's PrevTimeLineID", last.previous_timeline.to_string()),
        ("Latest checkpoint's full_page_writes", on(last.full_page_writes)),
        ("Latest checkpoint's NextXID", format!("{}:{}", last.next_full_xid >> 32, last.next_full_xid as u32)),
        ("Latest checkpoint's NextOID", last.next_oid.to_string()),
        ("Latest checkpoint's NextMultiXactId", last.next_multixact.to_string()),
        ("Latest checkpoint's NextMultiOffset", last.next_multixact_offset.to_string()),
        ("Latest checkpoint's oldestXID", last.oldest_xid.to_string()),
        ("Latest checkpoint's oldestXID's DB", last.oldest_xid_database.to_string()),
        ("Latest checkpoint's oldestActiveXID", last.oldest_active_xid.to_string()),
        ("Latest checkpoint's oldestMultiXid", last.oldest_multixact.to_string()),
        ("Latest checkpoint's oldestMulti's DB", last.oldest_multixact_database.to_string()),
        ("Latest checkpoint's oldestCommitTsXid", last.commit_timestamp_xids.0.to_string()),
        ("Latest checkpoint's newestCommitTsXid", last.commit_timestamp_xids.1.to_string()),
        ("Time of latest checkpoint", time(last.time_unix_seconds)),
        ("Minimum recovery ending location", control.min_recovery_point.to_string()),
        ("Min recovery ending loc's timeline", control.min_recovery_timeline.to_string()),
        ("Backup start location", control.backup_start.to_string()),
        ("Backup end location", control.backup_end.to_string()),
        ("End-of-backup record required", if control.backup_end_required { "yes" } else { "no" }.to_owned()),
        ("wal_level setting", level.to_owned()),
        ("wal_log_hints setting", on(settings.wal_log_hints)),
        ("max_connections setting", settings.max_connections.to_string()),
        ("max_worker_processes setting", settings.max_worker_processes.to_string()),
        ("max_wal_senders setting", settings.max_wal_senders.to_string()),
        ("max_prepared_xacts setting", settings.max_prepared_transactions.to_string()),
        ("max_locks_per_xact setting", settings.max_locks_per_transaction.to_string()),
        ("track_commit_timestamp setting", on(settings.track_commit_timestamp)),
        ("Database block size", control.block_bytes.to_string()),
        ("Blocks per segment of large relation", control.blocks_per_relation_segment.to_string()),
        ("WAL block size", control.wal_block_bytes.to_string()),
        ("Bytes per WAL segment", control.wal_segment_size.bytes().to_string()),
        ("Data page checksum version", control.data_checksum_version.to_string()),
    ];
    let signed = control.default_char_signed.map(|signed| if signed { "signed" } else { "unsigned" });
    fields.extend(signed.map(|signed| ("Default char data signedness", signed.to_owned())));
    fields
}

#[test]
fn every_field_is_what_pg_controldata_prints() {
    for version in MajorVersion::ALL {
        for state in ["running", "shutdown"] {
            let control = ControlFile::parse(&fixture(version, &format!("pg_control.{state}"))).unwrap();
            let text = String::from_utf8(fixture(version, &format!("controldata.{state}.txt"))).unwrap();
            let expected: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
            for (name, value) in printed(&control) {
                assert_eq!(
                    expected.get(name).map(|value| value.trim()),
                    Some(value.as_str()),
                    "PostgreSQL {version}, {state}: {name}"
                );
            }
            assert_eq!(control.major_version(), Some(version));
            assert_eq!(control.default_char_signed.is_some(), version == MajorVersion::V18);
        }
    }
}

#[test]
fn one_wrong_bit_anywhere_before_the_checksum_is_noticed() {
    for version in MajorVersion::ALL {
        let good = fixture(version, "pg_control.running");
        let end = if version == MajorVersion::V18 { 296 } else { 292 };
        for bit in 0..end * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(ControlFile::parse(&bad).is_err(), "PostgreSQL {version}, bit {bit}");
        }
        for length in 0..end {
            assert!(ControlFile::parse(&good[..length]).is_err(), "{length}");
        }
    }
}

#[test]
fn an_invalidated_checkpoint_changes_nothing_else() {
    for version in MajorVersion::ALL {
        let good = fixture(version, "pg_control.running");
        let changed = control::invalidate_checkpoint(&good).unwrap();
        let (before, after) = (ControlFile::parse(&good).unwrap(), ControlFile::parse(&changed).unwrap());
        assert!(after.is_checkpoint_invalidated() && !before.is_checkpoint_invalidated());
        assert_eq!(ControlFile { checkpoint: before.checkpoint, ..after }, before);
        assert_eq!(changed.len(), good.len());
    }
}

#[test]
fn the_file_is_read_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("global/pg_control");
    assert!(matches!(control::read(directory.path()), Err(ControlError::Read { .. })));
    std::fs::create_dir(path.parent().unwrap()).unwrap();

    let good = fixture(MajorVersion::V17, "pg_control.running");
    let mut torn = good.clone();
    torn[100] ^= 0xFF;
    std::fs::write(&path, &torn).unwrap();
    assert!(matches!(control::read(directory.path()), Err(ControlError::Checksum { .. })));

    std::fs::write(&path, &good).unwrap();
    assert_eq!(control::read(directory.path()).unwrap(), ControlFile::parse(&good).unwrap());
    assert_eq!(control::read_bytes(directory.path()).unwrap(), good);
}

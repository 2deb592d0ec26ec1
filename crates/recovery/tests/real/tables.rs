//! Damage that no page checksum sees, in the original; a started copy tells of it, by name.

use crate::boot::booted;
use crate::site::Site;
use lifeboat_recovery::{Amcheck, BootReport, TablesReport, Target};

const ORDERS: &str = "create table orders (n int primary key, note text); \
    insert into orders select g, 'note ' || g from generate_series(1, 2000) g";

/// Changes the bytes of a relation's file while the server is down.
async fn edit(site: &mut Site, relation: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = site.cluster.sql(&format!("select pg_relation_filepath('{relation}')")).await.unwrap().unwrap();
    site.cluster.stop(lifeboat_components::postgres::Shutdown::Fast).unwrap();
    let file = site.cluster.data_dir().join(path);
    let mut bytes = std::fs::read(&file).unwrap();
    change(&mut bytes);
    std::fs::write(&file, bytes).unwrap();
    site.cluster.start().unwrap();
}

fn damaged(report: &BootReport) -> &TablesReport {
    assert!(report.started && !report.passed(), "{report:#?}");
    assert!(report.pages.as_ref().is_none_or(|pages| pages.bad.is_empty()), "{report:#?}");
    let Amcheck::Failed(tables) = &report.amcheck else { panic!("{report:#?}") };
    tables
}

/// Whole pages, right checksums, and rows that the index doesn't have: as after an index built wrong, or a new collation.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lacks_rows_is_named() {
    for major in [14, 18] {
        let site = Site::new(major).await;
        site.cluster.sql("create database \"Shop 2\"").await.unwrap();
        site.cluster.sql(ORDERS).await.unwrap();
        site.cluster.sql("create schema s; create table s.t (n int); create index \"t N\" on s.t (n)").await.unwrap();
        let is_ready = "update pg_index set indisready = $ where indexrelid = 's.\"t N\"'::regclass";
        site.cluster.sql(&is_ready.replace('$', "false")).await.unwrap();
        site.cluster.sql("insert into s.t values (1), (2)").await.unwrap();
        site.cluster.sql(&is_ready.replace('$', "true")).await.unwrap();
        site.backup().await;
        let (_, report) = booted(&site, Target::Immediate, &["select true"]).await;
        let tables = damaged(&report);
        let bad: Vec<_> = tables.bad.iter().map(|bad| (&*bad.database, &*bad.relation, &*bad.kind)).collect();
        assert_eq!(bad, [("postgres", "s.\"t N\"", "index")], "{report:#?}");
        assert!(tables.bad[0].said.contains("lacks matching index tuple"), "{report:#?}");
        // All catalogs of three databases.
        assert!(tables.databases == 3 && tables.tables > 150 && tables.indexes > 300, "{report:#?}");
        assert_eq!(tables.visibility_maps, tables.tables, "{report:#?}");
        assert_eq!(tables.not_checked, ["database template0, which lets nobody in"]);
    }
}

/// Without checksums nobody else would notice bytes that changed.
#[tokio::test(flavor = "multi_thread")]
async fn flipped_bytes_without_checksums_are_named() {
    let mut site = Site::with_checksums(15, false).await;
    site.cluster.sql(ORDERS).await.unwrap();
    site.cluster.sql("create table other as select * from orders").await.unwrap();
    site.cluster.sql("vacuum freeze other").await.unwrap();
    // The key of an index tuple: the last ones of a page lie right behind the line pointers.
    edit(&mut site, "orders_pkey", |bytes| {
        let page = &mut bytes[8192..2 * 8192];
        let pointer = u32::from_le_bytes(page[24 + 4 * 9..24 + 4 * 10].try_into().unwrap());
        let tuple = (pointer & 0x7fff) as usize;
        page[tuple + 8] ^= 0x40;
    })
    .await;
    // The number of attributes in the head of a row.
    edit(&mut site, "other", |bytes| {
        let pointer = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
        let tuple = (pointer & 0x7fff) as usize;
        bytes[tuple + 18] |= 0x40;
    })
    .await;
    site.backup().await;
    let (_, report) = booted(&site, Target::Immediate, &["select count(*) = 2000 from orders"]).await;
    assert!(report.checks.iter().all(|check| check.passed), "the user's own check doesn't see it: {report:#?}");
    let tables = damaged(&report);
    let bad: Vec<_> = tables.bad.iter().map(|bad| (&*bad.relation, &*bad.kind)).collect();
    assert_eq!(bad, [("public.orders_pkey", "index"), ("public.other", "table")], "{report:#?}");
}

/// A row that an index-only scan shows although it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_visibility_map_that_lies_is_named() {
    let mut site = Site::with_checksums(15, false).await;
    site.cluster.sql(ORDERS).await.unwrap();
    site.cluster.sql("vacuum orders").await.unwrap();
    site.cluster.sql("checkpoint").await.unwrap();
    let path = site.cluster.sql("select pg_relation_filepath('orders')").await.unwrap().unwrap();
    let map = site.cluster.data_dir().join(format!("{path}_vm"));
    let page = std::fs::read(&map).unwrap();
    site.cluster.sql("delete from orders where n = 7").await.unwrap();
    site.cluster.stop(lifeboat_components::postgres::Shutdown::Fast).unwrap();
    std::fs::write(&map, page).unwrap();
    site.cluster.start().unwrap();
    // The page itself says that it is visible to all.
    edit(&mut site, "orders", |bytes| bytes[10] |= 4).await;
    site.backup().await;
    let (_, report) = booted(&site, Target::Immediate, &[]).await;
    let bad: Vec<_> = damaged(&report).bad.iter().map(|bad| (&*bad.relation, &*bad.kind)).collect();
    assert_eq!(bad, [("public.orders", "visibility map")], "{report:#?}");
}

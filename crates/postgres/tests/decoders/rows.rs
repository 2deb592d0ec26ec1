//! What became of rows and of transactions, against what PostgreSQL's own `pg_waldump` prints; catalogs out of real pages and real log.

use crate::fixtures::decompressed;
use crate::wal::{log, records, waldump};
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::catalog::{ClassRow, RelationKind, RowEvent, TrackedTable, page_rows};
use lifeboat_postgres::layout::Place;
use lifeboat_postgres::wal::{Keep, RelationLocator, RowChange, TransactionLists, contents};
use std::collections::BTreeMap;

/// Numbers below what is asked for, the same in every run.
fn generator() -> impl FnMut(usize) -> usize {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    move |below| {
        (state, _) = state.overflowing_mul(6_364_136_223_846_793_005);
        (state, _) = state.overflowing_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

/// `DELETE off 36 …` up to 15, `DELETE xmax: 763, off: 35, …` from 16 on.
fn number(description: &str, word: &str) -> u16 {
    let mut words = description.split([' ', ',']).filter(|word| !word.is_empty());
    words.find(|found| found.trim_end_matches(':') == word);
    words.next().unwrap().trim_end_matches([',', ';', ':']).parse().unwrap()
}

#[test]
fn rows_are_those_that_pg_waldump_prints() {
    for version in [MajorVersion::V15, MajorVersion::V18] {
        let (start, bytes) = log(version);
        let (found, _) = records(start, &bytes, Keep::Everything, bytes.len());
        let mut counts = BTreeMap::new();
        for (record, line) in found.iter().zip(&waldump(version)) {
            let contents = record.contents(version).unwrap();
            let what = line.description.split([' ', '+']).next().unwrap();
            let change = RowChange::of(record, &contents).map(|(_, change)| change);
            match (change, what) {
                (Some(RowChange::Insert { at, .. }), "INSERT") => {
                    assert_eq!(at.number, number(&line.description, "off"));
                }
                (Some(RowChange::Delete { at, is_deletion }), "DELETE") => {
                    assert_eq!(at.number, number(&line.description, "off"));
                    assert!(is_deletion, "{}", line.description);
                }
                (Some(RowChange::Update { from, to, .. }), "UPDATE" | "HOT_UPDATE") => {
                    let (old, new) = line.description.split_once("new").unwrap();
                    let after = if version >= MajorVersion::V16 { "new_off" } else { "off" };
                    let old = if version >= MajorVersion::V16 { number(old, "old_off") } else { number(old, "off") };
                    assert_eq!(
                        (from.number, to.number),
                        (old, number(&format!("new{new}"), after)),
                        "{}",
                        line.description
                    );
                }
                (Some(RowChange::InPlace { at, .. }), "INPLACE") => {
                    let text = line.description.replace(';', " ");
                    assert_eq!(at.number, number(&text, "off"));
                }
                (None, "INSERT" | "DELETE" | "UPDATE" | "HOT_UPDATE" | "INPLACE") if line.manager == "Heap" => {
                    panic!("{} isn't understood", line.description)
                }
                (Some(change), _) => panic!("{change:?} of {}", line.description),
                (None, _) => continue,
            }
            *counts.entry(what.to_owned()).or_insert(0) += 1;
        }
        assert!(counts["INSERT"] > 500 && counts["DELETE"] > 2 && counts["INPLACE"] > 2, "{counts:?}");
    }
}

/// `COMMIT 2026-11-21 02:21:12.003361 UTC; subxacts: 733`, `rels: base/5/16397 base/5/16398`
#[test]
fn the_lists_of_a_transaction_are_those_that_pg_waldump_prints() {
    for version in [MajorVersion::V15, MajorVersion::V18] {
        let (start, bytes) = log(version);
        let (found, _) = records(start, &bytes, Keep::Everything, bytes.len());
        let mut seen = 0;
        for (record, line) in found.iter().zip(&waldump(version)).filter(|(_, line)| line.manager == "Transaction") {
            let Some(lists) = TransactionLists::of(record, version) else { continue };
            let listed = |mark: &str| -> Vec<String> {
                let part = line.description.split("; ").find_map(|part| part.trim().strip_prefix(mark));
                part.map(|part| part.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
            };
            let ours: Vec<String> = lists.subtransactions.iter().map(u32::to_string).collect();
            assert_eq!(ours, listed("subxacts:"), "{}", line.description);
            let path = |file: &RelationLocator| match file.place {
                Place::Database { database } => format!("base/{database}/{}", file.relfilenode),
                place => panic!("{place:?}"),
            };
            let ours: Vec<String> = lists.dropped.iter().map(path).collect();
            assert_eq!(ours, listed("rels:"), "{}", line.description);
            seen += lists.subtransactions.len() + lists.dropped.len();
        }
        assert!(seen > 0, "nothing was compared");
    }
}

/// The tables of the fixtures are known by name and file from the log alone.
#[test]
fn every_version_tells_its_tables() {
    for version in MajorVersion::ALL {
        let (start, bytes) = log(version);
        let (found, _) = records(start, &bytes, Keep::Everything, bytes.len());
        let class = RelationLocator { place: Place::Database { database: 5 }, relfilenode: 1259 };
        let class = match version {
            // The numbers of databases are fixed since 15.
            MajorVersion::V14 => database_of_14(&found).map_or(class, |place| RelationLocator { place, ..class }),
            _ => class,
        };
        let (mut table, mut names) = (TrackedTable::default(), BTreeMap::new());
        for record in &found {
            let contents = record.contents(version).unwrap();
            for event in table.apply(class, record, &contents, None) {
                let rows = match event {
                    RowEvent::Inserted(row) | RowEvent::Updated(_, row) => Vec::from_iter(row),
                    RowEvent::Page(rows) => rows,
                    _ => Vec::new(),
                };
                for row in rows.iter().filter_map(|row| ClassRow::parse(row, version)) {
                    names.insert(row.name.clone(), row);
                }
            }
        }
        let ours: Vec<&ClassRow> =
            names.values().filter(|row| row.kind == RelationKind::Table && row.oid >= 16_384).collect();
        assert!(ours.len() >= 2, "PostgreSQL {version}: {:?}", names.keys());
        let catalog = names.get("pg_attribute").or(names.get("pg_type")).or(names.get("pg_namespace"));
        assert!(ours.iter().all(|row| row.namespace == 2200 && row.relfilenode >= 16_384), "{ours:?}");
        assert!(catalog.is_none_or(|row| row.namespace == 11), "{catalog:?}");
    }
}

/// Where the first table with a number of ours lies.
fn database_of_14(records: &[lifeboat_postgres::wal::Record]) -> Option<Place> {
    let references = records.iter().filter_map(|record| record.block_references(MajorVersion::V14).ok()).flatten();
    let mut ours = references.filter(|reference| reference.relation.relfilenode >= 16_384);
    ours.next().map(|reference| reference.relation.place)
}

#[test]
fn every_row_of_a_real_table_is_found() {
    for version in MajorVersion::ALL {
        let heap = decompressed(version, "heap");
        let rows: usize = heap.chunks(8192).map(|page| page_rows(page).len()).sum();
        assert!((400..=600).contains(&rows), "PostgreSQL {version}: {rows}");
        // Whatever is changed in it, nothing worse happens than other rows.
        let mut random = generator();
        for page in heap.chunks(8192) {
            for _ in 0..200 {
                let mut page = page.to_vec();
                for _ in 0..4 {
                    let reach = if random(2) == 0 { 600 } else { 8192 };
                    let at = random(reach);
                    page[at] = random(256) as u8;
                }
                for (_, row) in page_rows(&page) {
                    ClassRow::parse(&row, version);
                }
            }
        }
    }
}

/// Every record with a byte changed, and cut short: an answer, and never more parts than bytes.
#[test]
fn damaged_bodies_are_no_harm() {
    let (start, bytes) = log(MajorVersion::V18);
    let (found, _) = records(start, &bytes, Keep::Everything, bytes.len());
    let mut random = generator();
    for record in found.iter().filter(|record| (1..20_000).contains(&record.body.len())) {
        for version in [MajorVersion::V14, MajorVersion::V18] {
            let mut body = record.body.clone();
            let at = random(body.len());
            body[at] = random(256) as u8;
            if random(3) == 0 {
                body.truncate(random(record.body.len()));
            }
            let Some(parts) = contents(&body, version) else { continue };
            let held: usize = parts
                .blocks
                .iter()
                .map(|block| block.data.len() + block.image.map_or(0, |image| image.stored.len()))
                .sum();
            assert!(held + parts.main.len() <= body.len());
            RowChange::of(record, &parts);
            parts.blocks.iter().filter_map(|block| block.image).for_each(|image| drop(image.page(None)));
        }
    }
}

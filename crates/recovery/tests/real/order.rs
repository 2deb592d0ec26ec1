//! What the last test restore read most comes first when a directory is there at once: whatever point it was, and whatever came after it.

use crate::boot::{MOUNT, tried};
use crate::site::{Site, WORKLOAD};
use jiff::{Timestamp, ToSpan};
use lifeboat_mount::hydrate::{Part, Watcher, hydrate};
use lifeboat_mount::lazy::BringError;
use lifeboat_recovery::instant::{self, Origin};
use lifeboat_recovery::{Destination, RestoreTo, Target, owner_when_root};
use lifeboat_repository::{ReadRun, Silent, TreeReader};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;

const MIB: u64 = 1 << 20;

/// Notes which parts come, and in which order.
#[derive(Default)]
struct Noted(Mutex<Vec<Part>>);

impl Watcher for Noted {
    fn arrived(&self, part: &Part, bytes: u64) {
        if bytes > 0 {
            self.0.lock().unwrap().push(part.clone());
        }
    }

    fn failed(&self, part: &Part, error: &BringError) {
        panic!("{part:?}: {error}");
    }

    fn unsettled(&self, error: &std::io::Error) {
        panic!("{error}");
    }

    fn is_to_end(&self) -> bool {
        false
    }
}

/// What comes of an instant restore of the newest point, by path, one part after the other; small ones are left out, which come beside them.
async fn what_comes(site: &Site) -> Vec<(String, std::ops::Range<u64>)> {
    let plan = site.plan(&site.wanted(Target::Immediate)).await.unwrap();
    let (reader, point) = (site.reader().await, site.point(&plan.point).await);
    let tree = TreeReader::read(&reader, &point.tree).await.unwrap();
    let (list, notes) = instant::most_read(&site.repository, WORKLOAD).await;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("a unit of 4096 bytes isn't known"), "{notes:?}");
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let to = RestoreTo {
        destination: data.clone(),
        tablespaces: BTreeMap::new(),
        workers: 2,
        owner: owner_when_root(&data, None),
    };
    let origin = Origin {
        replay: None,
        workload: WORKLOAD.into(),
        point: point.id.clone(),
        tablespaces: BTreeMap::new(),
        begun_at: point.finished_at,
        target: plan.target_spoken.clone(),
        timeline: None,
        inclusive: None,
        hold: None,
    };
    let noted = Noted::default();
    tokio::task::block_in_place(|| {
        instant::prepare(&reader, &point, &plan, Destination::Missing, &to, &origin, &Silent).unwrap();
        let attached = instant::attach(&reader, &point, &to, None).unwrap();
        let parts = attached.order.parts(list.as_ref());
        // Its threads are nice from then on: each part by one.
        assert!(std::thread::scope(|scope| {
            scope.spawn(|| hydrate(&attached.overlay, parts, 1, &noted)).join().unwrap()
        }));
    });
    let came = noted.0.into_inner().unwrap().into_iter();
    let large = came.filter(|part| part.bytes.end - part.bytes.start > MIB / 4);
    large.map(|part| (tree[part.number as usize].path.clone(), part.bytes)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rehearsal_read_comes_first_in_an_instant_restore() {
    let site = Site::new(15).await;
    let sql = async |text: &str| site.cluster.sql(text).await.unwrap().unwrap_or_default();
    // Two rows in a page: 16 MiB each, of which nothing can be squeezed.
    let rows =
        "select g as n, (select string_agg(md5((g * 99 + part)::text), '') from generate_series(1, 110) part) as t";
    for name in ["replayed", "wanted", "gone"] {
        sql(&format!("create table {name} (n int, t text); alter table {name} alter t set storage plain")).await;
        sql(&format!("insert into {name} {rows} from generate_series(1, 4096) g")).await;
        sql(&format!("vacuum (freeze) {name}")).await;
    }
    let [replayed, wanted, gone] =
        ["replayed", "wanted", "gone"].map(|name| format!("select pg_relation_filepath('{name}')"));
    let [replayed, wanted, gone] = [sql(&replayed).await, sql(&wanted).await, sql(&gone).await];
    site.backup().await;
    // The log has no image of what is only marked: replay reads it.
    sql("delete from replayed where n % 100 = 0").await;
    site.store_log().await;

    let checks = [
        "select count(*) = 512 from wanted where ctid between '(1280,0)' and '(1535,999)'",
        "select count(*) = 2 from gone where ctid between '(0,0)' and '(0,999)'",
    ];
    let (point, report) = tried(MOUNT, true, &site, Target::Latest, &checks).await;
    let report = report.unwrap();
    assert!(report.passed(), "{report:#?}");
    let expected = [ReadRun(wanted.clone(), 10, 2), ReadRun(gone.clone(), 0, 1)];
    assert_eq!(report.most_read.runs(), expected, "neither replay nor amcheck count; {replayed} was replayed");
    site.repository.put_verification(&report.verification(&point, Timestamp::now())).await.unwrap();
    // One that some other version wrote, or nobody: told, and passed over.
    let mut foreign = report.verification(&point, Timestamp::now() + 1.minute());
    foreign.details["read"] = json!({"unit": 4096, "parts": [[replayed, 0, 3]]});
    site.repository.put_verification(&foreign).await.unwrap();
    let mut without = report.verification(&point, Timestamp::now() + 2.minutes());
    without.details.as_object_mut().unwrap().remove("read");
    site.repository.put_verification(&without).await.unwrap();

    sql("drop table gone").await;
    sql("checkpoint").await;
    site.backup().await;
    let came = what_comes(&site).await;
    let first = came.iter().position(|(path, _)| *path == wanted).expect("it comes");
    assert_eq!(came[first].1, 10 * MIB..12 * MIB, "{came:?}");
    let of_users =
        |path: &str| path.rsplit('/').next().is_some_and(|name| name.parse().is_ok_and(|oid: u32| oid >= 16384));
    let before: Vec<_> = came[..first].iter().filter(|(path, _)| of_users(path)).collect();
    assert!(before.is_empty(), "before what was wanted came {before:?}");
    assert!(came.iter().any(|(path, _)| *path == replayed) && !came.iter().any(|(path, _)| *path == gone), "{came:?}");
}

//! A point that is whole itself and leads to what is in no pack: found, told as lost, given up when somebody says so, and whole again
//! when a backup stores what is missing.

use crate::bench::*;
use crate::place::{Fault, Place};
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use std::sync::Arc;

/// One place in which a pack of the point is gone, and with it every fragment of the index. `number`: of the pack.
async fn lost(number: usize) -> Option<(Vec<Arc<Place>>, Arc<Repository>, Point, Files)> {
    let (places, repository) = create(1).await;
    let files = few_files(1);
    let (point, _) = backup(&repository, &files).await;
    let pack = places[0].keys("packs/").get(number)?.clone();
    places[0].remove(&pack);
    places[0].keys("index/").iter().for_each(|key| _ = places[0].remove(key));
    Some((places, repository, point, files))
}

#[tokio::test]
async fn a_chunk_in_no_pack_is_found_and_the_point_given_up_on_demand() {
    for number in 0.. {
        let Some((places, repository, point, files)) = lost(number).await else {
            assert!(number > 1, "content and tree lie in different packs");
            return;
        };
        let key = format!("points/{WORKLOAD}/{}", point.id);
        let bad = verify(&repository, false).await;
        assert!(bad.iter().any(|damage| damage.object == key), "pack {number}: {bad:?}");
        let plan = repository.plan_repair(&bad).await.unwrap();
        assert_eq!(plan.lost.iter().map(|lost| lost.object.as_str()).collect::<Vec<_>>(), [key.as_str()]);

        // Nobody gives anything up while it can't be told.
        places[0].break_reads("packs/", Fault::Fail(ErrorKind::Unavailable));
        assert!(repository.give_up(&plan.lost).await.is_err());
        places[0].repair();
        assert!(places[0].keys("points/").contains(&key));

        if number == 0 {
            // What the cluster still has comes with the next backup.
            let (again, _) = backup(&repository, &files).await;
            assert_reads_back(&repository, &again.id, &files).await;
            repository.complete_index().await.unwrap();
        }
        let bad = verify(&repository, false).await;
        let gone = repository.give_up(&repository.plan_repair(&bad).await.unwrap().lost).await.unwrap();
        repository.complete_index().await.unwrap();
        assert_eq!(verify(&repository, true).await, vec![], "pack {number}: {gone:?}");
    }
}

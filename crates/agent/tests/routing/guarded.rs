//! What every target does that can guard the epoch itself.

use crate::tables::{PATIENCE, table};
use lifeboat_agent::routing::{Applied, RouteError, RouteTable, RouteTarget};
use std::sync::Arc;
use std::time::Instant;

const HERE: (&str, &str, u16) = ("a", "10.0.0.1", 5432);
const THERE: (&str, &str, u16) = ("b", "10.0.0.2", 5433);
const FURTHER: (&str, &str, u16) = ("c", "db-c.shop.example", 5434);

/// `make` gives targets of the same place, as agents on several hosts have them. Ends at epoch 4, primary `c`.
pub async fn guards_the_epoch<T: RouteTarget + 'static>(make: impl Fn() -> T) {
    let (one, other) = (make(), make());
    assert_eq!(one.apply(&table("a", 1, 1, None)).await, Ok(Applied::Nothing));
    assert_eq!(one.apply(&table("a", 2, 1, Some(HERE))).await, Ok(Applied::Changed));
    assert_eq!(other.apply(&table("b", 2, 9, Some(HERE))).await, Ok(Applied::Already));
    assert_eq!(other.apply(&table("b", 3, 1, Some(THERE))).await, Ok(Applied::Changed));
    // Cut off, and back: it believes that it is the primary.
    let error = one.apply(&table("a", 2, 2, Some(HERE))).await.expect_err("it is late");
    assert!(matches!(error, RouteError::Superseded { ours, theirs, .. } if (ours.0, theirs.0) == (2, 3)), "{error}");
    // The same epoch at another address: its configuration was changed.
    assert_eq!(other.apply(&table("b", 3, 2, Some(("b", "10.0.0.3", 5433)))).await, Ok(Applied::Changed));
    assert_eq!(one.apply(&table("b", 4, 1, Some(FURTHER))).await, Ok(Applied::Changed));
    assert_eq!(one.apply(&table("b", 4, 1, Some(FURTHER))).await, Ok(Applied::Already));
}

/// Many at once, each with an epoch of its own, round after round: the highest stays. Returns it, and its primary's host.
pub async fn the_highest_of_many_stays<T: RouteTarget + 'static>(make: impl Fn() -> T, first: u64) -> (u64, String) {
    const ROUNDS: u64 = 4;
    const MANY: u64 = 8;
    for round in 0..ROUNDS {
        let begin = Arc::new(tokio::sync::Barrier::new(MANY as usize));
        // The highest is the first to be started in one round, and the last in another.
        let epochs = (0..MANY).map(|number| if round % 2 == 0 { number } else { MANY - 1 - number });
        let writers = epochs.map(|number| {
            let epoch = first + round * MANY + number;
            tokio::spawn(bring(make(), table("a", epoch, 1, Some(("a", &host_of(epoch), 5432))), begin.clone()))
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("a writer");
        }
        let highest = first + round * MANY + MANY - 1;
        let again = make().apply(&table("a", highest, 1, Some(("a", &host_of(highest), 5432)))).await;
        assert_eq!(again, Ok(Applied::Already), "the highest of round {round} is there");
    }
    let highest = first + ROUNDS * MANY - 1;
    (highest, host_of(highest))
}

fn host_of(epoch: u64) -> String {
    format!("10.0.1.{epoch}")
}

/// Tries until it is there, or it is too late for it.
async fn bring(target: impl RouteTarget, table: RouteTable, begin: Arc<tokio::sync::Barrier>) {
    let deadline = Instant::now() + PATIENCE;
    begin.wait().await;
    loop {
        match target.apply(&table).await {
            Ok(_) | Err(RouteError::Superseded { .. }) => return,
            Err(error @ RouteError::Refused { .. }) => panic!("{error}"),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

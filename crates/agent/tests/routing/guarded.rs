//! What every target does that can guard the epoch itself.

use crate::tables::{PATIENCE, table};
use lifeboat_agent::routing::{Applied, RouteError, RouteTarget};
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

/// Many at once, each with an epoch of its own: the highest stays, from `first` on. Returns its primary's host.
pub async fn the_highest_of_many_stays<T: RouteTarget + 'static>(make: impl Fn() -> T, first: u64) -> String {
    const MANY: u64 = 8;
    let host_of = |epoch| format!("10.0.1.{epoch}");
    let writers = (first..first + MANY).map(|epoch| {
        let (target, host) = (Arc::new(make()), host_of(epoch));
        tokio::spawn(async move {
            let table = table("a", epoch, 1, Some(("a", &host, 5432)));
            let deadline = Instant::now() + PATIENCE;
            loop {
                match target.apply(&table).await {
                    Ok(_) | Err(RouteError::Superseded { .. }) => return,
                    Err(error @ RouteError::Refused { .. }) => panic!("{error}"),
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer");
    }
    host_of(first + MANY - 1)
}

//! Programs of an operator.

use crate::tables::{table, until};
use lifeboat_agent::routing::{Applied, CommandRoute, RouteError, RouteTarget};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn shell(script: &str, limit: Duration) -> CommandRoute {
    CommandRoute::new("/bin/sh", vec!["-c".into(), script.into(), "told".into(), "an argument; $HOME".into()], limit)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_where_the_primary_is_and_never_an_older_epoch() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let script = format!(
        "echo \"$LIFEBOAT_CLUSTER $LIFEBOAT_EPOCH $LIFEBOAT_PRIMARY $LIFEBOAT_HOST $LIFEBOAT_PORT $1\" >> {}",
        file.path().display()
    );
    let route = shell(&script, LIMIT);
    assert_eq!(route.apply(&table("a", 7, 1, None)).await, Ok(Applied::Nothing));
    assert_eq!(route.apply(&table("a", 7, 2, Some(("ohio", "10.0.0.1", 5433)))).await, Ok(Applied::Changed));
    let error = route.apply(&table("a", 6, 3, Some(("virginia", "10.0.0.2", 5432)))).await.expect_err("late");
    assert!(matches!(error, RouteError::Superseded { .. }), "{error}");
    let said = std::fs::read_to_string(file.path()).expect("read");
    assert_eq!(said, "shop 7 ohio 10.0.0.1 5433 an argument; $HOME\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_said_is_told_when_it_fails_and_one_that_hangs_is_killed() {
    let here = table("a", 1, 1, Some(("a", "10.0.0.1", 5432)));
    let error = shell("echo out; echo no such pool >&2; exit 3", LIMIT).apply(&here).await.expect_err("it fails");
    assert!(error.to_string().ends_with("exit status: 3: no such pool"), "{error}");
    let error = shell("yes | head -c 1000000; exit 1", LIMIT).apply(&here).await.expect_err("it fails").to_string();
    assert!(error.len() < 5000, "{} bytes are kept", error.len());
    let error = CommandRoute::new("/nowhere/at/all", vec![], LIMIT).apply(&here).await.expect_err("it isn't there");
    assert!(matches!(&error, RouteError::Refused { why, .. } if why.contains("can't be started")), "{error}");

    // It and what it started.
    let file = tempfile::NamedTempFile::new().expect("a file");
    let script = format!("sleep 600 & echo $! > {}; wait", file.path().display());
    let error = shell(&script, Duration::from_millis(700)).apply(&here).await.expect_err("it hangs");
    assert!(error.to_string().contains("didn't end within 700ms, and was killed"), "{error}");
    until("its child is gone", async || {
        let child = std::fs::read_to_string(file.path()).expect("read").trim().to_owned();
        let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        if child.is_empty() || state.is_empty() || state.contains(") Z ") { Ok(()) } else { Err(state) }
    })
    .await;
}

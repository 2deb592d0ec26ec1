//! Real BIND, looked at with `dig`.

use crate::guarded::{guards_the_epoch, the_highest_of_many_stays};
use crate::tables::table;
use lifeboat_agent::lease::Secret;
use lifeboat_agent::routing::{Applied, DnsRoute, DnsSettings, KeyAlgorithm, RouteError, RouteTarget};
use lifeboat_components::servers::{BIND_KEY, BIND_KEY_NAME, BIND_ZONE, NameServer, bind};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn settings(server: &NameServer) -> DnsSettings {
    DnsSettings {
        server: server.address(),
        zone: BIND_ZONE.into(),
        name: "db.shop.example".into(),
        time_to_live_seconds: 5,
        key_name: BIND_KEY_NAME.into(),
        key: Secret::new(BIND_KEY),
        key_algorithm: KeyAlgorithm::Sha256,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_follows_the_epoch_and_never_goes_back() {
    let server = bind().expect("BIND");
    let route = || DnsRoute::new(&settings(&server), LIMIT).expect("settings");
    let dig = |name: &str, kind: &str| server.records(name, kind).expect("dig");
    guards_the_epoch(route).await;
    assert_eq!(dig("db.shop.example", "CNAME"), "db-c.shop.example.");
    assert_eq!(dig("_epoch.db.shop.example", "TXT"), r#""epoch=4 primary=c host=db-c.shop.example port=5434""#);

    let (epoch, host) = the_highest_of_many_stays(route, 5).await;
    assert_eq!(dig("db.shop.example", "A"), host);
    assert_eq!(dig("_epoch.db.shop.example", "TXT"), format!(r#""epoch={epoch} primary=a host={host} port=5432""#));
    // Also where nothing was before.
    for name in ["one.shop.example", "two.shop.example", "three.shop.example"] {
        let new = || DnsRoute::new(&DnsSettings { name: name.into(), ..settings(&server) }, LIMIT).expect("settings");
        the_highest_of_many_stays(new, 1).await;
    }

    let six = table("a", epoch + 1, 1, Some(("a", "2001:db8::1", 5432)));
    assert_eq!(route().apply(&six).await, Ok(Applied::Changed));
    assert_eq!((dig("db.shop.example", "A").as_str(), dig("db.shop.example", "AAAA").as_str()), ("", "2001:db8::1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_a_foreign_text_and_a_server_that_stands_still_are_told_apart() {
    let server = bind().expect("BIND");
    let here = table("a", 1, 1, Some(("a", "10.0.0.1", 5432)));
    for wrong in [
        DnsSettings { key: Secret::new("d3JvbmctMDEyMzQ1Njc4OS13cm9uZy0wMTIzNDU2Nzg="), ..settings(&server) },
        DnsSettings { key_name: "nobody".into(), ..settings(&server) },
    ] {
        let error = DnsRoute::new(&wrong, LIMIT).expect("settings").apply(&here).await.expect_err("refused");
        assert!(matches!(error, RouteError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("check the key"), "{error}");
    }
    assert_eq!(server.records("db.shop.example", "A").expect("dig"), "");
    for (wrong, expected) in [
        (DnsSettings { name: "db.other.example".into(), ..settings(&server) }, "isn't in the zone"),
        (DnsSettings { key: Secret::new("***"), ..settings(&server) }, "not base64"),
    ] {
        let error = DnsRoute::new(&wrong, LIMIT).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }

    let foreign = DnsSettings { name: "mail.shop.example".into(), ..settings(&server) };
    let mut update = std::process::Command::new("nsupdate");
    let key = format!("hmac-sha256:{BIND_KEY_NAME}:{BIND_KEY}");
    let script = format!(
        "server 127.0.0.1 {}\nzone {BIND_ZONE}\nupdate add _epoch.mail.shop.example 5 TXT \"v=spf1 -all\"\nsend\n",
        server.address().port()
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), script).expect("written");
    assert!(update.args(["-y", &key]).arg(file.path()).status().expect("nsupdate").success());
    let error = DnsRoute::new(&foreign, LIMIT).expect("settings").apply(&here).await.expect_err("refused");
    assert!(error.to_string().contains("isn't one of ours"), "{error}");

    server.pause();
    let error = DnsRoute::new(&settings(&server), Duration::from_millis(300)).expect("settings").apply(&here).await;
    let error = error.expect_err("no answer");
    assert!(matches!(error, RouteError::Unavailable { .. }), "{error}");
    server.resume();
}

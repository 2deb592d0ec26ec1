//! Real etcd, three members.

use crate::guarded::{guards_the_epoch, the_highest_of_many_stays};
use crate::tables::table;
use lifeboat_agent::lease::EtcdSettings;
use lifeboat_agent::routing::{EtcdRoute, RouteError, RouteTarget};
use lifeboat_components::servers::etcd;
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_key_follows_the_epoch_and_never_goes_back() {
    let mut cluster = etcd().expect("etcd");
    let settings = EtcdSettings { endpoints: cluster.endpoints(), ..EtcdSettings::default() };
    let route = || EtcdRoute::new(&settings, "shop", LIMIT).expect("settings");
    guards_the_epoch(route).await;
    let (epoch, host) = the_highest_of_many_stays(route, 5).await;
    for cluster in ["one", "two", "three"] {
        // Where nothing was before.
        the_highest_of_many_stays(|| EtcdRoute::new(&settings, cluster, LIMIT).expect("settings"), 1).await;
    }
    // As a stranger reads it: base64 of `/lifeboat/shop/primary`.
    let url = format!("{}/v3/kv/range", cluster.endpoints()[0]);
    let question = json!({ "key": "L2xpZmVib2F0L3Nob3AvcHJpbWFyeQ==" });
    let answer = reqwest::Client::new().post(url).json(&question).send().await.expect("asked");
    let answer: Value = answer.json().await.expect("an answer");
    let value = answer["kvs"][0]["value"].as_str().expect("the key is there").to_owned();
    let value = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value).expect("base64");
    let value: Value = serde_json::from_slice(&value).expect("json");
    assert_eq!(value, json!({ "epoch": epoch, "name": "a", "host": host, "port": 5432 }));

    cluster.kill(0);
    cluster.kill(1);
    let route = EtcdRoute::new(&settings, "shop", Duration::from_secs(1)).expect("settings");
    let error = route.apply(&table("a", epoch + 1, 1, Some(("a", "10.0.0.1", 5432)))).await.expect_err("no quorum");
    assert!(matches!(error, RouteError::Unavailable { .. }), "{error}");
}

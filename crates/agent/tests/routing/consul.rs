//! A stand-in for Consul that honours `cas` and transactions, as its documentation says: there is no Consul to install here.

use crate::guarded::{guards_the_epoch, the_highest_of_many_stays};
use crate::http::{Request, Server};
use crate::tables::table;
use lifeboat_agent::lease::Secret;
use lifeboat_agent::routing::{ConsulRoute, ConsulSettings, RouteError, RouteTarget};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Catalogue {
    index: u64,
    /// Value in base64, and the index of its last change.
    key: Option<(String, u64)>,
    service: Value,
}

impl Catalogue {
    fn answer(&mut self, request: &Request) -> (u16, Value) {
        if !request.head.contains("x-consul-token: open sesame") {
            return (403, json!("Permission denied"));
        }
        if request.line == "GET /v1/kv/lifeboat/shop/primary?consistent" {
            return match &self.key {
                None => (404, json!(null)),
                Some((value, index)) => (200, json!([{ "Key": "..", "Value": value, "ModifyIndex": index }])),
            };
        }
        assert_eq!(request.line, "PUT /v1/txn");
        let operations: Value = serde_json::from_slice(&request.body).expect("json");
        let set = &operations[0]["KV"];
        assert_eq!((set["Verb"].as_str(), set["Key"].as_str()), (Some("cas"), Some("lifeboat/shop/primary")));
        if set["Index"].as_u64() != Some(self.key.as_ref().map_or(0, |(_, index)| *index)) {
            return (409, json!({ "Results": null, "Errors": [{ "OpIndex": 0, "What": "index is stale" }] }));
        }
        self.index += 1;
        self.key = Some((set["Value"].as_str().expect("a value").to_owned(), self.index));
        assert_eq!(operations[1]["Node"]["Node"]["Node"], operations[2]["Service"]["Node"]);
        self.service = operations[2]["Service"]["Service"].clone();
        (200, json!({ "Results": [], "Errors": null }))
    }
}

async fn stand_in() -> (Server, Arc<Mutex<Catalogue>>) {
    let catalogue = Arc::new(Mutex::new(Catalogue::default()));
    let shared = catalogue.clone();
    let server = Server::start(move |request| {
        let (status, body) = shared.lock().expect("no panic").answer(&request);
        async move {
            // Others come between a look and a change.
            tokio::task::yield_now().await;
            (status, body.to_string().into_bytes())
        }
    });
    (server.await, catalogue)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_follows_the_epoch_and_never_goes_back() {
    let (server, catalogue) = stand_in().await;
    let settings = ConsulSettings {
        url: server.url.clone(),
        token: Some(Secret::new("open sesame")),
        service: "shop-db".into(),
        ..ConsulSettings::default()
    };
    let route = || ConsulRoute::new(&settings, "shop", LIMIT).expect("settings");
    guards_the_epoch(route).await;
    let service = catalogue.lock().expect("no panic").service.clone();
    let expected = json!({ "ID": "shop-db", "Service": "shop-db", "Tags": ["primary"], "Address": "db-c.shop.example",
        "Port": 5434, "Meta": { "member": "c", "epoch": "4" } });
    assert_eq!(service, expected);
    let (epoch, host) = the_highest_of_many_stays(route, 5).await;
    assert_eq!(catalogue.lock().expect("no panic").service["Address"], host);
    for _ in 0..3 {
        // Where nothing was before.
        *catalogue.lock().expect("no panic") = Catalogue::default();
        the_highest_of_many_stays(route, 1).await;
    }

    let wrong = ConsulSettings { token: None, ..settings.clone() };
    let here = table("a", epoch + 1, 1, Some(("a", "10.0.0.1", 5432)));
    let error = ConsulRoute::new(&wrong, "shop", LIMIT).expect("settings").apply(&here).await.expect_err("refused");
    assert!(matches!(&error, RouteError::Refused { why, .. } if why.contains("Permission denied")), "{error}");
    catalogue.lock().expect("no panic").key = Some(("bm8=".into(), 1));
    let error = route().apply(&here).await.expect_err("refused");
    assert!(error.to_string().contains("isn't one of ours"), "{error}");
}

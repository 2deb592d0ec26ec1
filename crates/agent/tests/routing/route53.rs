//! Amazon's interface by moto, which doesn't refuse a batch whose text was replaced meanwhile; and a stand-in that does, for that alone.

use crate::guarded::{guards_the_epoch, the_highest_of_many_stays};
use crate::http::{Request, Server};
use lifeboat_agent::routing::{Route53Route, Route53Settings};
use lifeboat_components::servers::moto;
use lifeboat_location::{Credentials, Secret};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn settings(endpoint: &str, hosted_zone: &str) -> Route53Settings {
    let credentials = Credentials::Key { id: "test".into(), secret: Secret::new("test"), session_token: None };
    Route53Settings {
        hosted_zone: hosted_zone.into(),
        name: "db.shop.example".into(),
        time_to_live_seconds: 5,
        credentials,
        environment: BTreeMap::new(),
        endpoint: Some(endpoint.into()),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let begin = text.find(before).unwrap_or_else(|| panic!("no {before} in {text}")) + before.len();
    &text[begin..begin + text[begin..].find(after).expect(after)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_follows_the_epoch() {
    let server = moto().expect("moto");
    let client = reqwest::Client::new();
    let zone = "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>shop.example</Name><CallerReference>1</CallerReference></CreateHostedZoneRequest>";
    let zones = format!("{}/2013-04-01/hostedzone", server.url());
    // Which service is meant, moto takes from the signature.
    let signature =
        "AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0";
    let answer = client.post(zones).header("Authorization", signature).body(zone).send().await.expect("asked");
    let answer = answer.text().await.expect("text");
    let zone = between(&answer, "<Id>/hostedzone/", "</Id>").to_owned();
    guards_the_epoch(|| Route53Route::new(&settings(server.url(), &zone), LIMIT).expect("settings")).await;
    let url = format!("{}/2013-04-01/hostedzone/{zone}/rrset", server.url());
    let list =
        client.get(url).header("Authorization", signature).send().await.expect("asked").text().await.expect("text");
    assert!(list.contains("epoch=4 primary=c host=db-c.shop.example port=5434"), "{list}");
    assert_eq!(list.matches("<Name>db.shop.example.</Name>").count(), 1, "{list}");
    assert!(list.contains("<Value>db-c.shop.example.</Value>"), "{list}");
}

/// Name and type, to time to live and value: one value each.
type Sets = BTreeMap<(String, String), (String, String)>;

/// What Route 53's documentation says of batches: whole or not at all, `DELETE` of exactly what is there, `CREATE` of what isn't.
fn answer(sets: &mut Sets, request: &Request) -> (u16, String) {
    if request.line.starts_with("GET ") {
        let from = request.line.rsplit_once("&name=").expect("a name").1.to_owned();
        let shown = sets.iter().filter(|((name, _), _)| *name >= from).map(|((name, kind), (ttl, value))| {
            format!("<ResourceRecordSet><Name>{name}</Name><Type>{kind}</Type><TTL>{ttl}</TTL><ResourceRecords><ResourceRecord><Value>{value}</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>")
        });
        let list = shown.collect::<String>();
        return (
            200,
            format!(
                "<ListResourceRecordSetsResponse><ResourceRecordSets>{list}</ResourceRecordSets></ListResourceRecordSetsResponse>"
            ),
        );
    }
    let body = String::from_utf8(request.body.clone()).expect("text");
    let mut after = sets.clone();
    for change in body.split("<Change>").skip(1) {
        let of = |what: &str| between(change, &format!("<{what}>"), &format!("</{what}>")).to_owned();
        let (key, value) = ((of("Name"), of("Type")), (of("TTL"), of("Value")));
        let fits = match of("Action").as_str() {
            "DELETE" => after.remove(&key).is_some_and(|there| there == value),
            "CREATE" => after.insert(key, value).is_none(),
            _ => {
                after.insert(key, value);
                true
            }
        };
        if !fits {
            return (400, "<ErrorResponse><Error><Code>InvalidChangeBatch</Code></Error></ErrorResponse>".into());
        }
    }
    *sets = after;
    (200, "<ChangeResourceRecordSetsResponse/>".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_for_what_was_there_before_changes_nothing() {
    let sets = Arc::new(Mutex::new(Sets::new()));
    let shared = sets.clone();
    let server = Server::start(move |request| {
        let (status, body) = answer(&mut shared.lock().expect("no panic"), &request);
        async move { (status, body.into_bytes()) }
    })
    .await;
    let route = || Route53Route::new(&settings(&server.url, "Z1"), LIMIT).expect("settings");
    guards_the_epoch(route).await;
    let (mut epoch, mut host) = the_highest_of_many_stays(route, 5).await;
    for _ in 0..3 {
        // Where nothing was before.
        sets.lock().expect("no panic").clear();
        (epoch, host) = the_highest_of_many_stays(route, 1).await;
    }
    let sets = sets.lock().expect("no panic").clone();
    assert_eq!(sets.len(), 2, "{sets:?}");
    assert_eq!(sets[&("db.shop.example.".into(), "A".into())].1, host);
    assert!(sets[&("_epoch.db.shop.example.".into(), "TXT".into())].1.contains(&format!("epoch={epoch} ")), "{sets:?}");
}

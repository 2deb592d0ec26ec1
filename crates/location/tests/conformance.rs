//! Every kind of location against the same promises, with the real server where there is one.

mod support;

use lifeboat_components::servers;
use lifeboat_location::conformance::{Expected, run};
use lifeboat_location::{Credentials, Directory, Memory, Settings, open};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use support::{InProcessS3, google, key, settings};

#[tokio::test]
async fn memory() {
    run(&Memory::default(), Expected::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directory() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    run(&Directory::create(place.path().join("a/b")).unwrap(), Expected::ALL).await;
}

/// Where direct I/O is refused.
#[tokio::test(flavor = "multi_thread")]
async fn directory_on_tmpfs() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    run(&Directory::create(place.path().join("a")).unwrap(), Expected::ALL).await;
}

/// Looks first and writes then, so two writers at once both win: not a store to hold a lease in.
#[tokio::test(flavor = "multi_thread")]
async fn s3_in_process() {
    let server = InProcessS3::start().await;
    let expected = Expected { atomic: false, ..Expected::ALL };
    run(&*server.open(""), expected).await;
    run(&*server.open("/some/prefix"), expected).await;
}

/// Looks and writes in threads without a lock between: what holds nearly always is not a promise.
#[tokio::test(flavor = "multi_thread")]
async fn s3_moto() {
    let server = tokio::task::spawn_blocking(servers::moto).await.unwrap().unwrap();
    call("PUT", &format!("{}/shop", server.url()), "");
    let location = open(&settings("s3://shop/dr", server.url())).unwrap();
    run(&*location, Expected { atomic: false, ..Expected::ALL }).await;
}

/// Decides and stores in one turn of its only thread.
#[tokio::test(flavor = "multi_thread")]
async fn azure_azurite() {
    let server = tokio::task::spawn_blocking(servers::azurite).await.unwrap().unwrap();
    azurite_container(server.url(), "shop");
    let account = key(servers::AZURITE_ACCOUNT, servers::AZURITE_KEY);
    let location = open(&Settings { credentials: account, ..settings("az://shop/dr", server.url()) }).unwrap();
    run(&*location, Expected::ALL).await;
}

/// Decides and stores under one lock. Its uploads are translated from one of Google's interfaces to the other: see
/// [`google`].
#[tokio::test(flavor = "multi_thread")]
async fn google_fake() {
    let server = tokio::task::spawn_blocking(servers::fake_gcs).await.unwrap().unwrap();
    call("POST", &format!("{}/storage/v1/b", server.url()), r#"{"name":"shop"}"#);
    let endpoint = google::translate_uploads(server.url()).await;
    let nobody = Settings { credentials: Credentials::Anonymous, ..settings("gs://shop/dr", &endpoint) };
    run(&*open(&nobody).unwrap(), Expected::ALL).await;
}

/// One plain request to a server on loopback, which must succeed.
fn call(method: &str, url: &str, body: &str) {
    let (server, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a plain url");
    let mut stream = TcpStream::connect(server).unwrap();
    let length = body.len();
    let head = format!("{method} /{path} HTTP/1.1\r\nhost: {server}\r\ncontent-type: application/json\r\n");
    write!(stream, "{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.split(' ').nth(1).is_some_and(|code| code.starts_with('2')), "{method} {url}: {answer}");
}

/// Making a container is not a location's work, and needs a signed request: by the language that Azurite runs on.
fn azurite_container(endpoint: &str, container: &str) {
    let script = r#"
        const [endpoint, account, key, container] = process.argv.slice(1);
        const date = new Date().toUTCString(), version = "2021-08-06";
        const resource = `/${account}/${account}/${container}\nrestype:container`;
        const text = "PUT" + "\n".repeat(12) + `x-ms-date:${date}\nx-ms-version:${version}\n` + resource;
        const hmac = require("crypto").createHmac("sha256", Buffer.from(key, "base64")).update(text, "utf8");
        const headers = { "x-ms-date": date, "x-ms-version": version,
                          authorization: `SharedKey ${account}:${hmac.digest("base64")}` };
        fetch(`${endpoint}/${account}/${container}?restype=container`, { method: "PUT", headers })
            .then(async answer => { if (!answer.ok) { console.error(await answer.text()); process.exit(1); } });
    "#;
    let arguments = ["-e", script, "--", endpoint, servers::AZURITE_ACCOUNT, servers::AZURITE_KEY, container];
    let done = Command::new("node").args(arguments).output().expect("node: sudo apt-get install nodejs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

//! Agents that must not begin, callers that must not be heard, and lease stores that can't be believed: each is told in one sentence.

use crate::program::lifeboat;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "a token for tests";

/// A witness: an agent as all others, and needs no server.
fn configuration(directory: &Path, port: u16) -> String {
    format!(
        "[cluster.shop]\nthis_member = \"third\"\nlease = {{ directory = \"{0}/store\" }}\nlisten = \"127.0.0.1:{port}\"\n\
         token = {{ command = [\"echo\", \"{TOKEN}\"] }}\nstate_dir = \"{0}/state\"\nmode = \"synchronous\"\n\
         [cluster.shop.member.virginia]\nagent = \"http://127.0.0.1:1\"\ndatabase = \"10.0.0.1:5432\"\n\
         [cluster.shop.member.ohio]\nagent = \"http://127.0.0.2:1\"\ndatabase = \"10.0.0.2:5432\"\n\
         [cluster.shop.member.third]\nagent = \"http://127.0.0.1:{port}\"\n",
        directory.display()
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// An agent at work; killed when dropped.
struct Running(Child);

impl Running {
    fn start(directory: &Path, port: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("agent").current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let agent = Self(command.spawn().expect("the program starts"));
        until("the agent listens", || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
        agent
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_must_not_begin_says_why() {
    let mut screens = String::new();
    let cases: [(&str, &str, &str, Option<&str>); 5] = [
        ("open to other machines without TLS", "listen = \"127.0.0.1:", "listen = \"0.0.0.0:", None),
        ("a short token", TOKEN, "short", None),
        (
            "the promises of another member",
            "",
            "",
            Some(r#"{"cluster":"shop","member":"ohio","durable":{"promised":7,"promised_to":null,"seen":7}}"#),
        ),
        (
            "the promises for another cluster",
            "",
            "",
            Some(r#"{"cluster":"depot","member":"third","durable":{"promised":7,"promised_to":null,"seen":7}}"#),
        ),
        ("promises that can't be read", "", "", Some(r#"{"cluster":"shop""#)),
    ];
    for (what, from, to, promises) in cases {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let text = configuration(directory.path(), port);
        let text = if from.is_empty() { text } else { text.replace(from, to) };
        fs::write(directory.path().join("lifeboat.toml"), text).expect("write");
        if let Some(promises) = promises {
            fs::create_dir(directory.path().join("state")).expect("create");
            fs::write(directory.path().join("state/promises.json"), promises).expect("write");
        }
        let ran = lifeboat(directory.path(), &["agent"]);
        let screen =
            ran.screen().replace(&directory.path().display().to_string(), "DIR").replace(&port.to_string(), "PORT");
        writeln!(screens, "── {what}\n{screen}\n").expect("write to a string");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    fs::write(directory.path().join("lifeboat.toml"), configuration(directory.path(), port)).expect("write");
    let _first = Running::start(directory.path(), port);
    let ran = lifeboat(directory.path(), &["agent"]);
    let screen = ran.screen().replace(&directory.path().display().to_string(), "DIR");
    writeln!(screens, "── a second agent for one member\n{screen}\n").expect("write to a string");
    insta::assert_snapshot!("agents_that_must_not_begin", screens);
}

/// The status and the text of an answer.
fn ask(port: u16, method: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("it reads");
    let mut answer = String::new();
    // Who ends a connection in the middle has said what it has to say.
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).unwrap_or("nothing").to_owned();
    let text = answer.split_once("\r\n\r\n").map_or("", |(_, text)| text).trim();
    format!("{status} {text}")
}

#[test]
fn who_must_not_be_heard_is_told_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    fs::write(directory.path().join("lifeboat.toml"), configuration(directory.path(), port)).expect("write");
    let _agent = Running::start(directory.path(), port);
    let envelope = |cluster: &str, from: &str, to: &str| {
        format!(
            r#"{{"cluster":"{cluster}","from":"{from}","to":"{to}","message":{{"message":"take_over","epoch":1}}}}"#
        )
    };
    let message = "/v1/message";
    let mut answers = String::new();
    for (what, method, path, token, body) in [
        ("no token", "GET", "/v1/status", None, String::new()),
        ("another cluster's token", "GET", "/v1/status", Some("another token for tests"), String::new()),
        (
            "a command with a wrong token",
            "POST",
            "/v1/command",
            Some("a token for test"),
            r#"{"command":"pause"}"#.into(),
        ),
        ("another cluster's member", "POST", message, Some(TOKEN), envelope("depot", "ohio", "third")),
        ("no member", "POST", message, Some(TOKEN), envelope("shop", "texas", "third")),
        ("a second one of this name", "POST", message, Some(TOKEN), envelope("shop", "third", "third")),
        ("meant for another", "POST", message, Some(TOKEN), envelope("shop", "ohio", "virginia")),
        ("no message", "POST", message, Some(TOKEN), "nonsense".into()),
        ("a member", "POST", message, Some(TOKEN), envelope("shop", "ohio", "third")),
    ] {
        writeln!(answers, "{what}: {}", ask(port, method, path, token, &body)).expect("write to a string");
    }
    let wrong = configuration(directory.path(), port).replace(TOKEN, "another token for tests");
    fs::write(directory.path().join("lifeboat.toml"), wrong).expect("write");
    let ran = lifeboat(directory.path(), &["--json", "cluster", "status"]);
    let error = ran.stdout.lines().find(|line| line.contains("refuses us")).unwrap_or(&ran.stdout).trim().to_owned();
    let error = error.replace(&port.to_string(), "PORT");
    writeln!(answers, "an operator with a wrong token: {error}").expect("write to a string");
    insta::assert_snapshot!("who_is_not_heard", answers);
}

#[test]
fn a_clock_that_differs_is_told_once_and_its_end_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    fs::write(directory.path().join("lifeboat.toml"), configuration(directory.path(), port)).expect("write");
    let _agent = Running::start(directory.path(), port);
    let journal = || fs::read_to_string(directory.path().join("state/journal.jsonl")).unwrap_or_default();
    let hear = |ahead: i64| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs();
        let clock = i64::try_from(now).expect("before the end of time") + ahead;
        let body = format!(
            r#"{{"cluster":"shop","from":"ohio","to":"third","clock":{clock},"message":{{"message":"take_over","epoch":1}}}}"#
        );
        assert_eq!(ask(port, "POST", "/v1/message", Some(TOKEN), &body), "200 ");
    };
    for _ in 0..3 {
        hear(3_600);
    }
    hear(1);
    until("it is over", || journal().contains("clock: that of ohio is ours again").then_some(()));
    assert_eq!(journal().matches("s ahead of ours").count(), 1, "{}", journal());
    hear(-3_600);
    until("it is told again", || journal().contains("s behind ours").then_some(()));
}

#[test]
fn plain_http_to_an_agent_with_tls_gets_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=third", "-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(directory.path())
        .output()
        .expect("run openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let here = directory.path().display();
    let tls = format!(
        "mode = \"synchronous\"\ntls = {{ certificate = \"{here}/certificate.pem\", key = \"{here}/key.pem\", authority = \"{here}/certificate.pem\" }}"
    );
    let text = configuration(directory.path(), port).replace("mode = \"synchronous\"", &tls);
    fs::write(directory.path().join("lifeboat.toml"), text).expect("write");
    let _agent = Running::start(directory.path(), port);
    assert_eq!(ask(port, "GET", "/v1/status", Some(TOKEN), ""), "nothing ");
    assert_eq!(ask(port, "GET", "/health", None, ""), "nothing ");
    let ran = lifeboat(directory.path(), &["--json", "cluster", "status"]);
    let told = format!("http://127.0.0.1:{port} doesn't answer");
    assert!(ran.stdout.contains(&told), "{}", ran.screen());
}

fn lease(cluster: &str, epoch: u64) -> String {
    format!(
        r#"{{"cluster":"{cluster}","epoch":{epoch},"holder":"virginia","incarnation":1,"writer":1,"sequence":{epoch},"state":"held","lifetime_milliseconds":6000,"position":{{"lineage":1,"offset":4096}},"history":[{{"lineage":1,"start":0}}],"quorums":[{{"voters":["ohio"],"needed":1}}],"paused":false}}"#
    )
}

#[test]
fn a_store_that_can_not_be_believed_is_told_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    fs::write(directory.path().join("lifeboat.toml"), configuration(directory.path(), port)).expect("write");
    let register = directory.path().join("store/leases/shop");
    let mut counter = 0_u64;
    let mut hold = |content: &str| {
        counter += 1;
        fs::create_dir_all(register.parent().expect("a directory")).expect("create");
        fs::write(register.with_extension("new"), format!("{counter:032x}{content}")).expect("write");
        fs::rename(register.with_extension("new"), &register).expect("rename");
    };
    let journal = || fs::read_to_string(directory.path().join("state/journal.jsonl")).unwrap_or_default();
    let tells = |what: &str, text: &str| {
        let before = journal().matches(text).count();
        until(what, || (journal().matches(text).count() > before).then_some(()));
    };
    let (went_back, foreign) =
        ("the lease store has forgotten", "belongs to another cluster or to other data, or is no lease");
    hold(&lease("shop", 7));
    let agent = Running::start(directory.path(), port);
    let promises = || fs::read_to_string(directory.path().join("state/promises.json")).unwrap_or_default();
    until("epoch 7 is remembered", || promises().contains("\"seen\":7").then_some(()));
    assert_eq!(journal().matches(went_back).count() + journal().matches(foreign).count(), 0, "{}", journal());

    let mut good = 7;
    // What is wrong is said once, until it is right again.
    let mut right_again = |hold: &mut dyn FnMut(&str)| {
        good += 1;
        hold(&lease("shop", good));
        until("a later epoch is remembered", || promises().contains(&format!("\"seen\":{good}")).then_some(()));
    };
    hold(&lease("shop", 5));
    tells("an older content is told of", went_back);
    right_again(&mut hold);
    hold(&lease("depot", 9));
    tells("another cluster's lease is told of", foreign);
    right_again(&mut hold);
    hold("nonsense");
    tells("nonsense is told of", foreign);
    right_again(&mut hold);
    fs::remove_file(&register).expect("remove");
    tells("a lost content is told of", went_back);
    // Who is started anew hasn't forgotten.
    drop(agent);
    let _again = Running::start(directory.path(), port);
    tells("a lost content is told of by the next life, too", went_back);
    right_again(&mut hold);
    hold(&lease("shop", 6));
    tells("an older content, too", went_back);
    assert!(promises().contains("\"seen\":11"), "{}", promises());
}

//! Connections: passwords, certificates, and what a failure is called.

use lifeboat_components::{TestCluster, free_port};
use lifeboat_postgres::connection::{ErrorKind, Secret, Target, connect};
use std::process::Command;

const SCRAM: &str = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n";

async fn kind_of(conninfo: &str, secret: &Secret) -> ErrorKind {
    let error = connect(conninfo, secret).await.map(|_| ()).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    error.kind()
}

#[tokio::test]
async fn a_password_is_found_and_never_shown() {
    let cluster = TestCluster::builder(15).superuser_password("hunter2").hba(SCRAM).start().unwrap();
    let bare = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", cluster.port());
    let target = Target::parse(&bare, &Secret::Password("hunter2".into())).unwrap();
    assert!(!format!("{target:?} {target}").contains("hunter2"));
    let client = target.connect().await.unwrap();
    let name: String = client.query_one("show application_name", &[]).await.unwrap().get(0);
    assert_eq!(name, "lifeboat");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("127.0.0.1:{}:*:postgres:hunter2\n", cluster.port())).unwrap();
    connect(&bare, &Secret::Passfile(file.path().into())).await.unwrap();
    connect(&format!("{bare} passfile={}", file.path().display()), &Secret::None).await.unwrap();

    assert_eq!(kind_of(&bare, &Secret::Password("wrong-hunter2".into())).await, ErrorKind::Authentication);
    assert_eq!(kind_of(&bare, &Secret::None).await, ErrorKind::Authentication);
    assert_eq!(kind_of(&format!("{bare} password=hunter2 dbname=none"), &Secret::None).await, ErrorKind::NoDatabase);
    let elsewhere = format!("host=127.0.0.1 port={} user=postgres password=hunter2", free_port().unwrap());
    assert_eq!(kind_of(&elsewhere, &Secret::None).await, ErrorKind::Unreachable);
    let socket = format!("host=/nonexistent port={} user=postgres", cluster.port());
    assert_eq!(kind_of(&socket, &Secret::None).await, ErrorKind::Unreachable);
    let encrypted = format!("{bare} password=hunter2 sslmode=require");
    assert_eq!(kind_of(&encrypted, &Secret::None).await, ErrorKind::Tls);
}

/// A cluster that lets in encrypted connections only, and its certificate, which signs itself.
pub fn encrypted_cluster(major: u16) -> (TestCluster, std::path::PathBuf) {
    let hba = "local all all trust\nhostssl all all 127.0.0.1/32 trust\nhostssl replication all 127.0.0.1/32 trust\n";
    let mut cluster = TestCluster::builder(major).setting("ssl", "on").hba(hba).create().unwrap();
    let (certificate, key) = (cluster.data_dir().join("server.crt"), cluster.data_dir().join("server.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is missing; install it: apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    cluster.give_to_server(&key).unwrap();
    cluster.give_to_server(&certificate).unwrap();
    cluster.start().unwrap();
    (cluster, certificate)
}

#[tokio::test]
async fn sslmode_checks_what_it_says() {
    let (cluster, certificate) = encrypted_cluster(15);
    let other = encrypted_cluster(15);
    let with = |host: &str, rest: &str| format!("host={host} port={} user=postgres {rest}", cluster.port());
    let root = format!("sslrootcert={}", certificate.display());
    let foreign = format!("sslrootcert={}", other.1.display());
    let full = format!("sslmode=verify-full {root}");

    for (host, rest) in [
        ("127.0.0.1", "sslmode=prefer".to_owned()),
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("127.0.0.1", format!("sslmode=verify-ca {root}")),
        ("localhost", full.clone()),
    ] {
        let client = connect(&with(host, &rest), &Secret::None).await.unwrap();
        let query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        assert!(client.query_one(query, &[]).await.unwrap().get::<_, bool>(0), "{rest}");
    }
    assert_eq!(kind_of(&with("127.0.0.1", &full), &Secret::None).await, ErrorKind::Tls, "another name");
    for mode in ["require", "verify-ca", "verify-full"] {
        let conninfo = with("localhost", &format!("sslmode={mode} {foreign}"));
        assert_eq!(kind_of(&conninfo, &Secret::None).await, ErrorKind::Tls, "{mode} with a foreign authority");
    }
    assert_eq!(kind_of(&with("127.0.0.1", "sslmode=disable"), &Secret::None).await, ErrorKind::Authentication);
}

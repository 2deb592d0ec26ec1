//! Hosts as network namespaces: each has its own processes and lines, and lines can be cut one way.

use lifeboat_components::hosts::{Cut, Host, Network};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Whether a word that the host sends arrives here.
fn is_heard(host: &Host, network: &Network) -> bool {
    let socket = UdpSocket::bind((network.address(), 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a patience");
    let port = socket.local_addr().expect("an address").port();
    let words = format!("echo word > /dev/udp/{}/{port}", network.address());
    let sent = host.command(Path::new("bash")).args(["-c", &words]).stderr(Stdio::null()).status();
    sent.expect("bash runs");
    socket.recv(&mut [0; 16]).is_ok()
}

#[test]
fn lines_are_cut_one_way_or_both_and_healed() {
    let network = Network::new(&["a", "b"]).expect("a network");
    let [first, second] = network.hosts() else { panic!("two hosts") };
    assert!(is_heard(first, &network));
    first.cut_off(Cut::Incoming).expect("a cut");
    assert!(is_heard(first, &network), "it hears nothing, and is heard");
    first.cut_off(Cut::Outgoing).expect("a cut");
    assert!(!is_heard(first, &network));
    assert!(is_heard(second, &network), "the others aren't concerned");
    first.heal().expect("healed");
    assert!(is_heard(first, &network));
    first.cut_off_from(second.address(), Cut::Both).expect("a cut");
    assert!(is_heard(first, &network), "only from the other");
    first.cut_off_from(&network.address(), Cut::Both).expect("a cut");
    assert!(!is_heard(first, &network));
}

#[test]
fn a_host_dies_alone_and_two_networks_share_nothing() {
    let (one, other) = (Network::new(&["a"]).expect("a network"), Network::new(&["a"]).expect("a second one"));
    assert_ne!(one.address(), other.address());
    let sleep = |host: &Host| host.command(Path::new("sleep")).arg("1000").spawn().expect("it runs");
    let (mut here, mut there) = (sleep(&one.hosts()[0]), sleep(&other.hosts()[0]));
    while one.hosts()[0].processes().len() + other.hosts()[0].processes().len() < 2 {
        std::thread::yield_now();
    }
    one.hosts()[0].kill_all();
    assert!(!here.wait().expect("it ended").success());
    assert!(there.try_wait().expect("known").is_none(), "the other's goes on");
    drop(other);
    assert!(!there.wait().expect("it ended with its network").success());
}

#[test]
fn a_network_can_be_made_again_at_once() {
    for _ in 0..20 {
        drop(Network::new(&["a", "b", "c"]).expect("whatever the one before is taken away of"));
    }
}

#[test]
fn what_a_killed_run_left_under_another_number_is_taken_away() {
    // The last number: nobody gets as far.
    let (directory, namespace) = (Path::new("/tmp/lifeboat-network-64"), Path::new("/run/netns/lifeboat-64-left"));
    std::fs::create_dir_all(directory.join("virginia")).expect("a directory");
    let made = std::process::Command::new("ip").args(["netns", "add", "lifeboat-64-left"]).status();
    assert!(made.expect("ip runs").success() && namespace.exists());
    drop(Network::new(&["a"]).expect("a network"));
    assert!(!directory.exists() && !namespace.exists());
}

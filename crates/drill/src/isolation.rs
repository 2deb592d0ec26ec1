//! That a rehearsal can't touch production: tried, not assumed.
//!
//! Promise: what couldn't be tried doesn't hold.

use crate::hosts::{self, Hosts};
use crate::place::Place;
use crate::process::{Network, Processes, Who, run};
use crate::surroundings::{Address, Production, Surroundings};
use lifeboat_plan::run::Isolation;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one address may take to answer, or not.
const REACH_PATIENCE: Duration = Duration::from_secs(10);
/// The exit code of `lifeboat drill reach` when nobody was reached.
const NOBODY: i32 = 4;

/// That the place and production lie apart. Looked at before the place is made.
pub fn paths(place: &Path, production: &Production) -> Vec<Isolation> {
    let place = real(place);
    let apart = |(what, path): &(String, PathBuf)| {
        let path = real(path);
        let holds = !place.starts_with(&path) && !path.starts_with(&place);
        let seen = if holds { "apart" } else { "one lies in the other" };
        Isolation {
            tried: format!("the place {} against {what} {}", place.display(), path.display()),
            seen: seen.into(),
            holds,
        }
    };
    production.paths.iter().map(apart).collect()
}

/// With links followed as far as there is something.
fn real(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    there.map_or_else(
        || path.to_path_buf(),
        |(above, real)| match path.strip_prefix(above) {
            Ok(rest) if rest != Path::new("") => real.join(rest),
            _ => real,
        },
    )
}

/// That no address of production answers from inside. A process of the place tries each.
pub async fn addresses(place: &Place, processes: &Processes, around: &Surroundings) -> Vec<Isolation> {
    let mut proofs = vec![Isolation {
        tried: "the network of the place's processes".into(),
        seen: match processes.network {
            Network::Shared => "that of this machine".into(),
            Network::Own | Network::OwnAsUser => "one of their own, with nothing in it".into(),
        },
        // By itself it is no proof; the addresses are.
        holds: true,
    }];
    for address in &around.production.addresses {
        let command = processes.command(&around.program, Who::Servers);
        proofs.push(reach(place, command, "inside", address).await);
    }
    proofs
}

/// The same for every host: no line leads out, and no address answers.
pub async fn hosts(place: &Place, processes: &Processes, hosts: &Hosts, around: &Surroundings) -> Vec<Isolation> {
    let looked_at = hosts.clone();
    let mut proofs = tokio::task::spawn_blocking(move || looked_at.proofs()).await.unwrap_or_else(|error| {
        vec![Isolation { tried: "the hosts' lines".into(), seen: error.to_string(), holds: false }]
    });
    for host in hosts::all() {
        for address in &around.production.addresses {
            let command = processes.command_in(&hosts.file(host), &around.program, Who::Servers);
            proofs.push(reach(place, command, &format!("host {host}"), address).await);
        }
    }
    proofs
}

async fn reach(place: &Place, mut command: tokio::process::Command, from: &str, address: &Address) -> Isolation {
    let Address { what, host, port } = address;
    let tried = format!("connect from {from} to {host}:{port}, {what}");
    command.args(["drill", "reach", host, &port.to_string()]);
    let ended = run(place, command, "reach", REACH_PATIENCE).await;
    let (seen, holds) = match ended {
        Ok(ended) if ended.code == Some(NOBODY) => (ended.said(), true),
        Ok(ended) if ended.code == Some(0) => ("somebody answered".into(), false),
        Ok(ended) => (format!("it could not be tried: {}", ended.said()), false),
        Err(error) => (format!("it could not be tried: {error}"), false),
    };
    Isolation { tried, seen, holds }
}

/// That the configuration of the place names nothing outside it.
pub fn configuration(place: &Place) -> Isolation {
    let tried = "locations and passphrase of the place's configuration".to_owned();
    let outside = std::fs::read_to_string(place.config())
        .map_err(|error| error.to_string())
        .and_then(|text| toml::from_str::<toml::Table>(&text).map_err(|error| error.to_string()))
        .map(|table| outside(&table, place.directory()));
    match outside {
        Ok(outside) if outside.is_empty() => Isolation { tried, seen: "all in the place".into(), holds: true },
        Ok(outside) => Isolation { tried, seen: format!("outside: {}", outside.join(", ")), holds: false },
        Err(error) => Isolation { tried, seen: error, holds: false },
    }
}

fn outside(table: &toml::Table, place: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let sections = |key: &str| table.get(key).and_then(toml::Value::as_table).into_iter().flatten();
    for (_, location) in sections("location") {
        let url = location.get("url").and_then(toml::Value::as_str).unwrap_or_default();
        if !url.strip_prefix("file://").is_some_and(|path| Path::new(path).starts_with(place)) {
            found.push(url.to_owned());
        }
    }
    for (_, workload) in sections("workload") {
        let directory = workload.get("data_dir").and_then(toml::Value::as_str).unwrap_or_default();
        if !Path::new(directory).starts_with(place) {
            found.push(directory.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_production_and_production_in_a_place_are_seen() {
        let scratch = tempfile::tempdir().unwrap();
        let real = scratch.path().join("production");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, scratch.path().join("link")).unwrap();
        let production =
            |path: &Path| Production { paths: vec![("data".into(), path.to_path_buf())], ..Default::default() };
        for (place, path, holds) in [
            ("place", "production", true),
            ("production/place", "production", false),
            ("link/place", "production", false),
            ("production", "production/data", false),
        ] {
            let proofs = paths(&scratch.path().join(place), &production(&scratch.path().join(path)));
            assert_eq!(proofs[0].holds, holds, "{place} {path} {proofs:?}");
        }
    }

    #[test]
    fn what_lies_outside_is_named() {
        let text = "[location.a]\nurl = \"file:///place/vault\"\n[location.b]\nurl = \"s3://production\"\n[workload.c]\ndata_dir = \"/var/lib/c\"\n";
        let table = toml::from_str(text).unwrap();
        assert_eq!(outside(&table, Path::new("/place")), ["s3://production", "/var/lib/c"]);
    }
}

//! Rehearsals that people bring along: their own steps, experiments of the Chaos Toolkit, those that the plan says are due; and a restore of every version.

use crate::drills::{START, Shop, scenario, shop, shop_of};
use crate::served::as_ourselves;
use crate::world::Plan;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

async fn restored_on(major: u16) -> Result<()> {
    let run = shop_of(Plan::new(major)).await?.passes(&["restore-database"])?;
    ensure!(run["measured"]["fault_to_healthy_seconds"].as_f64() > Some(0.0), "{run:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_apart_on_14() -> Result<()> {
    restored_on(14).await
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_apart_on_16() -> Result<()> {
    restored_on(16).await
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_apart_on_17() -> Result<()> {
    restored_on(17).await
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_apart_on_18() -> Result<()> {
    restored_on(18).await
}

/// Somebody who answers each request with this, for as long as the test runs.
fn answering(status: &'static str, body: &'static str) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    Ok(port)
}

/// A port at which nobody listens.
fn silent() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_ones_own_ask_and_act_outside() -> Result<()> {
    let shop = shop().await?;
    let (port, nobody) = (answering("200 OK", "{\"state\": \"up\"}")?, silent()?);
    let (begun, marker) = (shop.world.path("begun"), shop.world.path("marker"));
    let touch = |path: &std::path::Path| format!("command = [\"touch\", \"{}\"]", path.display());
    let vendor = format!(
        "[vendor_step.start]\ntitle = \"others start\"\ntime_limit = \"10s\"\non_failure = \"stop\"\n{}\nundo = {{ {} }}\n",
        touch(&begun),
        touch(&marker)
    );
    shop.world.configure("lifeboat.toml", |text| format!("{text}{vendor}"))?;
    // The servers' account does it.
    shop.world.make_directory("")?;
    let step = |name: &str, line: &str| format!("[[after]]\nname = \"{name}\"\n{line}\ntime_limit = \"10s\"\n");
    let http = |port: u16, state: &str| {
        step(
            "http",
            &format!("http = {{ url = \"http://127.0.0.1:{port}/\" }}\npath = \"$.body.state\"\nequals = \"{state}\""),
        )
    };
    let tcp = |port: u16| step("tcp", &format!("tcp = \"127.0.0.1:{port}\""));
    let vendor = step("others start", "vendor_step = \"start\"");
    let all = format!("isolated = false\n{START}{}{}{vendor}", http(port, "up"), tcp(port));
    shop.passes(&[&scenario(&shop, &all)?])?;
    ensure!(begun.exists() && marker.exists(), "the vendor step was done, and taken back");

    let refused = answering("503 Service Unavailable", "{\"state\": \"up\"}")?;
    for (steps, word) in [
        (http(port, "down"), "http did not hold"),
        (http(refused, "up"), "http did not hold: status 503"),
        (http(nobody, "up"), "http did not hold"),
        (tcp(nobody), "tcp did not hold"),
        (step("others start", "vendor_step = \"stop\""), "the plan has no vendor step stop"),
    ] {
        shop.ends(&[&scenario(&shop, &format!("isolated = false\n{NOTHING}{steps}"))?], "failed", word)?;
    }
    // In a place apart nothing acts outside of it.
    shop.ends(&[&scenario(&shop, &format!("{NOTHING}{vendor}"))?], "failed", "acts outside the place").map(drop)
}

const NOTHING: &str = "title = \"t\"\ntarget = \"nothing\"\n[[fault]]\nname = \"nothing\"\nfault = \"assumed-loss\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn experiments_come_in_and_go_out() -> Result<()> {
    let shop = shop().await?;
    let port = answering("200 OK", "fine")?;
    let written = |name: &str, value: &Value| -> Result<String> {
        let path = shop.world.path(name);
        fs::write(&path, value.to_string())?;
        Ok(path.display().to_string())
    };
    let drill = |arguments: &[&str]| as_ourselves(&shop.world, "lifeboat.toml", &[&["drill"], arguments].concat());
    let probe = |tolerance: u16| {
        json!({"version": "1.0.0", "title": "it answers", "steady-state-hypothesis": {"title": "up", "probes": [
            {"type": "probe", "name": "it answers", "tolerance": tolerance,
             "provider": {"type": "http", "url": format!("http://127.0.0.1:{port}/"), "timeout": 5}}]},
            "method": [{"type": "action", "name": "something", "provider": {"type": "process", "path": "true", "timeout": 5}}],
            "rollbacks": []})
    };
    let own = shop.world.path("own.toml").display().to_string();
    for (tolerance, verdict) in [(200, "passed"), (201, "refused")] {
        let imported = drill(&["import", &written("experiment.json", &probe(tolerance))?, "--to", &own])?;
        ensure!(imported.code == Some(0), "{imported:?}");
        let ran = shop.drill(&[&own])?;
        ensure!(ran.document["run"]["verdict"] == verdict, "{:#}", ran.document);
    }
    // What goes out can be carried out by whoever runs its process, and can come in again.
    let exported = drill(&["export", "restore-database", "--workload", "shop"])?.json()?;
    let provider = &exported["method"][0]["provider"];
    let words = provider["arguments"].as_array().context("arguments")?.iter().filter_map(Value::as_str);
    let scratch = shop.scratch()?.display().to_string();
    let words: Vec<&str> = words.skip_while(|word| *word != "drill").chain(["--in", &scratch, "--json"]).collect();
    let ran = as_ourselves(&shop.world, "lifeboat.toml", &words)?;
    ensure!(ran.code == Some(0) && ran.json()?["run"]["verdict"] == "passed", "{ran:?}");
    let again = drill(&["import", &written("exported.json", &exported)?, "--to", &own])?;
    ensure!(again.code == Some(0), "{again:?}");
    let steps = drill(&["run", &own, "--dry-run", "--json"])?.json()?;
    ensure!(steps["steps"].to_string().contains("drill run restore-database --workload shop"), "{steps:#}");
    // A shell, and a secret in the file, stay out.
    let mut through_a_shell = probe(200);
    through_a_shell["method"][0]["provider"]["arguments"] = json!("-c 'rm x'");
    let mut secret = probe(200);
    secret["secrets"] = json!({"a": {"token": "t0p"}});
    for (experiment, word) in [(through_a_shell, "shell"), (secret, "a.token")] {
        let refused = drill(&["import", &written("bad.json", &experiment)?])?;
        ensure!(
            refused.code == Some(2) && refused.stderr.contains(word) && !refused.stderr.contains("t0p"),
            "{refused:?}"
        );
    }
    Ok(())
}

fn due(shop: &Shop) -> Result<Vec<(String, bool)>> {
    let document = as_ourselves(&shop.world, "lifeboat.toml", &["drill", "schedule", "--json"])?.json()?;
    let all = document["drills"].as_array().context("drills")?.iter();
    Ok(all.map(|one| (one["drill"].as_str().unwrap_or_default().to_owned(), one["is_due"] == true)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_carried_out_and_only_what_passed_is_done() -> Result<()> {
    let shop = shop().await?;
    let drills = "[drill.back]\nscenario = \"restore-database\"\ntarget = \"shop\"\nevery = \"30d\"\n\
        [drill.key]\nscenario = \"lost-key\"\ntarget = \"shop\"\nevery = \"30d\"\nwith = { escrow_file = \"/nowhere/passphrase\" }\n";
    shop.world.configure("lifeboat.toml", |text| format!("{text}{drills}"))?;
    let named = |all: &[(&str, bool)]| all.iter().map(|(name, due)| ((*name).to_owned(), *due)).collect::<Vec<_>>();
    ensure!(due(&shop)? == named(&[("back", true), ("key", true)]), "{:?}", due(&shop)?);
    let ran = as_ourselves(&shop.world, "lifeboat.toml", &["drill", "schedule", "--run-due", "--json"])?;
    ensure!(ran.code == Some(4), "{ran:?}");
    let document = ran.json()?;
    ensure!(document["due"] == json!(["back", "key"]) && document["not_passed"] == json!(["key"]), "{document:#}");
    ensure!(due(&shop)? == named(&[("back", false), ("key", true)]), "{:?}", due(&shop)?);
    let ran = as_ourselves(&shop.world, "lifeboat.toml", &["drill", "schedule", "--run-due", "--json"])?.json()?;
    ensure!(ran["due"] == json!(["key"]), "{ran:#}");
    shop.nothing_is_left()
}

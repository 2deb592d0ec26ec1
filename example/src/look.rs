//! What can be seen of the regions from outside: what agents and stores answer, what processes run, what was written down.

pub mod journal;

use crate::script::{NAMES, PLACES};
use crate::world::Addresses;
use crate::world::member::{AGENT_PORT, is_agent, is_store};
use anyhow::{Context, Result};
use journal::{Event, Journals};
use lifeboat_components::hosts::{Host, Process};
use serde::Deserialize;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Who doesn't answer within this doesn't answer.
const PATIENCE: Duration = Duration::from_millis(1_200);
const ASK_EVERY: Duration = Duration::from_millis(250);
const READ_EVERY: Duration = Duration::from_millis(25);
/// Of readings, one with a look at the processes.
const READINGS_A_LOOK: u32 = 6;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    pub places: [Place; PLACES],
    /// In order of their times.
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// What its agent last answered, and when that was asked for.
    pub status: Option<(Duration, Status)>,
    /// It didn't answer the last time.
    pub is_silent: bool,
    pub agent: Life,
    pub server: Life,
    pub store: Life,
    /// The store's member takes writes, by its own account.
    pub store_answers: bool,
}

/// Whether a process is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Life {
    #[default]
    Gone,
    Halted,
    Runs,
}

/// Of `GET /v1/status` what is shown.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Status {
    pub state: String,
    pub database: String,
    pub timeline: Option<u32>,
    pub position: Option<u64>,
    pub replayed: Option<u64>,
    pub replay_age_milliseconds: Option<u64>,
    pub receives_from: Option<String>,
    pub holds_for_milliseconds: Option<u64>,
    pub at_risk_bytes: Option<u64>,
    pub lease: Option<Lease>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Lease {
    pub epoch: u64,
    pub holder: String,
    pub state: String,
    pub quorum: String,
}

impl Look {
    /// The newest lease that anybody who answers has read; of those who don't, what they said last.
    pub fn lease(&self) -> Option<&Lease> {
        let of = |silent: bool| {
            let places = self.places.iter().filter(move |place| place.is_silent == silent);
            places.filter_map(|place| place.status.as_ref()?.1.lease.as_ref()).max_by_key(|lease| lease.epoch)
        };
        of(false).or_else(|| of(true))
    }

    /// Who holds it.
    pub fn primary(&self) -> Option<usize> {
        let holder = &self.lease()?.holder;
        NAMES.iter().position(|name| name == holder)
    }

    /// The first thing that isn't as it should be, by answers to questions asked after `since`.
    pub fn unwell(&self, since: Duration) -> Option<String> {
        // What explains most comes first.
        if self.places.iter().filter(|place| place.store_answers).count() <= PLACES / 2 {
            return Some("the lease store has no majority".into());
        }
        let Some(primary) = self.primary() else { return Some("there is no primary".into()) };
        for (place, name) in self.places.iter().zip(NAMES) {
            let Some((asked, status)) = place.status.as_ref().filter(|_| !place.is_silent) else {
                return Some(format!("{name}'s agent doesn't answer"));
            };
            let expected = match NAMES.iter().position(|known| *known == name) {
                Some(place) if place == primary => "primary",
                Some(place) if place < crate::script::DATABASES => "standby",
                _ => "witness",
            };
            if *asked < since || status.state != expected {
                return Some(format!("{name} is {}", status.state));
            }
            if expected == "standby" && status.receives_from.as_deref() != Some(NAMES[primary]) {
                return Some(format!("{name} doesn't receive from {}", NAMES[primary]));
            }
            if !place.store_answers {
                return Some(format!("{name}'s lease store doesn't answer"));
            }
        }
        let lease = self.lease()?;
        (lease.state != "held" || lease.quorum == "nobody").then(|| format!("commits wait for {}", lease.quorum))
    }

    /// Whether somebody is about to become the primary, or to stop being it.
    pub fn is_changing(&self) -> bool {
        let states = self.places.iter().filter(|place| !place.is_silent).filter_map(|place| place.status.as_ref());
        let settled = ["primary", "standby", "witness"];
        states.map(|(_, status)| status.state.as_str()).any(|state| !settled.contains(&state))
    }
}

pub type Shared = Arc<Mutex<Look>>;

/// Begins to look, all the while; it ends with the runtime.
///
/// # Errors
/// When the token or the certificate can't be read.
pub fn begin(addresses: &Addresses, begun: Instant) -> Result<Shared> {
    let look = Shared::default();
    let token = fs::read_to_string(addresses.scratch.join("token")).context("read the token")?;
    let authority = fs::read(addresses.scratch.join("ca.pem")).context("read the certificate")?;
    let authority = reqwest::Certificate::from_pem(&authority).context("use the certificate")?;
    let client = reqwest::Client::builder().tls_certs_only([authority]).timeout(PATIENCE).no_proxy();
    let client = client.build().context("make a client")?;
    for (place, host) in addresses.hosts.iter().enumerate() {
        let (look, client, token, host) = (look.clone(), client.clone(), token.clone(), host.clone());
        tokio::spawn(async move {
            loop {
                ask(place, &host, &client, &token, begun, &look).await;
                tokio::time::sleep(ASK_EVERY).await;
            }
        });
    }
    let (shared, addresses) = (look.clone(), addresses.clone());
    tokio::spawn(async move {
        let mut journals = Journals::new(&addresses.scratch, begun);
        for reading in 0_u32.. {
            let looks = reading.is_multiple_of(READINGS_A_LOOK);
            let lives = addresses.hosts.iter().filter(|_| looks).map(|host| lives(&host.processes()));
            let lives: Vec<[Life; 3]> = lives.collect();
            let news = journals.read();
            {
                let mut look = shared.lock().expect("nobody panics with it");
                for (place, [agent, server, store]) in look.places.iter_mut().zip(lives) {
                    (place.agent, place.server, place.store) = (agent, server, store);
                }
                if !news.is_empty() {
                    look.events.extend(news);
                    look.events.sort_by_key(|event| event.at);
                }
            }
            tokio::time::sleep(READ_EVERY).await;
        }
    });
    Ok(look)
}

async fn ask(place: usize, host: &Host, client: &reqwest::Client, token: &str, begun: Instant, look: &Shared) {
    let asked = begun.elapsed();
    let status = async {
        let url = format!("https://{}:{AGENT_PORT}/v1/status", host.address());
        let answer = client.get(url).bearer_auth(token).send().await.ok()?;
        answer.error_for_status().ok()?.json::<Status>().await.ok()
    };
    let store = async {
        let answer = client.get(format!("{}/health", host.etcd_url())).send().await.ok()?;
        let text = answer.text().await.ok()?;
        Some(text.contains("\"true\""))
    };
    let (status, store) = tokio::join!(status, store);
    let mut look = look.lock().expect("nobody panics with it");
    let place = &mut look.places[place];
    place.store_answers = store == Some(true);
    place.is_silent = status.is_none();
    if let Some(status) = status {
        place.status = Some((asked, status));
    }
}

fn lives(processes: &[Process]) -> [Life; 3] {
    let life = |meant: fn(&Process) -> bool| {
        let meant: Vec<_> = processes.iter().filter(|process| meant(process)).collect();
        match meant.iter().any(|process| process.is_halted) {
            _ if meant.is_empty() => Life::Gone,
            true => Life::Halted,
            false => Life::Runs,
        }
    };
    [life(is_agent), life(Process::is_of_postgres), life(is_store)]
}

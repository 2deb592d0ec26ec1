//! `lifeboat proxy`: leads clients to the primary, until it is told to end.

use super::cluster::{self, Chosen};
use crate::cli::Global;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::{interrupt, rooms};
use lifeboat_agent::lease::Secret;
use lifeboat_agent::proxy::{Proxy, ProxyError, ProxySettings};
use lifeboat_agent::routing::{RouteTable, WatchError, WatchSettings, follow};
use tokio::sync::watch;

pub fn run(global: &Global, named: Option<&str>, output: &Output) -> Result<(), Failure> {
    let chosen = cluster::choose(global, named)?;
    let settings = settings(&chosen)?;
    let followed = WatchSettings {
        cluster: chosen.name.clone(),
        agents: chosen.cluster.members.values().map(|member| member.agent.clone()).collect(),
        token: Some(Secret::new(cluster::token(&chosen.cluster)?.reveal().to_owned())),
        certificate_authority: cluster::tls(&chosen.cluster)?.map(|tls| tls.authority),
    };
    rooms::runtime()?.block_on(async {
        let proxy = Proxy::bind(settings).await?;
        let (watching, routes) = follow(&followed)?;
        for (what, address) in [("the primary", proxy.primary_address()), ("reading", proxy.read_only_address())] {
            if let Some(address) = address {
                output.tell(&format!("{address} leads to {what} of {}", chosen.name));
            }
        }
        let statistics = proxy.statistics();
        let mut stop = interrupt::signal();
        tokio::select! {
            () = proxy.run(routes.clone()) => {}
            () = tell_changes(routes, output) => {}
            // Without anybody who could ask for the end, it never comes.
            _ = stop.wait_for(|asked| *asked) => {}
        }
        drop(watching);
        let ended = serde_json::to_value(statistics.read()).unwrap_or_default();
        if output.is_json() { output.document(&ended) } else { Ok(()) }
    })
}

/// A line for each change of where clients go.
async fn tell_changes(mut routes: watch::Receiver<RouteTable>, output: &Output) {
    let mut last = None;
    loop {
        let table = routes.borrow_and_update().clone();
        let now = (table.epoch, table.primary.clone());
        if last.as_ref() != Some(&now) && table.epoch.0 > 0 {
            let to = table.primary.map_or_else(
                || "nowhere: new connections wait".to_owned(),
                |primary| format!("{} ({}:{})", primary.name, primary.host, primary.port),
            );
            output.tell(&format!("epoch {}: {to}", table.epoch));
            last = Some(now);
        }
        if routes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn settings(chosen: &Chosen) -> Result<ProxySettings, Failure> {
    let config = chosen.cluster.proxy.as_ref().ok_or_else(|| {
        Failure::new(FailureKind::Usage, format!("[cluster.{}] has no `proxy`", chosen.name))
            .with_hint("add proxy = { primary = \"127.0.0.1:5432\" }")
    })?;
    let usual = ProxySettings::default();
    Ok(ProxySettings {
        primary: config.primary,
        read_only: config.read_only,
        hold: config.hold.unwrap_or(usual.hold),
        lag_bytes_max: config.lag_max_bytes.or(usual.lag_bytes_max),
        connections_max: config.connections_max.unwrap_or(usual.connections_max),
        ..usual
    })
}

impl From<ProxyError> for Failure {
    fn from(error: ProxyError) -> Self {
        let kind = match &error {
            ProxyError::NoAddress => FailureKind::Usage,
            ProxyError::Listen { .. } => FailureKind::Unavailable,
        };
        Self::from_error(kind, &error)
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        Self::from_error(FailureKind::Usage, &error)
    }
}

//! `lifeboat cluster`: seeing a cluster, and moving its primary, by asking its agents.

mod protect;
pub mod status;

use crate::cli::{ClusterCommand, Global};
use crate::config::{ClusterConfig, Clusters, MemberConfig, load_clusters};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, human};
use crate::rooms;
use lifeboat_agent::api::{Asked, Status};
use lifeboat_agent::client::{AskError, Client};
use lifeboat_agent::database::Address;
use lifeboat_agent::{Place, Tls, Token};
use lifeboat_failover::MemberName;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// After a lease was taken its holder is promoted within a second or two; so often it is looked for, and so far apart.
const PROMOTION_LOOKS: u32 = 50;
const PROMOTION_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A cluster of the configuration.
pub struct Chosen {
    pub name: String,
    pub cluster: ClusterConfig,
    pub clusters: Clusters,
}

/// The cluster that is meant: the named one, or the only one.
pub fn choose(global: &Global, named: Option<&str>) -> Result<Chosen, Failure> {
    let (_, clusters) = load_clusters(global.config.as_deref())?;
    let name = match (named, clusters.clusters.len()) {
        (Some(name), _) => name.to_owned(),
        (None, 1) => clusters.clusters.keys().next().cloned().unwrap_or_default(),
        (None, 0) => {
            return Err(Failure::new(FailureKind::Usage, "the configuration has no cluster")
                .with_hint("add a section [cluster.NAME]; docs/failover.md has one to begin with"));
        }
        (None, _) => {
            let names: Vec<&str> = clusters.clusters.keys().map(String::as_str).collect();
            return Err(Failure::new(FailureKind::Usage, "which cluster? the configuration has several")
                .with_hint(format!("add one of {}", names.join(", "))));
        }
    };
    let cluster = super::find_named("cluster", &name, &clusters.clusters)?.clone();
    Ok(Chosen { name, cluster, clusters })
}

pub fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::from_error(FailureKind::Usage, &error).while_doing(format!("read {}", path.display()))
    })
}

pub fn token(config: &ClusterConfig) -> Result<Token, Failure> {
    Ok(Token::new(config.token.resolve()?.expose().to_owned()))
}

pub fn tls(config: &ClusterConfig) -> Result<Option<Tls>, Failure> {
    let Some(tls) = &config.tls else { return Ok(None) };
    Ok(Some(Tls {
        certificate: read_file(&tls.certificate)?,
        key: read_file(&tls.key)?,
        authority: read_file(&tls.authority)?,
    }))
}

pub fn places(config: &ClusterConfig) -> BTreeMap<MemberName, Place> {
    let place = |member: &MemberConfig| Place {
        agent: member.agent.clone(),
        database: member.database.clone().map(|(host, port)| Address { host, port }),
        region: member.region.clone(),
    };
    config.members.iter().map(|(name, member)| (name.as_str().into(), place(member))).collect()
}

/// Every agent's answer, or why there is none.
pub type Answers = BTreeMap<String, Result<Status, AskError>>;

/// Who can be asked about a cluster.
pub struct Asking {
    client: Client,
    pub chosen: Chosen,
}

pub fn run(global: &Global, command: &ClusterCommand, output: &Output) -> Result<(), Failure> {
    let asking = Asking::of(global, command.cluster())?;
    rooms::runtime()?.block_on(async {
        match command {
            ClusterCommand::Status(_) => status::show(&asking.chosen, &asking.everybody().await, output),
            ClusterCommand::Bootstrap { member, .. } => {
                let member = member.clone().or_else(|| asking.chosen.cluster.member.clone());
                let member = member.ok_or_else(|| {
                    Failure::new(FailureKind::Usage, "which member is to be the first primary?")
                        .with_hint("add --member NAME")
                })?;
                asking.tell(&member, Asked::Bootstrap, output).await?;
                asking.tell_whether_commits_wait(&member, output).await;
                Ok(())
            }
            ClusterCommand::Switchover { to, .. } => {
                if let Some(to) = to {
                    super::find_named("member", to, &asking.chosen.cluster.members)?;
                }
                let holder = asking.holder().await?;
                let to = to.as_deref().map(MemberName::from);
                let gone = format!("if it is gone: `lifeboat cluster failover {} --to MEMBER`", asking.chosen.name);
                let told = asking.tell(&holder, Asked::Switchover { to }, output).await;
                if told.is_ok() {
                    asking.until_there_is_a_primary().await;
                }
                told.map_err(
                    |failure| if failure.kind == FailureKind::Unavailable { failure.with_hint(gone) } else { failure },
                )
            }
            ClusterCommand::Failover { to, force, .. } => {
                super::find_named("member", to, &asking.chosen.cluster.members)?;
                let answers = asking.everybody().await;
                output.tell(&status::loss(to, &answers));
                asking.tell(to, Asked::Failover { force: *force }, output).await
            }
            ClusterCommand::Failback { to, patience, .. } => {
                protect::failback(&asking, to.as_deref(), patience.wait, output).await
            }
            ClusterCommand::Reprotect { anew, patience, .. } => {
                protect::reprotect(&asking, *anew, patience.wait, output).await
            }
            ClusterCommand::Rejoin { member, anew, patience, .. } => {
                protect::rejoin(&asking, member, *anew, patience.wait, output).await
            }
            ClusterCommand::Maintenance { member, end, .. } => {
                asking.tell(member, Asked::Maintenance { on: !end }, output).await
            }
            ClusterCommand::Pause(_) => asking.tell_anybody(Asked::Pause, output).await,
            ClusterCommand::Resume(_) => asking.tell_anybody(Asked::Resume, output).await,
        }
    })
}

impl Asking {
    /// The cluster that is meant, and its agents.
    pub fn of(global: &Global, named: Option<&str>) -> Result<Self, Failure> {
        let chosen = choose(global, named)?;
        let client = Client::new(tls(&chosen.cluster)?.as_ref(), token(&chosen.cluster)?)?;
        Ok(Self { client, chosen })
    }

    /// What each agent says.
    pub async fn everybody(&self) -> Answers {
        let asked = self
            .chosen
            .cluster
            .members
            .iter()
            .map(|(name, member)| async move { (name.clone(), self.client.status(&member.agent).await) });
        futures::future::join_all(asked).await.into_iter().collect()
    }

    /// Who holds the lease, as those say who answer.
    pub async fn holder(&self) -> Result<String, Failure> {
        let answers = self.everybody().await;
        let lease =
            answers.values().flatten().filter_map(|status| status.lease.as_ref()).max_by_key(|lease| lease.epoch);
        lease.map(|lease| lease.holder.to_string()).ok_or_else(|| match answers.values().any(Result::is_ok) {
            true => Failure::new(FailureKind::NotFound, format!("cluster {} has no primary yet", self.chosen.name))
                .with_hint(format!("lifeboat cluster bootstrap {} --member NAME", self.chosen.name)),
            false => {
                Failure::new(FailureKind::Unavailable, format!("no agent of cluster {} answers", self.chosen.name))
                    .with_hint("is `lifeboat agent` running on its members, and the address right?")
            }
        })
    }

    async fn tell(&self, member: &str, asked: Asked, output: &Output) -> Result<(), Failure> {
        let config = super::find_named("member", member, &self.chosen.cluster.members)?;
        let begun = Instant::now();
        let answered = self.client.command(&config.agent, &asked).await?;
        if !answered.done {
            return Err(Failure::new(FailureKind::CheckFailed, answered.text)
                .with_hint(format!("lifeboat cluster status {}", self.chosen.name)));
        }
        if output.is_json() {
            let seconds = begun.elapsed().as_secs_f64();
            return output.document(&json!({ "cluster": self.chosen.name, "text": answered.text, "seconds": seconds }));
        }
        output.text(&format!("{} ({})", answered.text, human::duration(begun.elapsed())))
    }

    /// The lease is taken before the promotion: who looks next shouldn't find nobody.
    async fn until_there_is_a_primary(&self) {
        for _ in 0..PROMOTION_LOOKS {
            if status::primary(&self.everybody().await).is_some() {
                return;
            }
            tokio::time::sleep(PROMOTION_LOOK_INTERVAL).await;
        }
    }

    /// Who is the first primary waits for standbys that aren't there yet: nobody should find that out by a commit that hangs.
    async fn tell_whether_commits_wait(&self, member: &str, output: &Output) {
        let Some(config) = self.chosen.cluster.members.get(member) else { return };
        let Ok(status) = self.client.status(&config.agent).await else { return };
        if status.commits_wait {
            let quorum = status.lease.map(|lease| lease.quorum).unwrap_or_default();
            output.warn(&format!("commits wait for {quorum}: until enough of them follow, no write is acknowledged"));
            output.hint("`lifeboat standby create` makes them; `lifeboat cluster status` shows who follows");
        }
    }

    /// Any member can do it: the primary may be dead.
    async fn tell_anybody(&self, asked: Asked, output: &Output) -> Result<(), Failure> {
        let answers = self.everybody().await;
        let first = answers.iter().find_map(|(name, answer)| answer.is_ok().then_some(name));
        match first {
            Some(name) => self.tell(name, asked, output).await,
            None => self.holder().await.map(|_| ()),
        }
    }
}

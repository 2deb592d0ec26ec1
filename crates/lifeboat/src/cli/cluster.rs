//! What can be typed about clusters.

use clap::{Args, Subcommand};
use std::time::Duration;

/// Which cluster, and of whom it is asked.
#[derive(Debug, Clone, Args)]
pub struct ClusterArguments {
    /// The cluster, when the configuration has several
    pub cluster: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Who is the primary, who follows how closely, and what would be lost if the primary went now
    ///
    /// Asks every agent. Exit code 4 when there is no primary, or a member doesn't answer or follow.
    Status(ClusterArguments),
    /// Make a member the first primary of a new cluster
    ///
    /// Once in a cluster's life. Its server must run; the others become its standbys.
    Bootstrap {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// The member [default: this machine's]
        #[arg(long, value_name = "MEMBER")]
        member: Option<String>,
    },
    /// Hand over to a standby in good order: nothing is lost, clients of the proxy wait
    #[command(
        after_help = "Examples:\n  lifeboat cluster switchover shop\n  lifeboat cluster switchover shop --to ohio"
    )]
    Switchover {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// The next primary [default: the best there is]
        #[arg(long, value_name = "MEMBER")]
        to: Option<String>,
    },
    /// Let a standby take over although the primary didn't hand over
    ///
    /// Says first what would be lost. Where acknowledged writes may be lost, --force is needed.
    #[command(after_help = "Example:\n  lifeboat cluster failover shop --to ohio")]
    Failover {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// Who takes over
        #[arg(long, value_name = "MEMBER")]
        to: String,
        /// Accept that acknowledged writes are lost
        #[arg(long)]
        force: bool,
    },
    /// Go back to the preferred member after a takeover: in good order, when it has caught up
    ///
    /// The preferred one has the highest `priority`. Waits first until every member follows, as `reprotect` does.
    #[command(
        after_help = "Examples:\n  lifeboat cluster failback shop\n  lifeboat cluster failback shop --to virginia"
    )]
    Failback {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// Where to [default: the member with the highest priority]
        #[arg(long, value_name = "MEMBER")]
        to: Option<String>,
        #[command(flatten)]
        patience: Patience,
    },
    /// Make every member follow the present primary, and wait until nothing would be lost if that went too
    ///
    /// After a takeover. Exit code 4, with what hinders whom, when it isn't so in time.
    #[command(
        after_help = "Examples:\n  lifeboat cluster reprotect shop\n  lifeboat cluster reprotect shop --anew --wait 2h"
    )]
    Reprotect {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// Members that can't follow with the data they have are made anew: from the repository, or the primary
        #[arg(long)]
        anew: bool,
        #[command(flatten)]
        patience: Patience,
    },
    /// Make one member follow again: what failed is tried again at once
    ///
    /// What only it had is put aside first. With --anew its data is made anew whatever it is; the old directory stays beside it.
    #[command(
        after_help = "Examples:\n  lifeboat cluster rejoin shop --member ohio\n  lifeboat cluster rejoin shop --member ohio --anew"
    )]
    Rejoin {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// The member
        #[arg(long, value_name = "MEMBER")]
        member: String,
        /// Make its data anew: from the repository if it has recovery points, else from the primary
        #[arg(long)]
        anew: bool,
        #[command(flatten)]
        patience: Patience,
    },
    /// Work at one member: nobody waits for it, it takes over from nobody, what stops there stays stopped
    ///
    /// Survives restarts of its agent. The primary hands over first: `switchover`.
    #[command(
        after_help = "Examples:\n  lifeboat cluster maintenance shop --member ohio\n  lifeboat cluster maintenance shop --member ohio --end"
    )]
    Maintenance {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// The member
        #[arg(long, value_name = "MEMBER")]
        member: String,
        /// It is at work again
        #[arg(long)]
        end: bool,
    },
    /// No takeovers until `resume`, whatever happens: for maintenance of the lease store
    Pause(ClusterArguments),
    /// Takeovers happen by themselves again
    Resume(ClusterArguments),
}

/// How long something may take that copies data.
#[derive(Debug, Args)]
pub struct Patience {
    /// Give up waiting after this; what was begun goes on
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub wait: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text).ok_or_else(|| "expected a duration such as 30s, 10m, 2h".to_owned())
}

impl ClusterCommand {
    /// The cluster that was named.
    pub fn cluster(&self) -> Option<&str> {
        match self {
            Self::Status(cluster) | Self::Pause(cluster) | Self::Resume(cluster) => cluster,
            Self::Bootstrap { cluster, .. } | Self::Switchover { cluster, .. } | Self::Failover { cluster, .. } => {
                cluster
            }
            Self::Failback { cluster, .. } | Self::Reprotect { cluster, .. } => cluster,
            Self::Rejoin { cluster, .. } | Self::Maintenance { cluster, .. } => cluster,
        }
        .cluster
        .as_deref()
    }
}

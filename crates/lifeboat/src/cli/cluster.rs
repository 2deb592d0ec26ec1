//! What can be typed about clusters.

use clap::{Args, Subcommand};

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
    /// No takeovers until `resume`, whatever happens: for maintenance
    Pause(ClusterArguments),
    /// Takeovers happen by themselves again
    Resume(ClusterArguments),
}

impl ClusterCommand {
    /// The cluster that was named.
    pub fn cluster(&self) -> Option<&str> {
        match self {
            Self::Status(cluster) | Self::Pause(cluster) | Self::Resume(cluster) => cluster,
            Self::Bootstrap { cluster, .. } | Self::Switchover { cluster, .. } | Self::Failover { cluster, .. } => {
                cluster
            }
        }
        .cluster
        .as_deref()
    }
}

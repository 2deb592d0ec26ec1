//! What can be typed about the ledger.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Whether every entry is there, whole, signed, and in its place
    ///
    /// Exit code 6 when one was changed, removed, moved or slipped in, 4 when there is a doubt (a location lacks entries, two heads), 3 when
    /// there is no entry. With --url no configuration is needed.
    #[command(
        after_help = "Examples:\n  lifeboat ledger verify                      every location, against each other\n  \
        lifeboat ledger verify --from ohio --head 5f0c99ab\n  \
        lifeboat ledger verify --url file:///mnt/copy --public-key key.json"
    )]
    Verify(LedgerVerifyArguments),
    /// The entries, newest last
    List {
        /// Only of this kind, such as drill or incident; more than one can be given
        #[arg(long, value_name = "KIND")]
        kind: Vec<String>,
        /// All, not just the last 20
        #[arg(long)]
        all: bool,
    },
    /// One entry, with all that it says
    Show {
        /// Its number, its hash, or how the hash begins
        id: String,
    },
    /// The public key, to be kept elsewhere: with it anybody can verify
    Key,
    /// Bring every location the entries that others have
    Sync,
}

#[derive(Debug, Args)]
pub struct LedgerVerifyArguments {
    /// Look at this location only; more than one can be given [default: all]
    #[arg(long, value_name = "LOCATION", conflicts_with = "url")]
    pub from: Vec<String>,
    /// Look at this place, without a configuration; more than one can be given. Credentials as the cloud's own tools find them
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    /// Where the store of --url speaks elsewhere, such as http://127.0.0.1:9000
    #[arg(long, value_name = "URL", requires = "url")]
    pub endpoint: Option<String>,
    /// The public key, as `lifeboat ledger key` shows it, or a file with it [default: that of the configuration]
    #[arg(long, value_name = "HEX|FILE")]
    pub public_key: Option<String>,
    /// The hash of an entry that must be there, or how it begins: from a report, or the end of a drill
    #[arg(long, value_name = "HASH")]
    pub head: Vec<String>,
}

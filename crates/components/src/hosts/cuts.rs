//! Lines between hosts that are cut: packets are thrown away where they arrive or leave, and nobody is told.

use super::Host;
use crate::command::run;
use anyhow::{Context, Result};
use std::process::Command;

/// What isn't let through any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// What comes.
    Incoming,
    /// What goes.
    Outgoing,
    Both,
}

impl Cut {
    fn hooks(self) -> &'static [(&'static str, &'static str, &'static str)] {
        const INCOMING: (&str, &str, &str) = ("input", "saddr", "iifname");
        const OUTGOING: (&str, &str, &str) = ("output", "daddr", "oifname");
        match self {
            Self::Incoming => &[INCOMING],
            Self::Outgoing => &[OUTGOING],
            Self::Both => &[INCOMING, OUTGOING],
        }
    }
}

impl Host {
    /// Cuts the host off from everybody.
    ///
    /// # Errors
    /// When `nft` can't.
    pub fn cut_off(&self, cut: Cut) -> Result<()> {
        for (hook, _, interface) in cut.hooks() {
            self.rule(hook, &[*interface, "!=", "lo", "drop"])?;
        }
        Ok(())
    }

    /// Cuts the host off from one address. One direction alone is `Incoming` here or `Outgoing` here.
    ///
    /// # Errors
    /// When `nft` can't.
    pub fn cut_off_from(&self, address: &str, cut: Cut) -> Result<()> {
        for (hook, side, _) in cut.hooks() {
            self.rule(hook, &["ip", *side, address, "drop"])?;
        }
        Ok(())
    }

    /// No connection from here to that port of that address: what goes there isn't let out.
    ///
    /// # Errors
    /// When `nft` can't.
    pub fn cut_off_from_port(&self, address: &str, port: u16) -> Result<()> {
        self.rule("output", &["ip", "daddr", address, "tcp", "dport", &port.to_string(), "drop"])
    }

    /// Everything goes through again.
    ///
    /// # Errors
    /// When `nft` can't.
    pub fn heal(&self) -> Result<()> {
        self.nft(&["flush", "ruleset"])
    }

    fn rule(&self, hook: &str, words: &[&str]) -> Result<()> {
        self.nft(&["add", "table", "inet", "cuts"])?;
        let chain = format!("{{ type filter hook {hook} priority 0 ; }}");
        self.nft(&["add", "chain", "inet", "cuts", hook, &chain])?;
        self.nft(&[&["add", "rule", "inet", "cuts", hook], words].concat())
    }

    fn nft(&self, words: &[&str]) -> Result<()> {
        let mut command: Command = self.command("nft".as_ref());
        run(command.args(words)).context("cut a line (is this kernel without nf_tables?)")?;
        Ok(())
    }
}

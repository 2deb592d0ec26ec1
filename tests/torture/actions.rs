//! What the program is told to do, and which exit codes are right for it.

use crate::model::Model;
use crate::places::NAMES;
use crate::random::Random;
use crate::world::{Ran, Running, World};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, SystemTime};

/// Lines for the section of the workload that make backups read less than they do by themselves, or everything. Each backup
/// may be made with one of them.
const ACCELERATORS: &[&str] = &["unchanged_files = \"skip\"", "changed_blocks = \"read\""];

/// How much older the stores show what was written before a step: longer than `prune_after`.
const AGED_BY: Duration = Duration::from_secs(2 * 3600);
const DAY_SECONDS: u64 = 24 * 3600;

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Backup { kind: &'static str, accelerator: Option<&'static str> },
    Prune { keep: Keep, is_dry: bool },
    Copy { from: &'static str, to: &'static str },
    Verify { level: &'static str, from: Option<&'static str> },
}

/// A policy, in seconds instead of days: the clock of the command is ahead by a day less `young`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    last: u64,
    /// What is younger (in seconds) is never given up.
    young: u64,
    /// Every moment of so many seconds stays reachable; older points keep only the log that they need.
    window: Option<u64>,
}

/// What the world was like while it ran.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// Places that didn't work, or stopped meanwhile.
    pub broken: Vec<&'static str>,
    /// Where an object is damaged.
    pub damaged: Option<&'static str>,
    /// The server was killed.
    pub crashed: bool,
    /// Databases came, went or moved: then a backup is to be taken again.
    pub moved: bool,
    /// Nobody received the log for a moment.
    pub unheard: bool,
    /// What else ran.
    pub others: Vec<Action>,
}

impl Action {
    pub fn random(random: &mut Random) -> Self {
        match random.below(100) {
            0..45 => {
                let kind = random.weighted(&[(60, "incr"), (20, "diff"), (20, "full")]);
                let accelerator = if random.chance(35) { random.pick(ACCELERATORS).copied() } else { None };
                Self::Backup { kind, accelerator }
            }
            45..65 => {
                let window = if random.chance(25) { Some(30 + random.below(60)) } else { None };
                let keep = Keep { last: 1 + random.below(3), young: 10 + random.below(30), window };
                Self::Prune { keep, is_dry: random.chance(15) }
            }
            65..80 => {
                let from = random.below(3) as usize;
                let to = (from + 1 + random.below(2) as usize) % 3;
                Self::Copy { from: NAMES[from], to: NAMES[to] }
            }
            _ => {
                let level = random.weighted(&[(40, "--quiet"), (45, "--data"), (15, "--boot")]);
                let from = if random.chance(30) { random.pick(&NAMES).copied() } else { None };
                Self::Verify { level, from }
            }
        }
    }

    /// A prune that gives up most, with a clock that makes nearly everything old.
    pub fn thorough_prune(random: &mut Random) -> Self {
        let keep = Keep { last: 1 + random.below(2), young: 5 + random.below(15), window: None };
        Self::Prune { keep, is_dry: false }
    }

    /// A word for counting.
    pub fn name(self) -> &'static str {
        match self {
            Self::Backup { kind: "full", .. } => "backup full",
            Self::Backup { kind: "diff", .. } => "backup diff",
            Self::Backup { .. } => "backup incr",
            Self::Prune { is_dry: true, .. } => "prune --dry-run",
            Self::Prune { .. } => "prune",
            Self::Copy { .. } => "copy",
            Self::Verify { level: "--data", .. } => "verify --data",
            Self::Verify { level: "--boot", .. } => "verify --boot",
            Self::Verify { .. } => "verify",
        }
    }

    pub fn is_prune(self) -> bool {
        matches!(self, Self::Prune { is_dry: false, .. })
    }

    /// About how long it takes: a random moment to kill it lies within.
    pub fn usual(self) -> Duration {
        Duration::from_millis(match self {
            Self::Backup { .. } => 2500,
            Self::Prune { .. } => 2000,
            Self::Copy { .. } => 800,
            Self::Verify { level: "--boot", .. } => 6000,
            Self::Verify { .. } => 1500,
        })
    }

    /// Starts it. `number` keeps the configurations of two at once apart; nothing else ran before `step_begun`.
    pub fn start(self, world: &World, number: usize, step_begun: SystemTime) -> Result<Running> {
        let configuration = format!("action-{number}.toml");
        match self {
            Self::Backup { kind, accelerator } => {
                world.configure(&configuration, accelerator.unwrap_or_default())?;
                world.spawn(&configuration, &["backup", "shop", "--type", kind, "--json"], None)
            }
            Self::Prune { keep, is_dry } => {
                let window = keep.window.map(|window| format!(", window = \"{}s\"", DAY_SECONDS - keep.young + window));
                let window = window.unwrap_or_default();
                world.configure(&configuration, &format!("keep = {{ last = {}{window} }}", keep.last))?;
                if !is_dry {
                    world.places.age(whole_second(step_begun), AGED_BY)?;
                }
                let arguments = ["prune", "--json", "--dry-run"];
                let arguments = if is_dry { &arguments[..] } else { &arguments[..2] };
                world.spawn(&configuration, arguments, Some(DAY_SECONDS - keep.young))
            }
            Self::Copy { from, to } => {
                world.configure(&configuration, "")?;
                world.spawn(&configuration, &["copy", "--from", from, "--to", to, "--json"], None)
            }
            Self::Verify { level, from } => {
                let check = "check = [\"select count(*) >= 0 from twophase\"]";
                world.configure(&configuration, check)?;
                let mut arguments = vec!["verify", "shop", "--json", level];
                arguments.extend(from.iter().flat_map(|from| ["--from", from]));
                world.spawn(&configuration, &arguments, None)
            }
        }
    }

    /// What the model must know before it runs: what a policy may give up.
    pub fn announce(self, model: &mut Model, now: u64) {
        if let Self::Prune { keep: Keep { window: Some(window), .. }, is_dry: false } = self {
            model.given_up_before = model.given_up_before.max(now.saturating_sub(window * 1_000_000));
        }
    }

    /// Whether it ended as it should have. Not for one that was killed.
    pub fn judge(self, ran: &Ran, around: &Circumstances) -> Result<()> {
        let code = ran.code.with_context(|| format!("it was ended by a signal: {ran:#?}"))?;
        let right = self.right_codes(around);
        ensure!(right.contains(&code), "exit code {code}, right would be one of {right:?} ({around:?}): {ran:#?}");
        if code == 0 {
            ran.json()?;
        }
        match self {
            Self::Backup { .. } if code == 0 => {
                let document = ran.json()?;
                ensure!(document["pages_bad"] == 0, "pages of a sound cluster were called bad: {document}");
                ensure!(document["workload"] == "shop" && document["point"].is_string(), "{document}");
                Ok(())
            }
            Self::Verify { from, .. } => judge_verify(ran, code, from, around),
            Self::Prune { is_dry, .. } if code == 0 => {
                let document = ran.json()?;
                ensure!(document["dry_run"] == is_dry, "{document}");
                let locations = document["locations"].as_array().context("locations")?;
                let is_idle = |location: &serde_json::Value| location["deleted"]["points"] == serde_json::json!([]);
                ensure!(!is_dry || locations.iter().all(is_idle), "a dry run deleted something: {document}");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn right_codes(self, around: &Circumstances) -> Vec<i32> {
        let is_broken = |name: &str| around.broken.contains(&name);
        let prunes = around.others.iter().any(|other| other.is_prune());
        let mut right = match self {
            Self::Backup { .. } => vec![0],
            Self::Prune { .. } | Self::Copy { .. } => vec![0, 5],
            // 4: what isn't where it should be, such as log that is on its way.
            Self::Verify { .. } => vec![0, 4, 5],
        };
        match self {
            Self::Backup { .. } => {
                if around.others.iter().any(|other| matches!(other, Self::Backup { .. })) {
                    right.push(7);
                }
                // A prune may have marked what this one builds on: then it is to be run again.
                // And a place that is away lacks what the others got.
                let is_somewhere_only = !around.broken.is_empty() || around.damaged.is_some();
                if is_somewhere_only || prunes || around.crashed || around.unheard || around.moved {
                    right.push(5);
                }
            }
            Self::Prune { .. } if around.broken.is_empty() && around.others.is_empty() => right = vec![0],
            Self::Copy { from, to } if !is_broken(from) && !is_broken(to) && !prunes => right = vec![0],
            // A directory that is away isn't found.
            Self::Copy { .. } => right.push(3),
            // Or it lets nobody in: to start a point from it, that is said as what it is.
            Self::Verify { level: "--boot", from: Some(from) } if is_broken(from) => right.extend([3, 7]),
            Self::Verify { from: Some(from), .. } if is_broken(from) => right.push(3),
            Self::Verify { .. } if around.broken.is_empty() && around.others.is_empty() => right = vec![0, 4],
            _ => {}
        }
        if around.damaged.is_some() && matches!(self, Self::Prune { .. } | Self::Copy { .. } | Self::Verify { .. }) {
            right.extend([4, 5, 6]);
        }
        right
    }
}

fn judge_verify(ran: &Ran, code: i32, from: Option<&str>, around: &Circumstances) -> Result<()> {
    let document = ran.json()?;
    // When no location could be looked at, there is only an error.
    if document["bad"].is_null() {
        let is_away = from.is_some_and(|from| around.broken.contains(&from));
        let is_right = code == 5 || (matches!(code, 3 | 7) && is_away);
        ensure!(is_right && document["error"]["code"] == code, "no result, and exit code {code}: {ran:#?}");
        return Ok(());
    }
    let bad = document["bad"].as_array().context("bad")?;
    for one in bad {
        let place = one["location"].as_str().unwrap_or_default();
        // A place that is away is bad as a whole.
        let mut is_right = around.damaged == Some(place) || around.broken.contains(&place);
        // One that is behind can't know by itself that another fills its hole.
        let lacks_log = ["has a hole", "write-ahead log is missing"];
        is_right |=
            from.is_some() && lacks_log.iter().any(|words| one["what"].as_str().unwrap_or_default().contains(words));
        ensure!(is_right, "called bad, and nobody damaged it: {one} {ran:#?}");
    }
    ensure!(code == 4 || bad.is_empty(), "something is bad, and yet exit code {code}: {document}");
    let boot = &document["boot"];
    // From a place that stops answering in the middle of it nothing can be rehearsed.
    let may_fail = from.is_some_and(|from| around.broken.contains(&from));
    ensure!(!boot.is_object() || boot["passed"] == true || may_fail, "a rehearsal failed: {document}");
    Ok(())
}

fn whole_second(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

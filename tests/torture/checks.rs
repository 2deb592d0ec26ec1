//! After each step: what is said to be reachable is, from a place alone or from all, and what must be is said to be.

use crate::ledger::{Moment as At, lsn_text, time_text};
use crate::model::{Model, Moment, Point, Reachable, Window, text};
use crate::places::NAMES;
use crate::random::Random;
use crate::tally::Tally;
use crate::world::{World, end_of, start_to_the_end};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// What is asked for, and which rows of other clients must be there then.
#[derive(Debug, Clone)]
pub struct Target {
    pub arguments: Vec<String>,
    pub ledger_at: At,
    pub kind: &'static str,
}

impl Target {
    fn new(kind: &'static str, arguments: &[&str], ledger_at: At) -> Self {
        Self { arguments: arguments.iter().map(|word| (*word).to_owned()).collect(), ledger_at, kind }
    }

    /// One of the ways to ask for a moment that lies in a window.
    pub fn random(moment: &Moment, window: &Window, random: &mut Random) -> Self {
        let (until_lsn, until_at) = moment.until.unwrap_or((moment.lsn + 1, moment.at + 1));
        let mut ways = Vec::new();
        let lsn = moment.lsn + random.below(until_lsn.min(window.lsn_to).saturating_sub(moment.lsn) + 1);
        ways.push(Self::new("--lsn", &["--lsn", &lsn_text(lsn), "--exclusive"], At::Lsn(lsn)));
        // On another line that leaves this one the same position may be another state.
        let is_own = window.timeline == moment.timeline;
        let last_at = until_at.saturating_sub(1).min(window.to);
        if moment.at.max(window.from) < last_at && is_own {
            let first = moment.at.max(window.from);
            let at = first + random.below(last_at - first);
            let way = Self::new("--at", &["--at", &time_text(at)], At::Time(at));
            ways.extend([way.clone(), way]);
        }
        if let Some((name, lsn)) = moment.name.as_ref().filter(|(_, lsn)| *lsn < window.lsn_to && is_own) {
            ways.push(Self::new("--name", &["--name", name], At::Lsn(*lsn)));
        }
        if let Some(xid) = moment.xid.filter(|_| is_own && moment.begun_lsn >= window.lsn_from) {
            ways.push(Self::new("--xid", &["--xid", &xid.to_string()], At::Between(moment.begun_lsn, moment.lsn)));
        }
        ways.swap_remove(random.below(ways.len() as u64) as usize)
    }
}

/// What `points` says, over all places or one.
pub fn reachable(world: &World, from: Option<&str>) -> Result<Reachable> {
    let mut arguments = vec!["points", "shop", "--json"];
    arguments.extend(from.iter().flat_map(|from| ["--from", from]));
    let ran = world.run(&arguments)?.must_end(&[0])?;
    Reachable::of(&ran.json()?).with_context(|| format!("{ran:#?}"))
}

/// What must be reachable is in a window, and no window promises what isn't archived. To be asked only while every place can be read.
pub fn nothing_is_missing(model: &Model, found: &Reachable) -> Result<()> {
    let missing = model.missing(found);
    let lost = model.promised_too_much(found);
    ensure!(lost.is_empty(), "acknowledged in a window, and not in its log: {lost:#?}");
    ensure!(missing.is_empty(), "archived and after a point, and yet in no window: {missing:?}\nfound: {found:#?}");
    Ok(())
}

/// Restores something from somewhere and compares it. Returns what was done, in a few words.
pub async fn restore_something(world: &World, model: &Model, random: &mut Random, tally: &mut Tally) -> Result<String> {
    let whole: Vec<&str> = NAMES
        .iter()
        .copied()
        .filter(|name| world.places.is_readable(name))
        .filter(|name| world.places.damage.as_ref().is_none_or(|damage| damage.place != *name))
        .collect();
    let from = if random.chance(50) { random.pick(&whole).copied() } else { None };
    let found = reachable(world, from)?;
    let usable: Vec<&Point> = found
        .points
        .iter()
        .filter(|point| point.is_usable && from.is_none_or(|from| point.locations.iter().any(|name| name == from)))
        .collect();
    let as_is = random.pick(&usable).and_then(|point| Some((*point, model.at_point(point)?)));
    if let Some((point, moment)) = as_is.filter(|_| random.chance(35)) {
        let mut target = Target::new("--immediate", &["--immediate", "--point", &point.id], At::Lsn(point.lsn_stop));
        target.arguments.extend(with_from(from));
        return restore(world, model, moment, &target, from, random, tally).await;
    }
    let Some((moment, window)) = model.choose(&found, random) else {
        tally.count("nothing to restore");
        return Ok(format!("nothing reachable from {from:?}"));
    };
    let mut target = Target::random(moment, window, random);
    target.arguments.extend(["--timeline".to_owned(), window.timeline.to_string()]);
    target.arguments.extend(with_from(from));
    restore(world, model, moment, &target, from, random, tally).await
}

/// From the very place that is damaged: it may be refused, and the server may refuse to go on; what comes up must be exact.
pub async fn restore_from_damaged(world: &World, model: &Model, random: &mut Random, tally: &mut Tally) -> Result<()> {
    let Some(place) = world.places.damage.as_ref().map(|damage| damage.place) else { return Ok(()) };
    let ran = world.run(&["points", "shop", "--json", "--from", place])?;
    if ran.code != Some(0) {
        return ran.must_end(&[3, 5, 6]).map(drop);
    }
    let found = Reachable::of(&ran.json()?)?;
    let Some((moment, window)) = model.choose(&found, random) else { return Ok(()) };
    let mut target = Target::random(moment, window, random);
    target.arguments.extend(["--timeline".to_owned(), window.timeline.to_string()]);
    target.arguments.extend(with_from(Some(place)));
    let (mut copy, code) = bring(world, &target.arguments, None, tally, &[0, 3, 6])?;
    if code != 0 {
        tally.count("restores from a damaged place that were refused");
        return Ok(());
    }
    if start_to_the_end(&mut copy).await.is_err() {
        tally.count("restores from a damaged place that didn't come up");
        return Ok(());
    }
    let compared = model.compare(&copy, moment, target.ledger_at).await;
    tally.count("restores from a damaged place that were exact all the same");
    compared.with_context(|| format!("restored {:?} from a damaged place", target.arguments))
}

/// PostgreSQL looks for the state of a prepared transaction in `pg_wal`, under the name that the segment has on the timeline
/// it replays. When that timeline ends in the same segment, the archive gave it the next timeline's, and recovery ends.
fn is_of_postgresql(log: &str) -> bool {
    let lines: Vec<&str> = log.lines().collect();
    lines.windows(2).any(|pair| {
        pair[0].contains("FATAL:  requested WAL segment pg_wal/")
            && pair[0].contains("has already been removed")
            && pair[1].contains("WAL redo")
            && pair[1].contains("XLOG/CHECKPOINT_SHUTDOWN")
    })
}

fn with_from(from: Option<&str>) -> Vec<String> {
    from.iter().flat_map(|from| ["--from".to_owned(), (*from).to_owned()]).collect()
}

/// All of it, from one place or from all: what the last moment holds.
pub async fn restore_latest(
    world: &World,
    model: &Model,
    from: Option<&str>,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<String> {
    let moment = model.moments.last().context("there is a moment")?;
    let mut target = Target::new("latest", &["--timeline", &model.timeline.to_string()], At::End);
    target.arguments.extend(with_from(from));
    restore(world, model, moment, &target, from, random, tally).await
}

async fn restore(
    world: &World,
    model: &Model,
    moment: &Moment,
    target: &Target,
    from: Option<&str>,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<String> {
    let shown = format!(
        "moment {} (timeline {}, {}) by {:?}",
        moment.number,
        moment.timeline,
        text(moment.lsn),
        target.arguments
    );
    let kill_after = random.chance(12).then(|| Duration::from_millis(random.below(1200)));
    let is_deep = random.chance(20);
    let (mut copy, _) = bring(world, &target.arguments, kill_after, tally, &[0]).with_context(|| shown.clone())?;
    let outcome = async {
        start_to_the_end(&mut copy).await?;
        model.compare(&copy, moment, target.ledger_at).await?;
        if is_deep {
            tally.count("looked into with pg_checksums and pg_amcheck");
            must_be_sound(&mut copy, world.shape.checksums)?;
        }
        Ok::<_, anyhow::Error>(())
    };
    if let Err(error) = outcome.await {
        let _ = copy.stop(Shutdown::Immediate);
        if is_of_postgresql(&copy.log()) {
            tally.count("recoveries that PostgreSQL itself can't do: a transaction prepared where a timeline ends");
            return Ok(shown);
        }
        let kept = world.path("failed-copy");
        let _ = std::process::Command::new("cp").arg("-a").arg(copy.directory()).arg(&kept).status();
        return Err(error.context(format!(
            "restored {shown}; kept in {}; its log ends:\n{}",
            kept.display(),
            end_of(&copy.log())
        )));
    }
    tally.restored(target.kind, from);
    Ok(shown)
}

/// Restores beside the original, perhaps killed once, and doesn't start it. With the exit code, one of those that are right.
fn bring(
    world: &World,
    target: &[String],
    kill_after: Option<Duration>,
    tally: &mut Tally,
    right: &[i32],
) -> Result<(TestCluster, i32)> {
    let spaces = tally.restores();
    let mut code = None;
    let copy = TestCluster::builder(world.shape.major).adopt(|data| {
        world.cluster.give_to_server(data)?;
        fs::set_permissions(data, Permissions::from_mode(0o700))?;
        let mut arguments: Vec<String> = ["restore", "shop", "--json", "--to"].map(str::to_owned).to_vec();
        arguments.push(data.display().to_string());
        for (oid, place) in &world.spaces {
            let name = place.file_name().unwrap_or_default().to_string_lossy();
            let place = world.make_directory(&format!("spaces/{name}-{spaces}"))?;
            arguments.extend(["--tablespace".to_owned(), format!("{oid}={}", place.display())]);
        }
        arguments.extend_from_slice(target);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if let Some(moment) = kill_after {
            let mut running = world.spawn("lifeboat.toml", &arguments, None)?;
            // The moment is the fault that is injected: nothing is waited for.
            std::thread::sleep(moment);
            let ran = running.kill()?;
            tally.ran("restore", ran.code);
            if ran.code.is_some() {
                code = ran.code;
                return ran.must_end(right).map(drop);
            }
        }
        let ran = world.run(&arguments)?;
        tally.ran("restore", ran.code);
        code = ran.code;
        ran.must_end(right)?.json().map(drop)
    })?;
    Ok((copy, code.context("it ended with a code")?))
}

/// Every page and every index, as far as the version's programs are installed.
fn must_be_sound(copy: &mut TestCluster, has_checksums: bool) -> Result<()> {
    let has = |copy: &TestCluster, program: &str| copy.programs().join(program).is_file();
    if has_checksums && has(copy, "pg_checksums") {
        copy.stop(Shutdown::Fast)?;
        let output = copy.command("pg_checksums").arg("--check").arg("-D").arg(copy.data_dir()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "pg_checksums says: {}", end_of(&said));
        copy.start()?;
    }
    if has(copy, "pg_amcheck") {
        let mut command = copy.command("pg_amcheck");
        command.arg("-h").arg(copy.directory()).args(["-p", &copy.port().to_string(), "-U", "postgres"]);
        let output = command.args(["--all", "--install-missing", "--heapallindexed", "--jobs", "2"]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pg_amcheck says: {}", end_of(&said));
    }
    Ok(())
}

/// What can't be reached is refused, and nothing is made.
pub fn refuses_the_future(world: &World, tally: &mut Tally) -> Result<()> {
    let to = world.path("never");
    let at = time_text(crate::ledger::now() + 3_600_000_000);
    let ran = world.run(&["restore", "shop", "--to", &to.display().to_string(), "--at", &at])?.must_end(&[3])?;
    ensure!(!to.exists() && ran.stderr.contains("hint:"), "{ran:#?}");
    tally.count("refused");
    Ok(())
}

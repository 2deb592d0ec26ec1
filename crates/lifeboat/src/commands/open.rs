//! `lifeboat open` and `lifeboat close`: ask a moment of the past, in a server of its own that is thrown away afterwards.

use super::served::detach::{self, Interrupted, Outcome};
use super::served::status::{Asked, Status, ask, tell};
use super::served::{Past, Seat, Wanting, must_mount};
use super::{find_named, load_config};
use crate::cli::{CloseArguments, Global, MomentArguments, OpenArguments};
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone};
use crate::{interrupt, rooms, target};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_mount::control::Command;
use lifeboat_mount::mount::{State, state_of};
use lifeboat_postgres::TimelineId;
use lifeboat_recovery::TimelineChoice;
use lifeboat_repository::PointId;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long one that was told to close may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(120);

pub fn open(global: &Global, arguments: &OpenArguments, output: &Output) -> Result<(), Failure> {
    let Some(workload) = &arguments.workload else { return list(output) };
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    find_named("workload", workload, &config.workloads)?;
    let wanting = wanting(&arguments.moment, arguments.writable, &config)?;
    if arguments.detached {
        detach::let_go();
        let serve = serve(&config, &config_path, workload, wanting, arguments.called.as_deref(), output);
        return rooms::runtime()?.block_on(serve);
    }
    must_mount()?;
    rooms::runtime()?.block_on(Seat::clear_dead(output))?;
    let seat = match &arguments.called {
        Some(name) => Seat::named(name)?,
        None => Seat::free(workload)?.0,
    };
    if seat.exists() {
        return Err(Failure::new(FailureKind::Locked, format!("{} is open already", seat.name))
            .with_hint(format!("`lifeboat open` lists what is; `lifeboat close {}` closes it", seat.name)));
    }
    let more = if arguments.called.is_none() { vec!["--as".into(), seat.name.clone().into()] } else { Vec::new() };
    let is_enough = |status: &Status| status.first_query_seconds.is_some();
    match detach::detach(&config, &seat.data_dir(), more, output, Interrupted::Ends, is_enough)? {
        Outcome::Serving(status) if output.is_json() => output.document(&json!({"name": seat.name, "status": status})),
        Outcome::Serving(status) => {
            show(&seat.name, &status, output)?;
            output.hint(&format!("`lifeboat close {}` throws it away", seat.name));
            Ok(())
        }
        Outcome::Ended => {
            Err(Failure::new(FailureKind::Unavailable, format!("{} was closed before it answered", seat.name)))
        }
    }
}

/// What was typed about the moment, understood.
pub fn wanting(arguments: &MomentArguments, writable: bool, config: &Config) -> Result<Wanting, Failure> {
    if let Some(location) = &arguments.from {
        find_named("location", location, &config.locations)?;
    }
    let moment = target::resolve(&arguments.target, Timestamp::now(), &TimeZone::system())?;
    let exclusive = target::stops_before(arguments.exclusive, &moment)?;
    Ok(Wanting {
        target: moment,
        inclusive: !exclusive,
        timeline: arguments.timeline.map_or(TimelineChoice::default(), |id| TimelineChoice::Exactly(TimelineId(id))),
        point: arguments.point.clone().map(PointId),
        location: arguments.from.clone(),
        writable,
        or_copy: false,
    })
}

/// Serves it until somebody closes it, or its server ends.
async fn serve(
    config: &Config,
    config_path: &Path,
    workload: &str,
    wanting: Wanting,
    called: Option<&str>,
    output: &Output,
) -> Result<(), Failure> {
    let mut interrupted = interrupt::signal();
    let seat = Seat::named(called.unwrap_or_default())?;
    let locked = || Failure::new(FailureKind::Locked, format!("{} is open already", seat.name));
    let taken = seat.take()?.filter(|_| !seat.exists()).ok_or_else(locked)?;
    let log = detach::log_file(config, &seat.data_dir())?;
    let past = Past::open(config, config_path, workload, wanting, (seat, taken), (output, interrupted.clone())).await?;
    let mut asked = past.live().asked();
    while past.is_running() {
        tokio::select! {
            _ = interrupted.wait_for(|asked| *asked) => break,
            _ = asked.wait_for(|asked| *asked == Asked::End) => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    past.close().await?;
    // It ended well, and nobody has a question.
    let _ = std::fs::remove_file(log);
    Ok(())
}

fn show(name: &str, status: &Status, output: &Output) -> Result<(), Failure> {
    let answered = status.first_query_seconds.unwrap_or_default();
    let fetched = status.fetched();
    output.text(&format!(
        "{} {name}: {}, {}; answered after {answered:.1} s, {fetched}\n  {}",
        output.paint("open", Tone::Good),
        status.workload,
        status.target,
        status.psql.as_deref().unwrap_or_default(),
    ))
}

fn list(output: &Output) -> Result<(), Failure> {
    rooms::runtime()?.block_on(Seat::clear_dead(output))?;
    // One that is being made, or closed just now, says nothing yet.
    let answers =
        |seat: &Seat| (state_of(&seat.data_dir()) == State::Mounted).then(|| ask(&seat.data_dir()).ok()).flatten();
    let open: Vec<(Seat, Option<Status>)> =
        Seat::all()?.into_iter().map(|seat| (seat.clone(), answers(&seat))).collect();
    if output.is_json() {
        let document = |(seat, status): &(Seat, Option<Status>)| json!({"name": seat.name, "status": status});
        return output.document(&json!({ "open": open.iter().map(document).collect::<Vec<_>>() }));
    }
    if open.is_empty() {
        output.text("nothing is open")?;
    }
    for (seat, status) in &open {
        match status {
            Some(status) => show(&seat.name, status, output)?,
            None => output.text(&format!("{} {}", output.paint("busy", Tone::Warning), seat.name))?,
        }
    }
    Ok(())
}

pub fn close(arguments: &CloseArguments, output: &Output) -> Result<(), Failure> {
    let seats = match &arguments.name {
        Some(name) => vec![Seat::named(name)?],
        None if arguments.all => Seat::all()?,
        None => {
            return Err(Failure::new(FailureKind::Usage, "which one is to be closed?")
                .with_hint("`lifeboat open` lists what is open; --all closes everything"));
        }
    };
    let mut closed = Vec::new();
    for seat in seats {
        if !seat.exists() {
            let message = format!("{} is not open", seat.name);
            return Err(Failure::new(FailureKind::NotFound, message).with_hint("`lifeboat open` lists what is"));
        }
        close_one(&seat, output)?;
        output.text(&format!("{} {}", output.paint("closed", Tone::Good), seat.name))?;
        closed.push(seat.name);
    }
    if output.is_json() {
        output.document(&json!({ "closed": closed }))?;
    }
    Ok(())
}

fn close_one(seat: &Seat, output: &Output) -> Result<(), Failure> {
    let deadline = Instant::now() + CLOSE_PATIENCE;
    let mut is_told = false;
    loop {
        if let Some(taken) = seat.take()? {
            // Whoever lived there has cleared it by now, or never will.
            return rooms::runtime()?.block_on(seat.clear_left(&taken, output));
        }
        if !is_told && state_of(&seat.data_dir()) == State::Mounted {
            tell(&seat.data_dir(), Command::End)?;
            is_told = true;
        }
        if Instant::now() > deadline {
            let message = format!("{} does not close", seat.name);
            return Err(Failure::new(FailureKind::Unavailable, message)
                .with_hint("its server may be waiting for a location: `lifeboat check`; then try again"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

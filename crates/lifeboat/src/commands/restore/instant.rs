//! `lifeboat restore --instant`: the directory is there at once, and what it holds comes when it is read, and in the background.

use super::{absolute, begun, bring_back, bring_home, check_oids};
use crate::cli::RestoreArguments;
use crate::commands::served::status::Live;
use crate::commands::served::{self, Brought, REPLAY_PATIENCE, Service, Started, Wish, unmountable, why_no_mounts};
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::interrupt;
use crate::output::{Output, Tone, human};
use lifeboat_postgres::cluster::{StartOptions, WaitFor};
use lifeboat_recovery::instant::Origin;
use lifeboat_recovery::{Action, Wanted};
use lifeboat_repository::Repository;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub async fn run(
    config: &Config,
    arguments: &RestoreArguments,
    wanted: Wanted,
    tablespaces: BTreeMap<u32, PathBuf>,
    output: &Output,
) -> Result<(), Failure> {
    let to = absolute(arguments.to())?;
    let service = Service { config, workload: arguments.workload(), to, output, begun: Instant::now() };
    let interrupted = interrupt::signal();
    service.clear(&service.to)?;
    let earlier = service.earlier()?;
    if let Some(origin) = &earlier {
        begun::is_what_was_begun(&service.to, origin, &wanted)?;
    }
    if earlier.is_none()
        && let Some(why_not) = why_no_mounts()
    {
        return without_mount(&service, arguments, wanted, tablespaces, why_not).await;
    }
    let repository = service.repository(arguments.from.as_deref()).await?;
    let origin = match earlier {
        Some(origin) => go_on_with(&service, origin),
        None => prepare(&service, &repository, &wanted, tablespaces).await?,
    };
    served::begun::note(config, &service.to);
    let (serving, why_not) = service.serve(&repository, &origin, arguments.from.as_deref()).await?;
    let can_start = match why_not {
        None => {
            let seconds = service.begun.elapsed().as_secs_f64();
            output.hint(&format!("{} is served since {seconds:.1} s: {}", service.to.display(), origin.target));
            arguments.start
        }
        Some(error) if arguments.or_copy => {
            output.warn(&format!("{}: everything is copied first", unmountable(error).sentence()));
            false
        }
        Some(error) => return Err(unmountable(error).with_more_hint("what was made is kept: run it again to go on")),
    };
    let prepared_seconds = service.begun.elapsed().as_secs_f64();
    let live = serving.live.clone();
    let starting = can_start.then(|| start(&service, &repository, &origin, &wanted, Some(&live)));
    let wish = if arguments.finish { Wish::Finish } else { Wish::Serve };
    let (brought, server) = service.go_on(serving, wish, interrupted, starting).await?;
    if brought.is_whole {
        served::begun::forget(config, &service.to);
    }
    let server = match server {
        // Where nothing could be mounted it had to wait for all of it. One that was ended while it started stays so.
        None if arguments.start && !can_start && brought.is_whole => {
            Some(start(&service, &repository, &origin, &wanted, None).await?)
        }
        server => server,
    };
    end(&service, brought, prepared_seconds, server.as_ref())
}

/// Where nothing can be mounted: the ordinary restore, if that is wanted.
async fn without_mount(
    service: &Service<'_>,
    arguments: &RestoreArguments,
    wanted: Wanted,
    tablespaces: BTreeMap<u32, PathBuf>,
    why_not: String,
) -> Result<(), Failure> {
    if !arguments.or_copy {
        return Err(Failure::new(FailureKind::Unavailable, format!("nothing can be mounted here: {why_not}"))
            .with_hint("with --or-copy everything is copied first, and only then the server starts"));
    }
    service.output.warn(&format!("nothing can be mounted here: {why_not}; everything is copied first"));
    bring_back(service.config, arguments, wanted.clone(), tablespaces, service.output).await?;
    if arguments.start {
        let repository = service.repository(arguments.from.as_deref()).await?;
        let found = service.find(&repository, &wanted).await?;
        let server = service.start(&found.point, options(service, &wanted), answers(&wanted)).await?;
        tell_started(service, &server)?;
    }
    Ok(())
}

fn go_on_with(service: &Service<'_>, origin: Origin) -> Origin {
    let (begun, point) = (lifeboat_recovery::spoken(origin.begun_at, None), &origin.point);
    service.output.hint(&format!("goes on with what was begun on {begun} from {point}: {}", origin.target));
    origin
}

async fn prepare(
    service: &Service<'_>,
    repository: &Arc<Repository>,
    wanted: &Wanted,
    tablespaces: BTreeMap<u32, PathBuf>,
) -> Result<Origin, Failure> {
    bring_home(service.config, service.workload, repository, service.output).await?;
    let found = service.find(repository, wanted).await?;
    check_oids(&tablespaces, &found.point)?;
    service.prepare(repository, &found, tablespaces, "instant restore").await
}

fn options(service: &Service<'_>, wanted: &Wanted) -> StartOptions {
    let wait_for = match wanted.action {
        Action::Promote => WaitFor::Primary,
        Action::Pause => WaitFor::RecoveryEndOrPause,
        Action::Shutdown => WaitFor::Nothing,
    };
    StartOptions::new(service.to.join("lifeboat-start.log")).wait_for(wait_for, REPLAY_PATIENCE)
}

fn answers(wanted: &Wanted) -> bool {
    wanted.action != Action::Shutdown
}

async fn start(
    service: &Service<'_>,
    repository: &Arc<Repository>,
    origin: &Origin,
    wanted: &Wanted,
    live: Option<&Arc<Live>>,
) -> Result<Started, Failure> {
    let point = service.point(repository, origin).await?;
    let server = service.start(&point, options(service, wanted), answers(wanted)).await?;
    if let (Some(live), Some(seconds)) = (live, server.first_query_seconds) {
        live.answered(seconds);
    }
    tell_started(service, &server)?;
    Ok(server)
}

fn tell_started(service: &Service<'_>, server: &Started) -> Result<(), Failure> {
    let said = server.first_query_seconds.map_or_else(
        || "the server was started".to_owned(),
        |seconds| format!("the first query was answered after {seconds:.1} s"),
    );
    service.output.text(&format!("{} {}: {said}", service.output.paint("started", Tone::Good), service.to.display()))
}

fn end(
    service: &Service<'_>,
    brought: Brought,
    prepared_seconds: f64,
    server: Option<&Started>,
) -> Result<(), Failure> {
    let (output, seconds) = (service.output, service.begun.elapsed().as_secs_f64());
    if output.is_json() {
        output.document(&json!({
            "workload": service.workload,
            "to": service.to,
            "is_whole": brought.is_whole,
            "files_to_come": brought.files_to_come,
            "bytes_to_come": brought.bytes_to_come,
            "served_after_seconds": prepared_seconds,
            "first_query_seconds": server.and_then(|server| server.first_query_seconds),
            "away_seconds": brought.away_seconds,
            "seconds": seconds,
        }))?;
    }
    if !brought.is_whole {
        let left = human::size(brought.bytes_to_come);
        let failure = Failure::new(FailureKind::Unavailable, format!("interrupted: {left} are still to come"))
            .with_hint("run it again: it goes on where it stopped; until then no server can start there");
        return Err(if output.is_json() { failure.after_its_document() } else { failure });
    }
    if output.is_json() {
        return Ok(());
    }
    let moved = brought.away_seconds.map(|away| {
        let away = Duration::try_from_secs_f64(away).unwrap_or_default();
        format!("; the server was away for {} and runs on an ordinary directory now", human::duration(away))
    });
    output.text(&format!(
        "{} {}: everything is here, {seconds:.1} s{}",
        output.paint("restored", Tone::Good),
        service.to.display(),
        moved.unwrap_or_default()
    ))
}

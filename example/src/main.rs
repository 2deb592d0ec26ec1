//! Virginia, Ohio and a witness on one machine: what a cluster does when a region dies, for everybody to see and to try.
//!
//! `cargo xtask regions` builds and starts it. Real agents, servers and a lease store in network namespaces; nothing here decides anything, it
//! breaks and looks. From what was seen to what is shown is pure (`effect`, `ledger`, `picture`, `drawing`), the world is at the edge.

mod arguments;
mod director;
mod drawing;
mod effect;
mod ending;
mod ledger;
mod look;
mod picture;
mod play;
mod screen;
mod script;
mod stage;
mod traffic;
mod world;

use anyhow::{Context, Result, bail};
use arguments::Arguments;
use director::Director;
use ending::Ending;
use stage::Stage;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let arguments = match arguments::parse(std::env::args().skip(1), is_terminal) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{}", arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("error: {wrong}\nhint: cargo xtask regions --help");
            return ExitCode::from(2);
        }
    };
    match run(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        bail!("regions as network namespaces need root\nhint: sudo -E env PATH=\"$PATH\" cargo xtask regions");
    }
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => beside_us()?,
    };
    let runtime = tokio::runtime::Runtime::new().context("begin a runtime")?;
    runtime.block_on(async {
        let mut ending = Ending::listen()?;
        let asked = ending.clone();
        let told = move |part: &str| {
            if !part.is_empty() {
                eprintln!("── {part}");
            }
            asked.check()
        };
        let (stage, addresses) = Stage::begin(arguments.major, program, told)?;
        let addresses = addresses.await.context("the world's thread is gone")??;
        let director = tokio::select! {
            director = Director::new(stage, addresses) => director?,
            () = ending.wanted() => bail!("ended before everything was there"),
        };
        match &arguments.script {
            Some(steps) => play::play(director, steps, arguments.lasts, ending).await,
            None => screen::show(director, arguments.lasts, ending).await.map(|()| true),
        }
    })
}

/// `lifeboat`, built into the same directory as this program.
fn beside_us() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find our own path")?;
    let program = own.with_file_name("lifeboat");
    if !program.is_file() {
        bail!("{} isn't there\nhint: cargo xtask regions builds it", program.display());
    }
    Ok(program)
}

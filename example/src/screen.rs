//! The terminal: draws what is seen some times a second, and does what keys say.

use crate::director::Director;
use crate::drawing::draw;
use crate::ending::Ending;
use crate::picture::{Seen, picture};
use crate::script::Step;
use anyhow::{Context, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io::Write;
use std::time::Duration;
use tokio::sync::mpsc;

const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Between two looks whether the screen is over.
const KEY_PATIENCE: Duration = Duration::from_millis(100);

/// Shows it until `q`, Ctrl-C, a signal, or for so long.
///
/// # Errors
/// When the terminal can't be used.
pub async fn show(director: Director, lasts: Option<Duration>, ending: Ending) -> Result<()> {
    // On a panic it gives the terminal back first.
    let mut terminal = ratatui::try_init().context("use the terminal")?;
    let shown = go_on(director, &mut terminal, lasts, ending).await;
    ratatui::restore();
    // The terminal may be gone: then nobody reads it.
    let _ = writeln!(std::io::stdout(), "taking everything away");
    shown.map(drop)
}

/// Gives the director back, so that the terminal is one again before the world goes.
async fn go_on(
    mut director: Director,
    terminal: &mut DefaultTerminal,
    lasts: Option<Duration>,
    ending: Ending,
) -> Result<Director> {
    let mut keys = keys();
    loop {
        while let Ok(key) = keys.try_recv() {
            match key {
                'q' => return Ok(director),
                key => {
                    if let Some(step) = Step::of_key(key) {
                        director.begin(or_heal(step, &director));
                    }
                }
            }
        }
        if ending.is_wanted() || lasts.is_some_and(|lasts| director.now() > lasts) {
            return Ok(director);
        }
        director.watch().await;
        let picture = picture(&seen(&director));
        terminal.draw(|frame| draw(frame, &picture)).context("draw")?;
        tokio::time::sleep(DRAW_EVERY).await;
    }
}

/// The key that cut a place off heals it the next time.
fn or_heal(step: Step, director: &Director) -> Step {
    match step {
        Step::CutOff(Some(place)) if director.cuts[place].is_some() => Step::Heal(Some(place)),
        step => step,
    }
}

fn seen(director: &Director) -> Seen {
    Seen {
        now: director.now(),
        version: director.addresses.version.clone(),
        look: director.look(),
        traffic: director.traffic(),
        told: director.told.clone(),
        cuts: director.cuts,
        under_way: director.under_way(),
    }
}

/// Keys as they are pressed; Ctrl-C is `q`. Nobody listens any more when the other end is dropped.
fn keys() -> mpsc::UnboundedReceiver<char> {
    let (pressed, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while !pressed.is_closed() {
            let key = match event::poll(KEY_PATIENCE).and_then(|there| there.then(event::read).transpose()) {
                Ok(Some(Event::Key(key))) if key.kind == KeyEventKind::Press => key,
                Ok(_) => continue,
                Err(_) => {
                    // The terminal is gone.
                    let _ = pressed.send('q');
                    return;
                }
            };
            let key = match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => 'q',
                KeyCode::Char(key) => key.to_ascii_lowercase(),
                KeyCode::Esc => 'q',
                _ => continue,
            };
            if pressed.send(key).is_err() {
                return;
            }
        }
    });
    keys
}

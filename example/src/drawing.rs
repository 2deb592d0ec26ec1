//! From a picture to a terminal's cells. Pure: the same picture and size give the same cells.
//!
//! 80 by 24 has everything; what is larger shows more of the past.

mod menu;

use crate::picture::{Happened, Panel, Picture, Tone, Words};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Sparkline, Wrap};

/// What everything needs.
const LEAST: (u16, u16) = (80, 24);
/// From here on there is room for a higher picture of the traffic, and for effects of the past.
const HIGH: u16 = 30;
/// With so many rows for what happened, everything that happened is shown.
const EVENTS_OF_ALL_KINDS: u16 = 9;
/// Words before what they are about.
const LABEL: u16 = 9;

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Warning => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        Tone::Quiet => Style::new().add_modifier(Modifier::DIM),
    }
}

fn spans(words: &Words) -> Vec<Span<'static>> {
    words.iter().map(|(text, tone)| Span::styled(text.clone(), style(*tone))).collect()
}

fn bold(text: &str) -> Span<'static> {
    Span::styled(text.to_owned(), Style::new().add_modifier(Modifier::BOLD))
}

/// See the module.
pub fn draw(frame: &mut Frame<'_>, picture: &Picture) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("this wants a terminal of {} by {}; q leaves", LEAST.0, LEAST.1);
        return frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
    }
    let is_high = area.height >= HIGH;
    let menu_lines = menu::lines(area.width, is_high);
    let effects = if is_high { 3 + (area.height - HIGH) / 3 } else { 3 };
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(8),
        Constraint::Length(1),
        Constraint::Length(if is_high { 3 } else { 1 }),
        Constraint::Length(2),
        Constraint::Min(4),
        Constraint::Length(effects),
        Constraint::Length(u16::try_from(menu_lines.len()).unwrap_or(u16::MAX)),
    ]);
    let [title, panels, lease, rates, clients, events, effects, menu] = parts.areas(area);
    draw_title(frame, title, picture);
    let columns = Layout::horizontal([Constraint::Fill(1); 3]).areas::<3>(panels);
    for (area, panel) in columns.into_iter().zip(&picture.panels) {
        draw_panel(frame, area, panel);
    }
    labelled(frame, lease, "lease", Line::from(spans(&picture.lease)));
    draw_rates(frame, rates, picture);
    let [silence, answers] = Layout::vertical([Constraint::Length(1); 2]).areas(clients);
    labelled(frame, silence, "", Line::from(spans(&picture.silence)));
    labelled(frame, answers, "clients", Line::from(spans(&picture.clients)));
    draw_events(frame, events, &picture.events);
    draw_effects(frame, effects, picture);
    frame.render_widget(Paragraph::new(menu_lines), menu);
}

/// A word at the left, and what there is to it beside.
fn labelled(frame: &mut Frame<'_>, area: Rect, label: &str, line: Line<'static>) {
    let [left, right] = Layout::horizontal([Constraint::Length(LABEL), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(bold(label)), left);
    frame.render_widget(Paragraph::new(cut(line, right.width)), right);
}

/// Ends what doesn't fit with a sign that there is more.
fn cut(line: Line<'static>, width: u16) -> Line<'static> {
    let width = usize::from(width);
    if line.width() <= width {
        return line;
    }
    let mut left = width.saturating_sub(1);
    let mut kept = Vec::new();
    for span in line.spans {
        let text: String = span.content.chars().take(left).collect();
        left -= text.chars().count();
        kept.push(Span::styled(text, span.style));
    }
    kept.push(Span::raw("…"));
    Line::from(kept)
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let (text, tone) = &picture.summary;
    let summary = Line::from(Span::styled(text.clone(), style(*tone).add_modifier(Modifier::BOLD)));
    let title = Line::from(bold(&picture.title));
    let room = area.width.saturating_sub(u16::try_from(title.width()).unwrap_or(0) + 2);
    frame.render_widget(Paragraph::new(title), area);
    frame.render_widget(Paragraph::new(cut(summary, room).right_aligned()), area);
}

fn draw_panel(frame: &mut Frame<'_>, area: Rect, panel: &Panel) {
    let has_room = usize::from(area.width) > panel.name.chars().count() + 13;
    let mark = match (panel.holds_lease, has_room) {
        (false, _) => "",
        (true, true) => " ★ lease ",
        (true, false) => " ★ ",
    };
    let border = if panel.holds_lease { BorderType::Thick } else { BorderType::Plain };
    let room = usize::from(area.width.saturating_sub(4)).saturating_sub(mark.chars().count());
    let name: String = panel.name.chars().take(room).collect();
    let block = Block::bordered().border_type(border).border_style(style(panel.tone));
    let block = block.title(Line::from(bold(&format!(" {name} ")))).title(Line::from(mark).right_aligned());
    let inner = block.inner(area);
    let lines: Vec<Line> = panel.rows.iter().map(|row| cut(Line::from(spans(row)), inner.width)).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let widths = [Constraint::Length(LABEL), Constraint::Length(7), Constraint::Fill(1)];
    let [label, rate, line] = Layout::horizontal(widths).areas(area);
    frame.render_widget(Paragraph::new(bold("writes")), label);
    frame.render_widget(Paragraph::new(Line::from(spans(&picture.rate))), rate);
    let shown = usize::from(line.width).min(picture.rates.len());
    let rates = &picture.rates[picture.rates.len() - shown..];
    frame.render_widget(Sparkline::default().data(rates).style(style(Tone::Good)), line);
}

/// Where there is little room, only what decides who may write.
fn draw_events(frame: &mut Frame<'_>, area: Rect, events: &[Happened]) {
    let all = area.height >= EVENTS_OF_ALL_KINDS;
    let events: Vec<&Happened> = events.iter().filter(|event| all || event.tone != Tone::Plain).collect();
    let shown = usize::from(area.height).min(events.len());
    let line = |event: &Happened| {
        let head = format!("{:>7} {:>6} {:<9}", event.at, event.after, event.who);
        let head = Span::styled(head, style(Tone::Plain));
        cut(Line::from(vec![head, Span::styled(event.text.clone(), style(event.tone))]), area.width)
    };
    let lines: Vec<Line> = events[events.len() - shown..].iter().copied().map(line).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// The last ones, as many as there is room for; what is under way at the end.
fn draw_effects(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let width = usize::from(area.width.saturating_sub(LABEL));
    let mut rows: Vec<(&str, String, Tone)> = Vec::new();
    if let Some(words) = &picture.under_way {
        rows.push(("now", words.clone(), Tone::Warning));
    }
    for told in picture.effects.iter().rev() {
        let is_bad = ["LOST", "NOBODY", "not done", "but"].iter().any(|word| told.effect.contains(word));
        let tone = if is_bad { Tone::Bad } else { Tone::Good };
        let told: Vec<(&str, String, Tone)> = std::iter::once(("effect", format!("{}:", told.done), Tone::Plain))
            .chain(wrapped(&told.effect, width).into_iter().map(|line| ("", line, tone)))
            .collect();
        if rows.len() + told.len() > usize::from(area.height) {
            // Of the newest at least what came of it.
            if rows.len() < 2 {
                rows.splice(0..0, told.into_iter().skip(1));
            }
            break;
        }
        rows.splice(0..0, told);
    }
    if picture.effects.is_empty() && picture.under_way.is_none() {
        rows.push(("effect", "nothing was done yet: press a key below".into(), Tone::Plain));
    }
    let areas = Layout::vertical(vec![Constraint::Length(1); usize::from(area.height)]).split(area);
    for (area, (label, text, tone)) in areas.iter().zip(rows) {
        labelled(frame, *area, label, Line::from(Span::styled(text, style(tone))));
    }
}

/// Lines of whole words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always one");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests;

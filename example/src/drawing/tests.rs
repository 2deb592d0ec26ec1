//! Pictures of the screen.

use super::draw;
use crate::picture::{Seen, examples, picture};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

fn drawn(seen: &Seen, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
    let picture = picture(seen);
    terminal.draw(|frame| draw(frame, &picture)).expect("it is drawn");
    terminal.backend().to_string()
}

const SIZES: [(u16, u16); 2] = [(80, 24), (120, 40)];

fn pictures(name: &str, seen: &Seen) {
    for (width, height) in SIZES {
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), drawn(seen, (width, height)));
    }
}

#[test]
fn after_a_takeover() {
    pictures("after_a_takeover", &examples::after_a_takeover());
}

#[test]
fn everything_is_down() {
    pictures("everything_is_down", &examples::everything_is_down());
}

#[test]
fn nothing_is_seen_yet() {
    pictures("nothing_is_seen_yet", &examples::nothing_is_seen_yet());
}

#[test]
fn names_without_room_are_cut() {
    pictures("long_names", &examples::long_names());
}

#[test]
fn any_size_is_drawn() {
    let all = [
        examples::after_a_takeover(),
        examples::everything_is_down(),
        examples::nothing_is_seen_yet(),
        examples::long_names(),
    ];
    for seen in &all {
        for size in [(1, 1), (20, 3), (79, 24), (80, 23), (81, 25), (100, 30), (140, 45), (300, 100)] {
            drawn(seen, size);
        }
    }
    assert!(drawn(&all[0], (79, 24)).contains("80 by 24"), "too small is said");
}

//! Pictures of small archives, and of large ones: every line fits, and nothing is told by a tone alone.

use super::*;
use jiff::SignedDuration;

fn hour(hour: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-14T02:00:00Z".parse().unwrap();
    begin + SignedDuration::from_hours(hour)
}

fn dot(at: i64, backup_type: &str, proved: Proved) -> Dot {
    Dot { at: hour(at), backup_type: backup_type.into(), proved }
}

fn track(timeline: u32, stretches: &[(i64, i64)], dots: Vec<Dot>) -> Track {
    let stretches = stretches.iter().map(|(from, to)| (hour(*from), hour(*to))).collect();
    Track { timeline, parent: None, stretches, dots }
}

fn framed(width: Option<u16>, now: i64, glyphs: Glyphs) -> Frame {
    Frame { width, glyphs, now: hour(now), zone: TimeZone::UTC }
}

fn text(tracks: &[Track], frame: &Frame) -> String {
    let lines = draw(tracks, frame);
    let lines: Vec<String> =
        lines.iter().map(|line| line.iter().map(|piece| piece.text.as_str()).collect::<String>()).collect();
    let width = frame.width.map_or(WIDTH_USUAL, usize::from);
    for line in &lines {
        assert!(line.chars().count() <= width, "wider than {width}: {line}");
    }
    lines.join("\n")
}

#[test]
fn one_window() {
    let dots = vec![dot(0, "full", Proved::Boot), dot(3, "incr", Proved::Nothing), dot(5, "incr", Proved::Nothing)];
    insta::assert_snapshot!(text(&[track(1, &[(0, 6)], dots)], &framed(None, 7, LINES)));
}

fn a_week() -> Vec<Dot> {
    let mut dots = vec![dot(0, "full", Proved::Boot)];
    dots.extend((1..7).map(|day| match day {
        3 => dot(day * 24, "diff", Proved::Data),
        5 => dot(day * 24, "incr", Proved::Bad),
        _ => dot(day * 24, "incr", Proved::Structure),
    }));
    dots
}

#[test]
fn many_days() {
    insta::assert_snapshot!(text(&[track(1, &[(0, 150)], a_week())], &framed(Some(100), 151, LINES)));
}

#[test]
fn gaps() {
    let stretches = [(0, 60), (72, 73), (96, 150)];
    insta::assert_snapshot!(text(&[track(1, &stretches, a_week())], &framed(None, 151, LINES)));
}

fn promoted() -> Vec<Track> {
    let mut child = track(2, &[(80, 150)], vec![dot(120, "full", Proved::Nothing)]);
    child.parent = Some((1, Some(hour(80))));
    let mut copy = track(3, &[(100, 104)], Vec::new());
    copy.parent = Some((1, Some(hour(60))));
    let dots = a_week().into_iter().take(4).collect();
    vec![track(1, &[(0, 84)], dots), child, copy]
}

#[test]
fn a_promotion_and_a_branch() {
    insta::assert_snapshot!(text(&promoted(), &framed(None, 151, LINES)));
}

#[test]
fn a_terminal_that_knows_only_ascii() {
    let picture = text(&promoted(), &framed(None, 151, ASCII));
    assert!(picture.is_ascii());
    insta::assert_snapshot!(picture);
}

#[test]
fn hundreds_of_points() {
    let dots = (0..400).map(|day| match day {
        day if day % 28 == 0 => dot(day * 24, "full", Proved::Boot),
        _ => dot(day * 24, "incr", Proved::Structure),
    });
    let tracks = [track(1, &[(0, 100 * 24), (100 * 24 + 1, 399 * 24 + 10)], dots.collect())];
    insta::assert_snapshot!(text(&tracks, &framed(Some(80), 399 * 24 + 11, LINES)));
}

#[test]
fn nothing_and_one_moment() {
    assert_eq!(text(&[], &framed(None, 0, LINES)), "");
    assert_eq!(text(&[track(1, &[], Vec::new())], &framed(None, 0, LINES)), "");
    let only = [track(1, &[(0, 0)], vec![dot(0, "full", Proved::Nothing)])];
    insta::assert_snapshot!(text(&only, &framed(Some(40), 20_000, LINES)));
}

#[test]
fn tones_only_repeat_what_the_characters_say() {
    let bad = track(1, &[], vec![dot(0, "full", Proved::Bad)]);
    let lines = draw(&[bad], &framed(None, 1, LINES));
    let toned: Vec<&Piece> = lines.iter().flatten().filter(|piece| piece.tone == Some(Tone::Bad)).collect();
    assert_eq!(toned, [&Piece { text: "✘".into(), tone: Some(Tone::Bad) }]);
}

#[test]
fn any_width_and_any_span_fit() {
    for width in [40, 41, 63, 80, 200, 500] {
        for scale in [0, 1, 7, 100, 5_000, 100_000] {
            let dots = (0..50).map(|n| dot(n * scale, "incr", Proved::Data)).collect();
            let mut tracks = vec![track(1, &[(0, 20 * scale), (30 * scale, 49 * scale)], dots)];
            for timeline in 2..20 {
                let mut child = track(timeline, &[(40 * scale, 45 * scale)], Vec::new());
                child.parent = Some((1, None));
                tracks.push(child);
            }
            text(&tracks, &framed(Some(width), 50 * scale, LINES));
        }
    }
}

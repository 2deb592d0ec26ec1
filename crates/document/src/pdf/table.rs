//! Tables: columns as wide as they need, rows that are cut only when they are very long.

use super::ROOM;
use super::flow::put;
use super::fonts::Fonts;
use super::lines::{Line, Setting, lines_of};
use super::pages::{Ink, Piece};
use crate::drawing::Role;
use crate::model::{Align, Table, Text};
use std::rc::Rc;

const SIZE: f32 = 8.3;
const LEADING: f32 = 11.2;
const PADDING: f32 = 4.0;
/// A row with more lines is cut, so that it fits on what is left of a page.
const ROW_LINES_MAX: usize = 24;
/// No column is narrower.
const COLUMN_MIN: f32 = 34.0;

pub(super) fn pieces(fonts: &Fonts, table: &Table) -> Vec<Piece> {
    let widths = widths(fonts, table);
    let headers: Vec<Text> = table.columns.iter().map(|(header, _)| Text::new().strong(header.clone())).collect();
    let setting = Setting { size: SIZE, role: Role::Faint, bold: true };
    let mut header = row(fonts, table, &widths, &headers, setting).into_iter().next().unwrap_or_default();
    header.line(vec![(0.0, header.height - 0.5), (ROOM, header.height - 0.5)], Role::Faint, 1.0);
    header.keeps_next = true;
    let repeated = Rc::new(header.clone());
    header.space = 10.0;
    let mut pieces = vec![header];
    for cells in &table.rows {
        let setting = Setting { size: SIZE, role: Role::Ink, bold: false };
        let mut parts = row(fonts, table, &widths, cells, setting);
        if let Some(last) = parts.last_mut() {
            last.line(vec![(0.0, last.height), (ROOM, last.height)], Role::Grid, 0.5);
        }
        pieces.extend(parts.into_iter().map(|part| Piece { header: Some(repeated.clone()), ..part }));
    }
    pieces
}

/// What each needs where there is room for all; else the narrow ones get what they need and the wide ones share the rest.
fn widths(fonts: &Fonts, table: &Table) -> Vec<f32> {
    let measure = |text: &Text, bold: bool| {
        let setting = Setting { size: SIZE, role: Role::Ink, bold };
        let line = lines_of(fonts, text, f32::MAX, setting).into_iter().next().unwrap_or_default();
        (line.width + 2.0 * PADDING + 1.0).max(COLUMN_MIN)
    };
    let needed: Vec<f32> = (0..table.columns.len())
        .map(|column| {
            let cells = table.rows.iter().filter_map(|row| row.get(column)).map(|cell| measure(cell, false));
            cells.fold(measure(&Text::from(table.columns[column].0.as_str()), true), f32::max)
        })
        .collect();
    let count = needed.len() as f32;
    let total: f32 = needed.iter().sum();
    if total <= ROOM {
        let spare = (ROOM - total) / count;
        return needed.into_iter().map(|width| width + spare).collect();
    }
    let mut limit = ROOM / count;
    for _ in 0..needed.len() {
        let (narrow, wide): (Vec<f32>, Vec<f32>) = needed.iter().partition(|width| **width <= limit);
        limit = (ROOM - narrow.iter().sum::<f32>()) / (wide.len() as f32).max(1.0);
    }
    // Of what is left, the widest get more, by the square root: twice the text isn't twice as wide.
    let fixed: f32 = needed.iter().filter(|width| **width <= limit).sum();
    let shares: f32 = needed.iter().filter(|width| **width > limit).map(|width| width.sqrt()).sum();
    needed.iter().map(|width| if *width <= limit { *width } else { (ROOM - fixed) * width.sqrt() / shares }).collect()
}

fn row(fonts: &Fonts, table: &Table, widths: &[f32], cells: &[Text], setting: Setting) -> Vec<Piece> {
    let empty = Text::new();
    let cells: Vec<Vec<Line>> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| lines_of(fonts, cells.get(column).unwrap_or(&empty), width - 2.0 * PADDING, setting))
        .collect();
    let longest = cells.iter().map(Vec::len).max().unwrap_or(1);
    let mut pieces = Vec::new();
    for from in (0..longest).step_by(ROW_LINES_MAX) {
        let count = (longest - from).min(ROW_LINES_MAX);
        let mut piece = Piece { height: count as f32 * LEADING + 2.0 * PADDING - 2.0, ..Piece::default() };
        let mut left = 0.0;
        for (column, lines) in cells.iter().enumerate() {
            for (index, line) in lines.iter().skip(from).take(count).enumerate() {
                let room = widths[column] - 2.0 * PADDING;
                let shift = match table.columns[column].1 {
                    Align::Left => 0.0,
                    Align::Right => room - line.width,
                    Align::Center => (room - line.width) / 2.0,
                };
                let y = PADDING + index as f32 * LEADING + SIZE;
                put(&mut piece.ink, line, left + PADDING + shift, y, setting);
            }
            left += widths[column];
        }
        pieces.push(piece);
    }
    pieces
}

/// What is said where there is no row.
pub(super) fn empty(fonts: &Fonts, table: &Table) -> Vec<Piece> {
    let setting = Setting { size: SIZE + 1.0, role: Role::Faint, bold: false };
    let lines = lines_of(fonts, &Text::from(table.when_empty.as_str()), ROOM, setting);
    let one = |line: Line| {
        let mut ink: Vec<Ink> = Vec::new();
        put(&mut ink, &line, 0.0, SIZE + 2.0, setting);
        Piece { height: LEADING + 3.0, ink, ..Piece::default() }
    };
    lines.into_iter().map(one).collect()
}

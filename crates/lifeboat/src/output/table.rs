//! Tables that fit the terminal: no frames, columns two spaces apart, so that `awk` can read them too.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

/// Which way a column leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Left(&'static str),
    /// For figures.
    Right(&'static str),
}

/// A table with its headings. `width` is the terminal's; `None` (a pipe) never breaks a line.
pub fn render(columns: &[Column], rows: &[Vec<String>], width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(if width.is_some() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    if let Some(width) = width {
        table.set_width(width);
    }
    table.set_header(columns.iter().map(|column| match column {
        Column::Left(heading) | Column::Right(heading) => heading.to_uppercase(),
    }));
    table.add_rows(rows.iter().cloned());
    for (index, kind) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            // Names are for copying: a broken one can't be.
            if matches!(kind, Column::Left("point")) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            if matches!(kind, Column::Right(_)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The width of the terminal on stdout, if it is one.
pub fn terminal_width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col >= 40).then_some(size.ws_col)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_long_cells_break_only_on_a_terminal() {
        let columns = [Column::Left("point"), Column::Right("size")];
        let rows = [vec!["a".to_owned(), "1 B".to_owned()], vec!["much longer words".to_owned(), "20 B".to_owned()]];
        insta::assert_snapshot!(render(&columns, &rows, None), @r"
        POINT              SIZE
        a                   1 B
        much longer words  20 B
        ");
        assert!(render(&columns, &rows, Some(20)).lines().all(|line| line.len() <= 20));
    }
}

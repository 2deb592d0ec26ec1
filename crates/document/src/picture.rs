//! Pictures as values: what they show, not how.

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture {
    /// What was promised against what was measured, one row each. Each row has its own scale: the promise is always at the same place.
    Bars(Vec<Bar>),
    /// A figure over time.
    Line(Line),
    /// When what took place, and should.
    Calendar(Calendar),
    /// What comes before what.
    Graph(Graph),
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is about.
    pub label: String,
    /// In any unit, the same as `measured`.
    pub promised: Option<f64>,
    /// `None`: not measured, and said so.
    pub measured: Option<f64>,
    /// The figure with its unit.
    pub promised_words: String,
    /// The figure with its unit and source.
    pub measured_words: String,
}

/// A figure over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What is measured, with its unit.
    pub label: String,
    /// By growing time.
    pub points: Vec<LinePoint>,
    /// A line across, and its words.
    pub promised: Option<(f64, String)>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct LinePoint {
    /// On any scale, such as days.
    pub at: f64,
    /// What was measured; not negative.
    pub value: f64,
    /// The day, in words.
    pub at_words: String,
    /// The figure with its unit.
    pub value_words: String,
}

/// Rows of marks on one scale of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    /// Where the scale begins, such as days.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Lines across, with words: first days of months.
    pub ticks: Vec<(f64, String)>,
    /// Today, if it is to be shown.
    pub now: Option<f64>,
    /// From above.
    pub rows: Vec<CalendarRow>,
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct CalendarRow {
    /// What it is about.
    pub label: String,
    /// What took place, and should.
    pub marks: Vec<Mark>,
}

/// Something at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// On the scale.
    pub at: f64,
    /// How it is drawn.
    pub kind: MarkKind,
    /// The day and what, in words.
    pub words: String,
}

/// How a mark is drawn: by form and colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkKind {
    /// A full disk.
    Passed,
    /// A cross.
    Failed,
    /// A ring.
    Planned,
    /// A ring, loudly.
    Late,
}

impl MarkKind {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "not passed",
            Self::Planned => "planned",
            Self::Late => "late",
        }
    }
}

/// What comes before what.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// What is shown of each.
    pub nodes: Vec<String>,
    /// Numbers of nodes: the first comes before the second. What goes round in a circle is drawn, without a promise about its place.
    pub edges: Vec<(usize, usize)>,
}

impl Picture {
    /// As a table: headers, and rows of cells. For Markdown, and for those who can't see it.
    pub(crate) fn as_table(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        match self {
            Self::Bars(bars) => {
                let row = |bar: &Bar| vec![bar.label.clone(), bar.promised_words.clone(), bar.measured_words.clone()];
                (vec!["", "Promised", "Measured"], bars.iter().map(row).collect())
            }
            Self::Line(line) => {
                let mut rows: Vec<Vec<String>> =
                    line.points.iter().map(|point| vec![point.at_words.clone(), point.value_words.clone()]).collect();
                rows.extend(line.promised.iter().map(|(_, words)| vec!["promised".to_owned(), words.clone()]));
                (vec!["When", "Measured"], rows)
            }
            Self::Calendar(calendar) => {
                let row = |row: &CalendarRow| {
                    let words = |mark: &Mark| format!("{} ({})", mark.words, mark.kind.word());
                    let marks: Vec<String> = row.marks.iter().map(words).collect();
                    vec![row.label.clone(), if marks.is_empty() { "never".to_owned() } else { marks.join("; ") }]
                };
                (vec!["", "When"], calendar.rows.iter().map(row).collect())
            }
            Self::Graph(graph) => {
                let before = |index: usize| -> String {
                    let names = graph.edges.iter().filter(|(_, to)| *to == index);
                    names.filter_map(|(from, _)| graph.nodes.get(*from).cloned()).collect::<Vec<_>>().join(", ")
                };
                let in_order = graph.levels().into_iter().flatten();
                (
                    vec!["In order", "After"],
                    in_order.map(|index| vec![graph.nodes[index].clone(), before(index)]).collect(),
                )
            }
        }
    }

    /// In words, for whoever can't see it.
    pub(crate) fn in_words(&self) -> String {
        let (_, rows) = self.as_table();
        let told: Vec<String> = rows
            .into_iter()
            .map(|row| row.into_iter().filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(": "))
            .collect();
        told.join(". ")
    }
}

impl Graph {
    /// Nodes by level: each after all that come before it. Those in a circle come last, together.
    pub(crate) fn levels(&self) -> Vec<Vec<usize>> {
        let mut left: Vec<usize> = (0..self.nodes.len()).collect();
        let mut levels = Vec::new();
        while !left.is_empty() {
            let waits =
                |node: &usize| self.edges.iter().any(|(from, to)| to == node && from != to && left.contains(from));
            let (later, now): (Vec<usize>, Vec<usize>) = left.iter().copied().partition(waits);
            if now.is_empty() {
                levels.push(later);
                break;
            }
            levels.push(now);
            left = later;
        }
        levels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_follows_what_comes_before() {
        let graph = |edges: &[(usize, usize)]| Graph {
            nodes: vec!["a".into(), "b".into(), "c".into(), "d".into()],
            edges: edges.to_vec(),
        };
        assert_eq!(graph(&[(2, 0), (0, 1), (2, 1)]).levels(), [vec![2, 3], vec![0], vec![1]]);
        assert_eq!(graph(&[(0, 1), (1, 0), (9, 2), (3, 3)]).levels(), [vec![2, 3], vec![0, 1]]);
    }
}

//! The rows of a small table, by where they lie, kept as the log changes them.
//!
//! A row is known by its place only, because that is how the log speaks of it; and an update names only what changed. So
//! the rows are taken from pages, of a recovery point or out of the log, and each record is applied, as replay would.
//!
//! Pages of a point were read while the server wrote. Each carries the position up to which it is changed; a record from before that
//! is told of, and not applied again.

use super::tuple::{StoredRow, page_rows};
use crate::Lsn;
use crate::layout::Fork;
use crate::page::PageHeader;
use crate::wal::{Block, Contents, InflateZstandard, Record, RelationLocator, RowChange, RowPlace};
use std::collections::BTreeMap;

/// The rows of a table.
#[derive(Debug, Clone, Default)]
pub struct TrackedTable {
    pages: BTreeMap<u32, Page>,
}

#[derive(Debug, Clone, Default)]
struct Page {
    /// Records that end here or before are in it.
    lsn: Lsn,
    rows: BTreeMap<u16, StoredRow>,
}

/// What a record did. A row is missing where neither the pages nor the log tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowEvent {
    /// A row is new.
    Inserted(Option<StoredRow>),
    /// A row was replaced: the old version, the new one.
    Updated(Option<StoredRow>, Option<StoredRow>),
    /// A row was deleted.
    Deleted(Option<StoredRow>),
    /// Columns of a row were overwritten where it lies: the row as it is now.
    Overwritten(Option<StoredRow>),
    /// A whole page came with the record: its rows.
    Page(Vec<StoredRow>),
}

impl TrackedTable {
    /// Takes a page of a file, unless a newer one is known.
    pub fn load(&mut self, block: u32, bytes: &[u8]) {
        let Some(header) = PageHeader::parse(bytes) else { return };
        if self.pages.get(&block).is_none_or(|known| known.lsn <= header.lsn) {
            self.pages.insert(block, Page { lsn: header.lsn, rows: page_rows(bytes).into_iter().collect() });
        }
    }

    /// Every version that is known.
    pub fn rows(&self) -> impl Iterator<Item = &StoredRow> {
        self.pages.values().flat_map(|page| page.rows.values())
    }

    fn row(&self, place: RowPlace) -> Option<&StoredRow> {
        self.pages.get(&place.block)?.rows.get(&place.number)
    }

    /// Applies a record, and says what it did to the rows of the table, whose files are `relation`.
    pub fn apply(
        &mut self,
        relation: RelationLocator,
        record: &Record,
        contents: &Contents<'_>,
        zstandard: Option<InflateZstandard>,
    ) -> Vec<RowEvent> {
        let change = RowChange::of(record, contents).filter(|(of, _)| *of == relation).map(|(_, change)| change);
        let old = match change {
            Some(RowChange::Update { from: at, .. } | RowChange::Delete { at, .. }) => self.row(at).cloned(),
            _ => None,
        };
        let mut events = Vec::new();
        let is_ours =
            |block: &&Block<'_>| block.reference.relation == relation && block.reference.fork == Some(Fork::Main);
        for block in contents.blocks.iter().filter(is_ours) {
            let number = block.reference.block;
            let Some(image) = &block.image else {
                let page = self.pages.entry(number).or_default();
                if block.is_made_anew && page.lsn < record.end {
                    page.rows.clear();
                }
                continue;
            };
            // Without its image the page isn't known any more.
            let rows = image.page(zstandard).map(|page| page_rows(&page)).unwrap_or_default();
            events.push(RowEvent::Page(rows.iter().map(|(_, row)| row.clone()).collect()));
            if self.pages.get(&number).is_none_or(|page| page.lsn < record.end) {
                self.pages.insert(number, Page { lsn: record.end, rows: rows.into_iter().collect() });
            }
        }
        if let Some(change) = change {
            events.push(self.change(change, old, record.end));
        }
        for block in contents.blocks.iter().filter(is_ours) {
            if let Some(page) = self.pages.get_mut(&block.reference.block) {
                page.lsn = page.lsn.max(record.end);
            }
        }
        events
    }

    /// `old` is what was there before the record.
    fn change(&mut self, change: RowChange<'_>, old: Option<StoredRow>, end: Lsn) -> RowEvent {
        match change {
            RowChange::Insert { at, row } => {
                let logged = row.and_then(|row| StoredRow::logged(&row, None));
                RowEvent::Inserted(self.put(at, logged, end))
            }
            RowChange::Update { from, to, row } => {
                // On the image the old version is still there.
                let old = old.or_else(|| self.row(from).cloned());
                let logged = row.and_then(|row| StoredRow::logged(&row, old.as_ref()));
                self.finish(from, end);
                RowEvent::Updated(old, self.put(to, logged, end))
            }
            RowChange::Delete { at, .. } => {
                let old = old.or_else(|| self.row(at).cloned());
                self.finish(at, end);
                RowEvent::Deleted(old)
            }
            RowChange::InPlace { at, columns } => {
                let page = self.pages.get_mut(&at.block).filter(|page| page.lsn < end);
                if let Some(row) = page.and_then(|page| page.rows.get_mut(&at.number)) {
                    row.overwrite(columns);
                }
                RowEvent::Overwritten(self.row(at).cloned())
            }
        }
    }

    /// Puts a row at its place, where the page isn't newer. Without one, what an image brought there.
    fn put(&mut self, at: RowPlace, row: Option<StoredRow>, end: Lsn) -> Option<StoredRow> {
        let Some(row) = row else { return self.row(at).cloned() };
        let page = self.pages.entry(at.block).or_default();
        if page.lsn < end {
            page.rows.insert(at.number, row.clone());
        }
        Some(row)
    }

    fn finish(&mut self, at: RowPlace, end: Lsn) {
        let page = self.pages.get_mut(&at.block).filter(|page| page.lsn < end);
        page.and_then(|page| page.rows.get_mut(&at.number)).into_iter().for_each(StoredRow::end);
    }
}

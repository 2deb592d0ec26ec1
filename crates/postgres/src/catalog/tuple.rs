//! Rows on a page: every version that is still there, seen by somebody or not.
//!
//! Source: `bufpage.h`, `itemid.h`, `htup_details.h` of PostgreSQL 14 to 18.

use crate::little_endian::{u8_at, u16_at, u32_at};
use crate::page::PageHeader;
use crate::wal::{LoggedRow, TUPLE_HEADER_BYTES};

const PAGE_HEADER_BYTES: usize = 24;
const POINTER_BYTES: usize = 4;
const POINTER_NORMAL: u32 = 1;

const XMIN_COMMITTED: u16 = 0x0100;
const XMIN_INVALID: u16 = 0x0200;
const XMAX_COMMITTED: u16 = 0x0400;
const XMAX_INVALID: u16 = 0x0800;
const XMAX_LOCK_ONLY: u16 = 0x0080;

/// A version of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// `t_infomask`.
    pub flags: u16,
    /// Where the columns begin in `bytes`.
    columns_at: usize,
    /// From behind the fixed header on: the map of nulls, and the columns.
    bytes: Vec<u8>,
}

impl StoredRow {
    /// A whole tuple.
    fn parse(tuple: &[u8]) -> Option<Self> {
        let columns_at = usize::from(u8_at(tuple, 22)?).checked_sub(TUPLE_HEADER_BYTES)?;
        let bytes = tuple.get(TUPLE_HEADER_BYTES..)?.to_vec();
        let flags = u16_at(tuple, 20)?;
        // Nobody has it deleted or locked: whatever the hint says.
        let flags = if u32_at(tuple, 4)? == 0 { flags | XMAX_INVALID } else { flags };
        (columns_at <= bytes.len()).then_some(Self { flags, columns_at, bytes })
    }

    /// From the log. What it has in common with the version that it replaces is taken from there.
    pub fn logged(row: &LoggedRow<'_>, old: Option<&Self>) -> Option<Self> {
        let columns_at = usize::from(row.columns_at).checked_sub(TUPLE_HEADER_BYTES)?;
        let (nulls, rest) = row.bytes.split_at_checked(columns_at)?;
        let mut bytes = nulls.to_vec();
        if row.prefix == 0 && row.suffix == 0 {
            bytes.extend_from_slice(rest);
        } else {
            let old = old?.columns();
            bytes.extend_from_slice(old.get(..row.prefix.into())?);
            bytes.extend_from_slice(rest);
            bytes.extend_from_slice(old.get(old.len().checked_sub(row.suffix.into())?..)?);
        }
        Some(Self { flags: row.flags, columns_at, bytes })
    }

    /// Its columns, one after the other.
    pub fn columns(&self) -> &[u8] {
        self.bytes.get(self.columns_at..).unwrap_or_default()
    }

    /// Writes other columns over these. Nothing happens when they are of another length.
    pub fn overwrite(&mut self, columns: &[u8]) {
        if let Some(own) = self.bytes.get_mut(self.columns_at..).filter(|own| own.len() == columns.len()) {
            own.copy_from_slice(columns);
        }
    }

    /// Marks that somebody deletes or replaces it.
    pub fn end(&mut self) {
        self.flags &= !(XMAX_INVALID | XMAX_COMMITTED | XMAX_LOCK_ONLY);
    }

    /// Certainly nobody's: its transaction was rolled back, or it was deleted, and somebody noted so. The others may or may not be seen.
    pub fn is_known_dead(&self) -> bool {
        let was_never = self.flags & (XMIN_COMMITTED | XMIN_INVALID) == XMIN_INVALID;
        let is_deleted = self.flags & (XMAX_COMMITTED | XMAX_INVALID | XMAX_LOCK_ONLY) == XMAX_COMMITTED;
        was_never || is_deleted
    }
}

/// The rows on a page of a table, with their numbers. Nothing for a page that is new or damaged.
pub fn page_rows(page: &[u8]) -> Vec<(u16, StoredRow)> {
    let Some(header) = PageHeader::parse(page) else { return Vec::new() };
    let lower = usize::from(header.lower).min(page.len());
    let count = lower.saturating_sub(PAGE_HEADER_BYTES) / POINTER_BYTES;
    let row = |number: usize| {
        let pointer = u32_at(page, PAGE_HEADER_BYTES + number * POINTER_BYTES)?;
        let (offset, length) = (pointer as usize & 0x7FFF, (pointer >> 17) as usize);
        let is_row = pointer >> 15 & 3 == POINTER_NORMAL;
        let tuple = page.get(offset..offset + length).filter(|_| is_row && offset >= lower)?;
        Some((u16::try_from(number + 1).ok()?, StoredRow::parse(tuple)?))
    };
    (0..count).filter_map(row).collect()
}

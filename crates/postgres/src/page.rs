//! Pages of relation files: their header, and whether their checksum fits.
//!
//! A page read while the server writes it can be torn. Replay repairs that, since the whole page was logged after the
//! backup began; so only a page *older* than the backup's start can be called bad, and a reader that finds one should
//! read it a second time before it says so.
//!
//! Not here: reading files, counting pages.
//!
//! Source: `src/include/storage/checksum_impl.h`, `bufpage.h`; the rules of `src/backend/backup/basebackup.c`.

use crate::Lsn;
use crate::little_endian::{u16_at, u32_at};

/// How many sums run side by side over a page.
const SUMS: usize = 32;

/// A row of the page: one word for each sum.
const ROW_BYTES: usize = SUMS * 4;

const FNV_PRIME: u32 = 16_777_619;

/// Where each sum starts. Random numbers that are part of the format.
const START: [u32; SUMS] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// What a page turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// All zeros: allocated, never written. Has no checksum.
    New,
    /// The checksum fits.
    Valid,
    /// The checksum doesn't fit, but the page was changed after the backup began: replay brings it again, whole.
    NewerThanBackup,
    /// Damaged, or torn: read it again before believing it.
    Bad {
        /// The checksum in the page.
        found: u16,
        /// What its bytes give. Meaningless for a page that claims to be new and isn't zero.
        expected: u16,
        /// When it was last changed, if that can be believed.
        lsn: Lsn,
    },
    /// Not as many bytes as a page has: the end of a file that is being extended.
    Partial,
}

/// The first 24 bytes of every page but a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// The end of the record that last changed the page.
    pub lsn: Lsn,
    /// The checksum; 0 when the cluster has none.
    pub checksum: u16,
    /// `PD_*` of `bufpage.h`.
    pub flags: u16,
    /// Where free space begins.
    pub lower: u16,
    /// Where free space ends; 0 in a new page.
    pub upper: u16,
    /// Where the part of the access method begins.
    pub special: u16,
    /// The page's size.
    pub page_bytes: u16,
    /// 4 since PostgreSQL 8.3.
    pub layout_version: u8,
}

impl PageHeader {
    /// Reads the first bytes of a page; none when there are fewer than 24.
    pub fn parse(page: &[u8]) -> Option<Self> {
        u32_at(page, 20)?;
        let size_and_version = u16_at(page, 18)?;
        Some(Self {
            lsn: lsn(page)?,
            checksum: u16_at(page, 8)?,
            flags: u16_at(page, 10)?,
            lower: u16_at(page, 12)?,
            upper: u16_at(page, 14)?,
            special: u16_at(page, 16)?,
            page_bytes: size_and_version & 0xFF00,
            layout_version: (size_and_version & 0xFF) as u8,
        })
    }
}

/// The position is stored as two words, high one first, on every machine.
fn lsn(page: &[u8]) -> Option<Lsn> {
    Some(Lsn(u64::from(u32_at(page, 0)?) << 32 | u64::from(u32_at(page, 4)?)))
}

/// Judges one page of a cluster with checksums.
///
/// `absolute_block` counts from the start of the fork, over all its files: a page at the wrong place is bad.
/// `older_than` is where the backup began: a page whose position isn't before it is never called bad. None judges all,
/// which is right only when nothing writes.
pub fn check_page(page: &[u8], absolute_block: u32, older_than: Option<Lsn>) -> PageState {
    if !(512..=32_768).contains(&page.len()) || !page.len().is_power_of_two() {
        return PageState::Partial;
    }
    let (Some(header), Some(expected)) = (PageHeader::parse(page), checksum(page, absolute_block)) else {
        return PageState::Partial;
    };
    if header.upper == 0 && page.iter().all(|byte| *byte == 0) {
        return PageState::New;
    }
    if header.upper != 0 && header.checksum == expected {
        return PageState::Valid;
    }
    match older_than {
        Some(start) if header.lsn >= start => PageState::NewerThanBackup,
        _ => PageState::Bad { found: header.checksum, expected, lsn: header.lsn },
    }
}

/// The checksum that PostgreSQL would write into the page, never 0. The one already in it doesn't count.
/// None when the length isn't that of a page: a multiple of 128 bytes, not 0.
pub fn checksum(page: &[u8], absolute_block: u32) -> Option<u16> {
    let (rows, rest) = page.as_chunks::<ROW_BYTES>();
    let (first, others) = rows.split_first()?;
    if !rest.is_empty() {
        return None;
    }
    let mut first = *first;
    first[8..10].fill(0);
    let mixed = pulp::Arch::new().dispatch(Rows { first: &first, others }) ^ absolute_block;
    // 0 says "no checksum", so the remainder is 1 to 65535.
    u16::try_from(mixed % 65_535 + 1).ok()
}

/// The sums over all rows, compiled once for each instruction set that the machine may have.
struct Rows<'a> {
    first: &'a [u8; ROW_BYTES],
    others: &'a [[u8; ROW_BYTES]],
}

impl pulp::NullaryFnOnce for Rows<'_> {
    type Output = u32;

    #[inline(always)]
    fn call(self) -> u32 {
        let mut sums = START;
        add(&mut sums, self.first);
        for row in self.others {
            add(&mut sums, row);
        }
        // Two more rows of zeros, so that the last words reach all bits.
        add(&mut sums, &[0; ROW_BYTES]);
        add(&mut sums, &[0; ROW_BYTES]);
        sums.iter().fold(0, |all, sum| all ^ sum)
    }
}

#[inline(always)]
fn add(sums: &mut [u32; SUMS], row: &[u8; ROW_BYTES]) {
    let (words, _) = row.as_chunks::<4>();
    for (sum, word) in sums.iter_mut().zip(words) {
        let mixed = *sum ^ u32::from_le_bytes(*word);
        *sum = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
    }
}

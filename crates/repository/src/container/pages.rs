//! A filter in front of the compressor that makes database pages compress better, and faster.
//!
//! A slotted page (PostgreSQL's, of tables and most indexes) is full of numbers that say nearly the same as the item
//! before: line pointers that step down by one length, transaction ids, block and item numbers, serial keys. A
//! compressor that looks for repeated bytes finds none in numbers that count. Here each item's first words become their
//! difference to the item before, and counting turns into repetition: on pgbench's tables what zstd leaves shrinks to a
//! tenth, on its B-trees to a twenty-fifth.
//!
//! # Nothing can be lost
//!
//! The filter works in place and on *any* bytes: it is a sequence of single steps `word[a] -= word[b]` (wrapping, little
//! endian, `a` and `b` four bytes or more apart) and of steps on line pointers that depend on the one before only.
//! Which steps are taken follows from bytes that later steps don't touch. So the same steps backwards, with `+=`, bring
//! back every input, sane page or not; the id of the chunk, taken before the filter, proves it at each reading.
//!
//! `docs/format/container.md` has the steps byte by byte. PostgreSQL's layout: `src/include/storage/bufpage.h`, `itemid.h`.

/// Length of a page, in bytes.
const PAGE_BYTES: usize = 8192;
/// Length of a page's fixed header: line pointers follow.
const HEADER_BYTES: usize = 24;
/// Size and layout version in the header of every page since PostgreSQL 8.3.
const SIZE_AND_VERSION: u16 = 0x2004;
/// How much of an item may become differences: a tuple's header and its first column or two.
const ITEM_BYTES_MAX: usize = 32;
/// Line pointer: 15 bits of offset, 2 of flags, 15 of length.
const FIFTEEN: u32 = 0x7FFF;
/// The flag bit that both kinds of line pointers with storage have (normal and dead).
const HAS_STORAGE: u32 = 1 << 15;

type Page = [u8; PAGE_BYTES];

/// Turns the pages in `chunk` into what compresses better. Blocks that aren't slotted pages stay as they are. Returns
/// whether anything was a page.
pub fn filter(chunk: &mut [u8]) -> bool {
    let mut any = false;
    for page in pages(chunk) {
        let Some((items_end, special)) = bounds(page) else { continue };
        any = true;
        let mut later: Option<Item> = None;
        for at in line_pointers(items_end).rev() {
            let Some(item) = Item::of(word(page, at), items_end) else { continue };
            if let Some(later) = later.replace(item) {
                subtract(page, later, item);
            }
        }
        let mut before = special;
        for at in line_pointers(items_end) {
            let pointer = word(page, at);
            let offset = pointer.wrapping_add(aligned(pointer >> 17)).wrapping_sub(before) & FIFTEEN;
            before = pointer;
            set_word(page, at, offset | (pointer & !FIFTEEN));
        }
    }
    any
}

/// Undoes [`filter`].
pub fn unfilter(chunk: &mut [u8]) {
    for page in pages(chunk) {
        let Some((items_end, special)) = bounds(page) else { continue };
        let mut earlier: Option<Item> = None;
        let mut before = special;
        for at in line_pointers(items_end) {
            let stored = word(page, at);
            let offset = stored.wrapping_sub(aligned(stored >> 17)).wrapping_add(before) & FIFTEEN;
            let pointer = offset | (stored & !FIFTEEN);
            before = pointer;
            set_word(page, at, pointer);
            let Some(item) = Item::of(pointer, items_end) else { continue };
            if let Some(earlier) = earlier.replace(item) {
                add(page, item, earlier);
            }
        }
    }
}

fn pages(chunk: &mut [u8]) -> impl Iterator<Item = &mut Page> {
    chunk.as_chunks_mut().0.iter_mut()
}

/// Where the line pointers of a slotted page end, and where its special space begins; none when it doesn't look like one.
/// Reads what the filter never changes.
fn bounds(page: &Page) -> Option<(usize, u32)> {
    let field = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
    let (lower, upper, special) = (usize::from(field(12)), field(14), field(16));
    let fits = lower > HEADER_BYTES && lower.is_multiple_of(4) && lower <= usize::from(upper);
    let fits = fits && upper <= special && usize::from(special) <= PAGE_BYTES;
    (fits && field(18) == SIZE_AND_VERSION).then_some((lower, special.into()))
}

fn line_pointers(end: usize) -> impl DoubleEndedIterator<Item = usize> {
    (HEADER_BYTES..end).step_by(4)
}

fn word(page: &Page, at: usize) -> u32 {
    u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]])
}

fn set_word(page: &mut Page, at: usize, value: u32) {
    page[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Items begin at multiples of eight: how far the next one lies below, when they were added in order.
fn aligned(length: u32) -> u32 {
    (length + 7) & !7
}

/// An item with storage that lies behind the line pointers.
#[derive(Clone, Copy)]
struct Item {
    offset: usize,
    bytes: usize,
}

impl Item {
    fn of(pointer: u32, items_end: usize) -> Option<Self> {
        let (offset, bytes) = ((pointer & FIFTEEN) as usize, (pointer >> 17) as usize);
        let inside = offset >= items_end && offset + bytes <= PAGE_BYTES;
        (pointer & HAS_STORAGE != 0 && inside).then_some(Self { offset, bytes: bytes.min(ITEM_BYTES_MAX) & !3 })
    }
}

/// The bytes of two items, when they are far enough apart for all words to be handled at once.
fn apart<const N: usize>(page: &mut Page, target: Item, other: Item) -> Option<(&mut [u8; N], [u8; N])> {
    if target.bytes.min(other.bytes) != N || target.offset.abs_diff(other.offset) < N {
        return None;
    }
    let words: [u8; N] = *page.get(other.offset..)?.first_chunk()?;
    Some((page.get_mut(target.offset..)?.first_chunk_mut()?, words))
}

fn each_word<const N: usize>(target: &mut [u8; N], other: &[u8; N], step: impl Fn(u32, u32) -> u32) {
    for (target, other) in target.as_chunks_mut::<4>().0.iter_mut().zip(other.as_chunks::<4>().0) {
        *target = step(u32::from_le_bytes(*target), u32::from_le_bytes(*other)).to_le_bytes();
    }
}

/// Words of `target` become their difference to those of `other`, the first word first.
fn subtract(page: &mut Page, target: Item, other: Item) {
    if let Some((target, other)) = apart::<ITEM_BYTES_MAX>(page, target, other) {
        return each_word(target, &other, u32::wrapping_sub);
    }
    if let Some((target, other)) = apart::<16>(page, target, other) {
        return each_word(target, &other, u32::wrapping_sub);
    }
    for at in shared_words(target, other) {
        let difference = word(page, target.offset + at).wrapping_sub(word(page, other.offset + at));
        set_word(page, target.offset + at, difference);
    }
}

/// Undoes [`subtract`]: the last word first, because items of a damaged page may overlap.
fn add(page: &mut Page, target: Item, other: Item) {
    if let Some((target, other)) = apart::<ITEM_BYTES_MAX>(page, target, other) {
        return each_word(target, &other, u32::wrapping_add);
    }
    if let Some((target, other)) = apart::<16>(page, target, other) {
        return each_word(target, &other, u32::wrapping_add);
    }
    for at in shared_words(target, other).rev() {
        let sum = word(page, target.offset + at).wrapping_add(word(page, other.offset + at));
        set_word(page, target.offset + at, sum);
    }
}

/// The words that both items have; none when they lie on each other, because a word less itself can't be undone.
fn shared_words(target: Item, other: Item) -> impl DoubleEndedIterator<Item = usize> {
    let bytes = if target.offset.abs_diff(other.offset) < 4 { 0 } else { target.bytes.min(other.bytes) };
    (0..bytes).step_by(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A page with a header that counts, these line pointers, and noise.
    fn page(pointers: &[u32], upper: u16, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; PAGE_BYTES];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let lower = (HEADER_BYTES + pointers.len() * 4) as u16;
        for (at, field) in [(12, lower), (14, upper.max(lower)), (16, 8192), (18, SIZE_AND_VERSION)] {
            bytes[at..at + 2].copy_from_slice(&field.to_le_bytes());
        }
        for (at, pointer) in pointers.iter().enumerate() {
            bytes[HEADER_BYTES + at * 4..][..4].copy_from_slice(&pointer.to_le_bytes());
        }
        bytes
    }

    fn assert_comes_back(bytes: &[u8]) -> bool {
        let mut changed = bytes.to_vec();
        let any = filter(&mut changed);
        unfilter(&mut changed);
        assert_eq!(changed, bytes);
        any
    }

    fn pointer() -> impl Strategy<Value = u32> {
        // Items that lie on, across and inside of each other; and any 32 bits.
        prop_oneof![
            4 => (0u32..40, 0u32..4, 0u32..70).prop_map(|(offset, flags, length)| (600 + offset) | (flags << 15) | (length << 17)),
            4 => (0u32..1024, 0u32..300).prop_map(|(offset, length)| (offset * 8) | (1 << 15) | (length << 17)),
            1 => any::<u32>(),
        ]
    }

    proptest! {
        #[test]
        fn every_page_comes_back(pointers in prop::collection::vec(pointer(), 1..140), upper in any::<u16>(), seed in any::<u64>()) {
            prop_assert!(assert_comes_back(&page(&pointers, upper % 8193, seed)));
        }

        #[test]
        fn any_bytes_come_back(mut bytes in prop::collection::vec(any::<u8>(), 0..20), length in 0usize..20_000, lower in any::<u16>()) {
            bytes.resize(length, 0x5A);
            if length > 20 {
                bytes[12..14].copy_from_slice(&(lower % 8192).to_le_bytes());
                bytes[14..20].copy_from_slice(&[0x00, 0x20, 0x00, 0x20, 0x04, 0x20]);
            }
            assert_comes_back(&bytes);
        }
    }

    /// A table's page whose items count up: after the filter all items but the first are the same.
    #[test]
    fn counting_becomes_repetition() {
        let length = 40u32;
        let pointers: Vec<u32> = (1..=100).map(|number| (8192 - number * 40) | (1 << 15) | (length << 17)).collect();
        let mut bytes = page(&pointers, 8192 - 4000, 1);
        for number in 1..=100u32 {
            let item = &mut bytes[8192 - number as usize * 40..][..40];
            item.fill(0);
            item[0..4].copy_from_slice(&77u32.to_le_bytes());
            item[24..28].copy_from_slice(&(1000 + number).to_le_bytes());
        }
        assert!(assert_comes_back(&bytes));
        filter(&mut bytes);
        for number in 2..=100usize {
            let item = &bytes[8192 - number * 40..][..40];
            assert_eq!(item[..24], [0; 24]);
            assert_eq!(item[24..28], 1u32.to_le_bytes());
            assert_eq!(word(bytes.first_chunk().unwrap(), HEADER_BYTES + (number - 1) * 4), (1 << 15) | (length << 17));
        }
    }

    #[test]
    fn what_is_no_page_stays_as_it_is() {
        let mut bytes = page(&[8000 | (1 << 15) | (40 << 17)], 8000, 2);
        bytes[19] = 0x40; // pages of 16 KiB
        let mut filtered = bytes.clone();
        assert!(!filter(&mut filtered));
        assert_eq!(filtered, bytes);
    }
}

//! Putting a segment together from the parts that a receiver stored of it.

use super::archive::TailName;

/// Which parts lead from the segment's first byte as far as possible without a gap, in order; by index.
/// Of the parts that reach the end so far, the one that goes on the longest is taken.
pub(crate) fn chain(tails: &[TailName]) -> Vec<usize> {
    // A prompt receiver stores thousands of a segment: each is looked at once.
    let mut by_start: Vec<usize> = (0..tails.len()).collect();
    by_start.sort_by_key(|index| tails[*index].from);
    let (mut chosen, mut reached, mut longest) = (Vec::new(), 0, None::<usize>);
    let mut waiting = by_start.into_iter().peekable();
    loop {
        while let Some(index) = waiting.next_if(|index| tails[*index].from <= reached) {
            longest = longest.filter(|known| tails[*known].to >= tails[index].to).or(Some(index));
        }
        match longest.filter(|index| tails[*index].to > reached) {
            Some(index) => {
                chosen.push(index);
                reached = tails[index].to;
            }
            None => return chosen,
        }
    }
}

/// How many bytes from the segment's first one the parts cover.
pub(crate) fn reach(tails: &[TailName]) -> u32 {
    chain(tails).last().map_or(0, |last| tails[*last].to)
}

/// Lays a part into the segment. False when it contradicts what lies there already below `reached`.
pub(crate) fn lay(segment: &mut [u8], reached: &mut usize, tail: &TailName, bytes: &[u8]) -> bool {
    let (from, to) = (tail.from as usize, tail.to as usize);
    if from > *reached || to > segment.len() || bytes.len() != to - from {
        return false;
    }
    let overlap = to.min(*reached) - from;
    if segment[from..from + overlap] != bytes[..overlap] {
        return false;
    }
    segment[from + overlap..to].copy_from_slice(&bytes[overlap..]);
    *reached = to.max(*reached);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tails(spans: &[(u32, u32)]) -> Vec<TailName> {
        let segment = "000000010000000000000001".parse().unwrap();
        spans.iter().map(|&(from, to)| TailName { segment, from, to }).collect()
    }

    #[test]
    fn the_longest_way_without_a_gap() {
        for (spans, expected) in [
            (&[][..], 0),
            (&[(8, 16)], 0),
            (&[(0, 8), (8, 16)], 16),
            (&[(0, 8), (9, 16)], 8),
            (&[(8, 16), (0, 8), (0, 10), (4, 6)], 16),
            (&[(0, 8), (2, 20), (8, 12), (20, 21)], 21),
        ] {
            assert_eq!(reach(&tails(spans)), expected, "{spans:?}");
        }
        assert_eq!(chain(&tails(&[(0, 8), (2, 20), (8, 12)])), [0, 1]);
    }

    #[test]
    fn parts_that_contradict_each_other_are_noticed() {
        let parts = tails(&[(0, 4), (2, 6), (8, 9)]);
        let (mut segment, mut reached) = ([0; 8], 0);
        assert!(lay(&mut segment, &mut reached, &parts[0], b"abcd"));
        assert!(!lay(&mut segment, &mut reached, &parts[1], b"cXef"));
        assert!(lay(&mut segment, &mut reached, &parts[1], b"cdef"));
        assert!(!lay(&mut segment, &mut reached, &parts[2], b"g"), "beyond a gap and the end");
        assert!(!lay(&mut segment, &mut reached, &parts[0], b"abc"), "not as long as its name says");
        assert_eq!((&segment, reached), (b"abcdef\0\0", 6));
    }
}

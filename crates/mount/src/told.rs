//! What a journal tells, file by file; and how to say the same in as few records as can be.

use crate::blocks::{BlockSet, blocks_of};
use crate::journal::{FileNumber, Record};
use std::collections::BTreeMap;

/// What is known of one file that was still coming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which of the directories it is in.
    pub root: u32,
    /// What lies behind was never in the point, or was cut off since.
    pub bytes: u64,
    /// Its blocks that are here.
    pub local: BlockSet,
    /// It was to be cut to so many bytes, and nobody knows whether it was.
    pub shortening: Option<u64>,
}

/// What these records tell, in their order.
pub fn told(records: &[Record]) -> BTreeMap<FileNumber, Told> {
    let mut all: BTreeMap<FileNumber, Told> = BTreeMap::new();
    for record in records {
        if let Record::File { number, root, bytes } = record {
            let local = BlockSet::new(blocks_of(*bytes));
            all.insert(*number, Told { root: *root, bytes: *bytes, local, shortening: None });
        } else if let Some(told) = all.get_mut(&record.number()) {
            told.take(record);
        }
    }
    all
}

/// The fewest records that tell the same.
pub fn records(told: &BTreeMap<FileNumber, Told>) -> Vec<Record> {
    told.iter().flat_map(|(number, told)| told.records(*number)).collect()
}

impl Told {
    fn take(&mut self, record: &Record) {
        match record {
            Record::File { .. } => {}
            Record::Local { blocks, .. } => self.local.insert(blocks.clone()),
            Record::Shortening { bytes, .. } => {
                if *bytes < self.bytes {
                    self.bytes = *bytes;
                    self.local.shorten(blocks_of(*bytes));
                }
                self.shortening = Some(*bytes);
            }
            Record::Shortened { .. } => self.shortening = None,
        }
    }

    fn records(&self, number: FileNumber) -> Vec<Record> {
        let mut records = vec![Record::File { number, root: self.root, bytes: self.bytes }];
        records.extend(self.local.runs().into_iter().map(|blocks| Record::Local { number, blocks }));
        records.extend(self.shortening.map(|bytes| Record::Shortening { number, bytes }));
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::BLOCK_BYTES;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn any_record() -> impl Strategy<Value = Record> {
        let (number, bytes) = (0..4u32, || 0..40 * BLOCK_BYTES);
        prop_oneof![
            1 => (number.clone(), 0..3u32, bytes()).prop_map(|(number, root, bytes)| Record::File { number, root, bytes }),
            6 => (number.clone(), 0..40u64, 1..10u64)
                .prop_map(|(number, start, length)| Record::Local { number, blocks: start..start + length }),
            1 => (number.clone(), bytes()).prop_map(|(number, bytes)| Record::Shortening { number, bytes }),
            1 => number.prop_map(|number| Record::Shortened { number }),
        ]
    }

    /// Bytes, blocks, and what is to be cut, done the plain way.
    type Model = BTreeMap<FileNumber, (u64, BTreeSet<u64>, Option<u64>)>;

    fn model(records: &[Record]) -> Model {
        let mut all = Model::new();
        for record in records {
            if let Record::File { number, bytes, .. } = record {
                all.insert(*number, (*bytes, BTreeSet::new(), None));
            }
            let Some((bytes, local, shortening)) = all.get_mut(&record.number()) else { continue };
            match record {
                Record::File { .. } => {}
                Record::Local { blocks, .. } => local.extend(blocks.clone()),
                Record::Shortening { bytes: left, .. } => (*bytes, *shortening) = ((*bytes).min(*left), Some(*left)),
                Record::Shortened { .. } => *shortening = None,
            }
            local.retain(|block| block * BLOCK_BYTES < *bytes);
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn in_fewer_records_the_same_is_told(all in prop::collection::vec(any_record(), 0..60)) {
            let first = told(&all);
            let fewer = records(&first);
            prop_assert_eq!(&told(&fewer), &first);
            prop_assert_eq!(model(&fewer), model(&all));
            prop_assert_eq!(records(&told(&fewer)), &fewer[..]);
            prop_assert!(fewer.len() <= all.len());
            // More may come behind it.
            let (before, behind) = all.split_at(all.len() / 2);
            prop_assert_eq!(&told(&[&records(&told(before)), behind].concat()), &first);
        }
    }
}

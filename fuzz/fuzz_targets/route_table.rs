//! Route tables: what was read is written and read the same, and whatever is heard, in whatever order, leads nobody back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_agent::routing::{Merge, RouteTable};

fuzz_target!(|bytes: &[u8]| {
    let mut merge = Merge::new("shop");
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(table) = RouteTable::decode(line) else { continue };
        assert_eq!(RouteTable::decode(&table.encode()).unwrap(), table);
        let before = merge.table().clone();
        merge.hear(&table);
        let now = merge.table();
        assert!(now.epoch >= before.epoch && now.version >= before.version);
        if let (true, Some(one), Some(other)) = (now.epoch == before.epoch, &now.primary, &before.primary) {
            assert_eq!(one.name, other.name);
        }
    }
});

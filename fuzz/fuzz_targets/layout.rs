//! Paths of a data directory: a file is never a directory, and a relation is one by its own name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::layout::{FileKind, Fork, Layout, Place, Treatment, unlogged};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (old, is_directory, bytes) = input;
    let layout = Layout::new(if old { MajorVersion::V14 } else { MajorVersion::V17 }, 202_406_281);
    let path = Path::new(OsStr::from_bytes(bytes));
    let treatment = layout.classify(path, is_directory);
    match &treatment {
        Treatment::Copy(_) => assert!(!is_directory),
        Treatment::Descend => assert!(is_directory),
        Treatment::KeepDirectoryOnly | Treatment::LeaveOut => {}
    }
    if let Treatment::Copy(FileKind::Relation(file)) = &treatment {
        let directory = match file.place {
            Place::Global => "global".to_owned(),
            Place::Database { database } => format!("base/{database}"),
            Place::Tablespace { tablespace, database } => {
                format!("pg_tblspc/{tablespace}/{}/{database}", layout.tablespace_directory())
            }
        };
        let mut name = file.relfilenode.to_string();
        if file.fork != Fork::Main {
            name = format!("{name}_{}", file.fork);
        }
        if file.segment_number != 0 {
            name = format!("{name}.{}", file.segment_number);
        }
        assert_eq!(layout.classify(&Path::new(&directory).join(&name), false), treatment);
        let _ = file.first_block(131_072);
        let names = unlogged([OsStr::new(&name)]);
        assert!(!file.is_reset_at_start(&names));
    }
});

//! `pg_filenode.map`: the files of `pg_class` and the few catalogs that are needed to read it.
//!
//! Source: `relmapper.c` of PostgreSQL 14 to 18: room for 62 entries up to 15, for 64 from 16 on.

use crate::little_endian::u32_at;
use std::collections::BTreeMap;

/// No version writes more.
pub const FILENODE_MAP_BYTES_MAX: usize = 1024;

const MAGIC: u32 = 0x0059_2717;
const ENTRIES_MAX: u32 = 64;
const HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 8;

/// Bytes that are no map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each says what it is in its message.
pub enum FilenodeMapError {
    #[error("pg_filenode.map begins with {found:X}, which no supported version of PostgreSQL writes")]
    Magic { found: u32 },
    #[error("pg_filenode.map claims {found} entries, more than there is room for")]
    TooMany { found: u32 },
    #[error("pg_filenode.map ends too early")]
    TooShort,
    #[error("the checksum of pg_filenode.map is wrong")]
    Checksum,
}

/// The file of each catalog in the map, by the catalog's oid.
pub fn parse_filenode_map(bytes: &[u8]) -> Result<BTreeMap<u32, u32>, FilenodeMapError> {
    let field = |at| u32_at(bytes, at).ok_or(FilenodeMapError::TooShort);
    let (magic, count) = (field(0)?, field(4)?);
    if magic != MAGIC {
        return Err(FilenodeMapError::Magic { found: magic });
    }
    if count > ENTRIES_MAX {
        return Err(FilenodeMapError::TooMany { found: count });
    }
    // Behind the entries, used or not; which of the two numbers it is, only the sum itself can tell.
    let is_right = |entries: usize| {
        let end = HEADER_BYTES + entries * ENTRY_BYTES;
        entries >= count as usize
            && bytes.get(..end).is_some_and(|front| u32_at(bytes, end) == Some(crc32c::crc32c(front)))
    };
    if bytes.len() < HEADER_BYTES + 62 * ENTRY_BYTES + 4 {
        return Err(FilenodeMapError::TooShort);
    }
    if !is_right(62) && !is_right(64) {
        return Err(FilenodeMapError::Checksum);
    }
    let entry = |number: usize| {
        let at = HEADER_BYTES + number * ENTRY_BYTES;
        Ok((field(at)?, field(at + 4)?))
    };
    (0..count as usize).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(u32, u32)], room: usize) -> Vec<u8> {
        let mut bytes = [MAGIC, entries.len() as u32].map(u32::to_le_bytes).concat();
        entries.iter().for_each(|(oid, file)| bytes.extend([*oid, *file].map(u32::to_le_bytes).concat()));
        bytes.resize(HEADER_BYTES + room * ENTRY_BYTES, 0);
        let sum = crc32c::crc32c(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    #[test]
    fn both_sizes_are_read_and_damage_is_seen() {
        let entries = [(1259, 1259), (1249, 16400)];
        for room in [62, 64] {
            let mut bytes = map(&entries, room);
            // PostgreSQL 15 and older fill it up to 512 bytes.
            bytes.extend([0; 4]);
            assert_eq!(parse_filenode_map(&bytes), Ok(entries.into_iter().collect()), "{room}");
            bytes[12] ^= 1;
            assert_eq!(parse_filenode_map(&bytes), Err(FilenodeMapError::Checksum));
            assert_eq!(parse_filenode_map(&bytes[..40]), Err(FilenodeMapError::TooShort));
            bytes[4] = 65;
            assert_eq!(parse_filenode_map(&bytes), Err(FilenodeMapError::TooMany { found: 65 }));
            bytes[0] = 0;
            assert!(matches!(parse_filenode_map(&bytes), Err(FilenodeMapError::Magic { .. })));
        }
    }
}

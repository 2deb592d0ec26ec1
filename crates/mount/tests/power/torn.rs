//! The power goes while the journal is written: whatever is found of its last frame, it says all of it or nothing, or it is refused.

use super::{FILE, SECTOR_BYTES, World, origin_sector, sector};
use lifeboat_mount::overlay::Overlay;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A header lies in one sector: there it is whole or not there, as disks promise.
const HEADER_BYTES: usize = 16;

fn journal(world: &World) -> PathBuf {
    world.directory.path().join(".lifeboat-mount/journal")
}

fn noise(length: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What lies behind the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    Zeros,
    Noise,
}

impl Behind {
    fn bytes(self, length: usize) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Zeros => vec![0; length],
            Self::Noise => noise(length, length),
        }
    }
}

#[test]
fn whatever_is_found_of_the_last_frame_says_all_of_it_or_nothing() {
    let mut world = World::new(64 * SECTOR_BYTES);
    // What was acknowledged, and what was on its way.
    world.write(0, 4);
    world.sync();
    let before = std::fs::read(journal(&world)).unwrap();
    // Every other block: as many records as there are runs.
    (0..3u64).for_each(|block| world.write(4 + 4 * block, 2));
    world.with(|overlay, file| {
        let lazy = overlay.lazy(&rustix::fs::fstat(file).unwrap()).unwrap();
        overlay.sync(&lazy, file).unwrap();
    });
    let after = std::fs::read(journal(&world)).unwrap();
    assert!(after.len() > before.len() && after.starts_with(&before));
    let length = u32::from_le_bytes(after[before.len()..before.len() + 4].try_into().unwrap()) as usize;
    let body = before.len() + HEADER_BYTES + length;
    world.overlay = None;
    let mut refused = 0;
    // At every byte that says something, and here and there of what only fills it up.
    for cut in (before.len()..=body).chain((body..=after.len()).step_by(501)).chain([after.len()]) {
        for behind in [Behind::Nothing, Behind::Zeros, Behind::Noise] {
            let torn = [&after[..cut], &behind.bytes(after.len() - cut)].concat();
            std::fs::write(journal(&world), &torn).unwrap();
            let is_whole = torn.get(..body) == Some(&after[..body]);
            let in_header = cut < before.len() + HEADER_BYTES && behind != Behind::Nothing;
            match Overlay::open(
                &[world.directory.path().to_path_buf()],
                Box::new(super::Origin { bytes: world.origin_bytes }),
            ) {
                Ok(overlay) => must_hold(&world, overlay, is_whole, &format!("cut at {cut}, then {behind:?}")),
                Err(error) => {
                    assert!(in_header, "cut at {cut}, then {behind:?}: {error}");
                    refused += 1;
                }
            }
        }
    }
    // What no disk leaves is refused rather than believed; a frame of which nothing came is none.
    assert!((1..=2 * HEADER_BYTES).contains(&refused), "{refused}");
}

/// What was acknowledged is there; of the rest all or nothing.
fn must_hold(world: &World, overlay: Overlay, is_whole: bool, what: &str) {
    let file = OpenOptions::new().read(true).write(true).open(world.path()).unwrap();
    let lazy = overlay.lazy(&rustix::fs::fstat(&file).unwrap()).unwrap();
    let read = |number: u64| {
        let mut room = vec![0; SECTOR_BYTES as usize];
        overlay.read(&lazy, &file, number * SECTOR_BYTES, &mut room).unwrap();
        room
    };
    assert!((0..4).all(|number| read(number) == sector(1, number)), "{what}: what was acknowledged");
    for block in 0..3u32 {
        let number = 4 + 4 * u64::from(block);
        let expected = if is_whole { sector(block + 2, number) } else { origin_sector(number) };
        // It is read from the point, over which the write lies that no journal tells of: never a mixture.
        assert!(read(number) == expected, "{what}: sector {number}, whole: {is_whole}");
    }
    drop(overlay);
    restore(world, &file);
}

/// What the write left there, for the next cut.
fn restore(world: &World, file: &File) {
    for block in 0..3u32 {
        let number = 4 + 4 * u64::from(block);
        let bytes: Vec<u8> = (number..number + 2).flat_map(|number| sector(block + 2, number)).collect();
        file.write_all_at(&bytes, number * SECTOR_BYTES).unwrap();
    }
    assert_eq!(world.overlay.as_ref().map(|overlay| overlay.numbers()), None, "{FILE} is opened anew each time");
}

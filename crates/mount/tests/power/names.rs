//! The power goes before a directory is synced: what was removed is there again, what was renamed has its old name, what was made is gone;
//! and whatever has its name back has its content, too.

use super::{FILE, SECTOR_BYTES, Step, World, any_step};
use lifeboat_mount::overlay::Overlay;
use proptest::prelude::*;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

#[derive(Debug, Clone)]
enum Change {
    /// The file gets another name, or its first one again.
    Rename,
    /// The same, over a file that somebody made there.
    RenameOver,
    /// It is removed, maybe another one of its name is made and written, and the power goes.
    Remove {
        is_made_again: bool,
    },
    /// What has changed of names is durable.
    SyncDirectory,
    Other(Step),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::Rename),
        1 => Just(Change::RenameOver),
        2 => any::<bool>().prop_map(|is_made_again| Change::Remove { is_made_again }),
        1 => Just(Change::SyncDirectory),
        8 => any_step().prop_map(Change::Other),
    ]
}

/// The directory, as the disk has it and as it looks.
struct Names {
    world: World,
    /// Under which name it is found after the power went.
    durable: PathBuf,
}

impl Names {
    fn other(&self) -> PathBuf {
        let [one, other] = ["file", "renamed"].map(|name| self.world.directory.path().join(name));
        if self.world.path() == one { other } else { one }
    }

    fn rename(&mut self) {
        let to = self.other();
        std::fs::rename(self.world.path(), &to).unwrap();
        self.world.name = to.file_name().unwrap().to_str().unwrap().to_owned();
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Rename => self.rename(),
            Change::RenameOver => {
                std::fs::write(self.other(), b"somebody made it").unwrap();
                self.rename();
            }
            Change::Remove { is_made_again } => self.remove(*is_made_again),
            Change::SyncDirectory => self.sync(),
            Change::Other(step @ Step::LosePower { .. }) => {
                // Before the sectors are looked at: it is opened under the name that the disk has.
                self.lose_names();
                self.world.step(step);
            }
            Change::Other(step) => self.world.step(step),
        }
    }

    fn sync(&mut self) {
        File::open(self.world.directory.path()).unwrap().sync_all().unwrap();
        self.durable = self.world.path();
    }

    /// What was changed since the last sync of the directory has never been.
    fn lose_names(&mut self) {
        let durable = self.durable.clone();
        if durable != self.world.path() {
            std::fs::rename(self.world.path(), &durable).unwrap();
            self.world.name = durable.file_name().unwrap().to_str().unwrap().to_owned();
        }
    }

    fn remove(&mut self, is_made_again: bool) {
        // What all of came may lose its second name, too, and then nothing can bring it back here.
        let missing = |overlay: &Overlay| !overlay.missing(FILE, 0..u64::MAX / 2).is_empty();
        if !self.world.overlay.as_ref().is_some_and(missing) {
            return;
        }
        let second = self.second_name(std::fs::metadata(self.world.path()).unwrap().ino()).unwrap();
        std::fs::remove_file(self.world.path()).unwrap();
        if is_made_again {
            let made = OpenOptions::new().read(true).write(true).create_new(true).open(self.world.path()).unwrap();
            made.write_all_at(&[9; SECTOR_BYTES as usize], 0).unwrap();
            let overlay = self.world.overlay.as_ref().unwrap();
            assert!(overlay.lazy(&rustix::fs::fstat(&made).unwrap()).is_none(), "it is another file");
        }
        // Of what is removed nothing comes, and nothing of it is retired but when that is durable.
        let overlay = self.world.overlay.as_ref().unwrap();
        overlay.bring(FILE, 0..u64::MAX / 2).unwrap();
        overlay.settle_all().unwrap();
        assert_eq!(overlay.numbers(), [FILE]);
        // A disk that forgets both has the first name again.
        let _ = std::fs::remove_file(self.world.path());
        std::fs::hard_link(&second, self.world.path()).unwrap();
        // What was settled meanwhile stays.
        self.world.is_durable();
        self.lose_names();
        self.world.step(&Step::LosePower { fate: 0x5555_3333_0f0f_a5a5 });
    }

    fn second_name(&self, inode: u64) -> Option<PathBuf> {
        let mut left = vec![self.world.directory.path().join(".lifeboat-mount")];
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(&directory).ok()? {
                let entry = entry.unwrap();
                let data = entry.metadata().unwrap();
                if data.is_dir() {
                    left.push(entry.path());
                } else if data.ino() == inode {
                    return Some(entry.path());
                }
            }
        }
        None
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_has_its_name_back_has_its_content(
        origin_bytes in 1u64..60 * SECTOR_BYTES,
        changes in prop::collection::vec(any_change(), 1..40),
    ) {
        let world = World::new(origin_bytes);
        let durable = world.path();
        let mut names = Names { world, durable };
        changes.iter().for_each(|change| names.change(change));
        let all = 0..names.world.now.len() as u64;
        names.world.check(all);
    }
}

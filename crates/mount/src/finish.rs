//! The end: every trace is removed, and the directories are what they seem to be.
//!
//! Promise: after a stop between any two steps, whoever comes back finds what is left and ends it, or there is nothing to end.

use crate::overlay::{JOURNAL, JOURNAL_UNFINISHED, ORIGIN};
use crate::root::Root;
use crate::view::View;
use std::io;

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What came is durable, and so is that no file has a second name.
    Sync,
    /// What was held back gets its name.
    Name,
    /// The journal forgets all files: whoever comes back misses none, whatever is gone.
    Forget,
    /// The place for second names of one of the directories goes.
    RemoveFiles(usize),
    /// What whoever made it must know to come back: from now on nobody need.
    RemoveOrigin,
    /// The journal itself.
    RemoveJournal,
    /// What is left in one of the directories.
    RemovePrivate(usize),
}

/// All of them, for so many directories. The first has the journal, and goes last.
pub fn steps(roots: usize) -> Vec<Step> {
    let others = (1..roots).flat_map(|root| [Step::RemoveFiles(root), Step::RemovePrivate(root)]);
    let first = [Step::RemoveFiles(0), Step::RemoveOrigin, Step::RemoveJournal, Step::RemovePrivate(0), Step::Sync];
    [Step::Sync, Step::Name, Step::Forget].into_iter().chain(others).chain(first).collect()
}

/// Does one, of those that need no journal. What was done before is no error.
pub fn take(step: Step, roots: &[Root], view: &View) -> io::Result<()> {
    let Some(first) = roots.first() else { return Ok(()) };
    match (step, first.private()?) {
        (Step::Sync, _) => roots.iter().try_for_each(Root::sync),
        (Step::Name, _) => match (&view.held_back, view.held_back_name()) {
            (Some(seen), Some(stored)) => first.rename(&stored, seen),
            _ => Ok(()),
        },
        (Step::RemoveFiles(root), _) => roots[root].private()?.map_or(Ok(()), |private| private.remove_files()),
        (Step::RemovePrivate(root), _) => roots[root].remove_private(),
        (Step::RemoveOrigin, Some(private)) => {
            private.remove(JOURNAL_UNFINISHED)?;
            private.remove(ORIGIN)?;
            // Never the journal without the origin after a crash, as if it were still to come back to.
            private.sync()
        }
        (Step::RemoveJournal, Some(private)) => private.remove(JOURNAL),
        (Step::RemoveOrigin | Step::RemoveJournal, None) | (Step::Forget, _) => Ok(()),
    }
}

/// Ends what a stop interrupted after its last file had come and its origin was gone. Only where nothing else can be meant.
pub fn end_the_rest(root: &Root) -> io::Result<()> {
    let Some(private) = root.private()? else { return Ok(()) };
    if private.has(JOURNAL)? {
        private.remove(JOURNAL)?;
        return root.remove_private();
    }
    // One in which files were being made has something in it, and stays.
    match root.remove_empty_private() {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::BLOCK_BYTES;
    use crate::journal::FileNumber;
    use crate::overlay::{NewFile, Overlay, create, is_made, origin_of};
    use crate::source::{Piece, Sink, Source, SourceError};
    use std::fs;
    use std::ops::Range;
    use std::path::PathBuf;

    struct Ones;

    impl Source for Ones {
        fn fetch(&self, _: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
            Ok(sink(range.start, Piece::Bytes(&vec![1; (range.end - range.start) as usize]))?)
        }
    }

    fn opened(roots: &[PathBuf]) -> Overlay {
        Overlay::open(roots, Box::new(Ones)).unwrap()
    }

    #[test]
    fn what_was_interrupted_anywhere_is_ended() {
        for done in 0..=steps(3).len() {
            let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
            let roots: Vec<PathBuf> = directories.iter().map(|directory| directory.path().to_path_buf()).collect();
            fs::write(roots[0].join("control.held-back"), b"control").unwrap();
            let view = View { held_back: Some("control".into()) };
            let new =
                |root| NewFile { number: root as u32, root, path: "file".into(), bytes: BLOCK_BYTES, mode: 0o600 };
            create(&roots, &[new(0), new(1), new(2)], None, b"origin").unwrap();
            let overlay = opened(&roots);
            for number in overlay.numbers() {
                overlay.bring(number, 0..BLOCK_BYTES).unwrap();
                overlay.settle(number).unwrap();
            }
            steps(3)[..done].iter().for_each(|step| overlay.last(*step, &view).unwrap());
            drop(overlay);
            // As whoever comes back does it.
            if let Some(origin) = origin_of(&roots[0]).unwrap() {
                assert_eq!(origin, b"origin");
                opened(&roots).finish(&view).unwrap();
            }
            for root in &roots {
                let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                names.sort();
                let expected = if root == &roots[0] { vec!["control", "file"] } else { vec!["file"] };
                assert_eq!(names, expected, "after {:?}", &steps(3)[..done]);
                assert_eq!(fs::read(root.join("file")).unwrap(), [1; BLOCK_BYTES as usize]);
            }
            assert!(!is_made(&roots[0]));
        }
    }

    #[test]
    fn what_was_never_made_to_the_end_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        root.make_private().unwrap();
        root.make_file(1, "file".as_ref(), BLOCK_BYTES, 0o600, None).unwrap();
        assert_eq!(origin_of(directory.path()).unwrap(), None);
        assert!(directory.path().join(".lifeboat-mount/files/1").exists());
    }
}

//! All files that are still coming: made, found again after a stop, retired when they are whole.

mod limited;
mod reads;
mod refused;

pub use limited::Kept;

use crate::finish::{Step, end_the_rest, steps, take};
use crate::journal::{FileNumber, Journal, JournalError, Record};
use crate::lazy::{BringError, LazyFile, finish_shortening};
use crate::limit::Limit;
use crate::part::PartRoom;
use crate::private::Private;
use crate::root::{Identity, PRIVATE_DIRECTORY, Root, stat_of};
use crate::source::{Count, Counted, Source};
use crate::told::{Told, records as records_of, told};
use crate::view::View;
use crate::waiting::{Refusal, Waiting};
use rustix::fs::{OFlags, RawMode, Stat};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The journal, in the first directory. Its name is given last: what has no journal was never finished making.
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const JOURNAL_UNFINISHED: &str = "journal.new";
/// What whoever made it must know to come back.
pub(crate) const ORIGIN: &str = "origin";

/// A file to be.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its number, by which the [`Source`] knows it.
    pub number: FileNumber,
    /// In which directory.
    pub root: usize,
    /// Path from there. The directories on the way exist.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// Permission bits.
    pub mode: RawMode,
}

/// Why there is no overlay.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The file system.
    #[error("{action} {}", .path.display())]
    Io {
        /// Present-tense verb.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What the journal says is wrong.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file isn't what the journal says.
    #[error("file {number} in {} has {found} bytes, the journal says {expected}", .root.display())]
    Size {
        /// Which.
        number: FileNumber,
        /// In which directory.
        root: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// What it should be at least.
        expected: u64,
    },
    /// It was to be finished too early.
    #[error("{files} files are still coming")]
    Unfinished {
        /// How many.
        files: usize,
    },
    /// The journal names a directory that wasn't given.
    #[error("the journal in {} is of {needed} directories, and {given} were given", .root.display())]
    Roots {
        /// The first directory.
        root: PathBuf,
        /// How many there must be.
        needed: usize,
        /// How many were given.
        given: usize,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OverlayError {
    move |source| OverlayError::Io { action, path: path.to_path_buf(), source }
}

/// How much is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrived {
    /// Bytes of the files that are still coming that are here.
    pub bytes_local: u64,
    /// Bytes of the files that are still coming.
    pub bytes: u64,
    /// How many files are still coming.
    pub files: usize,
}

impl Arrived {
    /// Bytes that are not here.
    pub fn bytes_to_come(&self) -> u64 {
        self.bytes - self.bytes_local
    }
}

/// The files of one mount, over one or more directories.
pub struct Overlay {
    roots: Vec<Root>,
    journal: Journal,
    source: Box<dyn Source>,
    files: RwLock<Files>,
    /// Readers and writers that wait for the source just now, or did so in vain.
    waiting: Waiting,
    /// What the source gave to those who waited for it; to those who soon would have; to nobody in particular.
    counts: [Count; 3],
    /// None: all that comes is kept.
    limit: Option<Arc<Limit>>,
}

/// Whom something is fetched for.
#[derive(Debug, Clone, Copy)]
enum For {
    Readers,
    Ahead,
    Rest,
}

/// What came from the source since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fetched {
    /// How often somebody who reads or writes waited for a fetch of its own.
    pub times_waited: u64,
    /// Bytes that came so.
    pub waited_bytes: u64,
    /// Bytes that came for somebody who would soon have asked.
    pub ahead_bytes: u64,
    /// Bytes that nobody asked for yet.
    pub rest_bytes: u64,
}

impl Fetched {
    /// All that came.
    pub fn bytes(&self) -> u64 {
        self.waited_bytes + self.ahead_bytes + self.rest_bytes
    }
}

#[derive(Default)]
struct Files {
    by_identity: HashMap<Identity, FileNumber>,
    by_number: BTreeMap<FileNumber, Coming>,
}

impl Files {
    fn forget(&mut self, number: FileNumber, coming: &Coming) {
        self.by_number.remove(&number);
        self.by_identity.remove(&coming.identity);
    }
}

/// A file that is still coming, and where it is.
#[derive(Clone)]
struct Coming {
    root: usize,
    identity: Identity,
    file: Arc<LazyFile>,
}

/// Whether [`create`] was once done there, and not finished since.
pub fn is_made(root: &Path) -> bool {
    let has_journal = |root: Root| root.private()?.map_or(Ok(false), |private| private.has(JOURNAL));
    Root::open(root).and_then(has_journal).unwrap_or(false)
}

/// What [`create`] was told to keep. None where it was never done, or is finished. Only while nothing is mounted there.
pub fn origin_of(root: &Path) -> io::Result<Option<Vec<u8>>> {
    let root = match Root::open(root) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        root => root?,
    };
    let Some(private) = root.private()? else { return Ok(None) };
    // A stop came between the last steps of the end.
    if !private.has(JOURNAL)? || !private.has(ORIGIN)? {
        end_the_rest(&root)?;
        return Ok(None);
    }
    let mut origin = Vec::new();
    private.open_file(ORIGIN, OFlags::RDONLY)?.read_to_end(&mut origin)?;
    Ok(Some(origin))
}

/// Makes all files, as large as they will be and empty. The first directory keeps the journal, and `origin`: what the caller must
/// know to come back. When this returns, everything in these directories is durable, and [`Overlay::open`] finds it.
pub fn create(
    roots: &[PathBuf],
    files: &[NewFile],
    owner: Option<(u32, u32)>,
    origin: &[u8],
) -> Result<(), OverlayError> {
    let opened: Vec<Root> =
        roots.iter().map(|path| Root::open(path).map_err(failed("open", path))).collect::<Result<_, _>>()?;
    for root in &opened {
        root.make_private().map_err(failed("make a directory in", root.path()))?;
    }
    for file in files {
        let root = &opened[file.root];
        root.make_file(file.number, &file.path, file.bytes, file.mode, owner)
            .map_err(failed("make", &root.path().join(&file.path)))?;
    }
    let Some(first) = opened.first() else { return Ok(()) };
    let record = |file: &NewFile| Record::File { number: file.number, root: file.root as u32, bytes: file.bytes };
    let records: Vec<Record> = files.iter().map(record).collect();
    let private = first.path().join(PRIVATE_DIRECTORY);
    let kept = own(first).and_then(|private| {
        let mut file = private.open_file(ORIGIN, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        file.write_all(origin)?;
        Journal::create_in(private.directory(), JOURNAL_UNFINISHED, &records)
    });
    kept.map_err(failed("write in", &private))?;
    for root in &opened {
        root.sync().map_err(failed("sync", root.path()))?;
    }
    let named = own(first).and_then(|private| {
        private.rename(JOURNAL_UNFINISHED, JOURNAL)?;
        private.sync()
    });
    named.map_err(failed("name the journal in", &private))
}

/// What the mount keeps for itself in a directory where it was made.
fn own(root: &Root) -> io::Result<&Private> {
    root.private()?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl Overlay {
    /// Finds what [`create`] made and what has come since. `roots` are the same, in the same order.
    pub fn open(roots: &[PathBuf], source: Box<dyn Source>) -> Result<Self, OverlayError> {
        let roots: Vec<Root> =
            roots.iter().map(|path| Root::open(path).map_err(failed("open", path))).collect::<Result<_, _>>()?;
        let first = roots.first().map(|root| root.path().to_path_buf()).unwrap_or_default();
        let (journal, records) = match roots.first() {
            Some(root) => Journal::open_in(own(root).map_err(failed("look into", root.path()))?.directory(), JOURNAL)?,
            None => return Err(JournalError::Io(io::ErrorKind::NotFound.into()).into()),
        };
        let mut told = told(&records);
        let needed = told.values().map(|told| told.root as usize + 1).max();
        if let Some(needed) = needed.filter(|needed| *needed > roots.len()) {
            return Err(OverlayError::Roots { root: first, needed, given: roots.len() });
        }
        // A directory where nothing was ever made, such as one whose disk isn't mounted, would look like one in which all is here.
        for root in told.values().map(|told| &roots[told.root as usize]) {
            own(root)
                .and_then(Private::files)
                .map_err(failed("look for files that are still coming in", root.path()))?;
        }
        let mut files = Files::default();
        for (number, told) in &mut told {
            if let Some(coming) = found(*number, told, &roots[told.root as usize], &journal)? {
                files.by_identity.insert(coming.identity, *number);
                files.by_number.insert(*number, coming);
            }
        }
        // What an earlier mount wrote and did not sync may be in memory only, and whoever recovers from a crash takes it for durable.
        for root in &roots {
            root.sync().map_err(failed("sync", root.path()))?;
        }
        // That the others' second names are gone is durable now: nobody asks for them again.
        told.retain(|number, _| files.by_number.contains_key(number));
        journal.shrink(&records_of(&told)).map_err(failed("write the journal in", &first))?;
        let (waiting, counts) = (Waiting::default(), Default::default());
        Ok(Self { roots, journal, source, files: RwLock::new(files), waiting, counts, limit: None })
    }

    /// The directories.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The file, if it is still coming.
    pub fn lazy(&self, stat: &Stat) -> Option<Arc<LazyFile>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let number = files.by_identity.get(&Identity::of(stat))?;
        files.by_number.get(number).map(|coming| coming.file.clone())
    }

    /// An open file of one of the directories, and what is known of it if it is still coming. Then it is open for reading and writing,
    /// whatever it was before: it is read to be written, and written to be read.
    pub fn take_up(&self, root: usize, file: File) -> io::Result<(File, Option<Arc<LazyFile>>)> {
        let identity = Identity::of(&stat_of(&file)?);
        let known = {
            let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
            files
                .by_identity
                .get(&identity)
                .and_then(|number| Some((*number, files.by_number.get(number)?.file.clone())))
        };
        let Some((number, lazy)) = known else { return Ok((file, None)) };
        match self.roots[root].open_number(number) {
            // Just now the last of it came.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((file, None)),
            reopened => {
                let reopened = reopened?;
                if Identity::of(&stat_of(&reopened)?) != identity {
                    return Err(io::Error::other(format!("file {number} has another one's number")));
                }
                Ok((reopened, Some(lazy)))
            }
        }
    }

    /// Numbers of the files that are still coming.
    pub fn numbers(&self) -> Vec<FileNumber> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).by_number.keys().copied().collect()
    }

    /// How much is here.
    pub fn arrived(&self) -> Arrived {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.by_number.values().fold(Arrived { files: files.by_number.len(), ..Arrived::default() }, |sum, coming| {
            let (here, all) = coming.file.progress();
            Arrived { bytes_local: sum.bytes_local + here, bytes: sum.bytes + all, ..sum }
        })
    }

    /// What came from the source since it was opened.
    pub fn fetched(&self) -> Fetched {
        let [(times_waited, waited_bytes), (_, ahead_bytes), (_, rest_bytes)] = self.counts.each_ref().map(Count::now);
        Fetched { times_waited, waited_bytes, ahead_bytes, rest_bytes }
    }

    fn counted(&self, whom: For) -> Counted<'_> {
        Counted::new(&*self.source, &self.counts[whom as usize])
    }

    /// Where what isn't here comes from.
    pub fn source(&self) -> impl Source + '_ {
        self.counted(For::Rest)
    }

    /// Whether somebody has begun to wait for the source just now, or will soon.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.is_soon()
    }

    /// How long the reader or writer has waited for the source who has waited longest.
    pub fn waited_for(&self) -> Option<Duration> {
        self.waiting.longest()
    }

    /// Reads, and brings first what isn't here. Less than asked for at the file's end.
    pub fn read(&self, lazy: &LazyFile, file: &File, offset: u64, room: &mut [u8]) -> Result<usize, BringError> {
        let range = offset..offset + room.len() as u64;
        let _held = lazy.hold(range.clone());
        if !lazy.missing(range.clone()).is_empty() {
            let bring = || lazy.bring_for_read(file, range.clone(), &self.counted(For::Readers));
            let brought = self.while_waiting(range.clone(), bring);
            // What was to come ahead may have failed, and nobody asked for that.
            brought.or_else(|error| match lazy.missing(range.clone()).is_empty() {
                true => Ok(()),
                false => Err(self.in_vain(lazy, range, error)),
            })?;
        }
        Ok(read_full(file, offset, room)?)
    }

    /// Writes, and brings first the rest of blocks that are written in part.
    pub fn write(&self, lazy: &LazyFile, file: &File, offset: u64, data: &[u8]) -> Result<(), BringError> {
        use crate::lazy::Written;
        let _held = lazy.hold(offset..offset + data.len() as u64);
        while let Written::Needs(ranges) = lazy.write(file, offset, data)? {
            for range in ranges {
                let bring = || lazy.bring(file, range.clone(), &self.counted(For::Readers));
                let brought = self.while_waiting(range.clone(), bring);
                brought.map_err(|error| self.in_vain(lazy, range, error))?;
            }
        }
        Ok(())
    }

    /// What of a part of a file isn't here.
    pub fn missing(&self, number: FileNumber, range: Range<u64>) -> Vec<Range<u64>> {
        self.coming(number).map(|coming| coming.file.missing(range)).unwrap_or_default()
    }

    /// Brings a part of a file for nobody in particular. Of a file that was removed nothing comes.
    pub fn bring(&self, number: FileNumber, range: Range<u64>) -> Result<(), BringError> {
        self.bring_for(For::Rest, number, range)
    }

    /// Brings a part of a file for somebody who will soon ask for it: all that nobody asks for waits meanwhile.
    pub fn bring_ahead(&self, number: FileNumber, range: Range<u64>) -> Result<(), BringError> {
        self.waiting.during(|| self.bring_for(For::Ahead, number, range))
    }

    fn bring_for(&self, whom: For, number: FileNumber, range: Range<u64>) -> Result<(), BringError> {
        let Some((coming, file)) = self.open_coming(number)? else { return Ok(()) };
        if stat_of(&file)?.st_nlink < 2 {
            return Ok(());
        }
        let brought = coming.file.bring(&file, range, &self.counted(whom));
        self.make_room();
        brought
    }

    /// Brings a part of a file in the background. Of a file that was removed nothing comes. What others are fetching just now comes
    /// with them.
    pub fn bring_part(&self, number: FileNumber, range: Range<u64>, room: &mut PartRoom) -> Result<(), BringError> {
        let Some((coming, file)) = self.open_coming(number)? else { return Ok(()) };
        if stat_of(&file)?.st_nlink < 2 {
            return Ok(());
        }
        let direct = self.roots[coming.root].open_number_direct(number);
        let _held = coming.file.hold(range.clone());
        while !coming.file.missing(range.clone()).is_empty() {
            let before = coming.file.missing(range.clone());
            coming.file.bring_part((&file, direct.as_ref()), range.clone(), &self.counted(For::Rest), room)?;
            if coming.file.missing(range.clone()) == before {
                // Somebody else fetches all of it.
                return coming.file.bring(&file, range, &self.counted(For::Rest));
            }
        }
        Ok(())
    }

    /// Makes what came of a file durable; one that is whole is retired.
    pub fn settle(&self, number: FileNumber) -> io::Result<()> {
        if self.limit.is_some() {
            return Ok(());
        }
        let Some((coming, file)) = self.open_coming(number)? else { return Ok(()) };
        let is_whole = coming.file.sync(&file, &self.journal)?;
        self.journal.compact_if_long()?;
        if is_whole {
            // At once in the eyes of whoever counts its names.
            let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
            files.forget(number, &coming);
            self.roots[coming.root].retire(number)?;
        }
        Ok(())
    }

    /// As [`Self::settle`], of every file of which something came that isn't in the journal, and of those that are whole.
    pub fn settle_all(&self) -> io::Result<()> {
        // One that is whole may have been synced by whoever wrote last, and that retires nothing.
        let is_due = |file: &LazyFile| file.is_unsettled() || file.progress().0 == file.progress().1;
        let unsettled = |number: &FileNumber| self.coming(*number).is_some_and(|coming| is_due(&coming.file));
        let settled: Vec<io::Result<()>> =
            self.numbers().into_iter().filter(unsettled).map(|number| self.settle(number)).collect();
        // One that can't be is no reason to leave the others.
        settled.into_iter().collect()
    }

    /// Retires files that were removed.
    pub fn retire_removed(&self) -> io::Result<()> {
        let all: Vec<(FileNumber, Coming)> = {
            let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
            files.by_number.iter().map(|(number, coming)| (*number, coming.clone())).collect()
        };
        let mut removed = Vec::new();
        for (number, coming) in all {
            let stat = self.roots[coming.root].stat_number(number)?;
            if stat.is_none_or(|stat| stat.st_nlink < 2) {
                removed.push((number, coming));
            }
        }
        // That their first names are gone must be durable before the second ones go, or the first ones would come back as files of
        // which nobody knows that they aren't whole.
        for (number, root) in self.roots.iter().enumerate() {
            if removed.iter().any(|(_, coming)| coming.root == number) {
                root.sync()?;
            }
        }
        // Forgotten first: without its last name the file is gone, and another one may get its inode.
        {
            let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
            removed.iter().for_each(|(number, coming)| files.forget(*number, coming));
        }
        removed.iter().try_for_each(|(number, coming)| self.roots[coming.root].retire(*number))
    }

    /// Makes what was written to a file durable.
    pub fn sync(&self, lazy: &LazyFile, file: &File) -> io::Result<()> {
        lazy.sync(file, &self.journal).map(drop)
    }

    /// Sets a file's length.
    pub fn set_length(&self, lazy: &LazyFile, file: &File, bytes: u64) -> io::Result<()> {
        lazy.set_length(file, bytes, &self.journal)
    }

    /// Removes every trace, when no file is coming any more: from then on the directories are what they seem to be.
    /// `view` is of the first one: what was held back gets its name.
    pub fn finish(&self, view: &View) -> Result<(), OverlayError> {
        let files = self.numbers().len();
        if files > 0 {
            return Err(OverlayError::Unfinished { files });
        }
        steps(self.roots.len()).into_iter().try_for_each(|step| self.last(step, view))
    }

    /// One of the last steps.
    pub(crate) fn last(&self, step: Step, view: &View) -> Result<(), OverlayError> {
        let first = self.roots.first().map(|root| root.path().to_path_buf()).unwrap_or_default();
        let taken = match step {
            Step::Forget => self.journal.clear(),
            step => take(step, &self.roots, view),
        };
        taken.map_err(failed("finish", &first))
    }

    /// As if the disk were slow: nothing is added to the journal while this is held.
    #[cfg(test)]
    pub(crate) fn hold_journal(&self) -> impl Drop + '_ {
        self.journal.hold()
    }

    fn coming(&self, number: FileNumber) -> Option<Coming> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).by_number.get(&number).cloned()
    }

    /// None when it is no longer coming.
    fn open_coming(&self, number: FileNumber) -> io::Result<Option<(Coming, File)>> {
        let Some(coming) = self.coming(number) else { return Ok(None) };
        match self.roots[coming.root].open_number(number) {
            // Somebody else retired it just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => Ok(Some((coming, file?))),
        }
    }

    fn in_vain(&self, lazy: &LazyFile, bytes: Range<u64>, error: BringError) -> BringError {
        let (number, is_local) = (lazy.number(), error.is_local());
        self.waiting.refused(Refusal {
            number,
            bytes,
            is_local,
            since: Instant::now(),
            why: self.in_words(number, &error),
        });
        error
    }

    /// Does what brings `range` for somebody who waits for it.
    fn while_waiting<T>(&self, range: Range<u64>, act: impl FnOnce() -> T) -> T {
        let bytes = range.end - range.start;
        let expected = self.limit.as_ref().map(|limit| limit.expect(bytes + limit.ahead_bytes_max()));
        self.make_room();
        let result = self.waiting.during(act);
        drop(expected);
        self.make_room();
        result
    }
}

/// A file of which the journal tells, as it is now. None when it was retired. A cut that a crash interrupted is finished.
fn found(number: FileNumber, told: &mut Told, root: &Root, journal: &Journal) -> Result<Option<Coming>, OverlayError> {
    let looked = root.stat_number(number).map_err(failed("look at a file in", root.path()))?;
    let Some(stat) = looked else { return Ok(None) };
    if let Some(bytes) = told.shortening.take() {
        let finish = || finish_shortening(&root.open_number(number)?, number, bytes, journal);
        finish().map_err(failed("cut a file in", root.path()))?;
    }
    let (found, expected) = (stat.st_size as u64, told.bytes);
    if found < expected && !told.local.is_full() {
        return Err(OverlayError::Size { number, root: root.path().to_path_buf(), found, expected });
    }
    let file = Arc::new(LazyFile::recalled(number, told.bytes, told.local.clone()));
    Ok(Some(Coming { root: told.root as usize, identity: Identity::of(&stat), file }))
}

/// Reads until the room is full or the file ends.
pub fn read_full(file: &File, offset: u64, room: &mut [u8]) -> io::Result<usize> {
    use std::os::unix::fs::FileExt;
    let mut done = 0;
    while done < room.len() {
        match file.read_at(&mut room[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(bytes) => done += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

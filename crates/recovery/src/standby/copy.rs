//! A whole cluster, as its server sends it, written to an empty place as a standby.
//!
//! Promise: every file is compared with the server's own list before the control file, without which nothing starts, is written. A copy that
//! fails leaves the place as empty as it was.
//!
//! Not here: asking the server to begin, and the log: the standby gets it from the server's slot, or from the archive.

use super::{SETTINGS_FILE, follow_for_ever, give};
use crate::destination::{Destination, DestinationError, Held, not_inside};
use crate::error::{RecoveryError, Result};
use crate::restore::{RestoreDone, RestoreTo, give_to, place_of, write_settings};
use crate::settings::Setting;
use bytes::Bytes;
use lifeboat_postgres::SystemId;
use lifeboat_postgres::connection::{Error as ServerError, ErrorKind};
use lifeboat_postgres::control::CONTROL_FILE_BYTES;
use lifeboat_postgres::label::TablespaceMap;
use lifeboat_postgres::manifest::{ManifestFile, ManifestReader};
use lifeboat_postgres::replication::{BaseBackup, BaseBackupEvent, BaseTablespace};
use lifeboat_postgres::tar::{TarDecoder, TarEvent, TarKind};
use lifeboat_repository::Progress;
use lifeboat_workload::postgres::restore::{
    CONTROL_FILE, FileSystems, UNFINISHED_MARK, write_control_last, write_small,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::runtime::Handle;

const TABLESPACE_MAP: &str = "tablespace_map";
const MANIFEST: &str = "backup_manifest";
/// The list of a cluster of a million files has some 200 MB.
const MANIFEST_BYTES_MAX: u64 = 1 << 32;
/// The largest file that is kept in memory: `tablespace_map`, or the control file.
const SMALL_BYTES_MAX: u64 = 16 << 20;

/// A copy that a server has begun to send.
pub struct ClusterCopy<'a> {
    pub backup: BaseBackup,
    pub system_id: SystemId,
    /// By [`super::standby_settings`].
    pub settings: &'a [Setting],
    /// What was seen at the place: nothing, or what an interrupted one left.
    pub destination: Destination,
    pub to: &'a RestoreTo,
    pub progress: &'a dyn Progress,
}

/// What a copy would do, for `--dry-run`.
pub fn copy_steps(destination: Destination, to: &RestoreTo) -> Vec<String> {
    let place = to.destination.display();
    let mut steps = vec![match destination {
        Destination::Missing => format!("make the directory {place}"),
        Destination::Empty => format!("use the empty directory {place}"),
        Destination::SameCluster | Destination::Unfinished => {
            format!("remove what an interrupted copy left in {place}")
        }
    }];
    steps.push("have the primary send its files".into());
    for (oid, path) in &to.tablespaces {
        steps.push(format!("write tablespace {oid} to {}", path.display()));
    }
    steps.push("write standby.signal and the settings".into());
    steps.push("write the control file: from then on it can be started".into());
    steps
}

impl ClusterCopy<'_> {
    /// Receives all of it. Call from a thread that may block, within a runtime.
    ///
    /// # Errors
    /// Before the first byte when a tablespace's place is taken; the session's own afterwards.
    pub fn run(mut self) -> Result<RestoreDone> {
        let begun = Instant::now();
        let tablespaces = self.backup.started().tablespaces.clone();
        check_places(&tablespaces, self.to)?;
        let place = &self.to.destination;
        make_directory(place)?;
        let _held = Held::take(place, self.destination, self.system_id)?;
        write_small(&place.join(UNFINISHED_MARK), format!("{}\n", self.system_id).as_bytes())?;
        empty(place)?;
        let outside: BTreeMap<u32, PathBuf> =
            tablespaces.iter().map(|tablespace| (tablespace.oid, place_for(tablespace, self.to))).collect();
        outside.values().try_for_each(|path| make_directory(path))?;
        let mut made = Vec::new();
        let received = self.receive(&outside, &mut made);
        if received.is_err() {
            // What is half there helps nobody, and would be in the way of the next try. Outside, only what we made ourselves is ours.
            let _ = made.iter().try_for_each(std::fs::remove_dir_all);
            let _ = empty(place);
            let _ = std::fs::remove_file(place.join(UNFINISHED_MARK));
        }
        let (bytes_written, files, is_damaged) = received?;
        let note = "the server found damaged pages while it sent them: the standby has them, too";
        Ok(RestoreDone {
            bytes_written,
            bytes_unchanged: 0,
            files,
            seconds: begun.elapsed().as_secs_f64(),
            notes: is_damaged.then(|| note.to_owned()).into_iter().collect(),
        })
    }

    fn receive(&mut self, outside: &BTreeMap<u32, PathBuf>, made: &mut Vec<PathBuf>) -> Result<(u64, u64, bool)> {
        self.progress.phase("copy", self.backup.started().estimated_bytes);
        let places: Vec<PathBuf> = outside.values().chain([&self.to.destination]).cloned().collect();
        let file_systems = FileSystems::open(&places);
        let mut intake = Intake::new(self.to, outside, made, file_systems.is_none());
        let end = loop {
            match Handle::current().block_on(self.backup.next_event())? {
                BaseBackupEvent::Archive(tablespace) => intake.begin(tablespace)?,
                BaseBackupEvent::ArchiveData(bytes) => {
                    self.progress.advance(bytes.len() as u64);
                    intake.take(&bytes)?;
                }
                BaseBackupEvent::Manifest => intake.begin_manifest()?,
                BaseBackupEvent::ManifestData(bytes) => intake.take_manifest(&bytes)?,
                BaseBackupEvent::End(end) => break end,
            }
        };
        let Done { control, bytes, files } = intake.finish()?;
        let place = &self.to.destination;
        write_settings(place, self.settings)?;
        follow_for_ever(self.to)?;
        self.progress.phase("sync", None);
        if let Some(file_systems) = file_systems {
            file_systems.sync().map_err(|error| RecoveryError::file("sync", place, error))?;
        }
        if let Some(owner) = self.to.owner {
            for path in &places {
                give_to(owner, path).map_err(|error| RecoveryError::file("give away", path, error))?;
            }
        }
        give(self.to, &place.join(SETTINGS_FILE))?;
        write_control_last(place, &control)?;
        give(self.to, &place.join(CONTROL_FILE))?;
        let mark = place.join(UNFINISHED_MARK);
        std::fs::remove_file(&mark).map_err(|error| RecoveryError::file("remove", &mark, error))?;
        let sync = || File::open(place)?.sync_all();
        sync().map_err(|error| RecoveryError::file("sync", place, error))?;
        Ok((bytes, files, end.is_damaged))
    }
}

/// A tablespace goes where it was said, or where it is on the server: a place of its own, and empty.
fn check_places(tablespaces: &[BaseTablespace], to: &RestoreTo) -> Result<()> {
    if let Some(oid) = to.tablespaces.keys().find(|oid| tablespaces.iter().all(|known| known.oid != **oid)) {
        let path = to.tablespaces[oid].clone();
        return Err(DestinationError::Taken { path, what: format!("the primary has no tablespace {oid}") }.into());
    }
    for tablespace in tablespaces {
        let path = place_for(tablespace, to);
        not_inside(&path)?;
        if path.starts_with(&to.destination) {
            let outer = to.destination.clone();
            return Err(DestinationError::Inside { path, outer, what: "the data directory itself" }.into());
        }
        if std::fs::read_dir(&path).is_ok_and(|mut listing| listing.next().is_some()) {
            let oid = tablespace.oid;
            let what =
                format!("tablespace {oid} of the primary would go there; --tablespace {oid}=DIR puts it elsewhere");
            return Err(DestinationError::Taken { path, what }.into());
        }
    }
    Ok(())
}

fn place_for(tablespace: &BaseTablespace, to: &RestoreTo) -> PathBuf {
    place_of(tablespace.oid, &tablespace.path.display().to_string(), to)
}

fn make_directory(path: &Path) -> Result<()> {
    let make = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
    };
    make().map_err(|error| RecoveryError::file("make directory", path, error))
}

/// Removes all that is in a directory that is ours, but for the mark that says so.
fn empty(path: &Path) -> Result<()> {
    let remove = || -> io::Result<()> {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name() == UNFINISHED_MARK {
                continue;
            }
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path())?,
                false => std::fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    };
    remove().map_err(|error| RecoveryError::file("empty", path, error))
}

/// What arrived of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arrived {
    bytes: u64,
    crc32c: u32,
}

/// Where the bytes of a file go.
enum Sink {
    Disk(File, PathBuf),
    Memory(Vec<u8>),
}

struct Open {
    name: String,
    sink: Sink,
    arrived: Arrived,
}

/// What it came to.
struct Done {
    control: Vec<u8>,
    bytes: u64,
    files: u64,
}

/// Takes the archives apart.
struct Intake<'a> {
    to: &'a RestoreTo,
    /// Of tablespaces.
    places: &'a BTreeMap<u32, PathBuf>,
    /// Directories outside the data directory that weren't there before.
    made: &'a mut Vec<PathBuf>,
    /// Where one sync for all isn't to be trusted.
    syncs_each: bool,
    decoder: TarDecoder,
    /// The archive that is being read: a tablespace's, or the data directory's.
    tablespace: Option<u32>,
    open: Option<Open>,
    arrived: BTreeMap<String, Arrived>,
    control: Vec<u8>,
    manifest: ManifestReader,
    manifest_file: Option<File>,
    manifest_bytes: u64,
    listed: Vec<ManifestFile>,
}

impl<'a> Intake<'a> {
    fn new(
        to: &'a RestoreTo,
        places: &'a BTreeMap<u32, PathBuf>,
        made: &'a mut Vec<PathBuf>,
        syncs_each: bool,
    ) -> Self {
        Self {
            to,
            places,
            made,
            syncs_each,
            decoder: TarDecoder::default(),
            tablespace: None,
            open: None,
            arrived: BTreeMap::new(),
            control: Vec::new(),
            manifest: ManifestReader::default(),
            manifest_file: None,
            manifest_bytes: 0,
            listed: Vec::new(),
        }
    }

    /// The archive before has ended.
    fn begin(&mut self, tablespace: Option<u32>) -> Result<()> {
        self.decoder.finish().map_err(wrong_by)?;
        (self.decoder, self.tablespace) = (TarDecoder::default(), tablespace);
        Ok(())
    }

    fn take(&mut self, bytes: &Bytes) -> Result<()> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let mut rest: &[u8] = bytes;
        while let Some(event) = decoder.next_event(&mut rest).map_err(wrong_by)? {
            match event {
                TarEvent::Entry(entry) if entry.kind == TarKind::Directory => {
                    self.make_directory(&entry.path, entry.mode)?;
                }
                TarEvent::Entry(entry) => self.open(&entry.path, entry.size, entry.mode)?,
                TarEvent::Data(piece) => self.write(piece)?,
                TarEvent::EntryEnd => self.close()?,
            }
        }
        self.decoder = decoder;
        Ok(())
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        let Some(oid) = self.tablespace else { return Ok(self.to.destination.join(name)) };
        let place = self.places.get(&oid).ok_or_else(|| wrong(format!("tablespace {oid} was not announced")))?;
        Ok(place.join(name))
    }

    fn make_directory(&mut self, name: &str, mode: u32) -> Result<()> {
        let path = self.path(name)?;
        if self.tablespace.is_some() && !name.contains('/') {
            // The one directory of this version in a tablespace: where it is there by now, it is somebody else's.
            let created = std::fs::DirBuilder::new().mode(0o700).create(&path);
            created.map_err(|error| RecoveryError::file("make directory", &path, error))?;
            self.made.push(path.clone());
        } else {
            make_directory(&path)?;
        }
        let mode = std::fs::Permissions::from_mode(mode & 0o770);
        std::fs::set_permissions(&path, mode).map_err(|error| RecoveryError::file("close", &path, error))
    }

    fn open(&mut self, name: &str, size: u64, mode: u32) -> Result<()> {
        let is_kept = self.tablespace.is_none() && (name == CONTROL_FILE || name == TABLESPACE_MAP);
        let sink = match is_kept {
            true if size > SMALL_BYTES_MAX => return Err(wrong(format!("{name} would have {size} bytes"))),
            true => Sink::Memory(Vec::new()),
            false => {
                let path = self.path(name)?;
                let mut options = File::options();
                let file = options.write(true).create_new(true).mode(mode & 0o660).open(&path);
                Sink::Disk(file.map_err(|error| RecoveryError::file("create", &path, error))?, path)
            }
        };
        let name = match self.tablespace {
            Some(oid) => format!("pg_tblspc/{oid}/{name}"),
            None => name.to_owned(),
        };
        self.open = Some(Open { name, sink, arrived: Arrived { bytes: 0, crc32c: 0 } });
        Ok(())
    }

    fn write(&mut self, piece: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return Err(wrong("bytes belong to no file")) };
        open.arrived.bytes += piece.len() as u64;
        open.arrived.crc32c = crc32c::crc32c_append(open.arrived.crc32c, piece);
        match &mut open.sink {
            Sink::Memory(bytes) => bytes.extend_from_slice(piece),
            Sink::Disk(file, path) => {
                file.write_all(piece).map_err(|error| RecoveryError::file("write", path, error))?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        // A directory ends, too.
        let Some(Open { name, sink, arrived }) = self.open.take() else { return Ok(()) };
        match sink {
            Sink::Disk(file, path) if self.syncs_each => {
                file.sync_all().map_err(|error| RecoveryError::file("sync", &path, error))?;
            }
            Sink::Disk(..) => {}
            Sink::Memory(bytes) if name == CONTROL_FILE => self.control = bytes,
            Sink::Memory(bytes) => {
                let map = TablespaceMap::parse(&bytes)?;
                let moved = map.remapped(|oid, path| place_of(oid, &path.display().to_string(), self.to));
                write_small(&self.to.destination.join(TABLESPACE_MAP), &moved.to_bytes())?;
            }
        }
        if self.arrived.insert(name.clone(), arrived).is_some() {
            return Err(wrong(format!("{name} came twice")));
        }
        Ok(())
    }

    fn begin_manifest(&mut self) -> Result<()> {
        self.decoder.finish().map_err(wrong_by)?;
        let path = self.to.destination.join(MANIFEST);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        self.manifest_file = Some(file.map_err(|error| RecoveryError::file("create", &path, error))?);
        Ok(())
    }

    fn take_manifest(&mut self, bytes: &Bytes) -> Result<()> {
        self.manifest_bytes += bytes.len() as u64;
        if self.manifest_bytes > MANIFEST_BYTES_MAX {
            return Err(wrong("its list of files has no end"));
        }
        if let Some(file) = &mut self.manifest_file {
            let path = self.to.destination.join(MANIFEST);
            file.write_all(bytes).map_err(|error| RecoveryError::file("write", &path, error))?;
        }
        let listed = &mut self.listed;
        self.manifest.push(bytes, |file| listed.push(file)).map_err(wrong_by)
    }

    /// Is everything here, as the server lists it?
    fn finish(self) -> Result<Done> {
        self.manifest.finish().map_err(wrong_by)?;
        for file in &self.listed {
            let name = String::from_utf8_lossy(&file.path);
            let expected = Arrived { bytes: file.size, crc32c: file.crc32c };
            match self.arrived.get(name.as_ref()) {
                Some(arrived) if *arrived == expected => {}
                Some(_) => return Err(wrong(format!("{name} arrived otherwise than the server lists it"))),
                None => return Err(wrong(format!("{name} is in the server's list and didn't arrive"))),
            }
        }
        if self.control.len() != CONTROL_FILE_BYTES {
            return Err(wrong("its control file didn't arrive whole"));
        }
        let bytes = self.arrived.values().map(|arrived| arrived.bytes).sum();
        Ok(Done { control: self.control, bytes, files: self.arrived.len() as u64 })
    }
}

fn wrong(why: impl Into<String>) -> RecoveryError {
    ServerError::new(ErrorKind::Protocol, "copy the primary", why).into()
}

fn wrong_by(error: impl std::error::Error + Send + Sync + 'static) -> RecoveryError {
    let why = error.to_string();
    ServerError::new(ErrorKind::Protocol, "copy the primary", why).into()
}

//! What is mounted where on this machine, as far as it is ours.
//!
//! Promise: a mount whose program hangs makes nobody hang who asks here.

use rustix::io::Errno;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

/// What the kernel calls the mounts; behind a colon it may say whose they are.
pub const NAME: &str = "lifeboat";
/// A program that answers does so in less.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What is mounted at a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing, or something that is none of ours.
    Nothing,
    /// A mount of ours. It answers; or it doesn't within two seconds, which is logged, and its program is there.
    Mounted,
    /// A mount of ours whose program is gone: everything in it is an error until it is taken away.
    Stale,
}

/// What is mounted at `path`.
pub fn state_of(path: &Path) -> State {
    let place = real(path);
    if !at(&list(), &place).is_some_and(|mount| mount.is_ours) {
        return State::Nothing;
    }
    let (told, tells) = channel();
    // Not `stat`: the kernel answers that itself from what it was told before.
    let ask = {
        let place = place.clone();
        move || told.send(rustix::fs::statvfs(&place).map(drop))
    };
    let asked = std::thread::Builder::new().name("ask-mount".into()).spawn(ask);
    match asked.map(|_| tells.recv_timeout(ANSWER_WITHIN)) {
        Ok(Ok(Err(Errno::NOTCONN))) => State::Stale,
        Ok(Err(_)) => {
            tracing::warn!("the program that serves {} does not answer", place.display());
            State::Mounted
        }
        _ => State::Mounted,
    }
}

/// All of our mounts on this machine, as far as this process sees them.
pub fn mounts() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = parsed(&list()).filter(|mount| mount.is_ours).map(|mount| mount.place).collect();
    all.sort();
    all.dedup();
    all
}

/// Those of them that were made with this label. A mount whose program is gone has it still.
pub fn mounts_of(label: &str) -> Vec<PathBuf> {
    let source = source(label).into_bytes();
    let ours = |mount: &Listed| mount.is_ours && mount.source == source;
    let mut all: Vec<PathBuf> = parsed(&list()).filter(ours).map(|mount| mount.place).collect();
    all.sort();
    all.dedup();
    all
}

/// What a mount with this label is called.
pub(crate) fn source(label: &str) -> String {
    // These mean something to the programs between us and the kernel.
    let plain = label.replace([',', '\\', '\n', '\t', ' '], "_");
    if plain.is_empty() { NAME.to_owned() } else { format!("{NAME}:{plain}") }
}

/// One mount, as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// No other one has it while this is there; afterwards one may.
    pub number: u64,
    pub is_ours: bool,
    pub place: PathBuf,
    source: Vec<u8>,
}

/// What is mounted at a place, on top of whatever else is.
pub(crate) fn on_top(path: &Path) -> Option<Listed> {
    at(&list(), &real(path))
}

/// Whether one of ours is still there, on top or not.
pub(crate) fn is_there(number: u64) -> bool {
    parsed(&list()).any(|mount| mount.is_ours && mount.number == number)
}

fn list() -> Vec<u8> {
    std::fs::read("/proc/self/mountinfo").unwrap_or_default()
}

/// The list has no links. Of a mount whose program is gone nothing but its place can be known.
fn real(path: &Path) -> PathBuf {
    let parent = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(parent).unwrap_or_else(|| path.to_path_buf())
}

fn at(list: &[u8], place: &Path) -> Option<Listed> {
    parsed(list).filter(|mount| mount.place == place).last()
}

/// See proc_pid_mountinfo(5).
fn parsed(list: &[u8]) -> impl Iterator<Item = Listed> {
    list.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let number = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let place = PathBuf::from(unescaped(words.nth(3)?));
        let mut behind = words.skip_while(|word| *word != b"-").skip(1);
        // Root mounts without a subtype.
        let is_fuse = behind.next().is_some_and(|kind| kind == b"fuse" || kind.starts_with(b"fuse."));
        let source = behind.next().unwrap_or_default().to_vec();
        let label = source.strip_prefix(NAME.as_bytes());
        let is_ours = is_fuse && label.is_some_and(|label| label.is_empty() || label.starts_with(b":"));
        Some(Listed { number, is_ours, place, source })
    })
}

/// A path as the list of mounts has it: blanks and such as octal numbers.
fn unescaped(text: &[u8]) -> OsString {
    let (mut out, mut rest) = (Vec::new(), text);
    while let [byte, behind @ ..] = rest {
        let code = behind.get(..3).filter(|_| *byte == b'\\').and_then(octal);
        out.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &behind[3..] } else { behind };
    }
    OsString::from_vec(out)
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_mounts_are_found_by_place_and_kind() {
        let list = b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                    36 22 0:33 / /data/my\\040shop rw,nosuid,nodev shared:3 - fuse.lifeboat lifeboat rw,user_id=0\n\
                    37 22 0:34 / /data/root rw - fuse lifeboat:/var/cache/a_b rw\n\
                    38 22 0:34 / /data/like rw - fuse lifeboats rw\n\
                    38 22 0:35 / /data/other rw - fuse.sshfs host:/ rw\n\
                    39 22 0:36 / /data/covered rw - fuse lifeboat rw\n\
                    40 39 0:37 / /data/covered rw - tmpfs lifeboat rw\n";
        let found = |path: &str| at(list, Path::new(path)).is_some_and(|mount| mount.is_ours);
        assert!(found("/data/my shop") && found("/data/root"));
        assert!(!found("/data/other") && !found("/data") && !found("/") && !found("/data/covered"));
        assert_eq!(at(list, Path::new("/data/covered")).unwrap().number, 40);
        assert_eq!(parsed(list).filter(|mount| mount.is_ours).count(), 3);
        assert_eq!(parsed(list).nth(2).unwrap().source, source("/var/cache/a,b").into_bytes());
        assert_eq!(source(""), NAME);
        assert_eq!(unescaped(b"a\\134b\\9\\04"), "a\\b\\9\\04");
    }
}

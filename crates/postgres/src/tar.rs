//! The archives that `BASE_BACKUP` sends: tar as PostgreSQL writes it, decoded piece by piece as it arrives.
//!
//! Promise: nothing is kept but one header, whatever arrives; every name that comes out is relative, plain UTF-8 and
//! stays below where it is put. What PostgreSQL never writes (long names, sparse files, devices) is refused: the server
//! itself gives up on a path of more than 99 bytes.
//!
//! Not here: files, compression, what belongs in a backup. Source: `src/port/tar.c`, and POSIX "ustar".

/// Everything in a tar archive is a multiple of this.
const BLOCK_BYTES: usize = 512;
/// No file of a cluster is larger: 2^53 bytes, which also keeps every sum below an overflow.
const FILE_BYTES_MAX: u64 = 1 << 53;

/// The archive isn't one of PostgreSQL's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    #[error("the checksum of a header is wrong")]
    Checksum,
    #[error("the number in field {0} of a header is not valid")]
    Number(&'static str),
    #[error("{0:?} is no name for a file of a cluster")]
    Name(String),
    #[error("{name} is of kind {kind:?}, which PostgreSQL doesn't send")]
    Kind { name: String, kind: char },
    #[error("a file would have {0} bytes")]
    TooLarge(u64),
    #[error("something follows the end of the archive")]
    AfterEnd,
    #[error("the archive ends in the middle of a file")]
    Truncated,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarKind {
    File,
    Directory,
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// Relative, with `/`, without one at its end.
    pub path: String,
    pub kind: TarKind,
    /// Bytes of content that follow; 0 for a directory.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified_unix_seconds: i64,
}

/// What comes out, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum TarEvent<'a> {
    /// An entry begins.
    Entry(TarEntry),
    /// Part of its content, never empty.
    Data(&'a [u8]),
    /// All of its content has come. Directories and empty files have this too.
    EntryEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of the header are there.
    Header(usize),
    /// So many bytes of content and of padding are still to come.
    Content(u64, usize),
    Padding(usize),
    /// Only zeros may follow.
    Ended,
}

/// Takes an archive apart.
#[derive(Debug)]
pub struct TarDecoder {
    state: State,
    header: [u8; BLOCK_BYTES],
}

impl Default for TarDecoder {
    fn default() -> Self {
        Self { state: State::Header(0), header: [0; BLOCK_BYTES] }
    }
}

impl TarDecoder {
    /// The next event; `None` when all of `input`, which is moved along, is used up.
    ///
    /// # Errors
    /// After an error the archive is of no use.
    pub fn next_event<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<TarEvent<'a>>, TarError> {
        loop {
            match self.state {
                State::Content(0, padding) => {
                    self.state = if padding == 0 { State::Header(0) } else { State::Padding(padding) };
                    return Ok(Some(TarEvent::EntryEnd));
                }
                _ if input.is_empty() => return Ok(None),
                State::Header(filled) => {
                    let piece = take(input, BLOCK_BYTES - filled);
                    self.header[filled..filled + piece.len()].copy_from_slice(piece);
                    self.state = State::Header(filled + piece.len());
                    if filled + piece.len() == BLOCK_BYTES
                        && let Some(entry) = self.begin()?
                    {
                        return Ok(Some(TarEvent::Entry(entry)));
                    }
                }
                State::Content(left, padding) => {
                    let piece = take(input, usize::try_from(left).unwrap_or(usize::MAX));
                    self.state = State::Content(left - piece.len() as u64, padding);
                    return Ok(Some(TarEvent::Data(piece)));
                }
                State::Padding(left) => {
                    let rest = left - take(input, left).len();
                    self.state = if rest == 0 { State::Header(0) } else { State::Padding(rest) };
                }
                State::Ended if input.iter().all(|byte| *byte == 0) => *input = &[],
                State::Ended => return Err(TarError::AfterEnd),
            }
        }
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// When it isn't the end of an entry. PostgreSQL 14 leaves out the two blocks of zeros that end an archive.
    pub fn finish(&self) -> Result<(), TarError> {
        match self.state {
            State::Header(0) | State::Ended => Ok(()),
            _ => Err(TarError::Truncated),
        }
    }

    /// A whole header is there.
    fn begin(&mut self) -> Result<Option<TarEntry>, TarError> {
        if self.header.iter().all(|byte| *byte == 0) {
            self.state = State::Ended;
            return Ok(None);
        }
        let entry = decode(&self.header)?;
        let padding = (BLOCK_BYTES - (entry.size % BLOCK_BYTES as u64) as usize) % BLOCK_BYTES;
        self.state = State::Content(entry.size, padding);
        Ok(Some(entry))
    }
}

fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (piece, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    piece
}

fn decode(header: &[u8; BLOCK_BYTES]) -> Result<TarEntry, TarError> {
    let summed =
        header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) });
    if number(&header[148..156], "checksum")? != summed.sum::<u64>() {
        return Err(TarError::Checksum);
    }
    let path = name(header)?;
    let kind = match header[156] {
        b'0' | 0 => TarKind::File,
        b'5' => TarKind::Directory,
        kind => return Err(TarError::Kind { name: path, kind: kind.into() }),
    };
    let size = if kind == TarKind::File { number(&header[124..136], "size")? } else { 0 };
    if size > FILE_BYTES_MAX {
        return Err(TarError::TooLarge(size));
    }
    let small = |range: std::ops::Range<usize>, field| {
        u32::try_from(number(&header[range], field)?).map_err(|_| TarError::Number(field))
    };
    Ok(TarEntry {
        path,
        kind,
        size,
        mode: small(100..108, "mode")? & 0o7777,
        uid: small(108..116, "uid")?,
        gid: small(116..124, "gid")?,
        modified_unix_seconds: i64::try_from(number(&header[136..148], "mtime")?)
            .map_err(|_| TarError::Number("mtime"))?,
    })
}

/// The path, in the one field that PostgreSQL uses for it.
fn name(header: &[u8; BLOCK_BYTES]) -> Result<String, TarError> {
    let bytes = header[..100].split(|byte| *byte == 0).next().unwrap_or_default();
    let prefix_is_empty = header[345..500].iter().all(|byte| *byte == 0);
    let wrong = || TarError::Name(String::from_utf8_lossy(bytes).into_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    let text = text.strip_prefix("./").unwrap_or(text);
    let path = text.strip_suffix('/').unwrap_or(text);
    let is_plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if is_plain && prefix_is_empty { Ok(path.to_owned()) } else { Err(wrong()) }
}

/// Octal digits, or for what doesn't fit a set high bit and a number of bytes, highest first.
fn number(field: &[u8], what: &'static str) -> Result<u64, TarError> {
    let wrong = TarError::Number(what);
    if field.first().is_some_and(|byte| *byte == 0x80) {
        let (high, low) = field[1..].split_at(field.len().saturating_sub(9));
        let fits = high.iter().all(|byte| *byte == 0);
        return if fits { Ok(low.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))) } else { Err(wrong) };
    }
    let text = std::str::from_utf8(field).map_err(|_| wrong.clone())?;
    let digits = text.trim_matches(|c| c == ' ' || c == '\0');
    if digits.is_empty() || !digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
        return Err(wrong);
    }
    u64::from_str_radix(digits, 8).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As PostgreSQL's `tarCreateHeader`.
    fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK_BYTES];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000600");
        block[108..115].copy_from_slice(b"0000145");
        block[116..123].copy_from_slice(b"0000146");
        if size < 1 << 33 {
            block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        } else {
            block[124] = 0x80;
            block[128..136].copy_from_slice(&size.to_be_bytes());
        }
        block[136..147].copy_from_slice(b"14730000000");
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[263..265].copy_from_slice(b"00");
        sign(&mut block);
        block
    }

    fn sign(block: &mut [u8]) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }

    fn file(name: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes = header(name, b'0', content.len() as u64);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        bytes
    }

    type Files = Vec<(TarEntry, Vec<u8>)>;

    fn decode_all(bytes: &[u8], piece: usize) -> Result<Files, TarError> {
        let (mut decoder, mut files, mut open): (_, Files, _) = (TarDecoder::default(), Vec::new(), false);
        for mut part in bytes.chunks(piece.max(1)) {
            while let Some(event) = decoder.next_event(&mut part)? {
                match event {
                    TarEvent::Entry(entry) => files.push((entry, Vec::new())),
                    TarEvent::Data(data) => files.last_mut().unwrap().1.extend(data),
                    TarEvent::EntryEnd => {
                        let (entry, content) = files.last().unwrap();
                        assert_eq!(entry.size, content.len() as u64);
                    }
                }
                open = true;
            }
        }
        assert!(open || bytes.is_empty() || files.is_empty());
        decoder.finish().map(|()| files)
    }

    #[test]
    fn files_directories_and_large_numbers() {
        let mut bytes = header("base/", b'5', 0);
        bytes.extend(file("base/1/PG_VERSION", b"18\n"));
        bytes.extend(file("empty", b""));
        bytes.extend([0; 1024]);
        let found = decode_all(&bytes, 100).unwrap();
        let names: Vec<_> = found.iter().map(|(entry, _)| (entry.path.as_str(), entry.kind)).collect();
        let expected = [("base", TarKind::Directory), ("base/1/PG_VERSION", TarKind::File), ("empty", TarKind::File)];
        assert_eq!(names, expected);
        let (entry, content) = &found[1];
        assert_eq!((entry.mode, entry.uid, entry.gid, content.as_slice()), (0o600, 101, 102, b"18\n".as_slice()));
        assert_eq!(entry.modified_unix_seconds, 0o14730000000);
        let big = header("big", b'0', 1 << 40);
        let Some(TarEvent::Entry(entry)) = TarDecoder::default().next_event(&mut &big[..]).unwrap() else { panic!() };
        assert_eq!(entry.size, 1 << 40);
    }

    #[test]
    fn what_postgresql_never_sends_is_refused() {
        for name in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", ".."] {
            assert!(matches!(decode_all(&header(name, b'0', 0), 512), Err(TarError::Name(_))), "{name:?}");
        }
        for kind in *b"123467LKxgSV" {
            assert!(matches!(decode_all(&header("a", kind, 0), 512), Err(TarError::Kind { .. })), "{kind}");
        }
        assert_eq!(decode_all(&header("a", b'0', 1 << 60), 512), Err(TarError::TooLarge(1 << 60)));
        let mut wrong = file("a", b"b");
        wrong[0] = b'c';
        assert_eq!(decode_all(&wrong, 512), Err(TarError::Checksum));
        let mut after = file("a", b"b");
        after.extend([0; 512]);
        after.extend(file("c", b"d"));
        assert_eq!(decode_all(&after, 4096), Err(TarError::AfterEnd));
    }

    #[test]
    fn an_archive_may_end_only_between_files() {
        let mut bytes = file("a", b"content");
        bytes.extend(file("b", b""));
        for end in 0..=bytes.len() {
            let is_between = [0, 1024, 1536].contains(&end);
            assert_eq!(decode_all(&bytes[..end], 64).is_ok(), is_between, "{end}");
        }
    }

    proptest! {
        #[test]
        fn files_arrive_whole_however_they_are_cut(
            files in prop::collection::vec(("[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..1500)), 0..5),
            piece in 1usize..2000,
        ) {
            let bytes: Vec<u8> = files.iter().flat_map(|(name, content)| file(name, content)).collect();
            let found = decode_all(&bytes, piece).unwrap();
            let found: Vec<_> = found.into_iter().map(|(entry, content)| (entry.path, content)).collect();
            prop_assert_eq!(found, files);
        }

        #[test]
        fn no_bytes_make_it_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..2000), piece in 1usize..600, signed in any::<bool>(),
        ) {
            if signed && bytes.len() >= BLOCK_BYTES {
                sign(&mut bytes[..BLOCK_BYTES]);
            }
            let mut decoder = TarDecoder::default();
            for mut part in bytes.chunks(piece) {
                while let Ok(Some(_)) = decoder.next_event(&mut part) {}
            }
        }
    }
}

//! Records out of a stream of bytes.
//!
//! Bytes go in as they come, in pieces of any length; a record comes out once it is complete and its checksum is right.
//! Between pieces only the record under way is kept, and of it no more than the caller asked for. The log has no mark
//! at its end: it ends where the next record can't be one. What lies there (zeros, or pages of a recycled segment) is
//! told apart by length, checksum, page address and the backward pointer, as PostgreSQL does it.

use super::page_header::{LONG_HEADER_BYTES, LogPageHeader, SHORT_HEADER_BYTES, version_of_magic};
use super::record::{RECORD_BYTES_MAX, RECORD_HEADER_BYTES, Record, RecordHeader, ResourceManager};
use crate::little_endian::{u16_at, u32_at, u64_at};
use crate::wal_file::SegmentSize;
use crate::{Lsn, MajorVersion, SystemId, TimelineId};

/// Enough for every commit but one with millions of subtransactions.
pub const KEPT_BYTES_DEFAULT: usize = 16 << 20;

/// Which bodies to keep. All are read and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// None: headers only.
    Nothing,
    /// Those of commits, aborts, restore points and their kin.
    Transactions,
    /// All.
    Everything,
}

/// How to read a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderSettings {
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// The size of the log's pages: 8192 unless PostgreSQL was built otherwise. A power of two of at least 1024.
    pub block_bytes: u32,
    /// Which cluster it must be; none: that of the first segment read.
    pub system_id: Option<SystemId>,
    /// Which bodies to keep.
    pub keep: Keep,
    /// How many bytes of a body to keep at most.
    pub kept_bytes_max: usize,
    /// Longer records end the log. At most [`RECORD_BYTES_MAX`].
    pub record_bytes_max: u32,
}

impl DecoderSettings {
    /// For a cluster with segments of that size: transactions kept, no other limit than PostgreSQL's.
    pub fn new(segment_size: SegmentSize) -> Self {
        Self {
            segment_size,
            block_bytes: 8192,
            system_id: None,
            keep: Keep::Transactions,
            kept_bytes_max: KEPT_BYTES_DEFAULT,
            record_bytes_max: RECORD_BYTES_MAX,
        }
    }
}

/// Where the valid log ends, and why there. Not by itself an error: every log that is being written ends so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log ends at {at}: {reason}")]
pub struct EndOfLog {
    /// The end of the last valid record.
    pub at: Lsn,
    /// What comes next.
    pub reason: EndReason,
}

/// Why what comes next is not part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each says what it is in its message.
#[non_exhaustive]
pub enum EndReason {
    #[error("zeros follow")]
    Zeros,
    #[error("the page at {page} has no valid header")]
    PageHeader { page: Lsn },
    #[error("the page at {page} holds the log from {found}, left from an earlier use of the file")]
    PageAddress { page: Lsn, found: Lsn },
    #[error("the page at {page} is of timeline {found}, older than the one before")]
    Timeline { page: Lsn, found: TimelineId },
    #[error("the page at {page} is of the cluster {found}")]
    SystemId { page: Lsn, found: SystemId },
    #[error("the page at {page} is of a cluster with another segment or page size, or another version")]
    Format { page: Lsn },
    #[error("the record at {record} isn't continued on the page at {page}")]
    Continuation { record: Lsn, page: Lsn },
    #[error("the record at {record} claims {found} bytes")]
    Length { record: Lsn, found: u32 },
    #[error("the record at {record} follows one at {found}, which is not the one before")]
    Previous { record: Lsn, found: Lsn },
    #[error("the record at {record} has a wrong checksum")]
    Checksum { record: Lsn },
}

/// Finds the records in the log.
#[derive(Debug, Clone)]
pub struct RecordDecoder {
    settings: DecoderSettings,
    /// Of the next byte of input.
    position: Lsn,
    /// Bytes of a page header that isn't complete yet.
    page_header: Vec<u8>,
    state: State,
    /// Where the last complete record began and ended.
    last: Option<(Lsn, Lsn)>,
    timeline: Option<TimelineId>,
    version: Option<MajorVersion>,
    start: Lsn,
}

#[derive(Debug, Clone)]
enum State {
    /// The end of a record that began before the start, with so many bytes to come.
    Foreign(u64),
    /// Zeros up to the next multiple of eight.
    Padding,
    /// At a place where a record may begin, or inside one.
    Record(Partial),
    /// The rest of a segment after a switch.
    Switched,
    Ended(EndOfLog),
}

#[derive(Debug, Clone)]
struct Partial {
    start: Lsn,
    header_bytes: [u8; RECORD_HEADER_BYTES],
    header_length: usize,
    header: Option<RecordHeader>,
    body_seen: u32,
    body_checksum: u32,
    body: Vec<u8>,
}

impl Partial {
    fn at(start: Lsn) -> Self {
        Self {
            start,
            header_bytes: [0; RECORD_HEADER_BYTES],
            header_length: 0,
            header: None,
            body_seen: 0,
            body_checksum: 0,
            body: Vec::new(),
        }
    }

    /// How many bytes of the record are still to come, once its length is known.
    fn remaining(&self) -> Option<u32> {
        let total = match self.header {
            Some(header) => header.total_bytes,
            None if self.header_length >= 4 => u32_at(&self.header_bytes, 0)?,
            None => return None,
        };
        total.checked_sub(self.header_length as u32)?.checked_sub(self.body_seen)
    }
}

impl RecordDecoder {
    /// Starts at `start`: either the beginning of a page (then the rest of a record that began before is skipped) or
    /// the beginning of a record.
    pub fn new(settings: DecoderSettings, start: Lsn) -> Self {
        Self {
            settings,
            position: start,
            page_header: Vec::new(),
            state: State::Record(Partial::at(start)),
            last: None,
            timeline: None,
            version: None,
            start,
        }
    }

    /// The position of the next byte it expects.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The end of the last complete record; the start when there was none yet.
    pub fn end_of_valid(&self) -> Lsn {
        self.last.map_or(self.start, |(_, end)| end)
    }

    /// Where the record began of which only a part was read so far.
    pub fn record_under_way(&self) -> Option<Lsn> {
        match &self.state {
            State::Record(partial) if partial.header_length > 0 => Some(partial.start),
            _ => None,
        }
    }

    /// The version that wrote what was read so far. Known after the first page header.
    pub fn version(&self) -> Option<MajorVersion> {
        self.version
    }

    /// The timeline of the last page read.
    pub fn timeline(&self) -> Option<TimelineId> {
        self.timeline
    }

    /// The next record. Takes from the front of `input` what it reads; `None` says that all was taken and more is
    /// needed. Once the log has ended it says so each time, and takes nothing.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Record>, EndOfLog> {
        loop {
            if let State::Ended(end) = self.state {
                return Err(end);
            }
            if input.is_empty() {
                return Ok(None);
            }
            let outcome = if self.in_page_header() && !matches!(self.state, State::Switched) {
                self.read_page_header(input).map(|()| None)
            } else {
                self.read_content(input)
            };
            match outcome {
                Ok(Some(record)) => return Ok(Some(record)),
                Ok(None) => {}
                Err(reason) => self.state = State::Ended(EndOfLog { at: self.end_of_valid(), reason }),
            }
        }
    }

    fn block_bytes(&self) -> u64 {
        u64::from(self.settings.block_bytes.max(1024).next_power_of_two())
    }

    fn in_page_header(&self) -> bool {
        !self.page_header.is_empty() || self.position.0.is_multiple_of(self.block_bytes())
    }

    fn take<'a>(&mut self, input: &mut &'a [u8], bytes_max: u64) -> &'a [u8] {
        let length = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(input.len());
        let (taken, rest) = input.split_at(length);
        *input = rest;
        self.position = self.position.saturating_add(length as u64);
        taken
    }

    fn read_page_header(&mut self, input: &mut &[u8]) -> Result<(), EndReason> {
        let page = Lsn(self.position.0 - self.page_header.len() as u64);
        let is_long = self.settings.segment_size.offset_of(page) == 0;
        let wanted = if is_long { LONG_HEADER_BYTES } else { SHORT_HEADER_BYTES };
        let more = self.take(input, (wanted - self.page_header.len()) as u64);
        self.page_header.extend_from_slice(more);
        if self.page_header.len() < wanted {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.page_header);
        let header = self.checked_page_header(&bytes, page, is_long)?;
        self.timeline = Some(header.timeline);
        self.continue_on(header, page)
    }

    fn checked_page_header(&mut self, bytes: &[u8], page: Lsn, is_long: bool) -> Result<LogPageHeader, EndReason> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(EndReason::Zeros);
        }
        let header = LogPageHeader::parse(bytes).ok_or(EndReason::PageHeader { page })?;
        if header.is_long != is_long {
            return Err(EndReason::PageHeader { page });
        }
        if header.address != page {
            return Err(EndReason::PageAddress { page, found: header.address });
        }
        let version = u16_at(bytes, 0).and_then(version_of_magic);
        if self.version.is_some() && self.version != version {
            return Err(EndReason::Format { page });
        }
        if self.timeline.is_some_and(|before| header.timeline < before) {
            return Err(EndReason::Timeline { page, found: header.timeline });
        }
        if let (Some(system_id), Some(segment), Some(block)) = (u64_at(bytes, 24), u32_at(bytes, 32), u32_at(bytes, 36))
        {
            let found = SystemId(system_id);
            if *self.settings.system_id.get_or_insert(found) != found {
                return Err(EndReason::SystemId { page, found });
            }
            if u64::from(segment) != self.settings.segment_size.bytes() || u64::from(block) != self.block_bytes() {
                return Err(EndReason::Format { page });
            }
        }
        self.version = version;
        Ok(header)
    }

    /// What the record under way becomes on a new page.
    fn continue_on(&mut self, header: LogPageHeader, page: Lsn) -> Result<(), EndReason> {
        let here = self.position;
        let is_first_page = page == self.start;
        match &mut self.state {
            State::Record(partial) if partial.header_length > 0 && header.overwrites_record => {
                self.state = State::Record(Partial::at(here));
            }
            State::Record(partial) if partial.header_length > 0 => {
                let continues = header.continues_record && partial.remaining() == Some(header.remaining_bytes);
                if !continues {
                    return Err(EndReason::Continuation { record: partial.start, page });
                }
            }
            State::Foreign(remaining) if header.continues_record => *remaining = header.remaining_bytes.into(),
            State::Record(_) if is_first_page && header.continues_record => {
                self.state = State::Foreign(header.remaining_bytes.into());
            }
            State::Record(partial) if header.continues_record => {
                return Err(EndReason::Continuation { record: partial.start, page });
            }
            State::Record(_) | State::Foreign(_) => self.state = State::Record(Partial::at(here)),
            // Padding ends at the latest where a page ends; a switch and the end don't come here.
            State::Padding | State::Switched | State::Ended(_) => {}
        }
        Ok(())
    }

    fn read_content(&mut self, input: &mut &[u8]) -> Result<Option<Record>, EndReason> {
        let block = self.block_bytes();
        let left_in_page = block - self.position.0 % block;
        match &mut self.state {
            State::Foreign(0) => self.state = State::Padding,
            State::Foreign(remaining) => {
                let wanted = left_in_page.min(*remaining);
                let before = *remaining;
                let taken = self.take(input, wanted).len() as u64;
                self.state = State::Foreign(before - taken);
                if before == taken {
                    self.state = State::Padding;
                    self.skip_nothing();
                }
            }
            State::Padding => {
                let padding = self.position.0.next_multiple_of(8) - self.position.0;
                self.take(input, padding);
                self.skip_nothing();
            }
            State::Switched => {
                let size = self.settings.segment_size;
                let left = (size.bytes() - size.offset_of(self.position)) % size.bytes();
                let taken = self.take(input, left).len() as u64;
                if taken == left {
                    self.state = State::Record(Partial::at(self.position));
                }
            }
            State::Record(_) => return self.read_record(input, left_in_page),
            State::Ended(_) => {}
        }
        Ok(None)
    }

    /// Padding that is over makes room for the next record, without waiting for more bytes.
    fn skip_nothing(&mut self) {
        if matches!(self.state, State::Padding) && self.position.0.is_multiple_of(8) {
            self.state = State::Record(Partial::at(self.position));
        }
    }

    fn read_record(&mut self, input: &mut &[u8], left_in_page: u64) -> Result<Option<Record>, EndReason> {
        let State::Record(mut partial) = std::mem::replace(&mut self.state, State::Padding) else { return Ok(None) };
        if partial.header.is_none() {
            if partial.header_length == 0 {
                partial.start = self.position;
            }
            let wanted = left_in_page.min((RECORD_HEADER_BYTES - partial.header_length) as u64);
            let taken = self.take(input, wanted);
            let end = partial.header_length + taken.len();
            partial.header_bytes[partial.header_length..end].copy_from_slice(taken);
            partial.header_length = end;
            self.check_length(&partial)?;
            if end == RECORD_HEADER_BYTES {
                partial.header = Some(self.checked_header(&partial)?);
            }
        } else if let Some(remaining) = partial.remaining() {
            let taken = self.take(input, left_in_page.min(remaining.into()));
            partial.body_checksum = crc32c::crc32c_append(partial.body_checksum, taken);
            // `take` gave at most `remaining`, which has 32 bits.
            partial.body_seen += taken.len() as u32;
            if partial.header.is_some_and(|header| self.keeps(header.manager)) {
                let room = self.settings.kept_bytes_max.saturating_sub(partial.body.len());
                partial.body.extend_from_slice(&taken[..taken.len().min(room)]);
            }
        }
        match (partial.header, partial.remaining()) {
            (Some(header), Some(0)) => self.complete(partial, header).map(Some),
            _ => {
                self.state = State::Record(partial);
                Ok(None)
            }
        }
    }

    /// As soon as the length is there, since what follows on the page may be anything.
    fn check_length(&self, partial: &Partial) -> Result<(), EndReason> {
        let Some(found) = (partial.header_length >= 4).then(|| u32_at(&partial.header_bytes, 0)).flatten() else {
            return Ok(());
        };
        let max = self.settings.record_bytes_max.min(RECORD_BYTES_MAX);
        match found {
            0 => Err(EndReason::Zeros),
            _ if (found as usize) < RECORD_HEADER_BYTES || found > max => {
                Err(EndReason::Length { record: partial.start, found })
            }
            _ => Ok(()),
        }
    }

    fn checked_header(&self, partial: &Partial) -> Result<RecordHeader, EndReason> {
        let record = partial.start;
        let header = RecordHeader::parse(&partial.header_bytes).ok_or(EndReason::Length { record, found: 0 })?;
        let fits = match self.last {
            Some((start, _)) => header.previous == start,
            None => header.previous < record,
        };
        if fits { Ok(header) } else { Err(EndReason::Previous { record, found: header.previous }) }
    }

    fn keeps(&self, manager: ResourceManager) -> bool {
        match self.settings.keep {
            Keep::Nothing => false,
            Keep::Transactions => matches!(manager, ResourceManager::Log | ResourceManager::Transaction),
            Keep::Everything => true,
        }
    }

    fn complete(&mut self, partial: Partial, header: RecordHeader) -> Result<Record, EndReason> {
        let start = partial.start;
        if RecordHeader::checksum_of(&partial.header_bytes, partial.body_checksum) != header.checksum {
            return Err(EndReason::Checksum { record: start });
        }
        let mut end = Lsn(self.position.0.next_multiple_of(8));
        self.state = State::Padding;
        self.skip_nothing();
        if header.is_switch() {
            end = Lsn(end.0.next_multiple_of(self.settings.segment_size.bytes()));
            self.state = State::Switched;
        }
        self.last = Some((start, end));
        Ok(Record { start, end, header, body: partial.body })
    }
}

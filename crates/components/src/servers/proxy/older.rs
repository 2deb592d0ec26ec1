//! Makes the times in an answer of an S3 server earlier. Lengths don't change: both forms have a fixed width.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, SystemTime};

/// `Sat, 21 Nov 2026 08:00:00 GMT`, in heads.
const OF_HEAD: (&[u8], &str, usize) = (b"last-modified: ", "%a, %d %b %Y %H:%M:%S", 25);
/// `2026-11-21T08:00:00.000Z`, in lists.
const OF_LIST: (&[u8], &str, usize) = (b"<lastmodified>", "%Y-%m-%dT%H:%M:%S", 19);

/// Each time of modification that lies before `written_before` becomes earlier by `by`.
pub(super) fn rewrite(answer: &mut [u8], written_before: SystemTime, by: Duration) {
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let (head, body) = answer.split_at_mut(head_end);
    if head.to_ascii_lowercase().windows(3).any(|three| three == b"xml") {
        times(body, OF_LIST, written_before, by);
    }
    times(head, OF_HEAD, written_before, by);
}

fn times(bytes: &mut [u8], (word, form, width): (&[u8], &str, usize), written_before: SystemTime, by: Duration) {
    let mut at = 0;
    while at + word.len() + width <= bytes.len() {
        if !bytes[at..at + word.len()].eq_ignore_ascii_case(word) {
            at += 1;
            continue;
        }
        at += word.len();
        let place = &mut bytes[at..at + width];
        let earlier = std::str::from_utf8(place).ok().and_then(|text| earlier(text, form, written_before, by));
        if let Some(text) = earlier.filter(|text| text.len() == width) {
            place.copy_from_slice(text.as_bytes());
        }
    }
}

fn earlier(text: &str, form: &str, written_before: SystemTime, by: Duration) -> Option<String> {
    let time = DateTime::strptime(form, text).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let limit = Timestamp::try_from(written_before).ok()?;
    let by = SignedDuration::try_from(by).ok()?;
    let shown = if time < limit { time.checked_sub(by).ok()? } else { time };
    Some(shown.strftime(form).to_string())
}

#[test]
fn only_what_is_old_gets_older() {
    let answer = |first: &str, second: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nLast-Modified: {first} GMT\r\n\r\n<a><LastModified>{second}.000Z</LastModified>"
        )
    };
    let limit = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_305_600); // 2026-11-22T00:00:00Z
    let mut bytes = answer("Sat, 21 Nov 2026 23:59:59", "2026-11-22T00:00:00").into_bytes();
    rewrite(&mut bytes, limit, Duration::from_secs(3600));
    let expected = answer("Sat, 21 Nov 2026 22:59:59", "2026-11-22T00:00:00");
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
    let mut bytes = answer("Sun, 22 Nov 2026 00:00:01", "2026-11-21T00:00:01").into_bytes();
    rewrite(&mut bytes, limit, Duration::from_secs(86_400));
    assert_eq!(String::from_utf8_lossy(&bytes), answer("Sun, 22 Nov 2026 00:00:01", "2026-11-20T00:00:01"));
}

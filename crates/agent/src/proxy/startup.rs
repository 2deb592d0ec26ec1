//! The first words of a PostgreSQL client, as far as needed to tell it "not now" in a way that it understands.
//!
//! Bytes are foreign: lengths are bounded before anything is read. Not here: the session itself, which the proxy doesn't look into.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

/// PostgreSQL's own limit (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: u32 = 10_000;
/// Of the beginning of every first packet: its length and its kind.
pub const HEAD_BYTES: usize = 8;
/// A cancel request's key, after its head; since version 18 it may be longer.
const CANCEL_KEY_BYTES_MIN: u32 = 8;
const CANCEL_KEY_BYTES_MAX: u32 = 4 + 256;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// What a client begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It asks whether the line can be encrypted, and says more after the answer.
    AsksForEncryption,
    /// It wants a statement of another session cancelled; so many bytes of key follow.
    Cancel { rest: usize },
    /// It wants a session; so many bytes follow.
    Session { rest: usize },
    /// It isn't a client of PostgreSQL, or one that encrypts without asking.
    Foreign,
}

impl Opening {
    /// By the first bytes of its packet.
    pub fn of(head: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = head;
        let (length, code) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        let Some(rest) = length.checked_sub(HEAD_BYTES as u32) else { return Self::Foreign };
        match (code, rest) {
            (SSL_REQUEST | GSS_REQUEST, 0) => Self::AsksForEncryption,
            (CANCEL_REQUEST, CANCEL_KEY_BYTES_MIN..=CANCEL_KEY_BYTES_MAX) => Self::Cancel { rest: rest as usize },
            (SSL_REQUEST | GSS_REQUEST | CANCEL_REQUEST, _) => Self::Foreign,
            _ if code >> 16 == 3 && length <= STARTUP_BYTES_MAX => Self::Session { rest: rest as usize },
            _ => Self::Foreign,
        }
    }
}

/// Why a client gets no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE: five letters or digits.
    pub code: &'static str,
    pub message: String,
    pub detail: String,
}

impl Refusal {
    /// There is no database to go to.
    pub fn not_now(message: String, detail: String) -> Self {
        Self { code: "57P03", message, detail }
    }

    /// There are as many connections as there may be.
    pub fn too_many(message: String) -> Self {
        Self { code: "53300", message, detail: String::new() }
    }

    /// As an `ErrorResponse`.
    pub fn encode(&self) -> Vec<u8> {
        let fields = [('S', "FATAL"), ('V', "FATAL"), ('C', self.code), ('M', &self.message), ('D', &self.detail)];
        let mut body = Vec::new();
        for (kind, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
            body.push(kind as u8);
            body.extend(text.bytes().filter(|byte| *byte != 0));
            body.push(0);
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        [b"E".as_slice(), &length.to_be_bytes(), &body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: u32, code: u32) -> [u8; HEAD_BYTES] {
        [length.to_be_bytes(), code.to_be_bytes()].concat().try_into().expect("eight bytes")
    }

    #[test]
    fn openings_are_told_apart() {
        for (length, code, expected) in [
            (8, SSL_REQUEST, Opening::AsksForEncryption),
            (8, GSS_REQUEST, Opening::AsksForEncryption),
            (9, SSL_REQUEST, Opening::Foreign),
            (16, CANCEL_REQUEST, Opening::Cancel { rest: 8 }),
            (8, CANCEL_REQUEST, Opening::Foreign),
            (1 << 20, CANCEL_REQUEST, Opening::Foreign),
            (60, 3 << 16, Opening::Session { rest: 52 }),
            (60, (3 << 16) + 2, Opening::Session { rest: 52 }),
            (8, 3 << 16, Opening::Session { rest: 0 }),
            (STARTUP_BYTES_MAX + 1, 3 << 16, Opening::Foreign),
            (7, 3 << 16, Opening::Foreign),
            (0, 0, Opening::Foreign),
            (u32::MAX, u32::MAX, Opening::Foreign),
        ] {
            assert_eq!(Opening::of(head(length, code)), expected, "{length} {code}");
        }
    }

    #[test]
    fn a_refusal_is_an_error_of_the_protocol() {
        let refusal = Refusal::not_now("no primary\0".into(), String::new());
        assert_eq!(refusal.encode(), b"E\0\0\0\x26SFATAL\0VFATAL\0C57P03\0Mno primary\0\0");
    }
}

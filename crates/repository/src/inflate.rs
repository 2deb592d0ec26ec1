//! What somebody else compressed on its way here, made plain again piece by piece, with a bounded amount of memory.
//!
//! Here because Zstandard's home is here. Nothing of it is part of the repository's format.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// 2^23: eight times what a fast level needs, and little to lose to a sender that lies.
const WINDOW_BYTES_LOG_MAX: u32 = 23;
/// What comes out at once.
const PIECE_BYTES: usize = 128 * 1024;

/// The bytes are not Zstandard's, or end too early.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    #[error("what was compressed on its way can't be decompressed")]
    Damaged(#[source] std::io::Error),
    #[error("what was compressed on its way ends too early")]
    Truncated,
}

/// Decompresses one archive.
pub struct Inflater {
    decoder: Decoder<'static>,
    piece: Vec<u8>,
    /// A frame has begun and hasn't ended.
    inside: bool,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("inside", &self.inside).finish_non_exhaustive()
    }
}

impl Inflater {
    /// For Zstandard.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn zstd() -> Result<Self, InflateError> {
        let mut decoder = Decoder::new().map_err(InflateError::Damaged)?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_BYTES_LOG_MAX)).map_err(InflateError::Damaged)?;
        Ok(Self { decoder, piece: vec![0; PIECE_BYTES], inside: false })
    }

    /// The next plain bytes; `None` when all of `input`, which is moved along, is used up. Never an empty piece.
    ///
    /// # Errors
    /// After an error the archive is of no use.
    pub fn next_piece(&mut self, input: &mut &[u8]) -> Result<Option<&[u8]>, InflateError> {
        loop {
            let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(&mut self.piece[..]));
            let before = from.pos;
            let hint = self.decoder.run(&mut from, &mut to).map_err(InflateError::Damaged)?;
            let (used, written) = (from.pos - before, to.pos());
            *input = &input[used..];
            if used > 0 || written > 0 {
                self.inside = hint != 0;
            }
            if written > 0 {
                return Ok(Some(&self.piece[..written]));
            }
            if input.is_empty() || used == 0 {
                return if input.is_empty() { Ok(None) } else { Err(InflateError::Truncated) };
            }
        }
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// When it isn't the end of what was compressed.
    pub fn finish(self) -> Result<(), InflateError> {
        if self.inside { Err(InflateError::Truncated) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(bytes: &[u8], piece: usize) -> Result<Vec<u8>, InflateError> {
        let (mut inflater, mut plain) = (Inflater::zstd()?, Vec::new());
        for mut part in bytes.chunks(piece) {
            while let Some(some) = inflater.next_piece(&mut part)? {
                plain.extend_from_slice(some);
            }
        }
        inflater.finish().map(|()| plain)
    }

    #[test]
    fn it_comes_back_however_it_is_cut_and_a_part_is_not_taken_for_the_whole() {
        let plain: Vec<u8> = (0..700_000u32).map(|number| (number / 1000 * number) as u8).collect();
        let bytes = zstd::encode_all(&plain[..], 1).unwrap();
        for piece in [1, 1000, 1 << 20] {
            assert_eq!(inflate(&bytes, piece).unwrap(), plain, "{piece}");
        }
        for end in [1, 100, bytes.len() / 2, bytes.len() - 1] {
            assert!(inflate(&bytes[..end], 1000).is_err(), "{end} of {}", bytes.len());
        }
        assert!(inflate(b"no zstd at all", 5).is_err());
    }

    #[test]
    fn a_window_that_would_need_much_memory_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
        encoder.window_log(27).unwrap();
        std::io::Write::write_all(&mut encoder, &vec![7; 20 << 20]).unwrap();
        assert!(inflate(&encoder.finish().unwrap(), 1 << 20).is_err());
    }
}

//! DEFLATE (RFC 1951) and the CRC32 that stands beside it in gzip and zip, by `zlib-rs`.

use zlib_rs::crc32::crc32;
use zlib_rs::{InflateFlush, Status};

use crate::Refusal;

/// The largest window there is, as its exponent.
const WINDOW_BITS: u8 = 15;

/// Inflates one stream without header or trailer.
pub struct Inflate(zlib_rs::Inflate);

/// CRC32 and length of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crc {
    sum: u32,
    bytes: u64,
}

impl Inflate {
    /// A new stream.
    #[must_use]
    pub fn new() -> Self {
        Self(zlib_rs::Inflate::new(false, WINDOW_BITS))
    }

    /// Takes from the front of `input`, gives to the front of `output`: how much of each, and whether that was all.
    ///
    /// # Errors
    /// If the stream is malformed.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize, bool), Refusal> {
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let status = self
            .0
            .decompress(input, output, InflateFlush::NoFlush)
            .map_err(|_| Refusal::invalid("the DEFLATE data are malformed"))?;
        let taken = self.0.total_in().saturating_sub(before_in) as usize;
        let given = self.0.total_out().saturating_sub(before_out) as usize;
        Ok((taken, given, status == Status::StreamEnd))
    }
}

impl Default for Inflate {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").field("total_in", &self.0.total_in()).finish_non_exhaustive()
    }
}

impl Crc {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sum = crc32(self.sum, bytes);
        self.bytes = self.bytes.wrapping_add(bytes.len() as u64);
    }

    /// The CRC32 of all bytes.
    #[must_use]
    pub const fn sum(&self) -> u32 {
        self.sum
    }

    /// How many there were.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_block_is_inflated_and_summed() {
        let mut inflate = Inflate::new();
        let mut output = [0; 20];
        // Last block, stored, three bytes (RFC 1951 §3.2.4).
        let stream = [1, 3, 0, 0xfc, 0xff, b'a', b'b', b'c', b'x'];
        assert_eq!(inflate.step(&stream, &mut output).unwrap(), (8, 3, true));
        let mut crc = Crc::default();
        crc.update(b"1234");
        crc.update(b"56789");
        assert_eq!((crc.sum(), crc.bytes()), (0xcbf4_3926, 9));
        assert!(Inflate::new().step(&[7], &mut output).is_err(), "a block of the reserved type");
    }
}

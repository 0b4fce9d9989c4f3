//! A layer as independent zstd frames (RFC 8878 §3.1), each of one piece of the layer.
//!
//! Frames by `structured-zstd`, level 2, with their content size and checksum; what that costs and saves against others
//! stands in `docs/compressors.md`. Its encoder is young, and an encoder's mistake would be found by whoever boots the disk:
//! so each frame is decoded and compared before it is handed on. This half is pure, testable without wasm; `component` is
//! the glue to the `compressor-component` world.

#[cfg(target_family = "wasm")]
mod component;

use std::fmt;

use structured_zstd::decoding::FrameDecoder;
use structured_zstd::encoding::{CompressionLevel, FrameCompressor};

/// The most bytes of the layer in one frame. Another figure gives other layers.
pub const FRAME_BYTES: usize = 1 << 20;
/// In zstd's scale of 1 to 22: a percent more bytes than its default of 3, for little more than half the CPU.
const LEVEL: i32 = 2;

/// A frame that does not decode to what it was made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfaithful;

/// `bytes` as one frame, which is known to decode to them.
///
/// # Errors
/// [`Unfaithful`] if the encoder made a mistake.
pub fn frame(bytes: &[u8]) -> Result<Vec<u8>, Unfaithful> {
    let mut frame = Vec::new();
    // A new one for each frame: nothing of one frame may show in another.
    let mut encoder: FrameCompressor = FrameCompressor::new(CompressionLevel::from_level(LEVEL));
    encoder.set_content_checksum(true);
    encoder.set_content_size_flag(true);
    encoder.compress_independent_frame_into(bytes, &mut frame);
    faithful(&frame, bytes).then_some(frame).ok_or(Unfaithful)
}

fn faithful(frame: &[u8], bytes: &[u8]) -> bool {
    let mut decoded = vec![0; bytes.len()];
    FrameDecoder::new().decode_all(frame, &mut decoded).is_ok_and(|length| length == bytes.len()) && decoded == bytes
}

impl fmt::Display for Unfaithful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame does not decode to what it was made of")
    }
}

impl std::error::Error for Unfaithful {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that compress, and some that do not.
    fn bytes(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut noise = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            match noise() % 3 {
                0 => bytes.extend(noise().to_le_bytes()),
                1 => bytes.extend(b"the same words again and again, "),
                _ => bytes.resize(bytes.len() + noise() as usize % 5000, 0),
            }
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn frames_one_behind_the_other_are_the_bytes_one_behind_the_other() {
        let (one, other) = (bytes(FRAME_BYTES), bytes(70_001));
        let frames = [frame(&one).unwrap(), frame(&[]).unwrap(), frame(&other).unwrap()].concat();
        let mut decoded = vec![0; one.len() + other.len()];
        assert_eq!(FrameDecoder::new().decode_all(&frames, &mut decoded).unwrap(), decoded.len());
        assert!(decoded == [one, other].concat());
    }

    #[test]
    fn every_length_is_read_back() {
        for length in [0, 1, 2, 3, 4, 5, 255, 256, 257, 511, 65_791, 65_792, 131_071, 131_072, 131_073, FRAME_BYTES] {
            assert!(frame(&bytes(length)).is_ok(), "{length}");
            assert!(frame(&vec![0; length]).is_ok(), "{length} zeros");
        }
    }

    #[test]
    fn a_frame_is_whole_and_has_size_and_checksum() {
        // Magic number; one segment and a checksum (RFC 8878 §3.1.1.1.1), then the size in one byte.
        let frame = frame(b"a few words").unwrap();
        assert_eq!(frame[..6], [0x28, 0xb5, 0x2f, 0xfd, 0b0010_0100, 11]);
    }

    #[test]
    fn a_mistake_of_the_encoder_is_noticed() {
        let bytes = bytes(10_000);
        let frame = frame(&bytes).unwrap();
        assert!(faithful(&frame, &bytes));
        assert!(!faithful(&frame, &bytes[..9_999]));
        assert!(!faithful(&frame, &[&bytes[..], b"x"].concat()));
        assert!(!faithful(&frame[..frame.len() - 1], &bytes));
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 1;
            // Bits that say nothing about the content, such as the unused one of the header, may be anything.
            let mut decoded = vec![0; bytes.len()];
            let same = FrameDecoder::new().decode_all(&damaged, &mut decoded).is_ok() && decoded == bytes;
            assert_eq!(faithful(&damaged, &bytes), same, "{at}");
        }
    }
}

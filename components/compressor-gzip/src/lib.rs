//! A layer as independent gzip members (RFC 1952 §2.2), each of one piece of the layer.
//!
//! DEFLATE by `miniz_oxide`, level 1: what that costs and saves against others stands in `docs/compressors.md`. The header
//! holds no name, no date and no operating system, so a member depends on its bytes alone. This half is pure, testable
//! without wasm; `component` is the glue to the `compressor-component` world.

#[cfg(target_family = "wasm")]
mod component;

use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};

/// The most bytes of the layer in one member. Another figure gives other layers.
pub const MEMBER_BYTES: usize = 1 << 20;
/// Matches are looked for once: the deeper levels cost twice to four times the CPU for a twentieth of the bytes.
const LEVEL: u32 = 1;
/// The operating system is unknown (RFC 1952 §2.3.1).
const UNKNOWN_SYSTEM: u8 = 255;

/// `bytes` as one member.
///
/// # Errors
/// None that is known: writing to memory does not fail.
pub fn member(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let builder = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM);
    let mut encoder = builder.write(Vec::new(), Compression::new(LEVEL));
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

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

    fn read(members: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::MultiGzDecoder::new(members).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn members_one_behind_the_other_are_the_bytes_one_behind_the_other() {
        let (one, other) = (bytes(MEMBER_BYTES), bytes(70_001));
        let members = [member(&one).unwrap(), member(&[]).unwrap(), member(&other).unwrap()].concat();
        assert!(read(&members) == [one, other].concat());
    }

    #[test]
    fn every_length_is_read_back() {
        for length in [0, 1, 2, 3, 257, 258, 259, 32_767, 32_768, 32_769, 65_535, 65_536, MEMBER_BYTES] {
            let bytes = bytes(length);
            assert!(read(&member(&bytes).unwrap()) == bytes, "{length}");
            assert!(read(&member(&vec![0; length]).unwrap()) == vec![0; length], "{length} zeros");
        }
    }

    #[test]
    fn the_header_says_nothing_of_when_and_where() {
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
        assert_eq!(member(b"x").unwrap()[..10], header);
        assert_eq!(member(b"x").unwrap(), member(b"x").unwrap());
    }
}

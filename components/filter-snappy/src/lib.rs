//! What is inside snappy frames (google/snappy, framing_format.txt): what the cloner of block devices sends (CDI).
//!
//! Each chunk is decoded by `snap` into at most 64 KiB, and has its CRC-32C. The format has no end of its own: it ends with the
//! input, between two chunks. How large the disk is, nothing in it says.

#[cfg(target_family = "wasm")]
mod component;

use crc::{CRC_32_ISCSI, Crc, Table};
use filter_core::{Announced, Refusal, Step, Unwrapper, bare};
use snap::raw::{Decoder, decompress_len};

/// A chunk's header (§4): its type and the length of the rest.
const HEADER_BYTES: usize = 4;
/// The checksum in front of data (§4.2).
const CHECKSUM_BYTES: usize = 4;
/// What a chunk may hold (§4.2).
const MAX_BYTES: usize = 64 * 1024;
/// What that may become at worst: `snap::raw::max_compress_len`. Whatever is longer was not made by a compressor.
const MAX_COMPRESSED: usize = 32 + MAX_BYTES + MAX_BYTES / 6;
/// What a stream begins with (§4.1), behind its header.
const IDENTIFIER: &[u8] = b"sNaPpY";

/// CRC-32C (RFC 3720 §12.1).
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Unwraps snappy frames.
pub struct Snappy {
    part: Part,
    /// What is gathered of a header or a chunk.
    held: Vec<u8>,
    /// What a chunk held, as far as it is not given yet.
    inside: Vec<u8>,
    given: usize,
    decoder: Decoder,
    begun: bool,
    name: Option<String>,
    announced: Option<Announced>,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Part {
    Header,
    Chunk(Kind, usize),
    /// So much that means nothing.
    Skipped(usize),
}

/// A chunk that means something.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Identifier,
    Compressed,
    Uncompressed,
}

impl Snappy {
    /// Whatever the size of the input; its name loses its ending.
    #[must_use]
    pub fn new(_: Option<u64>, name: Option<String>) -> Self {
        Self {
            part: Part::Header,
            held: Vec::new(),
            inside: Vec::new(),
            given: 0,
            decoder: Decoder::new(),
            begun: false,
            name,
            announced: None,
        }
    }

    /// Gathers up to `wanted` bytes; whether they are all there.
    fn gather(&mut self, wanted: usize, rest: &[u8], step: &mut Step) -> bool {
        let missing = wanted.saturating_sub(self.held.len()).min(rest.len());
        self.held.extend_from_slice(rest.get(..missing).unwrap_or_default());
        step.taken += missing;
        self.held.len() == wanted
    }

    /// The chunk that a header begins.
    fn chunk(&self) -> Result<Part, Refusal> {
        let Some([kind, low, middle, high]) = self.held.first_chunk::<HEADER_BYTES>() else {
            return Err(Refusal::invalid("a snappy frame has no header"));
        };
        let length = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
        if !self.begun && *kind != 0xff {
            return Err(Refusal::invalid("no snappy frame begins here"));
        }
        let bounded = |kind, least: usize, most: usize| {
            if (least..=most).contains(&length) {
                Ok(Part::Chunk(kind, length))
            } else {
                Err(Refusal::invalid(format!("a snappy chunk has {length} bytes, expected {least} to {most}")))
            }
        };
        match kind {
            0xff => bounded(Kind::Identifier, IDENTIFIER.len(), IDENTIFIER.len()),
            0x00 => bounded(Kind::Compressed, CHECKSUM_BYTES, CHECKSUM_BYTES + MAX_COMPRESSED),
            0x01 => bounded(Kind::Uncompressed, CHECKSUM_BYTES, CHECKSUM_BYTES + MAX_BYTES),
            // §4.5: what is reserved there must be understood.
            0x02..=0x7f => Err(Refusal::invalid(format!("a snappy chunk has the unknown type {kind:#04x}"))),
            // §4.4 and §4.6: padding, and what may be skipped.
            0x80..=0xfe => Ok(Part::Skipped(length)),
        }
    }

    /// Takes in what a whole chunk holds.
    fn open(&mut self, kind: Kind) -> Result<(), Refusal> {
        if matches!(kind, Kind::Identifier) {
            if self.held != IDENTIFIER {
                return Err(Refusal::invalid("no snappy frame begins here"));
            }
            self.begun = true;
            let name = self.name.take().map(|name| bare(&name, &[(".sz", "")]));
            self.announced.get_or_insert(Announced { size: None, exact: false, name });
            return Ok(());
        }
        let Some((checksum, data)) = self.held.split_first_chunk::<CHECKSUM_BYTES>() else {
            return Err(Refusal::invalid("a snappy chunk has no checksum"));
        };
        self.inside.clear();
        if matches!(kind, Kind::Uncompressed) {
            self.inside.extend_from_slice(data);
        } else {
            let malformed = |_| Refusal::invalid("the data of a snappy chunk are malformed");
            let length = decompress_len(data).map_err(malformed)?;
            if length > MAX_BYTES {
                return Err(Refusal::invalid(format!(
                    "a snappy chunk holds {length} bytes, expected at most {MAX_BYTES}"
                )));
            }
            self.inside.resize(length, 0);
            let given = self.decoder.decompress(data, &mut self.inside).map_err(malformed)?;
            self.inside.truncate(given);
        }
        self.given = 0;
        if masked(CRC.checksum(&self.inside)) != u32::from_le_bytes(*checksum) {
            return Err(Refusal::invalid("what a snappy chunk holds does not have its checksum"));
        }
        Ok(())
    }
}

impl Unwrapper for Snappy {
    fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        let mut step = Step::default();
        loop {
            if self.given < self.inside.len() {
                let (inside, room) = (self.inside.get(self.given..), output.get_mut(step.given..));
                let (inside, room) = (inside.unwrap_or_default(), room.unwrap_or_default());
                let count = inside.len().min(room.len());
                for (to, from) in room.iter_mut().zip(inside) {
                    *to = *from;
                }
                self.given += count;
                step.given += count;
                if self.given < self.inside.len() {
                    return Ok(step);
                }
            }
            let rest = input.get(step.taken..).unwrap_or_default();
            match self.part {
                Part::Header => {
                    if rest.is_empty() && last {
                        if !self.begun || !self.held.is_empty() {
                            return Err(Refusal::invalid("snappy frames end inside a header"));
                        }
                        step.ended = true;
                        return Ok(step);
                    }
                    if self.gather(HEADER_BYTES, rest, &mut step) {
                        self.part = self.chunk()?;
                        self.held.clear();
                        continue;
                    }
                }
                Part::Chunk(kind, length) => {
                    if self.gather(length, rest, &mut step) {
                        self.open(kind)?;
                        self.held.clear();
                        self.part = Part::Header;
                        continue;
                    }
                }
                Part::Skipped(left) => {
                    let skipped = left.min(rest.len());
                    step.taken += skipped;
                    self.part = if skipped == left { Part::Header } else { Part::Skipped(left - skipped) };
                    if skipped == left {
                        continue;
                    }
                }
            }
            // There is nothing more to take.
            if last {
                return Err(Refusal::invalid("snappy frames end inside a chunk"));
            }
            return Ok(step);
        }
    }

    fn announced(&self) -> Option<&Announced> {
        self.announced.as_ref()
    }
}

/// A checksum as frames have it (§3): so that the checksum of what has checksums in it is not what they are.
const fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use filter_core::samples::{bytes, damaged};
    use filter_core::unwrapped;
    use snap::write::FrameEncoder;

    use super::*;

    fn framed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.into_inner().unwrap()
    }

    fn read(wrapped: &[u8]) -> Result<Vec<u8>, Refusal> {
        unwrapped(Snappy::new(None, None), [wrapped], 1 << 16)
    }

    fn chunk(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        [&[kind, length[0], length[1], length[2]], content].concat()
    }

    fn begin() -> Vec<u8> {
        chunk(0xff, IDENTIFIER)
    }

    fn summed(content: &[u8]) -> Vec<u8> {
        [&masked(CRC.checksum(content)).to_le_bytes()[..], content].concat()
    }

    #[test]
    fn the_checksum_is_that_of_the_format() {
        // RFC 3720 appendix B.4: 32 bytes of zeros.
        assert_eq!(CRC.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked(0), 0xa282_ead8);
    }

    #[test]
    fn what_an_encoder_makes_is_read_however_it_is_split() {
        for disk in [bytes(200_000), vec![0; 300_000], bytes(1)] {
            let wrapped = framed(&disk);
            assert!(read(&wrapped).unwrap() == disk);
            for (piece, room) in [(1, 1 << 16), (3, 5), (4096, 1), (100_000, 70_000)] {
                let split = unwrapped(Snappy::new(None, None), wrapped.chunks(piece), room);
                assert!(split.unwrap() == disk, "{piece} {room}");
            }
        }
    }

    #[test]
    fn streams_stand_one_behind_the_other_and_padding_between() {
        let (one, other) = (framed(b"one"), framed(b"other"));
        let padding = [chunk(0xfe, &[7; 300]), chunk(0x80, b""), chunk(0xfd, b"x")].concat();
        assert_eq!(read(&[one, padding, other].concat()).unwrap(), b"oneother");
        assert_eq!(read(&[begin(), chunk(1, &summed(b""))].concat()).unwrap(), b"");
        assert_eq!(read(&begin()).unwrap(), b"", "nothing inside");
    }

    #[test]
    fn what_is_cut_anywhere_but_between_chunks_is_refused() {
        let whole = [begin(), chunk(1, &summed(b"inside")), chunk(0xfe, b"abc")].concat();
        let between = [10, 10 + 4 + 10];
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]).is_ok(), between.contains(&end), "{end}");
        }
    }

    #[test]
    fn what_is_damaged_anywhere_is_refused_or_the_same() {
        let whole = framed(&bytes(300));
        for ((at, bit), damaged) in damaged(&whole) {
            // Type and length of the second chunk may become those of padding, which means nothing.
            match read(&damaged) {
                Ok(read) => assert!(read == bytes(300) || (at, bit) == (10, 7), "{at}.{bit}"),
                Err(refused) => assert!(matches!(refused, Refusal::Invalid(_)), "{at}.{bit}: {refused}"),
            }
        }
    }

    #[test]
    fn what_is_beyond_the_format_is_refused() {
        let in_stream = |kind, content: &[u8]| read(&[begin(), chunk(kind, content)].concat()).unwrap_err().to_string();
        assert!(read(b"").is_err() && read(b"QFI\xfb").is_err() && read(&chunk(1, &summed(b"x"))).is_err());
        assert!(read(&chunk(0xff, b"sNaPpy")).unwrap_err().to_string().contains("no snappy frame"));
        assert!(in_stream(0x02, b"").contains("unknown type 0x02"));
        assert!(in_stream(0x7f, b"").contains("unknown type 0x7f"));
        assert!(in_stream(0, b"abc").contains("expected 4 to"));
        assert!(in_stream(1, &vec![0; MAX_BYTES + 5]).contains("expected 4 to"));
        assert!(in_stream(0, &vec![0; MAX_COMPRESSED + 5]).contains("expected 4 to"));
        assert!(in_stream(1, b"\0\0\0\0x").contains("checksum"));
        // A chunk that says it holds 4 GiB, and one that holds a byte more than it may.
        assert!(in_stream(0, b"\0\0\0\0\xff\xff\xff\xff\x0f").contains("at most 65536"));
        assert!(in_stream(0, b"\0\0\0\0\x81\x80\x04").contains("at most 65536"));
    }

    #[test]
    fn the_name_loses_its_ending_and_no_size_is_announced() {
        let mut snappy = Snappy::new(Some(1), Some("vm.raw.sz".to_owned()));
        assert_eq!(snappy.announced(), None);
        snappy.step(&framed(b"x"), false, &mut [0; 10]).unwrap();
        assert_eq!(
            snappy.announced().unwrap(),
            &Announced { size: None, exact: false, name: Some("vm.raw".to_owned()) }
        );
    }
}

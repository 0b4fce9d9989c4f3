//! What is inside zstd frames (RFC 8878), one behind the other, skippable ones among them.
//!
//! By `structured-zstd`, which the compressor has too. A frame's checksum and content size are checked where it has them.
//! The content size of the first frame is announced if the length of the input says that there can hardly be another one.
//! Frames that need a dictionary are refused. Why this crate, stands in `docs/filters.md`.

use std::fmt;

use structured_zstd::decoding::{
    ContentChecksum, FrameContentSize, FrameDecoder, FrameHeaderInfo, frame_header_input_needed, read_frame_header_info,
};

use crate::{Announced, Pending, Refusal, Step, Unwrapper, bare};

/// The largest window of a frame. RFC 8878 §3.1.1.1.2 asks decoders for 8 MiB, which is what all levels of `zstd` without
/// `--ultra` and `--long` keep to. While a window grows it is there twice, and a component has 64 MiB in all.
pub const MAX_WINDOW: u64 = 16 << 20;
/// The largest block with its header (§3.1.1.2.3).
const MAX_BLOCK_BYTES: usize = 3 + (128 << 10);
/// Input that is gathered: one block at least.
const MAX_HELD: usize = 2 * MAX_BLOCK_BYTES;
/// The longest header of a frame (§3.1.1), and the checksum behind it.
const MAX_HEADER_AND_CHECKSUM: u64 = 18 + 4;
/// Magic number and length (§3.1.2).
const SKIPPABLE_HEADER_BYTES: usize = 8;

/// Unwraps zstd frames.
pub struct Zstd {
    part: Part,
    held: Pending,
    decoder: Box<FrameDecoder>,
    /// The largest window that the decoder has had.
    window: u64,
    max_window: u64,
    /// Frames so far, skippable ones too.
    frames: u64,
    size: Option<u64>,
    name: Option<String>,
    announced: Option<Announced>,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Part {
    Header,
    /// So much of a skippable frame.
    Skipped(u64),
    /// Blocks and checksum.
    Blocks,
}

impl Zstd {
    /// Whatever the size of the input is, if that is known; its name loses its ending.
    #[must_use]
    pub fn new(size: Option<u64>, name: Option<String>) -> Self {
        Self {
            part: Part::Header,
            held: Pending::default(),
            decoder: Box::new(decoder()),
            window: 0,
            max_window: MAX_WINDOW,
            frames: 0,
            size,
            name,
            announced: None,
        }
    }

    /// With windows of up to so many bytes, for whoever has the memory.
    #[must_use]
    pub fn with_windows(self, max_window: u64) -> Self {
        Self { max_window, ..self }
    }

    /// Gathers a header. Says whether it is whole.
    fn header(&mut self, input: &[u8], last: bool, step: &mut Step) -> Result<bool, Refusal> {
        loop {
            let needed = match frame_header_input_needed(self.held.held(), false) {
                Ok(needed) => needed,
                Err(_) if self.frames == 0 => return Err(Refusal::invalid("no zstd frame begins here")),
                Err(_) => return Err(Refusal::invalid("something that is no zstd frame follows the last one")),
            };
            if self.held.held().len() >= needed {
                return self.begin(needed).map(|()| true);
            }
            let rest = input.get(step.taken..).unwrap_or_default();
            step.taken += self.held.fill(rest, needed);
            if self.held.held().len() < needed {
                return match (last, self.held.held().is_empty(), self.frames) {
                    (false, ..) => Ok(false),
                    (true, true, 1..) => {
                        step.ended = true;
                        Ok(false)
                    }
                    (true, ..) => Err(cut()),
                };
            }
        }
    }

    /// Begins the frame whose header of that length is held.
    fn begin(&mut self, header: usize) -> Result<(), Refusal> {
        let held = self.held.held().get(..header).unwrap_or_default().to_vec();
        let mut bytes = &*held;
        if header == SKIPPABLE_HEADER_BYTES
            && let Some(length) = skippable(bytes)
        {
            self.part = Part::Skipped(u64::from(length));
        } else {
            let info = read_frame_header_info(bytes, false).map_err(|why| malformed(&why))?;
            self.announce(&info);
            if let Some(dictionary) = info.dictionary_id.filter(|id| *id != 0) {
                return Err(Refusal::invalid(format!(
                    "a zstd frame needs the dictionary {dictionary}: frames that need one are not read"
                )));
            }
            if info.window_size > self.max_window {
                return Err(Refusal::limit(format!(
                    "a zstd frame needs a window of {} bytes, more than the {} MiB that are accepted: compress without \
                     `--ultra` and `--long`, or give the disk without it",
                    info.window_size,
                    self.max_window >> 20
                )));
            }
            if info.window_size > self.window {
                // Before the next one takes its memory this one must have let go of its own.
                *self.decoder = decoder();
                self.window = info.window_size;
            }
            self.decoder.reset(&mut bytes).map_err(|why| malformed(&why))?;
            self.part = Part::Blocks;
        }
        self.held.used(header);
        self.frames += 1;
        Ok(())
    }

    /// The first frame says how long it is: of all there is, if it is the only one. An input that is longer than a frame of
    /// that content can be has more of them; where frames are skipped or the length is unknown, nobody can tell.
    fn announce(&mut self, info: &FrameHeaderInfo) {
        if self.announced.is_some() {
            return;
        }
        let content = match info.content_size {
            FrameContentSize::Known(content) if self.frames == 0 => Some(content),
            _ => None,
        };
        let alone = |content: &u64| {
            let blocks = (content / (128 << 10)).saturating_add(1);
            let most = content.saturating_add(blocks.saturating_mul(3)).saturating_add(MAX_HEADER_AND_CHECKSUM);
            self.size.is_some_and(|size| size <= most)
        };
        let name = self.name.take();
        let name = name.map(|name| bare(&name, &[(".zst", ""), (".tzst", ".tar"), (".zstd", "")]));
        self.announced = Some(Announced { size: content.filter(alone), exact: false, name });
    }

    fn blocks(&mut self, input: &[u8], last: bool, output: &mut [u8], step: &mut Step) -> Result<(), Refusal> {
        let rest = input.get(step.taken..).unwrap_or_default();
        step.taken += self.held.fill(rest, MAX_HELD);
        let (used, given) = self.decoder.decode_from_to(self.held.held(), output).map_err(|why| malformed(&why))?;
        self.held.used(used);
        step.given = given;
        if self.decoder.is_finished() && self.decoder.can_collect() == 0 {
            self.part = Part::Header;
        } else if used == 0 && given == 0 && step.taken == 0 && last && !output.is_empty() {
            return Err(cut());
        }
        Ok(())
    }
}

impl Unwrapper for Zstd {
    fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        let mut step = Step::default();
        while step.given == 0 && !step.ended {
            match &mut self.part {
                Part::Header => {
                    if !self.header(input, last, &mut step)? {
                        break;
                    }
                }
                Part::Skipped(0) => self.part = Part::Header,
                Part::Skipped(left) => {
                    // What is held comes first.
                    let rest = input.get(step.taken..).unwrap_or_default();
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let held = most.min(self.held.held().len());
                    let skipped = most.saturating_sub(held).min(rest.len());
                    self.held.used(held);
                    step.taken += skipped;
                    *left = left.saturating_sub(held as u64).saturating_sub(skipped as u64);
                    if held == 0 && skipped == 0 {
                        if last {
                            return Err(cut());
                        }
                        break;
                    }
                }
                Part::Blocks => {
                    let before = (step.taken, self.held.held().len());
                    self.blocks(input, last, output, &mut step)?;
                    let headway = before != (step.taken, self.held.held().len());
                    if matches!(self.part, Part::Blocks) && !headway {
                        break;
                    }
                }
            }
        }
        Ok(step)
    }

    fn announced(&self) -> Option<&Announced> {
        self.announced.as_ref()
    }
}

/// A decoder that compares each frame's checksum.
fn decoder() -> FrameDecoder {
    let mut decoder = FrameDecoder::new();
    decoder.set_content_checksum(ContentChecksum::Verify);
    decoder
}

/// The length of a skippable frame, if this is the header of one.
fn skippable(header: &[u8]) -> Option<u32> {
    let (magic, length) = header.split_first_chunk::<4>()?;
    let skippable = u32::from_le_bytes(*magic) & 0xffff_fff0 == 0x184d_2a50;
    length.first_chunk::<4>().map(|length| u32::from_le_bytes(*length)).filter(|_| skippable)
}

fn malformed(why: &dyn fmt::Display) -> Refusal {
    Refusal::invalid(format!("a zstd frame is malformed: {why}"))
}

fn cut() -> Refusal {
    Refusal::invalid("a zstd frame ends before its end")
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd").field("part", &self.part).field("announced", &self.announced).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use structured_zstd::encoding::{CompressionLevel, FrameCompressor};

    use super::*;
    use crate::samples::{bytes, damaged};
    use crate::unwrapped;

    fn frame(bytes: &[u8], sized: bool) -> Vec<u8> {
        let mut frame = Vec::new();
        let mut encoder: FrameCompressor = FrameCompressor::new(CompressionLevel::from_level(3));
        encoder.set_content_checksum(true);
        encoder.set_content_size_flag(sized);
        encoder.compress_independent_frame_into(bytes, &mut frame);
        frame
    }

    fn skipped(length: u32) -> Vec<u8> {
        let header = [0x184d_2a53_u32.to_le_bytes(), length.to_le_bytes()].concat();
        [header, vec![0xee; length as usize]].concat()
    }

    fn read(wrapped: &[u8]) -> Result<Vec<u8>, Refusal> {
        unwrapped(Zstd::new(None, None), [wrapped], 1 << 16)
    }

    #[test]
    fn frames_one_behind_the_other_are_their_bytes_one_behind_the_other() {
        let (one, other) = (bytes(900_000), bytes(7));
        let all =
            [skipped(9), frame(&one, true), frame(&[], true), skipped(0), frame(&other, false), skipped(300)].concat();
        assert!(read(&all).unwrap() == [one, other].concat());
        assert_eq!(read(&skipped(5)).unwrap(), b"");
    }

    #[test]
    fn it_does_not_matter_how_it_is_split() {
        let all = [frame(&bytes(200_000), false), skipped(3), frame(b"and another", true)].concat();
        let expected = read(&all).unwrap();
        for (piece, room) in [(1, 1 << 16), (2, 300), (7, 1000), (4096, 11), (100_000, 7)] {
            let split = unwrapped(Zstd::new(None, None), all.chunks(piece), room).unwrap();
            assert!(split == expected, "{piece} {room}");
        }
    }

    #[test]
    fn what_is_cut_anywhere_is_refused() {
        for whole in [frame(&bytes(2000), true), frame(&bytes(2000), false), skipped(30)] {
            for end in 0..whole.len() {
                assert_eq!(read(&whole[..end]).unwrap_err().to_string(), cut().to_string(), "{end}");
                if end > 0 {
                    assert!(read(&[&whole[..], &whole[..end]].concat()).is_err(), "{end}");
                }
            }
        }
    }

    #[test]
    fn what_is_damaged_anywhere_is_refused_or_the_same() {
        let whole = frame(&bytes(500), true);
        let expected = bytes(500);
        for ((at, bit), damaged) in damaged(&whole) {
            // Without its flag the checksum would be no part of the frame, and refused as what follows it.
            if let Ok(bytes) = read(&damaged) {
                assert!(bytes == expected, "{at}.{bit}");
            }
        }
    }

    #[test]
    fn what_is_no_zstd_is_said_to_be_none() {
        for wrapped in [&b"QFI\xfb"[..], b"\x28\xb5\x2f\xfe", b"\x60\x2a\x4d\x18"] {
            assert_eq!(read(wrapped).unwrap_err().to_string(), "no zstd frame begins here", "{wrapped:?}");
        }
        let refused = read(&[&frame(b"inside", true)[..], b"x"].concat()).unwrap_err();
        assert_eq!(refused.to_string(), "something that is no zstd frame follows the last one");
    }

    #[test]
    fn a_window_or_a_dictionary_that_is_not_to_be_had_is_refused_by_name() {
        // Magic, descriptor without flags, window 2^(10 + 15): one 32 MiB.
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 15 << 3];
        let refused = read(&window).unwrap_err();
        assert!(matches!(&refused, Refusal::Limit(why) if why.contains("33554432 bytes, more than the 16 MiB")));
        // A window of 1 KiB, a dictionary in one byte.
        let dictionary = [0x28, 0xb5, 0x2f, 0xfd, 1, 0, 77];
        assert!(read(&dictionary).unwrap_err().to_string().contains("needs the dictionary 77"));
        // The largest that is accepted, with an empty last block.
        assert_eq!(read(&[0x28, 0xb5, 0x2f, 0xfd, 0, 14 << 3, 1, 0, 0]).unwrap(), b"");
    }

    #[test]
    fn a_size_is_announced_where_there_is_hardly_more_than_one_frame() {
        let announced = |wrapped: &[u8], size| {
            let mut zstd = Zstd::new(size, Some("vm.raw.zst".to_owned()));
            zstd.step(wrapped, false, &mut [0; 100_000]).unwrap();
            zstd.announced().cloned().unwrap()
        };
        let whole = frame(&bytes(50_000), true);
        let length = whole.len() as u64;
        let named = Announced { size: Some(50_000), exact: false, name: Some("vm.raw".to_owned()) };
        assert_eq!(announced(&whole, Some(length)), named);
        assert_eq!(announced(&whole, None).size, None, "there may be more");
        assert_eq!(announced(&whole, Some(50_100)).size, None, "there is more");
        assert_eq!(announced(&frame(&bytes(50_000), false), Some(length)).size, None, "it does not say");
        assert_eq!(announced(&[skipped(4), whole].concat(), Some(length)).size, None, "it is not the first");
    }
}

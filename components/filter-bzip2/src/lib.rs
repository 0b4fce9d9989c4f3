//! What is inside bzip2 streams, one behind the other.
//!
//! By `libbz2-rs`, a translation of bzip2 1.0 that keeps its format to the bit: the CRC of each block and of each stream is
//! checked. Nothing says how much comes out. Behind the last stream nothing may follow. Why this crate, stands in
//! `docs/filters.md`.

#[cfg(target_family = "wasm")]
mod component;

use std::fmt;

use bzip2::{Decompress, Status};
use filter_core::{Announced, Pending, Refusal, Step, Unwrapper, bare};

/// Unwraps bzip2 streams.
pub struct Bzip2 {
    part: Part,
    name: Option<String>,
    announced: Option<Announced>,
}

/// What comes next.
enum Part {
    /// The beginning of the first stream or of a further one.
    Begin {
        /// What is there of it.
        held: Pending,
        further: bool,
    },
    /// Of a stream, whose beginning may still have to be handed on.
    Stream { beginning: Pending, decoder: Box<Decompress> },
}

/// `BZh`, the size of a block in units of 100 kB, and the magic number of a block or of the end: pi and its square root, in
/// decimal.
const BEGINNING_BYTES: usize = 10;
const BLOCK: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
const END: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];

impl Bzip2 {
    /// Whatever the size of the input; its name loses its ending.
    #[must_use]
    pub fn new(_: Option<u64>, name: Option<String>) -> Self {
        Self { part: Part::Begin { held: Pending::default(), further: false }, name, announced: None }
    }
}

impl Unwrapper for Bzip2 {
    fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        let mut step = Step::default();
        loop {
            let rest = input.get(step.taken..).unwrap_or_default();
            match &mut self.part {
                Part::Begin { held, further } => {
                    let taken = held.fill(rest, BEGINNING_BYTES);
                    step.taken += taken;
                    let over = last && taken == rest.len();
                    if held.held().is_empty() && *further {
                        return Ok(Step { ended: over, ..step });
                    }
                    begins(held.held(), *further)?;
                    if held.held().len() == BEGINNING_BYTES {
                        let name = self.name.take();
                        self.announced.get_or_insert_with(|| Announced {
                            size: None,
                            exact: false,
                            name: name.map(|name| bare(&name, &[(".bz2", ""), (".tbz2", ".tar"), (".tbz", ".tar")])),
                        });
                        let beginning = std::mem::take(held);
                        self.part = Part::Stream { beginning, decoder: Box::new(Decompress::new(false)) };
                    } else if over {
                        return Err(cut());
                    } else {
                        return Ok(step);
                    }
                }
                Part::Stream { beginning, decoder } => {
                    if !beginning.held().is_empty() {
                        let (taken, ..) = decode(decoder, beginning.held(), &mut [])?;
                        beginning.used(taken);
                        if taken == 0 {
                            return Err(malformed());
                        }
                        continue;
                    }
                    let (taken, given, ended) = decode(decoder, rest, output)?;
                    step.taken += taken;
                    step.given += given;
                    if ended {
                        self.part = Part::Begin { held: Pending::default(), further: true };
                    } else if last && taken == 0 && given == 0 && !output.is_empty() {
                        return Err(cut());
                    }
                    if given > 0 || !ended {
                        return Ok(step);
                    }
                }
            }
        }
    }

    fn announced(&self) -> Option<&Announced> {
        self.announced.as_ref()
    }
}

/// Whether a stream begins with these bytes, as far as they are there.
fn begins(held: &[u8], further: bool) -> Result<(), Refusal> {
    let fits = held.iter().enumerate().all(|(at, byte)| match at {
        0..3 => b"BZh".get(at) == Some(byte),
        3 => (b'1'..=b'9').contains(byte),
        _ => true,
    });
    let magic = held.get(4..).unwrap_or_default();
    if fits && (BLOCK.starts_with(magic) || END.starts_with(magic)) {
        return Ok(());
    }
    Err(Refusal::invalid(if further {
        "something that is no bzip2 stream follows the last one"
    } else {
        "no bzip2 stream begins here"
    }))
}

/// Taken, given, and whether the stream has ended.
fn decode(decoder: &mut Decompress, input: &[u8], output: &mut [u8]) -> Result<(usize, usize, bool), Refusal> {
    let (before_in, before_out) = (decoder.total_in(), decoder.total_out());
    let ended = match decoder.decompress(input, output) {
        Ok(Status::StreamEnd) => true,
        Ok(_) => false,
        Err(_) => return Err(malformed()),
    };
    let taken = (decoder.total_in() - before_in) as usize;
    let given = (decoder.total_out() - before_out) as usize;
    Ok((taken, given, ended))
}

fn malformed() -> Refusal {
    Refusal::invalid("a bzip2 stream is malformed or does not have its checksum")
}

fn cut() -> Refusal {
    Refusal::invalid("a bzip2 stream ends before its end")
}

impl fmt::Debug for Bzip2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bzip2").field("name", &self.name).field("announced", &self.announced).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bzip2::{Action, Compress, Compression};
    use filter_core::samples::{bytes, damaged};
    use filter_core::unwrapped;

    use super::*;

    fn stream(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = Compress::new(Compression::new(level), 0);
        let mut all = Vec::with_capacity(bytes.len() * 2 + 1000);
        while encoder.compress_vec(&bytes[encoder.total_in() as usize..], &mut all, Action::Finish).unwrap()
            != Status::StreamEnd
        {}
        all
    }

    fn read(wrapped: &[u8]) -> Result<Vec<u8>, Refusal> {
        unwrapped(Bzip2::new(None, None), [wrapped], 1 << 16)
    }

    #[test]
    fn streams_one_behind_the_other_are_their_bytes_one_behind_the_other() {
        let (one, other) = (bytes(300_000), bytes(7));
        let all = [stream(&one, 1), stream(&[], 9), stream(&other, 9)].concat();
        assert!(read(&all).unwrap() == [one, other].concat());
        assert_eq!(read(&stream(&[], 9)).unwrap(), b"");
    }

    #[test]
    fn it_does_not_matter_how_it_is_split() {
        let all = [stream(&bytes(250_000), 1), stream(b"and another", 9)].concat();
        let expected = read(&all).unwrap();
        for (piece, room) in [(1, 1 << 16), (2, 300), (7, 1000), (4096, 11), (100_000, 7)] {
            let split = unwrapped(Bzip2::new(None, None), all.chunks(piece), room).unwrap();
            assert!(split == expected, "{piece} {room}");
        }
    }

    #[test]
    fn what_is_cut_anywhere_is_refused() {
        let whole = stream(&bytes(2000), 9);
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]).unwrap_err().to_string(), cut().to_string(), "{end}");
            if end > 0 {
                assert!(read(&[&whole[..], &whole[..end]].concat()).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn what_is_damaged_anywhere_is_refused_or_the_same() {
        let whole = stream(&bytes(500), 9);
        let expected = bytes(500);
        for ((at, bit), damaged) in damaged(&whole) {
            // The largest size of a block, the bits that fill the last byte and others may say the same otherwise.
            if let Ok(bytes) = read(&damaged) {
                assert!(bytes == expected, "{at}.{bit}");
            }
        }
    }

    #[test]
    fn what_is_no_bzip2_is_said_to_be_none() {
        for wrapped in [&b"QFI\xfb"[..], b"BZ0", b"BZh0", b"BZhx", b"BZh91AY&SX", b"BZh9\x17\x72\x45\x38\x51"] {
            assert_eq!(read(wrapped).unwrap_err().to_string(), "no bzip2 stream begins here", "{wrapped:?}");
        }
        for behind in [&b"x"[..], b"\0", b"BZh0", b"BZh9\0"] {
            let refused = read(&[&stream(b"inside", 9), behind].concat()).unwrap_err();
            assert_eq!(refused.to_string(), "something that is no bzip2 stream follows the last one", "{behind:?}");
        }
    }

    #[test]
    fn the_name_loses_its_ending_and_no_size_is_announced() {
        let mut bzip2 = Bzip2::new(Some(1), Some("vm.raw.bz2".to_owned()));
        assert_eq!(bzip2.announced(), None);
        bzip2.step(&stream(b"x", 9), false, &mut [0; 10]).unwrap();
        assert_eq!(
            bzip2.announced().unwrap(),
            &Announced { size: None, exact: false, name: Some("vm.raw".to_owned()) }
        );
    }
}

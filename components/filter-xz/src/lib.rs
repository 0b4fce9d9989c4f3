//! What is inside xz streams (the .xz file format 1.2), one behind the other, with padding between them.
//!
//! By `lzma-rust2`, which checks what there is to check: the CRC of each header, of the index and of the footer, the sizes in
//! the index, and the check of each block, CRC32, CRC64 or SHA-256. Blocks may be filtered by one of the BCJ filters or delta.
//! The length of what comes out stands in the index, at the end, where a filter cannot look before it flows. Why this crate,
//! stands in `docs/filters.md`.

#[cfg(target_family = "wasm")]
mod component;

use std::fmt;
use std::io::ErrorKind;

use filter_core::{Announced, Pending, Refusal, Step, Unwrapper, bare};
use lzma_rust2::{Action, Status, XzStream};

/// The largest dictionary of a block: that of `xz -9`, with which systems are published. The decoder lets it grow with what
/// comes out, and while it grows it is there twice: the host gives this component more memory than others.
pub const MAX_DICTIONARY: u32 = 64 << 20;
/// What the decoder needs besides the dictionary, in KiB, as it counts.
const BESIDES_KIB: u32 = 40;

/// Unwraps xz streams.
pub struct Xz {
    decoder: Box<XzStream>,
    /// The first bytes, until it is known that there is a stream.
    beginning: Option<Pending>,
    name: Option<String>,
    announced: Option<Announced>,
}

/// What a stream begins with (§2.1.1.1).
const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];

impl Xz {
    /// Whatever the size of the input; its name loses its ending.
    #[must_use]
    pub fn new(_: Option<u64>, name: Option<String>) -> Self {
        let decoder = XzStream::new_mem_limit(true, MAX_DICTIONARY / 1024 + BESIDES_KIB);
        Self { decoder: Box::new(decoder), beginning: Some(Pending::default()), name, announced: None }
    }
}

impl Unwrapper for Xz {
    fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        let mut step = Step::default();
        if let Some(beginning) = &mut self.beginning {
            step.taken = beginning.fill(input, MAGIC.len());
            if !MAGIC.starts_with(beginning.held()) {
                return Err(Refusal::invalid("no xz stream begins here"));
            }
            if beginning.held().len() < MAGIC.len() {
                return if last && step.taken == input.len() { Err(cut()) } else { Ok(step) };
            }
            let taken = decode(&mut self.decoder, beginning.held(), &mut [], Action::Run)?.taken;
            if taken != MAGIC.len() {
                return Err(Refusal::invalid("no xz stream begins here"));
            }
            self.beginning = None;
            let name = self.name.take();
            let name = name.map(|name| bare(&name, &[(".xz", ""), (".txz", ".tar")]));
            self.announced = Some(Announced { size: None, exact: false, name });
        }
        let rest = input.get(step.taken..).unwrap_or_default();
        let action = if last { Action::Finish } else { Action::Run };
        let decoded = decode(&mut self.decoder, rest, output, action)?;
        step.taken += decoded.taken;
        if last && step.taken == 0 && decoded.given == 0 && !decoded.ended {
            return Err(cut());
        }
        Ok(Step { taken: step.taken, ..decoded })
    }

    fn announced(&self) -> Option<&Announced> {
        self.announced.as_ref()
    }
}

fn decode(decoder: &mut XzStream, input: &[u8], output: &mut [u8], action: Action) -> Result<Step, Refusal> {
    match decoder.process(input, output, action) {
        Ok(done) => {
            Ok(Step { taken: done.bytes_consumed, given: done.bytes_produced, ended: done.status == Status::StreamEnd })
        }
        Err(why) => Err(match why.kind() {
            ErrorKind::OutOfMemory => {
                let dictionary = decoder.memory_usage().map_or(0, |kib| kib.saturating_sub(BESIDES_KIB) / 1024);
                Refusal::limit(format!(
                    "an xz block needs a dictionary of {dictionary} MiB, more than the {} MiB that are accepted: compress \
                     with a preset of `xz`, or give the disk without it",
                    MAX_DICTIONARY >> 20
                ))
            }
            ErrorKind::UnexpectedEof => cut(),
            _ => Refusal::invalid(format!("an xz stream is malformed: {why}")),
        }),
    }
}

fn cut() -> Refusal {
    Refusal::invalid("an xz stream ends before its end")
}

impl fmt::Debug for Xz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xz").field("name", &self.name).field("announced", &self.announced).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use filter_core::samples::{bytes, damaged};
    use filter_core::unwrapped;

    use super::*;

    /// By the real encoder.
    fn stream(bytes: &[u8], arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("xz");
        command.args(["--stdout", "--threads=1"]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut xz = command.spawn().expect("xz is installed by ./setup test");
        let mut stdin = xz.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(bytes).unwrap());
            xz.wait_with_output().unwrap()
        });
        assert!(output.status.success());
        output.stdout
    }

    fn read(wrapped: &[u8]) -> Result<Vec<u8>, Refusal> {
        unwrapped(Xz::new(None, None), [wrapped], 1 << 16)
    }

    #[test]
    fn streams_one_behind_the_other_are_their_bytes_one_behind_the_other() {
        let (one, other) = (bytes(300_000), bytes(7));
        let all = [stream(&one, &["-1"]), vec![0; 8], stream(&[], &[]), stream(&other, &["-6"]), vec![0; 4]].concat();
        assert!(read(&all).unwrap() == [one, other].concat());
        let odd = [stream(b"x", &[]), vec![0; 3]].concat();
        assert!(read(&odd).unwrap_err().to_string().contains("multiple of 4"));
    }

    #[test]
    fn every_check_and_filter_that_xz_writes_is_read() {
        let inside = bytes(100_000);
        for arguments in [
            &["--check=none"][..],
            &["--check=crc32"],
            &["--check=crc64"],
            &["--check=sha256"],
            &["--block-size=10000"],
            &["--x86", "--lzma2=preset=1"],
            &["--arm", "--lzma2=preset=1"],
            &["--delta=dist=4", "--lzma2=preset=1"],
            &["-8"],
            &["-9e"],
        ] {
            assert!(read(&stream(&inside, arguments)).unwrap() == inside, "{arguments:?}");
        }
    }

    #[test]
    fn it_does_not_matter_how_it_is_split() {
        let blocks = stream(&bytes(100_000), &["--block-size=30000", "--check=sha256"]);
        let filtered = stream(&bytes(50_000), &["--x86", "--lzma2=preset=1"]);
        let all = [blocks, vec![0; 4], filtered].concat();
        let expected = read(&all).unwrap();
        for (piece, room) in [(1, 1 << 16), (2, 300), (7, 1000), (4096, 11), (100_000, 7)] {
            let split = unwrapped(Xz::new(None, None), all.chunks(piece), room).unwrap();
            assert!(split == expected, "{piece} {room}");
        }
    }

    #[test]
    fn what_is_cut_anywhere_is_refused() {
        let whole = stream(&bytes(2000), &[]);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end}");
            if end > 0 {
                assert!(read(&[&whole[..], &whole[..end]].concat()).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn what_is_damaged_anywhere_is_refused_or_the_same() {
        let expected = bytes(500);
        for check in ["--check=crc32", "--check=crc64", "--check=sha256"] {
            let whole = stream(&bytes(500), &[check]);
            for ((at, bit), damaged) in damaged(&whole) {
                // A dictionary of another size, for one, changes nothing.
                if let Ok(bytes) = read(&damaged) {
                    assert!(bytes == expected, "{check} {at}.{bit}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_xz_is_said_to_be_none() {
        for wrapped in [&b"QFI\xfb"[..], b"\xfd7zXZ\x01", b"\x5d\0\0"] {
            assert_eq!(read(wrapped).unwrap_err().to_string(), "no xz stream begins here", "{wrapped:?}");
        }
        for behind in [&b"x"[..], b"\0\0\0\0x", b"\xfd7zXZ\x01"] {
            assert!(read(&[&stream(b"inside", &[]), behind].concat()).is_err(), "{behind:?}");
        }
    }

    #[test]
    fn a_dictionary_that_is_too_large_is_refused_by_name() {
        let refused = read(&stream(b"inside", &["--lzma2=dict=65MiB"])).unwrap_err();
        assert!(matches!(&refused, Refusal::Limit(why) if why.contains("96 MiB, more than the 64 MiB")), "{refused}");
        assert_eq!(read(&stream(b"inside", &["-9"])).unwrap(), b"inside");
    }

    #[test]
    fn the_name_loses_its_ending_and_no_size_is_announced() {
        let mut xz = Xz::new(Some(1), Some("vm.raw.xz".to_owned()));
        assert_eq!(xz.announced(), None);
        xz.step(&stream(b"x", &[]), false, &mut [0; 10]).unwrap();
        assert_eq!(xz.announced().unwrap(), &Announced { size: None, exact: false, name: Some("vm.raw".to_owned()) });
    }
}

//! What is inside gzip members (RFC 1952), one behind the other.
//!
//! Everything that can be checked is: the header's CRC where it has one, CRC and length of what comes out. Behind the last
//! member only zeros may follow, as `gzip` has it. The length in the trailer is modulo 2^32 and of one member alone: it is
//! compared, never announced. DEFLATE by `zlib-rs`; why, stands in `docs/filters.md`.

mod header;

use crate::{Announced, Crc, Inflate, Refusal, Step, Unwrapper, bare};
use header::Header;

/// Unwraps gzip members.
#[derive(Debug)]
pub struct Gzip {
    part: Part,
    name: Option<String>,
    announced: Option<Announced>,
}

/// What comes next.
#[derive(Debug)]
enum Part {
    Header(Header),
    Body(Box<Body>),
    /// CRC32 and length, as far as they are there.
    Trailer(Vec<u8>, Crc),
    /// The next member, zeros or the end.
    Behind,
    /// Nothing but zeros.
    Zeros,
}

#[derive(Debug)]
struct Body {
    inflate: Inflate,
    crc: Crc,
}

/// CRC32 and length (RFC 1952 §2.3.1).
const TRAILER_BYTES: usize = 8;

impl Gzip {
    /// Whatever the size of the input; its name loses its ending.
    #[must_use]
    pub fn new(_: Option<u64>, name: Option<String>) -> Self {
        Self { part: Part::Header(Header::default()), name, announced: None }
    }
}

impl Unwrapper for Gzip {
    fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        let mut step = Step::default();
        while step.given == 0 {
            let rest = input.get(step.taken..).unwrap_or_default();
            let over = last && rest.is_empty();
            match &mut self.part {
                Part::Header(header) => {
                    let (taken, done) = header.take(rest)?;
                    step.taken += taken;
                    if done {
                        self.part = Part::Body(Box::new(Body { inflate: Inflate::new(), crc: Crc::default() }));
                        let name = self.name.take().map(|name| bare(&name, &[(".gz", ""), (".tgz", ".tar")]));
                        self.announced.get_or_insert(Announced { size: None, exact: false, name });
                    } else if over {
                        return Err(header.cut());
                    }
                }
                Part::Body(body) => {
                    let (taken, given, ended) = body.step(rest, output)?;
                    step.taken += taken;
                    step.given += given;
                    if ended {
                        self.part = Part::Trailer(Vec::with_capacity(TRAILER_BYTES), std::mem::take(&mut body.crc));
                    } else if over && taken == 0 && given == 0 {
                        return Err(Refusal::invalid("a gzip member ends inside its data"));
                    }
                    if taken == 0 && given == 0 && !ended {
                        break;
                    }
                    continue;
                }
                Part::Trailer(trailer, crc) => {
                    let missing = rest.get(..TRAILER_BYTES - trailer.len()).unwrap_or(rest);
                    trailer.extend_from_slice(missing);
                    step.taken += missing.len();
                    if trailer.len() == TRAILER_BYTES {
                        check(trailer, crc)?;
                        self.part = Part::Behind;
                    } else if over {
                        return Err(Refusal::invalid("a gzip member ends inside its trailer"));
                    }
                }
                Part::Behind => match rest.first() {
                    Some(0) => self.part = Part::Zeros,
                    Some(&header::MAGIC) => self.part = Part::Header(Header::default()),
                    Some(_) => return Err(Refusal::invalid("something that is no gzip member follows the last one")),
                    None if last => step.ended = true,
                    None => {}
                },
                Part::Zeros => {
                    if rest.iter().any(|byte| *byte != 0) {
                        return Err(Refusal::invalid("something besides zeros follows the last gzip member"));
                    }
                    step.taken += rest.len();
                    step.ended = last;
                }
            }
            if step.ended || step.taken == input.len() && !last {
                break;
            }
        }
        Ok(step)
    }

    fn announced(&self) -> Option<&Announced> {
        self.announced.as_ref()
    }
}

impl Body {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize, bool), Refusal> {
        let malformed = |_| Refusal::invalid("the data of a gzip member are malformed");
        let (taken, given, ended) = self.inflate.step(input, output).map_err(malformed)?;
        self.crc.update(output.get(..given).unwrap_or_default());
        Ok((taken, given, ended))
    }
}

fn check(trailer: &[u8], crc: &Crc) -> Result<(), Refusal> {
    let word = |at| trailer.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
    if word(0) != Some(crc.sum()) {
        return Err(Refusal::invalid("what a gzip member holds does not have the checksum in its trailer"));
    }
    // Modulo 2^32, as the trailer has it.
    if word(4) != Some((crc.bytes() & 0xffff_ffff) as u32) {
        return Err(Refusal::invalid("what a gzip member holds does not have the length in its trailer"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};

    use super::*;
    use crate::samples::{bytes, damaged};
    use crate::unwrapped;

    fn member(bytes: &[u8], builder: GzBuilder) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(bytes: &[u8]) -> Vec<u8> {
        member(bytes, GzBuilder::new())
    }

    fn read(wrapped: &[u8]) -> Result<Vec<u8>, Refusal> {
        unwrapped(Gzip::new(None, None), [wrapped], 1 << 16)
    }

    #[test]
    fn members_one_behind_the_other_are_their_bytes_one_behind_the_other() {
        let (one, other) = (bytes(300_000), bytes(7));
        let all = [plain(&one), plain(&[]), plain(&other)].concat();
        let expected = [one, other].concat();
        assert!(read(&all).unwrap() == expected);
        assert!(read(&[all, vec![0; 1000]].concat()).unwrap() == expected, "zeros behind them are allowed");
    }

    #[test]
    fn it_does_not_matter_how_it_is_split() {
        let all = [plain(&bytes(50_000)), plain(b"and another"), vec![0; 3]].concat();
        let expected = read(&all).unwrap();
        for (piece, room) in [(1, 1 << 16), (1, 1), (2, 3), (7, 1000), (4096, 1), (10_000, 7)] {
            assert!(unwrapped(Gzip::new(None, None), all.chunks(piece), room).unwrap() == expected, "{piece} {room}");
        }
    }

    #[test]
    fn every_field_of_the_header_is_read_over() {
        let builder = GzBuilder::new().filename("a name").comment("a comment").extra(vec![7; 500]).mtime(5);
        let mut wrapped = member(b"inside", builder);
        assert_eq!(read(&wrapped).unwrap(), b"inside");
        // With a checksum of the header (§2.3.1, FHCRC) behind it.
        wrapped[3] |= 2;
        let end = 10 + 2 + 500 + 7 + 10;
        let mut crc = Crc::default();
        crc.update(&wrapped[..end]);
        let sum = (crc.sum() as u16).to_le_bytes();
        wrapped.splice(end..end, sum);
        assert_eq!(read(&wrapped).unwrap(), b"inside");
        wrapped[end] ^= 1;
        assert_eq!(read(&wrapped).unwrap_err().to_string(), "the header of a gzip member does not have its checksum");
    }

    #[test]
    fn what_is_cut_anywhere_is_refused() {
        let whole = member(&bytes(2000), GzBuilder::new().filename("a").comment("b").extra(vec![1; 3]));
        for end in 0..whole.len() {
            let refused = read(&whole[..end]).unwrap_err();
            assert!(refused.to_string().contains("ends"), "{end}: {refused}");
        }
        let two = [plain(b"one"), plain(b"two")].concat();
        for end in plain(b"one").len() + 1..two.len() {
            assert!(read(&two[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_damaged_anywhere_is_refused_or_the_same() {
        let whole = plain(&bytes(500));
        let expected = bytes(500);
        for ((at, bit), damaged) in damaged(&whole) {
            // Whether it is text, its time, extra flags and operating system may be anything, and not every bit of
            // DEFLATE means something.
            match read(&damaged) {
                Ok(bytes) => assert!(bytes == expected, "{at}.{bit}"),
                Err(refused) => assert!(!(4..10).contains(&at) && (at, bit) != (3, 0), "{at}.{bit}: {refused}"),
            }
        }
    }

    #[test]
    fn what_follows_must_be_a_member_or_zeros() {
        for behind in [&b"x"[..], b"\0\0x", b"\x1f", b"\x1f\x8b", b"\x1f\x8c\x08\0\0\0\0\0\0\0", b"\0\x1f\x8b\x08"] {
            assert!(read(&[&plain(b"inside"), behind].concat()).is_err(), "{behind:?}");
        }
    }

    #[test]
    fn what_is_no_gzip_at_all_is_said_to_be_none() {
        for (wrapped, why) in [
            (&b""[..], "ends inside its header"),
            (b"QFI\xfb", "no gzip member begins here"),
            (b"\x1f\x9d\x08\0\0\0\0\0\0\0", "no gzip member begins here"),
            (b"\x1f\x8b\x07\0\0\0\0\0\0\0", "compression method 7"),
            (b"\x1f\x8b\x08\xe0\0\0\0\0\0\0", "reserved"),
        ] {
            let refused = read(wrapped).unwrap_err().to_string();
            assert!(refused.contains(why), "{wrapped:?}: {refused}");
        }
    }

    #[test]
    fn the_name_loses_its_ending_and_no_size_is_announced() {
        let mut gzip = Gzip::new(Some(1), Some("vm.raw.gz".to_owned()));
        assert_eq!(gzip.announced(), None);
        let step = gzip.step(&plain(b"x"), false, &mut [0; 10]).unwrap();
        assert_eq!(step.given, 1);
        assert_eq!(gzip.announced().unwrap(), &Announced { size: None, exact: false, name: Some("vm.raw".to_owned()) });
    }
}

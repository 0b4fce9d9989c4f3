//! The header of a gzip member (RFC 1952 §2.3).

use crate::{Crc, Refusal};

/// The first byte of every member.
pub(super) const MAGIC: u8 = 0x1f;
const MAGIC_2: u8 = 0x8b;
const DEFLATE: u8 = 8;

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// A header as it comes in. Nothing of it is kept: what it says of name and time is not asked for.
#[derive(Debug, Default)]
pub(super) struct Header {
    part: Part,
    flags: u8,
    crc: Crc,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// One of the ten bytes that every header has.
    Fixed(u8),
    ExtraLength,
    ExtraLengthHigh(u8),
    Extra(u16),
    Name,
    Comment,
    Checksum,
    ChecksumHigh(u8),
    Done,
}

impl Default for Part {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

impl Header {
    /// Takes what belongs to the header. Says how much that was, and whether the header is whole.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut taken = 0;
        for byte in input {
            if matches!(self.part, Part::Done) {
                break;
            }
            self.byte(*byte)?;
            taken += 1;
        }
        Ok((taken, matches!(self.part, Part::Done)))
    }

    /// Why it is not enough that the input ends here.
    pub(super) fn cut(&self) -> Refusal {
        Refusal::invalid("a gzip member ends inside its header")
    }

    fn byte(&mut self, byte: u8) -> Result<(), Refusal> {
        if !matches!(self.part, Part::Checksum | Part::ChecksumHigh(_)) {
            self.crc.update(&[byte]);
        }
        self.part = match self.part {
            Part::Fixed(at) => {
                self.fixed(at, byte)?;
                if at < 9 { Part::Fixed(at + 1) } else { self.behind(0) }
            }
            Part::ExtraLength => Part::ExtraLengthHigh(byte),
            Part::ExtraLengthHigh(low) => match u16::from_le_bytes([low, byte]) {
                0 => self.behind(FEXTRA),
                length => Part::Extra(length),
            },
            Part::Extra(1) => self.behind(FEXTRA),
            Part::Extra(left) => Part::Extra(left.saturating_sub(1)),
            Part::Name if byte == 0 => self.behind(FNAME),
            Part::Comment if byte == 0 => self.behind(FCOMMENT),
            Part::Checksum => Part::ChecksumHigh(byte),
            Part::ChecksumHigh(low) => {
                // The lower half of the CRC32 of all before it.
                if u16::from_le_bytes([low, byte]) != (self.crc.sum() & 0xffff) as u16 {
                    return Err(Refusal::invalid("the header of a gzip member does not have its checksum"));
                }
                Part::Done
            }
            part @ (Part::Name | Part::Comment | Part::Done) => part,
        };
        Ok(())
    }

    fn fixed(&mut self, at: u8, byte: u8) -> Result<(), Refusal> {
        match (at, byte) {
            (0, MAGIC) | (1, MAGIC_2) | (2, DEFLATE) => Ok(()),
            (0 | 1, _) => Err(Refusal::invalid("no gzip member begins here")),
            (2, method) => Err(Refusal::invalid(format!("a gzip member has the compression method {method}, not 8"))),
            (3, flags) if flags & RESERVED != 0 => {
                Err(Refusal::invalid(format!("a gzip member has reserved flags: {flags:#04x}")))
            }
            (3, flags) => {
                self.flags = flags;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The next optional part, in the order of the flags' fields, behind that of `flag`.
    fn behind(&self, flag: u8) -> Part {
        let order = [
            (0, Part::Done),
            (FEXTRA, Part::ExtraLength),
            (FNAME, Part::Name),
            (FCOMMENT, Part::Comment),
            (FHCRC, Part::Checksum),
        ];
        let behind = order.iter().skip_while(|(field, _)| *field != flag).skip(1);
        behind.into_iter().find(|(field, _)| self.flags & field != 0).map_or(Part::Done, |(_, part)| *part)
    }
}

//! The headers of a zip archive (APPNOTE 6.3 §4.3, §4.4, §4.5).

use filter_core::Refusal;

use crate::choosing::shown;

/// Encrypted (§4.4.4, bit 0).
const ENCRYPTED: u16 = 1;
/// Checksum and sizes stand behind the data (bit 3).
const SIZES_FOLLOW: u16 = 1 << 3;
/// Patched data (bit 5), strong encryption (bit 6), a masked header (bit 13).
const NOT_READ: u16 = 1 << 5 | 1 << 6 | 1 << 13;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// The extra field with sizes of 64 bits (§4.5.3).
const ZIP64: u16 = 1;

const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
/// With a signature and sizes of 64 bits (§4.3.9).
pub(crate) const MAX_DATA_DESCRIPTOR: usize = 24;

/// The header in front of an entry (§4.3.7).
#[derive(Debug)]
pub(crate) struct Local {
    flags: u16,
    method: u16,
    pub(crate) crc: u32,
    pub(crate) packed: u64,
    pub(crate) size: u64,
    pub(crate) raw_name: Vec<u8>,
}

/// The entry in the central directory (§4.3.12).
#[derive(Debug)]
pub(crate) struct Central {
    pub(crate) crc: u32,
    pub(crate) size: u64,
    pub(crate) raw_name: Vec<u8>,
    /// It ends with what reads as a locator.
    pub(crate) ends_in_locator: bool,
}

impl Local {
    /// How many bytes the header that begins so takes, as far as that can be told.
    pub(crate) fn bytes(held: &[u8]) -> usize {
        match (short(held, 26), short(held, 28)) {
            (Some(name), Some(extra)) if held.len() >= LOCAL_BYTES => LOCAL_BYTES + name as usize + extra as usize,
            _ => LOCAL_BYTES,
        }
    }

    /// Reads it.
    pub(crate) fn read(held: &[u8]) -> Result<Self, Refusal> {
        let read = || {
            let (name, extra) = (short(held, 26)? as usize, short(held, 28)? as usize);
            let raw_name = held.get(LOCAL_BYTES..)?.get(..name)?.to_vec();
            let extra = held.get(LOCAL_BYTES + name..)?.get(..extra)?;
            let mut sizes = [u64::from(word(held, 22)?), u64::from(word(held, 18)?)];
            widened(extra, &mut sizes)?;
            let [size, packed] = sizes;
            Some(Self { flags: short(held, 6)?, method: short(held, 8)?, crc: word(held, 14)?, packed, size, raw_name })
        };
        read().ok_or_else(|| Refusal::invalid("the header of an entry in the zip archive is malformed"))
    }

    /// Its name, what is not UTF-8 replaced.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.raw_name).into_owned()
    }

    pub(crate) const fn sizes_follow(&self) -> bool {
        self.flags & SIZES_FOLLOW != 0
    }

    pub(crate) const fn is_deflated(&self) -> bool {
        self.method == DEFLATED
    }

    /// Whether its data can be read.
    pub(crate) fn readable(&self) -> Result<(), Refusal> {
        let name = shown(&self.name());
        let refused = |how: &str| Err(Refusal::invalid(format!("{name} in the zip archive {how}, which is not read")));
        match self.method {
            _ if self.flags & ENCRYPTED != 0 => refused("is encrypted"),
            _ if self.flags & NOT_READ != 0 => refused("is patched or has a masked header"),
            STORED if self.sizes_follow() => refused("is stored with its length behind it"),
            STORED | DEFLATED => Ok(()),
            method => refused(&format!("has the compression method {method}")),
        }
    }
}

impl Central {
    /// How many bytes the entry that begins so takes, as far as that can be told.
    pub(crate) fn bytes(held: &[u8]) -> usize {
        match (short(held, 28), short(held, 30), short(held, 32)) {
            (Some(name), Some(extra), Some(comment)) if held.len() >= CENTRAL_BYTES => {
                CENTRAL_BYTES + name as usize + extra as usize + comment as usize
            }
            _ => CENTRAL_BYTES,
        }
    }

    /// Reads it.
    pub(crate) fn read(held: &[u8]) -> Result<Self, Refusal> {
        let read = || {
            let (name, extra) = (short(held, 28)? as usize, short(held, 30)? as usize);
            let raw_name = held.get(CENTRAL_BYTES..)?.get(..name)?.to_vec();
            let extra = held.get(CENTRAL_BYTES + name..)?.get(..extra)?;
            let mut sizes = [u64::from(word(held, 24)?), u64::from(word(held, 20)?)];
            widened(extra, &mut sizes)?;
            let [size, _] = sizes;
            let end = Self::bytes(held);
            let last = held.get(end.checked_sub(Locator::BYTES)?..end)?;
            Some(Self { crc: word(held, 16)?, size, raw_name, ends_in_locator: last.starts_with(Locator::SIGNATURE) })
        };
        read().ok_or_else(|| Refusal::invalid("the directory of the zip archive is malformed"))
    }
}

/// The central directory as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) entries: u64,
    at: u64,
    bytes: u64,
}

impl Directory {
    /// An entry begins there.
    pub(crate) const fn begins(&mut self, at: u64) {
        if self.entries == 0 {
            self.at = at;
        }
    }

    /// The last one has ended there.
    pub(crate) const fn ends(&mut self, at: u64) {
        self.bytes = at.saturating_sub(self.at);
    }
}

/// The end of the directory with numbers of 64 bits (§4.3.14).
pub(crate) struct WideEnd;

impl WideEnd {
    pub(crate) const BYTES: usize = 56;

    /// Whether it leads to `directory`. Its locator must stand right behind it: some readers take what stands in front of that,
    /// wherever it says that the end is, and an extensible data sector, which nobody writes, could be another end.
    pub(crate) fn read(held: &[u8], directory: &Directory) -> Result<(), Refusal> {
        let read = || Some((long(held, 4)?, long(held, 32)?, long(held, 40)?, long(held, 48)?));
        let (length, entries, bytes, at) = read().ok_or_else(elsewhere)?;
        if length != Self::BYTES as u64 - 12 {
            return Err(Refusal::invalid("the end of the zip archive's directory has an extensible data sector"));
        }
        if (Directory { entries, at, bytes }) == *directory { Ok(()) } else { Err(elsewhere()) }
    }
}

/// What says where that one stands (§4.3.15).
pub(crate) struct Locator;

impl Locator {
    pub(crate) const BYTES: usize = 20;
    const SIGNATURE: &[u8] = b"PK\x06\x07";

    /// Whether it says `at`.
    pub(crate) fn read(held: &[u8], at: u64) -> Result<(), Refusal> {
        if long(held, 8) == Some(at) { Ok(()) } else { Err(elsewhere()) }
    }
}

/// The end that every archive has (§4.3.16).
pub(crate) struct End;

impl End {
    const BYTES: usize = 22;

    /// How many bytes the end that begins so takes, as far as that can be told.
    pub(crate) fn bytes(held: &[u8]) -> usize {
        match short(held, 20) {
            Some(comment) if held.len() >= Self::BYTES => Self::BYTES + comment as usize,
            _ => Self::BYTES,
        }
    }

    /// Whether it leads to `directory`. A number that is all ones stands in the `wide` end, if there is one. No other end may begin
    /// in its comment: readers look for the last one.
    pub(crate) fn read(held: &[u8], directory: &Directory, wide: bool) -> Result<(), Refusal> {
        let is = |stated: u64, ones: u64, real: u64| stated == real || (wide && stated == ones);
        let read = || {
            let entries = is(short(held, 10)?.into(), u16::MAX.into(), directory.entries);
            let bytes = is(word(held, 12)?.into(), u32::MAX.into(), directory.bytes);
            let at = is(word(held, 16)?.into(), u32::MAX.into(), directory.at);
            Some(entries && bytes && at)
        };
        if read() != Some(true) {
            return Err(elsewhere());
        }
        match held.get(Self::BYTES..).unwrap_or_default().windows(4).any(|part| part == b"PK\x05\x06") {
            true => Err(Refusal::invalid("another end of the zip archive stands in its comment")),
            false => Ok(()),
        }
    }
}

fn elsewhere() -> Refusal {
    Refusal::invalid("the end of the zip archive leads elsewhere than to its directory")
}

/// How long the data descriptor is that begins `held`, if it states this (§4.3.9): with a signature or without, with sizes of
/// 64 bits or of 32. Where both would do, what stands behind decides.
pub(crate) fn data_descriptor(held: &[u8], crc: u32, packed: u64, size: u64) -> Option<usize> {
    let wide = [&crc.to_le_bytes()[..], &packed.to_le_bytes(), &size.to_le_bytes()].concat();
    let narrow = match (u32::try_from(packed), u32::try_from(size)) {
        (Ok(packed), Ok(size)) => Some([crc, packed, size].map(u32::to_le_bytes).concat()),
        _ => None,
    };
    let forms = [Some(&wide), narrow.as_ref()];
    let mut fits = forms.into_iter().flatten().flat_map(|form| {
        let signed = [b"PK\x07\x08", &form[..]].concat();
        [signed.clone(), form.clone()].into_iter().filter(|form| held.starts_with(form)).map(|form| form.len())
    });
    let first = fits.next()?;
    let rest: Vec<usize> = fits.collect();
    let behind =
        |length: &usize| held.get(*length..).is_some_and(|behind| b"PK".starts_with(behind.get(..2).unwrap_or(behind)));
    std::iter::once(first).chain(rest).find(behind).or(Some(first))
}

/// Puts the sizes of 64 bits in the place of those that say that there are some, in this order.
fn widened(mut extra: &[u8], sizes: &mut [u64]) -> Option<()> {
    let wanted = sizes.iter().any(|size| *size == u64::from(u32::MAX));
    while wanted && extra.len() >= 4 {
        let (id, length) = (short(extra, 0)?, short(extra, 2)? as usize);
        let mut field = extra.get(4..)?.get(..length)?;
        extra = extra.get(4 + length..)?;
        if id == ZIP64 {
            for size in sizes.iter_mut().filter(|size| **size == u64::from(u32::MAX)) {
                let (wide, rest) = field.split_first_chunk::<8>()?;
                *size = u64::from_le_bytes(*wide);
                field = rest;
            }
            return Some(());
        }
    }
    Some(())
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_data_descriptor_is_known_by_what_it_states() {
        let sign = u32::from_le_bytes(*b"PK\x07\x08");
        let next = u32::from_le_bytes(*b"PK\x01\x02");
        for (held, expected) in [
            (words(&[7, 5, 9, next]), Some(12)),
            (words(&[sign, 7, 5, 9, next]), Some(16)),
            (words(&[7, 5, 0, 9, 0, next]), Some(20)),
            (words(&[sign, 7, 5, 0, 9, 0]), Some(24)),
            (words(&[7, 5, 8, next]), None),
            (words(&[sign, 6, 5, 9, next]), None),
            (words(&[7, 5]), None),
        ] {
            assert_eq!(data_descriptor(&held, 7, 5, 9), expected, "{held:x?}");
        }
        // Nothing inside: the high half of one length is the low half of the other.
        assert_eq!(data_descriptor(&words(&[0, 2, 0, next, 0, 0]), 0, 2, 0), Some(12));
        assert_eq!(data_descriptor(&words(&[0, 2, 0, 0, 0, next]), 0, 2, 0), Some(20));
        assert_eq!(data_descriptor(&words(&[0, 2, 0]), 0, 2, 0), Some(12), "and nothing behind it");
    }

    #[test]
    fn sizes_of_64_bits_stand_in_for_those_that_do_not_fit() {
        let field =
            |id: u16, bytes: &[u8]| [&id.to_le_bytes()[..], &(bytes.len() as u16).to_le_bytes(), bytes].concat();
        let large = u64::from(u32::MAX);
        let both = [(1_u64 << 40).to_le_bytes(), (1_u64 << 39).to_le_bytes()].concat();
        let extra = [field(0x5455, b"time"), field(1, &both)].concat();
        let mut sizes = [large, large];
        widened(&extra, &mut sizes).unwrap();
        assert_eq!(sizes, [1 << 40, 1 << 39]);
        let mut sizes = [3, large];
        widened(&extra, &mut sizes).unwrap();
        assert_eq!(sizes, [3, 1 << 40], "only those that do not fit are there");
        assert_eq!(widened(&field(1, b"short"), &mut [large]), None);
        assert_eq!(widened(b"\x01\0\xff\xff", &mut [large]), None);
        assert_eq!(widened(b"no extra field", &mut [5]), Some(()), "nobody looks");
    }
}

//! UDF (ECMA-167 part 2 clause 9 and part 3 clause 7, OSTA UDF 2.60): a volume recognition sequence at 32 KiB, and an anchor.

use crate::detect::{FIRST_READ, Mark};
use crate::fields::Fields;
use crate::view::Stop;
use crate::{Verdict, View};

const FIRST: usize = 0x8000;
/// Structures are of 2048 bytes, on media with larger sectors of 4096.
const STEPS: [usize; 2] = [2048, 4096];
/// The most structures that are walked within the first read.
const MAX_STRUCTURES: usize = 16;
/// The anchor stands in sector 256, of whatever size sectors are; in rising order.
const SECTORS: [u64; 3] = [512, 2048, 4096];
const ANCHOR_SECTOR: u64 = 256;
/// "TagIdentifier 2: Anchor Volume Descriptor Pointer" (ECMA-167 3/7.2.1).
const ANCHOR_TAG: u16 = 2;

/// What a volume structure descriptor says (ECMA-167 2/9.1).
pub(crate) enum Structure {
    Begin,
    Udf(&'static str),
}

/// What the structure is that begins here, if it is one of the extended area.
pub(crate) fn structure(bytes: &[u8]) -> Option<Structure> {
    match bytes.get(1..6) {
        Some(b"BEA01") => Some(Structure::Begin),
        Some(b"NSR02") => Some(Structure::Udf("NSR02")),
        Some(b"NSR03") => Some(Structure::Udf("NSR03")),
        _ => None,
    }
}

/// The extended area alone, or behind descriptors of ISO 9660.
pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    let (version, offset) = find(head)?;
    Some(Mark { offset: offset as u64 + 1, bytes: version.as_bytes(), name: "UDF" })
}

fn find(head: &[u8]) -> Option<(&'static str, usize)> {
    STEPS.into_iter().find_map(|step| {
        let mut begun = false;
        for number in 0..MAX_STRUCTURES {
            let at = FIRST + number * step;
            let descriptor = head.get(at..)?;
            match structure(descriptor) {
                Some(Structure::Begin) => begun = true,
                Some(Structure::Udf(version)) if begun => return Some((version, at)),
                _ if descriptor.get(1..6) == Some(b"CD001") => {}
                _ => return None,
            }
        }
        None
    })
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let (version, _) = find(view.at(0, FIRST_READ)?).unwrap_or_default();
    let mut verdict = Verdict::new("udf", view.size());
    verdict.detail("udf", version);
    for sector in SECTORS {
        if anchored(view, sector)? {
            verdict.detail("sector-size", sector);
            return Ok(verdict);
        }
    }
    verdict.warn("udf-anchor", "no anchor in sector 256 of 512, 2048 or 4096 bytes: the volume may be cut short");
    Ok(verdict)
}

/// Whether an anchor stands there: its tag's checksum is the sum of the tag's other bytes (ECMA-167 3/7.2.3).
fn anchored(view: &View, sector: u64) -> Result<bool, Stop> {
    let offset = sector * ANCHOR_SECTOR;
    let tag = view.at(offset, 16)?;
    let fields = Fields::new("udf", "anchor", offset, tag);
    if tag.len() < 16 || fields.le16(0)? != ANCHOR_TAG {
        return Ok(false);
    }
    let sum = tag.iter().enumerate().filter(|(at, _)| *at != 4).fold(0_u8, |sum, (_, byte)| sum.wrapping_add(*byte));
    Ok(fields.byte(4)? == sum && u64::from(fields.le32(12)?) == ANCHOR_SECTOR)
}

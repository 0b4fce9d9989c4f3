//! LUKS 2 ("LUKS2 On-Disk Format Specification" 1.1.3): a binary header of 4096 bytes and a JSON area (chapter 2), both twice,
//! each pair under a checksum; the segments of the JSON say where the ciphertext lies (chapter 3.3).

use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use super::Payload;
use crate::fields::Fields;
use crate::verdict::quoted;
use crate::view::Stop;
use crate::{Malformed, Verdict, View};

/// The binary header; behind it the JSON area.
const HEADER: u64 = 4096;
/// "hdr_size": binary header and JSON area, a power of two.
const SIZES: (u64, u64) = (16 << 10, 4 << 20);
/// The most of a header that is read; cryptsetup makes headers of 16 KiB. A larger one is not held against its checksum.
const MAX_READ: u64 = 1 << 20;
/// Segments that are added up.
const MAX_SEGMENTS: usize = 32;
const SECOND_MAGIC: &[u8] = b"SKUL\xba\xbe";
/// "seqid", "csum_alg" and "csum" (figure 2).
const SEQUENCE: usize = 16;
const ALGORITHM: (usize, usize) = (72, 32);
const CHECKSUM: (usize, usize) = (448, 64);

/// What of the JSON area says where the ciphertext lies.
#[derive(Deserialize)]
struct Document {
    segments: BTreeMap<String, Segment>,
}

#[derive(Deserialize)]
struct Segment {
    offset: String,
    size: String,
    #[serde(default)]
    flags: Vec<String>,
    /// There are checksums between the sectors.
    integrity: Option<serde::de::IgnoredAny>,
}

pub(super) fn payload(view: &View, verdict: &mut Verdict) -> Result<Payload, Stop> {
    let fields = Fields::new("luks", "header", 0, view.at(0, HEADER)?);
    let size = fields.check("hdr_size", 8, fields.be64(8)?, SIZES.0, SIZES.1)?;
    if !size.is_power_of_two() {
        return Err(fields.wrong("hdr_size", 8, &size.to_string(), "a power of two").into());
    }
    let first = view.at(0, size.min(MAX_READ))?;
    let text = json(first).split(|byte| *byte == 0).next().unwrap_or_default();
    let document: Document = serde_json::from_slice(text)
        .map_err(|why| fields.malformed(&format!("the JSON area at {HEADER} is not what it must be: {why}")))?;
    if size > MAX_READ {
        let message =
            format!("headers of {size} bytes at 8: more than {MAX_READ} are not held against their checksums");
        verdict.warn("luks-second-header", message);
    } else {
        headers(verdict, first, view.at(size, size)?, size);
    }
    segments(&fields, &document, verdict).map_err(Stop::from)
}

/// Which of two headers counts: the one with the higher sequence number of those whose checksum holds (chapter 2.2). What was
/// read is the first one.
fn headers(verdict: &mut Verdict, first: &[u8], second: &[u8], size: u64) {
    let sound = |bytes: &[u8]| bytes.len() as u64 == size && stored(bytes) == Some(&*checksum(bytes));
    let sequence =
        |bytes: &[u8]| bytes.get(SEQUENCE..).and_then(<[u8]>::first_chunk).map(|raw| u64::from_be_bytes(*raw));
    if !sound(first) {
        let algorithm = first.get(ALGORITHM.0..ALGORITHM.0 + ALGORITHM.1).unwrap_or_default();
        let algorithm = algorithm.split(|byte| *byte == 0).next().unwrap_or_default();
        let message =
            format!("the checksum at 448, {} by its name at 72, does not hold: sha256 is expected", quoted(algorithm));
        verdict.refuse("luks-header", message);
    } else if !second.starts_with(SECOND_MAGIC) || !sound(second) {
        verdict.warn("luks-second-header", format!("there is no second header at {size} whose checksum holds"));
    } else if sequence(first) != sequence(second) || json(first) != json(second) {
        verdict.refuse(
            "luks-header",
            format!("the headers at 0 and {size} are both valid and differ: the newer one counts"),
        );
    }
}

fn json(header: &[u8]) -> &[u8] {
    header.get(HEADER as usize..).unwrap_or_default()
}

/// The checksum as it is stored, if it is of the algorithm that cryptsetup writes: a name, and zeros behind the sum.
fn stored(header: &[u8]) -> Option<&[u8]> {
    let name = header.get(ALGORITHM.0..ALGORITHM.0 + ALGORITHM.1)?;
    let sum = header.get(CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1)?;
    name.starts_with(b"sha256\0").then_some(sum.get(..32)?)
}

/// SHA-256 of binary header and JSON area, the checksum's own field counted as zeros.
fn checksum(header: &[u8]) -> Vec<u8> {
    let (before, from) = header.split_at(CHECKSUM.0.min(header.len()));
    let behind = from.get(CHECKSUM.1..).unwrap_or_default();
    Sha256::new().chain_update(before).chain_update([0; CHECKSUM.1]).chain_update(behind).finalize().to_vec()
}

/// Writes the checksum of a header, for samples.
#[cfg(any(test, feature = "samples"))]
pub(crate) fn seal(header: &mut [u8]) {
    let sum = checksum(header);
    if let Some(field) = header.get_mut(CHECKSUM.0..CHECKSUM.0 + 32) {
        field.copy_from_slice(&sum);
    }
}

fn segments(fields: &Fields<'_>, document: &Document, verdict: &mut Verdict) -> Result<Payload, Malformed> {
    let malformed = |what: &str, value: &str| fields.malformed(&format!("a segment has {what} {value:?}"));
    let number = |what: &str, value: &str| value.parse::<u64>().map_err(|_| malformed(what, value));
    // What a re-encryption needs to go back or on: the same ciphertext once more.
    let is_backup = |segment: &&Segment| segment.flags.iter().any(|flag| flag.starts_with("backup-"));
    let segments: Vec<&Segment> = document.segments.values().filter(|segment| !is_backup(segment)).collect();
    let mut payload = Payload { length: 0, end: 0, rest: None, is_all_content: true };
    for segment in segments.iter().take(MAX_SEGMENTS) {
        let offset = number("the offset", &segment.offset)?;
        payload.is_all_content &= segment.integrity.is_none();
        if segment.size == "dynamic" {
            if payload.rest.replace(offset).is_some() {
                return Err(malformed("beside another the size", &segment.size));
            }
            continue;
        }
        let bytes = number("the size", &segment.size)?;
        let (Some(length), Some(end)) = (payload.length.checked_add(bytes), offset.checked_add(bytes)) else {
            return Err(malformed("the size", &segment.size));
        };
        (payload.length, payload.end) = (length, payload.end.max(end));
    }
    if segments.is_empty() || segments.len() > MAX_SEGMENTS {
        let count = segments.len();
        let message = format!("a header with {count} segments at {HEADER}, expected 1 to {MAX_SEGMENTS}");
        verdict.refuse("luks-detached", message);
    }
    if segments.iter().any(|segment| segment.flags.iter().any(|flag| flag == "in-reencryption")) {
        let message = format!("a re-encryption is under way: segments at {HEADER} with keys of their own");
        verdict.refuse("luks-reencrypting", message);
    }
    if !payload.is_all_content {
        verdict.detail("integrity", "yes");
    }
    Ok(payload)
}

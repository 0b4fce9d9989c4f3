//! LUKS 1 ("LUKS On-Disk Format Specification" 1.2, figure 1) and 2 ("LUKS2 On-Disk Format Specification" 1.1, chapter 2):
//! big-endian, the keys and the ciphertext in the same file.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::detect::Mark;
use crate::fields::Fields;
use crate::view::Stop;
use crate::{Malformed, Verdict, View};

const MAGIC: &[u8] = b"LUKS\xba\xbe";
const V1_HEADER: u64 = 592;
/// The binary header; behind it the JSON area.
const V2_HEADER: u64 = 4096;
/// "hdr_size": binary header and JSON area, a power of two.
const V2_SIZES: (u64, u64) = (16 << 10, 4 << 20);
/// The most of a JSON area that is read; cryptsetup makes areas of 12 KiB.
const MAX_JSON: u64 = 1 << 20;
/// Segments that are added up.
const MAX_SEGMENTS: usize = 32;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, MAGIC, "LUKS")
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let fields = Fields::new("luks", "header", 0, view.at(0, V1_HEADER)?);
    let version = fields.be16(6)?;
    fields.check("version", 6, u64::from(version), 1, 2)?;
    let mut verdict = Verdict::new("luks", None);
    verdict.detail("version", version);
    verdict.warn(
        "luks-encrypted",
        format!("encrypted as a whole: LUKS version {version} at 6; no machine reads it without the key"),
    );
    let payload = if version == 1 { v1(&fields, &mut verdict)? } else { v2(view, &mut verdict)? };
    match (view.size(), payload) {
        (Some(size), Payload::Rest(offset)) if size < offset => {
            verdict.refuse("luks-truncated", format!("the payload begins at {offset}, behind the end of the file"));
        }
        (Some(size), Payload::Rest(offset)) => verdict.virtual_size = Some(size - offset),
        (_, Payload::Fixed { length, end }) => {
            verdict.virtual_size = Some(length);
            if view.ends_before(end) {
                verdict.refuse("luks-truncated", format!("the payload ends at {end}, behind the end of the file"));
            }
        }
        (None, Payload::Rest(_)) => {}
    }
    Ok(verdict)
}

/// Where the ciphertext lies.
enum Payload {
    /// From here to the end of the file.
    Rest(u64),
    Fixed {
        length: u64,
        end: u64,
    },
}

fn v1(fields: &Fields<'_>, verdict: &mut Verdict) -> Result<Payload, Malformed> {
    // The last key slot is there too.
    fields.bytes(0, V1_HEADER as usize)?;
    let sectors = u64::from(fields.be32(104)?);
    let cipher = fields.bytes(8, 32)?.split(|byte| *byte == 0).next().unwrap_or_default();
    verdict.detail("cipher", cipher.escape_ascii());
    fields.check("key-bytes", 108, u64::from(fields.be32(108)?), 1, 512)?;
    if sectors == 0 {
        verdict.refuse("luks-detached", "a header without its payload: payload-offset at 104 is 0");
    }
    Ok(Payload::Rest(sectors * 512))
}

/// What of the JSON area says where the ciphertext lies (chapter 3.2, "Segments").
#[derive(Deserialize)]
struct Document {
    segments: BTreeMap<String, Segment>,
}

#[derive(Deserialize)]
struct Segment {
    offset: String,
    size: String,
}

fn v2(view: &View, verdict: &mut Verdict) -> Result<Payload, Stop> {
    let fields = Fields::new("luks", "header", 0, view.at(0, V1_HEADER)?);
    let size = fields.check("hdr_size", 8, fields.be64(8)?, V2_SIZES.0, V2_SIZES.1)?;
    if !size.is_power_of_two() {
        return Err(fields.wrong("hdr_size", 8, &size.to_string(), "a power of two").into());
    }
    let length = (size - V2_HEADER).min(MAX_JSON);
    let area = view.at(0, V2_HEADER + length)?.get(V2_HEADER as usize..).unwrap_or_default();
    let text = area.split(|byte| *byte == 0).next().unwrap_or_default();
    let document: Document = serde_json::from_slice(text)
        .map_err(|why| fields.malformed(&format!("the JSON area at {V2_HEADER} is not what it must be: {why}")))?;
    let malformed = |what: &str, value: &str| fields.malformed(&format!("a segment has {what} {value:?}"));
    let number = |what: &str, value: &str| value.parse::<u64>().map_err(|_| malformed(what, value));
    let (mut length, mut end) = (0_u64, 0_u64);
    for segment in document.segments.values().take(MAX_SEGMENTS) {
        let offset = number("the offset", &segment.offset)?;
        if segment.size == "dynamic" {
            return match document.segments.len() {
                1 => Ok(Payload::Rest(offset)),
                _ => Err(malformed("among several the size", &segment.size).into()),
            };
        }
        let bytes = number("the size", &segment.size)?;
        let (sum, last) = (length.checked_add(bytes), offset.checked_add(bytes));
        (length, end) = match (sum, last) {
            (Some(sum), Some(last)) => (sum, end.max(last)),
            _ => return Err(malformed("the size", &segment.size).into()),
        };
    }
    if document.segments.is_empty() || document.segments.len() > MAX_SEGMENTS {
        let count = document.segments.len();
        verdict.refuse(
            "luks-detached",
            format!("a header with {count} segments at {V2_HEADER}, expected 1 to {MAX_SEGMENTS}"),
        );
    }
    Ok(Payload::Fixed { length, end })
}

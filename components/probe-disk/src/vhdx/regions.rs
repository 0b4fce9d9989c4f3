//! The region table ([MS-VHDX] 2.2.3): where block allocation table and metadata lie.

use super::guid;
use crate::crc::crc32c_without;
use crate::fields::Fields;
use crate::{Malformed, Verdict, View};

/// "Region Table 1" and "Region Table 2".
const TABLES: [usize; 2] = [192 << 10, 256 << 10];
const TABLE: usize = 64 << 10;
/// "EntryCount: must be less than or equal to 2,047".
const MAX_ENTRIES: u64 = 2047;
/// "FileOffset: must be a multiple of 1 MB and at least 1 MB", the same for the length.
const UNIT: u64 = 1 << 20;
/// Unknown regions that are told.
const MAX_TOLD: usize = 4;

const BAT: &str = "2DC27766-F623-4200-9D64-115E9BFD4A08";
const METADATA: &str = "8B7CA206-4790-4B9A-B8FE-575F050F886E";

/// A part of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) length: u64,
}

pub(super) struct Regions {
    pub(super) metadata: Region,
    pub(super) bat: Region,
    /// Required regions that nobody here knows.
    unknown: Vec<String>,
    /// Whether one table is damaged, or the two differ.
    doubtful: Option<&'static str>,
}

/// Reads the first valid one of the two tables. No region may overlap another, or the log.
pub(super) fn read(section: &[u8], log: &Region) -> Result<Regions, Malformed> {
    let [first, second] = TABLES.map(|at| table(section, at));
    let doubtful = match (first, second) {
        (Some(first), Some(second)) if first != second => Some("the region tables at 196608 and 262144 differ"),
        (Some(_), Some(_)) => None,
        (None, _) => Some("the region table at 196608 is damaged"),
        (_, None) => Some("the region table at 262144 is damaged"),
    };
    let (bytes, at) = match (first, second) {
        (Some(bytes), _) => (bytes, TABLES[0]),
        (None, Some(bytes)) => (bytes, TABLES[1]),
        _ => return Err(Malformed("vhdx: neither region table, at 196608 and 262144, is valid".to_owned())),
    };
    entries(&Fields::new("vhdx", "region table", at as u64, bytes), log, doubtful)
}

fn table(section: &[u8], at: usize) -> Option<&[u8]> {
    let bytes = section.get(at..)?.get(..TABLE)?;
    let sum = Fields::new("vhdx", "region table", 0, bytes).le32(4).ok()?;
    (bytes.starts_with(b"regi") && sum == crc32c_without(bytes, 4)).then_some(bytes)
}

fn entries(fields: &Fields<'_>, log: &Region, doubtful: Option<&'static str>) -> Result<Regions, Malformed> {
    let count = fields.check("EntryCount", 8, u64::from(fields.le32(8)?), 0, MAX_ENTRIES)?;
    let (mut metadata, mut bat, mut unknown) = (None, None, Vec::new());
    let mut all = vec![log.clone()];
    for number in 0..count as usize {
        let at = 16 + number * 32;
        let name = guid(fields.bytes(at, 16)?);
        let region = Region { offset: fields.le64(at + 16)?, length: u64::from(fields.le32(at + 24)?) };
        if !region.offset.is_multiple_of(UNIT) || region.offset < UNIT {
            return Err(fields.wrong(
                "FileOffset",
                at + 16,
                &region.offset.to_string(),
                "a multiple of 1 MiB from there on",
            ));
        }
        if !region.length.is_multiple_of(UNIT) || region.length == 0 {
            return Err(fields.wrong("Length", at + 24, &region.length.to_string(), "a multiple of 1 MiB"));
        }
        let end = region.offset.checked_add(region.length);
        let Some(end) = end else { return Err(fields.wrong("FileOffset", at + 16, "out of range", "less")) };
        if all.iter().any(|other| other.offset < end && region.offset < other.offset.saturating_add(other.length)) {
            return Err(fields.malformed(&format!("the region {name} overlaps another, or the log")));
        }
        all.push(region.clone());
        let place = match name.as_str() {
            BAT => &mut bat,
            METADATA => &mut metadata,
            // "Required": bit 0.
            _ => {
                if fields.le32(at + 28)? & 1 == 1 {
                    unknown.push(name);
                }
                continue;
            }
        };
        if place.replace(region).is_some() {
            return Err(fields.malformed(&format!("the region {name} is named twice")));
        }
    }
    let missing = |what: &str| fields.malformed(&format!("the region table names no {what}"));
    let (metadata, bat) = (metadata.ok_or_else(|| missing("metadata"))?, bat.ok_or_else(|| missing("BAT"))?);
    Ok(Regions { metadata, bat, unknown, doubtful })
}

impl Regions {
    pub(super) fn judge(&self, verdict: &mut Verdict, view: &View) {
        if let Some(why) = self.doubtful {
            verdict.refuse("vhdx-region-table", why);
        }
        for name in self.unknown.iter().take(MAX_TOLD) {
            verdict.refuse("vhdx-unknown-region", format!("the region {name} is required and unknown"));
        }
        for (what, region) in [("metadata", &self.metadata), ("BAT", &self.bat)] {
            let end = region.offset + region.length;
            if view.ends_before(end) {
                verdict.refuse("vhdx-truncated", format!("the {what} ends at {end}, behind the end of the file"));
            }
        }
    }
}

//! Archives, and compressors that only make them, one module each: what is inside is not a disk yet, and never stored as one.

pub(crate) mod lzip;
pub(crate) mod lzma;
pub(crate) mod ova;
pub(crate) mod seven_zip;
pub(crate) mod tar;
pub(crate) mod zip;

use crate::Verdict;

/// What must be unpacked first, by `found`.
fn refused(format: &'static str, found: &str) -> Verdict {
    let mut verdict = Verdict::new(format, None);
    verdict.refuse("archive", format!("{found}: what a {format} file holds must be unpacked first"));
    verdict
}

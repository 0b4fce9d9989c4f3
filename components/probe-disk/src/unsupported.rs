//! Formats that are known by name and never stored, one module each: nobody starts a machine from them.

pub(crate) mod bochs;
pub(crate) mod cloop;

use crate::Verdict;

/// What must be converted first, by `found`.
fn refused(format: &'static str, found: &str) -> Verdict {
    let mut verdict = Verdict::new(format, None);
    verdict.refuse("format-unsupported", format!("{found}: a {format} image must be converted first"));
    verdict
}

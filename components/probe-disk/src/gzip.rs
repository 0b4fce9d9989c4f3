//! gzip (RFC 1952 §2.3): members one behind the other. The size at the end is that of the last one, modulo 2^32.

use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

/// ID1, ID2 and CM = 8, deflate (§2.3.1).
const MAGIC: &[u8] = b"\x1f\x8b\x08";
/// "Reserved FLG bits must be zero" (§2.3.1.2).
const RESERVED: u8 = 0xE0;
/// ISIZE (§2.3.1).
const SIZE: u64 = 4;
/// Deflate makes at most so many bytes of one (RFC 1951: 258 bytes from two bits).
const MAX_RATIO: u64 = 1032;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, MAGIC, "gzip").filter(|_| head.get(3).is_some_and(|flags| flags & RESERVED == 0))
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let mut verdict = wrapped("gzip");
    let end = if view.waits_for_tail(&verdict) { view.tail(SIZE)? } else { None };
    let claim = end.and_then(<[u8]>::first_chunk).map(|bytes| Size::Claimed(u32::from_le_bytes(*bytes).into()));
    claimed(&mut verdict, view, claim, MAX_RATIO);
    Ok(verdict)
}

/// What a wrapper says of the size of what is in it.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// Bytes, as a checksum over all parts of the wrapper holds it.
    Exact(u64),
    /// Bytes of one part, or modulo something, or without a check.
    Claimed(u64),
}

/// A wrapper, whose contents are not looked at here.
pub(crate) fn wrapped(format: &'static str) -> Verdict {
    let mut verdict = Verdict::new(format, None);
    verdict.detail("content-inspected", "no");
    verdict.refuse(
        "wrapped",
        format!("the mark of {format} at 0: no hypervisor reads it as it is, and what is in it was not inspected"),
    );
    verdict
}

/// Tells of the size of what is inside, and whether it is more than `most` times the file.
pub(crate) fn claimed(verdict: &mut Verdict, view: &View, size: Option<Size>, most: u64) {
    let (bytes, exact) = match size {
        Some(Size::Exact(bytes)) => (bytes, "yes"),
        Some(Size::Claimed(bytes)) => (bytes, "no"),
        None => return verdict.detail("content-size", "unknown"),
    };
    verdict.detail("content-size", bytes);
    verdict.detail("content-size-exact", exact);
    if let Some(size) = view.size().filter(|size| bytes > size.saturating_mul(most)) {
        let message = format!("{size} bytes claim to hold {bytes}, more than {most} times as many");
        verdict.warn("decompression-bomb", message);
    }
}

/// A ratio beyond which a compressor that knows no limit is told: zeros alone compress as well.
pub(crate) const SUSPICIOUS_RATIO: u64 = 10_000;

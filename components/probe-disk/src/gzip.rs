//! gzip (RFC 1952 §2.3): members one behind the other. The size at the end is that of the last one, modulo 2^32.

use crate::detect::Mark;
use crate::view::Stop;
use crate::{ContentSize, Verdict, View};

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
    let claim = end.and_then(<[u8]>::first_chunk).map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
    claimed(&mut verdict, view, claim.map_or(ContentSize::Unknown, ContentSize::Claimed), MAX_RATIO);
    Ok(verdict)
}

/// A wrapper, whose contents are not looked at here.
pub(crate) fn wrapped(format: &'static str) -> Verdict {
    let mut verdict = Verdict::new(format, None);
    verdict.refuse("wrapped", format!("the mark of {format} at 0: no hypervisor reads it as it is"));
    verdict
}

/// Tells of the size of what is inside, and whether it is more than `most` times the file.
pub(crate) fn claimed(verdict: &mut Verdict, view: &View, size: ContentSize, most: u64) {
    let (bytes, exact) = match size {
        ContentSize::Exact(bytes) => (bytes, "yes"),
        ContentSize::Claimed(bytes) => (bytes, "no"),
        ContentSize::Unknown => return verdict.detail("content-size", "unknown"),
    };
    verdict.content_size = size;
    verdict.detail("content-size", bytes);
    verdict.detail("content-size-exact", exact);
    if let Some(size) = view.size().filter(|size| bytes > size.saturating_mul(most)) {
        let message = format!("{size} bytes claim to hold {bytes}, more than {most} times as many");
        verdict.warn("decompression-bomb", message);
    }
}

/// A ratio beyond which a compressor that knows no limit is told: zeros alone compress as well.
pub(crate) const SUSPICIOUS_RATIO: u64 = 10_000;

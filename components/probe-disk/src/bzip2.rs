//! bzip2 (the format's only specification is its reference implementation): says nothing of its size.

use crate::detect::Mark;
use crate::gzip::{SUSPICIOUS_RATIO, claimed, wrapped};
use crate::view::Stop;
use crate::{ContentSize, Verdict, View};

/// What follows the level: a block, or the end of an empty stream.
const MAGICS: [&[u8]; 2] = [b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90"];

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    let level = head.get(3).is_some_and(|level| matches!(level, b'1'..=b'9'));
    let block = head.get(4..10).is_some_and(|magic| MAGICS.contains(&magic));
    Mark::find(head, 0, b"BZh", "bzip2").filter(|_| level && block)
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let mut verdict = wrapped("bzip2");
    claimed(&mut verdict, view, ContentSize::Unknown, SUSPICIOUS_RATIO);
    Ok(verdict)
}

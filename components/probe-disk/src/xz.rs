//! xz ("The .xz File Format" 1.2.1): the index at the end of each stream has the size of its content, under a checksum.

use crate::crc::crc32;
use crate::detect::Mark;
use crate::fields::Fields;
use crate::gzip::{SUSPICIOUS_RATIO, claimed, wrapped};
use crate::view::Stop;
use crate::{ContentSize, Malformed, Verdict, View};

const MAGIC: &[u8] = b"\xfd7zXZ\0";
const FOOTER_MAGIC: &[u8] = b"YZ";
/// Stream header and stream footer have as many bytes.
const FRAME: u64 = 12;
/// The most of an index that is read: about 100,000 blocks.
const MAX_INDEX: u64 = 1 << 20;
/// The most streams and blocks that are added up.
const MAX_STREAMS: usize = 16;
const MAX_BLOCKS: u64 = 1 << 17;
/// Padding between streams is skipped in steps of four bytes, at most so many bytes.
const MAX_PADDING: u64 = 4096;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, MAGIC, "xz")
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let mut verdict = wrapped("xz");
    let found = if view.waits_for_tail(&verdict) { content(view) } else { Ok(None) };
    let size = match found {
        Ok(size) => size.map_or(ContentSize::Unknown, ContentSize::Exact),
        Err(Stop::Malformed(why)) => {
            let end = view.size().unwrap_or_default();
            verdict.warn("xz-index", format!("the sizes before the end at {end} do not hold: {}", why.0));
            ContentSize::Unknown
        }
        Err(need) => return Err(need),
    };
    claimed(&mut verdict, view, size, SUSPICIOUS_RATIO);
    Ok(verdict)
}

/// The bytes of all streams together, walked from the last one to the first; none if they cannot be seen.
fn content(view: &View) -> Result<Option<u64>, Stop> {
    let Some(mut end) = view.size() else { return Ok(None) };
    // One request for what is usually all of it.
    let Some(tail) = view.tail(end.min(MAX_PADDING))? else { return Ok(None) };
    let mut sum = 0_u64;
    for _ in 0..MAX_STREAMS {
        let (Some(stream), true) = (stream(view, tail, end)?, end > 0) else { return Ok(None) };
        sum = sum.checked_add(stream.content).ok_or_else(|| malformed("the sizes are out of range"))?;
        end = stream.start;
        if end == 0 {
            return Ok(Some(sum));
        }
    }
    Ok(None)
}

struct Stream {
    start: u64,
    content: u64,
}

/// The stream that ends at `end`, behind padding.
fn stream(view: &View, tail: &[u8], mut end: u64) -> Result<Option<Stream>, Stop> {
    let mut skipped = 0;
    let footer = loop {
        let Some(at) = end.checked_sub(FRAME) else { return Err(malformed("a stream is too short").into()) };
        let Some(footer) = bytes(view, tail, at, FRAME)? else { return Ok(None) };
        if footer.get(8..) != Some(&[0; 4]) {
            break Fields::new("xz", "stream footer", at, footer);
        }
        (end, skipped) = (end - 4, skipped + 4);
        if skipped > MAX_PADDING {
            return Err(malformed("there is more padding than is looked through").into());
        }
    };
    footer.expect("the footer's mark", 10, FOOTER_MAGIC)?;
    sum_holds(&footer, 0, footer.bytes(4, 6)?)?;
    let flags = footer.bytes(8, 2)?;
    let index_length = (u64::from(footer.le32(4)?) + 1) * 4;
    if index_length > MAX_INDEX {
        return Ok(None);
    }
    let Some(index_at) = end.checked_sub(FRAME + index_length) else {
        return Err(malformed("an index is too long").into());
    };
    let Some(index) = bytes(view, tail, index_at, index_length)? else { return Ok(None) };
    let (blocks, content) = sizes(index, index_at)?;
    let start = index_at.checked_sub(blocks).and_then(|at| at.checked_sub(FRAME));
    let Some(start) = start else { return Err(malformed("the blocks are longer than the file").into()) };
    // Where the sizes are right there is the stream's header.
    let Some(header) = bytes(view, tail, start, FRAME)? else { return Ok(None) };
    let header = Fields::new("xz", "stream header", start, header);
    header.expect("the header's mark", 0, MAGIC)?;
    if header.bytes(6, 2)? != flags {
        return Err(malformed("header and footer have other flags").into());
    }
    sum_holds(&header, 8, flags)?;
    Ok(Some(Stream { start, content }))
}

/// The bytes that the blocks take and those that they hold (4.3 "List of Records").
fn sizes(index: &[u8], at: u64) -> Result<(u64, u64), Malformed> {
    let fields = Fields::new("xz", "index", at, index);
    fields.expect("the index indicator", 0, &[0])?;
    let summed = index.len().saturating_sub(4);
    sum_holds(&fields, summed, fields.bytes(0, summed)?)?;
    let mut rest = index.get(1..summed).unwrap_or_default();
    let count = number(&mut rest)?;
    if count > MAX_BLOCKS {
        return Err(malformed("the index has more blocks than are added up"));
    }
    let (mut blocks, mut content) = (0_u64, 0_u64);
    for _ in 0..count {
        let (taken, held) = (number(&mut rest)?, number(&mut rest)?);
        let padded = taken.checked_next_multiple_of(4).and_then(|taken| blocks.checked_add(taken));
        let (Some(padded), Some(held)) = (padded, content.checked_add(held)) else {
            return Err(malformed("the sizes are out of range"));
        };
        (blocks, content) = (padded, held);
    }
    if rest.len() > 3 || crate::fields::any(rest) {
        return Err(malformed("the index has something behind its records"));
    }
    Ok((blocks, content))
}

/// A number of seven bits a byte, at most nine bytes, as short as can be (1.2).
fn number(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let Some((byte, behind)) = rest.split_first() else { return Err(malformed("the index ends inside a number")) };
        *rest = behind;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return if *byte == 0 && shift > 0 {
                Err(malformed("a number is longer than it need be"))
            } else {
                Ok(value)
            };
        }
    }
    Err(malformed("a number is longer than nine bytes"))
}

/// Bytes that the tail has, or that can be read; none if they have flowed past.
fn bytes<'a>(view: &'a View, tail: &'a [u8], at: u64, len: u64) -> Result<Option<&'a [u8]>, Stop> {
    let from = view.size().and_then(|size| at.checked_sub(size.checked_sub(tail.len() as u64)?));
    if let Some(held) = from.and_then(|from| tail.get(usize::try_from(from).ok()?..)?.get(..len as usize)) {
        return Ok(Some(held));
    }
    match view.ahead(at, len) {
        // More would have to be read than a disk may cost: that says nothing of the disk.
        Err(Stop::Malformed(_)) => Ok(None),
        answer => answer,
    }
}

fn sum_holds(fields: &Fields<'_>, at: usize, over: &[u8]) -> Result<(), Malformed> {
    let (found, expected) = (fields.le32(at)?, crc32(over));
    if found == expected {
        return Ok(());
    }
    Err(fields.wrong("CRC32", at, &format!("{found:#010x}"), &format!("{expected:#010x}")))
}

fn malformed(words: &str) -> Malformed {
    Malformed(format!("xz: {words}"))
}

//! Zstandard (RFC 8878 §3.1): frames one behind the other, each of which may say the size of its content.

use crate::detect::Mark;
use crate::fields::Fields;
use crate::gzip::{SUSPICIOUS_RATIO, claimed, wrapped};
use crate::view::Stop;
use crate::{ContentSize, Malformed, Verdict, View};

const FRAME: &[u8] = b"\x28\xb5\x2f\xfd";
/// The most skippable frames that are skipped at the start; parallel compressors write one.
const MAX_SKIPPED: usize = 4;
/// A window that every decoder must take, and the one of `zstd` itself.
const USUAL_WINDOW: u64 = 128 << 20;

/// A frame, or a skippable one: 5x 2A 4D 18.
pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    let skippable = || head.get(1..4) == Some(b"\x2a\x4d\x18") && head.first().is_some_and(|byte| byte >> 4 == 5);
    let skipped = Mark { offset: 1, bytes: b"\x2a\x4d\x18", name: "zstd (skippable frame)" };
    Mark::find(head, 0, FRAME, "zstd").or_else(|| skippable().then_some(skipped))
}

/// A frame header: bytes of its content and of its window, if it says so.
#[derive(Debug, PartialEq)]
struct Frame {
    content: Option<u64>,
    window: Option<u64>,
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let mut verdict = wrapped("zstd");
    let mut at = 0_u64;
    for _ in 0..=MAX_SKIPPED {
        let Some(bytes) = view.ahead(at, 18)? else { break };
        let fields = Fields::new("zstd", "frame header", at, bytes);
        if !bytes.starts_with(FRAME) {
            if marked(bytes).is_none() {
                break;
            }
            at = at.saturating_add(8).saturating_add(u64::from(fields.le32(4)?));
            continue;
        }
        let frame = header(&fields)?;
        if let Some(window) = frame.window.filter(|window| *window > USUAL_WINDOW) {
            verdict.warn("decompression-memory", format!("the frame at {at} needs a window of {window} bytes"));
        }
        let content = frame.content.map_or(ContentSize::Unknown, ContentSize::Claimed);
        claimed(&mut verdict, view, content, SUSPICIOUS_RATIO);
        return Ok(verdict);
    }
    claimed(&mut verdict, view, ContentSize::Unknown, SUSPICIOUS_RATIO);
    Ok(verdict)
}

/// RFC 8878 §3.1.1.1.
fn header(fields: &Fields<'_>) -> Result<Frame, Malformed> {
    let flags = fields.byte(4)?;
    let single = flags & 1 << 5 != 0;
    let mut at = 5;
    let mut window = None;
    if !single {
        let descriptor = fields.byte(at)?;
        let base = 1_u64 << (10 + (descriptor >> 3));
        window = Some(base + base / 8 * u64::from(descriptor & 7));
        at += 1;
    }
    at += [0, 1, 2, 4].get(usize::from(flags & 3)).copied().unwrap_or_default();
    let content = match (flags >> 6, single) {
        (0, false) => None,
        (0, true) => Some(u64::from(fields.byte(at)?)),
        (1, _) => Some(u64::from(fields.le16(at)?) + 256),
        (2, _) => Some(u64::from(fields.le32(at)?)),
        _ => Some(fields.le64(at)?),
    };
    // A frame that is one segment has a window of its content.
    Ok(Frame { content, window: window.or(content) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_frame_header_is_read() {
        let read = |bytes: &[u8]| header(&Fields::new("zstd", "frame header", 0, &[FRAME, bytes].concat()));
        let frame = |content, window| Ok(Frame { content, window });
        assert_eq!(read(&[0x00, 0x00]), frame(None, Some(1024)));
        assert_eq!(read(&[0x20, 7]), frame(Some(7), Some(7)));
        assert_eq!(read(&[0x60, 1, 0]), frame(Some(257), Some(257)));
        assert_eq!(read(&[0x61, 9, 1, 0]), frame(Some(257), Some(257)), "behind a dictionary's number");
        assert_eq!(read(&[0x80, 0x09, 1, 0, 0, 1]), frame(Some(0x0100_0001), Some(2048 + 256)));
        assert_eq!(read(&[0xC0, 0xFF, 1, 0, 0, 0, 0, 0, 0, 0]), frame(Some(1), Some((1 << 41) + (1 << 38) * 7)));
        assert!(read(&[0xE0, 1, 2]).is_err());
    }
}

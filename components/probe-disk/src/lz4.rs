//! LZ4 frames ("LZ4 Frame Format Description" 1.6.4): each may say the size of its content.

use crate::detect::Mark;
use crate::fields::Fields;
use crate::gzip::{SUSPICIOUS_RATIO, claimed, wrapped};
use crate::view::Stop;
use crate::{ContentSize, Verdict, View};

const FRAME: &[u8] = b"\x04\x22\x4d\x18";
const LEGACY: &[u8] = b"\x02\x21\x4c\x18";
/// "C.Size" of the FLG byte.
const HAS_SIZE: u8 = 1 << 3;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, FRAME, "lz4").or_else(|| Mark::find(head, 0, LEGACY, "lz4 (legacy)"))
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let head = view.at(0, 16)?;
    let mut verdict = wrapped("lz4");
    let size = if head.starts_with(FRAME) {
        let fields = Fields::new("lz4", "frame descriptor", 0, head);
        let flags = fields.byte(4)?;
        // "Version Number: must be 01".
        fields.check("the version", 4, u64::from(flags >> 6), 1, 1)?;
        match flags & HAS_SIZE {
            0 => ContentSize::Unknown,
            _ => ContentSize::Claimed(fields.le64(6)?),
        }
    } else {
        ContentSize::Unknown
    };
    claimed(&mut verdict, view, size, SUSPICIOUS_RATIO);
    Ok(verdict)
}

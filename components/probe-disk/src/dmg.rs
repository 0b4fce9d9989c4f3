//! UDIF, Apple's dmg (QEMU `block/dmg.c`, "koly" trailer): 512 bytes at the end, big-endian.

use crate::detect::{Mark, TAIL};
use crate::fields::Fields;
use crate::view::Stop;
use crate::{Malformed, Verdict, View};

const TRAILER: usize = 512;
/// QEMU looks for the trailer in so many last bytes.
const SEARCHED: usize = 1023;
/// Mark, version 4, size of the trailer: a word alone is none.
const MARK: &[u8] = b"koly\0\0\0\x04\0\0\x02\0";

/// The trailer in a disk's last bytes. The mark's offset is that from the end.
pub(crate) fn marked(tail: &[u8]) -> Option<Mark> {
    let last = tail.get(tail.len().saturating_sub(SEARCHED)..)?;
    let at = last.windows(MARK.len()).rposition(|window| window == MARK)?;
    Some(Mark { offset: (last.len() - at) as u64, bytes: MARK, name: "dmg" })
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let tail = view.tail(TAIL)?.unwrap_or_default();
    let Some(mark) = marked(tail) else {
        return Err(Malformed("dmg: there is no trailer at the end".to_owned()).into());
    };
    let from = tail.len().saturating_sub(mark.offset as usize);
    let fields = Fields::new("dmg", "trailer", 0, tail.get(from..).unwrap_or_default());
    fields.bytes(0, TRAILER)?;
    let sectors = fields.check("SectorCount", 0x1EC, fields.be64(0x1EC)?, 0, i64::MAX as u64 / 512)?;
    let mut verdict = Verdict::new("dmg", Some(sectors * 512));
    let message = format!("`koly` {} bytes before the end: a compressed dmg must be converted first", mark.offset);
    verdict.refuse("format-unsupported", message);
    Ok(verdict)
}

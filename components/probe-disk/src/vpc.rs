//! VHD ("Virtual Hard Disk Image Format Specification" 1.0, "Hard Disk Footer Format" and "Dynamic Disk Header Format"),
//! which QEMU calls vpc: big-endian. A fixed disk has its footer at the end alone, the others a copy at the start too.

use crate::detect::{Mark, TAIL};
use crate::fields::{Fields, any};
use crate::verdict::quoted;
use crate::view::Stop;
use crate::{Malformed, Verdict, View};

const COOKIE: &[u8] = b"conectix";
const DYNAMIC_COOKIE: &[u8] = b"cxsparse";
const FOOTER: u64 = 512;
/// Up to the checksum: what a size and a type are read from. What follows may be zeros.
const FOOTER_FIELDS: usize = 68;
const DYNAMIC_HEADER: u64 = 1024;
const NAME: &str = "VHD";
/// QEMU: `VHD_MAX_SECTORS`, bytes.
const MAX_SIZE: u64 = 2040 << 30;
/// The largest geometry of CHS, in sectors: a disk that has it may be larger.
const MAX_GEOMETRY: u64 = 65_535 * 16 * 255;

const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, COOKIE, NAME)
}

/// A footer in a disk's last bytes: its checksum must hold, or any file that ends in a word would have one. Footers of
/// Virtual PC before 2004 are a byte shorter, and one that lost more of its reserved bytes is one to whoever reads whole
/// sectors, as QEMU does. The mark's offset is that from the end.
pub(crate) fn marked_at_tail(tail: &[u8]) -> Option<Mark> {
    (FOOTER_FIELDS..=FOOTER as usize).rev().find_map(|length| {
        let footer = tail.get(tail.len().checked_sub(length)?..)?;
        let valid = footer.starts_with(COOKIE) && stored(footer, 64)? == checksum(footer, 64);
        valid.then_some(Mark { offset: length as u64, bytes: COOKIE, name: NAME })
    })
}

struct Footer {
    data_offset: u64,
    current: u64,
    size: u64,
    kind: u32,
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    if view.at(0, FOOTER)?.starts_with(COOKIE) { sparse(view) } else { fixed(view) }
}

fn fixed(view: &View) -> Result<Verdict, Stop> {
    let tail = view.tail(TAIL)?.unwrap_or_default();
    let length = marked_at_tail(tail).map_or(FOOTER, |mark| mark.offset);
    let bytes = tail.get(tail.len().saturating_sub(length as usize)..).unwrap_or_default();
    let footer = parse(bytes)?;
    let mut verdict = shown(bytes, &footer);
    if footer.kind != FIXED || footer.data_offset != u64::MAX {
        let message = format!("a footer of type {} at 60 at the end alone, expected type 2", footer.kind);
        verdict.refuse("vpc-type", message);
    }
    if length != FOOTER {
        let message =
            format!("a footer of {length} bytes at the end, expected {FOOTER}; Virtual PC before 2004 wrote 511");
        verdict.refuse("vpc-old-footer", message);
    }
    if let Some(size) = view.size().filter(|size| *size != footer.current.saturating_add(length)) {
        let message =
            format!("the footer has {} bytes at 48, and before it there are {}", footer.current, size - length);
        verdict.refuse("vpc-size-differs", message);
    }
    Ok(verdict)
}

fn sparse(view: &View) -> Result<Verdict, Stop> {
    let copy = view.at(0, FOOTER)?;
    let footer = parse(copy)?;
    let mut verdict = shown(copy, &footer);
    match footer.kind {
        DYNAMIC => {}
        DIFFERENCING => verdict.refuse("vpc-differencing", "a differencing disk: type 4 at 60"),
        // QEMU opens whatever this says as if it were a dynamic disk.
        kind => verdict.refuse("vpc-type", format!("a footer of type {kind} at 60 at the start, expected type 3")),
    }
    if !view.waits_for_tail(&verdict) {
        return Ok(verdict);
    }
    let bytes = view.at(footer.data_offset, DYNAMIC_HEADER)?;
    dynamic(&mut verdict, view, &Fields::new("vpc", "dynamic disk header", footer.data_offset, bytes), &footer, bytes)?;
    if !view.waits_for_tail(&verdict) {
        return Ok(verdict);
    }
    match view.tail(FOOTER)? {
        Some(tail) if tail != copy && tail.starts_with(COOKIE) => {
            verdict.refuse("vpc-footer-differs", "the footer in the last 512 bytes differs from its copy at 0");
        }
        Some(tail) if tail != copy => {
            let message = format!("no footer at the end, where {} stands", quoted(tail.get(..8).unwrap_or_default()));
            verdict.refuse("vpc-footer-missing", message);
        }
        _ => {}
    }
    Ok(verdict)
}

fn dynamic(
    verdict: &mut Verdict,
    view: &View,
    fields: &Fields<'_>,
    footer: &Footer,
    bytes: &[u8],
) -> Result<(), Malformed> {
    fields.expect("cookie", 0, DYNAMIC_COOKIE)?;
    let sum = fields.be32(36)?;
    // The last field is checked to be there, so that the sum is over all of it.
    let locators = fields.bytes(576, 192)?;
    fields.bytes(768, 256)?;
    if sum != checksum(bytes, 36) {
        return Err(fields.wrong("checksum", 36, &format!("{sum:#x}"), &format!("{:#x}", checksum(bytes, 36))));
    }
    let (table, entries, block) = (fields.be64(16)?, u64::from(fields.be32(28)?), u64::from(fields.be32(32)?));
    verdict.detail("cluster-size", block);
    if !block.is_power_of_two() || block < 512 {
        return Err(fields.wrong("block_size", 32, &block.to_string(), "a power of two from 512"));
    }
    fields.check("max_table_entries", 28, entries, footer.size.div_ceil(block), MAX_SIZE / 512)?;
    let end = table.saturating_add(entries * 4);
    let header = (footer.data_offset, footer.data_offset.saturating_add(DYNAMIC_HEADER));
    if header.0 < FOOTER || (entries > 0 && (table < FOOTER || (table < header.1 && header.0 < end))) {
        let message = format!(
            "the dynamic disk header at {} and the table of {entries} blocks at {table} lie over each other, or over the footer's copy",
            header.0
        );
        verdict.refuse("table-overlap", message);
    }
    if view.ends_before(end) {
        let message = format!("the table of {entries} blocks at {table} ends behind the end of the file");
        verdict.refuse("vpc-truncated", message);
    }
    for (what, at, field) in
        [("uuid", 40, fields.bytes(40, 16)?), ("name", 64, fields.bytes(64, 512)?), ("locators", 576, locators)]
    {
        if any(field) {
            verdict.refuse(
                "vpc-parent",
                format!("the dynamic disk header has a parent's {what} at {at}: {}", quoted(field)),
            );
        }
    }
    Ok(())
}

fn parse(footer: &[u8]) -> Result<Footer, Malformed> {
    let fields = Fields::new("vpc", "footer", 0, footer);
    fields.expect("cookie", 0, COOKIE)?;
    fields.bytes(0, FOOTER_FIELDS)?;
    let sum = fields.be32(64)?;
    if sum != checksum(footer, 64) {
        return Err(fields.wrong("checksum", 64, &format!("{sum:#x}"), &format!("{:#x}", checksum(footer, 64))));
    }
    let current = fields.be64(48)?;
    let geometry = u64::from(fields.be16(56)?) * u64::from(fields.byte(58)?) * u64::from(fields.byte(59)?);
    // Virtual PC and QEMU go by the geometry, all others by the size (QEMU 10.0 `vpc_open`).
    let by_geometry = matches!(fields.bytes(28, 4)?, b"vpc " | b"qemu") && geometry != MAX_GEOMETRY;
    let size = if by_geometry { geometry * 512 } else { current & !511 };
    fields.check("current_size", 48, current, 0, MAX_SIZE)?;
    fields.check("the geometry", 56, size, 0, MAX_SIZE)?;
    Ok(Footer { data_offset: fields.be64(16)?, current, size, kind: fields.be32(60)? })
}

fn shown(bytes: &[u8], footer: &Footer) -> Verdict {
    let mut verdict = Verdict::new("vpc", Some(footer.size));
    let kind = match footer.kind {
        FIXED => "fixed",
        DYNAMIC => "dynamic",
        DIFFERENCING => "differencing",
        _ => "unknown",
    };
    verdict.detail("type", kind);
    verdict.detail("current-size", footer.current);
    verdict.detail("creator", bytes.get(28..32).unwrap_or_default().escape_ascii());
    verdict
}

/// The ones' complement of the sum of all bytes, the checksum's own counted as zeros.
fn checksum(bytes: &[u8], at: usize) -> u32 {
    let own = at..at + 4;
    let sum = |sum: u32, (index, byte): (usize, &u8)| if own.contains(&index) { sum } else { sum + u32::from(*byte) };
    !bytes.iter().enumerate().fold(0, sum)
}

fn stored(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_be_bytes(*field))
}

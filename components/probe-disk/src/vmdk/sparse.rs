//! Hosted sparse extents ("Virtual Disk Format 5.0", "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse
//! Extents"): a header of one sector, little-endian, and for streams the same header again as a footer.

mod tables;

use super::descriptor::{self, Descriptor};
use super::{SECTOR, SPARSE};
use crate::fields::{Fields, any};
use crate::verdict::quoted;
use crate::view::Stop;
use crate::{Malformed, Verdict, View};

/// `VMDK4_GD_AT_END`: the grain directory's place stands in the footer.
const AT_END: u64 = u64::MAX;
/// `VMDK4_FLAG_COMPRESS` and `VMDK4_FLAG_MARKER`.
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;
/// QEMU: a grain has at most so many sectors; the specification: at least 8, a power of two.
const GRAIN: (u64, u64) = (8, 0x20_0000);
/// QEMU: the L1 table has at most so many entries.
const MAX_L1_ENTRIES: u64 = 32 << 20;
/// The sector in which a descriptor begins: QEMU looks for a parent there, at 512, wherever the header says that it is
/// (`vmdk_open`, `s->desc_offset = 0x200`).
const DESCRIPTOR: u64 = 1;
/// QEMU: `DESC_SIZE`, so many bytes are searched for a parent.
const SEARCHED: u64 = 20 * SECTOR;
/// `MARKER_FOOTER`.
const FOOTER_MARKER: u32 = 3;
/// Marker, header, end-of-stream marker.
const FOOTER: u64 = 3 * SECTOR;

#[derive(Debug, PartialEq)]
struct Header {
    version: u32,
    flags: u32,
    capacity: u64,
    grain: u64,
    descriptor_offset: u64,
    descriptor_sectors: u64,
    entries: u32,
    redundant: u64,
    directory: u64,
    overhead: u64,
    unclean: u8,
    compression: u16,
}

pub(super) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let header = parse(&Fields::new("vmdk", "header", 0, view.at(0, SECTOR)?))?;
    let mut verdict = Verdict::new("vmdk", Some(header.capacity * SECTOR));
    verdict.detail("cluster-size", header.grain * SECTOR);
    verdict.detail("compressed", header.flags & COMPRESSED != 0);
    let (text, area) = described(view, &header)?;
    if header.descriptor_offset == 0 {
        verdict.refuse("vmdk-descriptor-missing", "an extent without a descriptor, at 28: one file of several");
        descriptor::parents(&mut verdict, &descriptor::parse(b"", area)?);
    } else if header.descriptor_offset != DESCRIPTOR {
        let message = format!(
            "the descriptor begins in sector {} by the header at 28, and QEMU reads it in sector {DESCRIPTOR}",
            header.descriptor_offset
        );
        verdict.refuse("vmdk-descriptor-elsewhere", message);
        descriptor::parents(&mut verdict, &descriptor::parse(b"", area)?);
    } else {
        if let Some(at) = text.iter().position(|byte| !byte.is_ascii()) {
            let message =
                format!("the descriptor has a byte that is not ASCII at {}", SECTOR.saturating_add(at as u64));
            verdict.refuse("vmdk-descriptor-encoding", message);
        }
        judge(&mut verdict, &header, &descriptor::parse(text, area)?);
    }
    if header.directory == AT_END && view.waits_for_tail(&verdict) {
        footer(&mut verdict, view, &header)?;
    } else if header.directory != AT_END {
        tables::directories(&mut verdict, view, &header);
    } else if view.is_partial() {
        // The footer's capacity is the one that counts.
        verdict.virtual_size = None;
    }
    if header.directory != AT_END {
        tables::allocated(&mut verdict, view, &header)?;
    }
    if header.unclean != 0 {
        verdict.warn("vmdk-dirty", format!("not closed cleanly: {} at 72", header.unclean));
    }
    Ok(verdict)
}

/// The descriptor's text up to its first zero byte, and all that QEMU or anybody else may take for a part of it.
fn described<'a>(view: &'a View, header: &Header) -> Result<(&'a [u8], &'a [u8]), Stop> {
    let own = if header.descriptor_offset == DESCRIPTOR { header.descriptor_sectors * SECTOR } else { 0 };
    let bytes = view.at(SECTOR, own.max(SEARCHED))?;
    if (bytes.len() as u64) < own {
        return Err(Malformed("vmdk: the file ends inside its descriptor".to_owned()).into());
    }
    // A text that does not end in its own sectors goes on behind them.
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let area = bytes.get(..text.len().max(own as usize)).unwrap_or_default();
    Ok((text.get(..text.len().min(own as usize)).unwrap_or_default(), area))
}

fn parse(fields: &Fields<'_>) -> Result<Header, Malformed> {
    let header = Header {
        version: fields.le32(4)?,
        flags: fields.le32(8)?,
        capacity: fields.le64(12)?,
        grain: fields.le64(20)?,
        descriptor_offset: fields.le64(28)?,
        descriptor_sectors: fields.le64(36)?,
        entries: fields.le32(44)?,
        redundant: fields.le64(48)?,
        directory: fields.le64(56)?,
        overhead: fields.le64(64)?,
        unclean: fields.byte(72)?,
        compression: fields.le16(77)?,
    };
    fields.check("version", 4, u64::from(header.version), 1, 3)?;
    // Whoever carried the file as text has damaged these.
    fields.expect("the line ends", 73, b"\n \r\n")?;
    fields.check("capacity", 12, header.capacity, 0, i64::MAX as u64 / SECTOR)?;
    fields.check("grainSize", 20, header.grain, GRAIN.0, GRAIN.1)?;
    if !header.grain.is_power_of_two() {
        return Err(fields.wrong("grainSize", 20, &header.grain.to_string(), "a power of two"));
    }
    fields.check("numGTEsPerGT", 44, u64::from(header.entries), 1, 512)?;
    let per_entry = u64::from(header.entries) * header.grain;
    fields.check("capacity", 12, header.capacity.div_ceil(per_entry), 0, MAX_L1_ENTRIES)?;
    fields.check("descriptorSize", 36, header.descriptor_sectors, 0, descriptor::MAX_BYTES / SECTOR)?;
    // QEMU goes by the algorithm alone.
    let compressed = u64::from(header.flags & COMPRESSED != 0);
    fields.check("compressAlgorithm", 77, u64::from(header.compression), compressed, compressed)?;
    Ok(header)
}

/// Whether the descriptor describes the file that it is in, and nothing else.
fn judge(verdict: &mut Verdict, header: &Header, descriptor: &Descriptor<'_>) {
    descriptor::parents(verdict, descriptor);
    if descriptor.create_types > 0 {
        verdict.detail("create-type", descriptor.create_type.escape_ascii());
    }
    match (descriptor.create_types, descriptor.create_type) {
        (1, b"monolithicSparse") => {}
        (1, b"streamOptimized") if header.flags & (COMPRESSED | MARKERS) == COMPRESSED | MARKERS => {}
        (1, b"streamOptimized") => {
            let message = format!("streamOptimized without compression and markers: flags {:#x} at 8", header.flags);
            verdict.refuse("vmdk-create-type", message);
        }
        (1, other) => {
            verdict.refuse("vmdk-create-type", format!("the create type is {}, of several files", quoted(other)));
        }
        (count, _) => verdict.refuse("vmdk-create-type", format!("the descriptor names {count} create types")),
    }
    // QEMU then opens the files that the descriptor names.
    if header.capacity == 0 {
        verdict.refuse("vmdk-external-extent", "the capacity is 0 at 12, so that the descriptor's files count");
    }
    let [extent] = descriptor.extents.as_slice() else {
        let message = format!("the descriptor has {} extents, expected one", descriptor.extents.len());
        return verdict.refuse("vmdk-external-extent", message);
    };
    let name = quoted(extent.file);
    let elsewhere =
        extent.file.iter().any(|byte| matches!(byte, b'/' | b'\\' | b':')) || extent.file.starts_with(b"..");
    if extent.kind != b"SPARSE" || elsewhere || extent.file.is_empty() {
        let message = format!("the extent is {name} of type {}, expected a plain name", quoted(extent.kind));
        verdict.refuse("vmdk-external-extent", message);
    }
    if extent.sectors != header.capacity {
        let message = format!("the extent has {} sectors, and the header {} at 12", extent.sectors, header.capacity);
        verdict.refuse("vmdk-extent-size", message);
    }
}

/// QEMU takes all it needs from the footer, the capacity too: it must say what the header says.
fn footer(verdict: &mut Verdict, view: &View, header: &Header) -> Result<(), Stop> {
    // QEMU counts from the end in sectors, rounded up, and would read another one.
    if let Some(size) = view.size().filter(|size| size % SECTOR != 0) {
        let message =
            format!("the header has its footer at the end, at 56, and the file of {size} bytes ends in a sector");
        verdict.refuse("vmdk-footer-missing", message);
        return Ok(());
    }
    let tail = match view.tail(FOOTER)? {
        Some(tail) if tail.len() as u64 == FOOTER => tail,
        // Its capacity is the one that counts.
        None => {
            verdict.virtual_size = None;
            verdict.refuse(
                "tail-not-inspected",
                "the header has its footer at the end, at 56, which is not shown, and the footer is what counts",
            );
            return Ok(());
        }
        Some(_) => {
            verdict.refuse(
                "vmdk-footer-missing",
                "the header has its footer at the end, at 56, and the file is too short",
            );
            return Ok(());
        }
    };
    let marker = Fields::new("vmdk", "footer", 0, tail);
    let marked = marker.le64(0)? == 1 && marker.le32(8)? == 0 && marker.le32(12)? == FOOTER_MARKER;
    let (footer, end) = (marker.bytes(512, 512)?, marker.bytes(1024, 512)?);
    if !marked || !footer.starts_with(SPARSE) || any(end.get(..16).unwrap_or_default()) {
        let message =
            format!("no footer 1536 bytes before the end, where {} stands", quoted(tail.get(..16).unwrap_or_default()));
        verdict.refuse("vmdk-footer-missing", message);
        return Ok(());
    }
    let footer = match parse(&Fields::new("vmdk", "footer", 0, footer)) {
        Ok(footer) => footer,
        Err(why) => {
            verdict.refuse("vmdk-footer-differs", format!("the footer: {}", why.0));
            return Ok(());
        }
    };
    if footer.directory == AT_END {
        verdict.refuse("vmdk-footer-recursive", "the footer has its footer at the end, at 56");
    }
    if footer.directory != AT_END {
        tables::directories(verdict, view, &footer);
    }
    // Only where the directories lie may differ, and what is known at the end alone.
    let Header { redundant, directory, overhead, unclean, .. } = *header;
    let same = Header { redundant, directory, overhead, unclean, ..footer };
    if same != *header {
        let capacity = (same.capacity, header.capacity);
        let message =
            format!("header and footer differ: capacity {} in the footer and {} in the header", capacity.0, capacity.1);
        verdict.refuse("vmdk-footer-differs", message);
    }
    Ok(())
}

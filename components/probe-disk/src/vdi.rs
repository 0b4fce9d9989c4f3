//! VDI of VirtualBox (QEMU `block/vdi.c`, `VdiHeader`; VirtualBox `VDICore.h`): version 1.1, little-endian.

use crate::detect::Mark;
use crate::fields::{Fields, any};
use crate::view::Stop;
use crate::{Malformed, Verdict, View};

const HEADER: usize = 512;
const MARK_OFFSET: usize = 0x40;
const VERSION: u64 = 0x0001_0001;
const BLOCK: u64 = 1 << 20;
/// QEMU: `VDI_BLOCKS_IN_IMAGE_MAX`.
const MAX_BLOCKS: u64 = 0x1FFF_FF80;
/// QEMU: `VDI_DISK_SIZE_MAX`.
const MAX_SIZE: u64 = MAX_BLOCKS * BLOCK;

const DYNAMIC: u32 = 1;
const STATIC: u32 = 2;
const DIFFERENCING: u32 = 4;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, MARK_OFFSET, b"\x7f\x10\xda\xbe", "VDI")
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let fields = Fields::new("vdi", "header", 0, view.at(0, HEADER as u64)?);
    fields.check("version", 0x44, u64::from(fields.le32(0x44)?), VERSION, VERSION)?;
    let kind = fields.le32(0x4C)?;
    let size = fields.le64(0x170)?;
    let blocks = u64::from(fields.le32(0x180)?);
    let allocated = u64::from(fields.le32(0x184)?);
    check_layout(&fields, size, blocks, allocated)?;
    let mut verdict = Verdict::new("vdi", Some(size.next_multiple_of(512)));
    let name = match kind {
        DYNAMIC => "dynamic",
        STATIC => "static",
        DIFFERENCING => "differencing",
        _ => {
            verdict.refuse("vdi-type", format!("the image type {kind} at 0x4c is unknown, expected 1 or 2"));
            "unknown"
        }
    };
    verdict.detail("type", name);
    if kind == DIFFERENCING {
        verdict.refuse("vdi-parent", "a differencing image: type 4 at 0x4c");
    }
    for (name, at) in [("uuid_link", 0x1A8), ("uuid_parent", 0x1B8)] {
        let uuid = fields.bytes(at, 16)?;
        if any(uuid) {
            verdict.refuse("vdi-parent", format!("{name} at {at:#x} names another image: {}", hex(uuid)));
        }
    }
    let (map, data) = (u64::from(fields.le32(0x154)?), u64::from(fields.le32(0x158)?));
    let map_end = map + blocks * 4;
    if map_end > data {
        let message =
            format!("the map of {blocks} blocks at 0x154 lies up to {map_end}, over the data from {data} at 0x158");
        verdict.refuse("table-overlap", message);
    }
    if view.ends_before(map_end) {
        let message = format!("the map of {blocks} blocks at 0x154 ends at {map_end}, behind the end of the file");
        verdict.refuse("vdi-truncated", message);
    }
    // Blocks are appended as they are allocated.
    let end = data + allocated * BLOCK;
    if view.ends_before(end) {
        let message = format!("{allocated} blocks at 0x184 are allocated, up to {end}, behind the end of the file");
        verdict.refuse("vdi-truncated", message);
    }
    Ok(verdict)
}

fn check_layout(fields: &Fields<'_>, size: u64, blocks: u64, allocated: u64) -> Result<(), Malformed> {
    for (name, at) in [("offset_bmap", 0x154), ("offset_data", 0x158)] {
        let offset = fields.le32(at)?;
        if offset % 512 != 0 || offset < HEADER as u32 {
            return Err(fields.wrong(name, at, &offset.to_string(), "a multiple of 512 behind the header"));
        }
    }
    fields.check("sector_size", 0x168, u64::from(fields.le32(0x168)?), 512, 512)?;
    fields.check("block_size", 0x178, u64::from(fields.le32(0x178)?), BLOCK, BLOCK)?;
    fields.check("disk_size", 0x170, size, 0, MAX_SIZE)?;
    fields.check("blocks_in_image", 0x180, blocks, size.div_ceil(BLOCK), MAX_BLOCKS)?;
    fields.check("blocks_allocated", 0x184, allocated, 0, blocks)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

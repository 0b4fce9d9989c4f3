//! The metadata region ([MS-VHDX] 2.6): a table of items, and behind it the items.

use super::guid;
use super::regions::Region;
use crate::fields::Fields;
use crate::view::Stop;
use crate::{Malformed, View};

const TABLE: u64 = 64 << 10;
/// "EntryCount: must be less than or equal to 2,047".
const MAX_ENTRIES: u64 = 2047;
/// "Length: must be less than or equal to 1 MB".
const MAX_ITEM: u64 = 1 << 20;
/// What is read with the table: items usually begin right behind it.
const USUAL_ITEMS: u64 = 4096;
/// "VirtualDiskSize: at most 64 TB".
const MAX_SIZE: u64 = 64 << 40;
/// "BlockSize: at least 1 MB and at most 256 MB, a power of 2".
const BLOCK: (u64, u64) = (1 << 20, 256 << 20);

const FILE_PARAMETERS: &str = "CAA16737-FA36-4D43-B3B6-33F0AA44E76B";
const SIZE: &str = "2FA54224-CD1B-4876-B211-5DBED83BF4B8";
const LOGICAL_SECTOR: &str = "8141BF1D-A96F-4709-BA47-F233A8FAAB5F";
const PHYSICAL_SECTOR: &str = "CDA348C7-445D-4471-9CC9-E9885251C556";
const IDENTIFIER: &str = "BECA12AB-B2E6-4523-93EF-C309E000C746";
const PARENT_LOCATOR: &str = "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C";

/// "Chunk size": so many sectors share a sector bitmap block (2.4).
const CHUNK_SECTORS: u64 = 1 << 23;

/// "LeaveBlockAllocated" and "HasParent" of the file parameters.
const FIXED: u32 = 1;
const HAS_PARENT: u32 = 1 << 1;
/// "IsRequired" of a table entry.
const REQUIRED: u32 = 1 << 2;

pub(super) struct Metadata {
    pub(super) size: u64,
    pub(super) block: u64,
    pub(super) sector: u64,
    /// Required items that nobody here knows, and where they lie.
    pub(super) unknown: Vec<(String, u64)>,
    flags: u32,
    flags_at: u64,
    locator: Option<u64>,
}

impl Metadata {
    pub(super) const fn is_fixed(&self) -> bool {
        self.flags & FIXED != 0
    }

    /// The entries of the BAT for all payload blocks and, behind each chunk but the last, a sector bitmap block (2.5).
    pub(super) fn bat_entries(&self) -> u64 {
        let blocks = self.size.div_ceil(self.block);
        blocks + blocks.saturating_sub(1) / self.chunk()
    }

    /// Bytes of the disk in the payload block of this entry of the BAT: the last one may have been written in part.
    pub(super) fn payload(&self, entry: u64) -> u64 {
        let block = entry - entry / (self.chunk() + 1);
        self.size.saturating_sub(block.saturating_mul(self.block)).min(self.block)
    }

    /// "Chunk ratio": payload blocks that share a sector bitmap block (2.4).
    const fn chunk(&self) -> u64 {
        CHUNK_SECTORS * self.sector / self.block
    }

    /// Where it says that there is a parent.
    pub(super) fn parent(&self) -> Option<u64> {
        self.locator.or_else(|| (self.flags & HAS_PARENT != 0).then_some(self.flags_at))
    }
}

/// The items that are read; where each lies.
#[derive(Default)]
struct Items {
    parameters: Option<Region>,
    size: Option<Region>,
    sector: Option<Region>,
    locator: Option<Region>,
    unknown: Vec<(String, u64)>,
}

pub(super) fn read(view: &View, region: &Region) -> Result<Metadata, Stop> {
    let bytes = view.at(region.offset, TABLE + USUAL_ITEMS)?;
    let fields = Fields::new("vhdx", "metadata table", region.offset, bytes);
    let items = items(&fields, region)?;
    let missing = |what: &str| fields.malformed(&format!("the metadata has no {what}"));
    let parameters = items.parameters.ok_or_else(|| missing("file parameters"))?;
    let size_item = items.size.ok_or_else(|| missing("virtual disk size"))?;
    let sector_item = items.sector.ok_or_else(|| missing("logical sector size"))?;
    let item = |item: &Region, length: u64| {
        let bytes = view.at(item.offset, length)?;
        let fields = Fields::new("vhdx", "metadata", item.offset, bytes);
        fields.check("the item's length", 0, item.length, length, MAX_ITEM)?;
        Ok::<_, Stop>(fields)
    };
    let fields = item(&parameters, 8)?;
    let (block, flags) = (u64::from(fields.le32(0)?), fields.le32(4)?);
    fields.check("BlockSize", 0, block, BLOCK.0, BLOCK.1)?;
    if !block.is_power_of_two() {
        return Err(fields.wrong("BlockSize", 0, &block.to_string(), "a power of two").into());
    }
    let fields = item(&sector_item, 4)?;
    let sector = u64::from(fields.le32(0)?);
    if !matches!(sector, 512 | 4096) {
        return Err(fields.wrong("LogicalSectorSize", 0, &sector.to_string(), "512 or 4096").into());
    }
    let fields = item(&size_item, 8)?;
    let size = fields.check("VirtualDiskSize", 0, fields.le64(0)?, 0, MAX_SIZE)?;
    if !size.is_multiple_of(sector) {
        return Err(fields.wrong("VirtualDiskSize", 0, &size.to_string(), "a multiple of the sector size").into());
    }
    Ok(Metadata {
        size,
        block,
        sector,
        unknown: items.unknown,
        flags,
        flags_at: parameters.offset + 4,
        locator: items.locator.map(|locator| locator.offset),
    })
}

fn items(fields: &Fields<'_>, region: &Region) -> Result<Items, Malformed> {
    fields.expect("Signature", 0, b"metadata")?;
    let count = fields.check("EntryCount", 10, u64::from(fields.le16(10)?), 0, MAX_ENTRIES)?;
    let mut items = Items::default();
    for number in 0..count as usize {
        let at = 32 + number * 32;
        let name = guid(fields.bytes(at, 16)?);
        let (offset, length) = (u64::from(fields.le32(at + 16)?), u64::from(fields.le32(at + 20)?));
        fields.check("Length", at + 20, length, 0, MAX_ITEM)?;
        // An empty item has no place.
        if length != 0 || offset != 0 {
            fields.check("Offset", at + 16, offset, TABLE, region.length.saturating_sub(length))?;
        }
        let found = Region { offset: region.offset + offset, length };
        let place = match name.as_str() {
            FILE_PARAMETERS => &mut items.parameters,
            SIZE => &mut items.size,
            LOGICAL_SECTOR => &mut items.sector,
            PARENT_LOCATOR => &mut items.locator,
            PHYSICAL_SECTOR | IDENTIFIER => continue,
            _ => {
                if fields.le32(at + 24)? & REQUIRED != 0 && items.unknown.len() < 4 {
                    items.unknown.push((name, region.offset + at as u64));
                }
                continue;
            }
        };
        if place.replace(found).is_some() {
            return Err(fields.malformed(&format!("the metadata item {name} is there twice")));
        }
    }
    Ok(items)
}

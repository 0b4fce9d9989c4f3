//! The GUID partition table (UEFI 2.10 §5.3.2 and §5.3.3), little-endian, in logical block 1 and again in the last one.

use crate::crc::{crc32, crc32_without};
use crate::detect::FIRST_READ;
use crate::fields::{Fields, any};
use crate::view::Stop;
use crate::{Malformed, View};

pub(crate) const SIGNATURE: &[u8] = b"EFI PART";
/// Logical blocks are of these sizes.
const SECTORS: [u64; 2] = [512, 4096];
const HEADER: u64 = 92;
/// The entries together have at most so many bytes here; 16 KiB are usual.
const MAX_ENTRIES: u64 = 1 << 20;
/// "Size of partition entry: 128 x 2^n".
const ENTRY: (u64, u64) = (128, 4096);
/// The type of an EFI system partition, C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as it is stored.
const SYSTEM: &[u8] = b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";

/// A table whose checksums hold.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) partitions: usize,
    /// Whether there is a partition that firmware boots from.
    pub(crate) system: bool,
    /// The byte behind the last partition, and the one behind the second header.
    pub(crate) end: u64,
    pub(crate) disk_end: u64,
}

/// The sizes of the logical blocks in which a header stands.
pub(crate) fn sectors(head: &[u8]) -> impl Iterator<Item = u64> {
    let stands = |sector: &u64| head.get(*sector as usize..).is_some_and(|at| at.starts_with(SIGNATURE));
    SECTORS.into_iter().filter(stands)
}

/// Reads the first table.
///
/// # Errors
/// Malformed if a checksum or a bound does not hold.
pub(crate) fn read(view: &View, sector: u64) -> Result<Table, Stop> {
    let bytes = view.at(0, FIRST_READ)?.get(sector as usize..).unwrap_or_default();
    let bytes = bytes.get(..(sector as usize).min(bytes.len())).unwrap_or_default();
    let fields = Fields::new("gpt", "header", sector, bytes);
    let length = fields.check("HeaderSize", 12, u64::from(fields.le32(12)?), HEADER, sector)?;
    let header = fields.bytes(0, length as usize)?;
    checksum(&fields, "HeaderCRC32", 16, crc32_without(header, 16))?;
    fields.check("MyLBA", 24, fields.le64(24)?, 1, 1)?;
    let (alternate, first, last) = (fields.le64(32)?, fields.le64(72)?, fields.le64(48)?);
    let count = u64::from(fields.le32(80)?);
    let each = fields.check("SizeOfPartitionEntry", 84, u64::from(fields.le32(84)?), ENTRY.0, ENTRY.1)?;
    fields.check("NumberOfPartitionEntries", 80, count.saturating_mul(each), 0, MAX_ENTRIES)?;
    let most = u64::MAX / sector / 2;
    fields.check("AlternateLBA", 32, alternate, 2, most)?;
    fields.check("LastUsableLBA", 48, last, 0, most)?;
    fields.check("PartitionEntryLBA", 72, first, 2, most)?;
    let entries = view.at(first * sector, count * each)?;
    let entries = Fields::new("gpt", "partition entries", first * sector, entries).bytes(0, (count * each) as usize)?;
    checksum(&fields, "PartitionEntryArrayCRC32", 88, crc32(entries))?;
    let mut table = Table { partitions: 0, system: false, end: 0, disk_end: (alternate + 1) * sector };
    for entry in entries.chunks_exact(each as usize) {
        let fields = Fields::new("gpt", "partition entry", 0, entry);
        let kind = fields.bytes(0, 16)?;
        if any(kind) {
            table.partitions += 1;
            table.system |= kind == SYSTEM;
            let end = fields.check("EndingLBA", 40, fields.le64(40)?, 0, most)?;
            table.end = table.end.max((end + 1) * sector);
        }
    }
    Ok(table)
}

fn checksum(fields: &Fields<'_>, name: &str, at: usize, expected: u32) -> Result<(), Malformed> {
    let found = fields.le32(at)?;
    if found == expected {
        return Ok(());
    }
    Err(fields.wrong(name, at, &format!("{found:#010x}"), &format!("{expected:#010x}")))
}

//! VHDX ([MS-VHDX] 2.2 to 2.6), little-endian: a header section of 1 MiB with two headers and two region tables, and the
//! metadata wherever the region table says.

mod metadata;
mod regions;

use crate::crc::crc32c_without;
use crate::detect::Mark;
use crate::fields::{Fields, any};
use crate::view::Stop;
use crate::{Malformed, Verdict, View, table};
use metadata::Metadata;
use regions::Region;

const MARK: &[u8] = b"vhdxfile";
/// "Header 1" and "Header 2" (2.2.2).
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const HEADER: usize = 4096;
/// The header section as far as it is used: file identifier, headers and region tables.
const SECTION: u64 = 320 << 10;

/// "BAT Entry" (2.5.1): the state in the lowest three bits, the offset in whole mebibytes from bit 20 on.
const BLOCK_STATE: u64 = 7;
const BLOCK_OFFSET: u64 = !((1 << 20) - 1);
/// `PAYLOAD_BLOCK_FULLY_PRESENT` and `PAYLOAD_BLOCK_PARTIALLY_PRESENT`.
const FULLY_PRESENT: u64 = 6;
const PARTIALLY_PRESENT: u64 = 7;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, MARK, "VHDX")
}

/// A header that is valid.
struct Header<'a> {
    sequence: u64,
    log: &'a [u8],
    log_region: Region,
    bytes: &'a [u8],
    at: u64,
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let section = view.at(0, SECTION)?;
    let header = current(section)?;
    let regions = regions::read(section, &header.log_region)?;
    // In the order in which they lie, for a source without ranges.
    let nothing_refuses = Verdict::new("vhdx", None);
    let bat = |view| table::read(view, &nothing_refuses, regions.bat.offset, regions.bat.length);
    let before = if regions.bat.offset < regions.metadata.offset { Some(bat(view)?) } else { None };
    let metadata = metadata::read(view, &regions.metadata)?;
    let mut verdict = Verdict::new("vhdx", Some(metadata.size));
    verdict.detail("cluster-size", metadata.block);
    verdict.detail("sector-size", metadata.sector);
    verdict.detail("type", if metadata.is_fixed() { "fixed" } else { "dynamic" });
    // The log may change anything, the metadata too: what is seen here is not what will be opened.
    if any(header.log) {
        let message = format!("a log that was not replayed: its GUID in the header at {} is not zero", header.at);
        verdict.refuse("vhdx-log", message);
    }
    regions.judge(&mut verdict, view);
    let (entries, room) = (metadata.bat_entries(), regions.bat.length / 8);
    if entries > room {
        let message =
            format!("the BAT at {} has room for {room} entries, and the disk needs {entries}", regions.bat.offset);
        verdict.refuse("vhdx-bat", message);
    }
    judge(&mut verdict, &metadata);
    let bat = match before {
        Some(bat) => bat,
        None => bat(view)?,
    };
    let present = |entry: &u64| matches!(entry & BLOCK_STATE, FULLY_PRESENT | PARTIALLY_PRESENT);
    let ends = table::le64(bat).zip(0..).filter(|(entry, _)| present(entry));
    let ends = ends.map(|(entry, number)| (entry & BLOCK_OFFSET).saturating_add(metadata.payload(number)));
    if let Some(end) = table::beyond(view, ends) {
        let message = format!(
            "the BAT at {} names a block whose bytes end at {end}, behind the end of the file",
            regions.bat.offset
        );
        verdict.refuse("vhdx-truncated", message);
    }
    Ok(verdict)
}

fn judge(verdict: &mut Verdict, metadata: &Metadata) {
    if let Some(at) = metadata.parent() {
        verdict.refuse("vhdx-parent", format!("a differencing disk: has-parent or a parent locator at {at}"));
    }
    for (guid, at) in &metadata.unknown {
        let message = format!("the metadata at {at} has the item {guid}, which is required and unknown");
        verdict.refuse("vhdx-unknown-metadata", message);
    }
}

/// The valid header with the highest sequence number (2.2.2.1).
fn current(section: &[u8]) -> Result<Header<'_>, Malformed> {
    let mut valid = HEADERS.into_iter().filter_map(|at| header(section, at));
    let malformed = |words: &str| Err(Malformed(format!("vhdx: {words}")));
    let Some(first) = valid.next() else { return malformed("neither header, at 65536 and 131072, is valid") };
    let Some(second) = valid.next() else { return Ok(first) };
    if first.sequence == second.sequence && first.bytes != second.bytes {
        return malformed("both headers have the same sequence number and are not the same");
    }
    Ok(if second.sequence > first.sequence { second } else { first })
}

fn header(section: &[u8], at: u64) -> Option<Header<'_>> {
    let bytes = section.get(usize::try_from(at).ok()?..)?.get(..HEADER)?;
    let fields = Fields::new("vhdx", "header", at, bytes);
    let sum = fields.le32(4).ok()?;
    let valid = bytes.starts_with(b"head") && sum == crc32c_without(bytes, 4) && fields.le16(66).ok()? == 1;
    let (sequence, log) = (fields.le64(8).ok()?, fields.bytes(48, 16).ok()?);
    let log_region = Region { offset: fields.le64(72).ok()?, length: u64::from(fields.le32(68).ok()?) };
    valid.then_some(Header { sequence, log, log_region, bytes, at })
}

/// A GUID as it is written (2.2.3.2): the first three groups are little-endian.
fn guid(bytes: &[u8]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (number, index) in ORDER.into_iter().enumerate() {
        if matches!(number, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{:02X}", bytes.get(index).copied().unwrap_or_default()));
    }
    text
}

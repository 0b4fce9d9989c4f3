//! Parallels expandable images (QEMU `docs/interop/parallels.txt`, "Catalog header"): 64 bytes, little-endian.

use crate::detect::Mark;
use crate::fields::Fields;
use crate::view::Stop;
use crate::{Malformed, Verdict, View, table};

const HEADER: u64 = 64;
const OLD: &[u8] = b"WithoutFreeSpace";
const EXTENDED: &[u8] = b"WithouFreSpacExt";
/// QEMU: a cluster has at most so many sectors.
const MAX_CLUSTER: u64 = i32::MAX as u64 / 513;
/// QEMU: the BAT has at most so many entries.
const MAX_BAT: u64 = i32::MAX as u64 / 4;
/// "inuse: set to 0x746F6E59 when the image is opened".
const IN_USE: u32 = 0x746F_6E59;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, OLD, "Parallels").or_else(|| Mark::find(head, 0, EXTENDED, "Parallels"))
}

struct Header {
    cluster: u64,
    bat: u64,
    sectors: u64,
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let head = view.at(0, HEADER)?;
    let fields = Fields::new("parallels", "header", 0, head);
    let header = parse(&fields, head.starts_with(EXTENDED))?;
    let mut verdict = Verdict::new("parallels", Some(header.sectors * 512));
    verdict.detail("cluster-size", header.cluster * 512);
    // QEMU opens an image whose BAT maps less than its size.
    if header.bat.saturating_mul(header.cluster) < header.sectors {
        verdict.refuse(
            "parallels-bat",
            format!(
                "the BAT maps {} clusters of {} sectors, at 32 and 28, and the disk has {} sectors, at 36",
                header.bat, header.cluster, header.sectors
            ),
        );
    }
    let bat_end = HEADER + header.bat * 4;
    if view.ends_before(bat_end) {
        verdict.refuse("parallels-truncated", format!("the file ends inside the BAT of {} entries", header.bat));
    }
    let data = u64::from(fields.le32(48)?) * 512;
    if data != 0 && data < bat_end {
        let message = format!("the data begins at {data}, by data_off at 48, over the BAT of {} entries", header.bat);
        verdict.refuse("table-overlap", message);
    }
    let extension = fields.le64(56)?;
    let extension_end = if extension == 0 { 0 } else { extension.saturating_add(header.cluster).saturating_mul(512) };
    for (name, end) in [("data, named at 48, begins", data), ("format extension, named at 56, ends", extension_end)] {
        if view.ends_before(end) {
            verdict.refuse("parallels-truncated", format!("the {name} at {end}, behind the end of the file"));
        }
    }
    // Entries are of sectors in the old format, of clusters in the extended one.
    let unit = if head.starts_with(EXTENDED) { header.cluster * 512 } else { 512 };
    let entries = table::read(view, &verdict, HEADER, header.bat * 4)?;
    if let Some(end) = table::beyond(view, table::le32(entries).map(|entry| (entry * unit).saturating_add(1))) {
        let message = format!("the BAT at {HEADER} names a cluster at {}, behind the end of the file", end - 1);
        verdict.refuse("parallels-truncated", message);
    }
    if fields.le32(44)? == IN_USE {
        verdict.warn("parallels-dirty", "not closed cleanly: 0x746f6e59 at 44");
    }
    Ok(verdict)
}

fn parse(fields: &Fields<'_>, extended: bool) -> Result<Header, Malformed> {
    fields.check("version", 16, u64::from(fields.le32(16)?), 2, 2)?;
    let cluster = fields.check("tracks", 28, u64::from(fields.le32(28)?), 1, MAX_CLUSTER)?;
    let bat = fields.check("bat_entries", 32, u64::from(fields.le32(32)?), 0, MAX_BAT)?;
    // The old format has 32 bits there.
    let sectors = if extended { fields.le64(36)? } else { u64::from(fields.le32(36)?) };
    fields.check("nb_sectors", 36, sectors, 0, i64::MAX as u64 / 512)?;
    Ok(Header { cluster, bat, sectors })
}

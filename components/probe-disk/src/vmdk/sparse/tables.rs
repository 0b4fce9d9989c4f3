//! Where the grains lie ("Virtual Disk Format 5.0", "Grain Directory" and "Grain Table"): whether the file ends before that.

use super::{Header, MARKERS, SECTOR};
use crate::view::Stop;
use crate::{Verdict, View, table};

/// `VMDK4_FLAG_RGD`: there is a second grain directory.
const REDUNDANT: u32 = 1 << 1;
/// "Grain marker": the sector in the disk, and the bytes that follow.
const MARKER: u64 = 12;

/// Whether the directories lie in the file. QEMU reads zeros behind its end, which is an empty disk.
pub(super) fn directories(verdict: &mut Verdict, view: &View, header: &Header) {
    let length = header.capacity.div_ceil(u64::from(header.entries) * header.grain) * 4;
    let redundant = if header.flags & REDUNDANT == 0 { 0 } else { header.redundant };
    for (name, at, sector) in [("grain directory", 56, header.directory), ("redundant grain directory", 48, redundant)]
    {
        let end = sector.saturating_mul(SECTOR).saturating_add(length);
        if sector == 0 && at == 56 && length > 0 {
            verdict
                .refuse("table-overlap", format!("the {name} lies in sector 0 by the header at {at}, over the header"));
        } else if sector != 0 && view.ends_before(end) {
            let message = format!("the {name} named at {at} ends at {end}, behind the end of the file");
            verdict.refuse("vmdk-truncated", message);
        }
    }
    if view.ends_before(header.overhead.saturating_mul(SECTOR)) {
        let message =
            format!("the metadata ends at sector {} named at 64, behind the end of the file", header.overhead);
        verdict.refuse("vmdk-truncated", message);
    }
}

/// Whether the file ends before a grain table, or before a grain of the tables that lie with the first one: all of them, as
/// most writers lay them out, up to what is read. An entry of 1 is a grain of zeros.
pub(super) fn allocated(verdict: &mut Verdict, view: &View, header: &Header) -> Result<(), Stop> {
    let count = header.capacity.div_ceil(u64::from(header.entries) * header.grain);
    let directory = table::read(view, verdict, header.directory.saturating_mul(SECTOR), count * 4)?;
    if let Some(end) = table::beyond(view, table::le32(directory).map(|sector| sector * SECTOR + 1)) {
        let message = format!("the grain directory names a grain table at {}, behind the end of the file", end - 1);
        verdict.refuse("vmdk-truncated", message);
    }
    let length = u64::from(header.entries) * 4;
    let Some(first) = table::le32(directory).find(|sector| *sector != 0) else { return Ok(()) };
    // Tables that follow one another from there on.
    let follow = table::le32(directory).skip_while(|sector| *sector == 0);
    let together =
        follow.zip(0_u64..).take_while(|(sector, number)| sector * SECTOR == first * SECTOR + number * length);
    let tables = table::read(view, verdict, first * SECTOR, together.count() as u64 * length)?;
    if let Some(end) = table::beyond(view, table::le32(tables).map(|sector| sector * SECTOR + 1)) {
        let message = format!("a grain table names a grain at {}, behind the end of the file", end - 1);
        verdict.refuse("vmdk-truncated", message);
    }
    // "Grain marker": the sector in the disk, and the bytes that follow.
    let last = table::le32(tables).max().unwrap_or_default() * SECTOR;
    if header.flags & MARKERS != 0 && last > SECTOR {
        let marker = table::read(view, verdict, last, MARKER)?;
        let length = table::le32(marker).nth(2).unwrap_or_default();
        let end = last.saturating_add(MARKER).saturating_add(length);
        if view.ends_before(end) {
            verdict.refuse("vmdk-truncated", format!("the grain at {last} ends at {end}, behind the end of the file"));
        }
    }
    Ok(())
}

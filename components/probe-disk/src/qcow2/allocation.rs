//! Where the clusters lie (QEMU `docs/interop/qcow2.rst`, "Cluster mapping"): whether the file ends before that.

use super::header::Header;
use crate::view::Stop;
use crate::{Verdict, View, table};

/// Bits 9 to 55 of an entry of either table ("L1 table entry", "Standard Cluster Descriptor").
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
/// "Bit 62: 1 for compressed clusters", "Bit 0: the cluster reads as all zeros".
const COMPRESSED: u64 = 1 << 62;
const ZEROS: u64 = 1;

/// Whether the file ends before a cluster that the L1 table names, or the last of its L2 tables.
pub(super) fn check(verdict: &mut Verdict, view: &View, header: &Header) -> Result<(), Stop> {
    let Some(l1) = header.tables().find(|table| table.field == 40) else { return Ok(()) };
    let entries = table::read(view, verdict, l1.start, l1.end.saturating_sub(l1.start))?;
    let second = |entry: u64| entry & OFFSET;
    if let Some(end) = table::beyond(view, table::be64(entries).map(|entry| second(entry).saturating_add(1))) {
        let message =
            format!("the L1 table at {} names an L2 table at {}, behind the end of the file", l1.start, end - 1);
        verdict.refuse("qcow2-truncated", message);
    }
    let Some(last) = table::be64(entries).map(second).rfind(|offset| *offset != 0) else { return Ok(()) };
    let entries = table::read(view, verdict, last, header.cluster_size())?;
    // An entry of extended L2 is followed by the bitmap of its subclusters.
    let step = if header.has_extended_l2() { 2 } else { 1 };
    // "x = 62 - (cluster_bits - 8)": the offset of what is compressed.
    let compressed = (1_u64 << (62 - (header.cluster_bits - 8))) - 1;
    let end = |entry: u64| match entry {
        entry if entry & COMPRESSED != 0 => (entry & compressed).saturating_add(1),
        entry if step == 1 && entry & ZEROS != 0 => 0,
        entry => (entry & OFFSET).saturating_add(1),
    };
    if let Some(end) = table::beyond(view, table::be64(entries).step_by(step).map(end)) {
        let message = format!("the L2 table at {last} names a cluster at {}, behind the end of the file", end - 1);
        verdict.refuse("qcow2-truncated", message);
    }
    Ok(())
}

//! Raw: whatever has no other format, with the partition table that it may have.

use crate::detect::FIRST_READ;
use crate::view::Stop;
use crate::{Verdict, View, gpt, mbr};

/// Hypervisors round a raw disk up to whole sectors.
const SECTOR: u64 = 512;

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let mut verdict = Verdict::new("raw", size(view));
    partition_table(view, &mut verdict, true)?;
    Ok(verdict)
}

pub(crate) fn size(view: &View) -> Option<u64> {
    view.size().and_then(|size| size.checked_next_multiple_of(SECTOR))
}

/// Tells of the partition table. `whole` says that it is the disk's own, so that the disk must be as long as it says: the
/// tables of an ISO 9660 are there for whoever boots from it, and seldom exact.
pub(crate) fn partition_table(view: &View, verdict: &mut Verdict, whole: bool) -> Result<(), Stop> {
    let head = view.at(0, FIRST_READ)?;
    let partitions = mbr::partitions(head);
    let guarded = partitions.iter().flatten().any(|partition| partition.kind == mbr::PROTECTIVE);
    if let Some(first) = gpt::sectors(head).next() {
        if guarded || !whole {
            return guid_table(view, verdict, whole);
        }
        // "If the protective MBR is not there, the GPT is not valid" (UEFI 2.10 §5.2.3, as firmware and Linux have it).
        let message = format!("a GPT header at {first} that no entry of type 0xee at 446 guards: it does not count");
        verdict.warn("gpt-stale", message);
    }
    if head.get(510..512) != Some(&[0x55, 0xAA]) {
        return Ok(());
    }
    let Some(partitions) = partitions else {
        verdict.detail("boot-sector", "yes");
        return Ok(());
    };
    verdict.detail("partition-table", "mbr");
    verdict.detail("partitions", partitions.len());
    verdict.detail("active-partition", if partitions.iter().any(|partition| partition.active) { "yes" } else { "no" });
    if guarded && whole {
        verdict.warn("gpt-missing", "an entry of type 0xee at 446 guards a GPT, and there is none");
    }
    let end =
        partitions.iter().filter(|partition| partition.kind != mbr::PROTECTIVE).map(|partition| partition.end).max();
    let end = end.unwrap_or_default() * SECTOR;
    if whole && view.ends_before(end) {
        verdict.refuse(
            "partition-beyond-end",
            format!("a partition in the table at 446 ends at {end}, behind the end of the file"),
        );
    }
    Ok(())
}

fn guid_table(view: &View, verdict: &mut Verdict, whole: bool) -> Result<(), Stop> {
    verdict.detail("partition-table", "gpt");
    let mut damaged = None;
    let mut found = None;
    for sector in gpt::sectors(view.at(0, FIRST_READ)?) {
        match gpt::read(view, sector) {
            Ok(table) => {
                found = Some((sector, table));
                break;
            }
            // A disk with sectors of 4096 may still have the header that it had with those of 512.
            Err(Stop::Malformed(why)) => damaged = damaged.or(Some((sector, why))),
            Err(need) => return Err(need),
        }
    }
    let Some((sector, table)) = found else {
        if let Some((sector, why)) = damaged {
            verdict.detail("sector-size", sector);
            verdict.warn("gpt-damaged", format!("the GPT at {sector}: {}", why.0));
        }
        return Ok(());
    };
    verdict.detail("sector-size", sector);
    verdict.detail("partitions", table.partitions);
    verdict.detail("efi-system-partition", if table.system { "yes" } else { "no" });
    if !whole {
        return Ok(());
    }
    if view.ends_before(table.end) {
        let message = format!("a partition of the GPT ends at {}, behind the end of the file", table.end);
        verdict.refuse("raw-truncated", message);
    } else if view.ends_before(table.disk_end) {
        let message = format!("the second GPT header ends at {}, behind the end of the file", table.disk_end);
        verdict.warn("gpt-second-missing", message);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_size_is_rounded_up_to_sectors() {
        for (size, expected) in
            [(0, Some(0)), (1, Some(512)), (511, Some(512)), (512, Some(512)), (1_000_003, Some(1_000_448))]
        {
            let mut view = View::new(Some(size));
            let request = crate::Request::At { offset: 0, len: FIRST_READ as u32 };
            view.answer(request, vec![7; FIRST_READ.min(size) as usize]);
            assert_eq!(inspect(&view).unwrap().virtual_size, expected);
        }
    }
}

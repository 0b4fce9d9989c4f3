//! Raw: whatever has no other format, with the partition table that it may have.

use crate::detect::FIRST_READ;
use crate::view::Stop;
use crate::{Verdict, View, gpt, mbr};

/// Hypervisors round a raw disk up to whole sectors.
const SECTOR: u64 = 512;

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let mut verdict = Verdict::new("raw", view.size().and_then(|size| size.checked_next_multiple_of(SECTOR)));
    partition_table(view, &mut verdict, true)?;
    Ok(verdict)
}

/// Tells of the partition table. `whole` says that it is the disk's own, so that the disk must be as long as it says: the
/// tables of an ISO 9660 are there for whoever boots from it, and seldom exact.
pub(crate) fn partition_table(view: &View, verdict: &mut Verdict, whole: bool) -> Result<(), Stop> {
    let head = view.at(0, FIRST_READ)?;
    if let Some(sector) = gpt::sector(head) {
        return guid_table(view, verdict, sector, whole);
    }
    if head.get(510..512) != Some(&[0x55, 0xAA]) {
        return Ok(());
    }
    let Some(partitions) = mbr::partitions(head) else {
        verdict.detail("boot-sector", "yes");
        return Ok(());
    };
    verdict.detail("partition-table", "mbr");
    verdict.detail("partitions", partitions.len());
    verdict.detail("active-partition", if partitions.iter().any(|partition| partition.active) { "yes" } else { "no" });
    if partitions.iter().any(|partition| partition.kind == mbr::PROTECTIVE) && whole {
        verdict.warn("gpt-missing", "an entry of type 0xee at 446 guards a GPT, and there is none");
    }
    let end =
        partitions.iter().filter(|partition| partition.kind != mbr::PROTECTIVE).map(|partition| partition.end).max();
    let end = end.unwrap_or_default() * SECTOR;
    if whole && view.ends_before(end) {
        verdict.warn(
            "partition-beyond-end",
            format!("a partition in the table at 446 ends at {end}, behind the end of the file"),
        );
    }
    Ok(())
}

fn guid_table(view: &View, verdict: &mut Verdict, sector: u64, whole: bool) -> Result<(), Stop> {
    verdict.detail("partition-table", "gpt");
    verdict.detail("sector-size", sector);
    let table = match gpt::read(view, sector) {
        Ok(table) => table,
        Err(Stop::Malformed(why)) => {
            verdict.warn("gpt-damaged", format!("the GPT at {sector}: {}", why.0));
            return Ok(());
        }
        Err(need) => return Err(need),
    };
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

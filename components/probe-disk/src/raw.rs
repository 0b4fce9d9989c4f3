//! Raw: whatever has no other format.

use crate::{Hazard, Verdict};

/// Hypervisors round a raw disk up to whole sectors.
const SECTOR: u64 = 512;

/// A disk of `size` bytes without a format of its own.
pub(crate) fn inspect(head: &[u8], size: Option<u64>, hazards: Vec<Hazard>) -> Verdict {
    let mut details = Vec::new();
    if let Some(table) = partition_table(head) {
        details.push(("partition-table", table.to_owned()));
    }
    let virtual_size = size.and_then(|size| size.checked_next_multiple_of(SECTOR));
    Verdict { format: "raw", virtual_size, hazards, details }
}

/// A GPT has `EFI PART` at the start of logical block 1 (UEFI 2.10 §5.3.2), an MBR 55 AA at 510 (UEFI 2.10 §5.2.1).
pub(crate) fn partition_table(head: &[u8]) -> Option<&'static str> {
    let gpt = |sector: usize| head.get(sector..).is_some_and(|block| block.starts_with(b"EFI PART"));
    if gpt(512) || gpt(4096) {
        return Some("gpt");
    }
    (head.get(510..512) == Some(&[0x55, 0xAA])).then_some("mbr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_size_is_rounded_up_to_sectors() {
        for (size, expected) in [(0, 0), (1, 512), (511, 512), (512, 512), (1_000_003, 1_000_448)] {
            assert_eq!(inspect(&[], Some(size), Vec::new()).virtual_size, Some(expected));
        }
        assert_eq!(inspect(&[], None, Vec::new()).virtual_size, None);
        assert_eq!(inspect(&[], Some(u64::MAX), Vec::new()).virtual_size, None);
    }

    #[test]
    fn partition_tables_are_named() {
        let mut head = vec![0; 8192];
        assert_eq!(partition_table(&head), None);
        head[510..512].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(partition_table(&head), Some("mbr"));
        head[4096..4104].copy_from_slice(b"EFI PART");
        assert_eq!(partition_table(&head), Some("gpt"));
    }
}

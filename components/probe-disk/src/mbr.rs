//! The master boot record (UEFI 2.10 §5.2.1): four entries at 446, 55 AA at 510.

use crate::detect::Mark;
use crate::fields::Fields;

const ENTRIES: usize = 446;
const SIGNATURE: &[u8] = b"\x55\xaa";
/// The type of the one entry that guards a GPT (UEFI 2.10 §5.2.3).
pub(crate) const PROTECTIVE: u8 = 0xEE;

/// An entry that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) kind: u8,
    pub(crate) active: bool,
    /// The sector behind it, of 512 bytes unless the disk has others.
    pub(crate) end: u64,
}

/// A table that makes a disk of its own: something in it, and nothing that no table has. A GPT counts where its header stands
/// at 512, for sectors of 4096 only with an entry that guards it.
pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    let guarded = partitions(head).is_some_and(|found| found.iter().any(|partition| partition.kind == PROTECTIVE));
    let gpt = || Mark::find(head, 512, crate::gpt::SIGNATURE, "a GPT");
    let gpt_4096 = || Mark::find(head, 4096, crate::gpt::SIGNATURE, "a GPT").filter(|_| guarded);
    let mbr = || Mark::find(head, 510, SIGNATURE, "an MBR").filter(|_| partitions(head).is_some());
    gpt().or_else(gpt_4096).or_else(mbr)
}

/// The entries in use, if there is a table: none for the boot sector of a file system, which has the same signature.
pub(crate) fn partitions(head: &[u8]) -> Option<Vec<Partition>> {
    if head.get(510..512)? != SIGNATURE || is_fat(head) {
        return None;
    }
    let fields = Fields::new("mbr", "table", 0, head);
    let mut found = Vec::new();
    for number in 0..4 {
        let at = ENTRIES + number * 16;
        let (status, kind) = (fields.byte(at).ok()?, fields.byte(at + 4).ok()?);
        if !matches!(status, 0 | 0x80) {
            return None;
        }
        let (start, sectors) = (u64::from(fields.le32(at + 8).ok()?), u64::from(fields.le32(at + 12).ok()?));
        if kind != 0 && sectors != 0 {
            found.push(Partition { kind, active: status == 0x80, end: start + sectors });
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The boot sector of FAT: sectors of 512 bytes and up, one or two tables, a media byte ("FAT32 File System Specification"
/// 1.03, "Boot Sector and BPB").
fn is_fat(head: &[u8]) -> bool {
    let jumps = matches!(head.first(), Some(0xEB | 0xE9));
    let sector = matches!(head.get(11..13), Some([0, 2 | 4 | 8 | 16]));
    let tables = matches!(head.get(16), Some(1 | 2));
    let media = matches!(head.get(21), Some(0xF0 | 0xF8..=0xFF));
    jumps && sector && tables && media
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<u8> {
        let mut head = vec![0; 8192];
        head[510..512].copy_from_slice(SIGNATURE);
        head[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
        head
    }

    #[test]
    fn a_table_has_something_in_it_and_is_no_boot_sector() {
        assert_eq!(partitions(&table()).unwrap(), [Partition { kind: 0x83, active: true, end: 2048 + 4096 }]);
        for (at, byte) in [(511, 0), (446, 1), (450, 0), (478, 7)] {
            let mut head = table();
            head[at] = byte;
            assert_eq!(partitions(&head), None, "{at}");
        }
        let mut fat = table();
        fat[..3].copy_from_slice(&[0xEB, 0x58, 0x90]);
        (fat[12], fat[16], fat[21]) = (2, 2, 0xF8);
        assert_eq!(partitions(&fat), None);
        assert_eq!(partitions(&[]), None);
    }

    #[test]
    fn a_gpt_of_large_sectors_is_guarded() {
        let mut head = table();
        assert_eq!(marked(&head).unwrap().name, "an MBR");
        head[4096..4104].copy_from_slice(b"EFI PART");
        assert_eq!(marked(&head).unwrap().name, "an MBR");
        head[450] = PROTECTIVE;
        assert_eq!(marked(&head).unwrap().offset, 4096);
        head[510] = 0;
        assert!(marked(&head).is_none());
        head[512..520].copy_from_slice(b"EFI PART");
        assert_eq!(marked(&head).unwrap().offset, 512);
    }
}

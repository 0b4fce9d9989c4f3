//! Formats that are known by name but not read yet: calling one of them raw would be a lie.

use crate::{Hazard, Severity};

/// Offset, magic, and what has it there.
pub(crate) type Mark = (usize, &'static [u8], &'static str);

const MAGICS: [Mark; 23] = [
    (0, b"QFI\xfb", "qcow of another version"),
    (0, b"QED\0", "QED"),
    (0, b"KDMV", "VMDK (hosted sparse)"),
    (0, b"COWD", "VMDK (COWD)"),
    (0, b"\xbe\xba\xfe\xca\0\0\0\0\x01\0\0\0\x02\0\0\0", "VMDK (seSparse)"),
    (0, b"# Disk DescriptorFile", "VMDK descriptor"),
    (0x40, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"Bochs Virtual HD Image", "Bochs"),
    (257, b"ustar", "tar (or OVA)"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"BZh", "bzip2"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"\x02\x21\x4c\x18", "lz4 (legacy)"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"LZIP", "lzip"),
];

/// A refusing hazard for each magic found at its place.
pub(crate) fn hazards(head: &[u8]) -> Vec<Hazard> {
    marks(head).map(hazard).collect()
}

/// Each magic found at its place.
pub(crate) fn marks(head: &[u8]) -> impl Iterator<Item = Mark> {
    MAGICS.into_iter().filter(|(offset, magic, _)| head.get(*offset..).is_some_and(|at| at.starts_with(magic)))
}

fn hazard((offset, magic, name): Mark) -> Hazard {
    Hazard {
        code: "format-not-inspected",
        severity: Severity::Refuse,
        message: format!(
            "`{}` at {offset} is the mark of {name}, which this probe cannot inspect yet",
            magic.escape_ascii()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_magic_is_found_at_its_place_and_only_there() {
        for (offset, magic, name) in MAGICS {
            let mut head = vec![0; 1024];
            head[offset..offset + magic.len()].copy_from_slice(magic);
            let hazards = hazards(&head);
            assert_eq!(hazards.len(), 1, "{name}");
            assert!(hazards[0].message.contains(name));
            head.insert(0, 0);
            assert!(super::hazards(&head).is_empty(), "{name}");
        }
        assert!(hazards(&[]).is_empty());
    }
}

//! Formats that are known by name but not read yet: calling one of them raw would be a lie.

use crate::{Hazard, Severity};

/// Offset, magic, and what has it there.
pub(crate) type Mark = (usize, &'static [u8], &'static str);

const MAGICS: [Mark; 23] = [
    (0, b"#!/bin/sh\n#V2.0 Format\n", "cloop"),
    (0, b"QFI\xfb", "qcow of another version"),
    (0, b"QED\0", "QED"),
    (0, b"KDMV", "VMDK (hosted sparse)"),
    (0, b"COWD", "VMDK (COWD)"),
    (0, b"\xbe\xba\xfe\xca\0\0\0\0\x01\0\0\0\x02\0\0\0", "VMDK (seSparse)"),
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
    let found = |(offset, magic, _): &Mark| head.get(*offset..).is_some_and(|at| at.starts_with(magic));
    MAGICS.into_iter().filter(found).chain(vmdk_descriptor(head))
}

/// A VMDK descriptor names files that a hypervisor would open. QEMU takes for one whatever has, behind comments and blank
/// lines, the line `version=1`, 2 or 3 (`block/vmdk.c`, `vmdk_probe`); the comment that usually stands there is optional.
fn vmdk_descriptor(head: &[u8]) -> Option<Mark> {
    const VERSIONS: [&[u8]; 3] = [b"version=1", b"version=2", b"version=3"];
    let mut offset = 0;
    for line in head.split(|byte| *byte == b'\n') {
        let text = line.trim_ascii();
        if let Some(version) = VERSIONS.into_iter().find(|version| *version == text) {
            return Some((offset, version, "a VMDK descriptor"));
        }
        if !text.is_empty() && !text.starts_with(b"#") {
            return None;
        }
        offset = offset.saturating_add(line.len()).saturating_add(1);
    }
    None
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

    #[test]
    fn a_vmdk_descriptor_is_found_behind_any_comment() {
        for text in [
            "# Disk DescriptorFile\nversion=1\n",
            "version=3\r\nCID=1",
            "# harmless\n\n  \r\n#\nversion=2\nRW 1 FLAT \"/etc/passwd\" 0\n",
        ] {
            let hazards = hazards(text.as_bytes());
            assert_eq!(hazards.len(), 1, "{text}");
            assert!(hazards[0].message.contains("`version="), "{text}");
        }
        for text in ["version=4\n", "x\nversion=1\n", "# version=1\n", "version=10\n", ""] {
            assert!(hazards(text.as_bytes()).is_empty(), "{text}");
        }
    }
}

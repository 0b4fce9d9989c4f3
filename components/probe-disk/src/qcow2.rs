//! qcow2, versions 2 and 3 (QEMU `docs/interop/qcow2.rst`, sections "Header" and "Header extensions"). Everything that
//! matters for safety lies in the first cluster. Bounds are those QEMU enforces.

mod extensions;
mod header;

use crate::{Answer, Hazard, MAX_HEAD, Malformed, Severity, Verdict};
use extensions::{Extension, Walk};
use header::Header;

const MAGIC: &[u8] = b"QFI\xfb";

const INCOMPATIBLE_DIRTY: u64 = 1;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_KNOWN: u64 = 0x1F;

/// Whether the head says qcow2 in a version that is read here.
pub(crate) fn matches(head: &[u8]) -> bool {
    head.starts_with(MAGIC) && matches!(head.get(4..8), Some([0, 0, 0, 2 | 3]))
}

/// Looks at a head for which [`matches()`] holds; `whole` says that there is no more.
pub(crate) fn inspect(head: &[u8], whole: bool) -> Result<Answer, Malformed> {
    let header = header::parse(head)?;
    let extensions = match extensions::walk(head, &header)? {
        Walk::Done(extensions) => extensions,
        Walk::NeedHead(_) if whole => {
            return Err(Malformed("qcow2: the file ends inside the header extensions".into()));
        }
        Walk::NeedHead(need) => return Ok(Answer::NeedHead(need.min(MAX_HEAD))),
    };
    let hazards = hazards(head, &header, &extensions);
    let mut details = vec![
        ("version", header.version.to_string()),
        ("cluster-size", header.cluster_size().to_string()),
        ("refcount-bits", (1_u64 << header.refcount_order).to_string()),
        ("snapshots", header.snapshots.to_string()),
    ];
    if header.version == 3 {
        let name = if header.compression_type == 0 { "zlib" } else { "zstd" };
        details.push(("compression-type", name.to_owned()));
        details.push(("extended-l2", header.has_extended_l2().to_string()));
    }
    Ok(Answer::Verdict(Verdict { format: "qcow2", virtual_size: Some(header.virtual_size()), hazards, details }))
}

fn hazards(head: &[u8], header: &Header, extensions: &[Extension]) -> Vec<Hazard> {
    let mut hazards = Vec::new();
    let mut found = |code, severity, message| hazards.push(Hazard { code, severity, message });
    let bits = header.incompatible;
    if header.backing_offset != 0 {
        let name = text(head, header.backing_offset, header.backing_length);
        found(
            "qcow2-backing-file",
            Severity::Refuse,
            format!("backing file{name} at offset {}", header.backing_offset),
        );
    }
    if bits & INCOMPATIBLE_DATA_FILE != 0 {
        found(
            "qcow2-data-file",
            Severity::Refuse,
            format!("external data file: incompatible features {bits:#x} at 72"),
        );
    }
    for extension in extensions {
        match extension.kind {
            extensions::DATA_FILE_NAME => {
                let name = text(head, extension.offset, extension.length);
                let message = format!("external data file{name} at offset {}", extension.offset);
                found("qcow2-data-file-name", Severity::Refuse, message);
            }
            extensions::BACKING_FORMAT if header.backing_offset == 0 => {
                let message = format!("a backing format at offset {} without a backing file", extension.offset);
                found("qcow2-backing-format", Severity::Warning, message);
            }
            _ => {}
        }
    }
    match header.crypt_method {
        0 => {}
        method => found("qcow2-encrypted", Severity::Refuse, format!("encrypted: method {method} at 32")),
    }
    if bits & INCOMPATIBLE_CORRUPT != 0 {
        found("qcow2-corrupt", Severity::Refuse, format!("marked corrupt: incompatible features {bits:#x} at 72"));
    }
    if bits & INCOMPATIBLE_DIRTY != 0 {
        found("qcow2-dirty", Severity::Warning, format!("not closed cleanly: incompatible features {bits:#x} at 72"));
    }
    if bits & !INCOMPATIBLE_KNOWN != 0 {
        found("qcow2-unknown-feature", Severity::Refuse, format!("unknown incompatible features {bits:#x} at 72"));
    }
    hazards
}

/// The text at an offset, quoted, if the head shows it; never more than 80 characters.
fn text(head: &[u8], offset: u64, length: u32) -> String {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(length as usize);
    let Some(bytes) = head.get(start..end) else { return String::new() };
    let text: String = bytes.escape_ascii().to_string().chars().take(80).collect();
    format!(" `{text}`")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A version 3 image of 1 GiB as qemu-img creates it, up to the end of its header.
    pub(crate) fn sample() -> Vec<u8> {
        let mut head = vec![0; 65536];
        head[..4].copy_from_slice(MAGIC);
        put32(&mut head, 4, 3);
        put32(&mut head, 20, 16);
        put64(&mut head, 24, 1 << 30);
        put32(&mut head, 36, 2);
        put64(&mut head, 40, 0x3_0000);
        put64(&mut head, 48, 0x1_0000);
        put32(&mut head, 56, 1);
        put32(&mut head, 96, 4);
        put32(&mut head, 100, 104);
        head
    }

    pub(crate) fn put32(head: &mut [u8], offset: usize, value: u32) {
        head[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn put64(head: &mut [u8], offset: usize, value: u64) {
        head[offset..offset + 8].copy_from_slice(&value.to_be_bytes());
    }

    fn verdict(head: &[u8]) -> Verdict {
        match inspect(head, false).unwrap() {
            Answer::Verdict(verdict) => verdict,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plain_image_has_its_size_and_no_hazard() {
        let verdict = verdict(&sample());
        assert_eq!((verdict.format, verdict.virtual_size), ("qcow2", Some(1 << 30)));
        assert_eq!(verdict.hazards, []);
    }

    #[test]
    fn the_virtual_size_is_rounded_down_to_sectors() {
        let mut head = sample();
        put64(&mut head, 24, (1 << 30) - 1);
        assert_eq!(verdict(&head).virtual_size, Some((1 << 30) - 512));
    }

    #[test]
    fn every_hazard_is_found() {
        let codes = |change: &dyn Fn(&mut [u8])| {
            let mut head = sample();
            change(&mut head);
            verdict(&head).hazards.into_iter().map(|hazard| (hazard.code, hazard.severity)).collect::<Vec<_>>()
        };
        use Severity::{Refuse, Warning};
        let backing = |head: &mut [u8]| {
            put64(head, 8, 1024);
            put32(head, 16, 11);
            head[1024..1035].copy_from_slice(b"/etc/passwd");
        };
        assert_eq!(codes(&backing), [("qcow2-backing-file", Refuse)]);
        assert_eq!(codes(&|head| put64(head, 8, 1024)), [("qcow2-backing-file", Refuse)], "a name of length 0 too");
        assert_eq!(codes(&|head| put64(head, 72, 1 << 2)), [("qcow2-data-file", Refuse)]);
        assert_eq!(codes(&|head| put64(head, 72, 1 << 1)), [("qcow2-corrupt", Refuse)]);
        assert_eq!(codes(&|head| put64(head, 72, 1)), [("qcow2-dirty", Warning)]);
        assert_eq!(codes(&|head| put64(head, 72, 1 << 5)), [("qcow2-unknown-feature", Refuse)]);
        assert_eq!(codes(&|head| put32(head, 32, 2)), [("qcow2-encrypted", Refuse)]);
        let data_file = |head: &mut [u8]| {
            put32(head, 104, extensions::DATA_FILE_NAME);
            put32(head, 108, 4);
        };
        assert_eq!(codes(&data_file), [("qcow2-data-file-name", Refuse)]);
        let extended = |head: &mut [u8]| {
            put64(head, 72, 1 << 4);
            put32(head, 36, 4);
        };
        assert_eq!(codes(&extended), [], "extended L2 is legal");
    }

    #[test]
    fn the_message_shows_the_bytes_that_prove_it() {
        let mut head = sample();
        put64(&mut head, 8, 1024);
        put32(&mut head, 16, 11);
        head[1024..1035].copy_from_slice(b"/etc/passwd");
        assert_eq!(verdict(&head).hazards[0].message, "backing file `/etc/passwd` at offset 1024");
    }

    #[test]
    fn more_head_is_asked_for_only_when_the_extensions_go_on() {
        let mut head = sample();
        put32(&mut head, 20, 21);
        put64(&mut head, 40, 3 << 21);
        put64(&mut head, 48, 1 << 21);
        put32(&mut head, 104, 0x1234_5678);
        put32(&mut head, 108, 100_000);
        assert_eq!(inspect(&head, false), Ok(Answer::NeedHead(112 + 100_000 + 8)));
        assert!(inspect(&head, true).is_err());
    }

    #[test]
    fn only_versions_2_and_3_match() {
        for (version, expected) in [(0, false), (1, false), (2, true), (3, true), (4, false), (0x0103, false)] {
            let mut head = sample();
            put32(&mut head, 4, version);
            assert_eq!(matches(&head), expected, "{version}");
        }
    }
}

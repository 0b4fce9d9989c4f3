//! qcow2, versions 2 and 3 (QEMU `docs/interop/qcow2.rst`, sections "Header" and "Header extensions"). Everything that
//! matters for safety lies in the first cluster. Bounds are those QEMU enforces.

mod allocation;
mod extensions;
mod header;

use crate::detect::{FIRST_READ, Mark};
use crate::verdict::quoted;
use crate::view::Stop;
use crate::{Verdict, View};
use extensions::{Extension, Walk};
use header::{Header, Table};

const MAGIC: &[u8] = b"QFI\xfb";

const INCOMPATIBLE_DIRTY: u64 = 1;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_KNOWN: u64 = 0x1F;
const COMPATIBLE_LAZY_REFCOUNTS: u64 = 1;
const AUTOCLEAR_BITMAPS: u64 = 1;

/// How much further the head is read while the extensions go on: a cluster of the largest size in four steps.
const FURTHER: u64 = 512 * 1024;

/// Whether the head says qcow2 in a version that is read here.
pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, MAGIC, "qcow2").filter(|_| matches!(head.get(4..8), Some([0, 0, 0, 2 | 3])))
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let header = header::parse(view.at(0, FIRST_READ)?)?;
    let mut length = FIRST_READ;
    let (head, extensions) = loop {
        let head = view.at(0, length)?;
        match extensions::walk(head, &header)? {
            Walk::Done(extensions) => break (head, extensions),
            Walk::NeedHead(_) if (head.len() as u64) < length => {
                return Err(header::malformed("the file ends inside the header extensions").into());
            }
            Walk::NeedHead(need) => {
                length = (need as u64).saturating_add(FURTHER).min(header.cluster_size()).max(need as u64);
            }
        }
    };
    let mut verdict = Verdict::new("qcow2", Some(header.virtual_size()));
    verdict.detail("version", header.version);
    verdict.detail("cluster-size", header.cluster_size());
    verdict.detail("refcount-bits", 1_u64 << header.refcount_order);
    verdict.detail("snapshots", header.snapshots);
    if header.version == 3 {
        verdict.detail("compression-type", if header.compression_type == 0 { "zlib" } else { "zstd" });
        verdict.detail("extended-l2", header.has_extended_l2());
        verdict.detail("lazy-refcounts", header.compatible & COMPATIBLE_LAZY_REFCOUNTS != 0);
        verdict.detail("bitmaps", header.autoclear & AUTOCLEAR_BITMAPS != 0);
    }
    references(&mut verdict, head, &header, &extensions);
    state(&mut verdict, view, &header, &extensions);
    allocation::check(&mut verdict, view, &header)?;
    Ok(verdict)
}

/// What names another file.
fn references(verdict: &mut Verdict, head: &[u8], header: &Header, extensions: &[Extension]) {
    if header.backing_offset != 0 {
        let name = text(head, header.backing_offset, header.backing_length);
        verdict.refuse("qcow2-backing-file", format!("backing file{name} at offset {}", header.backing_offset));
    }
    if header.incompatible & INCOMPATIBLE_DATA_FILE != 0 {
        let message = format!("external data file: incompatible features {:#x} at 72", header.incompatible);
        verdict.refuse("qcow2-data-file", message);
    }
    for extension in extensions {
        match extension.kind {
            extensions::DATA_FILE_NAME => {
                let name = text(head, extension.offset, extension.length);
                let message = format!("external data file{name} at offset {}", extension.offset);
                verdict.refuse("qcow2-data-file-name", message);
            }
            extensions::BACKING_FORMAT if header.backing_offset == 0 => {
                let message = format!("a backing format at offset {} without a backing file", extension.offset);
                verdict.warn("qcow2-backing-format", message);
            }
            _ => {}
        }
    }
}

/// What state the image is in.
fn state(verdict: &mut Verdict, view: &View, header: &Header, extensions: &[Extension]) {
    let bits = header.incompatible;
    if header.crypt_method != 0 {
        verdict.refuse("qcow2-encrypted", format!("encrypted: method {} at 32", header.crypt_method));
    } else if let Some(extension) = extensions.iter().find(|extension| extension.kind == extensions::ENCRYPTION) {
        let message = format!("an encryption header at offset {} without encryption", extension.offset);
        verdict.warn("qcow2-encryption-header", message);
    }
    if bits & INCOMPATIBLE_CORRUPT != 0 {
        verdict.refuse("qcow2-corrupt", format!("marked corrupt: incompatible features {bits:#x} at 72"));
    }
    if bits & INCOMPATIBLE_DIRTY != 0 {
        verdict.warn("qcow2-dirty", format!("not closed cleanly: incompatible features {bits:#x} at 72"));
    }
    if bits & !INCOMPATIBLE_KNOWN != 0 {
        verdict.refuse("qcow2-unknown-feature", format!("unknown incompatible features {bits:#x} at 72"));
    }
    if header.snapshots != 0 {
        let message = format!("{} snapshots at 60: earlier states of the disk are carried along", header.snapshots);
        verdict.note("qcow2-snapshots", message);
    }
    let tables: Vec<Table> = header.tables().collect();
    for (number, Table { name, field, start, end }) in tables.iter().enumerate() {
        if view.ends_before(*end) {
            let message = format!("the {name} named at {field} ends at {end}, behind the end of the file");
            verdict.refuse("qcow2-truncated", message);
        }
        // The header has the first cluster to itself.
        let before = tables.iter().take(number).find(|other| other.start < *end && *start < other.end);
        let over = if *start < header.cluster_size() { Some("header") } else { before.map(|other| other.name) };
        if let Some(over) = over {
            verdict.refuse("table-overlap", format!("the {name} at {start}, named at {field}, lies over the {over}"));
        }
    }
}

/// The text at an offset, quoted, if the head shows it.
fn text(head: &[u8], offset: u64, length: u32) -> String {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(length as usize);
    let Some(bytes) = head.get(start..end) else { return String::new() };
    format!(" {}", quoted(bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Request, Severity};

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

    fn seen(head: &[u8], size: Option<u64>) -> View {
        let mut view = View::new(size);
        view.answer(Request::At { offset: 0, len: head.len() as u32 }, head.to_vec());
        view
    }

    fn verdict(head: &[u8]) -> Verdict {
        inspect(&seen(head, None)).unwrap()
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
        let need = 112 + 100_000 + 8 + FURTHER as u32 - 65_536;
        assert_eq!(inspect(&seen(&head, None)), Err(Stop::Need(Request::At { offset: 65_536, len: need })));
        assert!(matches!(inspect(&seen(&head, Some(65_536))), Err(Stop::Malformed(_))));
    }

    #[test]
    fn only_versions_2_and_3_match() {
        for (version, expected) in [(0, false), (1, false), (2, true), (3, true), (4, false), (0x0103, false)] {
            let mut head = sample();
            put32(&mut head, 4, version);
            assert_eq!(marked(&head).is_some(), expected, "{version}");
        }
    }
}

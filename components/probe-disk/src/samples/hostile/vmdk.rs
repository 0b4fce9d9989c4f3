//! VMDKs that are refused.

use super::Change;
use super::Expected::{self, Malformed, Refused};
use crate::samples::disks::{descriptor, le32, le64, put, vmdk_with};

fn described(image: &mut Vec<u8>, kind: &str, extents: &[&str], more: &[&str]) {
    *image = vmdk_with(&descriptor(kind, extents, more));
}

const EXTENT: &str = "RW 32768 SPARSE \"disk.vmdk\"";

const HINT: &str = "parentFileNameHint=\"/etc/passwd\"";

pub(super) const VMDK: [(&str, Expected, Change); 41] = [
    ("vmdk: capacity 0", Refused("vmdk-external-extent"), |i| le64(i, 12, 0)),
    ("vmdk: create type monolithicFlat", Refused("vmdk-create-type"), |i| {
        described(i, "monolithicFlat", &[EXTENT], &[]);
    }),
    ("vmdk: create type vmfs", Refused("vmdk-create-type"), |i| described(i, "vmfs", &[EXTENT], &[])),
    ("vmdk: create type twoGb", Refused("vmdk-create-type"), |i| described(i, "twoGbMaxExtentSparse", &[EXTENT], &[])),
    ("vmdk: two create types", Refused("vmdk-create-type"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &["createType=\"monolithicFlat\""]);
    }),
    ("vmdk: stream without compression", Refused("vmdk-create-type"), |i| {
        described(i, "streamOptimized", &[EXTENT], &[]);
    }),
    ("vmdk: extent with a path", Refused("vmdk-external-extent"), |i| {
        described(i, "monolithicSparse", &["RW 32768 SPARSE \"/etc/passwd\""], &[]);
    }),
    ("vmdk: flat extent", Refused("vmdk-external-extent"), |i| {
        described(i, "monolithicSparse", &["RW 32768 FLAT \"disk.vmdk\" 0"], &[]);
    }),
    ("vmdk: two extents", Refused("vmdk-external-extent"), |i| {
        described(i, "monolithicSparse", &[EXTENT, EXTENT], &[]);
    }),
    ("vmdk: no extent", Refused("vmdk-external-extent"), |i| described(i, "monolithicSparse", &[], &[])),
    ("vmdk: extent of another size", Refused("vmdk-extent-size"), |i| {
        described(i, "monolithicSparse", &["RW 65536 SPARSE \"disk.vmdk\""], &[]);
    }),
    ("vmdk: not ASCII", Refused("vmdk-descriptor-encoding"), |i| {
        described(i, "monolithicSparse", &["RW 32768 SPARSE \"dïsk.vmdk\""], &[]);
    }),
    ("vmdk: no descriptor", Refused("vmdk-descriptor-missing"), |i| le64(i, 28, 0)),
    ("vmdk: parent file", Refused("vmdk-parent"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &["parentFileNameHint=\"/etc/passwd\""]);
    }),
    ("vmdk: parent CID", Refused("vmdk-parent"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &["parentCID=12345678"]);
    }),
    ("vmdk: change tracking file", Refused("vmdk-file"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &["changeTrackPath=\"ctk.vmdk\""]);
    }),
    ("vmdk: capacity of all ones", Malformed("capacity at 12"), |i| le64(i, 12, u64::MAX)),
    ("vmdk: L1 table too large", Malformed("capacity at 12"), |i| le64(i, 12, 1 << 50)),
    ("vmdk: grain 0", Malformed("grainSize at 20"), |i| le64(i, 20, 0)),
    ("vmdk: grain no power of two", Malformed("grainSize at 20"), |i| le64(i, 20, 100)),
    ("vmdk: version 4", Malformed("version at 4"), |i| le32(i, 4, 4)),
    ("vmdk: carried as text", Malformed("the line ends at 73"), |i| put(i, 73, b"\n \n\n")),
    ("vmdk: metadata behind the end", Refused("vmdk-truncated"), |i| le64(i, 64, 129)),
    ("vmdk: parent file in a comment", Refused("vmdk-parent"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &[&format!("# {HINT}")]);
    }),
    ("vmdk: parent file behind a value", Refused("vmdk-parent"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &[&format!("ddb.comment = \"x\" {HINT}")]);
    }),
    ("vmdk: parent file without =", Refused("vmdk-parent"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &["parentFileNameHint: /etc/passwd\""]);
    }),
    ("vmdk: parent file behind the extent", Refused("vmdk-parent"), |i| {
        described(i, "monolithicSparse", &[&format!("{EXTENT} {HINT}")], &[]);
    }),
    ("vmdk: parent file where QEMU looks, descriptor elsewhere", Refused("vmdk-parent"), |i| elsewhere(i, HINT)),
    ("vmdk: descriptor elsewhere", Refused("vmdk-descriptor-elsewhere"), |i| elsewhere(i, "")),
    ("vmdk: parent file behind a descriptor of one sector", Refused("vmdk-parent"), |i| {
        le64(i, 36, 1);
        i[512..1024].fill(b' ');
        let text = descriptor("monolithicSparse", &[EXTENT], &[]);
        put(i, 512, text.as_bytes());
        put(i, 1024, HINT.as_bytes());
    }),
    ("vmdk: parent file behind the text's end", Refused("vmdk-parent"), |i| put(i, 2048, HINT.as_bytes())),
    ("vmdk: no descriptor, and a parent where QEMU looks", Refused("vmdk-parent"), |i| {
        le64(i, 28, 0);
        put(i, 512, HINT.as_bytes());
    }),
    ("vmdk: parent CID in a comment", Refused("vmdk-parent"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &["# parentCID=0"]);
    }),
    ("vmdk: create type in a comment", Refused("vmdk-create-type"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &["# createType=\"vmfs\""]);
    }),
    ("vmdk: change tracking file behind a value", Refused("vmdk-file"), |i| {
        described(i, "monolithicSparse", &[EXTENT], &["ddb.x = \"y\" changeTrackPath=\"ctk.vmdk\""]);
    }),
    ("vmdk: grain directory behind the end", Refused("vmdk-truncated"), |i| le64(i, 56, 1_000_000_000)),
    ("vmdk: redundant grain directory behind the end", Refused("vmdk-truncated"), |i| le64(i, 48, 1_000_000_000)),
    ("vmdk: grain directory over the header", Refused("table-overlap"), |i| le64(i, 56, 0)),
    ("vmdk: 64 TiB in 64 KiB", Refused("vmdk-truncated"), |i| {
        described(i, "monolithicSparse", &["RW 137438953472 SPARSE \"disk.vmdk\""], &[]);
        le64(i, 12, 1 << 37);
    }),
    ("vmdk: an algorithm without compression", Malformed("compressAlgorithm at 77"), |i| i[77] = 1),
    ("vmdk and ISO", Refused("format-ambiguous"), |i| put(i, 0x8001, b"CD001")),
];

/// A descriptor in sector 64, and a text where QEMU looks for one.
fn elsewhere(image: &mut [u8], text: &str) {
    let own = image[512..11_264].to_vec();
    put(image, 64 * 512, &own);
    image[512..11_264].fill(0);
    put(image, 512, text.as_bytes());
    le64(image, 28, 64);
}

/// Where the footer's header begins, from the end.
const FOOTER: usize = 1024;

pub(super) const VMDK_STREAM: [(&str, Expected, Change); 14] = [
    ("vmdk: two footers, of which QEMU reads the other", Refused("vmdk-footer-missing"), |i| {
        let mut footer = i[i.len() - 1536..].to_vec();
        let end = i.len();
        i.resize(end + 256, 0);
        le64(&mut footer, 512 + 12, 1 << 40);
        put(i, end + 256 - 1536 + 256, &footer[..1280]);
    }),
    ("vmdk: the file ends in a sector", Refused("vmdk-footer-missing"), |i| i.push(0)),
    ("vmdk: grain directory of the footer behind the end", Refused("vmdk-truncated"), |i| {
        let at = i.len() - FOOTER;
        le64(i, at + 56, 200);
    }),
    ("vmdk: footer of another capacity", Refused("vmdk-footer-differs"), |i| {
        let at = i.len() - FOOTER;
        le64(i, at + 12, 1 << 40 >> 9);
    }),
    ("vmdk: footer of another grain", Refused("vmdk-footer-differs"), |i| {
        let at = i.len() - FOOTER;
        le64(i, at + 20, 256);
    }),
    ("vmdk: footer without flags", Refused("vmdk-footer-differs"), |i| {
        let at = i.len() - FOOTER;
        le32(i, at + 8, 3);
    }),
    ("vmdk: footer of another version", Refused("vmdk-footer-differs"), |i| {
        let at = i.len() - FOOTER;
        le32(i, at + 4, 1);
    }),
    ("vmdk: footer with another descriptor", Refused("vmdk-footer-differs"), |i| {
        let at = i.len() - FOOTER;
        le64(i, at + 28, 2);
    }),
    ("vmdk: footer with a longer descriptor", Refused("vmdk-footer-differs"), |i| {
        let at = i.len() - FOOTER;
        le64(i, at + 36, 21);
    }),
    ("vmdk: footer with other grain tables", Refused("vmdk-footer-differs"), |i| {
        let at = i.len() - FOOTER;
        le32(i, at + 44, 256);
    }),
    ("vmdk: footer out of bounds", Refused("vmdk-footer-differs"), |i| {
        let at = i.len() - FOOTER;
        le32(i, at + 4, 9);
    }),
    ("vmdk: no footer", Refused("vmdk-footer-missing"), |i| i.truncate(i.len() - 512)),
    ("vmdk: footer of nothing", Refused("vmdk-footer-missing"), |i| {
        let at = i.len() - FOOTER;
        put(i, at, b"XXXX");
    }),
    ("vmdk: recursive footer", Refused("vmdk-footer-recursive"), |i| {
        let at = i.len() - FOOTER;
        le64(i, at + 56, u64::MAX);
    }),
];

/// Descriptors that are all there is, and name files.
pub(super) fn descriptors() -> Vec<(&'static str, String)> {
    let flat = |kind, line: &str| descriptor(kind, &[line], &[]);
    let bare = flat("monolithicFlat", "RW 2048 FLAT \"/etc/passwd\" 0");
    vec![
        ("vmdk text: flat", bare.clone()),
        ("vmdk text: without its title", bare.replace("# Disk DescriptorFile\n", "")),
        ("vmdk text: behind comments", format!("# harmless\n\n{}", bare.replace("# Disk DescriptorFile\n", ""))),
        ("vmdk text: with carriage returns", bare.replace('\n', "\r\n")),
        (
            "vmdk text: with the title as VirtualBox takes it",
            bare.replace("# Disk DescriptorFile\nversion=1\n", "#Disk Descriptor File\n"),
        ),
        ("vmdk text: without a version", bare.replace("version=1\n", "")),
        ("vmdk text: vmfs", flat("vmfs", "RW 2048 VMFS \"/dev/sda\"")),
        ("vmdk text: raw device", flat("fullDevice", "RW 2048 FLAT \"/dev/sda\" 0")),
        ("vmdk text: raw device mapping", flat("vmfsRawDeviceMap", "RW 2048 VMFSRDM \"disk-rdm.vmdk\"")),
        ("vmdk text: pass-through", flat("vmfsPassthroughRawDeviceMap", "RW 2048 VMFSRDM \"disk-rdmp.vmdk\"")),
        ("vmdk text: split flat", flat("twoGbMaxExtentFlat", "RW 2048 FLAT \"../../other.vmdk\" 0")),
        ("vmdk text: sparse", flat("twoGbMaxExtentSparse", "RW 2048 SPARSE \"disk-s001.vmdk\"")),
        ("vmdk text: seSparse", flat("seSparse", "RW 2048 SESPARSE \"disk-sesparse.vmdk\"")),
        ("vmdk text: of nothing", flat("monolithicFlat", "")),
    ]
}

//! Disks that are refused, each with what refuses it.

use super::disks::{
    VHDX_PARENT, be32, be64, descriptor, dmg, gpt, gpt_checksum, gpt_long, iso, le32, le64, luks1, luks2, luks2_of,
    mbr, parallels, put, qcow, qcow2, qed, tar, vdi, vhdx, vhdx_checksum, vmdk, vmdk_stream, vmdk_with, vpc,
    vpc_checksum, vpc_fixed, vpc_footer, vpc_of_type,
};

/// What comes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A hazard that refuses, of this code.
    Refused(&'static str),
    /// A hazard that does not refuse, of this code, beside one that does.
    Told(&'static str),
    /// Malformed, in words that contain these.
    Malformed(&'static str),
}

/// A disk that is refused.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// What is wrong with it.
    pub name: &'static str,
    /// The disk.
    pub image: Vec<u8>,
    /// What is said of it.
    pub expected: Expected,
}

use Expected::{Malformed, Refused, Told};

type Change = fn(&mut Vec<u8>);

/// All of them.
#[must_use]
pub fn hostile() -> Vec<Hostile> {
    let mut all = Vec::new();
    let mut add = |base: &dyn Fn() -> Vec<u8>, rows: &[(&'static str, Expected, Change)]| {
        for (name, expected, change) in rows {
            let mut image = base();
            change(&mut image);
            all.push(Hostile { name, image, expected: *expected });
        }
    };
    add(&qcow2, &QCOW2);
    add(&qcow, &QCOW);
    add(&qed, &QED);
    add(&vmdk, &VMDK);
    add(&vmdk_stream, &VMDK_STREAM);
    add(&vpc, &VPC);
    add(&vpc_fixed, &VPC_FIXED);
    add(&|| vhdx(2), &VHDX);
    add(&vdi, &VDI);
    add(&|| parallels(true), &PARALLELS);
    add(&luks1, &LUKS);
    add(&iso, &ISO);
    add(&|| gpt(512), &GPT);
    add(&|| vec![0; 70_000], &OTHERS);
    for (name, text) in descriptors() {
        all.push(Hostile { name, image: text.into_bytes(), expected: Refused("vmdk-external-extent") });
    }
    all
}

fn backing(image: &mut [u8], name: &str) {
    be64(image, 8, 1024);
    be32(image, 16, name.len() as u32);
    put(image, 1024, name.as_bytes());
}

const QCOW2: [(&str, Expected, Change); 43] = [
    ("qcow2: backing file by path", Refused("qcow2-backing-file"), |i| backing(i, "/etc/passwd")),
    ("qcow2: backing file by json", Refused("qcow2-backing-file"), |i| backing(i, "json:{\"driver\":\"file\"}")),
    ("qcow2: backing file by nbd", Refused("qcow2-backing-file"), |i| backing(i, "nbd://10.0.0.1/x")),
    ("qcow2: backing file without a name", Refused("qcow2-backing-file"), |i| be64(i, 8, 1024)),
    ("qcow2: backing name too long", Malformed("backing_file_size at 16 is 1024"), |i| {
        be64(i, 8, 1024);
        be32(i, 16, 1024);
    }),
    ("qcow2: backing name behind its cluster", Malformed("backing_file_offset"), |i| be64(i, 8, 70_000)),
    ("qcow2: data file bit", Refused("qcow2-data-file"), |i| be64(i, 72, 4)),
    ("qcow2: data file bit and name", Refused("qcow2-data-file-name"), |i| {
        be64(i, 72, 4);
        be32(i, 104, 0x4441_5441);
        be32(i, 108, 5);
        put(i, 112, b"json:");
    }),
    ("qcow2: data file name without the bit", Refused("qcow2-data-file-name"), |i| {
        be32(i, 104, 0x4441_5441);
        be32(i, 108, 4);
    }),
    ("qcow2: unknown incompatible feature 5", Refused("qcow2-unknown-feature"), |i| be64(i, 72, 1 << 5)),
    ("qcow2: unknown incompatible feature 63", Refused("qcow2-unknown-feature"), |i| be64(i, 72, 1 << 63)),
    ("qcow2: marked corrupt", Refused("qcow2-corrupt"), |i| be64(i, 72, 2)),
    ("qcow2: AES", Refused("qcow2-encrypted"), |i| be32(i, 32, 1)),
    ("qcow2: LUKS", Refused("qcow2-encrypted"), |i| be32(i, 32, 2)),
    ("qcow2: cluster_bits 0", Malformed("cluster_bits at 20"), |i| be32(i, 20, 0)),
    ("qcow2: cluster_bits 8", Malformed("cluster_bits at 20"), |i| be32(i, 20, 8)),
    ("qcow2: cluster_bits 22", Malformed("cluster_bits at 20"), |i| be32(i, 20, 22)),
    ("qcow2: cluster_bits 31", Malformed("cluster_bits at 20"), |i| be32(i, 20, 31)),
    ("qcow2: cluster_bits 63", Malformed("cluster_bits at 20"), |i| be32(i, 20, 63)),
    ("qcow2: cluster_bits of all ones", Malformed("cluster_bits at 20"), |i| be32(i, 20, u32::MAX)),
    ("qcow2: l1_size of all ones", Malformed("l1_size at 36"), |i| be32(i, 36, u32::MAX)),
    ("qcow2: l1_size too small", Malformed("l1_size at 36"), |i| be32(i, 36, 1)),
    ("qcow2: header_length too short", Malformed("header_length at 100"), |i| be32(i, 100, 96)),
    ("qcow2: header_length over the cluster", Malformed("header_length at 100"), |i| be32(i, 100, 65_537)),
    ("qcow2: extension of all ones", Malformed("header extension at 104"), |i| {
        be32(i, 104, 1);
        be32(i, 108, u32::MAX);
    }),
    ("qcow2: refcount_order 7", Malformed("refcount_order at 96"), |i| be32(i, 96, 7)),
    ("qcow2: size 2^63", Malformed("l1_size"), |i| be64(i, 24, 1 << 63)),
    ("qcow2: size of all ones", Malformed("l1_size"), |i| be64(i, 24, u64::MAX)),
    ("qcow2: too many snapshots", Malformed("nb_snapshots at 60"), |i| be32(i, 60, 65_537)),
    ("qcow2: no refcount table", Malformed("refcount_table_clusters at 56"), |i| be32(i, 56, 0)),
    ("qcow2: encryption method 3", Malformed("crypt_method at 32"), |i| be32(i, 32, 3)),
    ("qcow2: compression without its bit", Malformed("compression_type at 104"), |i| {
        be32(i, 100, 112);
        i[104] = 1;
    }),
    ("qcow2: extended L2 with small clusters", Malformed("extended L2"), |i| {
        be64(i, 72, 16);
        be32(i, 20, 13);
        be32(i, 36, 1 << 20);
    }),
    ("qcow2: L1 table behind the end", Refused("qcow2-truncated"), |i| i.truncate(0x3_0000)),
    ("qcow2: L1 table over the header", Refused("table-overlap"), |i| be64(i, 40, 0)),
    ("qcow2: refcount table over the header", Refused("table-overlap"), |i| be64(i, 48, 0)),
    ("qcow2: L1 table over the refcount table", Refused("table-overlap"), |i| be64(i, 40, 0x1_0000)),
    ("qcow2: snapshots over the header", Refused("table-overlap"), |i| be32(i, 60, 1)),
    ("qcow2: snapshots behind the end", Refused("qcow2-truncated"), |i| {
        be32(i, 60, 1);
        be64(i, 64, 1 << 40);
    }),
    ("qcow2 and tar", Refused("format-ambiguous"), |i| put(i, 257, b"ustar")),
    ("qcow2 and ISO", Refused("format-ambiguous"), |i| put(i, 0x8001, b"CD001")),
    ("qcow2 and VHD footer", Refused("format-ambiguous"), |i| i.extend_from_slice(&vpc_footer(1 << 30, 2))),
    ("qcow2 and GPT", Refused("format-ambiguous"), |i| put(i, 510, &gpt(512)[510..1024])),
];

const QCOW: [(&str, Expected, Change); 10] = [
    ("qcow: backing file by json", Refused("qcow-backing-file"), |i| backing(i, "json:{\"driver\":\"file\"}")),
    ("qcow: backing file without a name", Refused("qcow-backing-file"), |i| be64(i, 8, 1024)),
    ("qcow: backing file", Refused("qcow-backing-file"), |i| backing(i, "/etc/passwd")),
    ("qcow: encrypted", Refused("qcow-encrypted"), |i| be32(i, 36, 1)),
    ("qcow: size 0", Malformed("size at 24"), |i| be64(i, 24, 0)),
    ("qcow: size of all ones", Malformed("size at 24"), |i| be64(i, 24, u64::MAX)),
    ("qcow: L1 table over the header", Refused("table-overlap"), |i| be64(i, 40, 40)),
    ("qcow: L1 table behind the end", Refused("qcow-truncated"), |i| i.truncate(4000)),
    ("qcow: version 0", Malformed("version at 4 is 0"), |i| be32(i, 4, 0)),
    ("qcow: version 4", Malformed("version at 4 is 4"), |i| be32(i, 4, 4)),
];

const QED: [(&str, Expected, Change); 7] = [
    ("qed: backing file", Refused("qed-backing-file"), |i| {
        le64(i, 16, 1);
        le32(i, 56, 64);
        le32(i, 60, 11);
        put(i, 64, b"/etc/passwd");
    }),
    ("qed: backing file without its bit", Refused("qed-backing-file"), |i| le32(i, 56, 64)),
    ("qed: unknown feature", Refused("qed-unknown-feature"), |i| le64(i, 16, 8)),
    ("qed: size of all ones", Malformed("image_size at 48"), |i| le64(i, 48, u64::MAX)),
    ("qed: cluster size", Malformed("cluster_size at 4"), |i| le32(i, 4, 65_537)),
    ("qed: L1 table behind the end", Refused("qed-truncated"), |i| i.truncate(65_536 * 4)),
    ("qed: header size overflows", Malformed("header_size at 12"), |i| le32(i, 12, u32::MAX)),
];

fn described(image: &mut Vec<u8>, kind: &str, extents: &[&str], more: &[&str]) {
    *image = vmdk_with(&descriptor(kind, extents, more));
}

const EXTENT: &str = "RW 32768 SPARSE \"disk.vmdk\"";

const HINT: &str = "parentFileNameHint=\"/etc/passwd\"";

const VMDK: [(&str, Expected, Change); 41] = [
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

const VMDK_STREAM: [(&str, Expected, Change); 14] = [
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

/// A change of the dynamic disk header with its checksum made anew.
fn dynamic(image: &mut [u8], at: usize, bytes: &[u8]) {
    put(image, 512 + at, bytes);
    vpc_checksum(image, 512, 1024, 36);
}

const VPC: [(&str, Expected, Change); 17] = [
    ("vpc: differencing", Refused("vpc-differencing"), |i| *i = vpc_of_type(4)),
    ("vpc: type 9", Refused("vpc-type"), |i| *i = vpc_of_type(9)),
    ("vpc: type 2 with a copy at the start", Refused("vpc-type"), |i| {
        *i = vpc_of_type(2);
        be64(i, 16, 512);
        vpc_checksum(i, 0, 512, 64);
    }),
    ("vpc: parent's uuid", Refused("vpc-parent"), |i| dynamic(i, 40, &[1])),
    ("vpc: parent's name", Refused("vpc-parent"), |i| dynamic(i, 64, b"\0p\0a")),
    ("vpc: parent's locator", Refused("vpc-parent"), |i| dynamic(i, 576, b"W2ru")),
    ("vpc: header at the last offset there is", Malformed("ends inside its dynamic disk header"), |i| {
        be64(i, 16, u64::MAX - 3);
        vpc_checksum(i, 0, 512, 64);
    }),
    ("vpc: checksum of the footer", Malformed("checksum at 64"), |i| i[70] ^= 1),
    ("vpc: checksum of the header", Malformed("checksum at 548"), |i| i[600] ^= 1),
    ("vpc: block size 0", Malformed("block_size at 544"), |i| dynamic(i, 32, &[0; 4])),
    ("vpc: too few blocks", Malformed("max_table_entries at 540"), |i| dynamic(i, 28, &[0, 0, 0, 1])),
    ("vpc: over 2040 GiB", Malformed("current_size at 48"), |i| {
        be64(i, 48, 1 << 50);
        vpc_checksum(i, 0, 512, 64);
    }),
    ("vpc: another footer at the end", Refused("vpc-footer-differs"), |i| {
        let at = i.len() - 512;
        put(i, at, &vpc_footer(32 << 20, 3));
    }),
    ("vpc: table over the header", Refused("table-overlap"), |i| dynamic(i, 16, &1535_u64.to_be_bytes())),
    ("vpc: table over the footer's copy", Refused("table-overlap"), |i| dynamic(i, 16, &[0; 8])),
    ("vpc: table behind the end", Refused("vpc-truncated"), |i| dynamic(i, 16, &(1_u64 << 40).to_be_bytes())),
    ("vpc: no footer at the end", Refused("vpc-footer-missing"), |i| i.truncate(i.len() - 512)),
];

const VPC_FIXED: [(&str, Expected, Change); 6] = [
    ("vpc: fixed and shorter than it says", Refused("vpc-size-differs"), |i| {
        i.drain(..512);
    }),
    ("vpc: fixed and longer than it says", Refused("vpc-size-differs"), |i| i.splice(..0, [0; 512]).for_each(drop)),
    ("vpc: dynamic by its footer alone", Refused("vpc-type"), |i| {
        let at = i.len() - 512;
        put(i, at, &vpc_footer(1 << 20, 3));
    }),
    ("vpc: footer of 511 bytes", Refused("vpc-old-footer"), |i| i.truncate(i.len() - 1)),
    ("vpc: footer of 412 bytes", Refused("vpc-old-footer"), |i| i.truncate(i.len() - 100)),
    ("vpc: footer of 85 bytes", Refused("vpc-old-footer"), |i| i.truncate(i.len() - 427)),
];

const VHDX_TABLE: usize = 2 << 20;
const VHDX_ITEM: usize = VHDX_TABLE + 65_536;

fn regions(image: &mut [u8], at: usize, bytes: &[u8]) {
    for table in [0x3_0000, 0x4_0000] {
        put(image, table + at, bytes);
        vhdx_checksum(image, table, 65_536);
    }
}

const VHDX: [(&str, Expected, Change); 24] = [
    ("vhdx: metadata in the log", Malformed("or the log"), |i| {
        for at in [0x1_0000, 0x2_0000] {
            le64(i, at + 72, 2 << 20);
            vhdx_checksum(i, at, 4096);
        }
    }),
    ("vhdx: has a parent", Refused("vhdx-parent"), |i| i[VHDX_ITEM + 4] = 2),
    ("vhdx: parent locator", Refused("vhdx-parent"), |i| {
        put(i, VHDX_TABLE + 10, &[6, 0]);
        put(i, VHDX_TABLE + 32 + 5 * 32, &VHDX_PARENT);
        le32(i, VHDX_TABLE + 32 + 5 * 32 + 16, 70_000);
        le32(i, VHDX_TABLE + 32 + 5 * 32 + 20, 20);
    }),
    ("vhdx: 65 TiB", Malformed("VirtualDiskSize"), |i| le64(i, VHDX_ITEM + 16, 65 << 40)),
    ("vhdx: size of all ones", Malformed("VirtualDiskSize"), |i| le64(i, VHDX_ITEM + 16, u64::MAX)),
    ("vhdx: size of no whole sectors", Malformed("VirtualDiskSize"), |i| le64(i, VHDX_ITEM + 16, 1000)),
    ("vhdx: block size 0", Malformed("BlockSize"), |i| le32(i, VHDX_ITEM, 0)),
    ("vhdx: block size no power of two", Malformed("BlockSize"), |i| le32(i, VHDX_ITEM, 3 << 20)),
    ("vhdx: sector size 520", Malformed("LogicalSectorSize"), |i| le32(i, VHDX_ITEM + 32, 520)),
    ("vhdx: 2048 regions", Malformed("EntryCount at 196616"), |i| regions(i, 8, &2048_u32.to_le_bytes())),
    ("vhdx: 2048 items", Malformed("EntryCount"), |i| put(i, VHDX_TABLE + 10, &2048_u16.to_le_bytes())),
    ("vhdx: size item without length", Malformed("the item's length"), |i| le32(i, VHDX_TABLE + 64 + 20, 0)),
    ("vhdx: size item far away", Malformed("Offset at"), |i| le32(i, VHDX_TABLE + 64 + 16, u32::MAX)),
    ("vhdx: no size item", Malformed("no virtual disk size"), |i| i[VHDX_TABLE + 64] ^= 1),
    ("vhdx: item twice", Malformed("is there twice"), |i| {
        let entry = i[VHDX_TABLE + 64..VHDX_TABLE + 96].to_vec();
        put(i, VHDX_TABLE + 128, &entry);
    }),
    ("vhdx: unknown required item", Refused("vhdx-unknown-metadata"), |i| {
        i[VHDX_TABLE + 128] ^= 1;
    }),
    ("vhdx: unknown required region", Refused("vhdx-unknown-region"), |i| {
        regions(i, 8, &3_u32.to_le_bytes());
        let mut entry = [7; 32];
        entry[16..].copy_from_slice(&[0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0]);
        regions(i, 16 + 64, &entry);
    }),
    ("vhdx: a log to replay", Refused("vhdx-log"), |i| {
        for at in [0x1_0000, 0x2_0000] {
            i[at + 48] = 1;
            vhdx_checksum(i, at, 4096);
        }
    }),
    ("vhdx: no valid header", Malformed("neither header"), |i| (i[0x1_0010], i[0x2_0010]) = (1, 1)),
    ("vhdx: first region table damaged", Refused("vhdx-region-table"), |i| i[0x3_0100] ^= 1),
    ("vhdx: region tables differ", Refused("vhdx-region-table"), |i| {
        i[0x4_0000 + 16 + 24 + 3] = 1;
        vhdx_checksum(i, 0x4_0000, 65_536);
    }),
    ("vhdx: 64 TiB with a BAT of 1 MiB", Refused("vhdx-bat"), |i| {
        le32(i, VHDX_ITEM, 1 << 20);
        le64(i, VHDX_ITEM + 16, 64 << 40);
    }),
    ("vhdx: BAT without room for a sector bitmap", Refused("vhdx-bat"), |i| {
        le32(i, VHDX_ITEM, 1 << 20);
        le64(i, VHDX_ITEM + 16, 131_072 << 20);
    }),
    ("vhdx: BAT behind the end", Refused("vhdx-truncated"), |i| i.truncate((4 << 20) - 512)),
];

const VDI: [(&str, Expected, Change); 11] = [
    ("vdi: parent's uuid", Refused("vdi-parent"), |i| i[0x1B8] = 1),
    ("vdi: link's uuid", Refused("vdi-parent"), |i| i[0x1A8 + 15] = 1),
    ("vdi: differencing", Refused("vdi-parent"), |i| le32(i, 0x4C, 4)),
    ("vdi: type 7", Refused("vdi-type"), |i| le32(i, 0x4C, 7)),
    ("vdi: size of all ones", Malformed("disk_size"), |i| le64(i, 0x170, u64::MAX)),
    ("vdi: more than its blocks", Malformed("blocks_in_image"), |i| le64(i, 0x170, 11 << 20)),
    ("vdi: too many blocks", Malformed("blocks_in_image"), |i| le32(i, 0x180, u32::MAX)),
    ("vdi: block size 0", Malformed("block_size"), |i| le32(i, 0x178, 0)),
    ("vdi: map behind the data", Refused("table-overlap"), |i| le32(i, 0x154, 0xFFFF_FE00)),
    ("vdi: 512 TiB in 1 MiB", Refused("vdi-truncated"), |i| {
        le64(i, 0x170, 0x1FFF_FF80 << 20);
        le32(i, 0x180, 0x1FFF_FF80);
        le32(i, 0x158, 0xFFFF_FE00);
    }),
    ("vdi: blocks behind the end", Refused("vdi-truncated"), |i| le32(i, 0x184, 1)),
];

const PARALLELS: [(&str, Expected, Change); 7] = [
    ("parallels: 512 TiB in 64 entries", Refused("parallels-bat"), |i| le64(i, 36, 1 << 40)),
    ("parallels: no tracks", Malformed("tracks at 28"), |i| le32(i, 28, 0)),
    ("parallels: sectors of all ones", Malformed("nb_sectors at 36"), |i| le64(i, 36, u64::MAX)),
    ("parallels: data over the BAT", Refused("table-overlap"), |i| {
        le32(i, 32, 1024);
        i.resize(64 + 4096, 0);
        le32(i, 48, 1);
    }),
    ("parallels: data behind the end", Refused("parallels-truncated"), |i| le32(i, 48, u32::MAX)),
    ("parallels: extension behind the end", Refused("parallels-truncated"), |i| le64(i, 56, u64::MAX)),
    ("parallels: BAT behind the end", Refused("parallels-truncated"), |i| i.truncate(100)),
];

const LUKS: [(&str, Expected, Change); 7] = [
    ("luks: payload behind the end", Refused("luks-truncated"), |i| i.truncate(1 << 20)),
    ("luks: without its payload", Refused("luks-detached"), |i| be32(i, 104, 0)),
    ("luks: version 3", Malformed("version at 6"), |i| i[7] = 3),
    ("luks: no JSON", Malformed("JSON area"), |i| {
        *i = luks2("dynamic");
        i[4096] = 0;
    }),
    ("luks: a re-encryption under way", Refused("luks-reencrypting"), |i| {
        *i = luks2_of(
            r#""0":{"type":"crypt","offset":"1048576","size":"524288","flags":["in-reencryption"]},
            "1":{"type":"crypt","offset":"1572864","size":"dynamic"},
            "2":{"type":"crypt","offset":"1048576","size":"dynamic","flags":["backup-previous"]}"#,
        );
    }),
    ("luks: first header damaged", Refused("luks-header"), |i| {
        *i = luks2("dynamic");
        i[24] ^= 1;
    }),
    ("luks: segment behind the end", Refused("luks-truncated"), |i| *i = luks2("1099511627776")),
];

const ISO: [(&str, Expected, Change); 4] = [
    ("iso: cut short", Refused("iso9660-truncated"), |i| i.truncate(300 << 10)),
    ("iso: no primary descriptor", Malformed("no primary volume descriptor"), |i| i[0x8000] = 3),
    ("iso: sizes disagree", Malformed("the volume space size"), |i| i[0x8050] ^= 1),
    ("iso and dmg", Refused("format-ambiguous"), |i| i.extend_from_slice(&dmg()[70_000..])),
];

const GPT: [(&str, Expected, Change); 3] = [
    ("raw: MBR partition behind the end", Refused("partition-beyond-end"), |i| {
        *i = mbr();
        le32(i, 458, 100_000);
    }),
    ("raw: partition behind the end, far back in its table", Refused("raw-truncated"), |i| {
        *i = gpt_long(1152, 100_000);
    }),
    ("raw: partition behind the end", Refused("raw-truncated"), |i| {
        le64(i, 1024 + 40, 100_000);
        let sum = crate::crc::crc32(&i[1024..1024 + 128 * 128]);
        le32(i, 512 + 88, sum);
        gpt_checksum(i, 512);
    }),
];

const OTHERS: [(&str, Expected, Change); 24] = [
    ("dmg", Refused("format-unsupported"), |i| *i = dmg()),
    ("bochs", Refused("format-unsupported"), |i| put(i, 0, b"Bochs Virtual HD Image")),
    ("cloop", Refused("format-unsupported"), |i| put(i, 0, b"#!/bin/sh\n#V2.0 Format\n")),
    ("ova", Refused("archive"), |i| *i = tar("vm.ovf")),
    ("tar", Refused("archive"), |i| *i = tar("disk.raw")),
    ("zip", Refused("archive"), |i| put(i, 0, b"PK\x03\x04")),
    ("7z", Refused("archive"), |i| put(i, 0, b"7z\xbc\xaf\x27\x1c")),
    ("lzip", Refused("archive"), |i| put(i, 0, b"LZIP\x01")),
    ("lzma", Refused("archive"), |i| put(i, 0, b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff")),
    ("gzip", Refused("wrapped"), |i| put(i, 0, b"\x1f\x8b\x08\0")),
    ("xz", Refused("wrapped"), |i| put(i, 0, b"\xfd7zXZ\0")),
    ("zstd", Refused("wrapped"), |i| put(i, 0, b"\x28\xb5\x2f\xfd\x20\x07")),
    ("zstd behind a skippable frame", Refused("wrapped"), |i| {
        put(i, 0, b"\x53\x2a\x4d\x18\x04\0\0\0abcd\x28\xb5\x2f\xfd\x20\x07");
    }),
    ("gzip that claims too much", Told("decompression-bomb"), |i| {
        put(i, 0, b"\x1f\x8b\x08\0");
        put(i, 69_996, &[0xFF; 4]);
    }),
    ("zstd that claims too much", Told("decompression-bomb"), |i| {
        put(i, 0, b"\x28\xb5\x2f\xfd\xc0\0\0\0\0\0\0\0\0\x10");
    }),
    ("zstd with a large window", Told("decompression-memory"), |i| put(i, 0, b"\x28\xb5\x2f\xfd\0\xff")),
    ("xz without an index", Told("xz-index"), |i| put(i, 0, b"\xfd7zXZ\0")),
    ("bzip2", Refused("wrapped"), |i| put(i, 0, b"BZh91AY&SY")),
    ("lz4", Refused("wrapped"), |i| put(i, 0, b"\x04\x22\x4d\x18\x64")),
    ("lz4 legacy", Refused("wrapped"), |i| put(i, 0, b"\x02\x21\x4c\x18")),
    ("vmdk: COWD", Refused("vmdk-extent-alone"), |i| put(i, 0, b"COWD\x01\0\0\0\x03\0\0\0\0\x80\0\0")),
    ("vmdk: seSparse", Refused("vmdk-extent-alone"), |i| {
        put(i, 0, b"\xbe\xba\xfe\xca\0\0\0\0\x01\0\0\0\x02\0\0\0\0\x80\0\0\0\0\0\0");
    }),
    ("gzip and ISO", Refused("format-ambiguous"), |i| {
        put(i, 0, b"\x1f\x8b\x08\0");
        put(i, 0x8001, b"CD001");
    }),
    ("UDF and MBR", Refused("format-ambiguous"), |i| {
        *i = super::udf(2048);
        put(i, 0, &mbr()[..512]);
    }),
];

/// Descriptors that are all there is, and name files.
fn descriptors() -> Vec<(&'static str, String)> {
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

//! qcow2, qcow and QED that are refused.

use super::Change;
use super::Expected::{self, Malformed, Refused};
use crate::samples::disks::{be32, be64, gpt, le32, le64, put, vpc_footer};

fn backing(image: &mut [u8], name: &str) {
    be64(image, 8, 1024);
    be32(image, 16, name.len() as u32);
    put(image, 1024, name.as_bytes());
}

pub(super) const QCOW2: [(&str, Expected, Change); 43] = [
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

pub(super) const QCOW: [(&str, Expected, Change); 10] = [
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

pub(super) const QED: [(&str, Expected, Change); 7] = [
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

//! Everything else that is refused.

use super::Change;
use super::Expected::{self, Malformed, Refused, Told};
use crate::samples::disks::{be32, dmg, gpt_checksum, gpt_long, le32, le64, luks2, luks2_of, mbr, put, tar, udf};

pub(super) const VDI: [(&str, Expected, Change); 11] = [
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

pub(super) const PARALLELS: [(&str, Expected, Change); 7] = [
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

pub(super) const LUKS: [(&str, Expected, Change); 7] = [
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

pub(super) const ISO: [(&str, Expected, Change); 4] = [
    ("iso: cut short", Refused("iso9660-truncated"), |i| i.truncate(300 << 10)),
    ("iso: no primary descriptor", Malformed("no primary volume descriptor"), |i| i[0x8000] = 3),
    ("iso: sizes disagree", Malformed("the volume space size"), |i| i[0x8050] ^= 1),
    ("iso and dmg", Refused("format-ambiguous"), |i| i.extend_from_slice(&dmg()[70_000..])),
];

pub(super) const GPT: [(&str, Expected, Change); 3] = [
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

pub(super) const OTHERS: [(&str, Expected, Change); 24] = [
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
        *i = udf(2048);
        put(i, 0, &mbr()[..512]);
    }),
];

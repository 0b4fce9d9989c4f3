//! VHDX that are refused.

use super::Change;
use super::Expected::{self, Malformed, Refused};
use crate::samples::disks::{VHDX_PARENT, le32, le64, put, vhdx_checksum};

const VHDX_TABLE: usize = 2 << 20;
const VHDX_ITEM: usize = VHDX_TABLE + 65_536;

fn regions(image: &mut [u8], at: usize, bytes: &[u8]) {
    for table in [0x3_0000, 0x4_0000] {
        put(image, table + at, bytes);
        vhdx_checksum(image, table, 65_536);
    }
}

pub(super) const VHDX: [(&str, Expected, Change); 25] = [
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
    ("vhdx: block behind the end", Refused("vhdx-truncated"), |i| put(i, 3 << 20, &((4_u64 << 20) | 6).to_le_bytes())),
    ("vhdx: BAT behind the end", Refused("vhdx-truncated"), |i| i.truncate((4 << 20) - 512)),
];

//! Disks whose tables are as large as may be read: what takes the most memory and time.

use super::disks::{be32, be64, descriptor, gpt, gpt_checksum, le32, le64, put, vhdx, vhdx_checksum, vmdk_with};
use crate::crc::crc32;

/// Name and disk; the hazard that refuses it, if it is not legal.
pub type Large = (&'static str, Vec<u8>, Option<&'static str>);

/// All of them.
#[must_use]
pub fn large() -> Vec<Large> {
    vec![
        ("xz of 131072 blocks", xz(1 << 17), Some("wrapped")),
        ("gpt of 8192 entries", gpt_entries(), None),
        ("vhdx of 2047 regions", vhdx_regions(), None),
        ("vhdx of 2047 items", vhdx_items(), None),
        ("vmdk with a descriptor of 1 MiB", vmdk_lines(&format!("ddb.{} = \"x\"\n", "long".repeat(20))), None),
        ("vmdk with a descriptor of parents", vmdk_lines(&format!("{}\n", "parentCID".repeat(8))), Some("vmdk-parent")),
        ("luks with headers of 1 MiB", luks(), None),
        ("qcow2 with an L1 and an L2 table of 2 MiB", qcow2(), None),
    ]
}

/// An xz of so many blocks that hold zeros: its index is as long as is read.
#[must_use]
pub fn xz(blocks: usize) -> Vec<u8> {
    const FLAGS: [u8; 2] = [0, 0];
    /// Bytes of a block, and what it is said to hold: numbers of one and of six bytes.
    const RECORD: [u8; 7] = [8, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
    let mut image = b"\xfd7zXZ\0\0\0".to_vec();
    image.extend_from_slice(&crc32(&FLAGS).to_le_bytes());
    image.resize(12 + blocks * 8, 0);
    let mut index = vec![0];
    let mut count = blocks;
    while count >= 0x80 {
        index.push(count as u8 | 0x80);
        count >>= 7;
    }
    index.push(count as u8);
    for _ in 0..blocks {
        index.extend_from_slice(&RECORD);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    let sum = crc32(&index);
    index.extend_from_slice(&sum.to_le_bytes());
    image.extend_from_slice(&index);
    let mut footer = (index.len() as u32 / 4 - 1).to_le_bytes().to_vec();
    footer.extend_from_slice(&FLAGS);
    image.extend_from_slice(&crc32(&footer).to_le_bytes());
    image.extend_from_slice(&footer);
    image.extend_from_slice(b"YZ");
    image
}

fn gpt_entries() -> Vec<u8> {
    const ENTRIES: usize = 8192;
    let mut image = gpt(512);
    for number in 1..ENTRIES {
        image.copy_within(1024..1024 + 128, 1024 + number * 128);
    }
    le32(&mut image, 512 + 80, ENTRIES as u32);
    let sum = crc32(&image[1024..1024 + ENTRIES * 128]);
    le32(&mut image, 512 + 88, sum);
    gpt_checksum(&mut image, 512);
    image
}

fn vhdx_regions() -> Vec<u8> {
    let mut image = vhdx(2);
    for table in [0x3_0000, 0x4_0000] {
        le32(&mut image, table + 8, 2047);
        for number in 2..2047 {
            let entry = table + 16 + number * 32;
            put(&mut image, entry, &[number as u8, (number >> 8) as u8, 7]);
            le64(&mut image, entry + 16, (number as u64 + 8) << 20);
            le32(&mut image, entry + 24, 1 << 20);
        }
        vhdx_checksum(&mut image, table, 65_536);
    }
    image
}

fn vhdx_items() -> Vec<u8> {
    let mut image = vhdx(2);
    let table = 2 << 20;
    put(&mut image, table + 10, &2047_u16.to_le_bytes());
    for number in 5..2047 {
        put(&mut image, table + 32 + number * 32, &[number as u8, (number >> 8) as u8, 7]);
    }
    image
}

/// A descriptor of 1 MiB that ends in as many of these lines as fit.
fn vmdk_lines(line: &str) -> Vec<u8> {
    const SECTORS: usize = 2048;
    let text = descriptor("monolithicSparse", &["RW 32768 SPARSE \"disk.vmdk\""], &[]);
    let mut image = vmdk_with(&text);
    image.resize((1 + SECTORS + 128) * 512, 0);
    let lines = (SECTORS * 512 - 1 - text.len()) / line.len();
    put(&mut image, 512 + text.len(), line.repeat(lines).as_bytes());
    le64(&mut image, 36, SECTORS as u64);
    le64(&mut image, 56, SECTORS as u64 + 1);
    le64(&mut image, 64, SECTORS as u64 + 2);
    image
}

fn luks() -> Vec<u8> {
    const HEADER: usize = 1 << 20;
    let mut image = vec![0; 4 << 20];
    let segment = "\"1\":{\"offset\":\"3145728\",\"size\":\"512\"},";
    let segments = segment.repeat((HEADER - 8192) / segment.len());
    let json = format!("{{\"segments\":{{{segments}\"0\":{{\"offset\":\"3145728\",\"size\":\"512\"}}}}}}");
    for (at, magic) in [(0, b"LUKS\xba\xbe\0\x02"), (HEADER, b"SKUL\xba\xbe\0\x02")] {
        put(&mut image, at, magic);
        be64(&mut image, at + 8, HEADER as u64);
        put(&mut image, at + 72, b"sha256");
        put(&mut image, at + 4096, json.as_bytes());
        crate::luks::seal(&mut image[at..at + HEADER]);
    }
    image
}

fn qcow2() -> Vec<u8> {
    const CLUSTER: usize = 2 << 20;
    let mut image = vec![0; 4 * CLUSTER];
    put(&mut image, 0, &super::qcow2()[..112]);
    be32(&mut image, 20, 21);
    be32(&mut image, 36, CLUSTER as u32 / 8);
    be64(&mut image, 40, 2 * CLUSTER as u64);
    be64(&mut image, 48, CLUSTER as u64);
    for entry in 0..CLUSTER / 8 {
        be64(&mut image, 2 * CLUSTER + entry * 8, 3 * CLUSTER as u64);
        be64(&mut image, 3 * CLUSTER + entry * 8, 3 * CLUSTER as u64);
    }
    image
}

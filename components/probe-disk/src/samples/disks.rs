//! One image of each kind, as the usual tool makes it.

use crate::crc::{crc32, crc32c_without};

pub(super) fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn be32(image: &mut [u8], at: usize, value: u32) {
    put(image, at, &value.to_be_bytes());
}

pub(super) fn be64(image: &mut [u8], at: usize, value: u64) {
    put(image, at, &value.to_be_bytes());
}

pub(super) fn le32(image: &mut [u8], at: usize, value: u32) {
    put(image, at, &value.to_le_bytes());
}

pub(super) fn le64(image: &mut [u8], at: usize, value: u64) {
    put(image, at, &value.to_le_bytes());
}

/// A qcow of 1 GiB as qemu-img creates it.
#[must_use]
pub fn qcow() -> Vec<u8> {
    let mut image = vec![0; 48 + 512 * 8];
    put(&mut image, 0, b"QFI\xfb\0\0\0\x01");
    be64(&mut image, 24, 1 << 30);
    (image[32], image[33]) = (12, 9);
    be64(&mut image, 40, 48);
    image
}

/// A version 3 qcow2 of 1 GiB as qemu-img creates it.
#[must_use]
pub fn qcow2() -> Vec<u8> {
    let mut image = vec![0; 0x3_0010];
    put(&mut image, 0, b"QFI\xfb\0\0\0\x03");
    be32(&mut image, 20, 16);
    be64(&mut image, 24, 1 << 30);
    be32(&mut image, 36, 2);
    be64(&mut image, 40, 0x3_0000);
    be64(&mut image, 48, 0x1_0000);
    be32(&mut image, 56, 1);
    be32(&mut image, 96, 4);
    be32(&mut image, 100, 104);
    image
}

/// A QED of 1 GiB.
#[must_use]
pub fn qed() -> Vec<u8> {
    let mut image = vec![0; 5 * 65_536];
    put(&mut image, 0, b"QED\0");
    le32(&mut image, 4, 65_536);
    le32(&mut image, 8, 4);
    le32(&mut image, 12, 1);
    le64(&mut image, 40, 65_536);
    le64(&mut image, 48, 1 << 30);
    image
}

/// The text of a VMDK's descriptor: create type, extent lines, further lines.
#[must_use]
pub(super) fn descriptor(kind: &str, extents: &[&str], more: &[&str]) -> String {
    let extents = extents.join("\n");
    let more = more.join("\n");
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n# Extent description\n\
         {extents}\n\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n{more}\n"
    )
}

const VMDK_SECTORS: u64 = 32_768;

fn vmdk_header(flags: u32, descriptor: &str, directory: u64) -> Vec<u8> {
    let mut image = vec![0; 128 * 512];
    put(&mut image, 0, b"KDMV");
    le32(&mut image, 4, if flags & 1 << 16 == 0 { 1 } else { 3 });
    le32(&mut image, 8, flags);
    le64(&mut image, 12, VMDK_SECTORS);
    le64(&mut image, 20, 128);
    le64(&mut image, 28, 1);
    le64(&mut image, 36, 20);
    le32(&mut image, 44, 512);
    le64(&mut image, 56, directory);
    le64(&mut image, 64, 128);
    put(&mut image, 73, b"\n \r\n");
    image[77] = (flags >> 16 & 1) as u8;
    put(&mut image, 512, descriptor.as_bytes());
    image
}

/// A monolithicSparse VMDK of 16 MiB with the given descriptor.
#[must_use]
pub(super) fn vmdk_with(descriptor: &str) -> Vec<u8> {
    vmdk_header(3, descriptor, 26)
}

/// A monolithicSparse VMDK of 16 MiB.
#[must_use]
pub fn vmdk() -> Vec<u8> {
    vmdk_with(&descriptor("monolithicSparse", &["RW 32768 SPARSE \"disk.vmdk\""], &[]))
}

/// A streamOptimized VMDK of 16 MiB with its footer.
#[must_use]
pub fn vmdk_stream() -> Vec<u8> {
    let text = descriptor("streamOptimized", &["RDONLY 32768 SPARSE \"disk.vmdk\""], &[]);
    let flags = 3 | 1 << 16 | 1 << 17;
    let mut image = vmdk_header(flags, &text, u64::MAX);
    let footer = vmdk_header(flags, &text, 27)[..512].to_vec();
    let mut marker = vec![0; 512];
    le64(&mut marker, 0, 1);
    le32(&mut marker, 12, 3);
    image.extend_from_slice(&marker);
    image.extend_from_slice(&footer);
    image.extend_from_slice(&[0; 512]);
    image
}

/// A dynamic VDI of 10 MiB.
#[must_use]
pub fn vdi() -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    put(&mut image, 0, b"<<< QEMU VM Virtual Disk Image >>>\n");
    put(&mut image, 0x40, b"\x7f\x10\xda\xbe\x01\0\x01\0");
    le32(&mut image, 0x48, 0x180);
    le32(&mut image, 0x4C, 1);
    le32(&mut image, 0x154, 512);
    le32(&mut image, 0x158, 1 << 20);
    le32(&mut image, 0x168, 512);
    le64(&mut image, 0x170, 10 << 20);
    le32(&mut image, 0x178, 1 << 20);
    le32(&mut image, 0x180, 10);
    image
}

/// Writes a VHD structure's checksum at `at`, over `length` bytes from `from`.
pub(super) fn vpc_checksum(image: &mut [u8], from: usize, length: usize, at: usize) {
    be32(image, from + at, 0);
    let sum: u32 = image[from..from + length].iter().map(|byte| u32::from(*byte)).sum();
    be32(image, from + at, !sum);
}

/// A VHD footer of `size` bytes and a type.
#[must_use]
pub fn vpc_footer(size: u64, kind: u32) -> Vec<u8> {
    let mut footer = vec![0; 512];
    put(&mut footer, 0, b"conectix\0\0\0\x02\0\x01\0\0");
    be64(&mut footer, 16, if kind == 2 { u64::MAX } else { 512 });
    put(&mut footer, 28, b"win \0\x06\0\x02Wi2k");
    be64(&mut footer, 40, size);
    be64(&mut footer, 48, size);
    put(&mut footer, 56, &[1, 0, 4, 17]);
    be32(&mut footer, 60, kind);
    put(&mut footer, 68, b"unique-unique-16");
    vpc_checksum(&mut footer, 0, 512, 64);
    footer
}

/// A fixed VHD of 1 MiB.
#[must_use]
pub fn vpc_fixed() -> Vec<u8> {
    let mut image = vec![7; 1 << 20];
    image.extend_from_slice(&vpc_footer(1 << 20, 2));
    image
}

/// A VHD of 16 MiB that is not fixed, of a type.
#[must_use]
pub(super) fn vpc_of_type(kind: u32) -> Vec<u8> {
    let footer = vpc_footer(16 << 20, kind);
    let mut image = footer.clone();
    image.resize(2048, 0);
    put(&mut image, 512, b"cxsparse\xff\xff\xff\xff\xff\xff\xff\xff");
    be64(&mut image, 512 + 16, 1536);
    be32(&mut image, 512 + 24, 0x1_0000);
    be32(&mut image, 512 + 28, 8);
    be32(&mut image, 512 + 32, 2 << 20);
    vpc_checksum(&mut image, 512, 1024, 36);
    // No block is allocated.
    image[1536..1536 + 8 * 4].fill(0xFF);
    image.extend_from_slice(&footer);
    image
}

/// A dynamic VHD of 16 MiB.
#[must_use]
pub fn vpc() -> Vec<u8> {
    vpc_of_type(3)
}

const VHDX_BAT: [u8; 16] = *b"\x66\x77\xC2\x2D\x23\xF6\x00\x42\x9D\x64\x11\x5E\x9B\xFD\x4A\x08";
const VHDX_METADATA: [u8; 16] = *b"\x06\xA2\x7C\x8B\x90\x47\x9A\x4B\xB8\xFE\x57\x5F\x05\x0F\x88\x6E";
/// Items of a VHDX's metadata region, as they are stored.
const VHDX_ITEMS: [([u8; 16], &[u8]); 5] = [
    (*b"\x37\x67\xA1\xCA\x36\xFA\x43\x4D\xB3\xB6\x33\xF0\xAA\x44\xE7\x6B", &[0, 0, 0, 2, 0, 0, 0, 0]),
    (*b"\x24\x42\xA5\x2F\x1B\xCD\x76\x48\xB2\x11\x5D\xBE\xD8\x3B\xF4\xB8", &[0, 0, 0, 1, 0, 0, 0, 0]),
    (*b"\x1D\xBF\x41\x81\x6F\xA9\x09\x47\xBA\x47\xF2\x33\xA8\xFA\xAB\x5F", &[0, 2, 0, 0]),
    (*b"\xC7\x48\xA3\xCD\x5D\x44\x71\x44\x9C\xC9\xE9\x88\x52\x51\xC5\x56", &[0, 2, 0, 0]),
    (*b"\xAB\x12\xCA\xBE\xE6\xB2\x23\x45\x93\xEF\xC3\x09\xE0\x00\xC7\x46", b"unique-unique-16"),
];
/// The parent locator item.
pub(super) const VHDX_PARENT: [u8; 16] = *b"\x2D\x5F\xD3\xA8\x0B\xB3\x4D\x45\xAB\xF7\xD3\xD8\x48\x34\xAB\x0C";

/// Writes the CRC-32C of a VHDX structure of `length` bytes at `at`.
pub(super) fn vhdx_checksum(image: &mut [u8], at: usize, length: usize) {
    let sum = crc32c_without(&image[at..at + length], 4);
    le32(image, at + 4, sum);
}

/// A VHDX of 16 MiB, with the metadata at a multiple of 1 MiB and the BAT behind it or, if that is 3 MiB, before it.
#[must_use]
pub fn vhdx(metadata_mib: u64) -> Vec<u8> {
    let bat_mib = if metadata_mib == 3 { 2 } else { metadata_mib + 1 };
    let mut image = vec![0; (metadata_mib.max(bat_mib) as usize + 1) << 20];
    put(&mut image, 0, b"vhdxfile");
    for (number, at) in [0x1_0000, 0x2_0000].into_iter().enumerate() {
        put(&mut image, at, b"head");
        le64(&mut image, at + 8, 7 + number as u64);
        put(&mut image, at + 66, &[1, 0]);
        le32(&mut image, at + 68, 1 << 20);
        le64(&mut image, at + 72, 1 << 20);
        vhdx_checksum(&mut image, at, 4096);
    }
    for at in [0x3_0000, 0x4_0000] {
        put(&mut image, at, b"regi");
        le32(&mut image, at + 8, 2);
        for (number, (guid, mib)) in [(VHDX_BAT, bat_mib), (VHDX_METADATA, metadata_mib)].into_iter().enumerate() {
            let entry = at + 16 + number * 32;
            put(&mut image, entry, &guid);
            le64(&mut image, entry + 16, mib << 20);
            le32(&mut image, entry + 24, 1 << 20);
            le32(&mut image, entry + 28, 1);
        }
        vhdx_checksum(&mut image, at, 65_536);
    }
    let table = (metadata_mib as usize) << 20;
    put(&mut image, table, b"metadata\0\0\x05\0");
    for (number, (guid, value)) in VHDX_ITEMS.into_iter().enumerate() {
        let (entry, item) = (table + 32 + number * 32, 65_536 + number * 16);
        put(&mut image, entry, &guid);
        le32(&mut image, entry + 16, item as u32);
        le32(&mut image, entry + 20, value.len() as u32);
        le32(&mut image, entry + 24, 4);
        put(&mut image, table + item, value);
    }
    image
}

/// A Parallels image of 64 MiB, of the extended format or the old one.
#[must_use]
pub fn parallels(extended: bool) -> Vec<u8> {
    let mut image = vec![0; 64 + 64 * 4];
    put(&mut image, 0, if extended { b"WithouFreSpacExt" } else { b"WithoutFreeSpace" });
    le32(&mut image, 16, 2);
    le32(&mut image, 28, 2048);
    le32(&mut image, 32, 64);
    le64(&mut image, 36, 131_072);
    image
}

/// A LUKS 1 of 1 MiB.
#[must_use]
pub fn luks1() -> Vec<u8> {
    let mut image = vec![0; (2 << 20) + (1 << 20)];
    put(&mut image, 0, b"LUKS\xba\xbe\0\x01aes");
    put(&mut image, 40, b"xts-plain64");
    put(&mut image, 72, b"sha256");
    be32(&mut image, 104, 4096);
    be32(&mut image, 108, 64);
    image
}

/// A LUKS 2 of 1 MiB whose segment has the given size.
#[must_use]
pub fn luks2(size: &str) -> Vec<u8> {
    luks2_of(&format!(r#""0":{{"type":"crypt","offset":"1048576","size":"{size}","iv_tweak":"0"}}"#))
}

/// A LUKS 2 of 2 MiB in all with these segments, in JSON.
#[must_use]
pub fn luks2_of(segments: &str) -> Vec<u8> {
    const HEADER: usize = 16_384;
    let mut image = vec![0; 2 << 20];
    for (at, magic) in [(0, b"LUKS\xba\xbe\0\x02"), (HEADER, b"SKUL\xba\xbe\0\x02")] {
        put(&mut image, at, magic);
        be64(&mut image, at + 8, HEADER as u64);
        be64(&mut image, at + 16, 3);
        put(&mut image, at + 72, b"sha256");
        be64(&mut image, at + 256, at as u64);
        put(&mut image, at + 4096, format!(r#"{{"keyslots":{{}},"segments":{{{segments}}}}}"#).as_bytes());
        crate::luks::seal(&mut image[at..at + HEADER]);
    }
    image
}

/// Primary, boot record, Joliet and terminator, as genisoimage writes them, in a file of 400 KiB.
#[must_use]
pub fn iso() -> Vec<u8> {
    let mut image = vec![0; 400 << 10];
    for (number, kind) in [1, 0, 2, 255].into_iter().enumerate() {
        let at = 0x8000 + number * 2048;
        put(&mut image, at, &[kind]);
        put(&mut image, at + 1, b"CD001\x01");
    }
    image[0x8028..0x8048].fill(b' ');
    put(&mut image, 0x8028, b"SAMPLE_1");
    le32(&mut image, 0x8050, 200);
    be32(&mut image, 0x8054, 200);
    put(&mut image, 0x8080, &[0, 8, 8, 0]);
    put(&mut image, 0x8807, b"EL TORITO SPECIFICATION");
    image[0x8847] = 33;
    put(&mut image, 0x9058, b"%/E");
    put(&mut image, 33 * 2048, b"\x01");
    put(&mut image, 33 * 2048 + 30, b"\x55\xaa\x88");
    image
}

/// A UDF volume of 600 KiB without anything of ISO 9660, with sectors of a size.
#[must_use]
pub fn udf(sector: usize) -> Vec<u8> {
    let mut image = vec![0; (600 << 10).max(257 * sector)];
    for (number, mark) in [b"BEA01", b"NSR03", b"TEA01"].into_iter().enumerate() {
        put(&mut image, 0x8001 + number * sector.max(2048), mark);
    }
    let anchor = 256 * sector;
    put(&mut image, anchor, &[2, 0, 3, 0]);
    le32(&mut image, anchor + 12, 256);
    image[anchor + 4] = 2 + 3 + 1;
    image
}

/// A raw disk of 1 MiB with one partition in an MBR.
#[must_use]
pub fn mbr() -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    put(&mut image, 446, &[0x80, 0, 2, 0, 0x83, 0, 0, 0, 64, 0, 0, 0, 0, 4, 0, 0]);
    put(&mut image, 510, b"\x55\xaa");
    image
}

/// A raw disk of 4 MiB with a GPT for sectors of a size.
#[must_use]
pub fn gpt(sector: usize) -> Vec<u8> {
    let mut image = vec![0; 4 << 20];
    put(&mut image, 446, &[0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    put(&mut image, 510, b"\x55\xaa");
    let last = (image.len() / sector - 1) as u64;
    let entries = 2 * sector;
    put(&mut image, entries, b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b");
    le64(&mut image, entries + 32, 64);
    le64(&mut image, entries + 40, 127);
    put(&mut image, sector, b"EFI PART\0\0\x01\0\x5c\0\0\0");
    le64(&mut image, sector + 24, 1);
    le64(&mut image, sector + 32, last);
    le64(&mut image, sector + 40, 34);
    le64(&mut image, sector + 48, last - 1);
    le64(&mut image, sector + 72, 2);
    le32(&mut image, sector + 80, 128);
    le32(&mut image, sector + 84, 128);
    let sum = crc32(&image[entries..entries + 128 * 128]);
    le32(&mut image, sector + 88, sum);
    gpt_checksum(&mut image, sector);
    image
}

/// A disk of 4 MiB with a GPT of so many entries, whose last one ends in sector `end`.
pub(super) fn gpt_long(entries: usize, end: u64) -> Vec<u8> {
    let mut image = gpt(512);
    let last = 1024 + (entries - 1) * 128;
    image.copy_within(1024..1024 + 128, last);
    le64(&mut image, last + 40, end);
    le32(&mut image, 512 + 80, entries as u32);
    let sum = crc32(&image[1024..last + 128]);
    le32(&mut image, 512 + 88, sum);
    gpt_checksum(&mut image, 512);
    image
}

/// Writes the checksum of a GPT header.
pub(super) fn gpt_checksum(image: &mut [u8], sector: usize) {
    le32(image, sector + 16, 0);
    let sum = crc32(&image[sector..sector + 92]);
    le32(image, sector + 16, sum);
}

/// A dmg of 1 MiB: nothing but its trailer says so.
#[must_use]
pub fn dmg() -> Vec<u8> {
    let mut image = vec![1; 70_000];
    let at = image.len();
    image.resize(at + 512, 0);
    put(&mut image, at, b"koly\0\0\0\x04\0\0\x02\0");
    be64(&mut image, at + 0x1EC, 2048);
    image
}

/// A tar with one member of a name.
#[must_use]
pub fn tar(name: &str) -> Vec<u8> {
    let mut image = vec![0; 10_240];
    put(&mut image, 0, name.as_bytes());
    put(&mut image, 257, b"ustar\x0000");
    image
}

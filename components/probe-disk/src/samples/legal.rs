//! Disks that are never refused, each with its format and virtual size.

use super::disks::{
    be32, be64, descriptor, gpt, iso, le32, luks1, luks2, mbr, parallels, put, qcow, qcow2, qed, udf, vdi, vhdx, vmdk,
    vmdk_stream, vmdk_with, vpc, vpc_checksum, vpc_fixed, vpc_of_type,
};

/// A disk that is never refused.
#[derive(Clone, Debug)]
pub struct Legal {
    /// What is special about it.
    pub name: &'static str,
    /// Its format.
    pub format: &'static str,
    /// Its virtual size.
    pub size: u64,
    /// The hazards that are told nevertheless, none of which refuses it.
    pub told: &'static [&'static str],
    /// The disk.
    pub image: Vec<u8>,
}

/// Of disks by name, or of a format's that have no name of their own: what is told.
const TOLD: [(&str, &[&str]); 19] = [
    ("qcow2: dirty", &["qcow2-dirty"]),
    ("qcow2: snapshots", &["qcow2-snapshots"]),
    ("qcow2: backing format alone", &["qcow2-backing-format"]),
    ("qcow2: encryption header alone", &["qcow2-encryption-header"]),
    ("qcow2: 65 TiB", &["virtual-size-huge"]),
    ("qed: to be checked", &["qed-dirty"]),
    ("qed: table of one cluster", &["qed-table-size"]),
    ("vmdk: dirty", &["vmdk-dirty"]),
    ("parallels: dirty", &["parallels-dirty"]),
    ("luks", &["luks-encrypted"]),
    ("luks: second header damaged", &["luks-encrypted", "luks-second-header"]),
    ("iso: boot catalog missing", &["iso9660-boot-catalog"]),
    ("udf: without an anchor", &["udf-anchor"]),
    ("raw: GPT that is damaged", &["gpt-damaged"]),
    ("raw: GPT that is missing", &["gpt-missing"]),
    ("raw: GPT without its second header", &["gpt-second-missing"]),
    ("raw: MBR with a stale GPT", &["gpt-stale"]),
    ("raw: stale GPT alone", &["gpt-stale"]),
    ("iso: hybrid with a GPT that is damaged", &["gpt-damaged"]),
];

/// All of them.
#[must_use]
pub fn legal() -> Vec<Legal> {
    let mut all = Vec::new();
    let mut add =
        |name: &'static str, format: &'static str, size, mut image: Vec<u8>, change: &dyn Fn(&mut Vec<u8>)| {
            change(&mut image);
            let told = TOLD.iter().find(|(of, _)| *of == name || (*of == format && !name.contains(':')));
            all.push(Legal { name, format, size, told: told.map_or(&[], |(_, told)| *told), image });
        };
    const GIB: u64 = 1 << 30;
    add("qcow", "qcow", GIB, qcow(), &|_| {});
    add("qcow2", "qcow2", GIB, qcow2(), &|_| {});
    add("qcow2: compat 0.10", "qcow2", GIB, qcow2(), &|i| {
        be32(i, 4, 2);
        i[72..112].fill(0);
    });
    add("qcow2: dirty", "qcow2", GIB, qcow2(), &|i| be64(i, 72, 1));
    add("qcow2: extended L2", "qcow2", GIB, qcow2(), &|i| {
        be64(i, 72, 16);
        be32(i, 36, 4);
        i.resize(0x3_0020, 0);
    });
    add("qcow2: zstd", "qcow2", GIB, qcow2(), &|i| {
        be64(i, 72, 8);
        be32(i, 100, 112);
        i[104] = 1;
    });
    add("qcow2: lazy refcounts and bitmaps", "qcow2", GIB, qcow2(), &|i| {
        be64(i, 80, 1);
        be64(i, 88, 1);
        be32(i, 104, 0x2385_2875);
        be32(i, 108, 24);
    });
    add("qcow2: feature names", "qcow2", GIB, qcow2(), &|i| {
        be32(i, 104, 0x6803_F857);
        be32(i, 108, 336);
    });
    add("qcow2: unknown extension", "qcow2", GIB, qcow2(), &|i| {
        be32(i, 104, 0x1234_5678);
        be32(i, 108, 7);
    });
    add("qcow2: snapshots", "qcow2", GIB, qcow2(), &|i| {
        be32(i, 60, 3);
        be64(i, 64, 0x2_0000);
    });
    add("qcow2: backing format alone", "qcow2", GIB, qcow2(), &|i| {
        be32(i, 104, 0xE279_2ACA);
        be32(i, 108, 5);
    });
    add("qcow2: encryption header alone", "qcow2", GIB, qcow2(), &|i| {
        be32(i, 104, 0x0537_BE77);
        be32(i, 108, 16);
    });
    add("qcow2: 65 TiB", "qcow2", 65 << 40, qcow2(), &|i| {
        be32(i, 20, 21);
        be64(i, 24, 65 << 40);
        be32(i, 36, 130);
        be64(i, 40, 2 << 21);
        be64(i, 48, 1 << 21);
        i.resize((2 << 21) + 130 * 8, 0);
    });
    add("qcow2: size of no whole sectors", "qcow2", GIB - 512, qcow2(), &|i| be64(i, 24, GIB - 1));
    add("qcow2: size 0", "qcow2", 0, qcow2(), &|i| {
        be64(i, 24, 0);
        be32(i, 36, 0);
    });
    for order in 0..=6 {
        add("qcow2: refcounts of every width", "qcow2", GIB, qcow2(), &|i| be32(i, 96, order));
    }
    add("qcow2: compatible features to come", "qcow2", GIB, qcow2(), &|i| be64(i, 80, u64::MAX));
    add("qcow2: a GPT's second header in its last cluster", "qcow2", GIB, qcow2(), &|i| {
        i.resize(0x4_0000, 0);
        put(i, 0x4_0000 - 512, &gpt(512)[512..1024]);
    });
    add("qed", "qed", GIB, qed(), &|_| {});
    add("qed: to be checked", "qed", GIB, qed(), &|i| i[16] = 2);
    add("qed: table of one cluster", "qed", GIB, qed(), &|i| i[8] = 1);
    add("qed: format of a backing file", "qed", GIB, qed(), &|i| i[16] = 4);
    add("vmdk", "vmdk", 16 << 20, vmdk(), &|_| {});
    add("vmdk: dirty", "vmdk", 16 << 20, vmdk(), &|i| i[72] = 1);
    add(
        "vmdk: extent line with more blanks",
        "vmdk",
        16 << 20,
        vmdk_with(&descriptor("monolithicSparse", &["RW 32768  SPARSE \t\"a b\""], &[])),
        &|_| {},
    );
    add(
        "vmdk: lines as Windows ends them",
        "vmdk",
        16 << 20,
        vmdk_with(&descriptor("monolithicSparse", &["RW 32768 SPARSE \"a\""], &[]).replace('\n', "\r\n")),
        &|_| {},
    );
    add("vmdk: version 3", "vmdk", 16 << 20, vmdk(), &|i| i[4] = 3);
    add("vmdk: stream", "vmdk", 16 << 20, vmdk_stream(), &|_| {});
    add("vmdk: stream without a footer", "vmdk", 16 << 20, vmdk_stream(), &|i| {
        put(i, 56, &26_u64.to_le_bytes());
        i.truncate(i.len() - 3 * 512);
    });
    add("vdi", "vdi", 10 << 20, vdi(), &|_| {});
    add("vdi: static", "vdi", 10 << 20, vdi(), &|i| {
        i[0x4C] = 2;
        le32(i, 0x184, 10);
        i.resize(11 << 20, 0);
    });
    add("vdi: size of no whole sectors", "vdi", (10 << 20) - 512, vdi(), &|i| {
        put(i, 0x170, &((10_u64 << 20) - 1000).to_le_bytes());
    });
    add("vpc: fixed", "vpc", 1 << 20, vpc_fixed(), &|_| {});
    add("vpc: fixed with a partition table", "vpc", 1 << 20, vpc_fixed(), &|i| put(i, 0, &mbr()[..512]));
    add("vpc: dynamic", "vpc", 16 << 20, vpc(), &|_| {});
    add("vpc: dynamic by geometry", "vpc", 256 * 4 * 17 * 512, vpc_of_type(3), &|i| {
        for at in [0, i.len() - 512] {
            put(i, at + 28, b"qemu");
            vpc_checksum(i, at, 512, 64);
        }
    });
    add("vpc: largest geometry", "vpc", 16 << 20, vpc_of_type(3), &|i| {
        for at in [0, i.len() - 512] {
            put(i, at + 28, b"vpc ");
            put(i, at + 56, &[0xFF, 0xFF, 16, 255]);
            vpc_checksum(i, at, 512, 64);
        }
    });
    for metadata in [2, 3, 9, 12] {
        add("vhdx: metadata anywhere", "vhdx", 16 << 20, vhdx(metadata), &|_| {});
    }
    add("vhdx: one header", "vhdx", 16 << 20, vhdx(2), &|i| i[0x1_0000] = 0);
    add("vhdx: sectors of 4096", "vhdx", 16 << 20, vhdx(2), &|i| put(i, (2 << 20) + 65_536 + 32, &[0, 16]));
    add("vhdx: last block in part", "vhdx", (32 << 20) + 4096, vhdx(2), &|i| {
        put(i, (2 << 20) + 65_536 + 16, &((32_u64 << 20) + 4096).to_le_bytes());
        // The second block of 32 MiB begins in the last sectors, and has no more than the disk.
        put(i, (3 << 20) + 8, &((4_u64 << 20) | 6).to_le_bytes());
        i.resize((4 << 20) + 4096, 0);
    });
    add("vhdx: fixed", "vhdx", 16 << 20, vhdx(2), &|i| i[(2 << 20) + 65_536 + 4] = 1);
    add("vhdx: BAT that is just long enough", "vhdx", 131_040 << 20, vhdx(2), &|i| {
        le32(i, (2 << 20) + 65_536, 1 << 20);
        put(i, (2 << 20) + 65_536 + 16, &(131_040_u64 << 20).to_le_bytes());
    });
    add("parallels", "parallels", 64 << 20, parallels(true), &|_| {});
    add("parallels: old", "parallels", 64 << 20, parallels(false), &|_| {});
    add("parallels: dirty", "parallels", 64 << 20, parallels(true), &|i| le32(i, 44, 0x746F_6E59));
    add("luks 1", "luks", 1 << 20, luks1(), &|_| {});
    add("luks 2", "luks", 1 << 20, luks2("dynamic"), &|_| {});
    add("luks 2 of a size", "luks", 524_288, luks2("524288"), &|_| {});
    add("luks: second header damaged", "luks", 1 << 20, luks2("dynamic"), &|i| i[20_000] ^= 1);
    add("iso", "iso9660", 400 << 10, iso(), &|_| {});
    add("iso: hybrid", "iso9660", 400 << 10, iso(), &|i| put(i, 0, &mbr()[..512]));
    add("iso: hybrid with a GPT", "iso9660", 400 << 10, iso(), &|i| put(i, 0, &gpt(512)[..32_768]));
    add("iso: hybrid with a GPT that is damaged", "iso9660", 400 << 10, iso(), &|i| {
        put(i, 0, &gpt(512)[..32_768]);
        i[600] ^= 1;
    });
    add("iso: boot catalog missing", "iso9660", 400 << 10, iso(), &|i| i[33 * 2048] = 0);
    add("iso: without a boot record", "iso9660", 400 << 10, iso(), &|i| i[0x8807] = 0);
    add("iso: with padding", "iso9660", 500 << 10, iso(), &|i| i.resize(500 << 10, 0));
    add("iso: UDF beside it", "iso9660", 400 << 10, iso(), &|i| {
        for (number, mark) in [b"BEA01", b"NSR02", b"TEA01"].into_iter().enumerate() {
            put(i, 0x8001 + (4 + number) * 2048, mark);
        }
    });
    for sector in [512, 2048, 4096] {
        let image = udf(sector);
        add("udf", "udf", image.len() as u64, image, &|_| {});
    }
    add("udf: without an anchor", "udf", 600 << 10, udf(2048), &|i| i[256 * 2048] = 0);
    add("raw: nothing", "raw", 0, Vec::new(), &|_| {});
    add("raw: one byte", "raw", 512, vec![1], &|_| {});
    add("raw: MBR", "raw", 1 << 20, mbr(), &|_| {});
    add("raw: GPT of 512", "raw", 4 << 20, gpt(512), &|_| {});
    add("raw: GPT of 4096", "raw", 4 << 20, gpt(4096), &|_| {});
    add("raw: GPT of 1152 entries", "raw", 4 << 20, super::disks::gpt_long(1152, 8000), &|_| {});
    add("raw: GPT that has grown", "raw", 5 << 20, gpt(512), &|i| i.resize(5 << 20, 0));
    add("raw: GPT that is damaged", "raw", 4 << 20, gpt(512), &|i| i[1024] ^= 1);
    add("raw: GPT that is missing", "raw", 4 << 20, gpt(512), &|i| i[512] = 0);
    add("raw: GPT without its second header", "raw", (4 << 20) - 512, gpt(512), &|i| i.truncate((4 << 20) - 512));
    // Of a disk that was larger, and has been partitioned anew.
    add("raw: MBR with a stale GPT", "raw", 4 << 20, super::disks::gpt_long(128, 100_000), &|i| {
        put(i, 0, &mbr()[..512]);
    });
    add("raw: stale GPT alone", "raw", 4 << 20, super::disks::gpt_long(128, 100_000), &|i| i[..512].fill(0));
    add("raw: GPT of 4096 behind a damaged one of 512", "raw", 4 << 20, gpt(4096), &|i| {
        put(i, 512, &gpt(512)[512..1024]);
    });
    add("raw: boot sector of FAT", "raw", 1 << 20, mbr(), &|i| {
        put(i, 0, &[0xEB, 0x58, 0x90]);
        (i[12], i[16], i[21]) = (2, 2, 0xF8);
    });
    add("raw: zeros", "raw", 1 << 20, vec![0; 1 << 20], &|_| {});
    add("raw: a magic that is not at its place", "raw", 1 << 20, vec![0; 1 << 20], &|i| put(i, 1, b"QFI\xfb"));
    add("raw: half of an xz magic", "raw", 70_144, vec![9; 70_000], &|i| put(i, 0, b"\xfd7zX"));
    add("raw: gzip with reserved flags", "raw", 70_144, vec![9; 70_000], &|i| put(i, 0, b"\x1f\x8b\x08\xff"));
    add("raw: Java", "raw", 70_144, vec![0; 70_000], &|i| put(i, 0, b"\xca\xfe\xba\xbe"));
    all
}

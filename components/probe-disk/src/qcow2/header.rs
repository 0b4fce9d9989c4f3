//! The header (QEMU `docs/interop/qcow2.rst`, "Header"): 72 bytes in version 2, at least 104 in version 3, big-endian.

use crate::Malformed;

/// Bytes of a version 2 header.
pub(super) const V2_LENGTH: u32 = 72;
/// Bytes of the shortest version 3 header.
const V3_LENGTH: u32 = 104;
/// QEMU: `QCOW_MAX_L1_SIZE`, bytes.
const MAX_L1_BYTES: u64 = 32 << 20;
/// QEMU: `QCOW_MAX_SNAPSHOTS`.
const MAX_SNAPSHOTS: u32 = 65_536;
/// An entry of the snapshot table has at least so many bytes ("Snapshots").
const MIN_SNAPSHOT: u64 = 40;
/// QEMU: a backing name has at most so many bytes.
const MAX_BACKING_NAME: u32 = 1023;
/// Extended L2 needs subclusters of at least a sector: clusters of 16 KiB.
const MIN_EXTENDED_CLUSTER_BITS: u32 = 14;

const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;

/// The fields that matter, checked against their bounds.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) backing_offset: u64,
    pub(super) backing_length: u32,
    pub(super) cluster_bits: u32,
    pub(super) size: u64,
    pub(super) crypt_method: u32,
    pub(super) snapshots: u32,
    pub(super) incompatible: u64,
    pub(super) compatible: u64,
    pub(super) autoclear: u64,
    pub(super) refcount_order: u32,
    pub(super) length: u32,
    pub(super) compression_type: u8,
    l1_entries: u32,
    l1_offset: u64,
    refcount_clusters: u32,
    refcount_offset: u64,
    snapshots_offset: u64,
}

/// A table that the header names.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Where the header has its offset.
    pub(super) field: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Header {
    pub(super) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Rounded down to sectors, as QEMU does.
    pub(super) fn virtual_size(&self) -> u64 {
        self.size & !511
    }

    /// The tables that the header names, those that are there.
    pub(super) fn tables(&self) -> impl Iterator<Item = Table> {
        let refcounts = u64::from(self.refcount_clusters).saturating_mul(self.cluster_size());
        let all = [
            ("L1 table", 40, self.l1_offset, u64::from(self.l1_entries) * 8),
            ("refcount table", 48, self.refcount_offset, refcounts),
            ("snapshot table", 64, self.snapshots_offset, u64::from(self.snapshots) * MIN_SNAPSHOT),
        ];
        all.into_iter().filter(|(.., length)| *length > 0).map(|(name, field, start, length)| Table {
            name,
            field,
            start,
            end: start.saturating_add(length),
        })
    }

    pub(super) fn has_extended_l2(&self) -> bool {
        self.incompatible & INCOMPATIBLE_EXTENDED_L2 != 0
    }
}

pub(super) fn parse(head: &[u8]) -> Result<Header, Malformed> {
    let version = be32(head, 4)?;
    let mut header = Header {
        version,
        backing_offset: be64(head, 8)?,
        backing_length: be32(head, 16)?,
        cluster_bits: be32(head, 20)?,
        size: be64(head, 24)?,
        crypt_method: be32(head, 32)?,
        snapshots: be32(head, 60)?,
        incompatible: 0,
        compatible: 0,
        autoclear: 0,
        refcount_order: 4,
        length: V2_LENGTH,
        compression_type: 0,
        l1_entries: be32(head, 36)?,
        l1_offset: be64(head, 40)?,
        refcount_clusters: be32(head, 56)?,
        refcount_offset: be64(head, 48)?,
        snapshots_offset: be64(head, 64)?,
    };
    check("cluster_bits", 20, u64::from(header.cluster_bits), 9, 21)?;
    if version == 3 {
        header.incompatible = be64(head, 72)?;
        header.compatible = be64(head, 80)?;
        header.autoclear = be64(head, 88)?;
        header.refcount_order = be32(head, 96)?;
        header.length = be32(head, 100)?;
        check("header_length", 100, u64::from(header.length), u64::from(V3_LENGTH), header.cluster_size())?;
        check("refcount_order", 96, u64::from(header.refcount_order), 0, 6)?;
        if header.length > V3_LENGTH {
            header.compression_type = byte(head, 104)?;
        }
        let flagged = header.incompatible & INCOMPATIBLE_COMPRESSION != 0;
        check("compression_type", 104, u64::from(header.compression_type), u64::from(flagged), u64::from(flagged))?;
        if header.has_extended_l2() && header.cluster_bits < MIN_EXTENDED_CLUSTER_BITS {
            return Err(Malformed(format!("qcow2: extended L2 with clusters of {} bytes", header.cluster_size())));
        }
    }
    check("crypt_method", 32, u64::from(header.crypt_method), 0, 2)?;
    check("nb_snapshots", 60, u64::from(header.snapshots), 0, u64::from(MAX_SNAPSHOTS))?;
    check_tables(head, &header)?;
    check_backing_name(&header)?;
    Ok(header)
}

fn check_tables(head: &[u8], header: &Header) -> Result<(), Malformed> {
    let l1_entries = u64::from(header.l1_entries);
    let entry_bits = if header.has_extended_l2() { 4 } else { 3 };
    // One L2 table fills a cluster; each of its entries maps a cluster.
    let bytes_per_l1_entry = 1_u64 << (2 * header.cluster_bits - entry_bits);
    let needed = header.size.div_ceil(bytes_per_l1_entry);
    check("l1_size", 36, l1_entries, needed, MAX_L1_BYTES / 8)?;
    check("size", 24, header.size, 0, i64::MAX as u64)?;
    check("refcount_table_clusters", 56, u64::from(header.refcount_clusters), 1, u64::from(u32::MAX))?;
    for (name, at) in [("l1_table_offset", 40), ("refcount_table_offset", 48), ("snapshots_offset", 64)] {
        let offset = be64(head, at)?;
        if !offset.is_multiple_of(header.cluster_size()) || offset > i64::MAX as u64 {
            return Err(Malformed(format!(
                "qcow2: {name} at {at} is {offset}, expected a multiple of the cluster size"
            )));
        }
    }
    Ok(())
}

fn check_backing_name(header: &Header) -> Result<(), Malformed> {
    if header.backing_offset == 0 {
        return Ok(());
    }
    check("backing_file_offset", 8, header.backing_offset, u64::from(header.length), header.cluster_size())?;
    let room = header.cluster_size() - header.backing_offset;
    check("backing_file_size", 16, u64::from(header.backing_length), 0, room.min(u64::from(MAX_BACKING_NAME)))
}

fn check(name: &str, at: usize, value: u64, least: u64, most: u64) -> Result<(), Malformed> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Malformed(format!("qcow2: {name} at {at} is {value}, expected {least} to {most}")))
}

fn byte(head: &[u8], at: usize) -> Result<u8, Malformed> {
    head.get(at).copied().ok_or_else(truncated)
}

pub(super) fn be32(head: &[u8], at: usize) -> Result<u32, Malformed> {
    head.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(truncated)
}

fn be64(head: &[u8], at: usize) -> Result<u64, Malformed> {
    head.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(truncated)
}

fn truncated() -> Malformed {
    malformed("the file ends inside its header")
}

pub(super) fn malformed(words: &str) -> Malformed {
    Malformed(format!("qcow2: {words}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{put32, put64, sample};
    use super::*;

    #[test]
    fn a_field_out_of_bounds_is_named_with_its_offset() {
        let cases: [(&str, usize, u32); 10] = [
            ("cluster_bits", 20, 8),
            ("cluster_bits", 20, 22),
            ("cluster_bits", 20, u32::MAX),
            ("crypt_method", 32, 3),
            ("l1_size", 36, 1),
            ("l1_size", 36, (4 << 20) + 1),
            ("refcount_table_clusters", 56, 0),
            ("nb_snapshots", 60, 65_537),
            ("refcount_order", 96, 7),
            ("header_length", 100, 100),
        ];
        for (name, at, value) in cases {
            let mut head = sample();
            put32(&mut head, at, value);
            let words = parse(&head).unwrap_err().0;
            assert!(words.starts_with(&format!("qcow2: {name} at {at} is {value}, expected")), "{words}");
        }
    }

    #[test]
    fn offsets_must_be_aligned_and_positive() {
        for (at, value) in [(40, 0x3_0001), (48, 1 << 63), (64, 7), (24, u64::MAX)] {
            let mut head = sample();
            put64(&mut head, at, value);
            assert!(parse(&head).is_err(), "{at}");
        }
    }

    #[test]
    fn the_compression_type_must_agree_with_its_bit() {
        let mut head = sample();
        put32(&mut head, 100, 112);
        head[104] = 1;
        assert!(parse(&head).is_err());
        put64(&mut head, 72, 1 << 3);
        assert_eq!(parse(&head).unwrap().compression_type, 1);
        head[104] = 0;
        assert!(parse(&head).is_err());
    }

    #[test]
    fn extended_l2_needs_large_clusters_and_twice_the_table() {
        let mut head = sample();
        put64(&mut head, 72, 1 << 4);
        put32(&mut head, 36, 4);
        assert!(parse(&head).unwrap().has_extended_l2());
        put32(&mut head, 36, 3);
        assert!(parse(&head).is_err());
        put32(&mut head, 36, 1 << 20);
        put32(&mut head, 20, 13);
        assert!(parse(&head).is_err());
    }

    #[test]
    fn every_truncation_is_an_error_and_none_a_panic() {
        let head = sample();
        for length in 8..104 {
            assert!(parse(&head[..length]).is_err(), "{length}");
        }
    }
}

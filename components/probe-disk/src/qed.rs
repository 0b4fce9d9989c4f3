//! QED (QEMU `docs/interop/qed_spec.rst`, "Header"): 64 bytes, little-endian.

use crate::detect::Mark;
use crate::fields::Fields;
use crate::verdict::quoted;
use crate::view::Stop;
use crate::{Malformed, Verdict, View, table};

const HEADER: usize = 64;
/// "cluster_size: must be a power of 2 in range [2^12, 2^26]".
const CLUSTER: (u64, u64) = (1 << 12, 1 << 26);
/// "table_size: must be a power of 2 in range [1, 16]", clusters.
const TABLE: (u64, u64) = (1, 16);
/// QEMU: a backing name has at most so many bytes.
const MAX_BACKING_NAME: u64 = 1023;

const BACKING_FILE: u64 = 1;
const NEED_CHECK: u64 = 1 << 1;
const KNOWN: u64 = 7;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, b"QED\0", "QED")
}

struct Header {
    cluster: u64,
    table: u64,
    header: u64,
    features: u64,
    l1_offset: u64,
    size: u64,
    backing_offset: u32,
    backing_length: u32,
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let header = parse(&Fields::new("qed", "header", 0, view.at(0, HEADER as u64)?))?;
    let mut verdict = Verdict::new("qed", Some(header.size));
    verdict.detail("cluster-size", header.cluster);
    if header.features & BACKING_FILE != 0 || header.backing_offset != 0 || header.backing_length != 0 {
        let length = u64::from(header.backing_length).min(MAX_BACKING_NAME);
        let name = quoted(view.held(u64::from(header.backing_offset), length));
        let message = format!("backing file {name}, features {:#x} at 16, offset at 56", header.features);
        verdict.refuse("qed-backing-file", message);
    }
    if header.table == 1 {
        verdict.warn("qed-table-size", "tables of one cluster at 8, which are legal and which QEMU does not open");
    }
    if header.features & NEED_CHECK != 0 {
        verdict.warn("qed-dirty", format!("not closed cleanly: features {:#x} at 16", header.features));
    }
    if header.features & !KNOWN != 0 {
        verdict.refuse("qed-unknown-feature", format!("unknown features {:#x} at 16", header.features));
    }
    let end = header.l1_offset.saturating_add(header.table * header.cluster);
    if view.ends_before(end) {
        verdict.refuse("qed-truncated", format!("the L1 table named at 40 ends at {end}, behind the end of the file"));
    }
    allocation(&mut verdict, view, &header)?;
    Ok(verdict)
}

/// Whether the file ends before a cluster that the L1 table names, or the last of its L2 tables. An entry of 1 is a cluster of
/// zeros ("Tables").
fn allocation(verdict: &mut Verdict, view: &View, header: &Header) -> Result<(), Stop> {
    let length = header.table * header.cluster;
    let entries = table::read(view, verdict, header.l1_offset, length)?;
    if let Some(end) = table::beyond(view, table::le64(entries).map(|offset| offset.saturating_add(1))) {
        verdict.refuse(
            "qed-truncated",
            format!("the L1 table names an L2 table at {}, behind the end of the file", end - 1),
        );
    }
    let Some(last) = table::le64(entries).rfind(|offset| *offset != 0) else { return Ok(()) };
    let entries = table::read(view, verdict, last, length)?;
    if let Some(end) = table::beyond(view, table::le64(entries).map(|offset| offset.saturating_add(1))) {
        let message = format!("the L2 table at {last} names a cluster at {}, behind the end of the file", end - 1);
        verdict.refuse("qed-truncated", message);
    }
    Ok(())
}

fn parse(fields: &Fields<'_>) -> Result<Header, Malformed> {
    let header = Header {
        cluster: u64::from(fields.le32(4)?),
        table: u64::from(fields.le32(8)?),
        header: u64::from(fields.le32(12)?),
        features: fields.le64(16)?,
        l1_offset: fields.le64(40)?,
        size: fields.le64(48)?,
        backing_offset: fields.le32(56)?,
        backing_length: fields.le32(60)?,
    };
    let power = |name: &str, at, value: u64, (least, most)| {
        fields.check(name, at, value, least, most)?;
        if value.is_power_of_two() { Ok(()) } else { Err(fields.wrong(name, at, &value.to_string(), "a power of two")) }
    };
    power("cluster_size", 4, header.cluster, CLUSTER)?;
    power("table_size", 8, header.table, TABLE)?;
    fields.check("header_size", 12, header.header, 1, u64::from(u32::MAX) / header.cluster)?;
    let entries = header.table * header.cluster / 8;
    // One table of tables of clusters.
    let most = entries.saturating_mul(entries).saturating_mul(header.cluster).min(i64::MAX as u64);
    fields.check("image_size", 48, header.size, 0, most)?;
    if !header.size.is_multiple_of(512) {
        return Err(fields.wrong("image_size", 48, &header.size.to_string(), "a multiple of 512"));
    }
    if !header.l1_offset.is_multiple_of(header.cluster) || header.l1_offset < header.header * header.cluster {
        let expected = "a multiple of the cluster size behind the header";
        return Err(fields.wrong("l1_table_offset", 40, &header.l1_offset.to_string(), expected));
    }
    Ok(header)
}

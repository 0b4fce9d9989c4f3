//! qcow version 1 (QEMU `block/qcow.c`, `QCowHeader`): 48 bytes, big-endian.

use crate::detect::Mark;
use crate::fields::Fields;
use crate::verdict::quoted;
use crate::view::Stop;
use crate::{Malformed, Verdict, View, table};

const HEADER: usize = 48;
/// QEMU: a backing name has at most so many bytes.
const MAX_BACKING_NAME: u64 = 1023;
/// QEMU: the L1 table has at most `INT_MAX` bytes.
const MAX_L1_BYTES: u64 = i32::MAX as u64;
/// `QCOW_CRYPT_NONE` and `QCOW_CRYPT_AES`.
const MAX_CRYPT: u64 = 1;

pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, b"QFI\xfb\0\0\0\x01", "qcow")
        // Version 0 is nothing that QEMU opens, and 4 and above nothing that anybody specified.
        .or_else(|| Mark::find(head, 0, b"QFI\xfb", "qcow of an unknown version"))
        .filter(|_| !matches!(head.get(4..8), Some([0, 0, 0, 2 | 3])))
}

struct Header {
    backing_offset: u64,
    backing_length: u32,
    size: u64,
    crypt: u32,
    l1_offset: u64,
    l1_bytes: u64,
    cluster_bits: u8,
    l2_bits: u8,
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let head = view.at(0, HEADER as u64)?;
    let header = parse(&Fields::new("qcow", "header", 0, head))?;
    let mut verdict = Verdict::new("qcow", Some(header.size & !511));
    verdict.detail("version", 1);
    verdict.detail("cluster-size", 1_u64 << header.cluster_bits);
    if header.backing_offset != 0 {
        let name = quoted(view.held(header.backing_offset, u64::from(header.backing_length)));
        verdict.refuse("qcow-backing-file", format!("backing file {name} at offset {}", header.backing_offset));
    }
    if header.crypt != 0 {
        verdict.refuse("qcow-encrypted", format!("encrypted: method {} at 36", header.crypt));
    }
    if header.l1_offset < HEADER as u64 {
        let message = format!("the L1 table at {}, named at 40, lies over the header", header.l1_offset);
        verdict.refuse("table-overlap", message);
    }
    let end = header.l1_offset.saturating_add(header.l1_bytes);
    if view.ends_before(end) {
        verdict.refuse("qcow-truncated", format!("the L1 table named at 40 ends at {end}, behind the end of the file"));
    }
    allocation(&mut verdict, view, &header)?;
    Ok(verdict)
}

/// `QCOW_OFLAG_COMPRESSED`.
const COMPRESSED: u64 = 1 << 63;

/// Whether the file ends before a cluster that the L1 table names, or the last of its L2 tables.
fn allocation(verdict: &mut Verdict, view: &View, header: &Header) -> Result<(), Stop> {
    let entries = table::read(view, verdict, header.l1_offset, header.l1_bytes)?;
    if let Some(end) = table::beyond(view, table::be64(entries).map(|offset| offset.saturating_add(1))) {
        verdict.refuse(
            "qcow-truncated",
            format!("the L1 table names an L2 table at {}, behind the end of the file", end - 1),
        );
    }
    let Some(last) = table::be64(entries).rfind(|offset| *offset != 0) else { return Ok(()) };
    let entries = table::read(view, verdict, last, 8 << header.l2_bits)?;
    // The size of what is compressed stands above its offset.
    let compressed = (1_u64 << (63 - header.cluster_bits)) - 1;
    let offset = |entry: u64| if entry & COMPRESSED == 0 { entry } else { entry & compressed };
    if let Some(end) = table::beyond(view, table::be64(entries).map(|entry| offset(entry).saturating_add(1))) {
        let message = format!("the L2 table at {last} names a cluster at {}, behind the end of the file", end - 1);
        verdict.refuse("qcow-truncated", message);
    }
    Ok(())
}

fn parse(fields: &Fields<'_>) -> Result<Header, Malformed> {
    fields.check("version", 4, u64::from(fields.be32(4)?), 1, 1)?;
    let header = Header {
        backing_offset: fields.be64(8)?,
        backing_length: fields.be32(16)?,
        size: fields.be64(24)?,
        cluster_bits: fields.byte(32)?,
        crypt: fields.be32(36)?,
        l1_offset: fields.be64(40)?,
        l1_bytes: 0,
        l2_bits: fields.byte(33)?,
    };
    let l2_bits = header.l2_bits;
    fields.check("cluster_bits", 32, u64::from(header.cluster_bits), 9, 16)?;
    fields.check("l2_bits", 33, u64::from(l2_bits), 6, 13)?;
    fields.check("crypt_method", 36, u64::from(header.crypt), 0, MAX_CRYPT)?;
    fields.check("size", 24, header.size, 2, i64::MAX as u64)?;
    // One entry of the L1 table maps a whole L2 table.
    let entries = header.size.div_ceil(1 << (header.cluster_bits + l2_bits));
    fields.check("size", 24, entries, 1, MAX_L1_BYTES / 8)?;
    if header.backing_offset != 0 {
        fields.check("backing_file_size", 16, u64::from(header.backing_length), 0, MAX_BACKING_NAME)?;
    }
    Ok(Header { l1_bytes: entries * 8, ..header })
}

#[cfg(test)]
mod tests {
    use crate::samples;

    #[test]
    fn fields_out_of_bounds_are_named() {
        for (at, byte, name) in
            [(32, 8, "cluster_bits"), (32, 17, "cluster_bits"), (33, 5, "l2_bits"), (33, 14, "l2_bits")]
        {
            let mut image = samples::qcow();
            image[at] = byte;
            let words = samples::settled(&image).unwrap_err();
            assert!(words.0.contains(&format!("{name} at {at} is {byte}, expected")), "{}", words.0);
        }
    }

    #[test]
    fn versions_that_nobody_specified_are_malformed() {
        for version in [0, 4, 0x0103, u32::MAX] {
            let mut image = samples::qcow();
            image[4..8].copy_from_slice(&version.to_be_bytes());
            assert!(samples::settled(&image).unwrap_err().0.contains("version at 4 is"), "{version}");
        }
    }
}

//! ISO 9660 (ECMA-119 §8 "Volume descriptors"), with Joliet and El Torito. A volume descriptor set begins at sector 16 of
//! 2048 bytes; the 32 KiB before it may hold anything, a partition table among others ("hybrid").

mod descriptors;

use crate::detect::{FIRST_READ, Mark};
use crate::raw::partition_table;
use crate::view::Stop;
use crate::{Verdict, View};
use descriptors::{MARK, MARK_OFFSET, SET, STEP, Scan, malformed, scan};

/// Bytes of a boot catalog's validation and initial entry.
const CATALOG: u64 = 64;

/// Whether there is a volume descriptor where the first one stands.
pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    Mark::find(head, MARK_OFFSET, MARK, "ISO 9660")
}

pub(crate) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let volume = match scan(view.at(0, FIRST_READ)?)? {
        Scan::Done(volume) => volume,
        Scan::Further => match scan(view.at(0, SET)?)? {
            Scan::Done(volume) => volume,
            Scan::Further => return Err(malformed("the file ends inside the volume descriptors").into()),
        },
    };
    let Some(primary) = &volume.primary else { return Err(malformed("there is no primary volume descriptor").into()) };
    let volume_size = u64::from(primary.blocks) * u64::from(primary.block_size);
    let mut verdict = Verdict::new("iso9660", view.size());
    verdict.detail("volume-id", &primary.identifier);
    verdict.detail("volume-size", volume_size);
    verdict.detail("block-size", primary.block_size);
    verdict.detail("joliet", volume.joliet);
    if view.ends_before(volume_size) {
        let message = format!(
            "the volume has {} blocks of {} bytes at {:#x}, which is {volume_size} bytes, and the file {}",
            primary.blocks,
            primary.block_size,
            primary.at + 80,
            view.size().unwrap_or_default()
        );
        verdict.refuse("iso9660-truncated", message);
    }
    if let Some(version) = volume.udf {
        verdict.detail("udf", version);
    }
    partition_table(view, &mut verdict, false)?;
    if let Some(block) = volume.boot_catalog {
        verdict.detail("el-torito", format!("boot catalog at block {block}"));
        boot_catalog(view, &mut verdict, block)?;
    }
    Ok(verdict)
}

/// The boot catalog's validation entry and initial entry (El Torito 1.0, figures 3 and 4).
fn boot_catalog(view: &View, verdict: &mut Verdict, block: u32) -> Result<(), Stop> {
    let offset = u64::from(block) * STEP as u64;
    if view.ends_before(offset.saturating_add(STEP as u64)) {
        verdict
            .warn("iso9660-boot-catalog", format!("the boot catalog at block {block} lies behind the end of the file"));
        return Ok(());
    }
    // It may lie before what a source without ranges has shown.
    let Some(catalog) = view.ahead(offset, CATALOG)? else { return Ok(()) };
    if catalog.first() != Some(&1) || catalog.get(30..32) != Some(&[0x55, 0xAA]) {
        verdict.warn("iso9660-boot-catalog", format!("there is no boot catalog at block {block}"));
        return Ok(());
    }
    let platform = match catalog.get(1) {
        Some(0) => "x86",
        Some(1) => "powerpc",
        Some(2) => "mac",
        Some(0xEF) => "efi",
        _ => "unknown",
    };
    verdict.detail("boot-platform", platform);
    verdict.detail("boot-entry", if catalog.get(32) == Some(&0x88) { "bootable" } else { "not bootable" });
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::descriptors::{EL_TORITO, FIRST};
    use super::*;
    use crate::{Request, Severity};

    /// Primary, boot record, Joliet and terminator, as genisoimage writes them, in a file of 400 KiB.
    pub(crate) fn sample() -> Vec<u8> {
        let mut head = vec![0; 65_536];
        for (number, kind) in [1, 0, 2, 255].into_iter().enumerate() {
            let at = FIRST + number * STEP;
            head[at] = kind;
            head[at + 1..at + 6].copy_from_slice(MARK);
            head[at + 6] = 1;
        }
        head[FIRST + 40..FIRST + 72].fill(b' ');
        head[FIRST + 40..FIRST + 48].copy_from_slice(b"SAMPLE_1");
        put_both(&mut head, 200);
        head[FIRST + 128..FIRST + 132].copy_from_slice(&[0, 8, 8, 0]);
        let boot = FIRST + STEP;
        head[boot + 7..boot + 30].copy_from_slice(EL_TORITO);
        head[boot + 71] = 33;
        let joliet = FIRST + 2 * STEP;
        head[joliet + 88..joliet + 91].copy_from_slice(b"%/E");
        head
    }

    const FILE: u64 = 400 << 10;

    fn put_both(head: &mut [u8], blocks: u32) {
        head[FIRST + 80..FIRST + 84].copy_from_slice(&blocks.to_le_bytes());
        head[FIRST + 84..FIRST + 88].copy_from_slice(&blocks.to_be_bytes());
    }

    fn seen(head: &[u8], size: Option<u64>) -> View {
        let mut view = View::new(size);
        view.answer(Request::At { offset: 0, len: head.len() as u32 }, head.to_vec());
        view
    }

    fn verdict(head: &[u8], size: Option<u64>) -> Verdict {
        let mut view = seen(head, size);
        // The boot catalog.
        if let Err(Stop::Need(request)) = inspect(&view) {
            view.refuse(request);
        }
        inspect(&view).unwrap()
    }

    fn words(head: &[u8]) -> String {
        match inspect(&seen(head, Some(head.len() as u64))) {
            Err(Stop::Malformed(why)) => why.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_descriptors_say_is_shown() {
        let verdict = verdict(&sample(), Some(FILE));
        assert_eq!((verdict.format, verdict.virtual_size), ("iso9660", Some(FILE)));
        assert!(verdict.hazards.is_empty(), "{:?}", verdict.hazards);
        let details: Vec<_> = verdict.details.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            details,
            [
                ("volume-id", "SAMPLE_1"),
                ("volume-size", "409600"),
                ("block-size", "2048"),
                ("joliet", "true"),
                ("el-torito", "boot catalog at block 33"),
            ]
        );
    }

    #[test]
    fn a_hybrid_is_an_iso_with_a_partition_table() {
        let mut head = sample();
        head[510..512].copy_from_slice(&[0x55, 0xAA]);
        (head[450], head[458]) = (0x17, 200);
        let mbr = verdict(&head, Some(FILE));
        assert!(mbr.format == "iso9660" && mbr.details.contains(&("partition-table", "mbr".to_owned())));
        head[512..520].copy_from_slice(b"EFI PART");
        let gpt = verdict(&head, Some(FILE));
        assert!(gpt.details.contains(&("partition-table", "gpt".to_owned())));
        assert_eq!(gpt.hazards[0].code, "gpt-damaged", "its checksum is missing");
    }

    #[test]
    fn udf_beside_it_is_named() {
        let mut head = sample();
        for (number, mark) in [b"BEA01", b"NSR02", b"TEA01"].into_iter().enumerate() {
            let at = FIRST + (4 + number) * STEP;
            head[at + 1..at + 6].copy_from_slice(mark);
        }
        assert!(verdict(&head, Some(FILE)).details.contains(&("udf", "NSR02".to_owned())));
    }

    #[test]
    fn a_volume_larger_than_its_file_is_refused() {
        let sized = |size| verdict(&sample(), size);
        assert_eq!(sized(Some(FILE - 1)).hazards[0].code, "iso9660-truncated");
        assert_eq!(sized(Some(FILE - 1)).hazards[0].severity, Severity::Refuse);
        assert_eq!(sized(Some(65_536)).hazards[1].code, "iso9660-boot-catalog");
        assert!(sized(Some(FILE + 1)).hazards.is_empty(), "more is padding");
        let unknown = sized(None);
        assert!(unknown.hazards.is_empty() && unknown.virtual_size.is_none());
        let mut head = sample();
        put_both(&mut head, u32::MAX);
        let most = verdict(&head, Some(u64::MAX));
        assert_eq!(most.details[1].1, (u64::from(u32::MAX) * 2048).to_string());
    }

    #[test]
    fn what_contradicts_itself_is_malformed() {
        let cases: [(usize, u8, &str); 5] = [
            (FIRST + 80, 201, "the volume space size at 0x8050 is 201 in little and 200 in big endian"),
            (FIRST + 131, 1, "the logical block size at 0x8080 is 2048 in little and 2049 in big endian"),
            (FIRST, 3, "there is no primary volume descriptor"),
            (FIRST + STEP + 1, b'X', "the volume descriptor at 0x8800 has no mark"),
            (FIRST + 3 * STEP, 3, "the volume descriptor at 0xa000 has no mark"),
        ];
        for (at, byte, expected) in cases {
            let mut head = sample();
            head[at] = byte;
            assert!(words(&head).contains(expected), "{}", words(&head));
        }
        let mut head = sample();
        head[FIRST + 128..FIRST + 132].copy_from_slice(&[0, 3, 3, 0]);
        assert!(words(&head).contains("is 768, expected 512, 1024 or 2048"));
    }

    #[test]
    fn a_long_set_is_walked_and_an_endless_one_is_not() {
        let mut head = sample();
        head.resize(FIRST + 70 * STEP, 0);
        for number in 3..70 {
            let at = FIRST + number * STEP;
            head[at..at + 6].copy_from_slice(b"\x03CD001");
        }
        assert!(words(&head).contains("more than 64 volume descriptors"));
        let short = &head[..65_536];
        let rest = Request::At { offset: 65_536, len: SET as u32 - 65_536 };
        assert_eq!(inspect(&seen(short, None)), Err(Stop::Need(rest)));
        assert!(words(short).contains("the file ends inside the volume descriptors"));
        head[FIRST + 63 * STEP] = 255;
        assert_eq!(verdict(&head, None).format, "iso9660");
    }
}

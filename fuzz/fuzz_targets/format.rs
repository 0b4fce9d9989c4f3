//! Whatever a disk holds, each format's function and the choice between them end without a panic, within their bounds of
//! requests and bytes (which the driver asserts), and with the same answer by range and in order.

use probe_disk::samples::{Access, Sparse, drive, drive_with};
use probe_disk::{FORMATS, Malformed, Severity, Verdict, inspect_as};

/// The input is a disk as pieces; its last byte says whether its checksums are made to hold.
pub fn fuzz(name: &str, input: &[u8]) {
    let Some((flags, input)) = input.split_last() else { return };
    let Some(mut disk) = Sparse::decode(input) else { return };
    if flags & 1 == 1 {
        disk.repair();
    }
    let format = FORMATS.iter().find(|format| format.name == name).expect("a format");
    for access in [Access::Ranged, Access::InOrder, Access::Unknown, Access::Beginning(65_536)] {
        within_bounds(&drive_with(&disk, access, |view| inspect_as(format, view)).0);
    }
    let (ranged, in_order) = (drive(&disk, Access::Ranged).0, drive(&disk, Access::InOrder).0);
    within_bounds(&ranged);
    within_bounds(&in_order);
    if let (Ok(ranged), Ok(in_order)) = (ranged, in_order) {
        assert_eq!((ranged.format, refuses(&ranged)), (in_order.format, refuses(&in_order)));
        assert_eq!(ranged.virtual_size, in_order.virtual_size);
    }
}

fn refuses(verdict: &Verdict) -> bool {
    verdict.hazards.iter().any(|hazard| hazard.severity == Severity::Refuse)
}

/// What the `probe` interface demands of an answer.
fn within_bounds(answer: &Result<Verdict, Malformed>) {
    match answer {
        Ok(verdict) => {
            assert!(verdict.hazards.len() <= 64 && verdict.details.len() <= 64);
            assert!(verdict.hazards.iter().all(|hazard| hazard.message.len() <= 1024 && hazard.code.len() <= 64));
        }
        Err(why) => assert!(!why.0.is_empty()),
    }
}

//! Legal disks are never refused, hostile ones always, and what is said depends on the disk alone.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what every test here needs stands in functions of its own"
)]

use std::collections::BTreeSet;

use probe_disk::samples::{Access, Expected, drive, hostile, legal, settled};
use probe_disk::{FORMATS, MAX_BYTES, MAX_REQUESTS, Severity, Verdict};

fn refusals(verdict: &Verdict) -> Vec<&str> {
    let grave = verdict.hazards.iter().filter(|hazard| hazard.severity == Severity::Refuse);
    grave.map(|hazard| hazard.code).collect()
}

#[test]
fn no_legal_disk_is_refused() {
    let all = legal();
    assert!(all.len() >= 60, "{} legal disks", all.len());
    for disk in all {
        for access in [Access::Ranged, Access::InOrder, Access::Unknown] {
            let (verdict, cost) = drive(&disk.image[..], access);
            let verdict = verdict.unwrap_or_else(|why| panic!("{}: {}", disk.name, why.0));
            assert_eq!(refusals(&verdict), [""; 0], "{}: {:?}", disk.name, verdict.hazards);
            assert_eq!(verdict.format, disk.format, "{}", disk.name);
            assert!(cost.requests < MAX_REQUESTS && cost.bytes <= MAX_BYTES, "{}: {cost:?}", disk.name);
            // What only the end of the disk says is not known where nobody says how long it is.
            let known = verdict.virtual_size;
            assert!(
                known == Some(disk.size) || (access == Access::Unknown && known.is_none()),
                "{}: {known:?}",
                disk.name
            );
            let runs = if disk.format == "luks" { "no" } else { "yes" };
            assert!(verdict.details.contains(&("runs-as-it-is", runs.to_owned())), "{}", disk.name);
        }
    }
}

#[test]
fn every_hostile_disk_is_refused_for_what_is_wrong_with_it() {
    let all = hostile();
    let names: BTreeSet<_> = all.iter().map(|disk| disk.name).collect();
    assert_eq!(names.len(), all.len(), "each has a name of its own");
    assert!(all.len() >= 165, "{} hostile disks", all.len());
    for disk in all {
        for access in [Access::Ranged, Access::InOrder, Access::Unknown] {
            let (answer, cost) = drive(&disk.image[..], access);
            match (disk.expected, answer) {
                (Expected::Refused(code), Ok(verdict)) => {
                    let told = refusals(&verdict).contains(&code);
                    // A disk is only known to be too short where its size is known.
                    let unknown = access == Access::Unknown
                        && verdict.hazards.iter().all(|hazard| hazard.severity != Severity::Refuse);
                    let by_length = code.ends_with("-truncated") || code == "vpc-size-differs";
                    assert!(told || (unknown && by_length), "{}: {code} of {:?}", disk.name, verdict.hazards);
                    assert!(verdict.details.contains(&("runs-as-it-is", "no".to_owned())) || unknown, "{}", disk.name);
                }
                (Expected::Malformed(words), Err(why)) => {
                    assert!(why.0.contains(words), "{}: {words} in {}", disk.name, why.0);
                }
                (expected, answer) => panic!("{}: expected {expected:?}, got {answer:?}", disk.name),
            }
            assert!(cost.requests <= MAX_REQUESTS && cost.bytes <= MAX_BYTES, "{}: {cost:?}", disk.name);
        }
    }
}

#[test]
fn every_message_names_where_its_bytes_stand() {
    for disk in hostile() {
        if let Ok(verdict) = settled(&disk.image) {
            for hazard in verdict.hazards {
                assert!(!hazard.message.is_empty() && hazard.message.len() <= 1024, "{}", disk.name);
                // The offset, or the text itself.
                let proves = hazard.message.contains('`') || hazard.message.bytes().any(|byte| byte.is_ascii_digit());
                assert!(proves, "{}: {}", disk.name, hazard.message);
                assert!(
                    hazard.message.is_ascii() && !hazard.message.contains('\n'),
                    "{}: {}",
                    disk.name,
                    hazard.message
                );
                assert!(
                    hazard.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                );
            }
        }
    }
}

/// The virtual size of a disk that was cut short must be that of the whole, or none, or the disk is refused. A format whose
/// size is that of the file follows it, and a disk that has lost its mark at the tail is raw.
#[test]
fn no_disk_that_was_cut_short_has_a_wrong_size() {
    const PLACES: usize = 24;
    for disk in legal().into_iter().filter(|disk| !disk.image.is_empty()) {
        let length = disk.image.len();
        let spread = (0..PLACES).map(|part| length * part / PLACES);
        let near = [1, 2, 4, 8, 16, 48, 64, 72, 104, 511, 512, 513, 1024, 4095, 4096, 65_535, 65_536, length - 1];
        for cut in spread.chain(near).filter(|cut| *cut < length) {
            for access in [Access::Ranged, Access::Unknown] {
                let what = format!("{} cut to {cut} of {length}", disk.name);
                let Ok(verdict) = drive(&disk.image[..cut], access).0 else { continue };
                let by_file = matches!(verdict.format, "raw" | "iso9660" | "udf" | "luks");
                let Some(size) = verdict.virtual_size else { continue };
                let refused = !refusals(&verdict).is_empty();
                if by_file {
                    assert!(size <= (cut as u64).next_multiple_of(512) || size == disk.size, "{what}: {size}");
                } else {
                    assert!(size == disk.size || refused, "{what}: {size}");
                }
            }
        }
    }
}

/// A generator that gives the same numbers every time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

/// Where the formats keep what they are read by, for those that fit.
const PLACES: [(usize, usize); 8] = [
    (0, 128),
    (0, 512),
    (0x140, 0x1C8),
    (512, 2048),
    (0x8000, 0x9810),
    (0x1_0000, 0x3_0100),
    (2 << 20, (2 << 20) + 70_000),
    (0, 4 << 20),
];

#[test]
fn no_mutation_panics_or_costs_more_than_it_may() {
    const SEED: u64 = 0x1BAD_CAFE;
    const ROUNDS: usize = 300;
    /// Large images are copied seldom.
    const LARGE: usize = 1 << 19;
    let mut random = Random(SEED);
    let images = legal().into_iter().map(|disk| disk.image).chain(hostile().into_iter().map(|disk| disk.image));
    for (number, image) in images.filter(|image| !image.is_empty()).enumerate() {
        for round in 0..if image.len() > LARGE { ROUNDS / 10 } else { ROUNDS } {
            let mut mutated = image.clone();
            for _ in 0..=random.below(4) {
                let (from, to) = PLACES[random.below(PLACES.len())];
                let at = from + random.below(to - from);
                let byte = random.below(256) as u8;
                let Some(place) = mutated.get_mut(at) else { continue };
                *place = match random.below(4) {
                    0 => 0,
                    1 => 0xFF,
                    2 => *place ^ (1 << (byte % 8)),
                    _ => byte,
                };
            }
            if random.below(8) == 0 {
                mutated.truncate(random.below(mutated.len()));
            }
            let access = [Access::Ranged, Access::InOrder, Access::Unknown][random.below(3)];
            // The driver asserts that requests and bytes stay within their bounds.
            match drive(&mutated[..], access).0 {
                Ok(verdict) => {
                    assert!(FORMATS.iter().any(|format| format.name == verdict.format));
                    assert!(verdict.hazards.len() <= 64 && verdict.details.len() <= 64);
                }
                Err(why) => assert!(!why.0.is_empty(), "seed {SEED:#x}, image {number}, round {round}"),
            }
        }
    }
}

#[test]
fn a_disk_is_the_same_by_range_and_in_order() {
    for disk in legal() {
        let ranged = drive(&disk.image[..], Access::Ranged).0.unwrap();
        let in_order = drive(&disk.image[..], Access::InOrder).0.unwrap();
        assert_eq!(ranged, in_order, "{}", disk.name);
    }
}

//! Legal disks are never refused, hostile ones always, and what is said depends on the disk alone.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what every test here needs stands in functions of its own"
)]

use std::collections::{BTreeMap, BTreeSet};

use probe_disk::samples::{self, Access, Expected, Long, drive, drive_expecting, hostile, large, legal, settled};
use probe_disk::{FORMATS, MAX_BYTES, MAX_REQUESTS, Severity, Verdict, detect};

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
            let told: Vec<_> = verdict.hazards.iter().map(|hazard| hazard.code).collect();
            // Nor is it known what lies behind the end.
            let unknown = access == Access::Unknown && told.is_empty();
            assert!(told == disk.told || unknown, "{}: {told:?}, expected {:?}", disk.name, disk.told);
            assert!(cost.requests < MAX_REQUESTS && cost.bytes <= MAX_BYTES, "{}: {cost:?}", disk.name);
            // What only the end of the disk says is not known where nobody says how long it is.
            let known = verdict.virtual_size;
            assert!(
                known == Some(disk.size) || (access == Access::Unknown && known.is_none()),
                "{}: {known:?}",
                disk.name
            );
            let unopened = disk.format == "luks" || disk.told.contains(&"qed-table-size");
            let runs = if unopened { "no" } else { "yes" };
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
                    let by_length =
                        code.ends_with("-truncated") || matches!(code, "vpc-size-differs" | "partition-beyond-end");
                    assert!(told || (unknown && by_length), "{}: {code} of {:?}", disk.name, verdict.hazards);
                    assert!(verdict.details.contains(&("runs-as-it-is", "no".to_owned())) || unknown, "{}", disk.name);
                }
                (Expected::Told(code), Ok(verdict)) => {
                    let told = verdict.hazards.iter().any(|hazard| hazard.code == code);
                    // What only its end says is not waited for on a source without ranges: it is refused by its head.
                    assert!(told || access != Access::Ranged, "{}: {code} of {:?}", disk.name, verdict.hazards);
                    assert!(!refusals(&verdict).is_empty(), "{}", disk.name);
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
fn what_is_as_large_as_may_be_is_read_within_its_bounds() {
    for (name, image, refused) in large() {
        for access in [Access::Ranged, Access::InOrder, Access::Unknown] {
            // The driver asserts that requests and bytes stay within their bounds.
            let verdict = drive(&image[..], access).0.unwrap_or_else(|why| panic!("{name}: {}", why.0));
            assert_eq!(refusals(&verdict).first(), refused.as_ref(), "{name}: {:?}", verdict.hazards);
            if name.starts_with("xz") && access == Access::Ranged {
                let size = (1_u64 << 17 << 35).to_string();
                assert!(verdict.details.contains(&("content-size", size)), "{:?}", verdict.details);
            }
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

/// Where a format's mark ends: a disk that is cut before that is raw to everybody.
fn mark_ends(format: &str) -> usize {
    match format {
        "qcow2" | "qcow" | "vhdx" | "vpc" => 8,
        "qed" | "vmdk" => 4,
        "parallels" => 16,
        "luks" => 6,
        "vdi" => 0x44,
        "iso9660" => 0x8006,
        // The second structure, in sectors of 4096.
        "udf" => 0x9006,
        _ => 0,
    }
}

/// The virtual size of a disk that was cut short must be that of the whole, or none, or the disk is refused. A format whose
/// size is that of the file follows it, and a disk that has lost its mark is raw.
#[test]
fn no_disk_that_was_cut_short_has_a_wrong_size() {
    const PLACES: usize = 24;
    for disk in legal().into_iter().filter(|disk| !disk.image.is_empty()) {
        let length = disk.image.len();
        let spread = (0..PLACES).map(|part| length * part / PLACES);
        let near = [1, 2, 4, 8, 16, 48, 64, 72, 104, 511, 512, 513, 1024, 4095, 4096, 65_535, 65_536, length - 1];
        for cut in spread.chain(near).filter(|cut| *cut < length) {
            for access in [Access::Ranged, Access::InOrder, Access::Unknown] {
                let what = format!("{} cut to {cut} of {length}, {access:?}", disk.name);
                let Ok(verdict) = drive(&disk.image[..cut], access).0 else { continue };
                let Some(size) = verdict.virtual_size.filter(|_| refusals(&verdict).is_empty()) else { continue };
                let bytes = cut as u64;
                let right = match (disk.format, verdict.format) {
                    (_, "raw") => {
                        // A fixed VHD has its mark at its end.
                        let lost = cut < mark_ends(disk.format) || disk.name.starts_with("vpc: fixed");
                        size == bytes.next_multiple_of(512) && (disk.format == "raw" || lost)
                    }
                    // Nothing but padding is missing.
                    ("iso9660", "iso9660") => size == bytes && bytes >= 400 << 10,
                    ("udf", "udf") => size == bytes,
                    // The payload goes on to the end of the file, wherever that is; or it has a size of its own.
                    ("luks", "luks") => size == disk.size || disk.size - size == (length - cut) as u64,
                    (format, found) => format == found && size == disk.size,
                };
                assert!(right, "{what}: {verdict:?}");
            }
        }
    }
}

const LONG: u64 = 64 << 20;
/// What the first request asks for.
const FIRST: u64 = 64 << 10;

/// A disk of every format, by which a source without ranges is found out.
fn one_of_each() -> BTreeMap<&'static str, Vec<u8>> {
    let legal = legal().into_iter().map(|disk| disk.image);
    let images = legal.chain(hostile().into_iter().map(|disk| disk.image));
    let mut all = BTreeMap::new();
    for image in images.filter(|image| !image.is_empty()) {
        let Ok(verdict) = settled(&image) else { continue };
        // By its head, if the format has a mark there.
        let by_head = drive_expecting(&Long { head: &image, size: LONG }, Access::InOrder, Some("none"), detect).0;
        if by_head.unwrap().format == verdict.format {
            all.insert(verdict.format, image);
        } else {
            all.entry(verdict.format).or_insert(image);
        }
    }
    all
}

#[test]
fn another_format_than_the_expected_one_ends_a_disk_at_its_head() {
    let all = one_of_each();
    for format in FORMATS {
        let image = &all[format.name];
        // Nothing at its head says that it is one; the others that have nothing there end as soon.
        let at_the_tail = format.name == "dmg";
        let expected = if format.name == "qcow2" { "raw" } else { "qcow2" };
        let disk = Long { head: image, size: LONG };
        for access in [Access::InOrder, Access::Unknown] {
            let (verdict, cost) = drive_expecting(&disk, access, Some(expected), detect);
            let verdict = verdict.unwrap_or_else(|why| panic!("{}: {}", format.name, why.0));
            assert_eq!((cost.requests, cost.flowed), (1, FIRST), "{}", format.name);
            assert_eq!(verdict.format, if at_the_tail { "raw" } else { format.name });
            // What is in a wrapper may be what is expected: such a one is looked at as ever.
            let of_its_own = if format.is_wrapper() { refusals(&verdict).len() - 1 } else { 0 };
            assert_eq!(refusals(&verdict)[of_its_own..], ["tail-not-inspected"], "{}", format.name);
            // The format that it has is no contradiction: that is waited for.
            let cost = drive_expecting(&disk, access, Some(verdict.format), detect).1;
            assert!(cost.requests > 1 || refused_at_its_head(image), "{}", format.name);
        }
        // By range nothing is lost: the verdict is the same, but for what is wrong with a disk that nobody wants.
        let wanted = drive(&image[..], Access::Ranged).0.unwrap();
        assert_eq!(drive_expecting(&image[..], Access::Ranged, Some(expected), detect).0.unwrap(), wanted);
    }
}

fn refused_at_its_head(image: &[u8]) -> bool {
    !refusals(&settled(image).unwrap()).is_empty()
}

#[test]
fn what_is_wrong_with_a_format_that_is_not_expected_is_not_what_is_said() {
    for disk in hostile().into_iter().filter(|disk| matches!(disk.expected, Expected::Malformed(_))) {
        for access in [Access::Ranged, Access::InOrder, Access::Unknown] {
            let verdict = drive_expecting(&disk.image[..], access, Some("none"), detect).0;
            let verdict = verdict.unwrap_or_else(|why| panic!("{}: {}", disk.name, why.0));
            assert!(refusals(&verdict).contains(&"tail-not-inspected"), "{}", disk.name);
            assert_eq!(verdict.virtual_size, None, "{}", disk.name);
        }
    }
}

#[test]
fn what_is_refused_by_its_head_does_not_flow_to_its_end() {
    let mut found = 0;
    for disk in hostile().into_iter().filter(|disk| disk.image.len() as u64 >= 512) {
        // What refuses it stands in its first 64 KiB, and not at its end.
        let head = &disk.image[..disk.image.len().min(FIRST as usize)];
        let long = Long { head, size: LONG };
        let (Ok(ranged), (Ok(verdict), cost)) = (drive(&long, Access::Ranged).0, drive(&long, Access::InOrder)) else {
            continue;
        };
        let by_head =
            |code: &str| refusals(&verdict).contains(&code) && !code.contains("footer") && code != "tail-not-inspected";
        let by_head = matches!(disk.expected, Expected::Refused(code) if by_head(code));
        if by_head && verdict.format != "raw" && refusals(&verdict).contains(&"tail-not-inspected") {
            assert!(cost.flowed <= MAX_BYTES, "{}: {cost:?}", disk.name);
            assert_eq!(ranged.format, verdict.format, "{}", disk.name);
            found += 1;
        }
    }
    assert!(found >= 80, "{found} disks");
    let told = |name: &str| {
        let disk = hostile().into_iter().find(|disk| disk.name == name).unwrap();
        let cost = drive(&Long { head: &disk.image, size: LONG }, Access::InOrder).1;
        assert_eq!((cost.requests, cost.flowed), (1, FIRST), "{name}");
    };
    for name in ["gzip", "xz", "zstd", "bzip2", "lz4", "vpc: differencing", "vpc: type 9", "vmdk: parent file"] {
        told(name);
    }
    // A name that lies far behind, and a footer that nobody has to see any more.
    let mut qcow = samples::qcow();
    qcow[8..16].copy_from_slice(&(60_u64 << 20).to_be_bytes());
    qcow[16..20].copy_from_slice(&5_u32.to_be_bytes());
    let (verdict, cost) = drive(&Long { head: &qcow, size: LONG }, Access::InOrder);
    assert_eq!((refusals(&verdict.unwrap())[0], cost.flowed), ("qcow-backing-file", FIRST));
    let mut stream = samples::vmdk_stream();
    let at = 512 + stream[512..].iter().position(|byte| *byte == 0).unwrap();
    let hint = b"parentFileNameHint=\"x\"";
    stream[at..at + hint.len()].copy_from_slice(hint);
    let (verdict, cost) = drive(&Long { head: &stream[..65_536], size: LONG }, Access::InOrder);
    assert_eq!((refusals(&verdict.unwrap())[0], cost.flowed), ("vmdk-parent", FIRST));
}

/// What only the beginning is shown of was not cut short: nothing of it is said to be missing, and no size is made up.
#[test]
fn what_is_not_shown_of_a_disk_is_not_missing() {
    const SHOWN: u64 = 65_536;
    let (mut seen, mut unseen) = (0, 0);
    let images = legal().into_iter().map(|disk| (disk.name, disk.format, disk.size, disk.image));
    for (name, format, size, mut image) in images {
        let length = image.len() as u64;
        // Of a small one the end is shown, unless there is more.
        let by_file = matches!(format, "raw" | "iso9660" | "udf" | "luks");
        if length <= SHOWN {
            let verdict = drive(&image[..], Access::Beginning(SHOWN)).0.unwrap();
            assert_eq!((verdict.format, verdict.virtual_size), (format, Some(size)), "{name}");
            image.resize(SHOWN as usize + 1, 0);
        }
        let most = image.len() as u64 - 1;
        for shown in
            [SHOWN, SHOWN + 4096, 1 << 20, length / 2, most].into_iter().filter(|at| (SHOWN..=most).contains(at))
        {
            let what = format!("{shown} of {name}");
            let verdict = match drive(&image[..], Access::Beginning(shown)).0 {
                Ok(verdict) => verdict,
                Err(why) => {
                    assert!(why.0.contains("which is not shown of it"), "{what}: {}", why.0);
                    unseen += 1;
                    continue;
                }
            };
            seen += 1;
            let codes: Vec<_> = verdict.hazards.iter().map(|hazard| hazard.code).collect();
            assert!(
                codes.contains(&"tail-not-shown") && !codes.iter().any(|code| code.ends_with("-truncated")),
                "{what}"
            );
            // A mark at the tail is not seen.
            let at_tail = verdict.format == "raw" && matches!(format, "vpc" | "dmg");
            assert!(verdict.format == format || at_tail, "{what}: {}", verdict.format);
            match refusals(&verdict)[..] {
                // LUKS 2 may say it.
                [] if format == "luks" => assert!(verdict.virtual_size.is_none_or(|told| told == size), "{what}"),
                [] => assert_eq!(verdict.virtual_size, (!by_file && !at_tail).then_some(size), "{what}"),
                ["tail-not-inspected"] => assert_eq!((verdict.format, verdict.virtual_size), ("vmdk", None), "{what}"),
                ref codes => panic!("{what}: {codes:?}"),
            }
        }
    }
    assert!(seen > 60 && unseen < seen, "{seen} seen, {unseen} not");
}

/// A disk that is refused for what stands in its beginning is so where nothing else is shown.
#[test]
fn what_is_wrong_at_the_beginning_is_seen_there() {
    for disk in hostile() {
        let mut image = disk.image;
        image.resize(image.len().max(65_537), 0);
        let shown = image.len() as u64 - 1;
        let whole = drive(&image[..], Access::InOrder).0;
        let Ok(verdict) = drive(&image[..], Access::Beginning(shown)).0 else { continue };
        // What the length proves, or the tail, is not known.
        let codes = refusals(&verdict);
        if whole.as_ref().is_ok_and(|whole| whole.format != verdict.format) {
            assert_eq!(verdict.format, "raw", "{}", disk.name);
            continue;
        }
        for code in whole.iter().flat_map(refusals) {
            let elsewhere = code.ends_with("-truncated") || code.contains("footer") || code == "tail-not-inspected";
            let by_length = matches!(code, "vpc-size-differs" | "format-ambiguous" | "partition-beyond-end");
            assert!(codes.contains(&code) || elsewhere || by_length, "{}: {code}, got {codes:?}", disk.name);
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
    const ROUNDS: usize = 150;
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
            let what = format!("seed {SEED:#x}, image {number}, round {round}");
            // The driver asserts that requests and bytes stay within their bounds.
            let [ranged, in_order, _] = [Access::Ranged, Access::InOrder, Access::Unknown].map(|access| {
                let seen = drive(&mutated[..], access).0;
                match &seen {
                    Ok(verdict) => {
                        assert!(FORMATS.iter().any(|format| format.name == verdict.format), "{what}");
                        assert!(verdict.hazards.len() <= 64 && verdict.details.len() <= 64, "{what}");
                    }
                    Err(why) => assert!(!why.0.is_empty(), "{what}"),
                }
                seen
            });
            // Whether its source has ranges says nothing of a disk.
            if let (Ok(ranged), Ok(in_order)) = (ranged, in_order) {
                assert_eq!((ranged.format, ranged.virtual_size), (in_order.format, in_order.virtual_size), "{what}");
                assert_eq!(refusals(&ranged).is_empty(), refusals(&in_order).is_empty(), "{what}");
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

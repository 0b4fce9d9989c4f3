//! The size that a wrapper claims for what is in it is the one that its own tool wrote, and exact only where a checksum over all
//! of it says so.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what every test here needs stands in functions of its own"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use probe_disk::samples::{Access, Cost, drive};

/// What a tool makes of bytes.
fn made(command: &[&str], input: &[u8]) -> Vec<u8> {
    let mut tool = Command::new(command[0]);
    let mut child = tool.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(command[0]);
    let (mut stdin, input) = (child.stdin.take().expect("its input"), input.to_vec());
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("its output");
    writing.join().unwrap().expect("its input");
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// Bytes that do not become less.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// `content-size` and `content-size-exact`, the codes of hazards beside `wrapped`, and the cost.
fn claims(wrapped: &[u8]) -> (String, Option<String>, Vec<&'static str>, Cost) {
    let (verdict, cost) = drive(wrapped, Access::Ranged);
    let verdict = verdict.unwrap();
    let detail = |name: &str| verdict.details.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone());
    let mut codes: Vec<_> = verdict.hazards.iter().map(|hazard| hazard.code).collect();
    assert_eq!(codes.remove(0), "wrapped");
    (detail("content-size").expect("a size"), detail("content-size-exact"), codes, cost)
}

#[test]
fn what_a_tool_has_wrapped_has_the_size_that_its_wrapper_claims() {
    let disk = noise(1_000_003);
    let xz = |options: &[&'static str]| made(&[&["xz", "-0", "-c"], options].concat(), &disk);
    let half = disk.len() / 2;
    let joined = |command: &[&str]| [made(command, &disk[..half]), made(command, &disk[half..])].concat();
    let padded = |zeros: usize| [xz(&[]), vec![0; zeros]].concat();
    let all: Vec<(&str, Vec<u8>, &str, Option<&str>)> = vec![
        ("xz", xz(&[]), "1000003", Some("yes")),
        ("xz of many blocks", xz(&["--block-size=4096"]), "1000003", Some("yes")),
        ("xz without a check", xz(&["--check=none"]), "1000003", Some("yes")),
        ("xz with SHA-256", xz(&["--check=sha256"]), "1000003", Some("yes")),
        ("xz of two streams", joined(&["xz", "-0", "-c"]), "1000003", Some("yes")),
        ("xz with padding", padded(8), "1000003", Some("yes")),
        ("xz of nothing", made(&["xz", "-c"], b""), "0", Some("yes")),
        ("gzip", made(&["gzip", "-c"], &disk), "1000003", Some("no")),
        // Of the last member alone: that is why it is not exact.
        ("gzip of two members", joined(&["gzip", "-c"]), "500002", Some("no")),
        // A pipe says no size beforehand.
        ("zstd", made(&["zstd", "-q", "-c"], &disk), "unknown", None),
        ("zstd of a known size", made(&["zstd", "-q", "-c", "--stream-size=1000003"], &disk), "1000003", Some("no")),
        ("lz4", made(&["lz4", "-q", "-c"], &disk), "unknown", None),
        ("bzip2", made(&["bzip2", "-c"], &disk), "unknown", None),
    ];
    for (what, wrapped, size, exact) in all {
        let (found, is_exact, codes, _) = claims(&wrapped);
        assert_eq!((&*found, is_exact.as_deref()), (size, exact), "{what}");
        assert_eq!(codes, [""; 0], "{what}");
    }
    let mut sized = made(&["lz4", "-q", "-c"], &disk);
    // "C.Size" in the flags, and eight bytes of it.
    sized[4] |= 8;
    sized.splice(6..6, 1_000_003_u64.to_le_bytes());
    let (found, exact, ..) = claims(&sized);
    assert_eq!((&*found, exact.as_deref()), ("1000003", Some("no")));
}

#[test]
fn streams_of_xz_that_cost_too_much_to_see_are_no_reason_to_warn() {
    let stream = made(&["xz", "-0", "-c"], &noise(100_000));
    for (count, known) in [(1, true), (2, true), (3, true), (6, false), (20, false)] {
        let (size, exact, codes, cost) = claims(&stream.repeat(count));
        let expected = if known { (count * 100_000).to_string() } else { "unknown".to_owned() };
        assert_eq!((size, exact.is_some()), (expected, known), "{count} streams, {cost:?}");
        assert_eq!(codes, [""; 0], "{count} streams");
    }
    // Streams that fit into what is read at the end cost nothing.
    let small = made(&["xz", "-0", "-c"], b"little");
    assert_eq!(claims(&small.repeat(6)).0, "36");
}

#[test]
fn an_index_that_does_not_hold_is_told_and_claims_nothing() {
    let whole = made(&["xz", "-0", "-c", "--block-size=65536"], &noise(1 << 20));
    let end = whole.len();
    let index = u32::from_le_bytes(whole[end - 8..end - 4].try_into().unwrap()) as usize * 4 + 4;
    let index_at = end - 12 - index;
    // The footer's mark, its CRC, its flags, its length; the index's indicator, a record, its CRC; the header's flags.
    for at in [end - 1, end - 12, end - 3, end - 8, index_at, index_at + 4, end - 13, 7] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let (size, exact, codes, _) = claims(&damaged);
        assert_eq!((&*size, exact), ("unknown", None), "{at} of {end}");
        assert_eq!(codes, ["xz-index"], "{at} of {end}");
    }
    for cut in [1, 4, 12, 13, 1000] {
        let (size, _, codes, _) = claims(&whole[..end - cut]);
        assert_eq!((&*size, codes), ("unknown", vec!["xz-index"]), "cut by {cut}");
    }
}

#[test]
fn what_claims_too_much_is_told() {
    let zeros = vec![0; 64 << 20];
    // Zeros alone are within what xz does, and far beyond what anybody wants.
    assert_eq!(claims(&made(&["xz", "-1", "-c"], &zeros)).2, [""; 0]);
    let mut gzip = made(&["gzip", "-c"], &zeros[..1 << 20]);
    assert_eq!(claims(&gzip).2, [""; 0]);
    let end = gzip.len();
    gzip[end - 4..].copy_from_slice(&(end as u32 * 1033).to_le_bytes());
    assert_eq!(claims(&gzip).2, ["decompression-bomb"]);
    let window = made(&["zstd", "-q", "-c", "--long=31", "--stream-size=67108864"], &zeros);
    let (size, _, codes, _) = claims(&window);
    assert_eq!(
        (&*size, codes),
        ("67108864", vec!["decompression-bomb"]),
        "a frame as long as its content is its window"
    );
}

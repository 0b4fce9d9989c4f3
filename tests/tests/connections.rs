//! `--source-connections`: the same disk over several connections at once, in order, each of its bytes asked for once, and
//! never a mixture of two disks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::layers::{assert_layout_empty, pull};
use longshore_tests::program::{Ran, import};
use longshore_tests::ranges::{Content, Manner, serve_wide};
use longshore_tests::scratch::{Scratch, attempts, noise};
use longshore_tests::script::{Handler, Script, streamed};

/// Many pieces, however many connections there are, and no whole number of them.
const DISK: usize = (50 << 20) + 12_345;
/// Of one piece at most; what is asked for by fewer bytes is the probe's.
const LEAST_PIECE: u64 = 1 << 20;

fn read(source: &Script, scratch: &Scratch, connections: &str) -> Ran {
    let to = format!("oci:{}:1", scratch.text(&format!("layout-{connections}")));
    let (url, policy) = (source.url("disk.raw"), attempts(scratch, &source.host(), 2));
    import([&*url, &to, "--policy", &policy, "--source-connections", connections, "--report", "-"])
}

/// The bounds of a `bytes=first-last`.
fn bounds(range: &str) -> (u64, u64) {
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    (first.parse().unwrap(), last.parse().unwrap())
}

#[test]
fn the_disk_is_the_same_and_each_byte_is_asked_for_once() {
    let scratch = Scratch::new();
    let disk = noise(DISK);
    let mut digests = Vec::new();
    for connections in ["1", "2", "5", "16"] {
        let (source, asked) = serve_wide(Content::Bytes(disk.clone().into()), Manner::Honest);
        let ran = read(&source, &scratch, connections).done();
        digests.push(ran.report()["image"]["layer_digest"].clone());
        let mut pieces: Vec<(u64, u64)> = asked.ranges().iter().map(|range| bounds(range)).collect();
        pieces.retain(|(first, last)| *first > 0 && last - first >= LEAST_PIECE.min(12_345) - 1);
        pieces.sort_unstable();
        if connections == "1" {
            assert!(pieces.is_empty(), "{pieces:?}");
            continue;
        }
        assert!(pieces.len() > if connections == "2" { 1 } else { 4 }, "{pieces:?}");
        // The first piece is of the opening GET; the others follow without gap or overlap.
        for (one, next) in pieces.iter().zip(pieces.iter().skip(1)) {
            assert_eq!(one.1 + 1, next.0, "{pieces:?}");
        }
        assert_eq!(pieces.last().unwrap().1 + 1, DISK as u64);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    let reference = format!("oci:{}:1", scratch.text("layout-16"));
    assert!(pull(&scratch, "16", &[], &reference).file("disk/disk.raw") == disk, "another disk");
}

/// The opening GET goes on only once three ranges were asked for: a disk that is read in order would never end.
#[test]
fn the_connections_carry_at_the_same_time() {
    let disk: Bytes = noise(DISK).into();
    let (pieces, released) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let shared = (Arc::clone(&pieces), Arc::clone(&released));
    let handler: Handler = Arc::new(move |request| {
        let (disk, (pieces, released)) = (disk.clone(), shared.clone());
        let range = request.headers().get("range").map(|range| bounds(range.to_str().unwrap()));
        Box::pin(async move {
            let mut answer = match range {
                Some((first, last)) => {
                    pieces.fetch_add(usize::from(last - first >= LEAST_PIECE), SeqCst);
                    let part = disk.slice(first as usize..=last as usize);
                    let mut answer = streamed(Some(last + 1 - first), stream::iter([Ok(part)]));
                    *answer.status_mut() = hyper::StatusCode::PARTIAL_CONTENT;
                    let field = format!("bytes {first}-{last}/{DISK}");
                    answer.headers_mut().insert("content-range", field.parse().unwrap());
                    answer
                }
                None => streamed(
                    Some(DISK as u64),
                    stream::once(async move {
                        while pieces.load(SeqCst) < 3 {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                        released.store(true, SeqCst);
                        Ok(disk)
                    }),
                ),
            };
            answer.headers_mut().insert("etag", "\"one\"".parse().unwrap());
            answer.headers_mut().insert("accept-ranges", "bytes".parse().unwrap());
            answer
        })
    });
    let source = Script::start(None, handler);
    read(&source, &Scratch::new(), "4").done();
    assert!(released.load(SeqCst) && pieces.load(SeqCst) > 3);
}

#[test]
fn a_source_without_ranges_is_read_over_one_and_says_so() {
    let scratch = Scratch::new();
    let (source, asked) = serve_wide(Content::Bytes(noise(DISK).into()), Manner::InOrder);
    let ran = read(&source, &scratch, "4").done();
    assert!(ran.stderr.contains("the source offers no ranges"), "{}", ran.stderr);
    assert_eq!(asked.sum(), (1, DISK as u64));
    let ran = read(&source, &scratch, "1").done();
    assert!(!ran.stderr.contains("ranges"), "{}", ran.stderr);
}

#[test]
fn a_piece_of_another_disk_or_of_another_length_ends_it() {
    let cases = [
        (Manner::AnotherTag, 11, "source-changed"),
        (Manner::ConditionFails, 11, "source-changed"),
        (Manner::BreaksOff, 10, "source-truncated"),
    ];
    for (manner, exit, code) in cases {
        let scratch = Scratch::new();
        let (source, _) = serve_wide(Content::Bytes(noise(DISK).into()), manner);
        let ran = read(&source, &scratch, "3");
        ran.failed(exit, code, &[]);
        assert_layout_empty(&scratch.path("layout-3"));
    }
}

#[test]
fn a_number_out_of_bounds_is_refused() {
    for number in ["0", "17", "many"] {
        let ran = import(["disk.raw", "oci:layout:1", "--source-connections", number]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("from 1 to 16"), "{}", ran.stderr);
    }
}

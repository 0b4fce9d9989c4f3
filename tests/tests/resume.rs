//! A source that breaks: what has ranges goes on where it broke and is the same disk, what became another disk never gets into
//! an image, and nobody is asked for ever.

use std::collections::VecDeque;
use std::fs;
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longshore_tests::fixtures::Fixture;
use longshore_tests::layers::{assert_layout_empty, pull};
use longshore_tests::nginx::Nginx;
use longshore_tests::program::{Ran, import, longshore, probe, ran};
use longshore_tests::scratch::{Scratch, attempts, noise, raw};
use longshore_tests::sink;
use longshore_tests::tls::Authority;
use longshore_tests::wire::{Act, Wire};

const DISK: usize = 3 << 20;
const TAG: &str = "\"one\"";

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// So many bytes of what was asked for arrive, then the connection is closed.
    Closes(usize),
    /// So many are sent, then it is reset.
    Resets(usize),
    /// It is closed without an answer.
    Silent,
    /// This status, not to be asked again before a second is over.
    Status(u16),
    /// The rest, under this head.
    Under(Head),
}

/// How a 206 describes itself.
#[derive(Clone, Copy, Debug)]
enum Head {
    AnotherTag,
    AnotherTotal,
    /// It begins that many bytes later than was asked for.
    Later(u64),
    TwoRanges,
    /// It is the whole of another disk, as If-Range has it.
    Whole,
}

/// A server whose requests fare as scripted and then well.
fn faring(disk: &[u8], fates: &[Fate], has_ranges: bool) -> Wire {
    let (disk, fates) = (disk.to_vec(), Mutex::new(fates.iter().copied().collect::<VecDeque<_>>()));
    Wire::start(move |head| {
        let size = disk.len() as u64;
        let first = range(head).map_or(0, |(first, _)| first);
        let last = range(head).map_or(size - 1, |(_, last)| last);
        // What `probe-script` asks for is not the flow's.
        let fate = if last < 4096 { None } else { fates.lock().unwrap().pop_front() };
        let (mut tag, mut total, mut shown, mut status) = (TAG, size, first, "206 Partial Content");
        let mut more = "";
        match fate {
            Some(Fate::Silent) => return vec![],
            Some(Fate::Status(status)) => {
                let answer =
                    format!("HTTP/1.1 {status} No\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
                return vec![Act::Say(answer.into_bytes())];
            }
            Some(Fate::Under(Head::AnotherTag)) => tag = "\"two\"",
            Some(Fate::Under(Head::AnotherTotal)) => total += 1,
            Some(Fate::Under(Head::Later(by))) => shown += by,
            Some(Fate::Under(Head::TwoRanges)) => more = "Content-Range: bytes 0-1/2\r\n",
            Some(Fate::Under(Head::Whole)) => (tag, status) = ("\"two\"", "200 OK"),
            Some(Fate::Closes(_) | Fate::Resets(_)) | None => {}
        }
        let part = &disk[first as usize..=last as usize];
        let is_part = range(head).is_some() && status.starts_with("206");
        let part = if is_part || range(head).is_none() { part } else { &disk };
        let content_range =
            if is_part { format!("Content-Range: bytes {shown}-{last}/{total}\r\n") } else { String::new() };
        let unit = if has_ranges { "Accept-Ranges: bytes\r\n" } else { "" };
        let status = if is_part { status } else { "200 OK" };
        let answer = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nETag: {tag}\r\n{unit}{content_range}{more}Content-Length: {}\r\n\r\n",
            part.len()
        );
        let with = |bytes: usize| [answer.as_bytes(), &part[..bytes.min(part.len())]].concat();
        match fate {
            Some(Fate::Closes(bytes)) => vec![Act::Say(with(bytes))],
            Some(Fate::Resets(bytes)) => vec![Act::Say(with(bytes)), Act::Reset],
            _ => vec![Act::Say(with(usize::MAX))],
        }
    })
}

/// The bounds of the `Range` in a head.
fn range(head: &str) -> Option<(u64, u64)> {
    let (first, last) = field(head, "range")?.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A disk with which `probe-script` is done at once.
fn scripted(size: usize) -> Vec<u8> {
    let mut disk = noise(size);
    disk[..4].copy_from_slice(b"end\n");
    disk
}

fn read(wire: &Wire, scratch: &Scratch, most: u32, more: &[&str]) -> Ran {
    let (to, policy) = (format!("oci:{}:1", scratch.text("layout")), attempts(scratch, &wire.host(), most));
    import([&[&*wire.url("disk.raw"), &*to, "--policy", &*policy, "--report", "-"], more].concat())
}

/// The disk that is in the layout.
fn pulled(scratch: &Scratch) -> Vec<u8> {
    pull(scratch, "pulled", &[], &format!("oci:{}:1", scratch.text("layout"))).file("disk/disk.raw")
}

/// Requests of the flow: what the probe asks for beside it is less.
fn of_the_flow(wire: &Wire) -> Vec<(u64, u64)> {
    let heads = wire.heads();
    let ranges = heads.iter().filter_map(|head| range(head));
    ranges.filter(|(_, last)| *last == DISK as u64 - 1).collect()
}

#[test]
fn it_goes_on_where_it_broke_and_nothing_is_read_twice() {
    // The probe is content with the first bytes, which it asks for while none flow.
    let (disk, probe) = (scripted(DISK), Fixture::ProbeScript.path());
    for breaks in [&[0][..], &[1], &[1_000_000], &[DISK - 1], &[200_000, 0, 1_048_576, 7]] {
        let fates: Vec<Fate> = breaks.iter().map(|bytes| Fate::Closes(*bytes)).collect();
        let (scratch, wire) = (Scratch::new(), faring(&disk, &fates, true));
        let ran = read(&wire, &scratch, 8, &["--probe", &probe]).done();
        assert!(pulled(&scratch) == disk, "{breaks:?}");
        let mut at = 0;
        let mut expected = Vec::new();
        for bytes in breaks {
            at += *bytes as u64;
            // From the start it is the whole that is asked for.
            expected.extend((at > 0).then_some((at, DISK as u64 - 1)));
        }
        assert_eq!(of_the_flow(&wire), expected);
        for head in wire.heads().iter().skip(1) {
            let condition = if range(head).is_some() { "if-range" } else { "if-match" };
            assert_eq!(field(head, condition), Some(TAG), "{head}");
        }
        let transfer = &ran.report()["transfer"];
        assert_eq!(transfer["bytes_received"], DISK as u64);
        assert_eq!(transfer["attempts"], breaks.len() as u64 + 1, "{transfer}");
        // A break before a byte came again is the same pause, but another attempt.
        let resumes = breaks.iter().skip(1).filter(|bytes| **bytes > 0).count() + 1;
        assert_eq!((&transfer["resumes"], &transfer["bytes_sent_twice"]), (&resumes.into(), &0.into()), "{transfer}");
        assert!(ran.stderr.contains("going on at byte"), "{}", ran.stderr);
    }
}

#[test]
fn a_look_goes_on_where_it_broke_too() {
    // The request that opens it has its first part, and is the first that breaks.
    let fates = [Fate::Closes(10_000), Fate::Silent, Fate::Status(503), Fate::Resets(20_000)];
    let (wire, scratch) = (faring(&noise(DISK), &fates, true), Scratch::new());
    let policy = attempts(&scratch, &wire.host(), 5);
    let ran = probe([&*wire.url("disk.raw"), "--policy", &policy, "--json"]).done();
    assert_eq!(ran.report()["disk"]["format"], "raw");
    let ranges: Vec<_> = wire.heads().iter().filter_map(|head| range(head)).collect();
    let (first, last) = ranges[0];
    assert!(ranges[1..4].iter().all(|range| *range == (first + 10_000, last)), "{ranges:?}");
    // What had arrived in front of a reset may be lost.
    assert!(ranges[4].0 >= first + 10_000 && ranges[4].1 == last, "{ranges:?}");

    let fates = [[Fate::Closes(usize::MAX)].as_slice(), &[Fate::Status(503); 2]].concat();
    let wire = faring(&noise(DISK), &fates, true);
    let policy = attempts(&scratch, &wire.host(), 2);
    probe([&*wire.url("disk.raw"), "--policy", &policy]).failed(10, "source-failed", &["503", "2 times in a row"]);
}

#[test]
fn whatever_breaks_it_it_is_the_same_disk_over_any_number_of_connections() {
    let disk = noise(DISK * 10);
    let fates = [
        Fate::Resets(700_000),
        Fate::Status(503),
        Fate::Resets(0),
        Fate::Silent,
        Fate::Status(429),
        Fate::Closes(2_000_000),
        Fate::Resets(1_500_000),
    ];
    for connections in ["1", "3", "16"] {
        let (scratch, wire) = (Scratch::new(), faring(&disk, &fates, true));
        let ran = read(&wire, &scratch, 8, &["--source-connections", connections]).done();
        assert!(pulled(&scratch) == disk, "{connections}");
        // One may have struck a piece that had all its bytes, or been dropped.
        let attempts = ran.report()["transfer"]["attempts"].as_u64().unwrap();
        assert!((3..=fates.len() as u64 + 1).contains(&attempts), "{attempts}: {}", ran.stderr);
        assert!(wire.heads().len() > fates.len());
    }
}

#[test]
fn another_disk_is_never_mixed_in() {
    let disk = noise(DISK);
    let rows = [
        (Fate::Under(Head::Whole), 11, "source-changed", "answered a range with the whole"),
        (Fate::Under(Head::AnotherTag), 11, "source-changed", "another revision"),
        (Fate::Under(Head::AnotherTotal), 11, "source-changed", "bytes now, expected"),
        (Fate::Under(Head::Later(1)), 11, "source-invalid", "the server sent the range"),
        (Fate::Under(Head::TwoRanges), 11, "source-invalid", "more than one"),
        (Fate::Status(412), 11, "source-changed", "412"),
        (Fate::Status(416), 11, "source-changed", "416"),
        (Fate::Status(404), 10, "source-not-found", "404"),
        (Fate::Status(403), 16, "source-denied", "403"),
        (Fate::Status(501), 10, "source-failed", "501"),
    ];
    for (fate, exit, code, says) in rows {
        // The first request of the flow, and what the probe asks for beside it.
        for connections in ["1", "2"] {
            let (scratch, wire) = (Scratch::new(), faring(&disk, &[Fate::Closes(900_000), fate, fate, fate], true));
            read(&wire, &scratch, 8, &["--source-connections", connections]).failed(exit, code, &[says]);
            assert_layout_empty(&scratch.path("layout"));
        }
    }
}

#[test]
fn nobody_is_asked_for_ever() {
    let disk = noise(DISK);
    let (scratch, wire) = (Scratch::new(), faring(&disk, &[Fate::Closes(100); 20], true));
    let says = ["asked 4 times in a row", "stopped at byte"];
    read(&wire, &scratch, 4, &[]).failed(10, "source-truncated", &says);
    assert_layout_empty(&scratch.path("layout"));
    // Nor for longer than the policy has it: the pauses grow until the next one would be too long.
    let (scratch, wire) = (Scratch::new(), faring(&disk, &[Fate::Closes(100); 99], true));
    let (to, policy) = (format!("oci:{}:1", scratch.text("layout")), scratch.text("policy.toml"));
    let limits = "[limits]\nsource-attempts = 1000\nsource-back-off = \"1ms\"\ntotal = \"1s\"";
    let plain = format!("[egress]\nplain-http = [\"{}\"]", wire.host());
    fs::write(&policy, format!("schema = \"longshore.policy/v1\"\n{plain}\n{limits}\n")).unwrap();
    let says = ["s in a row and was to be asked in", "(`limits.total`)", "stopped at byte"];
    import([&*wire.url("disk.raw"), &*to, "--policy", &*policy]).failed(10, "source-truncated", &says);
    // Who gets on by a MiB each time may break as often as it likes.
    let (scratch, wire) = (Scratch::new(), faring(&scripted(9 << 20), &[Fate::Closes(1 << 20); 8], true));
    read(&wire, &scratch, 2, &["--probe", &Fixture::ProbeScript.path()]).done();
    assert!(pulled(&scratch) == scripted(9 << 20));
}

#[test]
fn a_source_that_cannot_be_opened_yet_is_asked_again_and_one_that_says_no_is_not() {
    let disk = noise(DISK);
    let (scratch, wire) = (Scratch::new(), faring(&disk, &[Fate::Silent, Fate::Status(503)], true));
    let ran = read(&wire, &scratch, 8, &[]).done();
    assert!(ran.stderr.contains("asking again"), "{}", ran.stderr);
    assert_eq!(ran.report()["transfer"]["attempts"], 3);
    for (status, code, exit, most) in
        [(503, "source-failed", 10, 3), (404, "source-not-found", 10, 1), (401, "source-denied", 16, 1)]
    {
        let (scratch, wire) = (Scratch::new(), faring(&disk, &[Fate::Status(status); 9], true));
        read(&wire, &scratch, 8, &[]).failed(exit, code, &[&status.to_string()]);
        assert_eq!(wire.heads().len(), most, "{status}");
        assert_layout_empty(&scratch.path("layout"));
    }
}

#[test]
fn a_source_without_ranges_is_told_so_before_bytes_move_and_is_read_again_from_its_start() {
    let disk = noise(65 << 20);
    let from = |fates: &[Fate]| (Scratch::new(), faring(&disk, fates, false));
    let (scratch, wire) = from(&[Fate::Closes(40 << 20), Fate::Resets(30 << 20)]);
    let ran = read(&wire, &scratch, 8, &["--progress", "plain"]).done();
    assert!(pulled(&scratch) == disk);
    assert_eq!((wire.heads().len(), &ran.report()["transfer"]["attempts"]), (3, &3.into()));
    assert!(wire.heads().iter().all(|head| field(head, "range").is_none()));
    let (warned, broke) = (ran.stderr.find("offers no ranges").unwrap(), ran.stderr.find("going on at byte").unwrap());
    assert!(warned < broke, "{}", ran.stderr);
    let (scratch, wire) = from(&[Fate::Closes(1_000_000), Fate::Under(Head::AnotherTag)]);
    read(&wire, &scratch, 8, &[]).failed(11, "source-changed", &["changed since it was opened"]);
    assert_layout_empty(&scratch.path("layout"));
    // What nobody can tell from another disk is not.
    let short = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\nend\n", 65 << 20);
    let (scratch, wire) = (Scratch::new(), Wire::saying(short));
    let says = ["no ranges of a disk it can identify"];
    read(&wire, &scratch, 8, &[]).failed(10, "source-truncated", &says);
    assert_eq!(wire.heads().len(), 1);
    assert_layout_empty(&scratch.path("layout"));
}

/// A transfer from nginx at 4 MiB/s, of which more than a mebibyte has arrived and much is still to come.
struct UnderWay {
    scratch: Scratch,
    nginx: Nginx,
    seen: Arc<sink::Seen>,
    _registry: longshore_tests::script::Script,
    child: Child,
}

/// So much that it is far from its end whenever the test gets to hurt it.
const LONG: usize = 80 << 20;

impl UnderWay {
    fn begin(more: &[&str]) -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        raw(&scratch.folder("www").join("disk.raw"), LONG);
        let nginx = Nginx::with(&scratch, &authority, "\n limit_rate 4m;\n");
        let (registry, seen) = sink::start(Some(authority.server_config()), None);
        let to = format!("docker://{}/vm:1", registry.host());
        let mut command = longshore(["import", &nginx.url("disk.raw"), &to, "--ca", &authority.ca(), "--report", "-"]);
        let child = command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        while seen.received.load(SeqCst) < 1 << 20 {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing arrives");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { scratch, nginx, seen, _registry: registry, child }
    }

    fn end(self) -> (Ran, Scratch, Arc<sink::Seen>) {
        (ran(&self.child.wait_with_output().unwrap()), self.scratch, self.seen)
    }
}

#[test]
fn a_server_that_is_killed_and_started_again() {
    for connections in ["1", "4"] {
        let mut under_way = UnderWay::begin(&["--source-connections", connections]);
        under_way.nginx.kill();
        under_way.nginx.restart("limit_rate");
        let (ran, scratch, seen) = under_way.end();
        let report = ran.done().report();
        let (disk, layout) = (scratch.path("www").join("disk.raw"), format!("oci:{}:1", scratch.text("layout")));
        let local = import([&*disk.display().to_string(), &layout, "--report", "-"]).done().report();
        assert_eq!(report["image"]["layer_digest"], local["image"]["layer_digest"]);
        let transfer = &report["transfer"];
        assert!(transfer["resumes"].as_u64() >= Some(1) && transfer["attempts"].as_u64() >= Some(2), "{transfer}");
        assert_eq!(transfer["bytes_sent_twice"], 0, "the registry notices nothing");
        assert_eq!(transfer["bytes_received"], LONG as u64);
        assert_eq!(seen.count("PATCH"), 1);
    }
}

#[test]
fn a_file_that_is_replaced_meanwhile() {
    let mut under_way = UnderWay::begin(&[]);
    under_way.nginx.kill();
    // As long as before: only its date and so its tag say that it is another one.
    let other = under_way.scratch.path("www").join("disk.raw");
    fs::remove_file(&other).unwrap();
    fs::write(&other, vec![7; LONG]).unwrap();
    let then = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&other).unwrap().set_modified(then).unwrap();
    under_way.nginx.restart("limit_rate");
    let (ran, _scratch, seen) = under_way.end();
    ran.failed(11, "source-changed", &["the disk changed meanwhile", "left behind: nothing"]);
    assert!(!seen.committed());
}

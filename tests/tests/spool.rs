//! `--spool`: neither side waits for the other, what has no length gets one, what can be read once can be sent twice; and the
//! file is nobody's but the process's.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::layers::{assert_layout_empty, pull};
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, import_from, longshore, watched};
use longshore_tests::proxy::{Fault, Proxy};
use longshore_tests::ranges::{Content, Manner, serve_wide};
use longshore_tests::registry::{Registry, Setup, VERSIONS};
use longshore_tests::scratch::{Scratch, noise};
use longshore_tests::script::{Handler, Script, streamed};
use longshore_tests::sink::{self, Turn, Turning};

const DISK: usize = 5_000_000;
/// How long a peer waits for what must come.
const COMES_WITHIN: Duration = Duration::from_secs(60);

/// Imports standard input into a layout through a spool of at most that size.
fn spooled(scratch: &Scratch, most: &str, source: &str, input: &[u8], more: &[&str]) -> Ran {
    let (to, folder) = (format!("oci:{}:1", scratch.text("layout")), scratch.folder("spool").display().to_string());
    let spool = ["--spool", &*folder, "--spool-max", most, "--report", "-"];
    let ran = import_from([&[source, &*to], &spool[..], more].concat(), input);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "a spool leaves nothing");
    ran
}

/// A server that says nothing of the length of this disk.
fn endless(disk: &[u8]) -> Script {
    let disk = Bytes::copy_from_slice(disk);
    let handler: Handler = Arc::new(move |_| {
        let chunks: Vec<_> = disk.chunks(64 * 1024).map(|chunk| Ok(disk.slice_ref(chunk))).collect();
        Box::pin(async move { streamed(None, stream::iter(chunks)) })
    });
    Script::start(None, handler)
}

#[test]
fn what_has_no_length_gets_one_and_is_the_same_image() {
    let disk = noise(DISK);
    let digest = |ran: Ran| {
        let report = ran.done().report();
        assert_eq!(report["transfer"]["bytes_spooled"], DISK as u64);
        assert_eq!(report["source"]["size"], DISK as u64);
        report["image"]["layer_digest"].clone()
    };
    let scratch = Scratch::new();
    let from_input = digest(spooled(&scratch, "5000000", "-", &disk, &["--name", "disk.raw"]));
    assert!(pull(&scratch, "pulled", &[], &format!("oci:{}:1", scratch.text("layout"))).file("disk/disk.raw") == disk);
    let (scratch, server) = (Scratch::new(), endless(&disk));
    let ran = spooled(&scratch, "1GiB", &server.url("disk.raw"), b"", &["--plain-http", &server.host()]);
    assert_eq!(digest(ran), from_input);
    let (scratch, server) = (Scratch::new(), endless(&disk));
    let filter = longshore_tests::fixtures::Fixture::FilterPass.path();
    let more = ["--plain-http", &*server.host(), "--filter", &*filter];
    assert_eq!(digest(spooled(&scratch, "1GiB", &server.url("disk.raw"), b"", &more)), from_input);
    // One whose length is known is spooled as well, and a spool is not what makes another image of it.
    let (server, _) = serve_wide(Content::Bytes(disk.into()), Manner::Honest);
    for connections in ["1", "3"] {
        let more = ["--plain-http", &*server.host(), "--source-connections", connections];
        assert_eq!(digest(spooled(&Scratch::new(), "1GiB", &server.url("disk.raw"), b"", &more)), from_input);
    }
}

#[test]
fn who_is_not_let_in_is_told_before_the_disk_flows() {
    let (denied, seen) = longshore_tests::sink::start(None, Some(("POST", 403)));
    let scratch = Scratch::new();
    let (to, folder) = (format!("docker://{}/vm:1", denied.host()), scratch.folder("spool").display().to_string());
    let flags = ["--spool", &*folder, "--spool-max", "1GiB", "--plain-http", &*denied.host()];
    let report = scratch.text("report.json");
    let ran = import_from([&["-", &*to, "--report", &report], &flags[..]].concat(), &noise(DISK));
    ran.failed(16, "registry-denied", &["POST http://", "403"]);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["transfer"]["bytes_received"], 0, "{report}");
    assert_eq!(seen.count("PATCH"), 0);
}

#[test]
fn a_disk_that_is_larger_than_the_spool_may_become() {
    let disk = noise(DISK);
    let says = ["expected at most 4999999", "--spool-max"];
    let scratch = Scratch::new();
    spooled(&scratch, "4999999", "-", &disk, &[]).failed(20, "spool-full", &says).golden("spool-full");
    assert_layout_empty(&scratch.path("layout"));
    // Where it is known before, nothing is read.
    let (server, asked) = serve_wide(Content::Bytes(noise(100 << 20).into()), Manner::Honest);
    let more = ["--plain-http", &*server.host()];
    spooled(&scratch, "4999999", &server.url("disk.raw"), b"", &more).failed(20, "spool-full", &says);
    assert!(asked.sum().1 < 50 << 20, "{:?}", asked.sum());
    assert_layout_empty(&scratch.path("layout"));
}

#[test]
fn what_goes_wrong_says_so() {
    let scratch = Scratch::new();
    let to = format!("oci:{}", scratch.text("layout"));
    let gone = scratch.text("nowhere");
    let ran = import_from(["-", &to, "--spool", &gone, "--spool-max", "1MiB"], b"x");
    ran.failed(20, "local-file", &["the spool in", &gone]);
    for half in [["--spool", "."], ["--spool-max", "1MiB"]] {
        let ran = import_from([&["-", &*to][..], &half].concat(), b"x");
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    }
    // A source that breaks is still the one at fault.
    let (server, _) = serve_wide(Content::Bytes(noise(DISK).into()), Manner::InOrder);
    let more = ["--plain-http", &*server.host(), "--checksum", &*format!("sha256:{}", "0".repeat(64))];
    spooled(&scratch, "1GiB", &server.url("disk.raw"), b"", &more).failed(11, "checksum-mismatch", &[]);
    assert_layout_empty(&scratch.path("layout"));
}

/// Standard input cannot be read again, and the upload breaks: only the spool has what it needs.
#[test]
fn an_upload_that_breaks_goes_on_from_the_spool() {
    let disk = noise(DISK);
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let proxy = Proxy::start(registry.port(), Fault::After("PATCH", 1_500_000));
        let (to, folder) = (format!("docker://{}/vm:1", proxy.host()), scratch.folder("spool").display().to_string());
        let arguments = ["-", &*to, "--plain-http", &*proxy.host(), "--report", "-", "--name", "disk.raw"];
        let spool = ["--spool", &*folder, "--spool-max", "8MiB"];
        let report = import_from([&arguments[..], &spool].concat(), &disk).done().report();
        assert!(proxy.failed());
        assert_eq!(report["transfer"]["attempts"], 2, "{version:?}");
        assert!(registry.has_tag("vm", "1"));
        let local = spooled(&Scratch::new(), "8MiB", "-", &disk, &["--name", "disk.raw"]).done().report();
        assert_eq!(report["image"]["layer_digest"], local["image"]["layer_digest"], "{version:?}");
    }
}

/// The registry reads nothing until the source has given its last byte: without a spool both would wait for ever.
#[test]
fn a_registry_that_stalls_does_not_hold_up_the_source() {
    const LARGE: usize = 192 << 20;
    let scratch = Scratch::new();
    let (source, asked) = serve_wide(Content::Bytes(vec![7; LARGE].into()), Manner::InOrder);
    let given = Arc::clone(&asked);
    let turning: Turning = Arc::new(move |request, _| {
        let began = Instant::now();
        while request.method == "PATCH" && given.sent.load(SeqCst) < LARGE as u64 && began.elapsed() < COMES_WITHIN {
            std::thread::sleep(Duration::from_millis(5));
        }
        Turn::Sink
    });
    let (registry, seen) = sink::start_turned(None, turning);
    let (to, folder) = (format!("docker://{}/vm:1", registry.host()), scratch.folder("spool").display().to_string());
    let mut command = longshore(["import", &source.url("disk.raw"), &to, "--report", "-"]);
    command.args(["--plain-http", &source.host(), "--plain-http", &registry.host()]);
    command.args(["--spool", &folder, "--spool-max", "192MiB"]);
    let began = Instant::now();
    let (ran, peak) = watched(&mut command);
    let ran = ran.done();
    assert!(began.elapsed() < COMES_WITHIN, "the source was held up");
    assert_eq!(seen.received.load(SeqCst), ran.report()["image"]["layer_size"].as_u64().unwrap());
    println!("peak of its own {} MiB", peak >> 20);
    assert!(peak > 0 && peak <= MOST_OF_ITS_OWN, "{} MiB", peak >> 20);
}

#[test]
fn the_file_has_no_name_and_nothing_is_left_when_the_process_is_killed() {
    let scratch = Scratch::new();
    let (to, folder) = (format!("oci:{}", scratch.text("layout")), scratch.folder("spool"));
    let mut command = longshore(["import", "-", &*to, "--spool", &folder.display().to_string(), "--spool-max", "1GiB"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&noise(DISK)).unwrap();
    let began = Instant::now();
    let spool = loop {
        if let Some(spool) = open_in(child.id(), &folder) {
            break spool;
        }
        assert!(began.elapsed() < COMES_WITHIN, "there is no spool");
        std::thread::sleep(Duration::from_millis(5));
    };
    let metadata = fs::metadata(&spool).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.nlink()), (0o600, 0));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// What the process has open of that folder.
fn open_in(process: u32, folder: &Path) -> Option<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten().map(|entry| entry.path());
    // While it has a name it is on its way to lose it.
    let mut nameless = descriptors.filter(|descriptor| {
        fs::read_link(descriptor)
            .is_ok_and(|target| target.starts_with(folder) && target.to_string_lossy().ends_with(" (deleted)"))
    });
    nameless.next()
}

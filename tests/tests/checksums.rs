//! Checksums that a user demands: all algorithms, at both places, from the command line and from files.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

use longshore_tests::layers::assert_layout_empty;
use longshore_tests::nginx::Nginx;
use longshore_tests::program::{Ran, import, import_from};
use longshore_tests::scratch::{Scratch, raw, run};
use longshore_tests::script::{Handler, Script, empty, full};
use longshore_tests::sink;
use longshore_tests::tls::Authority;

/// Not a multiple of anything, and enough to fill the queues of the threads that hash.
const DISK: usize = 5_000_003;

/// A disk behind TLS, and a layout to import it into.
struct Stage {
    scratch: Scratch,
    authority: Authority,
    nginx: Nginx,
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let nginx = Nginx::start(&scratch, &authority);
        raw(&scratch.folder("www").join("my disk.raw"), DISK);
        Self { scratch, authority, nginx }
    }

    fn url(&self) -> String {
        self.nginx.url("my%20disk.raw")
    }

    fn import(&self, source: &str, more: &[&str]) -> Ran {
        let to = format!("oci:{}:1", self.scratch.text("layout"));
        import([&[source, &*to, "--ca", &*self.authority.ca(), "--report", "-"], more].concat())
    }

    /// Writes a checksum file beside the disk and gives its URL.
    fn sums(&self, name: &str, text: &str) -> String {
        fs::write(self.scratch.path("www").join(name), text).unwrap();
        self.nginx.url(name)
    }

    /// What a coreutils program prints for the disk.
    fn tool(&self, tool: &[&str]) -> String {
        run(Command::new(tool[0]).args(&tool[1..]).arg("my disk.raw").current_dir(self.scratch.path("www")))
    }

    /// The checksum as another program computes it, as `ALGO:HEX`.
    fn sum(&self, algorithm: &str) -> String {
        let line = self.tool(&[&format!("{algorithm}sum")]);
        format!("{algorithm}:{}", line.split(' ').next().unwrap())
    }

    fn assert_clean(&self) {
        assert_layout_empty(&self.scratch.path("layout"));
    }
}

/// Those that coreutils computes too. Streebog's values are checked against RFC 6986 where the algorithm is.
const ALGORITHMS: [&str; 4] = ["md5", "sha1", "sha256", "sha512"];

#[test]
fn all_algorithms_at_once_at_both_places() {
    let stage = Stage::new();
    let right: Vec<String> = ALGORITHMS.iter().map(|algorithm| stage.sum(algorithm)).collect();
    let mut arguments = Vec::new();
    for sum in &right {
        // In either case of the digits.
        let (algorithm, hex) = sum.split_once(':').unwrap();
        arguments.extend(["--checksum".to_owned(), format!("{algorithm}:{}", hex.to_uppercase())]);
        arguments.extend(["--checksum".to_owned(), format!("disk:{sum}")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let report = stage.import(&stage.url(), &arguments).done().report();
    for place in ["source", "disk"] {
        for list in ["demanded", "computed"] {
            assert_eq!(report[place]["checksums"][list], serde_json::json!(right), "{place} {list}");
        }
    }
    // From standard input it is the same.
    let disk = fs::read(stage.scratch.path("www").join("my disk.raw")).unwrap();
    let size = DISK.to_string();
    let to = format!("oci:{}:2", stage.scratch.text("layout"));
    import_from([&["-", &*to, "--size", &*size], &arguments[..]].concat(), &disk).done();
}

#[test]
fn without_a_demand_nothing_is_computed() {
    let stage = Stage::new();
    let report = stage.import(&stage.url(), &[]).done().report();
    for place in ["source", "disk"] {
        assert_eq!(report[place]["checksums"], serde_json::json!({"demanded": [], "computed": []}));
    }
}

#[test]
fn every_one_must_match_and_all_that_do_not_are_named() {
    let stage = Stage::new();
    let (md5, sha512) = (stage.sum("md5"), stage.sum("sha512"));
    let wrong = format!("sha1:{}", "0".repeat(40));
    let wrong_streebog = format!("streebog256:{}", "0".repeat(64));
    let disk = format!("disk:{wrong_streebog}");
    let arguments = ["--checksum", &*md5, "--checksum", &*wrong, "--checksum", &*disk, "--checksum", &*sha512];
    let says = [
        "2 of 4 checksums do not match",
        &*format!("the source has the checksum {}, expected {wrong}", stage.sum("sha1")),
        "the disk has the checksum streebog256:",
        &*wrong_streebog,
        "left behind: nothing",
    ];
    let ran = stage.import(&stage.url(), &arguments).failed(11, "checksum-mismatch", &says);
    assert!(!ran.stderr.contains(&md5) && !ran.stderr.contains(&sha512), "what matches is not named: {}", ran.stderr);
    let report = ran.golden("checksum-two-of-four").report();
    assert_eq!(report["source"]["checksums"]["computed"], serde_json::json!([md5, stage.sum("sha1"), sha512]));
    assert_eq!(report["disk"]["checksums"]["demanded"], serde_json::json!([wrong_streebog]));
    stage.assert_clean();
}

#[test]
fn what_is_no_checksum_is_refused_before_anything_is_opened() {
    let stage = Stage::new();
    import([&*stage.url(), "oci:x", "--checksum", "md5:00"]).golden("checksum-too-short");
    for (checksum, says) in [
        ("sha256", "expected ALGO:HEX"),
        ("crc32:00000000", "expected md5, sha1"),
        ("md5:00", "expected 32 hexadecimal digits, got 2"),
        ("disk:sha1:zz", "expected 40 hexadecimal digits"),
    ] {
        import([&*stage.url(), "oci:/nonexistent/x", "--checksum", checksum]).failed(2, "usage", &[says]);
    }
}

#[test]
fn checksum_files_as_tools_write_them() {
    let stage = Stage::new();
    let other = format!("{}  other.raw\n", "0".repeat(64));
    for (tool, expected) in [
        (&["sha256sum"][..], "sha256"),
        (&["sha512sum", "--binary"], "sha512"),
        (&["sha1sum", "--tag"], "sha1"),
        (&["md5sum"], "md5"),
        (&["openssl", "dgst", "-sha256"], "sha256"),
        (&["openssl", "dgst", "-sha512"], "sha512"),
    ] {
        let url = stage.sums("SUMS", &format!("{other}{}", stage.tool(tool)));
        let report = stage.import(&stage.url(), &["--checksum-file", &url]).done().report();
        let expected = serde_json::json!([stage.sum(expected)]);
        assert_eq!(report["source"]["checksums"]["demanded"], expected, "{tool:?}");
        assert_eq!(report["source"]["checksums"]["computed"], expected, "{tool:?}");
    }
    // A path, a file: URL, a redirect, and one for a disk that is a file.
    let path = stage.scratch.path("www").join("SUMS").display().to_string();
    stage.import(&stage.url(), &["--checksum-file", &path]).done();
    stage.import(&stage.url(), &["--checksum-file", &format!("file://{path}")]).done();
    stage.import(&stage.url(), &["--checksum-file", &stage.nginx.url("moved/SUMS")]).done();
    let disk = stage.scratch.path("www").join("my disk.raw").display().to_string();
    stage.import(&disk, &["--checksum-file", &path, "--checksum", &stage.sum("md5")]).done();
}

#[test]
fn a_checksum_file_that_does_not_settle_it() {
    let stage = Stage::new();
    let (sha256, md5) = (stage.tool(&["sha256sum"]), stage.tool(&["md5sum"]));
    let zeros = "0".repeat(64);
    for (text, says) in [
        (format!("{zeros}  other.raw\n"), "its one entry is for another name"),
        (format!("{sha256}{md5}"), "lines 1, 2 are all for this name, expected one"),
        (format!("{sha256}\n<html>\n"), "line 3 is malformed: `<html>` is neither"),
        (format!("SHA384 (my disk.raw) = {zeros}\n"), "line 1 has a checksum of SHA384"),
        (format!("sha256 (my disk.raw) = {}\n", "0".repeat(32)), "expected 64 hexadecimal digits, got 32"),
    ] {
        let url = stage.sums("SUMS", &text);
        let ran = stage.import(&stage.url(), &["--checksum-file", &url]);
        ran.failed(11, "checksum-file-unusable", &[says, "/SUMS, asked for `my disk.raw`", "left behind: nothing"]);
    }
    let with = |text: &str| stage.import(&stage.url(), &["--checksum-file", &stage.sums("SUMS", text)]);
    with(&format!("{zeros}  other.raw\n")).golden("checksum-file-absent");
    with(&format!("{sha256}{md5}")).golden("checksum-file-several");
    with("<html>\n").golden("checksum-file-malformed");
    with(&format!("{zeros}  my disk.raw\n")).golden("checksum-file-mismatch");
    // A value that is another's.
    let url = stage.sums("SUMS", &format!("{zeros}  my disk.raw\n"));
    let says = [&*format!("expected sha256:{zeros} as line 1 of {url} says")];
    stage.import(&stage.url(), &["--checksum-file", &url]).failed(11, "checksum-mismatch", &says);
    stage.assert_clean();
}

#[test]
fn a_checksum_file_that_cannot_be_had() {
    let stage = Stage::new();
    let with = |file: &str| stage.import(&stage.url(), &["--checksum-file", file]);
    let absent = with(&stage.nginx.url("absent"));
    absent
        .failed(10, "source-not-found", &["404", "/absent", "--checksum-file asked"])
        .golden("checksum-file-not-found");
    with(&stage.nginx.url("forbidden/x")).failed(16, "source-denied", &["403"]);
    with("http://127.0.0.1/SUMS").failed(13, "plain-http-denied", &["--plain-http"]);
    with("/nonexistent/SUMS").failed(20, "local-file", &["/nonexistent/SUMS"]);
    let long = stage.sums("long", &"#".repeat((1 << 20) + 1));
    with(&long).failed(11, "source-invalid", &["more than 1048576 bytes"]);
    let path = stage.scratch.path("www").join("long").display().to_string();
    with(&path).failed(20, "local-file", &["more than 1048576 bytes"]);
    with("ftp://127.0.0.1/SUMS").failed(2, "usage", &["the scheme is `ftp`"]);
    let ran = import_from(["-", "oci:/nonexistent/x", "--size", "1", "--checksum-file", "SUMS"], b"x");
    ran.failed(2, "usage", &["standard input has no name"]);
    let looping: Handler = Arc::new(|_| {
        Box::pin(async {
            let mut answer = empty(302);
            answer.headers_mut().insert("location", "again".parse().unwrap());
            answer
        })
    });
    let looping = Script::start(Some(stage.authority.server_config()), looping);
    with(&looping.url("SUMS")).failed(10, "source-failed", &["redirects once more"]);
    // Where only a user may lead, a peer may not.
    let inside: Handler = Arc::new(|_| {
        Box::pin(async {
            let mut answer = empty(302);
            answer.headers_mut().insert("location", "https://169.254.169.254/SUMS".parse().unwrap());
            answer
        })
    });
    let inside = Script::start(Some(stage.authority.server_config()), inside);
    with(&inside.url("SUMS")).failed(13, "egress-denied", &["metadata"]);
    stage.assert_clean();
}

#[test]
fn the_checksum_file_is_asked_for_before_the_disk_and_nothing_is_opened_without_it() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    let handler: Handler = Arc::new(move |request| {
        log.lock().unwrap().push(request.uri().path().to_owned());
        Box::pin(async { full(200, "no checksum file\n") })
    });
    let source = Script::start(Some(authority.server_config()), handler);
    let (registry, seen) = sink::start(Some(authority.server_config()), None);
    let to = format!("docker://{}/vm:1", registry.host());
    let sums = source.url("SUMS");
    let ran = import([&*source.url("disk.raw"), &to, "--ca", &authority.ca(), "--checksum-file", &sums]);
    ran.failed(11, "checksum-file-unusable", &["line 1 is malformed"]);
    assert_eq!(*asked.lock().unwrap(), ["/SUMS"]);
    assert!(seen.requests.lock().unwrap().is_empty(), "the registry was not spoken to");
}

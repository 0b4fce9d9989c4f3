//! Uploads in parts: cut and continued, by tus 1.0.0, at any byte and by whoever comes back.

use std::io::Write as _;

use longshore_tests::layers::crane;
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, noise};
use longshore_tests::serving::{Answer, Serving, chunked, head};

const PART: (&str, &str) = ("Content-Type", "application/offset+octet-stream");
const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");

struct Bench {
    scratch: Scratch,
    registry: Registry,
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup::default());
        Self { scratch, registry }
    }

    fn serve(&self, more: &[&str]) -> Serving {
        let (host, destination) = (self.registry.host(), self.registry.reference("vm:1"));
        let all = [destination.as_str(), "--plain-http", &host, "--without-tls", "--anonymous"];
        Serving::start([&all[..], more].concat())
    }

    fn serve_within(&self, limits: &str) -> Serving {
        let (path, host) = (self.scratch.path("policy.toml"), self.registry.host());
        let text = format!(
            "schema = \"longshore.policy/v1\"\n[egress]\nplain-http = [\"{host}\"]\n[limits]\n{limits}\n\
             [flags]\nallow = [\"--without-tls\"]\n"
        );
        std::fs::write(&path, text).unwrap();
        self.serve(&["--policy", &self.scratch.text("policy.toml")])
    }

    fn disk(&self, name: &str) -> Vec<u8> {
        crane(None, &format!("{}/vm:1", self.registry.host()), &format!("disk/{name}"))
    }
}

/// Makes an upload and gives its path.
fn create(serving: &Serving, length: usize, more: &[(&str, &str)]) -> String {
    let length = length.to_string();
    let fields = [&[TUS, ("Upload-Length", length.as_str())][..], more].concat();
    let answer = serving.ask(&head("POST", "/upload", &fields), b"").is(201);
    assert_eq!(answer.field("tus-resumable"), Some("1.0.0"));
    answer.field("location").expect("a location").to_owned()
}

fn part_head(path: &str, from: usize, length: usize) -> String {
    let (from, length) = (from.to_string(), length.to_string());
    head("PATCH", path, &[TUS, PART, ("Upload-Offset", &from), ("Content-Length", &length)])
}

fn patch(serving: &Serving, path: &str, from: usize, part: &[u8]) -> Answer {
    serving.ask(&part_head(path, from, part.len()), part)
}

/// Where the upload stands.
fn offset(serving: &Serving, path: &str) -> usize {
    let answer = serving.ask(&head("HEAD", path, &[TUS]), b"").is(200);
    answer.field("upload-offset").expect("an offset").parse().unwrap()
}

#[test]
fn an_upload_in_parts_is_the_same_image_as_in_one() {
    let bench = Bench::new();
    let serving = bench.serve(&[]);
    let disk = noise(1_234_567);
    // "disk.raw" in Base64.
    let path = create(&serving, disk.len(), &[("Upload-Metadata", "filename ZGlzay5yYXc=,filetype eC95")]);
    assert_eq!(offset(&serving, &path), 0);
    let mut from = 0;
    for part in disk.chunks(300_000) {
        let answer = patch(&serving, &path, from, part).is(204);
        from += part.len();
        assert_eq!(answer.field("upload-offset"), Some(from.to_string().as_str()));
        if from == disk.len() {
            assert_eq!(answer.field("longshore-image"), Some(serving.reference(0).as_str()));
        }
    }
    assert!(bench.disk("disk.raw") == disk);
    let told = serving.ask(&head("GET", &path, &[]), b"").is(200).json();
    assert_eq!((&told["state"], &told["reference"]), (&"done".into(), &serving.reference(0).into()));
    assert_eq!((&told["offset"], &told["length"]), (&disk.len().into(), &disk.len().into()));
    // Who missed the last answer asks again, by whichever way its client has.
    assert_eq!(offset(&serving, &path), disk.len());
    patch(&serving, &path, disk.len(), b"").is(204);
    let length = disk.len().to_string();
    let once = serving.ask(&head("PUT", "/upload?name=disk.raw", &[("Content-Length", &length)]), &disk);
    assert_eq!(once.is(201).json()["digest"], told["digest"]);
}

#[test]
fn an_upload_that_is_cut_goes_on_where_it_stood() {
    let bench = Bench::new();
    let serving = bench.serve(&[]);
    let disk = noise(3 << 20);
    let path = create(&serving, disk.len(), &[]);
    let mut from = 0;
    // Cut at a few odd places: the connection is gone in the middle of a part that announced all the rest.
    for cut in [1, 70_001, 1_000_003, (3 << 20) - 1] {
        let mut client = serving.connect();
        client.say(part_head(&path, from, disk.len() - from).as_bytes());
        client.say(&disk[from..cut]);
        drop(client);
        // What was on its way when the connection broke may still come; the offset is what counts.
        let stands = loop {
            let stands = offset(&serving, &path);
            if stands == cut {
                break stands;
            }
            assert!(stands < cut);
        };
        from = stands;
    }
    patch(&serving, &path, from, &disk[from..]).is(204);
    assert!(bench.disk("disk.img") == disk);
}

#[test]
fn whoever_comes_later_goes_on() {
    let bench = Bench::new();
    let serving = bench.serve(&[]);
    let disk = noise(2 << 20);
    let path = create(&serving, disk.len(), &[]);
    // A connection that is only half gone: nobody ends it, and nothing comes any more.
    let mut stuck = serving.connect();
    stuck.say(part_head(&path, 0, disk.len()).as_bytes());
    stuck.say(&disk[..1 << 20]);
    let stands = loop {
        let stands = offset(&serving, &path);
        if stands == 1 << 20 {
            break stands;
        }
    };
    // At a wrong offset nothing is taken, and the right one is said.
    let wrong = patch(&serving, &path, 0, &disk).refused(409, "offset-mismatch");
    assert_eq!(wrong.field("upload-offset"), Some("1048576"));
    patch(&serving, &path, stands, &disk[stands..]).is(204);
    stuck.answer().refused(409, "taken-over");
    assert!(bench.disk("disk.img") == disk);
}

#[test]
fn what_is_no_part_changes_nothing() {
    let bench = Bench::new();
    let serving = bench.serve(&["--max-size", "1MiB"]);
    let disk = noise(10_000);
    let path = create(&serving, disk.len(), &[]);
    patch(&serving, &path, 0, &disk[..1000]).is(204);
    let ask = |fields: &[(&str, &str)], body: &[u8]| {
        let length = body.len().to_string();
        serving.ask(&head("PATCH", &path, &[&[("Content-Length", length.as_str())][..], fields].concat()), body)
    };
    let at = ("Upload-Offset", "1000");
    ask(&[PART, at], b"x").refused(412, "tus-version");
    ask(&[("Tus-Resumable", "0.2.2"), PART, at], b"x").refused(412, "tus-version");
    ask(&[TUS, at], b"x").refused(415, "part-type");
    ask(&[TUS, ("Content-Type", "text/plain"), at], b"x").refused(415, "part-type");
    ask(&[TUS, PART], b"x").refused(400, "request-malformed");
    for offset in ["-1", "", "1000 ", "+1000", "0x3e8", "99999999999999999999999"] {
        let answer = ask(&[TUS, PART, ("Upload-Offset", offset)], b"x");
        assert!(offset.ends_with(' ') || answer.status == 400, "{offset}: {answer:?}");
        if offset.ends_with(' ') {
            answer.is(204);
        }
    }
    for offset in ["0", "1000", "10000", "18446744073709551615"] {
        ask(&[TUS, PART, ("Upload-Offset", offset)], b"x").refused(409, "offset-mismatch");
    }
    // More than the upload has, and it says so.
    patch(&serving, &path, 1001, &disk).refused(400, "request-malformed");
    assert_eq!(offset(&serving, &path), 1001);
    // Cut within a part: what came is kept.
    let fields = [TUS, PART, ("Upload-Offset", "1001"), ("Transfer-Encoding", "chunked")];
    serving.ask(&head("PATCH", &path, &fields), &chunked(&disk[1001..2000], 7)).is(204);
    serving.ask(&head("DELETE", &path, &[TUS]), b"").is(204);
    // It does not say so: whatever of it is the disk, nobody can tell. At every way to cut it.
    for chunk in [1, 9000, 10_000, 20_000] {
        let path = create(&serving, disk.len(), &[]);
        let fields = [TUS, PART, ("Upload-Offset", "0"), ("Transfer-Encoding", "chunked")];
        let body = chunked(&noise(10_001), chunk);
        serving.ask(&head("PATCH", &path, &fields), &body).refused(400, "source-length-mismatch");
    }

    for (fields, status, code) in [
        (vec![TUS], 411, "length-required"),
        (vec![TUS, ("Upload-Defer-Length", "1")], 411, "length-required"),
        (vec![TUS, ("Upload-Length", "many")], 400, "request-malformed"),
        (vec![TUS, ("Upload-Length", "1"), ("Upload-Length", "2")], 400, "request-malformed"),
        (vec![TUS, ("Upload-Length", "1048577")], 413, "source-too-large"),
        (vec![("Tus-Resumable", "2.0.0"), ("Upload-Length", "1")], 412, "tus-version"),
        (vec![TUS, ("Upload-Length", "1"), ("Upload-Metadata", "x !")], 400, "request-malformed"),
        (vec![TUS, ("Upload-Length", "1"), ("Upload-Metadata", "tag YQ==")], 403, "tag-denied"),
    ] {
        serving.ask(&head("POST", "/upload", &fields), b"").refused(status, code);
    }
    bench.registry.assert_empty();
}

#[test]
fn a_disk_in_one_body_is_nothing_to_go_on_with() {
    let bench = Bench::new();
    let serving = bench.serve(&[]);
    let put = serving.ask(&head("PUT", "/upload", &[("Content-Length", "5")]), b"12345").is(201).json();
    let path = format!("/upload/{}", put["id"].as_str().unwrap());
    for method in ["HEAD", "PATCH", "DELETE"] {
        let answer = serving.ask(&head(method, &path, &[TUS, PART, ("Upload-Offset", "5")]), b"");
        assert_eq!(answer.status, 404, "{method}");
    }
    assert_eq!(serving.ask(&head("GET", &path, &[]), b"").is(200).json()["reference"], put["reference"]);
}

#[test]
fn the_first_part_may_come_with_the_creation() {
    let bench = Bench::new();
    let serving = bench.serve(&[]);
    let disk = noise(500_000);
    let fields = |body: &str| -> Vec<(String, String)> {
        [TUS, PART, ("Upload-Length", "500000"), ("Content-Length", body)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    };
    let post = |body: &[u8]| {
        let fields = fields(&body.len().to_string());
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        serving.ask(&head("POST", "/upload", &fields), body)
    };
    let answer = post(&disk[..200_000]).is(201);
    assert_eq!(answer.field("upload-offset"), Some("200000"));
    patch(&serving, answer.field("location").unwrap(), 200_000, &disk[200_000..]).is(204);
    assert!(bench.disk("disk.img") == disk);
    assert_eq!(post(&disk).is(201).json()["state"], "done");
}

#[test]
fn an_upload_is_given_up_or_given_up_on() {
    let bench = Bench::new();
    let serving = bench.serve_within("client-away = \"1s\"\nclient-stall = \"1s\"");
    let disk = noise(1 << 20);
    let path = create(&serving, disk.len(), &[]);
    patch(&serving, &path, 0, &disk[..500_000]).is(204);
    serving.ask(&head("DELETE", &path, &[TUS]), b"").is(204);
    let told = serving.ask(&head("GET", &path, &[]), b"").is(200).json();
    assert_eq!((&told["state"], &told["error"]["code"]), (&"failed".into(), &"source-truncated".into()));
    assert!(told["error"]["message"].as_str().unwrap().contains("gave the upload up after 500000"), "{told}");
    patch(&serving, &path, 500_000, &disk[500_000..]).refused(400, "source-truncated");

    // Who sends nothing within a part may come back; who does not come back holds no place.
    let path = create(&serving, disk.len(), &[]);
    let mut silent = serving.connect();
    silent.say(part_head(&path, 0, disk.len()).as_bytes());
    silent.say(&disk[..1000]);
    silent.answer().refused(408, "client-stalled");
    let failed = serving.wait_for("stayed away for 1 s");
    assert!(failed.contains("after 1000 of 1048576 bytes"), "{failed}");
    bench.registry.assert_empty();
    // Nor does one who comes back again and again and brings nothing.
    let path = create(&serving, disk.len(), &[]);
    let brought_nothing = || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        patch(&serving, &path, 0, b"").status
    };
    assert!((0..200).any(|_| brought_nothing() != 204), "empty parts keep a place for ever");
    // Nor one who brings a byte each time: over all its requests it is too slow.
    let path = create(&serving, disk.len(), &[]);
    let mut at = 0;
    let mut brought_a_byte = || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let status = patch(&serving, &path, at, &disk[at..=at]).status;
        at += 1;
        status
    };
    assert!((0..200).any(|_| brought_a_byte() != 204), "single bytes keep a place for ever");
    // Nor one whose parts begin with a few bytes and stall until the next one takes over.
    let path = create(&serving, disk.len(), &[]);
    let mut at = 0;
    let mut stalled = || {
        let mut part = serving.connect();
        part.say(part_head(&path, at, disk.len() - at).as_bytes());
        part.say(&disk[at..at + 100]);
        at += 100;
        std::thread::sleep(std::time::Duration::from_millis(300));
        part
    };
    let held: Vec<_> = (0..40).map(|_| stalled()).collect();
    let told = serving.ask(&head("GET", &path, &[]), b"").is(200).json();
    assert_eq!(told["state"], "failed", "parts that stall keep a place for ever: {told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("stayed away for 1 s"), "{told}");
    drop(held);
    // Both names are what a client means by one.
    let path = create(&serving, disk.len(), &[("Upload-Metadata", "name YQ==,filename Yg==")]);
    patch(&serving, &path, 0, &disk).is(204);
}

#[test]
fn what_an_import_fails_of_is_said_to_the_part_that_is_there() {
    let bench = Bench::new();
    let serving = bench.serve(&["--format", "qcow2"]);
    let disk = noise(4 << 20);
    let path = create(&serving, disk.len(), &[]);
    // It is no qcow2, which shows long before its end: the part is not taken to its end.
    let answer = patch(&serving, &path, 0, &disk).refused(422, "disk-format");
    assert_eq!(answer.field("tus-resumable"), Some("1.0.0"));
    let told = serving.ask(&head("GET", &path, &[]), b"").is(200).json();
    assert_eq!(told["error"], answer.json()["error"]);
    bench.registry.assert_empty();
}

#[test]
fn clients_learn_what_is_spoken() {
    let bench = Bench::new();
    let serving = bench.serve(&["--max-size", "5GiB"]);
    let answer = serving.ask(&head("OPTIONS", "/upload", &[]), b"").is(204);
    assert_eq!(answer.field("tus-version"), Some("1.0.0"));
    assert_eq!(answer.field("tus-extension"), Some("creation,creation-with-upload,termination"));
    assert_eq!(answer.field("tus-max-size"), Some("5368709120"));
    // A client that can only POST.
    let disk = noise(1000);
    let path = create(&serving, disk.len(), &[]);
    let fields = [TUS, PART, ("Upload-Offset", "0"), ("Content-Length", "1000"), ("X-HTTP-Method-Override", "PATCH")];
    serving.ask(&head("POST", &path, &fields), &disk).is(204);
    serving.ask(&head("POST", &path, &[TUS]), b"").refused(405, "method-not-allowed");
}

#[test]
fn the_end_of_the_service_waits_for_uploads_in_parts_too() {
    let bench = Bench::new();
    let serving = bench.serve(&["--drain", "1h"]);
    let disk = noise(1 << 20);
    let path = create(&serving, disk.len(), &[]);
    patch(&serving, &path, 0, &disk[..1000]).is(204);
    serving.signal("TERM");
    serving.wait_for("no more uploads are taken in");
    let mut last = serving.connect();
    last.say(part_head(&path, 1000, disk.len() - 1000).as_bytes());
    last.stream.write_all(&disk[1000..]).unwrap();
    last.answer().is(204);
    serving.ended().done();
    assert!(bench.disk("disk.img") == disk);
}

#[test]
fn metrics_say_what_came_of_uploads() {
    let bench = Bench::new();
    let serving = bench.serve(&["--health-listen", "127.0.0.1:0"]);
    let disk = noise(1 << 20);
    let path = create(&serving, disk.len(), &[]);
    patch(&serving, &path, 0, &disk[..500_000]).is(204);
    let text = serving.health("/metrics").is(200).text();
    let has = |text: &str, line: &str| assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    has(&text, "longshore_uploads_running 1");
    has(&text, "longshore_uploads_total{outcome=\"done\"} 0");
    assert!(text.contains("longshore_uploads_phase{phase=\"opening\"} "), "{text}");
    patch(&serving, &path, 500_000, &disk[500_000..]).is(204);
    let wrong = format!("/upload?checksum=md5:{}", "0".repeat(32));
    serving.ask(&head("PUT", &wrong, &[("Content-Length", "1000")]), &noise(1000)).refused(422, "checksum-mismatch");
    serving.ask(&head("GET", "/../secret{}\"\\", &[]), b"");
    let answer = serving.health("/metrics").is(200);
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    for line in [
        "longshore_uploads_running 0",
        "longshore_uploads_total{outcome=\"done\"} 1",
        "longshore_uploads_total{outcome=\"checksum-mismatch\"} 1",
        "longshore_uploads_total{outcome=\"internal\"} 0",
        "longshore_received_bytes_total 1049576",
        "longshore_attempts_total 2",
        "longshore_sent_twice_bytes_total 0",
        "longshore_answers_total{status=\"422\"} 1",
        "longshore_answers_total{status=\"204\"} 2",
    ] {
        has(&text, line);
    }
    assert!(text.contains("longshore_stage_seconds_total{stage=\"upload\",spent=\"busy\"} "), "{text}");
    let plain = "cipher_suite=\"none\",group=\"none\"} ";
    assert!(text.contains(&format!("longshore_sessions_total{{side=\"client\",version=\"none\",{plain}")), "{text}");
    assert!(!text.contains("secret"), "{text}");
    // What Prometheus takes: every line is a comment or a name, labels and a number.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok() && name.starts_with(|c: char| c.is_ascii_lowercase()), "{line}");
    }
}

//! Uploads that go on: registries that restart, proxies in between, tokens that run out, and what a check finds out before.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use longshore_tests::layers::assert_layout_empty;
use longshore_tests::nginx::Nginx;
use longshore_tests::program::{Ran, hasty, import, import_from, longshore, ran};
use longshore_tests::proxy::{Fault, Proxy};
use longshore_tests::ranges::{self, Content};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Script, empty, with};
use longshore_tests::sink::{self, Seen, Turn, Turning};
use longshore_tests::tls::Authority;
use longshore_tests::tokens::{Manner, turning};

const DISK: usize = 3_000_000;
const MIB: u64 = 1 << 20;

/// A disk, and a sink over TLS.
struct Stage {
    scratch: Scratch,
    authority: Authority,
    sink: Script,
    seen: Arc<Seen>,
}

impl Stage {
    fn new(turning: Turning) -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        raw(&scratch.path("disk.raw"), DISK);
        let (sink, seen) = sink::start_turned(Some(authority.server_config()), turning);
        Self { scratch, authority, sink, seen }
    }

    fn import(&self, more: &[&str]) -> Ran {
        self.import_from(&self.scratch.text("disk.raw"), more)
    }

    fn import_from(&self, source: &str, more: &[&str]) -> Ran {
        let (to, ca) = (format!("docker://{}/vm:1", self.sink.host()), self.authority.ca());
        import([&[source, &to, "--ca", &ca], more].concat())
    }
}

fn honest() -> Turning {
    Arc::new(|_, _| Turn::Sink)
}

#[test]
fn a_check_asks_for_everything_and_moves_nothing() {
    let stage = Stage::new(honest());
    let (source, asked) = ranges::serve_paced(
        Content::file(&stage.scratch.path("disk.raw")),
        ranges::Manner::Honest,
        Arc::new(|_| (std::time::Duration::ZERO, 4096)),
    );
    let url = source.url("disk.raw");
    let ran = stage.import_from(&url, &["--check", "--plain-http", &source.host(), "--report", "-"]).done();
    let report = ran.report();
    assert_eq!((&report["outcome"], &report["error"]), (&"checked".into(), &serde_json::Value::Null));
    assert_eq!(report["source"]["size"], DISK);
    assert_eq!((&report["source"]["access"], &report["source"]["revision"]), (&"ranged".into(), &"\"one\"".into()));
    assert_eq!(report["preflight"]["destination_opened"], true);
    assert_eq!(report["preflight"]["chunk_bytes"], 16 * MIB);
    assert_eq!(
        (&report["image"]["reference"], &report["image"]["tags"]),
        (&serde_json::Value::Null, &serde_json::json!([]))
    );
    let tls = report["connections"].as_array().unwrap().iter().find(|one| one["side"] == "registry").unwrap();
    assert!(tls["tls"]["cipher_suite"].as_str().unwrap().contains("AES"), "{tls}");
    assert_eq!((stage.seen.count("POST"), stage.seen.count("DELETE")), (1, 1));
    assert_eq!((stage.seen.count("PATCH"), stage.seen.count("PUT")), (0, 0));
    assert!(!stage.seen.committed());
    assert!(asked.sent.load(SeqCst) < DISK as u64, "{:?}", asked.sum());

    let ran = stage.import(&["--check"]).done();
    assert_eq!(ran.stdout, "");
    for says in ["nothing was pushed", "read again from any byte", "lets us push", "registry: https://"] {
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
}

#[test]
fn a_check_fails_as_the_import_would() {
    let denied = Stage::new(Arc::new(|request, _| match request.method == "POST" {
        true => Turn::Answer(empty(403)),
        false => Turn::Sink,
    }));
    denied.import(&["--check"]).failed(16, "registry-denied", &["POST", "403", "left behind: nothing"]);
    let stage = Stage::new(honest());
    let to = format!("docker://{}/vm:1", stage.sink.host());
    let says = ["does not say how long", "--size"];
    import(["-", &*to, "--ca", &*stage.authority.ca(), "--check"]).failed(11, "source-length-unknown", &says);
    stage.import_from("/nonexistent/disk.raw", &["--check"]).failed(10, "source-not-found", &[]);
    import([&*stage.scratch.text("disk.raw"), &to, "--check"]).failed(15, "tls-certificate", &["--ca"]);
    assert_eq!(stage.seen.count("POST"), 0);
    // Whatever the registry does not let go of is told.
    let clinging = Stage::new(Arc::new(|request, _| match request.method == "DELETE" {
        true => Turn::Answer(empty(405)),
        false => Turn::Sink,
    }));
    let ran = clinging.import(&["--check"]).done();
    assert!(ran.stderr.contains("the check leaves behind an unfinished upload in"), "{}", ran.stderr);
}

#[test]
fn a_check_tells_how_a_registry_takes_chunks() {
    let stage = Stage::new(Arc::new(|request, _| match request.method == "POST" {
        true => {
            let mut answer = with(202, "location", "/v2/vm/blobs/uploads/1");
            answer.headers_mut().insert("oci-chunk-min-length", (20 * MIB).into());
            Turn::Answer(answer)
        }
        false => Turn::Sink,
    }));
    let report = stage.import(&["--check", "--report", "-"]).done().report();
    assert_eq!(report["preflight"]["least_chunk_bytes"], 20 * MIB);
    assert_eq!(report["preflight"]["chunk_bytes"], 20 * MIB);
    // What is compressed cannot be brought again, and so much is not held.
    let report = stage.import(&["--check", "--compressor", "gzip", "--report", "-"]).done().report();
    assert_eq!(report["preflight"]["chunk_bytes"], serde_json::Value::Null);
}

#[test]
fn a_check_of_a_layout_leaves_it_empty() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), DISK);
    let to = format!("oci:{}:1", scratch.text("layout"));
    import([&*scratch.text("disk.raw"), &to, "--check"]).done();
    assert_layout_empty(&scratch.path("layout"));
}

#[test]
fn chunks_get_the_token_of_their_time() {
    // One that does not say how long it lives lives a minute: it is renewed before every request.
    let (tokened, tokens) = turning(Manner { answer: r#"{"access_token":"token-{n}"}"#, ..Manner::default() });
    let stage = Stage::new(Arc::new(move |request, count| match tokened(request, count) {
        Turn::Sink if request.method == "PATCH" && too_long(request) => Turn::Answer(empty(413)),
        other => other,
    }));
    stage.import(&["--policy", &hasty(&stage.scratch)]).done();
    let bearers = tokens.bearers.lock().unwrap();
    let mut patches: Vec<_> = bearers.iter().filter(|bearer| bearer.starts_with("PATCH")).collect();
    let count = patches.len();
    patches.dedup();
    assert_eq!((count, patches.len()), (6 + 2, count), "{bearers:?}");
}

#[test]
fn attempts_do_not_multiply() {
    let stage = Stage::new(Arc::new(|request, count| match request.method.as_str() {
        "PATCH" => Turn::Answer(empty(503)),
        "POST" if count > 1 => Turn::Answer(empty(503)),
        _ => Turn::Sink,
    }));
    stage.import(&["--policy", &hasty(&stage.scratch)]).failed(12, "registry-failed", &["503"]);
    // Five in a row, of which the PATCH was the first.
    assert_eq!((stage.seen.count("PATCH"), stage.seen.count("POST")), (1, 1 + 4));
}

#[test]
fn a_token_server_that_is_away_for_a_moment_ends_nothing() {
    let (tokened, tokens) = turning(Manner { answer: r#"{"access_token":"token-{n}"}"#, ..Manner::default() });
    let away = std::sync::atomic::AtomicUsize::new(0);
    // Every third time it is asked it cannot.
    let stage = Stage::new(Arc::new(move |request, count| {
        if request.uri.path() == "/token" && away.fetch_add(1, SeqCst) % 3 == 2 {
            return Turn::Answer(empty(503));
        }
        tokened(request, count)
    }));
    stage.import(&["--policy", &hasty(&stage.scratch)]).done();
    assert!(tokens.asked.lock().unwrap().len() > 4);
    assert!(stage.seen.committed());
}

fn too_long(request: &hyper::http::request::Parts) -> bool {
    let length = request.headers.get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_none_or(|length| length > MIB)
}

/// A policy with many quick attempts, for a peer that is away for a while.
fn patient(scratch: &Scratch, authority: Option<&Authority>) -> String {
    let path = scratch.path("patient.toml");
    let ca = authority.map_or_else(String::new, |authority| format!("[tls]\nca = [\"{}\"]\n", authority.ca()));
    let text = format!(
        "schema = \"longshore.policy/v1\"\n{ca}[limits]\nattempts = 100\nback-off = \"20ms\"\n\
         [flags]\nallow = [\"--plain-http\"]\n"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_registry_that_is_killed_and_comes_back_gets_the_rest() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        raw(&scratch.path("disk.raw"), DISK);
        let mut registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let (disk, host) = (scratch.text("disk.raw"), registry.host());
        let undisturbed = import([&*disk, &*format!("docker://{host}/other:1"), "--plain-http", &host]).done().digest();
        let arguments = ["import", &*disk, &*registry.reference("vm:1"), "--plain-http", &host, "--report", "-"];
        let mut command = longshore(arguments);
        command.args(["--limit-rate", "1MiB", "--policy", &patient(&scratch, None)]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let written = || {
            let uploads = registry.storage().join("docker/registry/v2/repositories/vm/_uploads");
            fs::read_dir(uploads)
                .into_iter()
                .flatten()
                .flatten()
                .any(|upload| fs::metadata(upload.path().join("data")).is_ok_and(|data| data.len() >= MIB))
        };
        while !written() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before a MiB was written");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        registry.restart();
        let report = ran(&child.wait_with_output().unwrap()).done().report();
        assert_eq!(report["image"]["digest"], undisturbed.as_str(), "{version:?}");
        let transfer = &report["transfer"];
        let resumed = transfer["resumes"].as_u64().unwrap();
        assert_eq!(resumed > 0, version == Version::V3, "{version:?}: {transfer}");
        assert!(transfer["attempts"].as_u64().unwrap() > 1, "{transfer}");
        assert!(registry.has_tag("vm", "1"));
    }
}

#[test]
fn what_keeps_failing_is_given_up_in_time() {
    let stage = Stage::new(Arc::new(|request, _| match request.method == "PATCH" {
        true => Turn::Answer(empty(503)),
        false => Turn::Sink,
    }));
    // The pauses grow until the next one would be too long for what is left of the second.
    let policy = stage.scratch.path("short.toml");
    let limits = "[limits]\nattempts = 1000\nback-off = \"1ms\"\ntotal = \"1s\"";
    fs::write(&policy, format!("schema = \"longshore.policy/v1\"\n{limits}\n[flags]\nallow = [\"--ca\"]\n")).unwrap();
    let says = ["PATCH https://", "503", "s in a row (`limits.total`)", "left behind: nothing"];
    stage.import(&["--policy", &policy.display().to_string()]).failed(12, "registry-failed", &says);
    assert!((2..20).contains(&stage.seen.count("PATCH")), "{}", stage.seen.count("PATCH"));
}

#[test]
fn chunks_larger_than_memory_come_from_the_source_or_the_spool_again() {
    let (size, least) = (45_000_000_usize, 20 * MIB);
    for version in VERSIONS {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let disk = raw(&scratch.path("disk.raw"), size);
        let policy = patient(&scratch, Some(&authority));
        let setup = Setup { version, more: "  relativeurls: true\n", ..Setup::default() };
        let registry = Registry::start(&scratch, "registry", setup);
        // It takes no request larger than the least that it takes, and the first one of those that passes breaks.
        let broken = || {
            let proxy = Proxy::start(registry.port(), Fault::After("PATCH", 5_000_000));
            let location = format!(
                "location /v2/ {{ proxy_pass http://{}; client_max_body_size {least}; \
                 add_header OCI-Chunk-Min-Length {least} always; }}",
                proxy.host()
            );
            (Nginx::with(&scratch, &authority, &location), proxy)
        };
        let flags = |host: &str, tag: &str| {
            [format!("docker://{host}/vm:{tag}"), "--policy".into(), policy.clone(), "--report".into(), "-".into()]
        };
        let (layout, source) = (format!("oci:{}:1", scratch.text("layout")), scratch.text("disk.raw"));
        let expected = import([&*source, &*layout, "--report", "-"]).done().report()["image"]["digest"].clone();

        let (nginx, proxy) = broken();
        let mut all = vec![source];
        all.extend(flags(&nginx.host(), "file"));
        let report = import(&all).done().report();
        assert_eq!(report["image"]["digest"], expected, "{version:?}");
        assert_eq!(report["preflight"]["chunk_bytes"], least);
        assert!(proxy.failed());
        let upload = &report["transfer"]["upload"];
        assert!(upload["too-large"] == 1 && upload["chunk-taken"].as_u64() >= Some(1), "{version:?}: {upload}");

        // Standard input cannot be brought again, so there are no chunks larger than memory.
        let (nginx, _proxy) = broken();
        let mut all = vec!["-".to_owned()];
        all.extend(flags(&nginx.host(), "once"));
        all.extend(["--size".to_owned(), size.to_string()]);
        import_from(&all, &disk).failed(12, "registry-failed", &["PATCH https://", "413"]);

        let (nginx, proxy) = broken();
        let mut all = vec!["-".to_owned()];
        all.extend(flags(&nginx.host(), "spooled"));
        all.extend(["--spool".to_owned(), scratch.text(""), "--spool-max".to_owned(), "64MiB".to_owned()]);
        let report = import_from(&all, &disk).done().report();
        assert_eq!(report["preflight"]["chunk_bytes"], least);
        assert!(proxy.failed() && registry.has_tag("vm", "spooled"));
    }
}

#[test]
fn nginx_in_between_with_and_without_buffering() {
    for version in VERSIONS {
        for (more, chunked) in [
            // Its defaults: buffered, and at most 1 MiB of a body.
            ("", true),
            ("client_max_body_size 0;", false),
            ("client_max_body_size 0; proxy_request_buffering off; proxy_http_version 1.1;", false),
        ] {
            let scratch = Scratch::new();
            let authority = Authority::new(&scratch);
            raw(&scratch.path("disk.raw"), DISK);
            let setup = Setup { version, more: "  relativeurls: true\n", ..Setup::default() };
            let registry = Registry::start(&scratch, "registry", setup);
            let proxy = format!("location /v2/ {{ proxy_pass http://{}; {more} }}", registry.host());
            let nginx = Nginx::with(&scratch, &authority, &proxy);
            let to = format!("docker://{}/vm:1", nginx.host());
            let policy = patient(&scratch, Some(&authority));
            let report =
                import([&*scratch.text("disk.raw"), &to, "--policy", &policy, "--report", "-"]).done().report();
            assert!(registry.has_tag("vm", "1"));
            assert_eq!(report["transfer"]["attempts"].as_u64().unwrap() > 1, chunked, "{version:?} {more}: {report}");
        }
    }
}

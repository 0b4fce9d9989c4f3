//! Filters, compressor and chosen sources: each is seen in the image and in the report, each fails clean, and whoever caused
//! a failure is the one who is named.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::fixtures::Fixture;
use longshore_tests::layers::{Pulled, assert_layout_empty, pull};
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, import, import_from, longshore, watched};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, qcow2, raw, run};
use longshore_tests::script::{Handler, Script, streamed, zeros};
use longshore_tests::sink;
use longshore_tests::tls::Authority;
use serde_json::{Value, json};

const DISK: usize = 1_000_003;
/// What `filter-head` lets through.
const HEAD: usize = 700_000;

/// A folder, a registry, and a layout in the folder.
struct Place {
    scratch: Scratch,
    registry: Registry,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup::default());
        Self { scratch, registry }
    }

    fn layout(&self) -> String {
        format!("oci:{}:1", self.scratch.text("layout"))
    }

    fn to_layout(&self, source: &str, more: &[&str]) -> Ran {
        import([&[source, &*self.layout(), "--report", "-"], more].concat())
    }

    fn to_registry(&self, source: &str, more: &[&str]) -> Ran {
        let (to, host) = (self.registry.reference("vm:1"), self.registry.host());
        import([&[source, &*to, "--plain-http", &*host, "--report", "-"], more].concat())
    }

    fn pulled(&self, name: &str) -> Pulled {
        pull(&self.scratch, name, &[], &self.layout())
    }

    /// Imports into both, which must fail alike and leave nothing.
    fn fails(&self, source: &str, more: &[&str], exit: i32, code: &str, says: &[&str]) -> Ran {
        self.to_registry(source, more).failed(exit, code, says);
        // Whether distribution 2.8 lets an upload be cancelled depends on how far it came: a layout always does.
        let ran = self.to_layout(source, more).failed(exit, code, says);
        self.registry.assert_empty();
        assert_layout_empty(&self.scratch.path("layout"));
        ran
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn stages<'a>(report: &'a Value, stage: &str) -> Vec<&'a Value> {
    report["stages"].as_array().unwrap().iter().filter(|entry| entry["stage"] == stage).collect()
}

fn digest_of(fixture: Fixture) -> String {
    sha256(&fs::read(fixture.path()).unwrap())
}

/// A server whose disk ends after `sent` of `announced` bytes.
fn cut_short(sent: usize, announced: usize) -> Script {
    let handler: Handler = Arc::new(move |_| {
        Box::pin(async move {
            let broken = std::io::Error::other("the script breaks off");
            let chunks = vec![Ok(Bytes::from(vec![7; sent])), Err(broken)];
            streamed(Some(announced as u64), stream::iter(chunks))
        })
    });
    Script::start(None, handler)
}

#[test]
fn a_filter_is_seen_in_the_disk_its_name_the_verdict_and_the_report() {
    let place = Place::new();
    let disk = qcow2(&place.scratch.path("vm.qcow2"));
    let rotten: Vec<u8> = disk.iter().map(|byte| byte.wrapping_sub(1)).collect();
    fs::write(place.scratch.path("vm.qcow2.rot"), &rotten).unwrap();
    let source = place.scratch.text("vm.qcow2.rot");
    let filter = Fixture::FilterRot.path();
    let received = sha256(&rotten);
    let arguments = ["--filter", &*filter, "--checksum", &*received];
    let ran = place.to_layout(&source, &arguments).done();
    let image = place.pulled("pulled");
    assert!(image.file("disk/vm.qcow2") == disk, "what is pushed is what the filter made");
    let labels = &image.config["config"]["Labels"];
    assert_eq!(labels["source-image-format"], "qcow2", "the probe stands behind the filter");
    assert_eq!(labels["source-image-virtual-size"], (64 << 20).to_string());
    let report = ran.report();
    let [entry] = &stages(&report, "filter")[..] else { panic!("{report}") };
    assert_eq!(entry["component"]["name"], "filter-rot");
    assert_eq!(entry["component"]["version"], "0.1.0");
    assert_eq!(entry["component"]["digest"], digest_of(Fixture::FilterRot));
    assert_eq!((&entry["bytes_in"], &entry["bytes_out"]), (&json!(disk.len()), &json!(disk.len())));
    let digest = &report["image"]["digest"];
    assert_eq!(place.to_registry(&source, &arguments).done().report()["image"]["digest"], *digest);
    // A checksum is over what was received, not over what the filter made of it.
    let wrong = sha256(&disk);
    let place = Place::new();
    place.fails(&source, &["--filter", &filter, "--checksum", &wrong], 11, "checksum-mismatch", &[&received, &wrong]);
}

#[test]
fn filters_are_applied_in_the_order_in_which_they_are_named() {
    let place = Place::new();
    let disk = raw(&place.scratch.path("disk.raw"), DISK);
    let (rot, head) = (Fixture::FilterRot.path(), Fixture::FilterHead.path());
    let arguments = ["--filter", &*rot, "--filter", &*head, "--filter", &*rot];
    let report = place.to_layout(&place.scratch.text("disk.raw"), &arguments).done().report();
    let expected: Vec<u8> = disk.iter().take(HEAD).map(|byte| byte.wrapping_add(2)).collect();
    // The second filter's name is no path, and the last one passes it on.
    assert!(place.pulled("pulled").file("disk/.._head.raw") == expected);
    let filters = stages(&report, "filter");
    let names: Vec<&str> = filters.iter().map(|entry| entry["component"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["filter-rot", "filter-head", "filter-rot"]);
    let bytes: Vec<_> = filters.iter().map(|entry| (entry["bytes_in"].clone(), entry["bytes_out"].clone())).collect();
    let all = (json!(DISK), json!(DISK));
    assert_eq!(bytes, [all, (json!(DISK), json!(HEAD)), (json!(HEAD), json!(HEAD))]);
    assert_eq!(report["disk"]["name"], ".._head.raw");
    let named = [&arguments[..], &["--name", "mine.raw"]].concat();
    assert_eq!(place.to_registry(&place.scratch.text("disk.raw"), &named).done().report()["disk"]["name"], "mine.raw");
}

#[test]
fn a_filter_that_hands_its_input_on_changes_nothing() {
    let place = Place::new();
    raw(&place.scratch.path("disk.raw"), DISK);
    let source = place.scratch.text("disk.raw");
    let plain = place.to_registry(&source, &["--filter", "none"]).done().report();
    let pass = Fixture::FilterPass.path();
    let passed = place.to_layout(&source, &["--filter", &pass, "--filter", &pass]).done().report();
    assert_eq!(passed["image"]["digest"], plain["image"]["digest"]);
    for entry in stages(&passed, "filter") {
        assert_eq!((&entry["bytes_in"], &entry["bytes_out"]), (&json!(DISK), &json!(DISK)));
    }
}

#[test]
fn what_a_filter_does_not_read_is_read_by_the_host_and_must_end_well() {
    let place = Place::new();
    let disk = raw(&place.scratch.path("disk.raw"), DISK);
    let head = Fixture::FilterHead.path();
    let sum = sha256(&disk);
    let arguments = ["--filter", &*head, "--checksum", &*sum];
    let report = place.to_layout(&place.scratch.text("disk.raw"), &arguments).done().report();
    assert_eq!(report["source"]["checksums"]["computed"], json!([sum]), "over the bytes the filter dropped too");
    assert_eq!(report["transfer"]["bytes_received"], DISK);
    let place = Place::new();
    let source = cut_short(HEAD + 100_000, DISK);
    let plain = ["--filter", &*head, "--plain-http", &*source.host()];
    let says = ["800000 bytes", "expected 1000003"];
    let report = place.fails(&source.url("disk.raw"), &plain, 10, "source-truncated", &says).report();
    assert_eq!((&report["error"]["stage"], &report["error"]["blame"]), (&json!("source"), &json!("source")));
}

#[test]
fn a_source_that_is_cut_short_is_to_blame_whatever_stands_behind_it() {
    let place = Place::new();
    let source = cut_short(1 << 20, 3 << 20);
    let host = source.host();
    let (rot, pass, store) = (Fixture::FilterRot.path(), Fixture::FilterPass.path(), Fixture::CompressorStore.path());
    for stages in [
        &["--filter", &*rot][..],
        &["--filter", &*pass],
        &["--filter", &*rot, "--filter", &*pass],
        &["--filter", &*rot, "--filter", &*rot],
        &["--compressor", &*store],
        &["--filter", &*rot, "--compressor", &*store],
    ] {
        let arguments = [stages, &["--plain-http", &host]].concat();
        let report = place
            .fails(&source.url("disk.raw"), &arguments, 10, "source-truncated", &["1048576 bytes", "expected 3145728"])
            .report();
        let error = &report["error"];
        assert_eq!((&error["stage"], &error["blame"]), (&json!("source"), &json!("source")), "{stages:?}");
    }
}

#[test]
fn a_filter_that_fails_breaks_its_contract_or_is_hostile_commits_nothing() {
    let place = Place::new();
    raw(&place.scratch.path("disk.raw"), 3 << 20);
    let source = place.scratch.text("disk.raw");
    let fails = |fixture: Fixture, exit, code, stage: &str, blame: &str, says: &[&str], golden: &str| {
        let ran = place.fails(&source, &["--filter", &fixture.path()], exit, code, says).golden(golden);
        let report = ran.report();
        let error = &report["error"];
        assert_eq!((&error["stage"], &error["blame"]), (&json!(stage), &json!(blame)), "{fixture:?}");
    };
    let says = ["`filter-liar` wrote 3145728 bytes", "expected 3145729 as it announced"];
    fails(
        Fixture::FilterLiar,
        11,
        "disk-length-mismatch",
        "filter",
        "content",
        &says,
        "golden:filter-lies-about-its-length",
    );
    let says = ["`filter-flood` wrote at least ", "expected 1048576 as it announced"];
    fails(Fixture::FilterFlood, 11, "disk-length-mismatch", "filter", "content", &says, "golden:filter-floods");
    let says = ["filter-invalid: a member ends in its header"];
    fails(Fixture::FilterInvalid, 11, "disk-invalid", "filter", "content", &says, "golden:filter-says-invalid");
    let says = ["the filter `filter-open` ended but left its output open"];
    fails(
        Fixture::FilterOpen,
        14,
        "component-contract",
        "filter",
        "component",
        &says,
        "golden:filter-leaves-its-output-open",
    );
    let says = ["the filter `filter-hoard` was stopped", "bytes of memory in all, granted are 67108864"];
    fails(
        Fixture::FilterHoard,
        14,
        "component-budget",
        "filter",
        "component",
        &says,
        "golden:filter-allocates-without-end",
    );
    let says = ["`filter-fetch` imports `longshore:stage/fetch@0.1.0`", "not granted to a filter"];
    fails(
        Fixture::FilterFetch,
        14,
        "component-invalid",
        "plan",
        "component",
        &says,
        "golden:filter-imports-what-is-not-granted",
    );
}

#[test]
fn a_length_that_nobody_says_is_missing_and_the_user_may_say_it() {
    let place = Place::new();
    let disk = raw(&place.scratch.path("disk.raw"), DISK);
    let rot = Fixture::FilterRot.path();
    let run = |more: &[&str]| import_from([&["-", &*place.layout(), "--filter", &*rot], more].concat(), &disk);
    let says = ["the filter `filter-rot` does not say how long the disk is", "--size BYTES"];
    run(&[]).failed(11, "source-length-unknown", &says);
    let says = ["the filter `filter-rot` wrote at least 1000003 bytes", "expected 1000002 as --size says"];
    run(&["--size", "1000002"]).failed(11, "disk-length-mismatch", &says);
    assert!(!place.scratch.path("layout").join("index.json").exists());
    run(&["--size", "1000003"]).done();
    let expected: Vec<u8> = disk.iter().map(|byte| byte.wrapping_add(1)).collect();
    assert!(place.pulled("pulled").file("disk/disk.img") == expected);
    // A filter that knows better is believed before the user.
    let ran = place.to_layout(&place.scratch.text("disk.raw"), &["--filter", &rot, "--size", "5"]);
    ran.failed(11, "disk-length-mismatch", &["announces 1000003 bytes, expected 5 as --size says"]);
}

#[test]
fn a_compressed_layer_is_read_by_skopeo_and_tar_and_has_two_digests() {
    let place = Place::new();
    let disk = raw(&place.scratch.path("disk.raw"), DISK);
    let source = place.scratch.text("disk.raw");
    let plain = place.to_layout(&source, &[]).done().report();
    let store = Fixture::CompressorStore.path();
    let report = place.to_layout(&source, &["--compressor", &store]).done().report();
    let host = place.registry.host();
    let pushed = place.to_registry(&source, &["--compressor", &store]).done().report();
    assert_eq!(pushed["image"], {
        let mut same = report["image"].clone();
        same["reference"] = pushed["image"]["reference"].clone();
        same
    });
    let from = format!("docker://{host}/vm:1");
    for (name, arguments, from) in
        [("from-layout", &[][..], &*place.layout()), ("from-registry", &["--src-tls-verify=false"], &from)]
    {
        let image = pull(&place.scratch, name, arguments, from);
        let layer = fs::read(image.layer()).unwrap();
        let blob = &image.manifest["layers"][0];
        assert_eq!(blob["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
        assert_eq!((&blob["digest"], &blob["size"]), (&json!(sha256(&layer)), &json!(layer.len())));
        assert_eq!(image.config["rootfs"]["diff_ids"], json!([plain["image"]["layer_digest"]]));
        run(Command::new("gzip").arg("-t").stdin(fs::File::open(image.layer()).unwrap()));
        assert!(image.file("disk/disk.raw") == disk);
        assert_eq!(image.listing().len(), 2);
    }
    let [entry] = &stages(&report, "compressor")[..] else { panic!("{report}") };
    assert_eq!(entry["component"]["digest"], digest_of(Fixture::CompressorStore));
    assert_eq!(entry["bytes_in"], plain["image"]["layer_size"]);
    assert_eq!(entry["bytes_out"], report["image"]["layer_size"]);
    assert_eq!(report["transfer"]["bytes_sent"], report["image"]["layer_size"]);
    assert_eq!(report["image"]["layer_media_type"], "application/vnd.oci.image.layer.v1.tar+gzip");
}

#[test]
fn a_compressor_that_nobody_could_read_or_that_does_not_compress_is_refused() {
    let place = Place::new();
    raw(&place.scratch.path("disk.raw"), DISK);
    let source = place.scratch.text("disk.raw");
    let says = ["`compressor-xz` declares the suffix `xz`", "expected gzip or zstd"];
    let xz = Fixture::CompressorXz.path();
    place.fails(&source, &["--compressor", &xz], 14, "component-invalid", &says);
    let says = ["the compressor `compressor-back` handed its input back"];
    let back = Fixture::CompressorBack.path();
    place.fails(&source, &["--compressor", &back], 14, "component-contract", &says);
    place.fails(&source, &["--filter", &back], 14, "component-invalid", &["does not export", "filter@0.1.0"]);
    let says = ["there is no built-in compressor `xz`", "compressor-gzip or compressor-zstd"];
    place.fails(&source, &["--compressor", "xz"], 2, "usage", &says);
    place.fails(&source, &["--filter", "auto", "--filter", "gzip"], 2, "usage", &["`--filter auto` excludes"]);
    let says = ["there is no built-in filter `lz4`", "filter-gzip or filter-xz or filter-zstd"];
    place.fails(&source, &["--filter", "lz4"], 2, "usage", &says);
    place.fails(&source, &["--filter", "docker://r.example/f@sha256:0"], 2, "usage", &["is not a reference"]);
}

#[test]
fn a_scheme_is_opened_by_the_component_that_declares_it() {
    let place = Place::new();
    let scheme = Fixture::SourceScheme.path();
    let typed = "FOO://Host.example:99/a//disk%20x.raw?sig=hunter2#part";
    let ran = place.to_layout(typed, &["--source", &scheme]).done();
    let image = place.pulled("pulled");
    let disk = image.file("disk/disk x.raw");
    assert_eq!(String::from_utf8_lossy(&disk).trim_end_matches('\0'), typed, "passed on as typed");
    let shown = "foo://Host.example:99/a//disk%20x.raw";
    assert_eq!(image.manifest["annotations"]["org.opencontainers.image.source"], shown);
    assert_eq!(ran.report()["source"]["location"], format!("{shown}?<redacted>"));
    assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"));
    assert_eq!(ran.report()["connections"], json!([]));

    let place = Place::new();
    raw(&place.scratch.path("disk.raw"), DISK);
    let says = ["no built-in source opens `foo` locations", "http, https, file", "--source FILE"];
    place.fails("foo://x", &[], 2, "usage", &says);
    let says = ["the source `source-http` does not open `foo` locations", "it declares http, https"];
    place.fails("foo://x", &["--source", "source-http"], 2, "usage", &says);
    let says = ["the source `source-scheme` does not open `file` locations", "it declares foo, bar"];
    place.fails(&place.scratch.text("disk.raw"), &["--source", &scheme], 2, "usage", &says);
}

#[test]
fn a_chosen_source_is_granted_the_host_that_its_location_names_and_nothing_else() {
    let place = Place::new();
    let body = vec![7; 5000];
    let server = Script::start(None, {
        let body = body.clone();
        Arc::new(move |_| {
            let chunk = Bytes::from(body.clone());
            Box::pin(async move { streamed(Some(chunk.len() as u64), stream::iter([Ok(chunk)])) })
        })
    });
    let (scheme, host) = (Fixture::SourceScheme.path(), server.host());
    let arguments = ["--source", &*scheme, "--plain-http", &*host];
    place.to_layout(&format!("bar://{host}/disk.raw"), &arguments).done();
    assert!(place.pulled("pulled").file("disk/disk.raw") == body);
    let place = Place::new();
    let says = [&*format!("asked for http://{host}, which was not granted")];
    // Named behind the slashes it is a path of no host.
    place.fails(&format!("bar:///{host}/disk.raw"), &arguments, 13, "egress-denied", &says);
    // Without --plain-http the host is granted over TLS only.
    place.fails(&format!("bar://{host}/disk.raw"), &["--source", &scheme], 13, "egress-denied", &says);
}

#[test]
fn memory_stays_flat_through_a_filter_and_a_compressor() {
    const DISK: u64 = 2 << 30;
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let (registry, seen) = sink::start(Some(authority.server_config()), None);
    let handler: Handler = Arc::new(|_| Box::pin(async { zeros(DISK) }));
    let source = Script::start(Some(authority.server_config()), handler);
    let (filter, compressor) = (Fixture::FilterRot.path(), Fixture::CompressorStore.path());
    let to = format!("docker://{}/vm:1", registry.host());
    let mut command = longshore(["import", &source.url("disk.raw"), &to, "--ca", &authority.ca(), "--report", "-"]);
    command.args(["--filter", &filter, "--compressor", &compressor]);
    let (ran, peak) = watched(&mut command);
    let ran = ran.done();
    println!("peak of its own {} MiB", peak >> 20);
    assert!(peak > 0 && peak <= MOST_OF_ITS_OWN, "{} MiB", peak >> 20);
    assert!(seen.received.load(SeqCst) > DISK);
    assert_eq!(ran.report()["image"]["layer_size"], seen.received.load(SeqCst));
}

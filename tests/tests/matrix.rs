//! Every source into every destination, byte for byte, as skopeo, crane and umoci read it.

use std::fs;
use std::path::Path;

use longshore_tests::layers::{self, Pulled, pull};
use longshore_tests::nginx::Nginx;
use longshore_tests::program::{import, import_from};
use longshore_tests::registry::{Registry, Setup, Version};
use longshore_tests::scratch::{Scratch, qcow2, raw};
use longshore_tests::tls::Authority;

/// Not a multiple of 512.
const ODD: usize = 1_000_003;

struct Case {
    disk: Vec<u8>,
    name: &'static str,
    format: &'static str,
    virtual_size: u64,
}

fn cases(scratch: &Scratch) -> [Case; 2] {
    let www = scratch.folder("www");
    [
        Case { disk: qcow2(&www.join("vm.qcow2")), name: "vm.qcow2", format: "qcow2", virtual_size: 64 << 20 },
        Case {
            disk: raw(&www.join("vm.raw"), ODD),
            name: "vm.raw",
            format: "raw",
            virtual_size: ODD.next_multiple_of(512) as u64,
        },
    ]
}

/// Imports every case from every source, and looks at it with every reader.
fn all_sources(destination: impl Fn(&str) -> String, more: &[&str], readers: &Readers<'_>) {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let nginx = Nginx::start(&scratch, &authority);
    for case in cases(&scratch) {
        for source in ["https", "file", "stdin"] {
            let tag = format!("{}-{source}", case.format);
            let to = destination(&tag);
            let path = scratch.path("www").join(case.name).display().to_string();
            let size = case.disk.len().to_string();
            let ran = match source {
                "https" => import([&[&*nginx.url(case.name), &to, "--ca", &authority.ca()], more].concat()),
                "file" => import([&[&*path, &to], more].concat()),
                _ => {
                    let arguments = [&["-", &to, "--size", &size, "--name", case.name], more].concat();
                    import_from(arguments, &case.disk)
                }
            };
            let digest = ran.done().digest();
            readers.check(&scratch, &to, &case, &format!("{to} {digest}"));
        }
    }
}

/// Who looks at an image, and how it reaches the destination.
struct Readers<'a> {
    skopeo: &'a [&'a str],
    crane: Crane<'a>,
}

enum Crane<'a> {
    /// crane reads registries only.
    No,
    Trusts(Option<&'a Path>),
}

impl Readers<'_> {
    fn check(&self, scratch: &Scratch, to: &str, case: &Case, what: &str) {
        let work = to.rsplit(':').next().unwrap();
        check(&pull(scratch, work, self.skopeo, to), case, what);
        let file = format!("disk/{}", case.name);
        if let Crane::Trusts(ca) = self.crane {
            let reference = to.strip_prefix("docker://").unwrap();
            assert!(layers::crane(ca, reference, &file) == case.disk, "{what}: crane reads another disk");
        }
        let unpacked = layers::umoci(scratch, work, self.skopeo, to, &file);
        assert!(unpacked == case.disk, "{what}: umoci unpacks another disk");
    }
}

fn check(image: &Pulled, case: &Case, what: &str) {
    assert!(image.file(&format!("disk/{}", case.name)) == case.disk, "{what}: the disk differs");
    let size = case.disk.len();
    assert_eq!(
        image.listing(),
        [
            "drwxr-xr-x 107/107 0 1970-01-01 00:00:00 disk/".to_owned(),
            format!("-rw-r--r-- 107/107 {size} 1970-01-01 00:00:00 disk/{}", case.name),
        ],
        "{what}"
    );
    let layer = fs::metadata(image.layer()).unwrap().len();
    assert_eq!(
        layer,
        1024 + size.next_multiple_of(512) as u64 + 1024,
        "{what}: headers, padded payload, two zero blocks"
    );
    let labels = &image.config["config"]["Labels"];
    assert_eq!(labels["source-image-format"], case.format, "{what}");
    assert_eq!(labels["source-image-size"], size.to_string(), "{what}");
    assert_eq!(labels["source-image-virtual-size"], case.virtual_size.to_string(), "{what}");
    assert_eq!(labels["erofs-compatible-layers"], "true", "{what}");
    assert_eq!(image.config["rootfs"]["diff_ids"][0], image.manifest["layers"][0]["digest"], "{what}");
    assert_eq!((&image.config["os"], &image.config["architecture"]), (&"linux".into(), &"amd64".into()), "{what}");
}

fn into_a_registry_over_tls(version: Version) {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let setup = Setup { version, tls: Some(&authority), ..Setup::default() };
    let registry = Registry::start(&scratch, "registry", setup);
    let (ca, certificates) = (authority.ca(), scratch.text("tls"));
    let readers = Readers { skopeo: &["--src-cert-dir", &certificates], crane: Crane::Trusts(Some(&authority.ca)) };
    all_sources(|tag| registry.reference(&format!("vm/disk:{tag}")), &["--ca", &ca], &readers);
}

fn into_a_plain_registry(version: Version) {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
    let host = registry.host();
    let readers = Readers { skopeo: &["--src-tls-verify=false"], crane: Crane::Trusts(None) };
    all_sources(|tag| registry.reference(&format!("disk:{tag}")), &["--plain-http", &host], &readers);
}

#[test]
fn into_distribution_2_8_over_tls() {
    into_a_registry_over_tls(Version::V2);
}

#[test]
fn into_distribution_3_over_tls() {
    into_a_registry_over_tls(Version::V3);
}

#[test]
fn into_distribution_2_8_without_tls() {
    into_a_plain_registry(Version::V2);
}

#[test]
fn into_distribution_3_without_tls() {
    into_a_plain_registry(Version::V3);
}

#[test]
fn into_an_image_layout() {
    let scratch = Scratch::new();
    let layout = scratch.text("layout");
    let readers = Readers { skopeo: &[], crane: Crane::No };
    all_sources(|tag| format!("oci:{layout}:{tag}"), &[], &readers);
}

#[test]
fn the_same_import_twice_gives_the_same_manifest_everywhere() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let nginx = Nginx::start(&scratch, &authority);
    let registry = Registry::start(&scratch, "registry", Setup::default());
    raw(&scratch.folder("www").join("vm.raw"), ODD);
    let digest = |to: String, more: &[&str]| {
        let (url, ca, host) = (nginx.url("vm.raw"), authority.ca(), registry.host());
        import([&[&*url, &*to, "--ca", &*ca, "--plain-http", &*host], more].concat()).done().digest()
    };
    let first = digest(registry.reference("vm:1"), &[]);
    assert_eq!(digest(registry.reference("vm:2"), &[]), first);
    assert_eq!(digest(registry.reference("other/vm"), &["--tag", "a", "--tag", "b"]), first);
    assert_eq!(digest(format!("oci:{}", scratch.text("layout")), &[]), first);
    for tag in ["a", "b"] {
        assert!(registry.has_tag("other/vm", tag));
    }
    assert!(!registry.has_tag("other/vm", "latest"), "--tag names the only tags");
    assert_ne!(digest(registry.reference("vm:3"), &["--name", "other.raw"]), first, "the name is part of the layer");
}

#[test]
fn credentials_come_from_dockers_configuration() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let setup = Setup { tls: Some(&authority), basic: Some(("porter", "hunter2")), ..Setup::default() };
    let registry = Registry::start(&scratch, "registry", setup);
    raw(&scratch.path("vm.raw"), ODD);
    // base64 of porter:hunter2
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"cG9ydGVyOmh1bnRlcjI="}}}}}}"#, registry.host());
    let folder = scratch.folder("docker");
    fs::write(folder.join("config.json"), config).unwrap();
    let (disk, ca) = (scratch.text("vm.raw"), authority.ca());
    let named = folder.join("config.json").display().to_string();
    import([&*disk, &registry.reference("vm:1"), "--ca", &ca, "--auth-file", &named]).done();
    let mut by_environment =
        longshore_tests::program::longshore(["import", &disk, &registry.reference("vm:2"), "--ca", &ca, "-v"]);
    let ran = longshore_tests::program::finish(by_environment.env("DOCKER_CONFIG", &folder), b"").done();
    assert!(registry.has_tag("vm", "1") && registry.has_tag("vm", "2"));
    assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains("cG9ydGVy"));
}

#[test]
fn the_report_says_what_was_done() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let nginx = Nginx::start(&scratch, &authority);
    let registry = Registry::start(&scratch, "registry", Setup { tls: Some(&authority), ..Setup::default() });
    let disk = qcow2(&scratch.folder("www").join("vm.qcow2"));
    let url = nginx.url("moved/vm.qcow2?signature=hunter2");
    let to = registry.reference("vm:1");
    let ran = import([&*url, &to, "--ca", &authority.ca(), "--report", "-"]).done();
    let report = ran.report();
    assert_eq!(report["schema"], "longshore.report/v1");
    assert_eq!((&report["outcome"], &report["error"]), (&"done".into(), &().into()));
    assert_eq!(report["source"]["size"], disk.len());
    assert_eq!(report["source"]["access"], "ranged");
    assert!(report["source"]["revision"].as_str().unwrap().starts_with('"'));
    assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"), "signed queries are redacted");
    assert_eq!((&report["disk"]["format"], &report["disk"]["virtual_size"]), (&"qcow2".into(), &(64 << 20).into()));
    assert_eq!(report["disk"]["hazards"], serde_json::json!([]));
    assert_eq!(report["image"]["tags"], serde_json::json!(["1"]));
    assert!(report["image"]["reference"].as_str().unwrap().starts_with(&format!("{}/vm@sha256:", registry.host())));
    assert_eq!(report["transfer"]["bytes_received"], disk.len());
    assert_eq!(report["transfer"]["bytes_sent"], report["image"]["layer_size"]);
    assert!(report["bottleneck"]["evidence"].is_string(), "{}", report["bottleneck"]);
    let connections = report["connections"].as_array().unwrap();
    for side in ["source", "registry"] {
        let connection = connections.iter().find(|connection| connection["side"] == side).unwrap();
        let tls = &connection["tls"];
        assert_eq!(tls["version"], "TLSv1.3", "{side}");
        assert!(tls["cipher_suite"].as_str().unwrap().starts_with("TLS_AES_"), "{side}");
        assert!(tls["key_exchange_group"].is_string() && tls["handshake_seconds"].is_number(), "{side}");
    }
    let stages: Vec<_> =
        report["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["source", "probe", "framing", "upload"]);
    assert!(report["process"]["peak_rss_bytes"].as_u64().unwrap() > 0);
}

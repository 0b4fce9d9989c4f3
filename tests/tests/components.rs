//! The components really carry the disk: whoever is swapped is seen in the image and in the report.

use std::fs;
use std::process::Command;

use longshore_tests::fixtures::{ALL, Fixture, folder};
use longshore_tests::layers::pull;
use longshore_tests::program::{finish, import, longshore};
use longshore_tests::scratch::{Scratch, raw, run};

const DISK: usize = 1_000_003;

fn digest_of(path: &str) -> String {
    let sum = run(Command::new("sha256sum").arg(path));
    format!("sha256:{}", sum.split_whitespace().next().unwrap())
}

struct Swapped {
    scratch: Scratch,
    disk: Vec<u8>,
    report: serde_json::Value,
}

fn swapped(flag: &str, fixture: Fixture) -> Swapped {
    let scratch = Scratch::new();
    let disk = raw(&scratch.path("disk.raw"), DISK);
    let to = format!("oci:{}:1", scratch.text("layout"));
    let ran = import([&*scratch.text("disk.raw"), &to, flag, &fixture.path(), "--report", "-"]).done();
    Swapped { disk, report: ran.report(), scratch }
}

impl Swapped {
    fn image(&self) -> longshore_tests::layers::Pulled {
        pull(&self.scratch, "pulled", &[], &format!("oci:{}:1", self.scratch.text("layout")))
    }

    fn component(&self, stage: &str) -> &serde_json::Value {
        let stages = self.report["stages"].as_array().unwrap();
        &stages.iter().find(|entry| entry["stage"] == stage).unwrap()["component"]
    }
}

#[test]
fn a_source_that_flips_a_byte_is_seen_in_the_disk() {
    let swapped = swapped("--source", Fixture::SourceFlip);
    let pushed = swapped.image().file("disk/disk.raw");
    let differing: Vec<usize> = (0..DISK).filter(|at| pushed[*at] != swapped.disk[*at]).collect();
    assert_eq!(differing, [70_000]);
    let component = swapped.component("source");
    assert_eq!((&component["name"], &component["version"]), (&"source-flip".into(), &"0.1.0".into()));
    assert_eq!(component["digest"], digest_of(&Fixture::SourceFlip.path()));
    assert_eq!(component["origin"], Fixture::SourceFlip.path());
}

#[test]
fn a_framing_that_adds_an_entry_is_seen_in_the_layer() {
    let swapped = swapped("--framing", Fixture::FramingExtra);
    let names: Vec<String> =
        swapped.image().listing().iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["disk/disk.raw", "extra"]);
    assert!(swapped.image().file("disk/disk.raw") == swapped.disk);
    assert_eq!(swapped.component("framing")["digest"], digest_of(&Fixture::FramingExtra.path()));
}

#[test]
fn a_probe_that_says_otherwise_is_seen_in_labels_and_report() {
    let swapped = swapped("--probe", Fixture::ProbeOther);
    let labels = &swapped.image().config["config"]["Labels"];
    assert_eq!(labels["source-image-format"], "punched-tape");
    assert_eq!(labels["source-image-virtual-size"], "42");
    let disk = &swapped.report["disk"];
    assert_eq!(disk["format"], "punched-tape");
    assert_eq!(disk["hazards"][0]["code"], "holes");
    assert_eq!(disk["hazards"][0]["message"], format!("begins with {:?}", &swapped.disk[..4]));
    let detail = |at: usize| disk["details"][at][1].as_str().unwrap();
    assert_eq!(detail(0), format!("Ok({:?})", &swapped.disk[..4]), "going back, on a file");
    assert_eq!(detail(1), format!("Ok({:?})", &swapped.disk[DISK - 8..]), "the tail");
    assert_eq!(detail(2), format!("Some({DISK})"));
    assert_eq!(swapped.component("probe")["digest"], digest_of(&Fixture::ProbeOther.path()));
}

#[test]
fn the_reported_digests_are_those_of_components_built_from_the_sources() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), DISK);
    let to = format!("oci:{}", scratch.text("layout"));
    let report = import([&*scratch.text("disk.raw"), &to, "--report", "-"]).done().report();
    let listed = finish(&mut longshore(["component", "list"]), b"").done().stdout;
    let version = finish(&mut longshore(["--version"]), b"").done().stdout;
    for (stage, name) in [("source", "source-file"), ("probe", "probe-disk"), ("framing", "framing-tar")] {
        let file = folder().join("built-in").join(name).with_extension("wasm");
        let digest = digest_of(&file.display().to_string());
        let stages = report["stages"].as_array().unwrap();
        let component = &stages.iter().find(|entry| entry["stage"] == stage).unwrap()["component"];
        assert_eq!(component["digest"], digest, "{name}");
        assert_eq!(component["origin"], "built-in");
        assert!(listed.lines().any(|line| line.starts_with(&format!("{name} 0.1.0 {stage} {digest} "))), "{listed}");
        assert!(version.contains(&format!("{name} {digest}")), "{version}");
    }
    for (kind, name) in [
        ("compressor", "compressor-gzip"),
        ("compressor", "compressor-zstd"),
        ("source", "source-http"),
        ("source", "source-registry"),
        ("filter", "filter-gzip"),
        ("filter", "filter-xz"),
        ("filter", "filter-zstd"),
        ("filter", "filter-bzip2"),
        ("filter", "filter-snappy"),
        ("filter", "filter-archive"),
    ] {
        let digest = digest_of(&folder().join("built-in").join(name).with_extension("wasm").display().to_string());
        assert!(listed.lines().any(|line| line.starts_with(&format!("{name} 0.1.0 {kind} {digest} "))), "{listed}");
        assert!(version.contains(&format!("{name} {digest}")), "{version}");
    }
    assert_eq!(listed.lines().count(), 13);
}

#[test]
fn a_built_in_component_as_a_file_is_the_same_as_built_in() {
    let scratch = Scratch::new();
    let disk = raw(&scratch.path("disk.raw"), DISK);
    let file = |name: &str| folder().join("built-in").join(name).with_extension("wasm").display().to_string();
    let one = import([&*scratch.text("disk.raw"), &format!("oci:{}", scratch.text("one"))]).done();
    let (source, probe, framing) = (file("source-file"), file("probe-disk"), file("framing-tar"));
    let two = format!("oci:{}", scratch.text("two"));
    let arguments = [&*scratch.text("disk.raw"), &two, "--source", &source, "--probe", &probe, "--framing", &framing];
    assert_eq!(import(arguments).done().digest(), one.digest());
    assert!(pull(&scratch, "pulled", &[], &format!("{two}:latest")).file("disk/disk.raw") == disk);
}

#[test]
fn what_is_no_component_or_does_not_fit_is_refused() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), 1000);
    fs::write(scratch.path("text.wasm"), "this is text").unwrap();
    let to = format!("oci:{}", scratch.text("layout"));
    let run = |flag: &str, spec: &str| import([&*scratch.text("disk.raw"), &*to, flag, spec]);
    run("--source", &scratch.text("text.wasm"))
        .failed(14, "component-invalid", &["`text`", "not a component"])
        .golden("component-that-is-none");
    run("--source", &Fixture::ProbeOther.path()).failed(
        14,
        "component-invalid",
        &["`probe-other`", "imports `longshore:stage/window@0.1.0`", "not granted to a source"],
    );
    run("--probe", &Fixture::FramingExtra.path())
        .failed(14, "component-invalid", &["does not export", "probe@0.1.0"])
        .golden("component-of-another-kind");
    run("--framing", "framing-zip").failed(2, "usage", &["no built-in framing `framing-zip`", "framing-tar"]);
    run("--framing", "./absent.wasm").failed(20, "local-file", &["absent.wasm"]);
    assert!(!scratch.path("layout").exists(), "nothing was touched");
}

fn component(arguments: &[&str]) -> longshore_tests::program::Ran {
    finish(&mut longshore([&["component"], arguments].concat()), b"")
}

#[test]
fn the_list_is_there_for_programs_too() {
    let lines = component(&["list"]).done().stdout;
    let document = component(&["list", "--json"]).done().report();
    assert_eq!(document["schema"], "longshore.component/v1");
    let components = document["components"].as_array().unwrap();
    assert_eq!(components.len(), lines.lines().count());
    for (entry, line) in components.iter().zip(lines.lines()) {
        let fields = ["name", "version", "kind", "digest", "declares"].map(|field| entry[field].as_str().unwrap());
        assert_eq!(fields.join(" "), line);
    }
}

#[test]
fn a_component_is_inspected_without_being_trusted() {
    let rot = Fixture::FilterRot.path();
    let document = component(&["inspect", &rot, "--json"]).done().report();
    assert_eq!(document["name"], "filter-rot");
    assert_eq!((&document["origin"], &document["digest"]), (&rot.as_str().into(), &digest_of(&rot).into()));
    assert_eq!(document["size"], fs::metadata(&rot).unwrap().len());
    let exports = document["exports"].to_string();
    assert!(exports.contains("longshore:stage/filter@0.1.0"), "{exports}");
    assert_eq!(document["description"]["declares"], "rot");
    assert_eq!(document["kinds"]["filter"], serde_json::json!({ "fits": true, "reasons": [] }));
    let reasons = document["kinds"]["probe"]["reasons"].to_string();
    assert!(reasons.contains("does not export `longshore:stage/probe@0.1.0`"), "{reasons}");
    // One that wants more than it may have is looked at, too.
    let shown = component(&["inspect", &Fixture::FilterFetch.path()]).done().stdout;
    for line in ["imports      longshore:stage/fetch@0.1.0", "fits         no world"] {
        assert!(shown.contains(line), "{shown}");
    }
    // One that must not run does not even describe itself.
    let scratch = Scratch::new();
    let policy = scratch.text("policy.toml");
    fs::write(&policy, "schema = \"longshore.policy/v1\"\n[components]\nunlisted = false\n").unwrap();
    let document = component(&["inspect", &rot, "--json", "--policy", &policy]).done().report();
    assert_eq!((&document["description"], &document["digest"]), (&serde_json::Value::Null, &digest_of(&rot).into()));
    assert_eq!(document["kinds"]["filter"]["fits"], true);
    let ran = component(&["check", &rot, "--policy", &policy]);
    ran.failed(13, "component-denied", &["must not run as filter", "policy.toml:3"]);
    let file = folder().join("built-in/source-http.wasm").display().to_string();
    let (built_in, from_file) =
        (component(&["inspect", "source-http", "--json"]).done(), component(&["inspect", &file, "--json"]).done());
    let without_origin = |mut document: serde_json::Value| {
        document["origin"].take();
        document
    };
    assert_eq!(without_origin(built_in.report()), without_origin(from_file.report()));
}

#[test]
fn a_check_says_what_fits_or_everything_that_does_not() {
    let ran = component(&["check", "framing-tar"]).done();
    assert!(
        ran.stdout.ends_with("fits framing\nallowed as framing: `components.built-in` (built-in)\n"),
        "{}",
        ran.stdout
    );
    let ran = component(&["check", &Fixture::CompressorStore.path(), "--kind", "compressor"]).done();
    assert!(
        ran.stdout.ends_with("fits compressor\nallowed as compressor: `components.unlisted` (built-in)\n"),
        "{}",
        ran.stdout
    );
    let fetch = Fixture::FilterFetch.path();
    component(&["check", &fetch]).failed(14, "component-invalid", &["`longshore:stage/fetch@0.1.0`, which is not"]);
    let says = ["longshore:stage/fetch@0.1.0", "does not export `longshore:stage/framing@0.1.0`"];
    component(&["check", &fetch, "--kind", "framing"]).failed(14, "component-invalid", &says);
    // It fits the world by its interfaces, and no consumer by what it declares.
    let xz = Fixture::CompressorXz.path();
    component(&["check", &xz]).failed(14, "component-invalid", &["declares the suffix `xz`", "gzip or zstd"]);
    let scratch = Scratch::new();
    fs::write(scratch.path("empty.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    let empty = scratch.text("empty.wasm");
    component(&["check", &empty]).failed(14, "component-invalid", &["`empty` exports the interface of no stage"]);
    fs::write(scratch.path("text.wasm"), "this is text").unwrap();
    for command in ["check", "inspect"] {
        component(&[command, &scratch.text("text.wasm")]).failed(14, "component-invalid", &["not a component"]);
        component(&[command, "absent"]).failed(2, "usage", &["no built-in component `absent`", "source-http"]);
        component(&[command, "./absent.wasm"]).failed(20, "local-file", &["absent.wasm"]);
        let says =
            ["the component docker://127.0.0.1:1/x is named without its digest", "`latest` cannot be looked up: "];
        component(&[command, "docker://127.0.0.1:1/x"]).failed(2, "usage", &says);
    }
}

/// That each is exercised is for `hostile.rs`.
#[test]
fn every_fixture_has_its_folder() {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<String> = fs::read_dir(tests.join("fixtures"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("kit"))
        .collect();
    folders.sort();
    assert_eq!(folders, ALL.map(|fixture| fixture.name().to_owned()));
}

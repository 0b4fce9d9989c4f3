//! What is in a wrapper that is stored as it is: labels and hazards are those of what is inside, however the bytes come, and no
//! more of it is looked at than is said.

use std::cell::Cell;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore_tests::layers::assert_layout_empty;
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, import, import_from, longshore, probe, probe_from, watched};
use longshore_tests::ranges::{Content, Manner, Pace, serve, serve_paced};
use longshore_tests::scratch::{Scratch, qcow2, run};
use longshore_tests::wrapped::{disk, in_folder, piped};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// More than is shown of what is in a wrapper.
const LARGE: usize = 80 << 20;
const COMPRESSORS: [(&str, &str); 4] = [("gzip", "gzip"), ("xz", "xz -1"), ("zstd", "zstd -q"), ("bzip2", "bzip2")];

/// A folder in which disks are wrapped, and a policy that lets wrappers be stored.
struct Stage {
    scratch: Scratch,
    policies: Cell<u32>,
}

impl Stage {
    fn new() -> Self {
        Self { scratch: Scratch::new(), policies: Cell::default() }
    }

    /// A policy that accepts these hazards besides, with more sections.
    fn policy(&self, accepted: &[&str], more: &str) -> String {
        let all: Vec<String> =
            ["wrapped", "archive"].iter().chain(accepted).map(|hazard| format!("{hazard:?}")).collect();
        let text =
            format!("schema = \"longshore.policy/v1\"\n[require]\naccepted-hazards = [{}]\n{more}", all.join(", "));
        let number = self.policies.replace(self.policies.get() + 1);
        self.file(&format!("policy-{number}.toml"), text.as_bytes())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.scratch.path(name), bytes).unwrap();
        self.scratch.text(name)
    }

    fn import(&self, source: &str, policy: &str, more: &[&str]) -> Ran {
        let to = format!("oci:{}:1", self.scratch.text("layout"));
        import([&[source, &*to, "--policy", policy, "--report", "-"], more].concat())
    }

    /// The labels of what was imported last.
    fn labels(&self) -> Value {
        let from = format!("oci:{}:1", self.scratch.text("layout"));
        let ran = longshore_tests::program::finish(&mut longshore(["inspect", &*from, "--json"]), b"").done();
        ran.report()["images"][0]["labels"].clone()
    }

    /// `bytes`, a file of that name, in an archive that this tool makes of it.
    fn archived(&self, command: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
        let folder = Scratch::new();
        fs::write(folder.path(name), bytes).unwrap();
        in_folder(&folder.path("."), &format!("{command} {name}"));
        fs::read(folder.path("all")).or_else(|_| fs::read(folder.path("all.zip"))).unwrap()
    }

    fn qemu(&self, format: &str, more: &[&str], size: &str) -> Vec<u8> {
        let path = self.scratch.text("made");
        let arguments = [&["create", "-q", "-f", format], more, &[&*path, size]].concat();
        run(Command::new("qemu-img").args(arguments));
        fs::read(path).unwrap()
    }

    /// A raw disk that is larger than what is shown of it, with a partition table, and not quite empty.
    fn large(&self) -> Vec<u8> {
        let mut bytes = disk(LARGE / 40);
        bytes.resize(LARGE, 0);
        bytes[..512].copy_from_slice(&probe_disk::samples::mbr()[..512]);
        bytes
    }

    /// An ISO 9660 larger than what is shown of it.
    fn large_iso(&self) -> Vec<u8> {
        let folder = self.scratch.folder("iso");
        fs::write(folder.join("file"), self.large()).unwrap();
        let path = self.scratch.text("disk.iso");
        run(Command::new("genisoimage").args(["-quiet", "-J", "-o", &path]).arg(&folder));
        fs::read(path).unwrap()
    }
}

fn content(report: &Value) -> &Value {
    &report["disk"]["content"]
}

fn codes(hazards: &Value) -> Vec<&str> {
    hazards.as_array().unwrap().iter().map(|hazard| hazard["code"].as_str().unwrap()).collect()
}

#[test]
fn what_is_inside_is_what_the_labels_name() {
    let stage = Stage::new();
    let policy = stage.policy(&[], "");
    let disks = [
        ("qcow2", qcow2(&stage.scratch.path("disk.qcow2")), 64 * MIB),
        ("vmdk", stage.qemu("vmdk", &[], "300M"), 300 * MIB),
        ("vdi", stage.qemu("vdi", &[], "5M"), 5 * MIB),
        ("vpc", stage.qemu("vpc", &["-o", "force_size=on"], "40M"), 40 * MIB),
        ("vhdx", stage.qemu("vhdx", &[], "7M"), 7 * MIB),
        ("raw", disk(1_500_000), 1_500_160),
    ];
    for (format, bytes, size) in &disks {
        let mut wrapped: Vec<(&str, Vec<u8>)> =
            COMPRESSORS.iter().map(|(name, command)| (*name, piped(command, bytes))).collect();
        wrapped.push(("tar", stage.archived("tar -cf all", "vm.img", bytes)));
        wrapped.push(("zip", stage.archived("zip -q all.zip", "vm.img", bytes)));
        for (wrapper, bytes) in wrapped {
            let file = stage.file("vm.wrapped", &bytes);
            let report = stage.import(&file, &policy, &[]).done().report();
            let what = format!("{format} in {wrapper}: {}", report["disk"]);
            assert_eq!(report["disk"]["format"], wrapper, "{what}");
            assert_eq!(report["disk"]["virtual_size"], Value::Null, "{what}");
            let content = content(&report);
            assert_eq!((&content["inspected"], &content["reason"]), (&json!(true), &Value::Null), "{what}");
            assert_eq!(content["wrappers"], json!([wrapper]), "{what}");
            // How long a raw disk is, not every wrapper says for certain.
            let proven = *format != "raw" || matches!(wrapper, "xz" | "tar");
            let size = proven.then_some(*size);
            assert_eq!((&content["format"], &content["virtual_size"]), (&json!(format), &json!(size)), "{what}");
            let filter = if matches!(wrapper, "tar" | "zip") { "archive" } else { wrapper };
            assert_eq!(content["filters"][0]["name"], format!("filter-{filter}"), "{what}");
            assert_eq!((&content["hazards"], &content["whole"]), (&json!([]), &json!(true)), "{what}");
            let labels = stage.labels();
            assert_eq!(labels["source-image-format"], *format, "{what}");
            let label = labels.get("source-image-virtual-size").and_then(Value::as_str).map(str::to_owned);
            assert_eq!(label, size.map(|size| size.to_string()), "{what}");
            assert_eq!(labels["source-image-size"], bytes.len().to_string(), "the size is that of what is stored");
            // What only looks finds the same.
            let looked = probe([&*file, "--json", "--policy", &policy]).done().report();
            assert_eq!(&looked["disk"]["content"], content, "{what}");
        }
    }
}

#[test]
fn a_size_that_no_wrapper_proves_is_none() {
    let stage = Stage::new();
    let policy = stage.policy(&[], "");
    let (raw, iso) = (stage.large(), stage.large_iso());
    for (format, bytes) in [("raw", &raw), ("iso9660", &iso)] {
        let size = json!(bytes.len());
        let wrapped = [
            ("gzip", piped("gzip -1", bytes), Value::Null),
            ("bzip2", piped("bzip2 -1", bytes), Value::Null),
            // A frame that says so claims it.
            ("zstd", stage.archived("zstd -q -o all", "vm.img", bytes), Value::Null),
            ("xz", piped("xz -0", bytes), size.clone()),
            ("tar", stage.archived("tar -cf all", "vm.img", bytes), size.clone()),
            ("zip", stage.archived("zip -q -1 all.zip", "vm.img", bytes), Value::Null),
        ];
        for (wrapper, bytes, expected) in wrapped {
            let file = stage.file("vm.wrapped", &bytes);
            let report = stage.import(&file, &policy, &[]).done().report();
            let (what, content) = (format!("{format} in {wrapper}: {}", report["disk"]), content(&report));
            assert_eq!((&content["format"], &content["virtual_size"]), (&json!(format), &expected), "{what}");
            // The beginning is not taken for a disk that was cut.
            assert_eq!(codes(&content["hazards"]), ["tail-not-shown", "content-rest-not-inspected"], "{what}");
            assert_eq!(content["whole"], false, "{what}");
            let labels = stage.labels();
            assert_eq!(labels["source-image-format"], format, "{what}");
            let label = labels.get("source-image-virtual-size").and_then(Value::as_str).map(str::to_owned);
            assert_eq!(label, expected.as_u64().map(|size| size.to_string()), "{what}");
        }
    }
    // The virtual size that a policy bounds must be known.
    let bounded = stage.policy(&[], "max-virtual-size = \"1TiB\"\n");
    let file = stage.file("vm.gz", &piped("gzip -1", &raw));
    let says = ["does not say how large the virtual disk is"];
    stage.import(&file, &bounded, &[]).failed(11, "disk-too-large", &says);
    stage.import(&stage.file("vm.xz", &piped("xz -0", &raw)), &bounded, &[]).done();
    // What a size inside is too large for, is the disk's.
    let bounded = stage.policy(&[], "max-virtual-size = \"32MiB\"\n");
    let file = stage.file("vm.gz", &piped("gzip", &qcow2(&stage.scratch.path("disk.qcow2"))));
    stage.import(&file, &bounded, &[]).failed(11, "disk-too-large", &["67108864 bytes"]);
}

#[test]
fn what_is_dangerous_inside_is_refused_as_if_it_were_outside() {
    let stage = Stage::new();
    let mut overlay = qcow2(&stage.scratch.path("disk.qcow2"));
    overlay[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 11]);
    overlay[1024..1035].copy_from_slice(b"/etc/passwd");
    let tar = stage.archived("tar -cf all", "vm.qcow2", &overlay);
    for (name, bytes, within) in [
        ("vm.gz", piped("gzip", &overlay), "qcow2 in gzip"),
        ("vm.bz2", piped("bzip2", &overlay), "qcow2 in bzip2"),
        ("vm.tar.xz", piped("xz -0", &tar), "qcow2 in tar in xz"),
        ("vm.tar", tar.clone(), "qcow2 in tar"),
    ] {
        let (file, policy) = (stage.file(name, &bytes), stage.policy(&[], ""));
        let says = [&*format!("the {within} disk is refused: backing file `/etc/passwd`"), "qcow2-backing-file"];
        stage.import(&file, &policy, &[]).failed(11, "disk-refused", &says);
        assert_layout_empty(&stage.scratch.path("layout"));
        let looked = probe([&*file, "--policy", &policy]).failed(11, "disk-refused", &says);
        assert!(looked.stdout.contains(&format!(" {within}\n")), "{}", looked.stdout);
        assert!(looked.stdout.contains("refuse: backing file"), "{}", looked.stdout);
        // By the built-in policy the wrapper alone is enough, and what is inside is shown all the same.
        let report = probe([&*file, "--json"]).failed(11, "disk-refused", &[" disk is refused: ", "at "]);
        let report = report.report();
        assert!(codes(&content(&report)["hazards"]).contains(&"qcow2-backing-file"), "{report}");
        // Whoever accepts it by name has it, and is told.
        let accepted = stage.policy(&["qcow2-backing-file"], "");
        let (layout, scratch) = (format!("oci:{}:1", stage.scratch.text("other")), &stage.scratch);
        let ran = import([&*file, &*layout, "--policy", &accepted]).done();
        assert!(ran.stderr.contains("backing file `/etc/passwd`"), "{}", ran.stderr);
        fs::remove_dir_all(scratch.path("other")).unwrap();
    }
    let lighter = stage.policy(&[], "refused-hazards = [\"tail-not-shown\"]\n");
    let file = stage.file("vm.gz", &piped("gzip -1", &stage.large()));
    stage.import(&file, &lighter, &[]).failed(11, "disk-refused", &["`require.refused-hazards`", "tail-not-shown"]);
}

#[test]
fn the_format_inside_is_the_one_that_is_expected_and_accepted() {
    let stage = Stage::new();
    let policy = stage.policy(&[], "");
    let file = stage.file("vm.qcow2.gz", &piped("gzip", &qcow2(&stage.scratch.path("disk.qcow2"))));
    stage.import(&file, &policy, &["--format", "qcow2"]).done();
    for other in ["gzip", "raw"] {
        let says = format!("the disk is qcow2 in gzip, expected {other} as --format says");
        stage.import(&file, &policy, &["--format", other]).failed(11, "disk-format", &[&says]);
    }
    let accepts = |formats: &str| stage.policy(&[], &format!("formats = [{formats}]\n"));
    stage.import(&file, &accepts("\"qcow2\""), &[]).done();
    let says = ["the disk is qcow2 in gzip, the policy's", "accepts gzip, raw"];
    stage.import(&file, &accepts("\"gzip\", \"raw\""), &[]).failed(11, "disk-format", &says);
    // Of what nobody could look into, the wrapper's.
    let unknown = stage.file("vm.lz4", &[b"\x04\x22\x4d\x18\x64", &disk(5000)[..]].concat());
    let policy = stage.policy(&["content-not-inspected"], "formats = [\"lz4\"]\n");
    stage.import(&unknown, &policy, &["--format", "lz4"]).done();
}

#[test]
fn what_nobody_could_look_into_is_refused_and_says_why() {
    let stage = Stage::new();
    let policy = stage.policy(&[], "");
    let disk = qcow2(&stage.scratch.path("disk.qcow2"));
    let three = piped("xz -0", &piped("zstd -q", &piped("bzip2", &disk)));
    let four = piped("gzip", &three);
    let file = stage.file("four", &four);
    let report = stage.import(&file, &policy, &[]).done().report();
    assert_eq!(content(&report)["wrappers"], json!(["gzip", "xz", "zstd", "bzip2"]));
    assert_eq!(content(&report)["format"], "qcow2");
    assert_eq!(stage.labels()["source-image-format"], "qcow2");

    let only = "[components]\nbuilt-in = false\n";
    let digests =
        longshore_tests::program::finish(&mut longshore(["component", "list", "--json"]), b"").done().report();
    let mut allowed = String::from(only);
    for component in digests.as_array().or_else(|| digests["components"].as_array()).expect("components") {
        let (name, digest) = (component["name"].as_str().unwrap(), component["digest"].as_str().unwrap());
        if name != "filter-gzip" {
            let kind = component["kind"].as_str().unwrap();
            allowed.push_str(&format!("[[components.allow]]\ndigest = \"{digest}\"\nkinds = [\"{kind}\"]\n"));
        }
    }
    for (name, bytes, more, why) in [
        ("five", piped("gzip", &four), "", "it is wrapped more than 4 times"),
        ("lz4", [b"\x04\x22\x4d\x18\x64", &disk[..5000]].concat(), "", "no built-in filter takes lz4 off"),
        ("gz", piped("gzip", &disk), &*allowed, "the component `filter-gzip` ("),
        ("gz.xz", piped("xz -0", &piped("gzip", &disk)), &*allowed, "the component `filter-gzip` ("),
    ] {
        let file = stage.file(name, &bytes);
        let says = ["was not inspected: ", why, "(content-not-inspected)"];
        let policy = stage.policy(&[], more);
        let report = stage.import(&file, &policy, &[]).failed(11, "disk-refused", &says).report();
        assert_eq!(content(&report)["inspected"], false, "{report}");
        let accepted = stage.policy(&["content-not-inspected"], more);
        let ran = stage.import(&file, &accepted, &[]).done();
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
        let report = ran.report();
        assert!(content(&report)["reason"].as_str().unwrap().contains(why), "{report}");
        let labels = stage.labels();
        assert_eq!(labels["source-image-format"], report["disk"]["format"], "{report}");
        assert_eq!(labels.get("source-image-virtual-size"), None, "{report}");
        let looked = probe([&*file, "--json", "--policy", &accepted]).done().report();
        assert_eq!(content(&looked), content(&report));
    }
}

#[test]
fn a_damaged_wrapper_is_refused_and_what_is_accepted_is_stored_as_it_is() {
    let stage = Stage::new();
    let policy = stage.policy(&[], "");
    let disk = disk(900_000);
    for (wrapper, command) in COMPRESSORS {
        let whole = piped(command, &disk);
        let mut damaged = whole.clone();
        let at = whole.len() / 2;
        damaged[at..at + 16].fill(0x55);
        for bytes in [&damaged[..], &whole[..whole.len() - 3]] {
            let file = stage.file("vm", bytes);
            let says = [&*format!("what is in the {wrapper} file is not what it must be"), "content-invalid"];
            stage.import(&file, &policy, &[]).failed(11, "disk-refused", &says);
            assert_layout_empty(&stage.scratch.path("layout"));
            let accepted = stage.policy(&["content-invalid"], "");
            let layout = format!("oci:{}:1", stage.scratch.text("other"));
            import([&*file, &*layout, "--policy", &accepted]).done();
            fs::remove_dir_all(stage.scratch.path("other")).unwrap();
        }
    }
    // A disk that is malformed is so inside, too.
    let mut qcow2 = qcow2(&stage.scratch.path("disk.qcow2"));
    qcow2[20..24].copy_from_slice(&63_u32.to_be_bytes());
    let file = stage.file("vm", &piped("gzip", &qcow2));
    stage.import(&file, &policy, &[]).failed(11, "disk-refused", &["cluster_bits", "content-invalid"]);
}

#[test]
fn what_stands_behind_the_first_disk_is_seen_or_said_not_to_be() {
    let stage = Stage::new();
    let policy = stage.policy(&[], "");
    let qcow2 = qcow2(&stage.scratch.path("disk.qcow2"));
    // Far more than the probe asks for stands in front of what is behind it.
    let first = [&qcow2[..], &disk(2 << 20)].concat();
    let folder = Scratch::new();
    fs::write(folder.path("a.qcow2"), &first).unwrap();
    fs::write(folder.path("b.qcow2"), &qcow2).unwrap();
    let two = |command: &str| {
        in_folder(&folder.path("."), &format!("{command} a.qcow2 b.qcow2"));
        let all = ["all", "all.zip"].map(|name| folder.path(name)).into_iter().find(|path| path.exists()).unwrap();
        let bytes = fs::read(&all).unwrap();
        fs::remove_file(all).unwrap();
        bytes
    };
    let one = |command: &str| stage.archived(command, "a.qcow2", &first);
    let (tar, zip) = (one("tar -cf all"), one("zip -q all.zip"));
    for (what, bytes, says) in [
        ("two in a tar", two("tar -cf all"), "`a.qcow2` and `b.qcow2`"),
        ("two in a zip", two("zip -q all.zip"), "`a.qcow2` and `b.qcow2`"),
        ("two in a compressed tar", piped("gzip", &two("tar -cf all")), "`a.qcow2` and `b.qcow2`"),
        ("a tar behind a tar", [&tar[..], &tar].concat(), "something follows the end of the tar archive"),
        ("a zip behind a zip", [&zip[..], &zip].concat(), "something follows the end of the zip archive"),
        ("a disk behind a zip", [&zip[..], &qcow2].concat(), "something follows the end of the zip archive"),
        ("a disk behind gzip", [&piped("gzip", &first)[..], &qcow2].concat(), "gzip"),
        ("a disk behind xz around tar", [&piped("xz -0", &tar)[..], &qcow2].concat(), "xz"),
    ] {
        let file = stage.file("vm", &bytes);
        let looked = probe([&*file, "--json", "--policy", &policy]).failed(11, "disk-refused", &["content-invalid"]);
        let (looked, seen) = (looked.report(), |report: &Value| content(report)["reason"].as_str().unwrap().to_owned());
        assert!(seen(&looked).contains(says), "{what}: {looked}");
        let ran = stage.import(&file, &policy, &[]).failed(11, "disk-refused", &["content-invalid"]);
        assert_eq!(seen(&ran.report()), seen(&looked), "{what}");
        assert_eq!(content(&ran.report())["whole"], false, "{what}");
        assert_layout_empty(&stage.scratch.path("layout"));
    }
    // More than is looked at: it is said, and whoever wants can refuse it.
    let large = Scratch::new();
    fs::write(large.path("a.qcow2"), [&qcow2[..], &vec![7; LARGE]].concat()).unwrap();
    fs::write(large.path("b.qcow2"), &qcow2).unwrap();
    in_folder(&large.path("."), "tar -cf all a.qcow2 b.qcow2");
    let file = large.text("all");
    let report = stage.import(&file, &policy, &[]).done().report();
    assert_eq!((&content(&report)["inspected"], &content(&report)["whole"]), (&json!(true), &json!(false)), "{report}");
    assert_eq!(codes(&content(&report)["hazards"]), ["tail-not-shown", "content-rest-not-inspected"], "{report}");
    let strict = stage.policy(&[], "refused-hazards = [\"content-rest-not-inspected\"]\n");
    stage.import(&file, &strict, &[]).failed(11, "disk-refused", &["only the beginning", "qcow2 in tar"]);
    stage.import(&file, &policy, &["--filter", "auto"]).failed(11, "disk-invalid", &["`a.qcow2` and `b.qcow2`"]);
}

#[test]
fn a_bomb_is_looked_at_no_further_than_anything_else() {
    let stage = Stage::new();
    let policy = stage.policy(&["content-invalid"], "");
    let zeros = vec![0; 200 << 20];
    let bomb = piped("bzip2 -9", &zeros);
    for (what, bomb) in [
        ("bzip2", bomb.clone()),
        ("xz", piped("xz -1", &zeros)),
        ("zstd", piped("zstd -q", &zeros)),
        ("bzip2 in gzip", piped("gzip", &bomb)),
    ] {
        let file = stage.file("bomb", &bomb);
        let to = format!("oci:{}:1", stage.scratch.text("layout"));
        let (ran, peak) = watched(&mut longshore(["import", &*file, &to, "--policy", &policy, "--report", "-"]));
        let report = ran.done().report();
        assert!(peak > 0 && peak <= MOST_OF_ITS_OWN, "{what}: {} MiB", peak >> 20);
        assert_eq!(content(&report)["virtual_size"].as_u64().filter(|size| *size != 200 * MIB), None, "{report}");
    }
}

/// The report of a probe over this server, without what differs from run to run.
fn seen(url: &str, policy: &str, more: &[&str]) -> Value {
    let report = probe([&[url, "--json", "--policy", policy], more].concat()).report();
    report["disk"].clone()
}

#[test]
fn the_same_is_seen_however_the_bytes_come() {
    let stage = Stage::new();
    let qcow2 = qcow2(&stage.scratch.path("disk.qcow2"));
    let mut damaged = piped("gzip", &qcow2);
    let at = damaged.len() - 1000;
    damaged[at..].fill(1);
    let tar = stage.archived("tar -cf all", "vm.qcow2", &qcow2);
    for (what, bytes) in [
        ("gzip", piped("gzip", &qcow2)),
        ("damaged", damaged),
        ("tar.xz", piped("xz -0", &tar)),
        ("large", piped("gzip -1", &stage.large())),
    ] {
        let mut seen_in_order: Vec<Value> = Vec::new();
        for size in [7_usize, 512, 65_536, 1 << 20] {
            // A byte at a time takes long: only the first ones come so.
            let pace: Pace = Arc::new(move |chunk| (Duration::ZERO, if chunk < 300 { size } else { 65_536.max(size) }));
            let (server, _) = serve_paced(Content::Bytes(bytes.clone().into()), Manner::InOrder, pace);
            let more = format!("[egress]\nplain-http = [\"{}\"]\n", server.host());
            let policy = stage.policy(&["tail-not-inspected"], &more);
            let found = seen(&server.url("vm.gz"), &policy, &[]);
            assert_ne!(found["content"], Value::Null, "{what}");
            let report = stage.import(&server.url("vm.gz"), &policy, &[]).report();
            if report["outcome"] == "done" || what == "damaged" {
                assert_eq!(report["disk"]["content"], found["content"], "{what}: import and probe see the same");
            } else {
                panic!("{what}: {report}");
            }
            seen_in_order.push(found);
        }
        assert!(seen_in_order.windows(2).all(|pair| pair[0] == pair[1]), "{what}: {seen_in_order:?}");
        // By range a wrapper says more of its end; what is in it is the same.
        let (server, _) = serve(Content::Bytes(bytes.clone().into()), Manner::Honest);
        let more = format!("[egress]\nplain-http = [\"{}\"]\n", server.host());
        let report = stage.import(&server.url("vm.gz"), &stage.policy(&[], &more), &[]).report();
        assert_eq!(report["disk"]["content"], seen_in_order[0]["content"], "{what}");
        // And from standard input.
        let policy = stage.policy(&["tail-not-inspected"], "");
        let found = probe_from(["-", "--json", "--policy", &policy], &bytes).report();
        assert_eq!(found["disk"]["content"], seen_in_order[0]["content"], "{what}");
        let to = format!("oci:{}:1", stage.scratch.text("from-input"));
        let size = bytes.len().to_string();
        let arguments = ["-", &*to, "--policy", &policy, "--size", &size, "--report", "-"];
        assert_eq!(import_from(arguments, &bytes).report()["disk"]["content"], seen_in_order[0]["content"], "{what}");
    }
}

#[test]
fn a_source_that_breaks_off_is_its_own_fault() {
    let stage = Stage::new();
    let policy = stage.policy(&["tail-not-inspected", "content-invalid"], "");
    let bytes = piped("gzip", &disk(9_000_000));
    let to = format!("oci:{}:1", stage.scratch.text("layout"));
    let size = (bytes.len() + 1).to_string();
    for part in [100, bytes.len() / 3, bytes.len()] {
        let ran = import_from(["-", &*to, "--policy", &policy, "--size", &size], &bytes[..part]);
        ran.failed(11, "source-length-mismatch", &["as announced"]);
        assert_layout_empty(&stage.scratch.path("layout"));
    }
}

#[test]
fn a_wrapper_at_a_server_costs_ten_requests_and_four_mebibytes() {
    let stage = Stage::new();
    let qcow2 = qcow2(&stage.scratch.path("disk.qcow2"));
    // Packed it is far more than may be read.
    let noise = longshore_tests::scratch::noise(20 << 20);
    let large = [&qcow2[..], &noise[qcow2.len()..]].concat();
    for (what, bytes, format) in [
        ("gzip", piped("gzip -1", &large), "qcow2"),
        ("xz", piped("xz -0 --block-size=1000000", &large), "qcow2"),
        ("zstd", piped("zstd -q -1", &large), "qcow2"),
        ("bzip2", piped("bzip2 -1", &large), "qcow2"),
        ("tar", stage.archived("tar -cf all", "vm.qcow2", &large), "qcow2"),
        ("zip", stage.archived("zip -q -1 all.zip", "vm.qcow2", &large), "qcow2"),
        ("tar.gz", piped("gzip -1", &stage.archived("tar -cf all", "vm.qcow2", &large)), "qcow2"),
        ("raw.xz", piped("xz -0", &noise), "raw"),
        ("small", piped("gzip", &qcow2[..]), "qcow2"),
    ] {
        let exact = what == "raw.xz";
        let (server, asked) = serve(Content::Bytes(Bytes::from(bytes)), Manner::Honest);
        let more = format!("[egress]\nplain-http = [\"{}\"]\n", server.host());
        let policy = stage.policy(&[], &more);
        let report = probe([&*server.url("vm"), "--json", "--policy", &policy]).done().report();
        let content = content(&report);
        assert_eq!((&content["inspected"], &content["format"]), (&json!(true), &json!(format)), "{what}: {report}");
        if exact {
            assert_eq!(content["virtual_size"], 20 << 20, "{report}");
        } else {
            assert_eq!(content["virtual_size"], 64 << 20, "{report}");
        }
        let (requests, sent) = asked.sum();
        println!("{what}: {requests} requests, {sent} bytes; ranges {:?}", asked.ranges());
        assert!(requests <= 10, "{what}: {requests} requests");
        assert!(sent <= 4 * MIB, "{what}: {sent} bytes");
    }
}

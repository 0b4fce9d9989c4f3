//! A container disk as SOURCE whose layer is compressed: whoever compressed it and however, the disk is the one that was put in,
//! verified in both forms; what breaks goes on; what lies, or expands without end, is never committed.

use std::fs;
use std::process::Command;

use longshore_tests::images::{LAYER, buildah, digest, image, skopeo};
use longshore_tests::layers::{assert_layout_empty, pull};
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, import, longshore, probe, quick, ran, watched};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version, built};
use longshore_tests::scratch::{Scratch, qcow2, raw, run};
use longshore_tests::wrapped::piped;
use serde_json::json;

fn from(scratch: &Scratch, source: &str, more: &[&str]) -> Ran {
    let host = source.trim_start_matches("docker://").split('/').next().unwrap();
    let to = format!("oci:{}:1", scratch.text("layout"));
    import([&[source, &*to, "--plain-http", host, "--copy", "never", "--report", "-"], more].concat())
}

/// The disk in the layout.
fn disk_of(scratch: &Scratch, name: &str) -> Vec<u8> {
    let _ = fs::remove_dir_all(scratch.path("pulled"));
    pull(scratch, "pulled", &[], &format!("oci:{}:1", scratch.text("layout"))).file(&format!("disk/{name}"))
}

/// GNU tar of a disk of that name, which is written too.
fn tar_of(scratch: &Scratch, name: &str, disk: &[u8]) -> Vec<u8> {
    fs::create_dir_all(scratch.path("root/disk")).unwrap();
    fs::write(scratch.path(&format!("root/disk/{name}")), disk).unwrap();
    let mut tar = Command::new("tar");
    run(tar.arg("-C").arg(scratch.path("root")).arg("-cf").arg(scratch.path("tar")).arg(format!("disk/{name}")));
    fs::read(scratch.path("tar")).unwrap()
}

#[test]
fn what_every_tool_compresses_comes_back_as_it_was() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let host = registry.host();
        fs::create_dir_all(scratch.path("root/disk")).unwrap();
        let disk = qcow2(&scratch.path("root/disk/vm.qcow2"));
        // Ending with two blocks: of further ones skopeo 1.9 makes none in zstd:chunked, and leaves the diffID as it was.
        let (root, tar) = (scratch.text("root"), scratch.text("tar"));
        run(Command::new("tar").args(["-C", &root, "--blocking-factor=1", "-cf", &tar, "disk/vm.qcow2"]));
        // By crane, which compresses what it appends.
        let crane = |arguments: &[&str]| {
            run(built("crane").env_clear().env("HOME", "/nonexistent").args(arguments));
        };
        crane(&["append", "--oci-empty-base", "-f", &scratch.text("tar"), "-t", &format!("{host}/vm:crane")]);
        run(Command::new("zstd").args(["-q", "-f", &tar]));
        let zstd = format!("{tar}.zst");
        crane(&["append", "--oci-empty-base", "-f", &zstd, "-t", &format!("{host}/vm:crane-zstd")]);
        // By buildah, as Dockerfiles are built. Into a registry it always compresses.
        let file = scratch.path("root/disk/vm.qcow2");
        for (tag, arguments) in [
            ("buildah-gzip", &["--compression-format", "gzip"][..]),
            ("buildah-zstd", &["--compression-format", "zstd"]),
            ("buildah-docker", &["--format", "v2s2"]),
        ] {
            buildah(&scratch, &file, arguments, &registry.reference(&format!("vm:{tag}")));
        }
        let folder = format!("dir:{}", scratch.text("buildah-plain"));
        buildah(&scratch, &file, &["--disable-compression"], &folder);
        skopeo(&["--preserve-digests"], &folder, &registry.reference("vm:buildah-plain"));
        // By umoci, into a layout: the folder as a layer of its own.
        let layout = scratch.text("umoci");
        for arguments in [&["init", "--layout", &*layout][..], &["new", "--image", &format!("{layout}:1")]] {
            run(Command::new("umoci").args(arguments));
        }
        let (image, folder) = (format!("{layout}:1"), scratch.text("root/disk"));
        run(Command::new("umoci").args(["insert", "--rootless", "--image", &image, &folder, "/disk"]));
        skopeo(&[], &format!("oci:{image}"), &registry.reference("vm:umoci"));
        // By skopeo, in each of its ways, and in Docker's media types.
        let plain = fs::read(scratch.path("tar")).unwrap();
        longshore_tests::images::image(&scratch, "plain", &[(LAYER, &plain, digest(&plain))])
            .push(&registry, "vm:plain");
        for (tag, arguments) in [
            ("skopeo-gzip", &["--dest-compress-format", "gzip"][..]),
            ("skopeo-zstd", &["--dest-compress-format", "zstd"]),
            ("skopeo-zstd-chunked", &["--dest-compress-format", "zstd:chunked"]),
            ("skopeo-docker", &["--format", "v2s2", "--dest-compress-format", "gzip"]),
        ] {
            let folder = format!("dir:{}", scratch.text(tag));
            skopeo(&[arguments, &["--dest-compress"]].concat(), &registry.reference("vm:plain"), &folder);
            skopeo(&["--preserve-digests"], &folder, &registry.reference(&format!("vm:{tag}")));
        }
        // By longshore.
        for compressor in ["gzip", "zstd"] {
            let to = registry.reference(&format!("vm:{compressor}"));
            let file = scratch.text("root/disk/vm.qcow2");
            import([&*file, &*to, "--plain-http", &*host, "--compressor", compressor]).done();
        }
        for (tag, coding) in [
            ("crane", "gzip"),
            ("crane-zstd", "zstd"),
            ("buildah-gzip", "gzip"),
            ("buildah-zstd", "zstd"),
            ("buildah-docker", "gzip"),
            ("buildah-plain", "tar"),
            ("plain", "tar"),
            ("umoci", "gzip"),
            ("skopeo-gzip", "gzip"),
            ("skopeo-zstd", "zstd"),
            ("skopeo-zstd-chunked", "zstd"),
            ("skopeo-docker", "gzip"),
            ("gzip", "gzip"),
            ("zstd", "zstd"),
        ] {
            let source = registry.reference(&format!("vm:{tag}"));
            let looked = longshore(["inspect", &*source, "--json", "--plain-http", &*host]).output().unwrap();
            let layer = ran(&looked).done().report()["images"][0]["layers"][0].clone();
            assert!(layer["media_type"].as_str().unwrap().ends_with(coding), "{tag}: {layer}");
            let report = from(&scratch, &source, &[]).done().report();
            assert_eq!(
                (&report["source"]["access"], &report["source"]["size"], &report["source"]["revision"]),
                (&json!(if coding == "tar" { "ranged" } else { "restart" }), &json!(disk.len()), &layer["digest"]),
                "{tag}"
            );
            assert_eq!((&report["disk"]["name"], &report["disk"]["format"]), (&json!("vm.qcow2"), &json!("qcow2")));
            assert!(disk_of(&scratch, "vm.qcow2") == disk, "{tag}");
            let probed = probe([&*source, "--plain-http", &*host, "--json"]).done().report();
            assert_eq!(probed["disk"]["format"], "qcow2", "{tag}");
        }
    }
}

#[test]
fn a_disk_is_found_in_whichever_layer_has_one() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    let disk = raw(&scratch.path("vm.raw"), 2_000_001);
    let tar = tar_of(&scratch, "vm.raw", &disk);
    fs::create_dir_all(scratch.path("root/etc")).unwrap();
    fs::write(scratch.path("root/etc/other"), vec![7; 300_000]).unwrap();
    run(Command::new("tar").args(["-C", &scratch.text("root"), "-cf", &scratch.text("other"), "etc/other"]));
    let other = fs::read(scratch.path("other")).unwrap();
    let (gzip, zstd) = (piped("gzip -1", &other), piped("zstd -1", &tar));
    let layers = [
        (&*format!("{LAYER}+gzip"), &*gzip, digest(&other)),
        (LAYER, &*other, digest(&other)),
        (&*format!("{LAYER}+zstd"), &*zstd, digest(&tar)),
    ];
    image(&scratch, "three", &layers).push(&registry, "vm:three");
    from(&scratch, &registry.reference("vm:three"), &[]).done();
    assert!(disk_of(&scratch, "vm.raw") == disk);
    image(&scratch, "none", &layers[..2]).push(&registry, "vm:none");
    from(&scratch, &registry.reference("vm:none"), &[]).failed(11, "source-invalid", &["no file in `disk/`"]);
}

#[test]
fn a_blob_that_breaks_goes_on_where_it_broke() {
    let scratch = Scratch::new();
    let disk = raw(&scratch.path("vm.raw"), 5_000_000);
    let tar = tar_of(&scratch, "vm.raw", &disk);
    for (coding, layer) in [("gzip", piped("gzip -1", &tar)), ("zstd", piped("zstd -1", &tar))] {
        let kind = format!("{LAYER}+{coding}");
        let made = image(&scratch, coding, &[(&kind, &layer, digest(&tar))]);
        // The first is the search for the disk.
        let served =
            made.served(true, |number| [None, Some(1_500_000), Some(20), Some(700_000)].get(number).copied().flatten());
        let report = from(&scratch, &format!("docker://{}/vm:1", served.script.host()), &[]).done().report();
        assert!(disk_of(&scratch, "vm.raw") == disk, "{coding}");
        assert_eq!(report["source"]["access"], "restart");
        // An answer of which only twenty bytes come may not be seen at all.
        let resumes = report["transfer"]["resumes"].as_u64().unwrap();
        assert!((2..=3).contains(&resumes), "{coding}: {resumes} resumes");
        let asked = served.asked();
        // The server may not have sent all of what stood in front of the break.
        let offsets: Vec<u64> =
            asked[2..].iter().map(|range| range[6..].trim_end_matches('-').parse().unwrap()).collect();
        assert!(asked[..2] == ["", ""] && offsets.len() == 3 && offsets.is_sorted(), "{coding}: {asked:?}");
        assert!(offsets[0] > 0 && offsets[2] <= 2_200_020, "{coding}: {asked:?}");
        // Without ranges it begins again, which is the host's to do.
        let served = made.served(false, |number| (number == 1).then_some(1_500_000));
        let policy = quick(&scratch);
        let source = format!("docker://{}/vm:1", served.script.host());
        let report = from(&scratch, &source, &["--policy", &policy]).done().report();
        assert_eq!(
            (&report["transfer"]["attempts"], &report["transfer"]["resumes"]),
            (&json!(2), &json!(1)),
            "{coding}: the host went on, and the component began again"
        );
        assert!(disk_of(&scratch, "vm.raw") == disk, "{coding}");
        assert_eq!(served.asked(), ["", "", "", ""], "{coding}: the rest, which is not to be had, and all of it");
        // One that never gets anywhere ends.
        let served = made.served(true, |number| (number > 0).then_some(10_000));
        let source = format!("docker://{}/vm:1", served.script.host());
        let ran = from(&scratch, &source, &["--policy", &policy]);
        // What is seen of the last break depends on how much of the answer got through.
        assert!(ran.code == Some(10) && ran.stderr.contains("/blobs/sha256:"), "{coding}: {}", ran.stderr);
    }
}

#[test]
fn a_layer_that_is_not_what_it_is_said_to_be_is_never_committed() {
    let scratch = Scratch::new();
    let disk = raw(&scratch.path("vm.raw"), 3_000_000);
    let tar = tar_of(&scratch, "vm.raw", &disk);
    let gzip = format!("{LAYER}+gzip");
    let good = piped("gzip -1", &tar);
    let damaged = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let refused = |name: &str, kind: &str, stored: &[u8], sent: &[u8], diff_id: String, code: &str, says: &str| {
        let made = image(&scratch, name, &[(kind, stored, diff_id)]);
        fs::write(made.folder.join(&digest(stored)[7..]), sent).unwrap();
        let served = made.served(true, |_| None);
        let ran = from(&scratch, &format!("docker://{}/vm:1", served.script.host()), &[]);
        ran.failed(if code == "source-failed" { 10 } else { 11 }, code, &[says]);
        assert_layout_empty(&scratch.path("layout"));
    };
    // The time in its header: nothing but the digest shows it.
    refused("time", &gzip, &good, &damaged(4), digest(&tar), "checksum-mismatch", "expected sha256:");
    refused("data", &gzip, &good, &damaged(good.len() / 2), digest(&tar), "source-invalid", "cannot be decompressed");
    refused("diff", &gzip, &good, &good, digest(b"other"), "source-invalid", "the decompressed layer");
    refused("longer", &gzip, &good, &[&*good, b"\0"].concat(), digest(&tar), "source-invalid", "as the manifest says");
    let cut = piped("gzip -1", &tar[..1_000_000]);
    refused("cut", &gzip, &cut, &cut, digest(&tar[..1_000_000]), "source-invalid", "ends in front of its disk's end");
    refused("no-gzip", &gzip, &tar, &tar, digest(&tar), "source-invalid", "no gzip member begins here");
    let two = piped("gzip -1", &[&*good, &*good].concat());
    refused("twice", &gzip, &two, &two, digest(&[&*good, &*good].concat()), "source-invalid", "no tar");
    refused("encrypted", &format!("{LAYER}+encrypted"), &good, &good, digest(&tar), "source-failed", "encrypted");
}

#[test]
fn a_window_that_tools_write_is_read_and_a_larger_one_refused() {
    let scratch = Scratch::new();
    let disk = raw(&scratch.path("vm.raw"), 40_000_000);
    let tar = tar_of(&scratch, "vm.raw", &disk);
    for (long, fits) in [(25, true), (26, false)] {
        let layer = piped(&format!("zstd -1 --long={long}"), &tar);
        let made = image(&scratch, "long", &[(&format!("{LAYER}+zstd"), &layer, digest(&tar))]);
        let served = made.served(true, |_| None);
        let ran = from(&scratch, &format!("docker://{}/vm:1", served.script.host()), &[]);
        if fits {
            ran.done();
            assert!(disk_of(&scratch, "vm.raw") == disk);
        } else {
            ran.failed(11, "source-invalid", &["more than the 32 MiB that are accepted"]);
        }
    }
}

#[test]
fn a_bomb_ends_at_its_limit_unless_it_is_wanted() {
    let scratch = Scratch::new();
    // 300 MB of zeros: as a disk of that size, and as something else in front of one.
    let zeros = fs::File::create(scratch.path("zeros")).unwrap();
    zeros.set_len(300 << 20).unwrap();
    fs::create_dir_all(scratch.path("root/disk")).unwrap();
    fs::rename(scratch.path("zeros"), scratch.path("root/disk/vm.raw")).unwrap();
    let tarred = format!("tar -C {} -cf - disk/vm.raw | zstd -19", scratch.text("root"));
    let output = Command::new("sh").args(["-c", &tarred]).output().unwrap();
    let sum = Command::new("sh").args(["-c", &format!("{} | sha256sum", tarred.replace(" | zstd -19", ""))]).output();
    let diff_id = format!("sha256:{}", &String::from_utf8(sum.unwrap().stdout).unwrap()[..64]);
    let made = image(&scratch, "bomb", &[(&format!("{LAYER}+zstd"), &output.stdout, diff_id)]);
    let served = made.served(true, |_| None);
    let source = format!("docker://{}/vm:1", served.script.host());
    let refused = from(&scratch, &source, &[]);
    refused.failed(11, "source-invalid", &["at most 1000 bytes for each", "--source-option expansion=N"]);
    assert_layout_empty(&scratch.path("layout"));
    let to = format!("oci:{}:1", scratch.text("layout"));
    let mut command = longshore(["import", &*source, &*to, "--plain-http", &served.script.host()]);
    let (wanted, memory) = watched(command.args(["--source-option", "expansion=100000"]));
    wanted.done();
    assert!(memory <= MOST_OF_ITS_OWN + (16 << 20), "{memory} bytes");
    for wrong in ["expansion=0", "expansion=x", "expansion=10000001"] {
        from(&scratch, &source, &["--source-option", wrong]).failed(11, "source-invalid", &["a number from 1 to"]);
    }
}

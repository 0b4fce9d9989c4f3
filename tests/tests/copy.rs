//! An image copied as it is: byte for byte, its layer sent, mounted or there already, its disk looked at all the same; and what is
//! not fit to be copied.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use longshore_tests::images::{LAYER, Made, digest, image, skopeo};
use longshore_tests::layers::{assert_layout_empty, crane_push_index, pull};
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, finish, import, longshore, quick, watched};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version, built};
use longshore_tests::scratch::{Scratch, qcow2, raw, run};
use longshore_tests::script::{Script, empty, full, with};
use longshore_tests::signer::Signer;
use longshore_tests::sink::{self, Turn};
use longshore_tests::tls::Authority;
use serde_json::{Value, json};

const DISK: usize = 3_000_001;

fn registry(scratch: &Scratch, name: &str, version: Version) -> Registry {
    Registry::start(scratch, name, Setup { version, ..Setup::default() })
}

/// Copies between plain registries, and gives the report.
fn copy(from: &str, to: &str, more: &[&str]) -> Ran {
    let mut arguments = vec![from, to, "--copy", "always", "--report", "-"];
    for reference in [from, to] {
        let host = reference.strip_prefix("docker://").and_then(|rest| rest.split('/').next());
        host.into_iter().for_each(|host| arguments.extend(["--plain-http", host]));
    }
    import([arguments, more.to_vec()].concat())
}

/// A document of a plain registry, as crane reads it.
fn manifest(reference: &str) -> String {
    let reference = reference.strip_prefix("docker://").unwrap();
    run(built("crane").env_clear().env("HOME", "/nonexistent").args(["manifest", reference]))
}

/// Panics unless everything under a reference is whole, as crane finds it.
fn valid(reference: &str) {
    let reference = reference.strip_prefix("docker://").unwrap();
    run(built("crane").env_clear().env("HOME", "/nonexistent").args(["validate", "--fast", "--remote", reference]));
}

/// A file of a layer: its path, and what is in it.
type File<'a> = (&'a str, &'a [u8]);

/// The tar of a layer with these files, as GNU tar makes it.
fn tar_of(scratch: &Scratch, files: &[File<'_>]) -> Vec<u8> {
    let root = scratch.folder("root");
    let _ = fs::remove_dir_all(&root);
    for (name, content) in files {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), content).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&root).arg("-cf").arg(scratch.path("tar")).args(files.iter().map(|(name, _)| name));
    run(&mut tar);
    fs::read(scratch.path("tar")).unwrap()
}

#[test]
fn an_image_is_copied_byte_for_byte_and_no_byte_is_sent_that_is_there() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let (here, there) = (registry(&scratch, "here", version), registry(&scratch, "there", version));
        let disk = qcow2(&scratch.path("vm.qcow2"));
        for (tag, types) in [("oci", "oci"), ("docker", "docker")] {
            let (from, to) = (here.reference(&format!("vm:{tag}")), there.reference(&format!("a/vm:{tag}")));
            let made = ["--media-types", types, "--label", "k=v", "--owner", "64535:64535"];
            let pushed =
                import([&[&*scratch.text("vm.qcow2"), &*from, "--plain-http", &here.host()], &made[..]].concat());
            let digest = pushed.done().digest();
            let report = copy(&from, &to, &["--tag", "second"]).done().report();
            assert_eq!(report["image"]["digest"], digest.as_str());
            assert_eq!(report["image"]["tags"], json!([tag, "second"]));
            assert_eq!(
                (&report["copy"]["kind"], &report["copy"]["images"][0]["digest"]),
                (&json!("image"), &json!(digest))
            );
            assert_eq!(report["disk"]["format"], "qcow2");
            assert_eq!(report["stages"][0]["bytes_out"], json!(disk.len()), "the disk was looked at as it flowed");
            for copied in [&*to, &there.reference("a/vm:second")] {
                assert_eq!(manifest(copied), manifest(&from), "{version:?}");
                valid(copied);
            }
            assert_eq!(report["copy"]["images"][0]["layer"], if tag == "oci" { "sent" } else { "there" });
            // Once more, and in another repository of the same registry.
            let again = copy(&from, &to, &[]).done().report();
            assert_eq!(
                (&again["copy"]["images"][0]["layer"], &again["transfer"]["bytes_sent"]),
                (&json!("there"), &json!(0))
            );
            let beside = there.reference(&format!("b/{tag}:1"));
            let mounted = copy(&to, &beside, &[]).done().report();
            let layer = &mounted["copy"]["images"][0]["layer"];
            assert_eq!((layer, &mounted["transfer"]["bytes_sent"]), (&json!("mounted"), &json!(0)), "{version:?}");
            assert_eq!(manifest(&beside), manifest(&from));
            valid(&beside);
        }
        let printed = import([
            &*here.reference("vm:oci"),
            &*there.reference("c:1"),
            "--plain-http",
            &here.host(),
            "--plain-http",
            &there.host(),
        ])
        .done();
        assert!(printed.stdout.starts_with(&format!("{}/c@sha256:", there.host())), "{}", printed.stdout);
        assert!(printed.stderr.contains("copied vm.qcow2 (qcow2 for linux/amd64) as it is"), "{}", printed.stderr);
        // With a flag that only an image of our own has, it is one.
        let ours = import([
            &*here.reference("vm:oci"),
            &*there.reference("d:1"),
            "--name",
            "x.img",
            "--plain-http",
            &here.host(),
            "--plain-http",
            &there.host(),
            "--report",
            "-",
        ]);
        assert_eq!(ours.done().report()["copy"], Value::Null);
        copy(&here.reference("vm:oci"), &there.reference("d:1"), &["--name", "x"]).failed(2, "usage", &["--name"]);
    }
}

/// The index `vm:all` of two images, for amd64 and arm64/v8; with their digests.
fn index(scratch: &Scratch, registry: &Registry) -> Vec<String> {
    let host = registry.host();
    let mut digests = Vec::new();
    for (at, platform) in ["linux/amd64", "linux/arm64/v8"].iter().enumerate() {
        fs::write(scratch.path("vm.raw"), vec![at as u8 + 1; 100_000 + at]).unwrap();
        let to = registry.reference(&format!("vm:{at}"));
        let ran = import([&*scratch.text("vm.raw"), &*to, "--plain-http", &*host, "--platform", platform]);
        digests.push(ran.done().digest());
    }
    let images: Vec<_> = digests.iter().map(|digest| format!("{host}/vm@{digest}")).collect();
    crane_push_index(&format!("{host}/vm:all"), &images);
    digests
}

#[test]
fn an_index_is_copied_whole_or_by_platform() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let (here, there) = (registry(&scratch, "here", version), registry(&scratch, "there", version));
        let digests = index(&scratch, &here);
        let (from, to) = (here.reference("vm:all"), there.reference("vm:all"));
        let report = copy(&from, &to, &[]).done().report();
        assert_eq!((&report["copy"]["kind"], report["copy"]["images"].as_array().unwrap().len()), (&json!("index"), 2));
        assert_eq!(report["image"]["layer_digest"], Value::Null, "it has two");
        assert_eq!(manifest(&to), manifest(&from));
        valid(&to);
        for digest in &digests {
            assert_eq!(
                manifest(&there.reference(&format!("vm@{digest}"))),
                manifest(&here.reference(&format!("vm@{digest}")))
            );
        }
        for (at, platform) in ["linux/amd64", "linux/arm64"].iter().enumerate() {
            let to = there.reference(&format!("one:{at}"));
            let report = copy(&from, &to, &["--platform", platform]).done().report();
            assert_eq!((&report["image"]["digest"], &report["copy"]["kind"]), (&json!(digests[at]), &json!("image")));
            assert_eq!(manifest(&to), manifest(&here.reference(&format!("vm@{}", digests[at]))));
            copy(&to, &there.reference("same:1"), &["--platform", platform]).done();
        }
        let absent = copy(&from, &there.reference("no:1"), &["--platform", "linux/s390x"]);
        absent.failed(11, "source-invalid", &["no image for linux/s390x; it has linux/amd64, linux/arm64/v8"]);
        let other = copy(&here.reference("vm:0"), &there.reference("no:1"), &["--platform", "linux/arm64"]);
        other.failed(11, "source-invalid", &["is for linux/amd64, expected linux/arm64"]);
        assert!(!there.has_tag("no", "1"));
        // A disk that the policy does not want keeps the whole index away, and what stands there by then is named.
        let policy = scratch.text("policy.toml");
        let text =
            "schema = \"longshore.policy/v1\"\n[require]\nmax-size = \"100000\"\n[flags]\nallow = [\"--plain-http\"]\n";
        fs::write(&policy, text).unwrap();
        let large = copy(&from, &there.reference("large:all"), &["--policy", &policy]);
        large.failed(11, "disk-too-large", &["100001 bytes", "left behind: the manifest"]);
        assert!(!there.has_tag("large", "all"));
    }
}

#[test]
fn attestations_and_indexes_within_indexes_go_along() {
    let scratch = Scratch::new();
    let there = registry(&scratch, "there", Version::V3);
    raw(&scratch.path("vm.raw"), 50_000);
    let layout = scratch.path("layout");
    let put = |bytes: &[u8]| {
        let digest = digest(bytes);
        fs::write(layout.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
        digest
    };
    import([&*scratch.text("vm.raw"), &*format!("oci:{}:1", layout.display())]).done();
    let mut listed: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let mut image = listed["manifests"][0].clone();
    image.as_object_mut().unwrap().remove("annotations");
    image["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let statement = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#;
    let described =
        |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": put(bytes), "size": bytes.len()});
    let attestation = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example", "subject": image,
        "config": described("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [described("application/vnd.in-toto+json", statement)],
    });
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let of = |platform: Value, mut described: Value| {
        described["platform"] = platform;
        described
    };
    let unknown = json!({"os": "unknown", "architecture": "unknown"});
    let attached = of(unknown.clone(), described(MANIFEST, attestation.to_string().as_bytes()));
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image, attached]});
    let inner = described(INDEX, inner.to_string().as_bytes());
    let outer =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner, image], "annotations": {"Layers": "x"}});
    let mut tagged = |name: &str, mut entry: Value| {
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        listed["manifests"].as_array_mut().unwrap().push(entry);
        fs::write(layout.join("index.json"), listed.to_string()).unwrap();
    };
    tagged("all", described(INDEX, outer.to_string().as_bytes()));
    let from = format!("oci:{}:all", layout.display());
    let report = copy(&from, &there.reference("vm:all"), &[]).done().report();
    assert_eq!(report["source"]["location"], format!("oci:{}", layout.display()));
    assert_eq!(report["copy"]["images"].as_array().unwrap().len(), 1, "once, however often it is listed");
    assert_eq!(manifest(&there.reference("vm:all")), outer.to_string());
    let attestation_there = there.reference(&format!("vm@{}", digest(attestation.to_string().as_bytes())));
    assert_eq!(manifest(&attestation_there), attestation.to_string());
    valid(&there.reference("vm:1").replace("vm:1", &format!("vm@{}", image["digest"].as_str().unwrap())));
    // And back into a layout.
    let back = scratch.text("back");
    copy(&there.reference("vm:all"), &format!("oci:{back}:all"), &[]).done();
    let found = finish(longshore(["inspect", &format!("oci:{back}:all"), "--json"]).args([""; 0]), b"").done().report();
    assert_eq!(found["digest"], digest(outer.to_string().as_bytes()));
    // What is listed for no platform and has a layer that engines unpack is no attestation.
    let smuggled = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image, of(unknown, {
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": described("application/vnd.oci.empty.v1+json", b"{}"), "layers": [described(LAYER, b"no tar")]});
        described(MANIFEST, manifest.to_string().as_bytes())
    })]});
    tagged("smuggled", described(INDEX, smuggled.to_string().as_bytes()));
    let from = format!("oci:{}:smuggled", layout.display());
    copy(&from, &there.reference("vm:smuggled"), &[]).failed(11, "source-invalid", &[]);
    // Nor is an index that goes on and on.
    let mut deep = image.clone();
    for _ in 0..4 {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [deep]});
        deep = described(INDEX, index.to_string().as_bytes());
    }
    tagged("deep", deep);
    let from = format!("oci:{}:deep", layout.display());
    copy(&from, &there.reference("vm:deep"), &[]).failed(11, "source-invalid", &["more than 3 indexes"]);
    let many: Vec<Value> = (0..65).map(|_| image.clone()).collect();
    let many = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": many});
    tagged("many", described(INDEX, many.to_string().as_bytes()));
    let from = format!("oci:{}:many", layout.display());
    copy(&from, &there.reference("vm:many"), &[]).failed(11, "source-invalid", &["more than 64 documents"]);
    // Nor one in which there is nothing to look at, or that is not as long as it is said to be.
    for (name, listed) in [("none", vec![]), ("unlooked", vec![attached])] {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
        tagged(name, described(INDEX, index.to_string().as_bytes()));
        let from = format!("oci:{}:{name}", layout.display());
        copy(&from, &there.reference(&format!("vm:{name}")), &[]).failed(11, "source-invalid", &["has no image"]);
    }
    let longer = |mut described: Value| {
        described["size"] = json!(described["size"].as_u64().unwrap() + 1);
        described
    };
    tagged("longer", longer(described(INDEX, outer.to_string().as_bytes())));
    let listing = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [longer(image.clone())]});
    tagged("listing", described(INDEX, listing.to_string().as_bytes()));
    for name in ["longer", "listing"] {
        let from = format!("oci:{}:{name}", layout.display());
        copy(&from, &there.reference(&format!("vm:{name}")), &[]).failed(11, "source-invalid", &["as what lists it"]);
    }
    assert!(["none", "unlooked", "longer", "listing"].iter().all(|tag| !there.has_tag("vm", tag)));
    assert!(["smuggled", "deep", "many"].iter().all(|tag| !there.has_tag("vm", tag)));
}

/// An image in the ways in which layers are stored.
fn stored(scratch: &Scratch, tar: &[u8]) -> Vec<(&'static str, Made)> {
    fs::write(scratch.path("layer"), tar).unwrap();
    run(Command::new("gzip").arg("-kf").arg(scratch.path("layer")));
    run(Command::new("zstd").args(["-qf"]).arg(scratch.path("layer")));
    let (gzip, zstd) = (fs::read(scratch.path("layer.gz")).unwrap(), fs::read(scratch.path("layer.zst")).unwrap());
    let forms: [(&str, &str, &[u8]); 3] = [("plain", "", tar), ("gzip", "+gzip", &gzip), ("zstd", "+zstd", &zstd)];
    let made = |(name, suffix, bytes): (&'static str, &str, &[u8])| {
        (name, image(scratch, name, &[(&format!("{LAYER}{suffix}"), bytes, digest(tar))]))
    };
    forms.into_iter().map(made).collect()
}

#[test]
fn a_layer_is_copied_in_the_form_it_has_and_its_disk_is_looked_at() {
    let scratch = Scratch::new();
    let (here, there) = (registry(&scratch, "here", Version::V2), registry(&scratch, "there", Version::V3));
    let disk = qcow2(&scratch.path("vm.qcow2"));
    for (name, made) in stored(&scratch, &tar_of(&scratch, &[("disk/vm.qcow2", &disk)])) {
        made.push(&here, &format!("vm:{name}"));
        let (from, to) = (here.reference(&format!("vm:{name}")), there.reference(&format!("vm:{name}")));
        let report = copy(&from, &to, &["--format", "qcow2"]).done().report();
        assert_eq!(report["copy"]["images"][0]["layer"], "sent", "{name}");
        let layer = &made.manifest["layers"][0];
        assert_eq!(report["transfer"]["bytes_sent"], layer["size"], "{name}");
        assert_eq!(manifest(&to), manifest(&from));
        valid(&to);
        let beside = there.reference(&format!("beside:{name}"));
        let mounted = copy(&to, &beside, &[]).done().report();
        assert_eq!(mounted["copy"]["images"][0]["layer"], "mounted", "{name}");
        // Nothing is waited for that is not sent.
        for (from, to) in [(&from, &to), (&to, &there.reference(&format!("moved:{name}")))] {
            let ran = copy(from, to, &["--progress", "json"]).done();
            let end: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
            assert_eq!((&end["type"], &end["bytes_total"]), (&json!("end"), &json!(0)), "{name} {end}");
        }
        // A demand that it does not meet, where the layer would be sent, and where it need not be.
        let policy = scratch.text("policy.toml");
        let text =
            "schema = \"longshore.policy/v1\"\n[require]\nformats = [\"raw\"]\n[flags]\nallow = [\"--plain-http\"]\n";
        fs::write(&policy, text).unwrap();
        let refused = |to: &str, more: &[&str], code| {
            copy(&from, &there.reference(to), more).failed(11, code, &["qcow2", "left behind: nothing in"]);
            assert!(!there.has_tag(to.split(':').next().unwrap(), "no"));
        };
        for to in ["vm:no", "beside:no", &format!("fresh/{name}:no")] {
            refused(to, &["--policy", &policy], "disk-format");
            refused(to, &["--format", "raw"], "disk-format");
        }
        let wrong = ["--checksum", "md5:00000000000000000000000000000000"];
        copy(&from, &there.reference("vm:no"), &wrong).failed(11, "checksum-mismatch", &["md5"]);
        assert!(!there.has_tag("vm", "no"));
    }
}

#[test]
fn a_disk_that_reaches_out_of_itself_is_not_copied() {
    let scratch = Scratch::new();
    let (here, there) = (registry(&scratch, "here", Version::V3), registry(&scratch, "there", Version::V2));
    let mut disk = qcow2(&scratch.path("vm.qcow2"));
    // A backing file: its name at 512, five bytes.
    disk[8..16].copy_from_slice(&512_u64.to_be_bytes());
    disk[16..20].copy_from_slice(&5_u32.to_be_bytes());
    disk[512..517].copy_from_slice(b"/etc/");
    for (name, made) in stored(&scratch, &tar_of(&scratch, &[("disk/vm.qcow2", &disk)])) {
        made.push(&here, &format!("vm:{name}"));
        let from = here.reference(&format!("vm:{name}"));
        for to in ["vm:1", "vm:2"] {
            copy(&from, &there.reference(to), &[]).failed(11, "disk-refused", &["/etc/"]);
        }
        // Not even where it is already.
        let beside = copy(&from, &here.reference(&format!("beside:{name}")), &[]);
        // It was not mounted either.
        beside.failed(11, "disk-refused", &["left behind: nothing in"]);
        assert!(!here.has_tag("beside", name));
    }
    there.assert_empty();
}

#[test]
fn what_is_more_than_a_disk_is_not_copied_as_it_is() {
    let scratch = Scratch::new();
    let (here, there) = (registry(&scratch, "here", Version::V3), registry(&scratch, "there", Version::V3));
    let small = vec![7; 2000];
    let much = vec![7; 2 << 20];
    let layers: [(&str, &[File<'_>], &str); 6] = [
        ("second", &[("disk/a.raw", &small), ("disk/b.raw", &small)], "`disk/b.raw` besides one disk"),
        ("before", &[("etc/x", &small), ("disk/a.raw", &small)], "`etc/x` besides one disk"),
        ("behind", &[("disk/a.raw", &small), ("etc/x", &small)], "`etc/x` besides one disk"),
        ("much-before", &[("etc/x", &much), ("disk/a.raw", &small)], "`etc/x` besides one disk"),
        ("much-behind", &[("disk/a.raw", &small), ("etc/x", &much)], "`etc/x` besides one disk"),
        ("none", &[("etc/x", &small)], "`etc/x` besides one disk"),
    ];
    for (tag, files, says) in layers {
        for (form, made) in stored(&scratch, &tar_of(&scratch, files)) {
            let name = format!("{tag}-{form}");
            made.push(&here, &format!("vm:{name}"));
            let from = here.reference(&format!("vm:{name}"));
            let ran = copy(&from, &there.reference("vm:1"), &[]);
            let ran = ran.failed(11, "source-invalid", &[says, "hint: to take the disk out", "nothing in"]);
            if name == "second-plain" {
                ran.golden("copy-of-more-than-a-disk");
            }
            let to = format!("oci:{}:1", scratch.text("layout"));
            let taken_out = || import([&*from, &*to, "--copy", "never", "--plain-http", &here.host()]);
            match tag {
                "none" => {}
                "second" => drop(taken_out().failed(11, "source-invalid", &["several files in `disk/`", "nothing in"])),
                _ => drop(taken_out().done()),
            }
        }
    }
    let tar = tar_of(&scratch, &[("disk/a.raw", &small)]);
    let two = image(&scratch, "two", &[(LAYER, &tar, digest(&tar)), (LAYER, &tar, digest(&tar))]);
    two.push(&here, "vm:two");
    copy(&here.reference("vm:two"), &there.reference("vm:1"), &[]).failed(
        11,
        "source-invalid",
        &["has 2 layers, expected one"],
    );
    image(&scratch, "zero", &[]).push(&here, "vm:zero");
    copy(&here.reference("vm:zero"), &there.reference("vm:1"), &[]).failed(
        11,
        "source-invalid",
        &["has 0 layers, expected one"],
    );
    there.assert_empty();
}

#[test]
fn a_document_that_two_readers_read_differently_is_not_copied() {
    let scratch = Scratch::new();
    let small = vec![7; 2000];
    let tar = tar_of(&scratch, &[("disk/a.raw", &small)]);
    let made = image(&scratch, "twice", &[(LAYER, &tar, digest(&tar))]);
    let mut document = made.manifest.clone();
    document["Layers"] = document["layers"].clone();
    fs::write(made.folder.join("manifest.json"), document.to_string()).unwrap();
    let served = made.served(true, |_| None);
    let layout = scratch.text("layout");
    let from = format!("docker://{}/vm:1", served.script.host());
    copy(&from, &format!("oci:{layout}"), &[]).failed(
        11,
        "source-invalid",
        &["`Layers`, which some readers take for another one"],
    );
    assert_layout_empty(Path::new(&layout));
}

#[test]
fn a_document_that_is_made_to_fill_memory_does_not() {
    let scratch = Scratch::new();
    let tar = tar_of(&scratch, &[("disk/a.raw", &[7; 2000])]);
    let made = image(&scratch, "full", &[(LAYER, &tar, digest(&tar))]);
    let served = made.served(true, |_| None);
    let from = format!("docker://{}/vm:1", served.script.host());
    let to = format!("oci:{}", scratch.text("layout"));
    for (length, code) in [(1_000_000, None), (4_000_000, Some("expected at most 1048576 of a document"))] {
        let mut document = made.manifest.clone();
        document["x"] = vec![json!([0]); length / 4].into();
        fs::write(made.folder.join("manifest.json"), document.to_string()).unwrap();
        let with = ["--copy", "always", "--plain-http", &served.script.host()];
        let (ran, own) = watched(longshore(["import", &*from, &*to]).args(with));
        match code {
            None => drop(ran.done()),
            Some(says) => drop(ran.failed(11, "source-invalid", &[says])),
        }
        assert!(own < MOST_OF_ITS_OWN, "{length}: {own} bytes");
    }
}

#[test]
fn bytes_of_another_digest_are_never_committed() {
    for name in ["plain", "gzip", "zstd"] {
        let scratch = Scratch::new();
        let (here, there) = (registry(&scratch, "here", Version::V3), registry(&scratch, "there", Version::V3));
        let disk = raw(&scratch.path("vm.raw"), DISK);
        let all = stored(&scratch, &tar_of(&scratch, &[("disk/vm.raw", &disk)]));
        let made = all.into_iter().find(|(form, _)| *form == name).unwrap().1;
        made.push(&here, "vm:1");
        let layer = made.manifest["layers"][0]["digest"].as_str().unwrap()[7..].to_owned();
        let path = here.storage().join("docker/registry/v2/blobs/sha256").join(&layer[..2]).join(&layer).join("data");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 600_000;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let ran = copy(&here.reference("vm:1"), &there.reference("vm:1"), &[]);
        assert_eq!(ran.code, Some(11), "{name}: {}", ran.stderr);
        there.assert_empty();
        // It is found out too where nothing is sent: the look alone would have passed it.
        let ran = copy(&here.reference("vm:1"), &here.reference("beside:1"), &[]);
        assert_eq!(ran.code, Some(11), "{name}: {}", ran.stderr);
        assert!(!here.has_tag("beside", "1"));
    }
}

/// GNU tar of these files without blocks of zeros but two.
fn short_tar_of(scratch: &Scratch, files: &[File<'_>]) -> Vec<u8> {
    tar_of(scratch, files);
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(scratch.path("root")).arg("--blocking-factor=1").arg("-cf").arg(scratch.path("tar"));
    run(tar.args(files.iter().map(|(name, _)| name)));
    fs::read(scratch.path("tar")).unwrap()
}

#[test]
fn a_layer_that_is_shown_otherwise_than_it_is_copied_is_not_copied() {
    let scratch = Scratch::new();
    let mut evil = qcow2(&scratch.path("vm.qcow2"));
    evil[8..16].copy_from_slice(&512_u64.to_be_bytes());
    evil[16..20].copy_from_slice(&5_u32.to_be_bytes());
    let layer = short_tar_of(&scratch, &[("etc/x", &vec![0; 300_000]), ("disk/vm.qcow2", &evil)]);
    let innocent = short_tar_of(&scratch, &[("disk/x.raw", &vec![0; layer.len() - 512 - 1024])]);
    assert_eq!(innocent.len(), layer.len());
    let made = image(&scratch, "evil", &[(LAYER, &layer, digest(&layer))]);
    let (folder, hex) = (made.folder.clone(), digest(&layer)[7..].to_owned());
    let script = Script::start(
        None,
        Arc::new(move |request| {
            let path = request.uri().path().to_owned();
            let range = request.headers().get("range").map(|range| range.to_str().unwrap().to_owned());
            let answer = match (path.rsplit_once("sha256:"), range) {
                (Some((_, asked)), Some(range)) if asked == hex => {
                    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                    // The search for the disk, and what is asked for once more to be verified.
                    let shown = if (first, last) == (0, 65535) { &innocent } else { &layer };
                    let mut part = full(206, shown[first..=last].to_vec());
                    let field = format!("bytes {first}-{last}/{}", layer.len());
                    part.headers_mut().insert("content-range", field.parse().unwrap());
                    part
                }
                (Some((_, hex)), _) if path.contains("/blobs/") => full(200, fs::read(folder.join(hex)).unwrap()),
                _ if path.contains("/manifests/") => full(200, fs::read(folder.join("manifest.json")).unwrap()),
                _ => empty(200),
            };
            Box::pin(async move { answer })
        }),
    );
    let layout = scratch.text("layout");
    let ran = copy(&format!("docker://{}/vm:1", script.host()), &format!("oci:{layout}"), &[]);
    ran.failed(11, "source-invalid", &["`etc/x` besides one disk"]);
    assert_layout_empty(Path::new(&layout));
}

#[test]
fn what_breaks_goes_on() {
    let scratch = Scratch::new();
    let there = registry(&scratch, "there", Version::V3);
    let disk = raw(&scratch.path("vm.raw"), DISK);
    for (name, made) in stored(&scratch, &tar_of(&scratch, &[("disk/vm.raw", &disk)])) {
        // Breaks each read of the layer but the short ones at its ends.
        let served = made.served(true, |request| (request % 2 == 1).then_some(500_000));
        let from = format!("docker://{}/vm:1", served.script.host());
        let to = there.reference(&format!("vm:{name}"));
        let ran = copy(&from, &to, &["--policy", &quick(&scratch)]);
        let report = ran.done().report();
        assert!(report["transfer"]["resumes"].as_u64().unwrap() > 0, "{name}: {}", report["transfer"]);
        valid(&to);
    }
}

#[test]
fn what_breaks_goes_on_where_there_are_no_ranges() {
    let scratch = Scratch::new();
    let there = registry(&scratch, "there", Version::V3);
    let disk = raw(&scratch.path("vm.raw"), DISK);
    for (name, made) in stored(&scratch, &tar_of(&scratch, &[("disk/vm.raw", &disk)])) {
        // More often than the disk is looked for: what is sent breaks too.
        let served = made.served(false, |request| (request < 3).then_some(500_000));
        let from = format!("docker://{}/vm:1", served.script.host());
        let to = there.reference(&format!("vm:{name}"));
        let ran = copy(&from, &to, &["--policy", &quick(&scratch)]);
        assert!(ran.done().report()["transfer"]["resumes"].as_u64().unwrap() > 0, "{name}");
        valid(&to);
    }
}

/// Two beginnings of the layer: one for who looks for the disk, and the one that is in the layer.
#[test]
fn a_registry_that_shows_another_disk_than_the_layer_has_is_found_out() {
    let scratch = Scratch::new();
    let mut disk = vec![7; 200 << 10];
    // Behind a shorter one there would be the tar's end.
    disk[199 << 10..].fill(0);
    let tar = tar_of(&scratch, &[("disk/vm.qcow2", &disk)]);
    let made = image(&scratch, "two", &[(LAYER, &tar, digest(&tar))]);
    let header = |name: &str, length: usize| tar_of(&scratch, &[(name, &disk[..length])])[..512].to_vec();
    for (ranges, looks, forged) in [
        (true, 1, header("disk/vm.qcow2", 199 << 10)),
        (true, 1, header("disk/vm.other", 200 << 10)),
        (false, 2, header("disk/vm.other", 200 << 10)),
    ] {
        for way in ["always", "never"] {
            let forged = forged.clone();
            let forge = move |request: usize, bytes: &mut [u8]| {
                if request < looks {
                    bytes[..512].copy_from_slice(&forged);
                }
            };
            let served = made.forged(ranges, |_| None, forge);
            let from = format!("docker://{}/vm:1", served.script.host());
            let layout = scratch.text("layout");
            let to = format!("oci:{layout}:1");
            let ran = import([&*from, &*to, "--copy", way, "--plain-http", &served.script.host()]);
            ran.failed(11, "source-invalid", &["begins otherwise than the registry said before"]);
            assert_layout_empty(Path::new(&layout));
        }
    }
}

#[test]
fn a_layer_that_its_config_calls_another_is_not_copied() {
    let scratch = Scratch::new();
    let (here, there) = (registry(&scratch, "here", Version::V3), registry(&scratch, "there", Version::V3));
    let tar = tar_of(&scratch, &[("disk/vm.raw", &[7; 2000])]);
    image(&scratch, "other", &[(LAYER, &tar, digest(b"what a sniffer unpacks"))]).push(&here, "vm:other");
    // With something behind its end, which may be the rest of a compressed stream that begins in a name.
    let longer = [&tar[..], b"more"].concat();
    image(&scratch, "longer", &[(LAYER, &longer, digest(&longer))]).push(&here, "vm:longer");
    for (tag, says) in [("other", "which is stored as it is"), ("longer", "behind the tar's end")] {
        let from = here.reference(&format!("vm:{tag}"));
        copy(&from, &there.reference("vm:1"), &[]).failed(11, "source-invalid", &[says, "nothing in"]);
        let to = format!("oci:{}:1", scratch.text("layout"));
        import([&*from, &*to, "--copy", "never", "--plain-http", &here.host()]).done();
    }
    there.assert_empty();
}

#[test]
fn a_mount_is_only_a_shorter_way() {
    for answer in ["created-and-a-lie", "accepted", "not-allowed", "not-found", "broken"] {
        let scratch = Scratch::new();
        let disk = raw(&scratch.path("vm.raw"), 300_000);
        let tar = tar_of(&scratch, &[("disk/vm.raw", &disk)]);
        let made = image(&scratch, "mount", &[(LAYER, &tar, digest(&tar))]);
        let folder = made.folder.clone();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        let (sink, seen) = sink::start_turned(
            None,
            Arc::new(move |request, _| {
                let path = request.uri.path();
                if let Some(rest) = path.strip_prefix("/v2/from/") {
                    let file = match rest.rsplit_once("sha256:") {
                        Some((_, hex)) if rest.starts_with("blobs/") => folder.join(hex),
                        _ => folder.join("manifest.json"),
                    };
                    let bytes = fs::read(file).unwrap();
                    let mut answer = full(200, bytes);
                    if rest.starts_with("manifests/") {
                        let media_type = "application/vnd.oci.image.manifest.v1+json".parse().unwrap();
                        answer.headers_mut().insert("content-type", media_type);
                    }
                    return Turn::Answer(answer);
                }
                let query = request.uri.query().unwrap_or_default();
                if request.method != "POST" || !query.contains("mount=") {
                    return Turn::Sink;
                }
                log.lock().unwrap().push(query.to_owned());
                match answer {
                    "created-and-a-lie" => Turn::Answer(with(201, "location", "/v2/to/blobs/x")),
                    "accepted" => Turn::Sink,
                    "not-allowed" => Turn::Answer(empty(405)),
                    "not-found" => Turn::Answer(empty(404)),
                    _ => Turn::LoseAnswer,
                }
            }),
        );
        let (from, to) = (format!("docker://{}/from:1", sink.host()), format!("docker://{}/to:1", sink.host()));
        let report = copy(&from, &to, &[]).done().report();
        assert_eq!(report["copy"]["images"][0]["layer"], "sent", "{answer}");
        let layer = &made.manifest["layers"][0];
        assert_eq!(report["transfer"]["bytes_sent"], layer["size"], "{answer}");
        let asked = asked.lock().unwrap().clone();
        let mount = format!("mount={}&from=from", layer["digest"].as_str().unwrap().replace(':', "%3A"));
        assert_eq!(asked, [mount], "{answer}");
        // Where the registry offered an upload instead, that one was used.
        let opened =
            seen.requests.lock().unwrap().iter().filter(|request| *request == "POST /v2/to/blobs/uploads/").count();
        let without_config = if answer == "accepted" { 1 } else { 2 };
        assert_eq!(opened, without_config + 1, "{answer}: for the layer, and for the config");
    }
}

#[test]
fn a_token_for_a_mount_is_for_both_repositories() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let signer = Signer::start(&scratch, &authority);
    let more = signer.configuration();
    let setup = Setup { version: Version::V3, tls: Some(&authority), more: &more, ..Setup::default() };
    let registry = Registry::start(&scratch, "registry", setup);
    let (policy, auth) = (scratch.text("policy.toml"), scratch.text("config.json"));
    let sides = ["source", "registry"].map(|side| format!("[egress.{side}]\naddresses = [\"127.0.0.0/8\"]\n"));
    fs::write(&policy, format!("schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]\n{}", sides.concat()))
        .unwrap();
    let entry = r#"{"username":"porter","password":"hunter2"}"#;
    fs::write(&auth, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.host())).unwrap();
    let with = ["--policy", &*policy, "--auth-file", &*auth, "--report", "-"];
    raw(&scratch.path("vm.raw"), 100_000);
    import([&[&*scratch.text("vm.raw"), &*registry.reference("a/vm:1")], &with[..]].concat()).done();
    let mounted = import([&[&*registry.reference("a/vm:1"), &*registry.reference("b/vm:1")], &with[..]].concat());
    assert_eq!(mounted.done().report()["copy"]["images"][0]["layer"], "mounted");
    let scopes = signer.scopes.lock().unwrap().clone();
    assert!(
        scopes
            .iter()
            .any(|scope| scope.contains("repository:b/vm:pull,push") && scope.contains("repository:a/vm:pull")),
        "{scopes:?}"
    );
}

#[test]
fn a_large_image_is_copied_in_bounded_memory() {
    let scratch = Scratch::new();
    let (here, there) = (registry(&scratch, "here", Version::V3), registry(&scratch, "there", Version::V3));
    let mut disk = vec![0; 96 << 20];
    disk[5 << 20] = 1;
    let forms = stored(&scratch, &tar_of(&scratch, &[("disk/vm.raw", &disk)]));
    drop(disk);
    for (name, made) in forms {
        // What expands so much has to be allowed to.
        made.push(&here, &format!("vm:{name}"));
        let (from, to) = (here.reference(&format!("vm:{name}")), there.reference(&format!("vm:{name}")));
        let more =
            ["--source-option", "expansion=1000000", "--plain-http", &here.host(), "--plain-http", &there.host()];
        let (ran, own) = watched(longshore(["import", &*from, &*to]).args(more));
        ran.done();
        assert!(own < MOST_OF_ITS_OWN, "{name}: {own} bytes");
    }
}

#[test]
fn tags_that_the_policy_keeps_are_kept_and_a_check_leaves_nothing() {
    let scratch = Scratch::new();
    let (here, there) = (registry(&scratch, "here", Version::V3), registry(&scratch, "there", Version::V2));
    for (tag, length) in [("1", 5000), ("2", 6000)] {
        raw(&scratch.path("vm.raw"), length);
        import([&*scratch.text("vm.raw"), &*here.reference(&format!("vm:{tag}")), "--plain-http", &here.host()]).done();
    }
    let checked = copy(&here.reference("vm:1"), &there.reference("vm:1"), &["--check"]).done().report();
    assert_eq!((&checked["outcome"], &checked["preflight"]["destination_opened"]), (&json!("checked"), &json!(true)));
    there.assert_empty();
    let policy = scratch.text("policy.toml");
    let text =
        "schema = \"longshore.policy/v1\"\n[destinations]\noverwrite = false\n[flags]\nallow = [\"--plain-http\"]\n";
    fs::write(&policy, text).unwrap();
    let keeping = ["--policy", &*policy];
    copy(&here.reference("vm:1"), &there.reference("vm:1"), &keeping).done();
    copy(&here.reference("vm:1"), &there.reference("vm:1"), &keeping).done();
    copy(&here.reference("vm:2"), &there.reference("vm:1"), &keeping).failed(
        13,
        "tag-exists",
        &["destinations.overwrite"],
    );
    assert_eq!(manifest(&there.reference("vm:1")), manifest(&here.reference("vm:1")));
    let absent = copy(&here.reference("vm:3"), &there.reference("vm:3"), &[]);
    absent.failed(10, "source-not-found", &["vm", "nothing in"]);
    let pulled = pull(&scratch, "pulled", &["--src-tls-verify=false"], &there.reference("vm:1"));
    assert_eq!(pulled.file("disk/vm.raw").len(), 5000);
    skopeo(&[], &there.reference("vm:1"), &format!("oci:{}:x", scratch.text("elsewhere")));
}

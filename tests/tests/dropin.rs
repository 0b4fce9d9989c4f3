//! `dvcr-importer`: the program under that name, in a pod as it was, with the environment as it was, against real registries.
//! Message, image, labels and exit code are what they were, field by field; what was wrong is not.

use std::fs;
use std::process::Command;

use longshore_tests::images::{self, LAYER, digest};
use longshore_tests::layers::{Pulled, pull};
use longshore_tests::loop_device::Loop;
use longshore_tests::namespace::{Files, inside};
use longshore_tests::nginx::Nginx;
use longshore_tests::pod::Pod;
use longshore_tests::registry::{Registry, Setup, VERSIONS};
use longshore_tests::scratch::{Scratch, noise, qcow2, raw, run};
use longshore_tests::tls::Authority;
use serde_json::{Value, json};

const OWNER: &str = "b856691e-1038-11e9-a5ab-525500d15501";
const PASSWORD: &str = "hunter2";

/// Runs the test once more in a namespace of its own, whose ports are nobody else's.
fn alone(test: &str, scratch: &Scratch) -> bool {
    let hosts = "127.0.0.1 localhost images.example registry.example\n";
    inside(test, scratch, &[], Files { hosts, resolver: "" })
}

/// A pod whose destination is that registry, trusted by its CA.
fn importer(scratch: &Scratch, name: &str, authority: &Authority, registry: &Registry, image: &str) -> Pod {
    let pod = Pod::new(scratch, name, "dvcr-importer");
    fs::copy(&authority.ca, pod.file("certs/ca")).unwrap();
    fs::copy(&authority.ca, pod.file("destination-ca.pem")).unwrap();
    pod.with(&[
        ("OWNER_UID", OWNER),
        ("IMPORTER_CERT_DIR", "/certs"),
        ("IMPORTER_DESTINATION_CA_BUNDLE", "/destination-ca.pem"),
        ("IMPORTER_DESTINATION_ENDPOINT", &format!("{}/{image}", registry.host())),
        ("IMPORTER_DESTINATION_ACCESS_KEY_ID", "user"),
        ("IMPORTER_DESTINATION_SECRET_KEY", PASSWORD),
    ])
}

fn setup(authority: &Authority) -> Setup<'_> {
    Setup { tls: Some(authority), basic: Some(("user", PASSWORD)), ..Setup::default() }
}

fn pulled(scratch: &Scratch, name: &str, registry: &Registry, image: &str) -> Pulled {
    let reference = format!("docker://{}/{image}", registry.host());
    pull(scratch, name, &["--src-tls-verify=false", "--src-creds", &format!("user:{PASSWORD}")], &reference)
}

/// Panics unless the image is what the replaced importer made: manifest, config, layer.
fn assert_as_it_was(pulled: &Pulled, file: &str, disk: &[u8], format: &str, virtual_size: u64) {
    let manifest = &pulled.manifest;
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar");
    assert_eq!(manifest.get("annotations"), None);
    let config = &pulled.config;
    assert_eq!(
        config["config"]["Labels"],
        json!({
            "source-image-size": disk.len().to_string(),
            "source-image-virtual-size": virtual_size.to_string(),
            "source-image-format": format,
            "erofs-compatible-layers": "true",
        })
    );
    assert_eq!((&config["architecture"], &config["os"]), (&json!("amd64"), &json!("linux")));
    assert_eq!((&config["author"], &config["config"]["WorkingDir"]), (&json!("DVCR client"), &json!("/")));
    let history = config["history"].as_array().unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(
        (&history[0]["author"], &history[0]["comment"]),
        (&json!("DVCR client"), &json!("streamed from the datasource"))
    );
    assert_eq!(history[0]["created"], config["created"]);
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"], "uncompressed");
    let listing = pulled.listing();
    let [folder, entry] = &listing[..] else { panic!("{listing:?}") };
    assert!(folder.starts_with("drwxr-xr-x 64535/64535 0 ") && folder.ends_with(" disk/"), "{folder}");
    assert!(entry.starts_with(&format!("-rw-r--r-- 64535/64535 {} ", disk.len())), "{entry}");
    assert!(entry.ends_with(&format!(" disk/{file}")), "{entry}");
    let layer = fs::read(pulled.layer()).unwrap();
    assert_eq!(layer.len() % 512, 0, "whole blocks");
    assert!(layer[layer.len() - 1024..].iter().all(|byte| *byte == 0), "and two of zeros at its end");
    assert!(pulled.file(&format!("disk/{file}")) == disk);
}

/// Panics unless the message is that of an import that went well.
fn assert_done(message: &Value, size: usize, format: &str, virtual_size: u64) {
    let fields: Vec<&String> = message.as_object().unwrap().keys().collect();
    let expected =
        ["average-speed", "duration", "source-image-format", "source-image-size", "source-image-virtual-size"];
    assert_eq!(fields, expected, "{message}");
    assert_eq!(message["source-image-size"], size);
    assert_eq!(
        (&message["source-image-format"], &message["source-image-virtual-size"]),
        (&json!(format), &json!(virtual_size))
    );
    // A nanosecond for a second would be too little.
    assert!(
        message["duration"].as_u64().unwrap() > 1_000_000 && message["average-speed"].as_u64().unwrap() > 0,
        "{message}"
    );
}

#[test]
fn a_disk_over_http_is_the_image_that_it_was() {
    let scratch = Scratch::new();
    if !alone("a_disk_over_http_is_the_image_that_it_was", &scratch) {
        return;
    }
    let authority = Authority::new(&scratch);
    let nginx = Nginx::start(&scratch, &authority);
    let disk = qcow2(&scratch.folder("www").join("my disk.qcow2"));
    // No multiple of 512.
    let odd = raw(&scratch.folder("www").join("odd.raw"), 1_000_003);
    for version in VERSIONS {
        let name = format!("{version:?}");
        let registry = Registry::start(&scratch, &name, Setup { version, ..setup(&authority) });
        let pod = importer(&scratch, &format!("{name}-pod"), &authority, &registry, "vm/disk:1").with(&[
            ("IMPORTER_SOURCE", "http"),
            ("IMPORTER_ENDPOINT", &nginx.url("my%20disk.qcow2")),
            ("IMPORTER_CONTENTTYPE", "kubevirt"),
        ]);
        pod.run().done();
        assert_done(&pod.message(), disk.len(), "qcow2", 64 << 20);
        let image = pulled(&scratch, &format!("{name}-qcow2"), &registry, "vm/disk:1");
        assert_as_it_was(&image, "my disk.qcow2", &disk, "qcow2", 64 << 20);

        let pod = pod.with(&[("IMPORTER_ENDPOINT", &nginx.url("odd.raw")), ("IMPORTER_SECRET_KEY", &String::new())]);
        pod.run().done();
        let sectors = odd.len().next_multiple_of(512) as u64;
        assert_done(&pod.message(), odd.len(), "raw", sectors);
        let image = pulled(&scratch, &format!("{name}-odd"), &registry, "vm/disk:1");
        assert_as_it_was(&image, "odd.raw", &odd, "raw", sectors);
    }
}

#[test]
fn disks_of_images_devices_and_files_are_the_images_that_they_were() {
    let scratch = Scratch::new();
    if !alone("disks_of_images_devices_and_files_are_the_images_that_they_were", &scratch) {
        return;
    }
    let authority = Authority::new(&scratch);
    let registry = Registry::start(&scratch, "registry", setup(&authority));
    let disk = noise(1_000_448);
    let device_file = scratch.path("device");
    fs::write(&device_file, &disk).unwrap();

    let device = Loop::attach(&device_file, "r");
    let pod = importer(&scratch, "device-pod", &authority, &registry, "vm/device:1");
    let pod = pod.with(&[("IMPORTER_SOURCE", "blockDevice")]).with_device(device.path());
    pod.run().done();
    assert_done(&pod.message(), disk.len(), "raw", disk.len() as u64);
    let image = pulled(&scratch, "of-device", &registry, "vm/device:1");
    assert_as_it_was(&image, &format!("{OWNER}.raw"), &disk, "raw", disk.len() as u64);

    let pod =
        importer(&scratch, "file-pod", &authority, &registry, "vm/file:1").with(&[("IMPORTER_SOURCE", "filesystem")]);
    fs::create_dir(pod.tmp().join("fs")).unwrap();
    fs::write(pod.tmp().join("fs/disk.img"), &disk).unwrap();
    pod.run().done();
    let image = pulled(&scratch, "of-file", &registry, "vm/file:1");
    assert_as_it_was(&image, &format!("{OWNER}.img"), &disk, "raw", disk.len() as u64);

    // Of a container disk that somebody else made, with credentials of its own in docker's form, over a certificate that is not
    // verified.
    let other = Authority::named(&scratch, "other");
    let from = Registry::start(
        &scratch,
        "from",
        Setup { tls: Some(&other), basic: Some(("reader", "word")), ..Setup::default() },
    );
    fs::create_dir_all(scratch.path("content/disk")).unwrap();
    fs::write(scratch.path("content/disk/inner.raw"), &disk).unwrap();
    run(Command::new("tar").args(["-C", &scratch.text("content"), "-cf", &scratch.text("layer.tar"), "disk"]));
    let layer = fs::read(scratch.path("layer.tar")).unwrap();
    let made = images::image(&scratch, "theirs", &[(LAYER, &layer, digest(&layer))]);
    let made = format!("dir:{}", made.folder.display());
    run(Command::new("skopeo").args([
        "--insecure-policy",
        "copy",
        "--quiet",
        "--dest-tls-verify=false",
        "--dest-creds",
        "reader:word",
        "--dest-oci-accept-uncompressed-layers",
        &made,
        &from.reference("theirs:1"),
    ]));
    let pod = importer(&scratch, "image-pod", &authority, &registry, "vm/image:1");
    let login = json!({"auths": {from.host(): {"auth": "cmVhZGVyOndvcmQ="}}});
    fs::write(pod.file("login.json"), login.to_string()).unwrap();
    let pod = pod.with(&[
        ("IMPORTER_SOURCE", "registry"),
        ("IMPORTER_ENDPOINT", &from.reference("theirs:1")),
        ("IMPORTER_AUTH_CONFIG", "/login.json"),
        ("INSECURE_TLS", "true"),
    ]);
    let ran = pod.run().done();
    assert!(ran.stderr.contains("INSECURE_TLS"), "it is warned about: {}", ran.stderr);
    let image = pulled(&scratch, "of-image", &registry, "vm/image:1");
    assert_as_it_was(&image, "inner.raw", &disk, "raw", disk.len() as u64);
    let pod = pod.with(&[("INSECURE_TLS", "false")]);
    pod.run().failed(15, "tls-certificate", &[&from.host()]);
    assert!(pod.error().contains("is not trusted"), "{}", pod.error());
}

/// A layer as the replaced importer wrote it: without the zeros that a file's last block is filled up with.
fn unpadded(scratch: &Scratch, disk: &[u8]) -> Vec<u8> {
    fs::create_dir_all(scratch.path("old/disk")).unwrap();
    fs::write(scratch.path("old/disk/old.raw"), disk).unwrap();
    let tar = scratch.text("old.tar");
    run(Command::new("tar").args(["--format=ustar", "-C", &scratch.text("old"), "-cf", &tar, "disk"]));
    let mut layer = fs::read(tar).unwrap();
    layer.truncate(2 * 512 + disk.len());
    layer.resize(layer.len() + 1024, 0);
    layer
}

#[test]
fn an_image_is_copied_as_it_is() {
    let scratch = Scratch::new();
    if !alone("an_image_is_copied_as_it_is", &scratch) {
        return;
    }
    let authority = Authority::new(&scratch);
    for version in VERSIONS {
        let name = format!("{version:?}");
        let registry = Registry::start(&scratch, &name, Setup { version, ..setup(&authority) });
        let disk = noise(300_001);
        let layer = unpadded(&scratch, &disk);
        let made = images::image(&scratch, &name, &[(LAYER, &layer, digest(&layer))]);
        let creds = format!("user:{PASSWORD}");
        run(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", "--preserve-digests"]).args([
            "--dest-tls-verify=false",
            "--dest-creds",
            &creds,
            &format!("dir:{}", made.folder.display()),
            &registry.reference("vm/from:1"),
        ]));
        let pod = importer(&scratch, &format!("{name}-pod"), &authority, &registry, "vm/to:2")
            .with(&[("IMPORTER_SOURCE", "dvcr"), ("IMPORTER_ENDPOINT", &format!("{}/vm/from:1", registry.host()))]);
        let pod = pod.with(&[("IMPORTER_CERT_DIR", "")]);
        let ran = pod.run().done();
        let manifest = fs::read(made.folder.join("manifest.json")).unwrap();
        assert!(ran.stdout.trim_end().ends_with(&digest(&manifest)), "{}", ran.stdout);
        let message = pod.message();
        assert_eq!(message.as_object().unwrap().keys().collect::<Vec<_>>(), ["duration"], "{message}");
        assert!(message["duration"].as_u64().unwrap() > 1_000_000);
        assert_eq!(pulled(&scratch, &format!("{name}-to"), &registry, "vm/to:2").manifest, made.manifest);

        let pod = pod.with(&[("IMPORTER_ENDPOINT", format!("{}/vm/none:1", registry.host()))]);
        let ran = pod.run();
        assert!(ran.code.is_some_and(|code| code != 0), "{}", ran.stderr);
        assert!(pod.error().contains("vm/none"), "{}", pod.error());
    }
}

//! `inspect`: what is there, verified, whoever pushed it.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::layers::crane_push_index;
use longshore_tests::program::{Ran, finish, import, longshore};
use longshore_tests::registry::{Registry, Setup, VERSIONS};
use longshore_tests::scratch::{Scratch, qcow2, raw, run};
use longshore_tests::script::{Handler, Script, empty, full, streamed, with};
use serde_json::{Value, json};

const DISK: usize = 3_000_000;

fn inspect(arguments: &[&str]) -> Ran {
    finish(longshore(["inspect"]).args(arguments), b"")
}

fn found(reference: &str, host: &str) -> Value {
    inspect(&[reference, "--json", "--plain-http", host]).done().report()
}

#[test]
fn what_longshore_pushed_is_found_again() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let (host, disk) = (registry.host(), qcow2(&scratch.path("vm.qcow2")));
        let to = registry.reference("a/vm:1");
        let digest = import([&*scratch.text("vm.qcow2"), &to, "--plain-http", &host, "--label", "k=v"]).done().digest();
        let by_tag = found(&to, &host);
        assert_eq!(by_tag["schema"], "longshore.inspect/v1");
        assert_eq!((&by_tag["name"], &by_tag["kind"]), (&format!("{host}/a/vm").into(), &"image".into()));
        assert_eq!(by_tag["digest"], digest.as_str());
        let [image] = &by_tag["images"].as_array().unwrap()[..] else { panic!("{by_tag}") };
        assert_eq!(
            image["disk"],
            json!({"name": "vm.qcow2", "size": disk.len(), "format": "qcow2", "virtual_size": 64 << 20})
        );
        assert_eq!(image["platform"], json!({"os": "linux", "architecture": "amd64", "variant": null}));
        assert_eq!((&image["labels"]["k"], &image["digest"]), (&"v".into(), &digest.as_str().into()));
        assert_eq!(image["created"], "1970-01-01T00:00:00Z");
        let layer = &image["layers"][0];
        assert_eq!(layer["media_type"], "application/vnd.oci.image.layer.v1.tar");
        assert!(layer["size"].as_u64().unwrap() > disk.len() as u64);

        assert_eq!(found(&format!("{host}/a/vm@{digest}"), &host), by_tag, "by digest, without docker://");
        let people = inspect(&[&to, "--plain-http", &host]).done().stdout;
        for words in [&*digest, "vm.qcow2 (qcow2, ", "64.00 MiB virtual)", "linux/amd64", "label       k=v"] {
            assert!(people.contains(words), "{words} in\n{people}");
        }

        import([&*scratch.text("vm.qcow2"), &to, "--plain-http", &host, "--media-types", "docker"]).done();
        let docker = found(&to, &host);
        assert_eq!(docker["media_type"], "application/vnd.docker.distribution.manifest.v2+json");
        assert_eq!(docker["images"][0]["disk"]["name"], "vm.qcow2");
    }
}

#[test]
fn a_layout_is_inspected_like_a_registry() {
    let scratch = Scratch::new();
    raw(&scratch.path("vm.raw"), DISK);
    let layout = format!("oci:{}", scratch.text("layout"));
    let digest = import([&*scratch.text("vm.raw"), &format!("{layout}:x")]).done().digest();
    for reference in [layout.clone(), format!("{layout}:x")] {
        let found = inspect(&[&reference, "--json"]).done().report();
        assert_eq!(found["digest"], digest.as_str());
        assert_eq!(
            (&found["images"][0]["disk"]["name"], &found["images"][0]["disk"]["size"]),
            (&"vm.raw".into(), &DISK.into())
        );
    }
    import([&*scratch.text("vm.raw"), &format!("{layout}:y")]).done();
    inspect(&[&layout])
        .failed(12, "registry-not-found", &["has no `latest`", "hint: it has x, y"])
        .golden("tag-not-found");
    inspect(&[&format!("{layout}:z")]).failed(12, "registry-not-found", &["has no `z`"]);
    inspect(&["oci:/nonexistent"]).failed(20, "local-file", &["/nonexistent", "oci-layout"]);

    let blob = scratch.path("layout").join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    let mut bytes = fs::read(&blob).unwrap();
    bytes.push(b' ');
    fs::write(&blob, bytes).unwrap();
    inspect(&[&format!("{layout}:x")]).failed(12, "registry-mismatch", &[&digest[7..], "bytes of the digest sha256:"]);
}

#[test]
fn an_image_of_somebody_else_has_no_labels_of_ours() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup::default());
    // umoci makes gzip layers, as everybody does.
    let layout = scratch.text("other");
    fs::write(scratch.path("disk.img"), b"hello").unwrap();
    run(Command::new("umoci").args(["init", "--layout", &layout]));
    run(Command::new("umoci").args(["new", "--image", &format!("{layout}:x")]));
    let insert = ["insert", "--image", &format!("{layout}:x"), &scratch.text("disk.img"), "/disk/disk.img"];
    run(Command::new("umoci").args(insert));
    let to = registry.reference("other:1");
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--dest-tls-verify=false"])
        .args([&format!("oci:{layout}:x"), &to]));
    let found = found(&to, &registry.host());
    let image = &found["images"][0];
    assert_eq!(image["disk"], json!({"name": null, "size": null, "format": null, "virtual_size": null}));
    assert_eq!(image["labels"], json!({}));
    assert_eq!(image["platform"]["os"], "linux");
    assert_eq!(image["layers"][0]["media_type"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let people = inspect(&[&to, "--plain-http", &registry.host()]).done().stdout;
    assert!(people.contains("compressed layer"), "{people}");
}

#[test]
fn an_index_is_listed_by_platform() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let host = registry.host();
        let mut digests = Vec::new();
        for platform in ["linux/amd64", "linux/arm64/v8"] {
            let name = format!("{}.raw", platform.replace('/', "-"));
            raw(&scratch.path(&name), DISK);
            let to = registry.reference(&format!("vm:{}", platform.replace('/', "-")));
            let ran = import([&*scratch.text(&name), &to, "--plain-http", &host, "--platform", platform]);
            digests.push(ran.done().digest());
        }
        crane_push_index(
            &format!("{host}/vm:all"),
            &digests.iter().map(|d| format!("{host}/vm@{d}")).collect::<Vec<_>>(),
        );
        let found = found(&registry.reference("vm:all"), &host);
        assert_eq!(found["kind"], "index");
        let images = found["images"].as_array().unwrap();
        let listed: Vec<_> = images
            .iter()
            .map(|image| (image["platform"]["architecture"].as_str().unwrap(), image["digest"].as_str().unwrap()))
            .collect();
        assert_eq!(listed, [("amd64", &*digests[0]), ("arm64", &*digests[1])]);
        assert_eq!(images[1]["disk"]["name"], "linux-arm64-v8.raw");
        let people = inspect(&[&registry.reference("vm:all"), "--plain-http", &host]).done().stdout;
        assert!(people.contains("platform    linux/amd64\n") && people.contains("platform    linux/arm64/v8\n"));
    }
}

#[test]
fn what_is_not_there_is_named() {
    let scratch = Scratch::new();
    let registry =
        Registry::start(&scratch, "registry", Setup { basic: Some(("porter", "hunter2")), ..Setup::default() });
    let host = registry.host();
    inspect(&[&registry.reference("vm"), "--plain-http", &host]).failed(
        16,
        "registry-denied",
        &["401", "docker login"],
    );
    fs::write(
        scratch.path("config.json"),
        format!(r#"{{"auths":{{"{host}":{{"username":"porter","password":"hunter2"}}}}}}"#),
    )
    .unwrap();
    let ran = inspect(&[&registry.reference("vm"), "--plain-http", &host, "--auth-file", &scratch.text("config.json")]);
    ran.failed(12, "registry-not-found", &["/vm has no `latest`", "404", "MANIFEST_UNKNOWN"]);
    inspect(&["vm"]).failed(2, "usage", &["docker://host[:port]/repository[:tag|@digest]"]);
}

/// A registry of one image, with a layer of its own making.
fn scripted(manifest: Value, config: &'static str, layer: Handler) -> Script {
    let manifest = manifest.to_string();
    let handler: Handler = Arc::new(move |request| {
        let path = request.uri().path().to_owned();
        match path.rsplit('/').nth(1) {
            _ if path == "/v2/" => Box::pin(async { empty(200) }),
            Some("manifests") => {
                let manifest = manifest.clone();
                Box::pin(async move { full(200, manifest) })
            }
            Some("blobs") if path.ends_with(&sha256(config.as_bytes())) => Box::pin(async move { full(200, config) }),
            _ => layer(request),
        }
    });
    Script::start(None, handler)
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(bytes);
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

const CONFIG: &str = r#"{"os":"linux","architecture":"amd64"}"#;

fn manifest_of(layer_size: u64) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": sha256(CONFIG.as_bytes()),
            "size": CONFIG.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": sha256(b"whatever"),
            "size": layer_size,
        }],
    })
}

fn inspect_script(script: &Script) -> Ran {
    inspect(&[&format!("{}/vm", script.host()), "--json", "--plain-http", &script.host()])
}

#[test]
fn a_registry_that_ignores_ranges_is_not_read_to_the_end() {
    let scratch = Scratch::new();
    // The head of a real layer, and then zeros for ever.
    let layout = format!("oci:{}", scratch.text("layout"));
    raw(&scratch.path("vm.raw"), DISK);
    import([&*scratch.text("vm.raw"), &layout]).done();
    let blobs = fs::read_dir(scratch.path("layout").join("blobs/sha256")).unwrap();
    let layer = blobs.map(|blob| fs::read(blob.unwrap().path()).unwrap()).find(|bytes| bytes.len() > DISK).unwrap();
    let head = Bytes::from(layer).slice(..2048);
    let handler: Handler = Arc::new(move |_| {
        let zeros = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 64 * 1024])));
        let body = futures_util::StreamExt::chain(stream::iter([Ok(head.clone())]), zeros);
        Box::pin(async { streamed(Some(1 << 40), body) })
    });
    let found = inspect_script(&scripted(manifest_of(1 << 40), CONFIG, handler)).done().report();
    assert_eq!(found["images"][0]["disk"]["name"], "vm.raw");
    assert_eq!(found["images"][0]["disk"]["size"], DISK);
}

#[test]
fn a_registry_that_lies_or_floods_is_not_believed() {
    let nothing: Handler = Arc::new(|_| Box::pin(async { empty(404) }));
    let mut other = manifest_of(0);
    other["config"]["digest"] = sha256(b"other").into();
    let lying: Handler = Arc::new(|_| Box::pin(async { full(200, CONFIG) }));
    let ran = inspect_script(&scripted(other, CONFIG, lying));
    ran.failed(12, "registry-mismatch", &["bytes of the digest sha256:"]);

    let mut large = manifest_of(0);
    large["annotations"] = json!({"a": "x".repeat(5 << 20)});
    let ran = inspect_script(&scripted(large, CONFIG, Arc::clone(&nothing)));
    ran.failed(12, "registry-protocol", &["more than 4194304 bytes"]);

    let both = json!({"config": manifest_of(0)["config"], "layers": [], "manifests": []});
    let ran = inspect_script(&scripted(both, CONFIG, Arc::clone(&nothing)));
    ran.failed(12, "registry-protocol", &["a manifest and an index at once"]).golden("manifest-and-index-at-once");

    let many = json!({"manifests": vec![manifest_of(0)["config"].clone(); 65]});
    let ran = inspect_script(&scripted(many, CONFIG, Arc::clone(&nothing)));
    ran.failed(12, "registry-protocol", &["65 images, expected at most 64"]);

    // Storage elsewhere gets no credentials, and must be where a peer may send us.
    let elsewhere: Handler = Arc::new(|_| Box::pin(async { with(307, "location", "http://169.254.169.254/x") }));
    let ran = inspect_script(&scripted(manifest_of(5000), CONFIG, elsewhere));
    ran.failed(13, "plain-http-denied", &["169.254.169.254"]);
    let looping: Handler = Arc::new(|_| Box::pin(async { with(307, "location", "again") }));
    let ran = inspect_script(&scripted(manifest_of(5000), CONFIG, looping));
    ran.failed(
        12,
        "registry-protocol",
        &["redirected more than the 10 times allowed", "`egress.redirects` (built-in)"],
    );
}

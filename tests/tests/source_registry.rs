//! A container disk as SOURCE: the disk of an image in a registry, verified by the digest of the layer it stands in, whoever
//! made the image, and what keeps it from being read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use longshore_tests::images::{LAYER, digest, image};
use longshore_tests::layers::{assert_layout_empty, crane_push_index, pull};
use longshore_tests::nginx::Nginx;
use longshore_tests::program::{Ran, hasty, import, longshore, probe, ran};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version};
use longshore_tests::scratch::{Scratch, qcow2, raw, run};
use longshore_tests::script::{Script, empty, full, with};
use longshore_tests::signer::Signer;
use longshore_tests::tls::Authority;
use longshore_tests::wire::{Act, Wire};
use longshore_tests::wrapped::piped;
use serde_json::{Value, json};

const DISK: usize = 3_000_001;

/// A plain registry with a disk that longshore pushed as `vm:1`.
fn pushed(scratch: &Scratch, version: Version) -> (Registry, Vec<u8>) {
    let registry = Registry::start(scratch, "registry", Setup { version, ..Setup::default() });
    let disk = raw(&scratch.path("vm.raw"), DISK);
    import([&*scratch.text("vm.raw"), &registry.reference("vm:1"), "--plain-http", &registry.host()]).done();
    (registry, disk)
}

/// Imports from a plain registry into a layout.
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

#[test]
fn what_longshore_pushed_comes_back_as_it_was() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let (registry, disk) = pushed(&scratch, version);
        let inspected = longshore(["inspect", &registry.reference("vm:1"), "--json", "--plain-http", &registry.host()]);
        let inspected = ran(&{ inspected }.output().unwrap()).done().report();
        let layer = &inspected["images"][0]["layers"][0]["digest"];
        let manifest = inspected["digest"].as_str().unwrap();
        for (source, more) in [
            (registry.reference("vm:1"), &[][..]),
            (registry.reference(&format!("vm@{manifest}")), &["--source-connections", "3"]),
            (registry.reference(&format!("vm:1@{manifest}")), &["--source-option", "platform=linux/amd64"]),
        ] {
            let report = from(&scratch, &source, more).done().report();
            assert_eq!((&report["source"]["access"], &report["source"]["size"]), (&json!("ranged"), &json!(DISK)));
            assert_eq!(
                (&report["source"]["revision"], &report["image"]["layer_digest"]),
                (layer, layer),
                "{version:?}"
            );
            assert_eq!(report["disk"]["name"], "vm.raw");
            assert!(disk_of(&scratch, "vm.raw") == disk);
        }
        let probed = probe([&*registry.reference("vm:1"), "--plain-http", &registry.host(), "--json"]).done().report();
        assert_eq!(probed["disk"]["format"], "raw");
        // From one registry into another, by way of this one.
        let to = registry.reference("copy:1");
        let more = ["--plain-http", &*registry.host(), "--copy", "never", "--report", "-"];
        let report = import([&[&*registry.reference("vm:1"), &*to][..], &more].concat()).done();
        assert_eq!(report.report()["image"]["layer_digest"], *layer);
    }
}

/// Pushes an image whose only layer is this tar, uncompressed.
fn push_layer(scratch: &Scratch, registry: &Registry, tar: &Path, tag: &str) {
    let layer = fs::read(tar).unwrap();
    image(scratch, tag, &[(LAYER, &layer, digest(&layer))]).push(registry, &format!("other:{tag}"));
}

/// GNU tar of a folder that has a disk and other files, `arguments` before the names.
fn tar(scratch: &Scratch, name: &str, arguments: &[&str], names: &[&str]) -> PathBuf {
    let tar = scratch.path(name);
    run(Command::new("tar").arg("-C").arg(scratch.path("root")).args(arguments).arg("-cf").arg(&tar).args(names));
    tar
}

#[test]
fn layers_that_others_made_are_read_wherever_the_disk_stands() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    fs::create_dir_all(scratch.path("root/disk")).unwrap();
    fs::create_dir_all(scratch.path("root/etc")).unwrap();
    let disk = qcow2(&scratch.path("root/disk/vm.qcow2"));
    fs::write(scratch.path("root/etc/few"), vec![7; 100_000]).unwrap();
    fs::write(scratch.path("root/etc/much"), vec![7; 3 << 20]).unwrap();
    let long = format!("disk/{}.qcow2", "x".repeat(150));
    fs::copy(scratch.path("root/disk/vm.qcow2"), scratch.path(&format!("root/{long}"))).unwrap();
    for (tag, arguments, names, name, access) in [
        ("gnu", &["--format=gnu"][..], &["disk/vm.qcow2"][..], "vm.qcow2", "ranged"),
        ("dot", &["--format=posix"], &["./etc/few", "./disk/vm.qcow2"], "vm.qcow2", "ranged"),
        ("long", &["--format=gnu"], &[&*long], &long[5..], "ranged"),
        ("pax", &["--format=posix"], &[&*long, "etc/few"], &long[5..], "ranged"),
        // Too much of other things for the host to be told.
        ("before", &["--format=ustar"], &["etc/much", "disk/vm.qcow2"], "vm.qcow2", "restart"),
        ("behind", &["--format=ustar"], &["disk/vm.qcow2", "etc/much"], "vm.qcow2", "restart"),
    ] {
        push_layer(&scratch, &registry, &tar(&scratch, &format!("{tag}.tar"), arguments, names), tag);
        let report = from(&scratch, &registry.reference(&format!("other:{tag}")), &[]).done().report();
        assert_eq!(
            (&report["source"]["access"], &report["disk"]["format"]),
            (&json!(access), &json!("qcow2")),
            "{tag}"
        );
        assert!(disk_of(&scratch, name) == disk, "{tag}");
    }
    push_layer(&scratch, &registry, &tar(&scratch, "none.tar", &[], &["etc/few"]), "none");
    let none = from(&scratch, &registry.reference("other:none"), &[]);
    none.failed(11, "source-invalid", &["no file in `disk/`"]).golden("registry-source-without-a-disk");
}

#[test]
fn two_files_in_disk_are_one_too_many() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    let authority = Authority::new(&scratch);
    let location = format!("location /v2/ {{ proxy_pass http://{}; proxy_set_header Range \"\"; }}", registry.host());
    let without_ranges = Nginx::with(&scratch, &authority, &location);
    for folder in ["root/disk", "root/etc"] {
        fs::create_dir_all(scratch.path(folder)).unwrap();
    }
    let disk = qcow2(&scratch.path("root/disk/a.qcow2"));
    fs::write(scratch.path("root/disk/b.raw"), vec![7; 5000]).unwrap();
    fs::write(scratch.path("root/etc/much"), vec![7; 3 << 20]).unwrap();
    let tar_of = |name: &str, names: &[&str]| fs::read(tar(&scratch, name, &[], names)).unwrap();
    let (two, far) = (["disk/a.qcow2", "disk/b.raw"], ["disk/a.qcow2", "etc/much", "disk/b.raw"]);
    let (one, other, none) = (tar_of("a", &two[..1]), tar_of("b", &two[1..]), tar_of("c", &["etc/much"]));
    let (two, far) = (tar_of("two", &two), tar_of("far", &far));
    for (tag, compressed, layers) in [
        ("near", false, vec![&two]),
        ("far", false, vec![&far]),
        ("near-gzip", true, vec![&two]),
        ("far-gzip", true, vec![&far]),
        ("later", false, vec![&one, &none, &other]),
        ("later-gzip", true, vec![&one, &other]),
    ] {
        let kind = if compressed { format!("{LAYER}+gzip") } else { LAYER.to_owned() };
        let stored: Vec<Vec<u8>> =
            layers.iter().map(|tar| if compressed { piped("gzip -1", tar) } else { tar.to_vec() }).collect();
        let named: Vec<(&str, &[u8], String)> =
            stored.iter().zip(&layers).map(|(stored, tar)| (&*kind, &stored[..], digest(tar))).collect();
        image(&scratch, tag, &named).push(&registry, &format!("other:{tag}"));
        let says = ["several files in `disk/`, `a.qcow2` and `b.raw`"];
        let ran = from(&scratch, &registry.reference(&format!("other:{tag}")), &[]);
        let ran = ran.failed(11, "source-invalid", &says);
        if tag == "near" {
            ran.golden("registry-source-with-two-disks");
        }
        let (to, source) =
            (format!("oci:{}:1", scratch.text("layout")), format!("docker://{}/other:{tag}", without_ranges.host()));
        import([&*source, &*to, "--ca", &authority.ca(), "--copy", "never"]).failed(11, "source-invalid", &says);
        assert_layout_empty(&scratch.path("layout"));
    }
    // What a later layer takes away, or has in its place, is what those see who mount the image.
    fs::write(scratch.path("root/disk/.wh.a.qcow2"), "").unwrap();
    let whiteout = tar_of("w", &["disk/.wh.a.qcow2"]);
    let renamed = tar_of("r", &["disk/.wh.a.qcow2", "disk/b.raw"]);
    fs::write(scratch.path("root/disk/a.qcow2"), vec![9; 6000]).unwrap();
    let again = tar_of("again", &["disk/a.qcow2"]);
    // Nobody needs what cannot be read over it.
    let no_tar = vec![7; 5000];
    for (tag, layers, name, bytes) in [
        ("again", vec![&one, &none, &again], "a.qcow2", &vec![9; 6000]),
        ("renamed", vec![&one, &renamed], "b.raw", &vec![7; 5000]),
        ("deleted", vec![&one, &whiteout, &other], "b.raw", &vec![7; 5000]),
        ("no-tar", vec![&one, &no_tar], "a.qcow2", &disk),
    ] {
        for compressed in [false, true] {
            let kind = if compressed { format!("{LAYER}+gzip") } else { LAYER.to_owned() };
            let stored: Vec<Vec<u8>> =
                layers.iter().map(|tar| if compressed { piped("gzip -1", tar) } else { tar.to_vec() }).collect();
            let named: Vec<(&str, &[u8], String)> =
                stored.iter().zip(&layers).map(|(stored, tar)| (&*kind, &stored[..], digest(tar))).collect();
            let tag = format!("{tag}-{compressed}");
            image(&scratch, &tag, &named).push(&registry, &format!("other:{tag}"));
            from(&scratch, &registry.reference(&format!("other:{tag}")), &[]).done();
            assert!(disk_of(&scratch, name) == *bytes, "{tag}");
        }
    }
    let gone = [(LAYER, &one[..], digest(&one)), (LAYER, &whiteout, digest(&whiteout))];
    image(&scratch, "gone", &gone).push(&registry, "other:gone");
    let says = ["a later layer deletes or replaces `a.qcow2`"];
    from(&scratch, &registry.reference("other:gone"), &[]).failed(11, "source-invalid", &says);
    let lacking = [(LAYER, &one[..], digest(&one)), (LAYER, &none, digest(&none))];
    image(&scratch, "lacking", &lacking).push(&registry, "other:lacking");
    let (host, blob) = (registry.host(), digest(&none));
    let without_one = Nginx::with(
        &scratch,
        &authority,
        &format!("location = /v2/other/blobs/{blob} {{ return 404; }} location /v2/ {{ proxy_pass http://{host}; }}"),
    );
    let (to, source) =
        (format!("oci:{}:1", scratch.text("layout")), format!("docker://{}/other:lacking", without_one.host()));
    import([&*source, &*to, "--ca", &authority.ca(), "--copy", "never"]).done();
    assert!(disk_of(&scratch, "a.qcow2") == disk);
    // Other things in other layers are nobody's disk.
    let alone = [(LAYER, &none[..], digest(&none)), (LAYER, &one, digest(&one)), (LAYER, &none, digest(&none))];
    image(&scratch, "alone", &alone).push(&registry, "other:alone");
    from(&scratch, &registry.reference("other:alone"), &[]).done();
    assert!(disk_of(&scratch, "a.qcow2") == disk);
}

#[test]
fn a_registry_without_ranges_is_read_in_order_and_verified() {
    let scratch = Scratch::new();
    let (registry, disk) = pushed(&scratch, Version::V3);
    let authority = Authority::new(&scratch);
    let location = format!("location /v2/ {{ proxy_pass http://{}; proxy_set_header Range \"\"; }}", registry.host());
    let nginx = Nginx::with(&scratch, &authority, &location);
    let to = format!("oci:{}:1", scratch.text("layout"));
    let source = format!("docker://{}/vm:1", nginx.host());
    let report = import([&*source, &*to, "--ca", &authority.ca(), "--report", "-"]).done().report();
    assert_eq!(report["source"]["access"], "restart");
    assert!(disk_of(&scratch, "vm.raw") == disk);
}

#[test]
fn an_image_whose_bytes_are_not_those_of_its_digest_is_never_committed() {
    for (stripped, at, code) in [
        (false, 1_000_000, "checksum-mismatch"),
        (false, 3_001_900, "checksum-mismatch"),
        (false, 700, "source-invalid"),
        (true, 1_000_000, "checksum-mismatch"),
        (true, 3_001_900, "checksum-mismatch"),
    ] {
        let scratch = Scratch::new();
        let (registry, _) = pushed(&scratch, Version::V3);
        let layer = blobs(&registry).into_iter().find(|path| fs::metadata(path).unwrap().len() > 1 << 20).unwrap();
        let mut bytes = fs::read(&layer).unwrap();
        bytes[at] ^= 1;
        fs::write(&layer, bytes).unwrap();
        let authority = Authority::new(&scratch);
        let range = if stripped { "proxy_set_header Range \"\";" } else { "" };
        let location = format!("location /v2/ {{ proxy_pass http://{}; {range} }}", registry.host());
        let nginx = Nginx::with(&scratch, &authority, &location);
        let (to, source) = (format!("oci:{}:1", scratch.text("layout")), format!("docker://{}/vm:1", nginx.host()));
        let ran = import([&*source, &*to, "--ca", &authority.ca(), "--copy", "never"]);
        ran.failed(11, code, if at == 700 { &["no tar"] } else { &["expected sha256:"] });
        assert_layout_empty(&scratch.path("layout"));
    }
}

/// The files of a registry's blobs.
fn blobs(registry: &Registry) -> Vec<PathBuf> {
    let folder = registry.storage().join("docker/registry/v2/blobs/sha256");
    let parts = fs::read_dir(folder).unwrap().flat_map(|part| fs::read_dir(part.unwrap().path()).unwrap());
    parts.map(|blob| blob.unwrap().path().join("data")).collect()
}

#[test]
fn an_index_gives_the_image_of_a_platform() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    let host = registry.host();
    let mut images = Vec::new();
    for (name, architecture) in [("a.raw", "amd64"), ("b.raw", "arm64")] {
        fs::write(scratch.path(name), vec![name.as_bytes()[0]; 5000]).unwrap();
        let flags = ["--plain-http", &*host, "--platform", &format!("linux/{architecture}")];
        let to = registry.reference(&format!("vm:{architecture}"));
        import([&[&*scratch.text(name), &*to], &flags[..]].concat()).done();
        images.push(format!("{host}/vm:{architecture}"));
    }
    crane_push_index(&format!("{host}/vm:all"), &images);
    let all = registry.reference("vm:all");
    for (more, name) in [
        (&[][..], "a.raw"),
        (&["--source-option", "platform=linux/amd64"], "a.raw"),
        (&["--source-option", "platform=linux/arm64"], "b.raw"),
    ] {
        assert_eq!(from(&scratch, &all, more).done().report()["disk"]["name"], name);
    }
    let other = from(&scratch, &all, &["--source-option", "platform=linux/s390x"]);
    other.failed(11, "source-invalid", &["no image for linux/s390x; it has linux/amd64, linux/arm64"]);
    from(&scratch, &all, &["--source-option", "platform=linux"]).failed(11, "source-invalid", &["OS/ARCH"]);
    from(&scratch, &all, &["--source-option", "frob=1"]).failed(10, "source-failed", &["no option `frob`"]);
}

#[test]
fn the_host_answers_for_the_user_and_the_component_sees_nothing() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        raw(&scratch.path("vm.raw"), DISK);
        let layout = format!("oci:{}:1", scratch.text("layout"));
        let signer = Signer::start(&scratch, &authority);
        for tokens in [false, true] {
            let (more, name) = if tokens { (signer.configuration(), "tokens") } else { (String::new(), "basic") };
            let basic = (!tokens).then_some(("porter", "hunter2"));
            let setup = Setup { version, tls: Some(&authority), basic, more: &more };
            let registry = Registry::start(&scratch, name, setup);
            let policy = scratch.text("policy.toml");
            let sides = ["source", "registry"].map(|side| format!("[egress.{side}]\naddresses = [\"127.0.0.0/8\"]\n"));
            let text = format!("schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]\n{}", sides.concat());
            fs::write(&policy, text).unwrap();
            let auth = scratch.text("config.json");
            let entry = r#"{"username":"porter","password":"hunter2"}"#;
            fs::write(&auth, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.host())).unwrap();
            let source = registry.reference("vm:1");
            let with = ["--policy", &*policy, "--auth-file", &*auth];
            import([&[&*scratch.text("vm.raw"), &*source], &with[..]].concat()).done();
            import([&[&*source, &*layout], &with[..]].concat()).done();
            if tokens {
                assert_eq!(signer.scopes.lock().unwrap().last().unwrap(), "repository:vm:pull");
            }
            // The same from a file of its own.
            fs::write(scratch.path("porter"), "porter:hunter2\n").unwrap();
            let own = ["--policy", &*policy, "--source-credentials", &scratch.text("porter")];
            import([&[&*source, &*layout], &own[..]].concat()).done();
            let without = import([&*source, &*layout, "--policy", &*policy]);
            without.failed(16, "source-denied", &["401", "docker login"]);
            fs::write(scratch.path("porter"), "porter:wrong\n").unwrap();
            let wrong = import([&[&*source, &*layout], &own[..]].concat()).failed(16, "source-denied", &["401"]);
            assert!(!wrong.stderr.contains("hunter2") && !wrong.stderr.contains("cG9ydGVy"), "{}", wrong.stderr);
        }
    }
}

#[test]
fn storage_that_the_registry_redirects_to_is_told_no_secrets() {
    let scratch = Scratch::new();
    let folder = scratch.path("registry/storage");
    let storage = Wire::start(move |head| {
        let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let bytes = fs::read(folder.join(path)).unwrap_or_default();
        let range =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let (status, part) = match range.as_deref().and_then(|range| range.split_once('-')) {
            Some((first, last)) => {
                let (first, last) = (first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap());
                let field = format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}", bytes.len());
                (field, bytes[first..=last].to_vec())
            }
            None => ("200 OK".to_owned(), bytes),
        };
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", part.len());
        vec![Act::Say([head.as_bytes(), &part].concat())]
    });
    let more = format!(
        "middleware:\n  storage:\n    - name: redirect\n      options:\n        baseurl: http://{}/\n",
        storage.host()
    );
    let setup = Setup { version: Version::V3, basic: Some(("porter", "hunter2")), more: &more, ..Setup::default() };
    let registry = Registry::start(&scratch, "registry", setup);
    let disk = raw(&scratch.path("vm.raw"), DISK);
    let policy = scratch.text("policy.toml");
    let text = format!(
        "schema = \"longshore.policy/v1\"\n[egress]\nplain-http = [\"{}\", \"{}\"]\n\
         [egress.source]\naddresses = [\"127.0.0.0/8\"]\n[egress.registry]\naddresses = [\"127.0.0.0/8\"]\n",
        registry.host(),
        storage.host()
    );
    fs::write(&policy, text).unwrap();
    let auth = scratch.text("config.json");
    fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"username":"porter","password":"hunter2"}}}}}}"#, registry.host()))
        .unwrap();
    let with = ["--policy", &*policy, "--auth-file", &*auth];
    import([&[&*scratch.text("vm.raw"), &*registry.reference("vm:1")], &with[..]].concat()).done();
    let before = storage.heads().len();
    let to = format!("oci:{}:1", scratch.text("layout"));
    let report = import([&[&*registry.reference("vm:1"), &*to, "--report", "-"], &with[..]].concat()).done().report();
    assert_eq!(report["source"]["access"], "ranged");
    assert!(disk_of(&scratch, "vm.raw") == disk);
    let heads = storage.heads();
    assert!(heads.len() > before, "the disk came from there");
    assert!(heads.iter().all(|head| !head.to_lowercase().contains("authorization")), "{heads:?}");
}

/// A registry that gives this manifest, and nothing as a blob.
fn lying(manifest: Value) -> (Script, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heads = Arc::clone(&asked);
    let script = Script::start(
        None,
        Arc::new(move |request| {
            heads.lock().unwrap().push(request.uri().path().to_owned());
            let answer = match request.uri().path() {
                path if path.ends_with("/manifests/1") => full(200, manifest.to_string()),
                path if path.contains("/manifests/") => full(200, "{}"),
                path if path.contains("/blobs/") => with(302, "location", "https://169.254.169.254/latest"),
                _ => empty(404),
            };
            Box::pin(async move { answer })
        }),
    );
    (script, asked)
}

#[test]
fn a_registry_that_lies_is_found_out() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let layer = |kind: &str| json!({"layers": [{"mediaType": kind, "digest": digest, "size": 5000}]});
    for (manifest, reference, exit, code, says) in [
        (json!({"layers": [], "manifests": []}), "1".to_owned(), 11, "source-invalid", "an image and an index at once"),
        (layer(LAYER), digest.clone(), 11, "source-invalid", "expected sha256:0000"),
        (layer(LAYER), "1".to_owned(), 13, "egress-denied", "169.254.169.254"),
        (
            layer("application/vnd.docker.image.rootfs.foreign.diff.tar"),
            "1".to_owned(),
            10,
            "source-failed",
            "encrypted",
        ),
        (
            json!({"manifests": [layer(LAYER)["layers"][0]]}),
            "1".to_owned(),
            11,
            "source-invalid",
            "expected sha256:0000",
        ),
        (json!("x".repeat(5 << 20)), "1".to_owned(), 10, "source-failed", "more than 4194304 bytes"),
    ] {
        let (script, _) = lying(manifest);
        let scratch = Scratch::new();
        let name = if reference == "1" { "vm:1".to_owned() } else { format!("vm@{reference}") };
        let source = format!("docker://{}/{name}", script.host());
        let to = format!("oci:{}:1", scratch.text("layout"));
        let policy = hasty(&scratch);
        let ran = import([&*source, &*to, "--plain-http", &script.host(), "--policy", &*policy, "--copy", "never"]);
        ran.failed(exit, code, &[says]);
        assert_layout_empty(&scratch.path("layout"));
    }
    let (script, asked) = lying(json!({}));
    let scratch = Scratch::new();
    let source = format!("docker://{}/vm:absent", script.host());
    drop(script);
    let to = format!("oci:{}:1", scratch.text("layout"));
    let ran = import([&*source, &*to, "--ca", "/nonexistent/ca"]);
    ran.failed(20, "local-file", &["/nonexistent/ca"]);
    assert!(asked.lock().unwrap().is_empty());
}

//! Images deleted by reference and by rule: a dry run first, nothing but what is named, and what a registry makes of it.

use std::fs;
use std::path::Path;

use longshore_tests::images::digest;
use longshore_tests::layers::crane_push_index;
use longshore_tests::program::{Ran, finish, import, longshore};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Script, empty, full};
use longshore_tests::signer::Signer;
use longshore_tests::tls::Authority;
use serde_json::{Value, json};

fn delete(arguments: &[&str]) -> Ran {
    finish(longshore(["delete"]).args(arguments), b"")
}

/// What has a registry delete.
const DELETING: &str = "  delete:\n    enabled: true\n";

fn deleting(scratch: &Scratch, version: Version) -> Registry {
    Registry::storing(scratch, "registry", Setup { version, ..Setup::default() }, DELETING)
}

/// Pushes a disk of that length under these tags, made on that day. The digest of its manifest.
fn push(scratch: &Scratch, registry: &Registry, length: usize, tags: &[&str], created: &str) -> String {
    raw(&scratch.path("vm.raw"), length);
    let mut arguments = vec![scratch.text("vm.raw"), registry.reference(&format!("vm:{}", tags[0]))];
    for tag in &tags[1..] {
        arguments.extend(["--tag".to_owned(), (*tag).to_owned()]);
    }
    let annotation = format!("org.opencontainers.image.created={created}");
    arguments.extend(["--plain-http".to_owned(), registry.host(), "--annotation".to_owned(), annotation]);
    import(arguments).done().digest()
}

fn tags(registry: &Registry) -> Vec<String> {
    let ran =
        finish(&mut longshore(["list", &registry.reference("vm"), "--names", "--plain-http", &registry.host()]), b"");
    if ran.code != Some(0) {
        return Vec::new();
    }
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn an_image_is_deleted_by_tag_or_digest_and_never_with_more_than_was_said() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = deleting(&scratch, version);
        let host = registry.host();
        let with = |reference: &str, more: &[&str]| {
            delete(&[&[&*registry.reference(reference), "--plain-http", &*host], more].concat())
        };
        let one = push(&scratch, &registry, 1000, &["1"], "2024-01-01T00:00:00Z");
        let two = push(&scratch, &registry, 2000, &["2", "latest"], "2024-01-02T00:00:00Z");
        let dry = with("vm:1", &[]).done();
        assert_eq!(dry.stdout, format!("{host}/vm@{one}  1\n"));
        assert!(dry.stderr.contains("would delete 1 image; 1 stay: --yes does it"), "{}", dry.stderr);
        assert_eq!(tags(&registry), ["1", "2", "latest"], "nothing happened");
        let report = with("vm:1", &["--yes", "--json"]).done().report();
        assert_eq!((&report["schema"], &report["deleted"]), (&json!("longshore.delete/v1"), &json!(true)));
        assert_eq!((&report["images"][0]["digest"], &report["images"][0]["tags"]), (&json!(one), &json!(["1"])));
        assert_eq!(tags(&registry), ["2", "latest"]);

        let shared = with("vm:2", &["--yes"]).failed(2, "usage", &["would go with its tags: latest", "--with-tags"]);
        if version == Version::V3 {
            shared.golden("delete-with-other-tags");
        }
        with(&format!("vm@{two}"), &["--yes"]).failed(2, "usage", &["would go with its tags: 2, latest"]);
        assert_eq!(tags(&registry), ["2", "latest"]);
        match version {
            Version::V2 => {
                let refused = with("vm:2", &["--tag-only", "--yes"]);
                refused.failed(12, "registry-failed", &["deletes no tag alone"]);
            }
            Version::V3 => {
                let alone = with("vm:2", &["--tag-only", "--yes"]).done();
                assert!(alone.stderr.contains("deleted 1 tag; 1 stay"), "{}", alone.stderr);
                assert_eq!(tags(&registry), ["latest"]);
            }
        }
        with(&format!("vm@{two}"), &["--yes", "--with-tags"]).done();
        assert_eq!(tags(&registry), [""; 0]);
        with("vm:2", &["--yes"]).failed(12, "registry-not-found", &[]);
        with(&format!("vm@{two}"), &["--yes"]).failed(12, "registry-not-found", &[]);
    }
}

#[test]
fn a_rule_names_images_by_tag_and_age() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = deleting(&scratch, version);
        let host = registry.host();
        let rule = |more: &[&str]| {
            let ran = delete(&[&[&*registry.reference("vm"), "--plain-http", &*host, "--json"], more].concat());
            let report = ran.done().report();
            let mut tags: Vec<String> = report["images"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|image| image["tags"].as_array().unwrap())
                .map(|tag| tag.as_str().unwrap().to_owned())
                .collect();
            tags.sort();
            (tags.join(" "), report["kept"].as_u64().unwrap(), report["undated"].as_u64().unwrap())
        };
        for (length, tags, created) in [
            (1000, &["v1"][..], "2020-01-01T00:00:00Z"),
            (2000, &["v2", "stable"], "2021-01-01T00:00:00Z"),
            (3000, &["v3"], "2022-01-01T00:00:00Z"),
            (4000, &["v4"], "2099-01-01T00:00:00Z"),
            // What nobody knows is 1970.
            (5000, &["v5"], "1970-01-01T00:00:00Z"),
        ] {
            push(&scratch, &registry, length, tags, created);
        }
        assert_eq!(rule(&["--tags", "v*"]), ("v1 v3 v4 v5".to_owned(), 1, 0));
        assert_eq!(rule(&["--tags", "*"]), ("stable v1 v2 v3 v4 v5".to_owned(), 0, 0));
        assert_eq!(rule(&["--older-than", "30d"]), ("stable v1 v2 v3".to_owned(), 2, 1));
        assert_eq!(rule(&["--keep", "2"]), ("stable v1 v2".to_owned(), 3, 1));
        assert_eq!(rule(&["--keep", "1", "--tags", "v*", "--older-than", "1d"]), ("v1".to_owned(), 4, 1));
        assert_eq!(rule(&["--keep", "9"]), (String::new(), 5, 1));
        assert_eq!(tags(&registry).len(), 6, "nothing happened");
        // In every repository of a registry that a pattern covers.
        let everywhere = |pattern: &str| {
            let at = format!("docker://{host}");
            let ran = delete(&[&*at, "--plain-http", &*host, "--repositories", pattern, "--tags", "v1", "--json"]);
            ran.done().report()["images"].as_array().unwrap().len()
        };
        assert_eq!((everywhere("v*"), everywhere("other/**")), (1, 0));
        let gone = rule(&["--tags", "v*", "--older-than", "1d", "--yes"]);
        assert_eq!(gone, ("v1 v3".to_owned(), 3, 1));
        assert_eq!(tags(&registry), ["stable", "v2", "v4", "v5"]);
    }
}

#[test]
fn an_index_goes_with_what_only_it_lists() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = deleting(&scratch, version);
        let host = registry.host();
        let with = |reference: &str, more: &[&str]| {
            delete(&[&[&*registry.reference(reference), "--plain-http", &*host], more].concat())
        };
        let one = push(&scratch, &registry, 1000, &["1"], "2024-01-01T00:00:00Z");
        let two = push(&scratch, &registry, 2000, &["2"], "2024-01-01T00:00:00Z");
        let images = [&one, &two].map(|digest| format!("{host}/vm@{digest}"));
        crane_push_index(&format!("{host}/vm:all"), &images);
        with("vm:2", &["--yes"]).failed(2, "usage", &["is one of those that the index", "tagged all"]);
        // Untagged by hand, as the tag moves on.
        push(&scratch, &registry, 3000, &["2"], "2024-01-01T00:00:00Z");
        let report = with("vm:all", &["--yes", "--json"]).done().report();
        let gone: Vec<&Value> = report["images"].as_array().unwrap().iter().map(|image| &image["kind"]).collect();
        assert_eq!(gone, ["index", "image"], "{version:?}");
        assert_eq!(report["images"][1]["digest"], json!(two));
        assert_eq!(tags(&registry), ["1", "2"]);
        let inspect = |reference: &str| {
            finish(&mut longshore(["inspect", &registry.reference(reference), "--plain-http", &host]), b"")
        };
        inspect("vm:1").done();
        inspect("vm:2").done();
        inspect(&format!("vm@{two}")).failed(12, "registry-not-found", &[]);
    }
}

#[test]
fn who_does_not_delete_says_so_and_nothing_is_believed() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        push(&scratch, &registry, 1000, &["1"], "2024-01-01T00:00:00Z");
        let ran = delete(&[&*registry.reference("vm:1"), "--plain-http", &*registry.host(), "--yes"]);
        ran.failed(12, "registry-failed", &["405", "storage.delete.enabled"]);
        assert_eq!(tags(&registry), ["1"]);
    }
    let manifest =
        json!({"schemaVersion": 2, "config": {"mediaType": "x", "digest": digest(b""), "size": 0}, "layers": []});
    let document = manifest.to_string();
    let script = Script::start(
        None,
        std::sync::Arc::new(move |request| {
            let answer = match (request.method().as_str(), request.uri().path()) {
                ("DELETE", _) => empty(202),
                (_, path) if path.ends_with("/tags/list") => full(200, r#"{"tags":["1"]}"#),
                // As distribution has it: what is not asked for is not there.
                (_, path) if path.contains("/manifests/") => {
                    match understands(request.headers().get("accept").map(|accept| accept.to_str().unwrap())) {
                        true => full(200, document.clone()),
                        false => empty(404),
                    }
                }
                _ => empty(200),
            };
            Box::pin(async move { answer })
        }),
    );
    let ran = delete(&[&*format!("docker://{}/vm:1", script.host()), "--plain-http", &*script.host(), "--yes"]);
    ran.failed(12, "registry-protocol", &["says that it deleted it, and still has it"]);
}

/// Whether who asks takes manifests of the OCI's.
fn understands(accept: Option<&str>) -> bool {
    accept.is_some_and(|accept| accept.contains("application/vnd.oci.image.manifest.v1+json"))
}

#[test]
fn what_a_registry_does_not_tell_is_not_taken_for_nothing() {
    let manifest =
        json!({"schemaVersion": 2, "config": {"mediaType": "x", "digest": digest(b""), "size": 0}, "layers": []});
    let document = manifest.to_string();
    let image = digest(document.as_bytes());
    // Neither one that knows no DELETE, nor one that does not list its tags.
    for (tags, says) in [
        ((200, r#"{"tags":["1"]}"#), ("registry-failed", "DELETE")),
        ((405, ""), ("registry-not-found", "405")),
        ((404, "<title>nginx</title>"), ("registry-not-found", "404")),
    ] {
        let document = document.clone();
        let deletions = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&deletions);
        let script = Script::start(
            None,
            std::sync::Arc::new(move |request| {
                let answer = match (request.method().as_str(), request.uri().path()) {
                    ("DELETE", _) => {
                        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        empty(404)
                    }
                    (_, path) if path.ends_with("/tags/list") => full(tags.0, tags.1),
                    (_, path)
                        if path.contains("/manifests/")
                            && understands(request.headers().get("accept").map(|accept| accept.to_str().unwrap())) =>
                    {
                        full(200, document.clone())
                    }
                    (_, path) if path.contains("/manifests/") => empty(404),
                    _ => empty(200),
                };
                Box::pin(async move { answer })
            }),
        );
        let at = format!("docker://{}/vm@{image}", script.host());
        let ran = delete(&[&*at, "--plain-http", &*script.host(), "--yes", "--with-tags"]);
        let ran = ran.failed(12, says.0, &[says.1]);
        assert!(!ran.stderr.contains("deleted:"), "{}", ran.stderr);
        let asked = deletions.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(asked, usize::from(tags.0 == 200), "{}", ran.stderr);
    }
}

#[test]
fn the_right_to_delete_is_asked_for_once_it_is_wanted() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let signer = Signer::start(&scratch, &authority);
        let more = signer.configuration();
        let setup = Setup { version, tls: Some(&authority), more: &more, ..Setup::default() };
        let registry = Registry::storing(&scratch, "registry", setup, DELETING);
        let (policy, auth) = (scratch.text("policy.toml"), scratch.text("config.json"));
        let loopback = "schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]\n\
                        [egress.registry]\naddresses = [\"127.0.0.0/8\"]\n";
        fs::write(&policy, loopback).unwrap();
        let entry = r#"{"username":"porter","password":"hunter2"}"#;
        fs::write(&auth, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.host())).unwrap();
        let with = ["--policy", &*policy, "--auth-file", &*auth];
        raw(&scratch.path("vm.raw"), 1000);
        let vm = registry.reference("vm:1");
        import([&[&*scratch.text("vm.raw"), &*vm], &with[..]].concat()).done();
        signer.scopes.lock().unwrap().clear();
        delete(&[&[&*vm], &with[..]].concat()).done();
        assert_eq!(*signer.scopes.lock().unwrap(), ["repository:vm:pull"], "{version:?}: to look takes no more");
        delete(&[&[&*vm, "--yes"], &with[..]].concat()).done();
        assert_eq!(signer.scopes.lock().unwrap().last().unwrap(), "repository:vm:pull,delete");
        assert!(!registry.has_tag("vm", "1"));
    }
}

#[test]
fn the_policy_says_where_and_what_may_be_deleted() {
    let scratch = Scratch::new();
    let registry = deleting(&scratch, Version::V3);
    let host = registry.host();
    push(&scratch, &registry, 1000, &["1"], "2024-01-01T00:00:00Z");
    push(&scratch, &registry, 2000, &["keep"], "2024-01-01T00:00:00Z");
    let policy = scratch.text("policy.toml");
    let with = |text: &str, arguments: &[&str]| {
        let head = format!("schema = \"longshore.policy/v1\"\n[egress]\nplain-http = [\"{host}\"]\n");
        fs::write(&policy, head + text).unwrap();
        delete(&[arguments, &["--policy", &*policy, "--yes"]].concat())
    };
    let vm = registry.reference("vm:1");
    let elsewhere = "[[destinations.repository]]\nmatch = \"r.example/vm\"\n";
    with(elsewhere, &[&vm]).failed(13, "destination-denied", &["destinations.repository"]);
    let own = format!("[[destinations.repository]]\nmatch = \"{host}/vm\"\ntags = [\"1\"]\n");
    with(&own, &[&registry.reference("vm"), "--tags", "*"]).failed(13, "destination-denied", &["`keep`"]);
    with("[destinations]\noverwrite = false\n", &[&vm]).failed(
        13,
        "tag-exists",
        &["must not be deleted", "destinations.overwrite"],
    );
    assert_eq!(tags(&registry), ["1", "keep"]);
    with(&own, &[&vm]).done();
    assert_eq!(tags(&registry), ["keep"]);
    let layout = format!("oci:{}:1", scratch.text("layout"));
    import([&*scratch.text("vm.raw"), &*layout]).done();
    with("[destinations]\nlayouts = false\n", &[&layout]).failed(13, "destination-denied", &["destinations.layouts"]);
}

#[test]
fn a_layout_loses_entries_and_gc_their_blobs() {
    let scratch = Scratch::new();
    let layout = scratch.path("layout");
    let at = format!("oci:{}", layout.display());
    for (length, tag, more) in [(1000, "1", &["--tag", "one"][..]), (2000, "2", &[]), (3000, "3", &[])] {
        raw(&scratch.path("vm.raw"), length);
        import([&[&*scratch.text("vm.raw"), &*format!("{at}:{tag}")], more].concat()).done();
    }
    let listed = |layout: &Path| {
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let name = |entry: &Value| {
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or("-").to_owned()
        };
        index["manifests"].as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    let blobs = || fs::read_dir(layout.join("blobs/sha256")).unwrap().count();
    delete(&[&format!("{at}:1"), "--yes"]).failed(2, "usage", &["would go with its tags: one"]);
    delete(&[&format!("{at}:1"), "--tag-only"]).done();
    assert_eq!(listed(&layout).len(), 4);
    delete(&[&format!("{at}:1"), "--tag-only", "--yes"]).done();
    assert_eq!(listed(&layout), ["one", "2", "3"]);
    let gone = delete(&[&format!("{at}:one"), "--yes"]).done();
    assert!(gone.stderr.contains("`longshore gc`"), "{}", gone.stderr);
    delete(&[&*at, "--older-than", "1h", "--yes"]).done();
    assert_eq!(listed(&layout), ["2", "3"], "they are young");
    let report = delete(&[&*at, "--keep", "1", "--older-than", "0s", "--yes", "--json"]).done().report();
    assert_eq!((report["images"].as_array().unwrap().len(), &report["kept"]), (1, &json!(1)));
    assert_eq!((listed(&layout).len(), blobs()), (1, 9));
    // One with a name that is no tag goes by no rule.
    let written = fs::read_to_string(layout.join("index.json")).unwrap();
    let tag = listed(&layout).remove(0);
    fs::write(layout.join("index.json"), written.replace(&format!("\"{tag}\""), "\"r.example/x:1\"")).unwrap();
    for rule in [&["--untagged"][..], &["--tags", "*"], &["--older-than", "0s"]] {
        delete(&[&[&*at, "--yes"], rule].concat()).done();
        assert_eq!(listed(&layout), ["r.example/x:1"], "{rule:?}");
    }
    fs::write(layout.join("index.json"), written).unwrap();
    // One that nobody tagged.
    let mut index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"][0].as_object_mut().unwrap().remove("annotations");
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    delete(&[&*at, "--tags", "*", "--yes"]).done();
    assert_eq!(listed(&layout), ["-"]);
    delete(&[&*at, "--untagged", "--yes"]).done();
    assert_eq!(listed(&layout), [""; 0]);
    finish(&mut longshore(["gc", &at, "--grace", "0s", "--yes"]), b"").done();
    assert_eq!(blobs(), 0);
    delete(&["oci:/nonexistent", "--tags", "*"]).failed(20, "local-file", &["not an image layout"]);
}

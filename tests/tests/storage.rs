//! The storage of a registry, cleared of what no manifest names, and what `dvcr-cleaner` did there.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use longshore_tests::images::digest;
use longshore_tests::layers::crane_push_index;
use longshore_tests::program::{Ran, finish, import, longshore, path, ran};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version, built};
use longshore_tests::scratch::{Scratch, raw, run};
use longshore_tests::script::{Script, full};
use longshore_tests::tls::Authority;
use serde_json::{Value, json};

fn gc(storage: &Path, more: &[&str]) -> Ran {
    finish(longshore(["gc", &format!("distribution:{}", storage.display())]).args(more), b"")
}

/// Pushes a disk of that length. The digest of its manifest.
fn push(scratch: &Scratch, registry: &Registry, length: usize, reference: &str) -> String {
    raw(&scratch.path("vm.raw"), length);
    import([&*scratch.text("vm.raw"), &*registry.reference(reference), "--plain-http", &*registry.host()])
        .done()
        .digest()
}

/// Everything below a folder, relative to it.
fn files(root: &Path) -> Vec<PathBuf> {
    let (mut open, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn blobs(registry: &Registry) -> usize {
    let root = registry.storage().join("docker/registry/v2/blobs");
    if root.is_dir() { files(&root).len() } else { 0 }
}

/// Makes everything in a storage as old as that.
fn age(registry: &Registry, by: Duration) {
    for file in files(registry.storage()) {
        let file = fs::File::options().write(true).open(registry.storage().join(file)).unwrap();
        file.set_modified(SystemTime::now() - by).unwrap();
    }
}

const DAY: Duration = Duration::from_secs(86400);

#[test]
fn what_no_manifest_names_is_cleared_and_every_image_is_whole() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let mut registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let host = registry.host();
        let one = push(&scratch, &registry, 10_000, "a/vm:1");
        let two = push(&scratch, &registry, 20_000, "a/vm:2");
        push(&scratch, &registry, 30_000, "bb:moved");
        crane_push_index(&format!("{host}/a/vm:all"), &[&one, &two].map(|digest| format!("{host}/a/vm@{digest}")));
        let before = blobs(&registry);
        // A tag that moves leaves a manifest without one, its config and its layer.
        push(&scratch, &registry, 40_000, "bb:moved");
        // And one that only the index names.
        push(&scratch, &registry, 50_000, "a/vm:2");
        assert_eq!(blobs(&registry), before + 6);
        let all = files(registry.storage());
        let tagged = gc(registry.storage(), &["--json"]).done().report();
        assert_eq!((&tagged["blobs"], &tagged["manifests"]), (&json!([]), &json!([])), "manifests without a tag count");
        let young = gc(registry.storage(), &["--untagged", "--json"]).done().report();
        assert_eq!((&young["blobs"], &young["manifests"]), (&json!([]), &json!([])), "nothing is an hour old");
        age(&registry, DAY);
        let dry = gc(registry.storage(), &["--untagged"]).done();
        assert!(dry.stderr.contains("would remove 1 manifests without a tag and 3 blobs"), "{}", dry.stderr);
        assert_eq!(files(registry.storage()), all, "nothing happened");
        let done = gc(registry.storage(), &["--untagged", "--yes", "--json"]).done().report();
        assert_eq!((&done["manifests"][0]["repository"], done["blobs"].as_array().unwrap().len()), (&json!("bb"), 3));
        assert_eq!(done["links"].as_array().unwrap().len(), 2, "of its config and its layer");
        assert_eq!(blobs(&registry), before + 3);
        // Nothing is left for the registry's own to find, which agrees about the rest.
        registry.restart();
        let configuration = scratch.path("registry/config.yml");
        let mut own = match version {
            Version::V2 => Command::new("docker-registry"),
            Version::V3 => built("registry"),
        };
        own.env("OTEL_TRACES_EXPORTER", "none").arg("garbage-collect").arg(&configuration).args(["--dry-run"]);
        let own = run(&mut own);
        assert!(own.contains("0 blobs and 0 manifests eligible for deletion"), "{version:?}: {own}");
        for reference in ["a/vm:1", "a/vm:2", "a/vm:all", "bb:moved"] {
            run(built("crane").env_clear().env("HOME", "/nonexistent").args([
                "validate",
                "--fast",
                "--remote",
                &format!("{host}/{reference}"),
            ]));
        }
        assert_eq!(gc(registry.storage(), &["--untagged", "--yes", "--grace", "0s"]).done().stdout, "");
    }
}

#[test]
fn what_is_not_understood_or_under_way_is_not_cleared() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    let root = registry.storage().join("docker/registry/v2");
    push(&scratch, &registry, 10_000, "vm:1");
    let stray = digest(b"x");
    let folder = root.join("blobs/sha256").join(&stray[7..9]).join(&stray[7..]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("data"), "x").unwrap();
    age(&registry, DAY);
    let refused = |says: &str| {
        gc(registry.storage(), &["--untagged", "--yes"]).failed(20, "local-file", &[says]);
        assert!(folder.exists());
    };
    // An upload that is under way.
    let upload = root.join("repositories/vm/_uploads/0/data");
    fs::create_dir_all(upload.parent().unwrap()).unwrap();
    fs::write(&upload, "x").unwrap();
    refused("an upload is under way in the repository `vm`");
    fs::File::options().write(true).open(&upload).unwrap().set_modified(SystemTime::now() - DAY).unwrap();
    assert_eq!(gc(registry.storage(), &["--json"]).done().report()["uploads"], json!(["vm"]));
    // A manifest that is damaged, or gone.
    let link = files(&root.join("repositories/vm/_manifests/revisions"));
    let hex = link[0].parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let manifest = root.join("blobs/sha256").join(&hex[..2]).join(&hex).join("data");
    let good = fs::read(&manifest).unwrap();
    fs::write(&manifest, "{}").unwrap();
    refused("has other bytes");
    fs::remove_file(&manifest).unwrap();
    refused("is not there, or cannot be read");
    fs::write(&manifest, &good).unwrap();
    // A link that is none, another algorithm, a link that leads elsewhere.
    let link = root.join("repositories/vm/_manifests/revisions").join(&link[0]);
    let written = fs::read(&link).unwrap();
    for (text, says) in [("nonsense", "is no link to a SHA-256 digest"), (&*stray, "leads to")] {
        fs::write(&link, text).unwrap();
        refused(says);
    }
    fs::write(&link, written).unwrap();
    let other = root.join("repositories/vm/_layers/sha512");
    fs::create_dir_all(&other).unwrap();
    refused("another algorithm than SHA-256");
    fs::remove_dir(&other).unwrap();
    // What stands elsewhere behind a link, as the registry follows it: a repository, or part of one.
    for inside in ["vm", "vm/_manifests", "vm/_manifests/revisions/sha256", "vm/_manifests/tags/1"] {
        let (here, elsewhere) = (root.join("repositories").join(inside), scratch.path("elsewhere"));
        fs::rename(&here, &elsewhere).unwrap();
        symlink(&elsewhere, &here).unwrap();
        refused("is a link: what is behind it is not known");
        fs::remove_file(&here).unwrap();
        fs::rename(&elsewhere, &here).unwrap();
    }
    gc(&scratch.folder("empty"), &[]).failed(20, "local-file", &["is not the storage of a registry"]);
    gc(Path::new(""), &[]).failed(2, "usage", &["names no folder"]);
    gc(registry.storage(), &["--untagged", "--yes"]).done();
    assert!(!folder.exists());
}

#[test]
fn what_is_about_an_image_stays_with_it() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    let host = registry.host();
    let image = push(&scratch, &registry, 10_000, "vm:1");
    let size = 100;
    let curl = |method: &str, path: &str, media_type: &str, body: &[u8]| {
        let mut curl = Command::new("curl");
        curl.args(["-fsS", "-X", method, "-H", &format!("content-type: {media_type}"), "--data-binary", "@-"]);
        let mut curl =
            curl.arg(format!("http://{host}{path}")).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        curl.stdin.take().unwrap().write_all(body).unwrap();
        assert!(curl.wait().unwrap().success(), "{method} {path}");
    };
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let put = |subject: &str, name: &str| {
        let inspected =
            finish(&mut longshore(["inspect", &registry.reference("vm:1"), "--json", "--plain-http", &host]), b"");
        let config = inspected.done().report()["images"][0]["config"].clone();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": name,
            "config": {"mediaType": config["media_type"], "digest": config["digest"], "size": config["size"]}, "layers": [],
            "subject": {"mediaType": MANIFEST, "digest": subject, "size": size},
        });
        let bytes = manifest.to_string().into_bytes();
        curl("PUT", &format!("/v2/vm/manifests/{}", digest(&bytes)), MANIFEST, &bytes);
        digest(&bytes)
    };
    let signature = put(&image, "application/vnd.signature");
    let about_it = put(&signature, "application/vnd.about");
    let about_nothing = put(&digest(b"gone"), "application/vnd.lost");
    age(&registry, DAY);
    let done = gc(registry.storage(), &["--untagged", "--yes", "--json"]).done().report();
    let gone: Vec<&Value> = done["manifests"].as_array().unwrap().iter().map(|one| &one["digest"]).collect();
    assert_eq!(gone, [&json!(about_nothing)], "{signature} and {about_it} stay");
}

/// `dvcr-cleaner` under its own name.
fn cleaner(scratch: &Scratch, storage: &Path, arguments: &[&str], says: &[u8]) -> Ran {
    let program = scratch.path("dvcr-cleaner");
    if !program.exists() {
        symlink(path(), &program).unwrap();
    }
    let mut command = Command::new(program);
    command.env_clear().args(arguments).arg("--storage").arg(storage);
    finish(&mut command, says)
}

#[test]
fn the_cleaner_lists_and_deletes_as_it_did() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    for reference in
        ["vi/default/ubuntu:1", "vi/default/a:1", "vi/other/debian-12:1", "cvi/alpine:1", "vd/default/disk:1"]
    {
        push(&scratch, &registry, 1000, reference);
    }
    let with = |arguments: &[&str]| cleaner(&scratch, registry.storage(), arguments, b"");
    assert_eq!(with(&["ls", "vi", "--all"]).done().stdout, "Name   \na      \nubuntu \n");
    assert_eq!(with(&["ls", "vi", "--all", "-n", "other"]).done().stdout, "Name      \ndebian-12 \n");
    assert_eq!(with(&["ls", "vi", "ubuntu"]).done().stdout, "Name   \nubuntu \n");
    assert_eq!(with(&["ls", "cvi", "--all"]).done().stdout, "Name   \nalpine \n");
    assert_eq!(
        with(&["ls", "vi", "--all-namespaces"]).done().stdout,
        "Namespace Name      \ndefault   a         \ndefault   ubuntu    \nother     debian-12 \n"
    );
    let failed = |arguments: &[&str], says: &str| {
        let ran = with(arguments);
        assert_eq!(ran.code, Some(1), "{} {}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(says), "{}", ran.stdout);
    };
    failed(&["ls", "vi", "x"], "the `VirtualImage` \"x\" is not found in \"default\" namespace");
    failed(&["ls", "vi", "--all", "-n", "x"], "the namespace \"x\" is not found");
    failed(&["ls", "cvi", "x"], "the `ClusterVirtualImage` \"x\" is not found");
    failed(&["delete", "cvi", "x", "--yes"], "is not found");
    failed(&["delete", "vi", "../../cvi", "--yes"], "is no name");
    failed(&["gc", "check"], "this is no pod");
    failed(&["gc", "auto-cleanup", "--maintenance-secret-name", "x", "--gc-timeout", "10m"], "this is no pod");
    assert_eq!(with(&["ls"]).code, Some(2), "help");

    // Who does not say yes is left alone.
    let repositories = registry.storage().join("docker/registry/v2/repositories");
    for no in [&b""[..], b"n\n", b"yes please\n"] {
        let ran = cleaner(&scratch, registry.storage(), &["delete", "cvi", "alpine"], no);
        assert_eq!((ran.code, &*ran.stdout), (Some(0), ""));
        assert!(repositories.join("cvi/alpine").is_dir());
    }
    let ran = cleaner(&scratch, registry.storage(), &["delete", "cvi", "alpine"], b"y\n").done();
    assert_eq!(ran.stdout, "Successful\n");
    assert!(!repositories.join("cvi/alpine").exists());
    with(&["delete", "vi", "--all", "--yes"]).done();
    assert!(!repositories.join("vi/default/ubuntu").exists() && repositories.join("vi/other/debian-12").is_dir());

    // What passes through is cleared once it is no longer touched, and with it all that nothing names.
    with(&["gc", "run", "--yes"]).done();
    assert!(repositories.join("vd/default/disk").is_dir(), "it may be under way");
    age(&registry, DAY);
    let cleared = with(&["gc", "run", "--yes"]).done();
    assert!(
        cleared.stdout.contains("blobs and") && !repositories.join("vd/default/disk").exists(),
        "{}",
        cleared.stdout
    );
    assert_eq!(blobs(&registry), 3, "one image is left");
    let debian = format!("{}/vi/other/debian-12:1", registry.host());
    run(built("crane").env_clear().env("HOME", "/nonexistent").args(["validate", "--fast", "--remote", &debian]));
}

/// A cluster that has these images, and keeps what is put.
fn cluster(authority: &Authority, images: &'static [(&'static str, &'static str)]) -> (Script, Arc<Mutex<Vec<Value>>>) {
    let put: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&put);
    let script = Script::start(
        Some(authority.server_config()),
        Arc::new(move |request| {
            let kept = Arc::clone(&kept);
            Box::pin(async move {
                if request.headers().get("authorization").is_none_or(|value| value != "Bearer hunter2") {
                    return full(401, r#"{"kind":"Status","message":"Unauthorized"}"#);
                }
                let (path, query) =
                    (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
                if path == "/api/v1/namespaces/d8-virtualization/secrets/dvcr-maintenance" {
                    let secret = json!({
                        "metadata": {"name": "dvcr-maintenance", "resourceVersion": "7", "annotations": {
                            "virtualization.deckhouse.io/dvcr-deployment-switch-to-maintenance-mode": "", "kept": "x",
                        }},
                        "data": {"other": "eA=="},
                    });
                    if request.method() == "PUT" {
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                    }
                    return full(200, secret.to_string());
                }
                let Some(kind) = path.strip_prefix("/apis/virtualization.deckhouse.io/v1alpha2/") else {
                    return full(404, "{}");
                };
                // One on each page.
                let of_kind: Vec<_> = images.iter().filter(|(of, _)| *of == kind).collect();
                let at = query.split("continue=").nth(1).map_or(0, |at| at.parse::<usize>().unwrap());
                let item = of_kind.get(at).map(|(_, name)| {
                    let (name, phase) = name.split_once(':').unwrap_or((name, "Provisioning"));
                    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
                    json!({"metadata": {"name": name, "namespace": namespace}, "status": {"phase": phase}})
                });
                let next = if at + 1 < of_kind.len() { (at + 1).to_string() } else { String::new() };
                let items: Vec<Value> = item.into_iter().collect();
                full(200, json!({"metadata": {"continue": next}, "items": items}).to_string())
            })
        }),
    );
    (script, put)
}

#[test]
fn the_cleaner_removes_what_the_cluster_does_not_know() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    for reference in [
        "vi/default/ubuntu",
        "vi/default/gone",
        "vi/default/gone/below",
        "vi/other/ubuntu",
        "cvi/alpine",
        "cvi/gone",
        "vd/n/ready",
        "vd/n/under-way",
        "elsewhere/x",
    ] {
        push(&scratch, &registry, 1000, &format!("{reference}:1"));
    }
    age(&registry, DAY);
    push(&scratch, &registry, 1000, "cvi/young:1");
    let (script, put) = cluster(
        &authority,
        &[
            ("clustervirtualimages", "alpine"),
            ("clustervirtualimages", "other"),
            ("virtualimages", "default/ubuntu"),
            ("virtualimages", "n/x"),
            ("virtualdisks", "n/ready:Ready"),
            ("virtualdisks", "n/under-way"),
        ],
    );
    let account = scratch.folder("account");
    fs::write(account.join("token"), "hunter2\n").unwrap();
    fs::copy(scratch.path("tls/ca.crt"), account.join("ca.crt")).unwrap();
    let program = scratch.path("dvcr-cleaner");
    symlink(path(), &program).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command
            .env_clear()
            .args(arguments)
            .arg("--storage")
            .arg(registry.storage())
            .arg("--service-account")
            .arg(&account);
        let (host, port) =
            script.host().split_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
        command.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
        command
    };
    let check = finish(&mut command(&["gc", "check"]), b"").done();
    let stale = check.stdout.split_once("Images eligible for cleanup:\n").unwrap().1;
    assert_eq!(stale, "cvi/gone\ncvi/young\nvd/n/ready\nvi/default/gone\nvi/other/ubuntu\n");
    let repositories = || files(&registry.storage().join("docker/registry/v2/repositories"));
    let all = (blobs(&registry), repositories());
    // Who is not let in removes nothing.
    fs::write(account.join("token"), "wrong").unwrap();
    let denied = finish(&mut command(&["gc", "auto-cleanup"]), b"");
    assert!(denied.code == Some(1) && denied.stdout.contains("401 Unauthorized"), "{}", denied.stdout);
    fs::write(account.join("token"), "hunter2").unwrap();
    assert_eq!((blobs(&registry), repositories()), all);
    let late = finish(&mut command(&["gc", "auto-cleanup", "--gc-timeout", "0s"]), b"");
    assert!(late.code == Some(1) && late.stdout.contains("it takes longer than it may"), "{}", late.stdout);
    assert_eq!((blobs(&registry), repositories()), all);
    // Nor does who finds that something is pushed.
    let upload = registry.storage().join("docker/registry/v2/repositories/elsewhere/x/_uploads/0/data");
    fs::create_dir_all(upload.parent().unwrap()).unwrap();
    fs::write(&upload, "x").unwrap();
    let all = (blobs(&registry), repositories());
    let busy = finish(&mut command(&["gc", "auto-cleanup"]), b"");
    assert!(busy.code == Some(1) && busy.stdout.contains("an upload is under way"), "{}", busy.stdout);
    assert_eq!((blobs(&registry), repositories()), all);
    fs::remove_dir_all(upload.parent().unwrap()).unwrap();

    let mut waiting = command(&["gc", "auto-cleanup", "--maintenance-secret-name", "dvcr-maintenance"]);
    let mut waiting = waiting.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(waiting.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap() == "Wait for signal before terminate.").unwrap().unwrap();
    until_it_catches_sigterm(waiting.id());
    run(Command::new("kill").arg(waiting.id().to_string()));
    assert!(waiting.wait().unwrap().success());
    let secret = put.lock().unwrap().remove(0);
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(annotations, &json!({"kept": "x", "virtualization.deckhouse.io/dvcr-garbage-collection-done": ""}));
    assert_eq!((&secret["metadata"]["resourceVersion"], &secret["data"]["other"]), (&json!("7"), &json!("eA==")));
    let result = STANDARD.decode(secret["data"]["result"].as_str().unwrap()).unwrap();
    let result: Value = serde_json::from_slice(&result).unwrap();
    assert_eq!(result["result"], "success");
    assert!(["total", "available", "freed"].iter().all(|field| result[field].as_str().unwrap().parse::<u64>().is_ok()));
    let left = finish(
        &mut longshore(["list", &format!("docker://{}", registry.host()), "--plain-http", &registry.host()]),
        b"",
    );
    let left: Vec<_> = left.done().stdout.lines().map(|line| line.split_once('/').unwrap().1.to_owned()).collect();
    assert_eq!(
        left,
        ["cvi/alpine", "cvi/young", "elsewhere/x", "vd/n/under-way", "vi/default/gone/below", "vi/default/ubuntu"]
    );
}

fn until_it_catches_sigterm(pid: u32) {
    let status = format!("/proc/{pid}/status");
    loop {
        let text = fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        if u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << 14) != 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_cleaner_pauses_until_it_is_ended() {
    let mut command = longshore(["dvcr-cleaner", "pause"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until_it_catches_sigterm(child.id());
    run(Command::new("kill").arg(child.id().to_string()));
    let ended = ran(&child.wait_with_output().unwrap()).done();
    assert!(ended.stderr.contains("Pause"), "{}", ended.stderr);
}

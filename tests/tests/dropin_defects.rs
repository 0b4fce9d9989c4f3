//! What was wrong with the replaced importer is not wrong with the one in its place: nothing is committed that was not verified,
//! secrets stay with whom they are for, a length need not be known. And a controller follows its gauges, as it did.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::layers::pull;
use longshore_tests::namespace::{Files, inside};
use longshore_tests::pod::importing;
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, noise, run};
use longshore_tests::script::{Answer, Handler, Script, full, streamed, with};
use longshore_tests::serving::{Serving, WITHIN};
use longshore_tests::tls::Authority;
use tokio::sync::watch;

fn alone(test: &str, scratch: &Scratch) -> bool {
    let hosts = "127.0.0.1 localhost\n10.77.0.1 private.example\n";
    inside(test, scratch, &["10.77.0.1"], Files { hosts, resolver: "" })
}

/// A source of these bytes that says that they are so many more.
fn serving(disk: Bytes, missing: usize) -> Script {
    let handler: Handler = Arc::new(move |_| {
        let (length, disk) = (disk.len() + missing, disk.clone());
        let chunks = stream::iter([Ok(disk), Err(std::io::Error::other("cut"))].into_iter().take(1 + missing.min(1)));
        Box::pin(async move { streamed(Some(length as u64), chunks) }) as Answer
    });
    Script::start(None, handler)
}

fn disk_in(scratch: &Scratch, registry: &Registry, file: &str) -> Vec<u8> {
    let _ = fs::remove_dir_all(scratch.path("pulled"));
    let pulled = pull(scratch, "pulled", &["--src-tls-verify=false"], &registry.reference("vm:1"));
    let labels = &pulled.config["config"]["Labels"];
    for label in ["source-image-size", "source-image-virtual-size", "source-image-format"] {
        assert!(!["", "0"].contains(&labels[label].as_str().unwrap()), "{labels}");
    }
    pulled.file(&format!("disk/{file}"))
}

#[test]
fn what_does_not_match_or_ends_early_commits_nothing() {
    let scratch = Scratch::new();
    if !alone("what_does_not_match_or_ends_early_commits_nothing", &scratch) {
        return;
    }
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let disk = Bytes::from(noise(3_000_001));
    let source = serving(disk.clone(), 0);
    let sum = |bytes: &[u8], program: &str| {
        fs::write(scratch.path("bytes"), bytes).unwrap();
        run(Command::new(program).arg(scratch.path("bytes"))).split(' ').next().unwrap().to_owned()
    };
    let (good, md5) = (sum(&disk, "sha256sum"), sum(&disk, "md5sum"));
    let bad = sum(b"", "sha256sum");
    let pod = importing(&scratch, &registry, &source.url("disk.raw"));
    let pod = pod.with(&[("IMPORTER_CHECKSUMS", format!("md5:{md5},sha256:{bad}"))]);
    pod.run().failed(11, "checksum-mismatch", &[&good]);
    assert!(pod.error().contains(&good) && pod.error().contains(&bad), "{}", pod.error());
    registry.assert_empty();
    // Those of older controllers.
    let pod = pod.with(&[("IMPORTER_CHECKSUMS", String::new()), ("IMPORTER_SHA256SUM", bad.clone())]);
    pod.run().failed(11, "checksum-mismatch", &[&bad]);
    registry.assert_empty();
    let pod = pod.with(&[("IMPORTER_CHECKSUMS", format!("md5:{md5},sha256:{good}")), ("IMPORTER_SHA256SUM", good)]);
    pod.run().done();
    assert!(disk_in(&scratch, &registry, "disk.raw") == disk);

    // A source that is always cut, and has no ranges to go on with.
    let other = Registry::start(&scratch, "other", Setup::default());
    let cut = serving(disk.slice(..1_000_000), 7);
    let pod = importing(&scratch, &other, &cut.url("disk.raw"));
    pod.forget();
    let running = Serving::spawn(pod.command(&[]));
    running.wait_for("beginning again in 3 s");
    other.assert_empty();
    running.signal("TERM");
    assert_eq!(running.ended().code, Some(143));
    assert!(pod.error().contains("SIGTERM"), "{}", pod.error());
    other.assert_empty();
}

#[test]
fn what_breaks_begins_again_as_it_did() {
    let scratch = Scratch::new();
    if !alone("what_breaks_begins_again_as_it_did", &scratch) {
        return;
    }
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let disk = Bytes::from(noise(2_000_000));
    let asked = Arc::new(AtomicUsize::new(0));
    let (given, count) = (disk.clone(), Arc::clone(&asked));
    // The first answers end in the middle, and the source has no ranges to go on with.
    let source = Script::start(
        None,
        Arc::new(move |_| {
            let whole = count.fetch_add(1, SeqCst) >= 2;
            let chunks = match whole {
                true => vec![Ok(given.clone())],
                false => vec![Ok(given.slice(..1_500_000)), Err(std::io::Error::other("cut"))],
            };
            let length = given.len() as u64;
            Box::pin(async move { streamed(Some(length), stream::iter(chunks)) }) as Answer
        }),
    );
    let ran = importing(&scratch, &registry, &source.url("disk.raw")).run().done();
    assert!(ran.stderr.contains("beginning again in 1 s"), "{}", ran.stderr);
    assert!(disk_in(&scratch, &registry, "disk.raw") == disk);
}

#[test]
fn a_registry_that_is_not_there_yet_is_waited_for() {
    let scratch = Scratch::new();
    if !alone("a_registry_that_is_not_there_yet_is_waited_for", &scratch) {
        return;
    }
    let authority = Authority::named(&scratch, "ours");
    let mut registry = Registry::start(&scratch, "registry", Setup { tls: Some(&authority), ..Setup::default() });
    registry.kill();
    let source = serving(Bytes::from(noise(100_000)), 0);
    let pod = importing(&scratch, &registry, &source.url("disk.raw"));
    let pod = pod.with(&[("DESTINATION_INSECURE_TLS", "true")]);
    pod.forget();
    let pending = Serving::spawn(pod.command(&[]));
    let told = pending.wait_for("beginning again in 1 s");
    assert!(told.contains(&registry.host()), "{told}");
    registry.restart();
    pending.ended().done();
}

#[test]
fn secrets_stay_with_the_endpoint_and_private_hosts_are_redirected_to() {
    let scratch = Scratch::new();
    if !alone("secrets_stay_with_the_endpoint_and_private_hosts_are_redirected_to", &scratch) {
        return;
    }
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let authority = Authority::new(&scratch);
    let disk = noise(500_000);
    let (served, seen) = (Bytes::from(disk.clone()), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&seen);
    let target = Script::start(
        Some(authority.server_config()),
        Arc::new(move |request| {
            noted.lock().unwrap().push(fields(&request));
            let served = served.clone();
            Box::pin(async move { full(200, served) }) as Answer
        }),
    );
    // Named by a peer, and private; the certificate is for that address.
    let location = format!("https://localhost:{}/disk.raw", target.port);
    let (first, to) = (Arc::new(Mutex::new(Vec::new())), location.clone());
    let noted = Arc::clone(&first);
    let source = Script::start(
        None,
        Arc::new(move |request| {
            noted.lock().unwrap().push(fields(&request));
            let to = to.clone();
            Box::pin(async move { with(302, "location", &to) }) as Answer
        }),
    );
    let pod = importing(&scratch, &registry, &source.url("disk.raw"));
    fs::copy(&authority.ca, pod.file("certs/ca.crt")).unwrap();
    fs::write(pod.file("extraheaders/token"), "X-Token: hunter2-of-a-file\n").unwrap();
    let pod = pod.with(&[
        ("IMPORTER_CERT_DIR", "/certs"),
        ("IMPORTER_ACCESS_KEY_ID", "user"),
        ("IMPORTER_SECRET_KEY", "hunter2"),
        ("IMPORTER_EXTRA_HEADER_0", "X-Key: hunter2-of-the-environment"),
    ]);
    let ran = pod.run().done();
    assert!(disk_in(&scratch, &registry, "disk.raw") == disk);
    let first = first.lock().unwrap();
    for (name, value) in [
        ("authorization", "Basic dXNlcjpodW50ZXIy"),
        ("x-token", "hunter2-of-a-file"),
        ("x-key", "hunter2-of-the-environment"),
    ] {
        assert!(!first.is_empty() && first.iter().all(|fields| fields.get(name).is_some_and(|found| found == value)));
    }
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty());
    for fields in seen.iter() {
        assert!(!["authorization", "x-token", "x-key"].iter().any(|name| fields.contains_key(*name)), "{fields:?}");
    }
    assert!(!ran.stderr.contains("hunter2") && !pod.said().contains("hunter2"));
}

/// The fields of a request.
fn fields(request: &hyper::Request<hyper::body::Incoming>) -> BTreeMap<String, String> {
    let fields = request.headers().iter();
    fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[test]
fn a_length_that_nobody_says_is_found_out() {
    let scratch = Scratch::new();
    if !alone("a_length_that_nobody_says_is_found_out", &scratch) {
        return;
    }
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let disk = Bytes::from(noise(3_000_001));
    let served = disk.clone();
    let source = Script::start(
        None,
        Arc::new(move |_| {
            let chunks: Vec<_> = served.chunks(100_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            Box::pin(async move { streamed(None, stream::iter(chunks)) }) as Answer
        }),
    );
    let pod = importing(&scratch, &registry, &source.url("disk.raw"));
    pod.run().done();
    assert_eq!(pod.message()["source-image-size"], disk.len());
    assert!(disk_in(&scratch, &registry, "disk.raw") == disk);
    let left: Vec<_> = fs::read_dir(pod.tmp()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // And none at all.
    let nothing = Script::start(None, Arc::new(|_| Box::pin(async { full(200, Bytes::new()) }) as Answer));
    let pod = pod.with(&[("IMPORTER_ENDPOINT", &nothing.url("disk.raw"))]);
    pod.run().failed(11, "disk-invalid", &["no byte"]);
    assert!(pod.error().contains("no byte"));
}

#[test]
fn a_controller_follows_the_gauges() {
    let scratch = Scratch::new();
    if !alone("a_controller_follows_the_gauges", &scratch) {
        return;
    }
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let disk = Bytes::from(noise(4 << 20));
    let (go, gate) = watch::channel(false);
    let source = Script::start(
        None,
        Arc::new(move |_| {
            let (disk, gate) = (disk.clone(), gate.clone());
            let parts = stream::unfold((0, disk, gate), |(at, disk, mut gate)| async move {
                match at {
                    0 => Some((Ok(disk.slice(..3 << 20)), (1, disk, gate))),
                    1 => {
                        gate.wait_for(|go| *go).await.ok()?;
                        Some((Ok(disk.slice(3 << 20..)), (2, disk, gate)))
                    }
                    _ => None,
                }
            });
            Box::pin(async move { streamed(Some(4 << 20), parts) }) as Answer
        }),
    );
    let pod = importing(&scratch, &registry, &source.url("disk.raw"));
    let running = Serving::spawn(pod.command(&["-v=1"]));
    // As the controller asks: over TLS, and whoever answers.
    let asked = || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--insecure", "--verbose", "--fail", "https://127.0.0.1:8443/metrics"]);
        let output = curl.output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let value = |text: &str, name: &str| {
        let line = format!("{name}{{ownerUID=\"1-2-3\"}} ");
        text.lines().find_map(|found| found.strip_prefix(&*line)?.parse::<f64>().ok())
    };
    let began = Instant::now();
    let (text, said) = loop {
        let (text, said) = asked();
        if value(&text, "registry_progress").is_some_and(|part| part > 70.0) {
            break (text, said);
        }
        assert!(began.elapsed() < WITHIN, "{text}\n{said}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let part = value(&text, "registry_progress").unwrap();
    assert!((70.0..80.0).contains(&part), "{part}");
    assert!(value(&text, "registry_average_speed").is_some_and(|speed| speed > 0.0), "{text}");
    assert!(value(&text, "registry_current_speed").is_some(), "{text}");
    for name in ["registry_progress", "registry_average_speed", "registry_current_speed"] {
        assert!(text.contains(&format!("# TYPE {name} gauge\n")), "{text}");
    }
    assert!(said.contains("cloner_target"), "{said}");
    assert!(text.contains("longshore_import_phase{phase=\"transferring\"} 1\n"), "{text}");
    go.send_replace(true);
    running.ended().done();
}

/// The sixth: nobody ran the module's own tests and fuzz targets.
#[test]
fn tests_and_fuzz_targets_are_run() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let recipes = fs::read_to_string(root.join("justfile")).unwrap();
    assert!(recipes.contains("--workspace"), "the suite is all of it");
    assert!(recipes.contains("cargo check --manifest-path fuzz/Cargo.toml"), "and so are the fuzz targets");
    let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
    let targets: Vec<&str> =
        manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"')).collect();
    assert!(targets.iter().all(|target| root.join("fuzz").join(target).is_file()), "{targets:?}");
    for kind in ["fuzz_targets/probe/", "fuzz_targets/filter/", "fuzz_targets/policy.rs"] {
        assert!(targets.iter().any(|target| target.starts_with(kind)), "{kind} is among {targets:?}");
    }
}

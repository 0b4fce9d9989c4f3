//! It fails clean: the right exit code, an error that names who and what, and nothing at the destination.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::fixtures::Fixture;
use longshore_tests::layers::assert_layout_empty;
use longshore_tests::nginx::Nginx;
use longshore_tests::peer::{Peer, free_port};
use longshore_tests::program::{Ran, finish, hasty, import, import_from, longshore};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Answer, Handler, Script, empty, full, streamed};
use longshore_tests::sink;
use longshore_tests::tls::Authority;

const DISK: usize = 5_000_000;

/// A source over TLS, a registry over TLS, and a disk.
struct Stage {
    scratch: Scratch,
    authority: Authority,
    nginx: Nginx,
    registry: Registry,
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let nginx = Nginx::start(&scratch, &authority);
        let registry = Registry::start(&scratch, "registry", Setup { tls: Some(&authority), ..Setup::default() });
        raw(&scratch.folder("www").join("disk.raw"), DISK);
        Self { scratch, authority, nginx, registry }
    }

    fn to(&self) -> String {
        self.registry.reference("vm/disk:1")
    }

    fn disk(&self) -> String {
        self.scratch.path("www").join("disk.raw").display().to_string()
    }

    fn import(&self, source: &str, more: &[&str]) -> Ran {
        import([&[source, &*self.to(), "--ca", &*self.authority.ca()], more].concat())
    }

    /// Imports the same into a layout, which must stay as clean as the registry.
    fn import_to_layout(&self, source: &str, more: &[&str]) -> Ran {
        let to = format!("oci:{}:1", self.scratch.text("layout"));
        import([&[source, &*to, "--ca", &*self.authority.ca()], more].concat())
    }

    /// Panics if anything was committed anywhere.
    fn assert_clean(&self) {
        self.registry.assert_empty();
        assert_layout_empty(&self.scratch.path("layout"));
    }

    fn script(&self, handler: impl Fn() -> Answer + Send + Sync + 'static) -> Script {
        let handler: Handler = Arc::new(move |_| handler());
        Script::start(Some(self.authority.server_config()), handler)
    }
}

#[test]
fn a_wrong_checksum() {
    let stage = Stage::new();
    let sum = longshore_tests::scratch::run(Command::new("sha256sum").arg(stage.disk()));
    let right = format!("sha256:{}", sum.split_whitespace().next().unwrap());
    let wrong = format!("sha256:{}", "0".repeat(64));
    let says = ["the source has the checksum", &*right, &*wrong, "left behind"];
    let url = stage.nginx.url("disk.raw");
    stage.import(&url, &["--checksum", &wrong]).failed(11, "checksum-mismatch", &says).golden("checksum-mismatch");
    stage.import_to_layout(&url, &["--checksum", &wrong]).failed(11, "checksum-mismatch", &says);
    stage.import(&url, &["--checksum", &right, "--checksum", &wrong]).failed(11, "checksum-mismatch", &says);
    stage.assert_clean();
    let ran = stage.import(&url, &["--checksum", &right, "--report", "-"]).done();
    assert_eq!(ran.report()["source"]["checksums"]["computed"], serde_json::json!([right]));
}

#[test]
fn a_source_that_is_cut_short() {
    let stage = Stage::new();
    let source = stage.script(|| {
        Box::pin(async {
            let broken = std::io::Error::other("the script breaks off");
            let chunks = vec![Ok(Bytes::from(vec![7; 1 << 20])), Err(broken)];
            streamed(Some(DISK as u64), stream::iter(chunks))
        })
    });
    let says = ["/disk.raw", "1048576 bytes", "expected 5000000"];
    stage.import(&source.url("disk.raw"), &[]).failed(10, "source-truncated", &says);
    stage
        .import_to_layout(&source.url("disk.raw"), &[])
        .failed(10, "source-truncated", &says)
        .golden("source-cut-short");
    let ran = stage.import_to_layout(&source.url("disk.raw"), &["--report", "-"]).failed(10, "source-truncated", &says);
    let error = &ran.report()["error"];
    assert_eq!((&error["code"], &error["exit"]), (&"source-truncated".into(), &10.into()));
    assert_eq!(
        (&error["stage"], &error["blame"], &error["retryable"]),
        (&"source".into(), &"source".into(), &true.into())
    );
    assert_eq!(ran.report()["image"]["reference"], serde_json::Value::Null);
    stage.assert_clean();
}

#[test]
fn a_wrong_ca_on_either_side() {
    let stage = Stage::new();
    let says = ["is not trusted", "--ca"];
    import([stage.nginx.url("disk.raw"), stage.to()]).failed(15, "tls-certificate", &says);
    import([stage.disk(), stage.to()]).failed(15, "tls-certificate", &says);
    let other = Scratch::new();
    let other = Authority::new(&other);
    import([&*stage.disk(), &stage.to(), "--ca", &other.ca()]).failed(15, "tls-certificate", &says);
    stage.assert_clean();
}

#[test]
fn a_peer_that_speaks_only_chacha20() {
    let stage = Stage::new();
    for protocol in [
        &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    ] {
        let peer = Peer::openssl(&stage.scratch.path("www"), &stage.authority.good(), protocol, None);
        let says = ["within the policy", "HandshakeFailure", "AES_128_GCM"];
        let url = format!("https://127.0.0.1:{}/disk.raw", peer.port);
        stage.import(&url, &[]).failed(15, "tls-handshake", &says);
        let to = format!("docker://127.0.0.1:{}/vm", peer.port);
        import([&*stage.disk(), &to, "--ca", &stage.authority.ca()]).failed(15, "tls-handshake", &says);
    }
    stage.assert_clean();
}

#[test]
fn a_registry_that_wants_other_credentials() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let setup = Setup { tls: Some(&authority), basic: Some(("porter", "hunter2")), ..Setup::default() };
    let registry = Registry::start(&scratch, "registry", setup);
    raw(&scratch.path("disk.raw"), DISK);
    let (disk, to, ca) = (scratch.text("disk.raw"), registry.reference("vm:1"), authority.ca());
    let says = ["401", "UNAUTHORIZED", "docker login"];
    import([&*disk, &to, "--ca", &ca]).failed(16, "registry-denied", &says).golden("registry-without-credentials");
    let config = format!(r#"{{"auths":{{"{}":{{"username":"porter","password":"swordfish"}}}}}}"#, registry.host());
    fs::write(scratch.path("config.json"), config).unwrap();
    let ran = import([&*disk, &to, "--ca", &ca, "--auth-file", &scratch.text("config.json")]);
    let ran = ran.failed(16, "registry-denied", &says).golden("registry-with-wrong-credentials");
    assert!(!ran.stderr.contains("swordfish"));
    import([&*disk, &to, "--ca", &ca, "--auth-file", "/nonexistent"])
        .failed(16, "credentials-unreadable", &[])
        .golden("credentials-unreadable");
    registry.assert_empty();
}

#[test]
fn a_registry_that_answers_500_at_any_step() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    raw(&scratch.path("disk.raw"), DISK);
    for (method, committed) in [("GET", false), ("POST", false), ("PATCH", false), ("PUT", false), ("HEAD", true)] {
        let (registry, seen) = sink::start(Some(authority.server_config()), Some((method, 500)));
        let to = format!("docker://{}/vm:1", registry.host());
        let ran = import([&*scratch.text("disk.raw"), &to, "--ca", &authority.ca(), "--policy", &hasty(&scratch)]);
        // The answer to a HEAD has no body.
        let said = if method == "HEAD" { "500" } else { "500 UNKNOWN: the script says no" };
        let ran = ran.failed(12, "registry-failed", &[&format!("{method} https://"), said]);
        match method {
            "GET" => ran.golden("registry-500-at-the-ping"),
            "POST" => ran.golden("registry-500-at-the-session"),
            "PATCH" => ran.golden("registry-500-at-the-layer"),
            "PUT" => ran.golden("registry-500-at-the-commit"),
            _ => ran.golden("registry-500-behind-the-commit"),
        };
        assert_eq!(seen.committed(), committed, "{method}");
        // The sink knows no status of an upload: each of five attempts has a session of its own. Chunks after the second lost
        // one are no repetition; a PATCH that fails twice at the same place gets there by itself.
        let opened = match method {
            "PATCH" => 5,
            "PUT" => 5 + 1,
            _ => 0,
        };
        assert_eq!(seen.count("DELETE"), opened, "an open session is cancelled after {method}");
    }
}

#[test]
fn guests_that_trap_spin_or_never_end() {
    let stage = Stage::new();
    let disk = stage.disk();
    let rows = [
        (Fixture::SourceTrap, "component-trapped", "`source-trap` trapped"),
        (Fixture::SourceSpin, "component-budget", "`source-spin` was stopped: the CPU budget was spent"),
        (Fixture::SourceOpen, "component-contract", "`source-open` ended but left its output open"),
        (Fixture::SourceIdle, "component-stalled", "`source-idle` did nothing"),
    ];
    std::thread::scope(|scope| {
        for (fixture, code, says) in rows {
            let (stage, disk) = (&stage, &disk);
            scope.spawn(move || {
                stage.import(disk, &["--source", &fixture.path()]).failed(14, code, &[says]);
                let ran = stage.import_to_layout(disk, &["--source", &fixture.path()]).failed(14, code, &[says]);
                match fixture {
                    Fixture::SourceTrap => ran.golden("guest-traps"),
                    Fixture::SourceSpin => ran.golden("guest-spins"),
                    Fixture::SourceOpen => ran.golden("guest-leaves-its-output-open"),
                    _ => ran.golden("guest-does-nothing"),
                };
            });
        }
    });
    stage.assert_clean();
}

#[test]
fn plain_http_that_was_not_allowed() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let handler: Handler = Arc::new(|_| Box::pin(async { full(200, vec![7; 5000]) }));
    let plain = Script::start(None, handler);
    let to = registry.reference("vm:1");
    let (source, host) = (plain.url("disk.raw"), registry.host());
    import([&*source, &to, "--plain-http", &host]).failed(
        13,
        "plain-http-denied",
        &["--plain-http 127.0.0.1:", "loopback"][..1],
    );
    import([&*source, &to, "--plain-http", "localhost"]).failed(13, "plain-http-denied", &[]);
    // A registry is spoken to over TLS unless it was named, and this one does not speak it.
    import([&*source, &to, "--plain-http", &plain.host()]).failed(15, "tls-handshake", &[]);
    registry.assert_empty();
    import([&*source, &to, "--plain-http", &plain.host(), "--plain-http", &host]).done();

    // A redirect does not lead around it.
    let target = plain.url("disk.raw");
    let handler: Handler = Arc::new(move |_| {
        let target = target.clone();
        Box::pin(async move {
            let mut answer = empty(302);
            answer.headers_mut().insert("location", target.parse().unwrap());
            answer
        })
    });
    let redirecting = Script::start(Some(authority.server_config()), handler);
    let ran = import([&*redirecting.url("x"), &to, "--ca", &authority.ca(), "--plain-http", &host]);
    ran.failed(13, "plain-http-denied", &[&plain.host()]).golden("redirect-to-plain-http");
}

#[test]
fn a_redirect_to_an_address_that_only_a_user_may_name() {
    let stage = Stage::new();
    for (target, why) in [
        (stage.nginx.url("disk.raw"), "not public"),
        ("https://169.254.169.254/latest/meta-data".to_owned(), "metadata"),
        ("https://[::ffff:10.0.0.1]/".to_owned(), "not public"),
    ] {
        let redirecting = stage.script(move || {
            let target = target.clone();
            Box::pin(async move {
                let mut answer = empty(302);
                answer.headers_mut().insert("location", target.parse().unwrap());
                answer
            })
        });
        let ran = stage.import(&redirecting.url("x"), &[]).failed(13, "egress-denied", &[why]);
        match why {
            "metadata" => ran.golden("redirect-to-metadata"),
            _ => ran,
        };
    }
    let looping = stage.script(|| {
        Box::pin(async {
            let mut answer = empty(302);
            answer.headers_mut().insert("location", "again".parse().unwrap());
            answer
        })
    });
    stage.import(&looping.url("x"), &[]).failed(10, "source-failed", &["redirect"]).golden("redirect-loop");
    stage.assert_clean();
}

#[test]
fn a_source_that_is_absent_forbidden_or_broken() {
    let stage = Stage::new();
    stage
        .import(&stage.nginx.url("absent.raw"), &[])
        .failed(10, "source-not-found", &["404", "absent.raw"])
        .golden("source-404");
    stage
        .import(&stage.nginx.url("forbidden/disk.raw"), &[])
        .failed(16, "source-denied", &["403"])
        .golden("source-forbidden");
    let broken = stage.script(|| Box::pin(async { empty(503) }));
    stage.import(&broken.url("disk.raw"), &[]).failed(10, "source-failed", &["503"]).golden("source-503");
    let nobody = format!("https://127.0.0.1:{}/disk.raw", free_port());
    stage
        .import(&nobody, &[])
        .failed(10, "source-unreachable", &["cannot be connected to"])
        .golden("source-refuses-connections");
    stage.import("https://host.invalid/disk.raw", &[]).failed(10, "source-unreachable", &["cannot be resolved"]);
    stage
        .import("/nonexistent/disk.raw", &[])
        .failed(10, "source-not-found", &["/nonexistent/disk.raw"])
        .golden("source-no-such-file");
    stage.import("/dev/null", &[]).failed(2, "usage", &["`/dev/null` is a character device"]);
    stage.assert_clean();
    let unreachable = format!("docker://127.0.0.1:{}/vm", free_port());
    import([&*stage.disk(), &unreachable])
        .failed(12, "registry-unreachable", &["cannot be connected to"])
        .golden("registry-refuses-connections");
}

#[test]
fn a_length_that_is_unknown_or_wrong() {
    let stage = Stage::new();
    let chunked = stage.script(|| Box::pin(async { streamed(None, stream::iter([Ok(Bytes::from(vec![7; 5000]))])) }));
    let url = chunked.url("disk.raw");
    stage
        .import(&url, &[])
        .failed(11, "source-length-unknown", &["does not say how long", "--size"])
        .golden("length-unknown");
    stage.import(&url, &["--size", "5001"]).failed(11, "source-length-mismatch", &["5000 bytes, expected 5001"]);
    stage
        .import_to_layout(&url, &["--size", "5001"])
        .failed(11, "source-length-mismatch", &["5000 bytes, expected 5001"])
        .golden("length-shorter-than-demanded");
    stage.import(&url, &["--size", "4999"]).failed(11, "source-length-mismatch", &["at least 5000", "expected 4999"]);
    stage
        .import_to_layout(&url, &["--size", "4999"])
        .failed(11, "source-length-mismatch", &["at least 5000", "expected 4999"])
        .golden("length-longer-than-demanded");
    stage
        .import(&stage.disk(), &["--size", "1"])
        .failed(11, "source-length-mismatch", &["announces 5000000"])
        .golden("length-announced-otherwise");
    let from_input =
        |size: &[&str]| import_from([&["-", &*stage.to(), "--ca", &*stage.authority.ca()], size].concat(), &[7; 5000]);
    from_input(&[]).failed(11, "source-length-unknown", &["standard input"]).golden("length-of-standard-input");
    from_input(&["--size", "5001"]).failed(11, "source-length-mismatch", &["5000 bytes, expected 5001"]);
    from_input(&["--size", "4999"]).failed(11, "source-length-mismatch", &["expected 4999"]);
    stage.assert_clean();
    stage.import(&url, &["--size", "5000"]).done();
    from_input(&["--size", "5000"]).done();
}

#[test]
fn a_file_that_is_written_to_while_it_is_read() {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;
    let stage = Stage::new();
    let open = |path: &str| fs::OpenOptions::new().write(true).open(path).unwrap();
    let ran = changed_while_it_is_read(&stage, &stage.disk(), move |path| {
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    });
    ran.failed(11, "source-changed", &["was written to while it was read"]).golden("source-written-to");
    // What is not read is no less what was opened.
    let sparse = stage.scratch.text("sparse.raw");
    let changes: [fn(&fs::File); 3] = [
        |file| file.write_all_at(b"more", 40 << 20).unwrap(),
        |file| file.set_len(40 << 20).unwrap(),
        |file| file.set_len(80 << 20).unwrap(),
    ];
    for change in changes {
        fs::write(&sparse, [7; 5000]).unwrap();
        open(&sparse).set_len(64 << 20).unwrap();
        let ran = changed_while_it_is_read(&stage, &sparse, move |path| change(&open(path)));
        ran.failed(11, "source-changed", &["was written to while it was read"]);
    }
}

/// Imports `disk`, to which `change` happens as soon as the upload is open.
fn changed_while_it_is_read(stage: &Stage, disk: &str, change: impl Fn(&str) + Clone + Send + Sync + 'static) -> Ran {
    // The sink holds the last part of the upload back until the file has changed.
    let (held, path) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), disk.to_owned());
    let handler: Handler = Arc::new(move |request| {
        let (held, path, change) = (Arc::clone(&held), path.clone(), change.clone());
        Box::pin(async move {
            match request.method().as_str() {
                "GET" => empty(200),
                "POST" => {
                    if !held.swap(true, std::sync::atomic::Ordering::SeqCst) {
                        change(&path);
                    }
                    let mut answer = empty(202);
                    answer.headers_mut().insert("location", "/v2/vm/blobs/uploads/1".parse().unwrap());
                    answer
                }
                "PATCH" => {
                    let _ = http_body_util::BodyExt::collect(request.into_body()).await;
                    empty(202)
                }
                "DELETE" => empty(204),
                other => panic!("a {other} after a change"),
            }
        })
    });
    let registry = Script::start(Some(stage.authority.server_config()), handler);
    let to = format!("docker://{}/vm", registry.host());
    import([disk, &to, "--ca", &stage.authority.ca()])
}

#[test]
fn a_disk_that_a_hypervisor_would_read_elsewhere() {
    let stage = Stage::new();
    let (base, overlay) = (stage.scratch.text("base.qcow2"), stage.scratch.text("overlay.qcow2"));
    let create = |arguments: &[&str]| {
        longshore_tests::scratch::run(Command::new("qemu-img").arg("create").arg("-q").args(arguments))
    };
    create(&["-f", "qcow2", &base, "1M"]);
    create(&["-f", "qcow2", "-b", &base, "-F", "qcow2", &overlay]);
    let says = ["the qcow2 disk is refused", "backing file", "base.qcow2", "qcow2-backing-file"];
    stage.import(&overlay, &[]).failed(11, "disk-refused", &says);
    stage.import_to_layout(&overlay, &[]).failed(11, "disk-refused", &says).golden("disk-with-backing-file");
    let ran = stage.import_to_layout(&overlay, &["--report", "-"]).failed(11, "disk-refused", &says);
    assert_eq!(ran.report()["disk"]["hazards"][0]["severity"], "refuse");
    let vmdk = stage.scratch.text("disk.vmdk");
    create(&["-f", "vmdk", "-o", "subformat=monolithicFlat", &vmdk, "1M"]);
    let says = ["the vmdk disk is refused", "names the file `disk-flat.vmdk`", "vmdk-external-extent"];
    stage.import(&vmdk, &[]).failed(11, "disk-refused", &says);
    stage.import_to_layout(&vmdk, &[]).failed(11, "disk-refused", &says).golden("disk-of-several-files");
    let malformed = stage.scratch.path("malformed.qcow2");
    let mut bytes = fs::read(&base).unwrap();
    bytes[20..24].copy_from_slice(&40_u32.to_be_bytes());
    fs::write(&malformed, bytes).unwrap();
    let says = ["probe-disk", "cluster_bits at 20 is 40, expected 9 to 21"];
    stage.import(&malformed.display().to_string(), &[]).failed(11, "disk-invalid", &says);
    stage
        .import_to_layout(&malformed.display().to_string(), &[])
        .failed(11, "disk-invalid", &says)
        .golden("disk-malformed");
    stage.assert_clean();
}

#[test]
fn what_is_not_built_yet_is_refused_and_never_ignored() {
    let stage = Stage::new();
    let credentials = import(["foo://u:hunter2@a.example/x", &*stage.to()]);
    credentials.failed(2, "unsupported", &["user information"]).golden("user-information-not-supported-yet");
    let mut named = longshore(["import", &stage.disk(), &stage.to()]);
    finish(named.env("LONGSHORE_POLICY", "/etc/passwd"), b"").failed(13, "policy-invalid", &["/etc/passwd"]);
    stage.assert_clean();
}

#[test]
fn a_report_of_an_import_that_never_began() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), 1000);
    let report = scratch.text("report.json");
    fs::write(&report, "of an earlier import").unwrap();
    let to = format!("oci:{}", scratch.text("layout"));
    import([&*scratch.text("disk.raw"), &*to, "--ca", "/nonexistent", "--report", &*report]).failed(
        20,
        "local-file",
        &[],
    );
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!((&written["outcome"], &written["error"]["code"]), (&"failed".into(), &"local-file".into()));
    assert_eq!((&written["source"]["location"], &written["error"]["exit"]), (&().into(), &20.into()));
}

#[test]
fn a_handshake_that_breaks() {
    let stage = Stage::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}/disk.raw", listener.local_addr().unwrap().port());
    // As often as it is asked, and only once the client has spoken: who closes with something unread resets.
    let closing = std::thread::spawn(move || {
        for connection in listener.incoming().take(3) {
            let _ = connection.unwrap().read(&mut [0; 16 * 1024]).unwrap();
        }
    });
    stage
        .import(&url, &[])
        .failed(10, "source-unreachable", &["broke during the TLS handshake"])
        .golden("tls-handshake-broken");
    closing.join().unwrap();
    stage.assert_clean();
}

#[test]
fn a_report_that_cannot_be_written() {
    let stage = Stage::new();
    stage
        .import(&stage.disk(), &["--report", "/nonexistent/report.json"])
        .failed(20, "local-file", &["/nonexistent"])
        .golden("report-not-writable");
}

#[test]
fn a_signal_ends_it_and_cancels_the_upload() {
    for (signal, exit, code) in [("INT", 130, "interrupted"), ("TERM", 143, "terminated")] {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let (registry, seen) = sink::start(Some(authority.server_config()), None);
        let handler: Handler = Arc::new(|_| {
            Box::pin(async {
                let first = stream::iter([Ok(Bytes::from(vec![7; 1 << 20]))]);
                streamed(Some(DISK as u64), futures_util::StreamExt::chain(first, stream::pending()))
            })
        });
        let source = Script::start(Some(authority.server_config()), handler);
        let to = format!("docker://{}/vm", registry.host());
        let mut command = longshore(["import", &source.url("disk.raw"), &to, "--ca", &authority.ca()]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        for _ in 0..500 {
            if seen.received.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        longshore_tests::scratch::run(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]));
        let ran = longshore_tests::program::ran(&child.wait_with_output().unwrap());
        ran.failed(exit, code, &[signal, "left behind: nothing"]);
        assert!(!seen.committed());
        assert_eq!(seen.count("DELETE"), 1);
    }
}

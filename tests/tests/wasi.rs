//! Guests that import WASI: `wasi:http` is the host's own client under the rules of `fetch`, and everything else grants
//! nothing.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use longshore_tests::fixtures::Fixture;
use longshore_tests::layers::pull;
use longshore_tests::nginx::Nginx;
use longshore_tests::peer::free_port;
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, import, longshore, watched};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Answer, Handler, Script, empty, full, streamed, zeros};
use longshore_tests::sink;
use longshore_tests::tls::Authority;

const DISK: usize = 5_000_000;
/// A source for each version of `wasi:http`.
const SOURCES: [Fixture; 2] = [Fixture::SourceWasiHttp02, Fixture::SourceWasiHttp03];

struct Stage {
    scratch: Scratch,
    authority: Authority,
    nginx: Nginx,
    disk: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let nginx = Nginx::start(&scratch, &authority);
        let disk = raw(&scratch.folder("www").join("disk.raw"), DISK);
        Self { scratch, authority, nginx, disk }
    }

    fn import(&self, source: &str, fixture: Fixture, more: &[&str]) -> Ran {
        let to = format!("oci:{}:1", self.scratch.text("layout"));
        import([&[source, &*to, "--ca", &*self.authority.ca(), "--source", &*fixture.path()], more].concat())
    }

    fn script(&self, handler: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Script {
        let handler: Handler = Arc::new(move |request| handler(request.method().as_str()));
        Script::start(Some(self.authority.server_config()), handler)
    }

    fn assert_clean(&self) {
        assert!(!self.scratch.path("layout").join("index.json").exists());
    }
}

fn redirect(target: &str) -> Answer {
    let mut answer = empty(302);
    answer.headers_mut().insert("location", target.parse().unwrap());
    Box::pin(async move { answer })
}

#[test]
fn the_disk_is_the_same_to_the_byte_and_the_connection_is_on_record() {
    let stage = Stage::new();
    for fixture in SOURCES {
        let ran = stage.import(&stage.nginx.url("moved/disk.raw"), fixture, &["--report", "-"]).done();
        let image = pull(&stage.scratch, fixture.name(), &[], &format!("oci:{}:1", stage.scratch.text("layout")));
        assert!(image.file("disk/disk.raw") == stage.disk, "{fixture:?}");
        let report = ran.report();
        assert_eq!(report["source"]["size"], DISK);
        assert!(report["source"]["revision"].as_str().unwrap().starts_with('"'), "nginx has entity tags");
        assert_eq!(report["stages"][0]["component"]["name"], fixture.name());
        let connections = report["connections"].as_array().unwrap();
        assert!(!connections.is_empty());
        for connection in connections {
            assert_eq!((&connection["side"], &connection["tls"]["version"]), (&"source".into(), &"TLSv1.3".into()));
        }
    }
}

#[test]
fn what_the_host_saw_decides_code_and_blame() {
    let stage = Stage::new();
    let broken = stage.script(|_| Box::pin(async { empty(503) }));
    let cut = stage.script(|_| {
        Box::pin(async {
            let breaks = std::io::Error::other("the script breaks off");
            streamed(Some(DISK as u64), stream::iter(vec![Ok(Bytes::from(vec![7; 1 << 20])), Err(breaks)]))
        })
    });
    let changed = stage.script(|method| match method {
        "HEAD" => Box::pin(async { full(200, vec![7; 5000]) }),
        _ => Box::pin(async { empty(412) }),
    });
    for fixture in SOURCES {
        let name = fixture.name();
        let import = |url: &str| stage.import(url, fixture, &[]);
        import(&stage.nginx.url("absent.raw")).failed(10, "source-not-found", &["absent.raw", "404", name]);
        import(&stage.nginx.url("forbidden/x")).failed(16, "source-denied", &["forbidden/x", "403", name]);
        import(&broken.url("x")).failed(10, "source-failed", &["503", name]);
        let nobody = format!("https://127.0.0.1:{}/x", free_port());
        import(&nobody).failed(10, "source-unreachable", &["cannot be connected to", "DestinationUnavailable"]);
        import("https://host.invalid/x").failed(10, "source-unreachable", &["cannot be resolved"]);
        let says = ["1048576 bytes", "expected 5000000"];
        import(&cut.url("x")).failed(10, "source-truncated", &says);
        import(&changed.url("x")).failed(11, "source-changed", &["412", name]);
    }
    stage.assert_clean();
}

#[test]
fn trust_and_plain_http_are_decided_by_the_policy() {
    let stage = Stage::new();
    let other = Scratch::new();
    let other = Authority::new(&other);
    let plain = Script::start(None, Arc::new(|_| Box::pin(async { full(200, vec![7; 5000]) })));
    for fixture in SOURCES {
        let to = format!("oci:{}:2", stage.scratch.text("layout"));
        let (url, component) = (stage.nginx.url("disk.raw"), fixture.path());
        for ca in [&[][..], &["--ca", &other.ca()]] {
            let ran = import([&[&*url, &*to, "--source", &*component], ca].concat());
            ran.failed(15, "tls-certificate", &["is not trusted", "TlsCertificateError"]);
        }
        let url = plain.url("disk.raw");
        stage.import(&url, fixture, &[]).failed(13, "plain-http-denied", &["--plain-http", "HttpRequestDenied"]);
        let target = url.clone();
        let redirecting = stage.script(move |_| redirect(&target));
        stage.import(&redirecting.url("x"), fixture, &[]).failed(13, "plain-http-denied", &[&plain.host()]);
        stage.assert_clean();
        stage.import(&url, fixture, &["--plain-http", &plain.host()]).done();
        fs::remove_dir_all(stage.scratch.path("layout")).unwrap();
    }
}

#[test]
fn a_redirect_leads_only_where_it_may() {
    let stage = Stage::new();
    for fixture in SOURCES {
        for (target, why) in [
            (stage.nginx.url("disk.raw"), "not public"),
            ("https://169.254.169.254/latest/meta-data".to_owned(), "metadata"),
        ] {
            let redirecting = stage.script(move |_| redirect(&target));
            stage.import(&redirecting.url("x"), fixture, &[]).failed(13, "egress-denied", &[why]);
        }
        let looping = stage.script(|_| redirect("again"));
        stage.import(&looping.url("x"), fixture, &[]).failed(10, "source-failed", &["redirects once more than the 10"]);
    }
    stage.assert_clean();
}

#[test]
fn a_server_may_take_longer_than_a_component() {
    /// Longer than a component may do nothing.
    const PAUSE: Duration = Duration::from_secs(22);
    let stage = Stage::new();
    let slow = stage.script(|method| {
        let head = method == "HEAD";
        Box::pin(async move {
            if head {
                tokio::time::sleep(PAUSE).await;
            }
            let half = Ok(Bytes::from(vec![7; DISK / 2]));
            let rest = stream::once(async {
                tokio::time::sleep(PAUSE).await;
                Ok(Bytes::from(vec![7; DISK / 2]))
            });
            streamed(Some(DISK as u64), stream::iter([half]).chain(rest))
        })
    });
    std::thread::scope(|scope| {
        for fixture in SOURCES {
            let (stage, url) = (&stage, slow.url("disk.raw"));
            scope.spawn(move || {
                let to = format!("oci:{}", stage.scratch.text(fixture.name()));
                import([&*url, &*to, "--ca", &stage.authority.ca(), "--source", &fixture.path()]).done();
            });
        }
    });
}

#[test]
fn memory_stays_flat_for_a_gibibyte() {
    const DISK: u64 = 1 << 30;
    let stage = Stage::new();
    let source = stage.script(|_| Box::pin(async { zeros(DISK) }));
    for fixture in SOURCES {
        let (registry, seen) = sink::start(Some(stage.authority.server_config()), None);
        let to = format!("docker://{}/vm:1", registry.host());
        let (url, ca, component) = (source.url("disk.raw"), stage.authority.ca(), fixture.path());
        let mut command = longshore(["import", &url, &to, "--ca", &ca, "--source", &component, "--report", "-"]);
        let (ran, peak) = watched(&mut command);
        ran.done();
        println!("{fixture:?}: peak of its own {} MiB", peak >> 20);
        assert!(peak > 0 && peak <= MOST_OF_ITS_OWN, "{fixture:?}: {} MiB", peak >> 20);
        assert!(seen.received.load(SeqCst) > DISK);
    }
}

/// What a guest gets that tries everything, without the versions it tries it in.
const NOTHING: [(&str, &[&str]); 15] = [
    ("environment", &["[]"]),
    ("arguments", &["[]"]),
    ("folder", &["None"]),
    ("preopens", &["0"]),
    ("stdin", &["Err(\"StreamError::Closed\")", "([], Ok(()))"]),
    ("clocks", &["(0, Datetime { seconds: 0, nanoseconds: 0 })", "(0, Instant { seconds: 0, nanoseconds: 0 })"]),
    ("clocks later", &["(0, Datetime { seconds: 0, nanoseconds: 0 })", "(0, Instant { seconds: 0, nanoseconds: 0 })"]),
    ("connect", &["access-denied", "Err(ErrorCode::AccessDenied)"]),
    ("bind", &["access-denied", "Err(ErrorCode::AccessDenied)"]),
    ("datagrams", &["access-denied", "Err(ErrorCode::AccessDenied)"]),
    ("lookup", &["permanent-resolver-failure", "Err(ErrorCode::PermanentResolverFailure)"]),
    ("other origin", &["Err(\"ErrorCode::HttpRequestDenied\")"]),
    ("user information", &["Err(\"ErrorCode::HttpRequestDenied\")"]),
    ("host", &["Err(\"ErrorCode::HttpRequestDenied\")"]),
    ("authorization", &["Err(\"ErrorCode::HttpRequestDenied\")"]),
];

#[test]
fn a_guest_that_tries_everything_gets_nothing() {
    let stage = Stage::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let handler: Handler = Arc::new(move |request| {
        record.lock().unwrap().push(format!("{} {} {:?}", request.method(), request.uri().path(), request.headers()));
        let mut answer = full(200, vec![7; 5]);
        for (name, value) in [("set-cookie", "s=hunter2"), ("www-authenticate", "Basic"), ("x-fine", "y")] {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        Box::pin(async move { answer })
    });
    let source = Script::start(Some(stage.authority.server_config()), handler);
    let stranger = stage.script(|_| panic!("nobody may come here"));
    let url = source.url(&format!("disk.raw?{}", stranger.host()));
    let run = || {
        let mut command = longshore(["import", &*url, &format!("oci:{}", stage.scratch.text("layout"))]);
        command.args(["--ca", &stage.authority.ca(), "--source", &Fixture::SourceWasiNosy.path(), "-v"]);
        command.env("SECRET", "hunter2");
        longshore_tests::program::finish(&mut command, b"hunter2")
    };
    // The host's account of the last request decides, not the component's words.
    let says = ["set the header field `authorization`", "caused by: source-wasi-nosy: nothing was granted"];
    let ran = run().failed(13, "egress-denied", &says);
    for version in ["0.2", "0.3"] {
        let got = |what: &str| {
            let head = format!(" WARN {version} {what}: ");
            let line = ran.stderr.lines().find_map(|line| line.strip_prefix(&head));
            line.unwrap_or_else(|| panic!("no line `{head}` in\n{}", ran.stderr)).to_owned()
        };
        for (what, expected) in NOTHING {
            let got = got(what);
            assert!(expected.iter().any(|expected| got.contains(expected)), "{version} {what}: {got}");
            assert!(got.contains("component=\"source-wasi-nosy\""), "{got}");
        }
        for what in ["post", "body"] {
            assert!(got(what).starts_with("Err(\"ErrorCode::HttpRequestDenied\")"), "{what}");
        }
        // The one thing it may do, and it sees no secrets in the answer.
        assert!(got("range").starts_with("Ok((200, [\"x-fine\", \"content-length\", \"date\"]))"), "{}", got("range"));
        assert!(ran.stderr.contains(&format!(" WARN {version} stderr")));
    }
    assert!(ran.stderr.contains(" INFO 0.2 stdout component="), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains('\x1b'));
    let first = seen.lock().unwrap().drain(..).collect::<Vec<_>>();
    let ranges = first.iter().filter(|request| request.contains("\"range\": \"bytes=0-0\"")).count();
    assert_eq!(ranges, 2, "{first:#?}");
    for request in &first {
        assert!(request.starts_with("GET /nosy ") && !request.contains("authorization"), "{request}");
        assert!(request.contains("\"accept-encoding\": \"identity\"") && request.contains("longshore/"), "{request}");
        assert!(request.contains(&format!("\"host\": \"{}\"", source.host())), "{request}");
    }
    let random = |ran: &Ran| ran.stderr.lines().filter(|line| line.contains(" random: ")).map(str::to_owned).collect();
    let numbers: Vec<String> = random(&ran);
    assert_eq!(numbers.len(), 2);
    assert_eq!(random(&run()), numbers, "random numbers are the same each time");
    stage.assert_clean();
}

#[test]
fn wasi_http_is_for_sources_only() {
    let stage = Stage::new();
    let to = format!("oci:{}", stage.scratch.text("layout"));
    let ran = import([&*stage.nginx.url("disk.raw"), &to, "--probe", &Fixture::ProbeWasiHttp.path()]);
    let says =
        ["`probe-wasi-http` imports `wasi:http/", "not granted to a probe", "may import log, window, and of WASI"];
    ran.failed(14, "component-invalid", &says);
    // A source that speaks HTTP is not given a file to open.
    let disk = stage.scratch.path("www").join("disk.raw").display().to_string();
    for fixture in SOURCES {
        stage.import(&disk, fixture, &[]).failed(2, "usage", &[fixture.name(), "does not open `file` locations"]);
    }
    stage.assert_clean();
}

#[test]
fn a_framing_that_looks_at_the_clock_is_still_a_pure_function() {
    let stage = Stage::new();
    let disk = stage.scratch.path("www").join("disk.raw").display().to_string();
    let layer = |name: &str| {
        let to = format!("oci:{}", stage.scratch.text(name));
        let ran = import([&*disk, &to, "--framing", &Fixture::FramingWasi.path(), "--report", "-"]).done();
        let digest = ran.report()["image"]["layer_digest"].as_str().unwrap().to_owned();
        let blob = stage.scratch.path(name).join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap());
        (digest, fs::read(blob).unwrap())
    };
    let (digest, bytes) = layer("one");
    let moment = bytes.split(|byte| *byte == b'\n').next().unwrap();
    let moment = String::from_utf8(moment.to_vec()).unwrap();
    assert!(moment.starts_with("0 0 Datetime { seconds: 0, nanoseconds: 0 } ("), "{moment}");
    // Another second, another process.
    longshore_tests::scratch::run(Command::new("sleep").arg("1"));
    assert_eq!(layer("two").0, digest);
}

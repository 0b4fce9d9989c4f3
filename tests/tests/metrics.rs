//! `import --metrics`: what Prometheus is told of an import while it runs, and that nobody who asks is in its way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::unfold;
use longshore_tests::cgroup::with_quota;
use longshore_tests::program::{import, longshore};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, noise, run};
use longshore_tests::script::{Answer, Handler, Script, streamed};
use longshore_tests::serving::{Serving, Speaking, WITHIN};
use longshore_tests::tls::Authority;
use tokio::sync::watch;

/// Bytes that the source gives before it is let go on, and behind.
const PARTS: [usize; 2] = [3 << 20, 2 << 20];

/// A source that stops halfway until the sender says true.
fn halting(authority: &Authority) -> (Script, watch::Sender<bool>) {
    let (go, gate) = watch::channel(false);
    let disk = Bytes::from(noise(PARTS[0] + PARTS[1]));
    let handler: Handler = Arc::new(move |_| {
        let parts = vec![disk.slice(..PARTS[0]), disk.slice(PARTS[0]..)];
        let state = (parts.into_iter().enumerate(), gate.clone());
        let stream = unfold(state, |(mut parts, mut gate)| async move {
            let (at, part) = parts.next()?;
            if at > 0 {
                gate.wait_for(|go| *go).await.ok()?;
            }
            Some((Ok::<_, std::io::Error>(part), (parts, gate)))
        });
        let length = (PARTS[0] + PARTS[1]) as u64;
        Box::pin(async move { streamed(Some(length), stream) }) as Answer
    });
    (Script::start(Some(authority.server_config()), handler), go)
}

fn ask(at: SocketAddr, head: &str) -> longshore_tests::serving::Answer {
    let stream = TcpStream::connect(at).expect("a connection");
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    Speaking::over(stream).ask(head, b"")
}

fn metrics(at: SocketAddr) -> String {
    let answer = ask(at, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").is(200);
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text()
}

/// The value of a line; none if it is not there.
fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Asks until `there`, and gives what was there.
fn until(at: SocketAddr, there: impl Fn(&str) -> bool) -> String {
    let began = std::time::Instant::now();
    loop {
        let text = metrics(at);
        if there(&text) {
            return text;
        }
        assert!(began.elapsed() < WITHIN, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn an_import_tells_how_far_it_is_and_by_what_cipher() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let registry = Registry::start(&scratch, "registry", Setup { tls: Some(&authority), ..Setup::default() });
    let (source, go) = halting(&authority);
    let (url, reference, ca) = (source.url("disk.raw"), registry.reference("vm:1"), authority.ca());
    let importing = Serving::spawn(longshore([
        "import",
        &url,
        &reference,
        "--ca",
        &ca,
        "--metrics",
        "127.0.0.1:0",
        "--progress",
        "plain",
    ]));
    let at = importing.listens("metrics at ");
    let half = PARTS[0] as f64;
    let text = until(at, |text| value(text, "longshore_received_bytes_total") >= Some(half));
    for (name, expected) in [
        ("longshore_received_bytes_total", half),
        ("longshore_attempts_total", 1.0),
        ("longshore_resumes_total", 0.0),
        ("longshore_restarts_total", 0.0),
        ("longshore_sent_twice_bytes_total", 0.0),
        ("longshore_import_phase{phase=\"transferring\"}", 1.0),
        ("longshore_import_phase{phase=\"committing\"}", 0.0),
    ] {
        assert_eq!(value(&text, name), Some(expected), "{name} in\n{text}");
    }
    assert!(value(&text, "longshore_import_layer_bytes") > Some((PARTS[0] + PARTS[1]) as f64), "{text}");
    for side in ["source", "registry"] {
        let session = text.lines().find(|line| line.starts_with(&format!("longshore_sessions_total{{side=\"{side}\"")));
        let session = session.unwrap_or_else(|| panic!("{side}: {text}"));
        assert!(
            session.contains("version=\"TLSv1.3\",cipher_suite=\"TLS_AES_") && !session.contains("none"),
            "{session}"
        );
    }
    for stage in ["source", "probe", "framing", "upload"] {
        let busy = value(&text, &format!("longshore_stage_seconds_total{{stage=\"{stage}\",spent=\"busy\"}}"));
        assert!(busy.is_some(), "{stage}: {text}");
    }
    assert!(value(&text, "process_cpu_seconds_total") > Some(0.0));
    // Neither whence nor whither, whoever asks.
    assert!(!text.contains("disk.raw") && !text.contains("vm") && !text.contains(&source.host()), "{text}");

    // Who says nothing, half of it, or takes no answer is not waited for.
    let mut idle: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(at).unwrap()).collect();
    idle.iter_mut().skip(5).for_each(|stream| stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n").unwrap());
    idle.iter_mut().skip(10).for_each(|stream| stream.write_all(b"\r\n").unwrap());
    for (head, status) in [
        ("POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 404),
        ("GET /upload HTTP/1.1\r\nHost: h\r\n\r\n", 404),
        ("HEAD /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 200),
    ] {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(line, *format!("HTTP/1.1 {status}").as_bytes(), "{head}");
    }
    go.send_replace(true);
    let ran = importing.ended().done();
    assert!(ran.stderr.contains("imported disk.raw"), "{}", ran.stderr);
    assert!(TcpStream::connect(at).is_err(), "it ends with the import");
    drop(idle);
    assert!(registry.has_tag("vm", "1"));
}

#[test]
fn its_listener_speaks_tls_within_the_policy() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let (source, go) = halting(&authority);
    let good = authority.good();
    let policy =
        format!("schema = \"longshore.policy/v1\"\n[tls]\nca = [\"{}\"]\nversions = [\"TLSv1.3\"]\n", authority.ca());
    std::fs::write(scratch.path("policy.toml"), policy).unwrap();
    let (url, layout) = (source.url("disk.raw"), format!("oci:{}", scratch.text("layout")));
    let policy = scratch.text("policy.toml");
    let shared = ["import", &url, &layout, "--policy", &policy, "--metrics", "127.0.0.1:0", "--progress", "plain"];
    let text = |path: &Path| path.display().to_string();
    let (certificate, key) = (text(&good.certificate), text(&good.key));
    let with = [&shared[..], &["--metrics-cert", &certificate, "--metrics-key", &key]].concat();
    let importing = Serving::spawn(longshore(with));
    let at = importing.listens("metrics at https://");
    let curl = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert", &authority.ca()]).args(more);
        curl.arg(format!("https://{at}/metrics"));
        curl
    };
    assert!(run(&mut curl(&["--tlsv1.3"])).contains("longshore_import_phase"));
    assert!(!curl(&["--tls-max", "1.2"]).output().unwrap().status.success(), "the policy has TLS 1.3 alone");
    go.send_replace(true);
    importing.ended().done();

    // A document does not let anything be said unprotected that it does not know of.
    import(&shared[1..]).failed(13, "flag-denied", &["`--metrics` tells of the import unprotected", "policy.toml"]);
    import([&shared[1..], &["--check"]].concat()).failed(2, "usage", &["--check"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    import(["/dev/null", &layout, "--metrics", &taken]).failed(20, "local-file", &[&taken, "cannot be listened at"]);
}

#[test]
fn a_quota_is_told_with_what_it_did() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let (source, go) = halting(&authority);
    let (url, layout, ca) = (source.url("disk.raw"), format!("oci:{}", scratch.text("layout")), authority.ca());
    let arguments = ["import", &url, &layout, "--ca", &ca, "--metrics", "127.0.0.1:0", "--progress", "plain"];
    let importing = Serving::spawn(with_quota(&longshore(arguments), 200));
    let at = importing.listens("metrics at ");
    let text = until(at, |text| value(text, "longshore_throttled_seconds_total") > Some(0.0));
    assert_eq!(value(&text, "longshore_quota_cpus"), Some(0.2), "{text}");
    assert!(value(&text, "longshore_throttled_periods_total") >= Some(1.0), "{text}");
    go.send_replace(true);
    importing.ended().done();
}

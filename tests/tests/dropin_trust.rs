//! Whom `dvcr-importer` trusts and what it is held to: each side by its own certificates, an operator's policy in the place of
//! the built-in one; and the message that every failure leaves.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use longshore_tests::http_proxy::{HttpProxy, Manner};
use longshore_tests::namespace::{Files, inside};
use longshore_tests::pod::{Pod, importing};
use longshore_tests::program::{finish, longshore};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, noise};
use longshore_tests::script::{Answer, Handler, Script, broken, empty, full};
use longshore_tests::serving::{Serving, WITHIN};
use longshore_tests::tls::Authority;

fn alone(test: &str, scratch: &Scratch) -> bool {
    inside(test, scratch, &[], Files { hosts: "127.0.0.1 localhost images.example\n", resolver: "" })
}

#[test]
fn every_failure_leaves_a_message() {
    let scratch = Scratch::new();
    if !alone("every_failure_leaves_a_message", &scratch) {
        return;
    }
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let answers: Handler = Arc::new(|request| {
        let answer = match request.uri().path() {
            "/missing" => empty(404),
            "/broken" => broken(),
            _ => empty(401),
        };
        Box::pin(async move { answer })
    });
    let source = Script::start(None, answers);
    let pod = importing(&scratch, &registry, &source.url("missing"));
    pod.run().failed(10, "source-not-found", &["404"]);
    assert!(pod.error().contains("404"));
    let began = Instant::now();
    let pod = pod.with(&[("IMPORTER_ENDPOINT", "http://127.0.0.1:1/disk.raw")]);
    pod.run().failed(10, "source-unreachable", &["127.0.0.1:1"]);
    assert!(began.elapsed() < WITHIN, "what was never there is told at once");
    for (name, value, code, exit) in [
        ("IMPORTER_ENDPOINT", source.url("denied"), "source-denied", 16),
        ("IMPORTER_SOURCE", "s3".to_owned(), "usage", 2),
        ("IMPORTER_DESTINATION_ENDPOINT", String::new(), "usage", 2),
        ("IMPORTER_CHECKSUMS", "sha256:abc".to_owned(), "usage", 2),
        ("DESTINATION_INSECURE_TLS", "perhaps".to_owned(), "usage", 2),
        ("IMPORTER_CERT_DIR", "/proxycerts".to_owned(), "local-file", 20),
        ("IMPORTER_DESTINATION_AUTH_CONFIG", "/nonexistent".to_owned(), "credentials-unreadable", 16),
        ("LONGSHORE_POLICY", "/nonexistent".to_owned(), "policy-invalid", 13),
    ] {
        let pod = importing(&scratch, &registry, &source.url("missing")).with(&[(name, value)]);
        pod.run().failed(exit, code, &[]);
        assert!(!pod.error().is_empty(), "{name}");
    }
    let pod = importing(&scratch, &registry, "");
    pod.forget();
    finish(&mut pod.command(&["--frobnicate"]), b"").failed(2, "usage", &["--frobnicate"]);
    assert!(pod.error().contains("--frobnicate"));
    registry.assert_empty();
}

#[test]
fn each_side_has_its_own_trust_and_an_operators_policy_holds() {
    let scratch = Scratch::new();
    if !alone("each_side_has_its_own_trust_and_an_operators_policy_holds", &scratch) {
        return;
    }
    let (theirs, ours) = (Authority::named(&scratch, "theirs"), Authority::named(&scratch, "ours"));
    let disk = Bytes::from(noise(100_000));
    let served = disk.clone();
    let source = Script::start(
        Some(theirs.server_config()),
        Arc::new(move |_| {
            let served = served.clone();
            Box::pin(async move { full(200, served) }) as Answer
        }),
    );
    let registry = Registry::start(&scratch, "registry", Setup { tls: Some(&ours), ..Setup::default() });
    let pod = importing(&scratch, &registry, &source.url("disk.raw"));
    for (file, authority) in [("certs/ca.pem", &theirs), ("destination-ca.pem", &ours)] {
        fs::copy(&authority.ca, pod.file(file)).unwrap();
    }
    let pod = pod.with(&[("DESTINATION_INSECURE_TLS", "false"), ("IMPORTER_CERT_DIR", "/certs")]);
    // Who may say whom a source is trusted by cannot pose as the destination.
    fs::copy(&ours.ca, pod.file("certs/ours.pem")).unwrap();
    pod.run().failed(15, "tls-certificate", &[&registry.host()]);
    let pod = pod.with(&[("IMPORTER_DESTINATION_CA_BUNDLE", "/destination-ca.pem")]);
    pod.run().done();
    // Nor the other way round.
    let swapped = pod.with(&[("IMPORTER_CERT_DIR", "/destination-ca.pem")]);
    swapped.run().failed(15, "tls-certificate", &[&source.host()]);
    let pod = swapped.with(&[
        ("IMPORTER_CERT_DIR", "/certs"),
        ("IMPORTER_DESTINATION_CA_BUNDLE", ""),
        ("DESTINATION_INSECURE_TLS", "1"),
    ]);
    let ran = pod.run().done();
    assert!(ran.stderr.contains("NOT verified") && ran.stderr.contains("DESTINATION_INSECURE_TLS"), "{}", ran.stderr);

    // What the environment adds, a document must allow.
    let file = pod.file("policy.toml");
    let policy = |rest: &str| fs::write(&file, format!("schema = \"longshore.policy/v1\"\n{rest}")).unwrap();
    policy("[flags]\nallow = [\"--ca\"]\n");
    let pod = pod.with(&[("LONGSHORE_POLICY", "/policy.toml")]);
    pod.run().failed(13, "flag-denied", &["DESTINATION_INSECURE_TLS", "/policy.toml"]);
    assert!(pod.error().contains("DESTINATION_INSECURE_TLS"), "{}", pod.error());
    let host = registry.host();
    let skips = format!("[[tls.host]]\nmatch = \"{host}\"\ninsecure-skip-verification = true\n");
    policy(&format!("[flags]\nallow = [\"--ca\"]\n{skips}"));
    pod.run().done();
    let pod = pod.with(&[("IMPORTER_ENDPOINT", "http://127.0.0.1:1/disk.raw")]);
    pod.run().failed(13, "flag-denied", &["IMPORTER_ENDPOINT 127.0.0.1:1"]);
    policy(&skips);
    let pod = pod.with(&[("IMPORTER_ENDPOINT", &source.url("disk.raw"))]);
    pod.run().failed(13, "flag-denied", &["IMPORTER_CERT_DIR"]);
}

#[test]
fn what_is_said_of_one_side_changes_nothing_on_the_other() {
    let scratch = Scratch::new();
    if !alone("what_is_said_of_one_side_changes_nothing_on_the_other", &scratch) {
        return;
    }
    // A registry is a source too: its own answer is the disk, at the same host and port.
    let plain = Registry::start(&scratch, "plain", Setup::default());
    let pod = importing(&scratch, &plain, &format!("http://{}/v2/", plain.host()));
    let pod = pod.with(&[("DESTINATION_INSECURE_TLS", "false")]);
    pod.run().failed(15, "tls-handshake", &[&plain.host()]);
    plain.assert_empty();
    let pod = pod.with(&[("DESTINATION_INSECURE_TLS", "true")]);
    pod.run().done();

    let ours = Authority::named(&scratch, "ours");
    let registry = Registry::start(&scratch, "registry", Setup { tls: Some(&ours), ..Setup::default() });
    let to = |tag: &str| format!("{}/vm:{tag}", registry.host());
    let pod = pod.with(&[("IMPORTER_DESTINATION_ENDPOINT", &to("1"))]);
    pod.run().done();
    for kind in ["registry", "dvcr"] {
        let pod = importing(&scratch, &registry, &to("1")).with(&[
            ("IMPORTER_SOURCE", kind),
            ("IMPORTER_DESTINATION_ENDPOINT", &to(kind)),
            ("INSECURE_TLS", "true"),
            ("DESTINATION_INSECURE_TLS", "false"),
        ]);
        pod.run().failed(15, "tls-certificate", &[&registry.host()]);
        assert!(!registry.has_tag("vm", kind));
        // An image of the platform's own registry is asked for as that registry is.
        let pod = pod.with(&[("INSECURE_TLS", "false"), ("DESTINATION_INSECURE_TLS", "true")]);
        if kind == "dvcr" {
            pod.run().done();
        } else {
            pod.run().failed(15, "tls-certificate", &[&registry.host()]);
            pod.with(&[("INSECURE_TLS", "true")]).run().done();
        }
        assert!(registry.has_tag("vm", kind));
    }
}

#[test]
fn only_a_registry_is_believed_to_have_no_tls() {
    let scratch = Scratch::new();
    if !alone("only_a_registry_is_believed_to_have_no_tls", &scratch) {
        return;
    }
    let disk = Bytes::from(noise(100_000));
    let source = Script::start(
        None,
        Arc::new(move |_| {
            let served = disk.clone();
            Box::pin(async move { full(200, served) }) as Answer
        }),
    );
    // What a server of TLS says to whoever comes without, and what any other server says.
    for status in [400, 404, 302] {
        let other = Script::start(None, Arc::new(move |_| Box::pin(async move { empty(status) }) as Answer));
        let pod = Pod::new(&scratch, &format!("pod-{status}"), "dvcr-importer").with(&[
            ("IMPORTER_SOURCE", "http"),
            ("IMPORTER_ENDPOINT", &source.url("disk.raw")),
            ("IMPORTER_DESTINATION_ENDPOINT", &format!("{}/vm:1", other.host())),
            ("DESTINATION_INSECURE_TLS", "true"),
        ]);
        pod.run().failed(15, "tls-handshake", &[&other.host()]);
    }
}

#[test]
fn who_is_asked_whether_there_is_tls_keeps_nobody_from_ending_it() {
    let scratch = Scratch::new();
    if !alone("who_is_asked_whether_there_is_tls_keeps_nobody_from_ending_it", &scratch) {
        return;
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap();
    let pod = Pod::new(&scratch, "pod", "dvcr-importer").with(&[
        ("IMPORTER_SOURCE", "blockDevice"),
        ("IMPORTER_DESTINATION_ENDPOINT", &format!("{host}/vm:1")),
        ("DESTINATION_INSECURE_TLS", "true"),
    ]);
    pod.forget();
    let pending = Serving::spawn(pod.command(&[]));
    let _asked = silent.accept().unwrap();
    pending.signal("TERM");
    pending.ended().failed(143, "terminated", &[]);
    assert!(pod.error().contains("before it began"), "{}", pod.error());
}

#[test]
fn a_port_that_is_taken_ends_no_import() {
    let scratch = Scratch::new();
    if !alone("a_port_that_is_taken_ends_no_import", &scratch) {
        return;
    }
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let disk = Bytes::from(noise(100_000));
    let source = Script::start(
        None,
        Arc::new(move |_| {
            let served = disk.clone();
            Box::pin(async move { full(200, served) }) as Answer
        }),
    );
    let _taken = TcpListener::bind("0.0.0.0:8443").unwrap();
    let ran = importing(&scratch, &registry, &source.url("disk.raw")).run().done();
    assert!(ran.stderr.contains("there are no metrics") && ran.stderr.contains("8443"), "{}", ran.stderr);
}

#[test]
fn proxies_of_the_environment_are_used_and_trusted_by_their_folder() {
    let scratch = Scratch::new();
    if !alone("proxies_of_the_environment_are_used_and_trusted_by_their_folder", &scratch) {
        return;
    }
    let (theirs, proxys) = (Authority::named(&scratch, "theirs"), Authority::named(&scratch, "proxys"));
    let disk = Bytes::from(noise(100_000));
    let source = Script::start(
        Some(theirs.server_config()),
        Arc::new(move |_| {
            let served = disk.clone();
            Box::pin(async move { full(200, served) }) as Answer
        }),
    );
    let routes = vec![("images.example:443", source.port)];
    let proxy = HttpProxy::start(Some(proxys.server_config()), Manner { routes, ..Manner::default() });
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let pod = importing(&scratch, &registry, "https://images.example/disk.raw");
    fs::copy(&theirs.ca, pod.file("certs/ca.pem")).unwrap();
    let pod = pod.with(&[("IMPORTER_CERT_DIR", "/certs"), ("HTTPS_PROXY", &proxy.variable("")), ("http_proxy", "")]);
    pod.run().failed(15, "tls-certificate", &["the proxy"]);
    fs::copy(&proxys.ca, pod.file("proxycerts/ca.pem")).unwrap();
    pod.run().done();
    assert!(proxy.heads().iter().all(|head| head.starts_with("CONNECT images.example:443 ")), "{:?}", proxy.heads());
    let pod = pod.with(&[("https_proxy", "http://127.0.0.1:1")]);
    pod.run().failed(10, "source-unreachable", &["127.0.0.1:1"]);
    let pod = pod.with(&[("no_proxy", "images.example")]);
    let count = proxy.heads().len();
    pod.run().failed(10, "source-unreachable", &["images.example"]);
    assert_eq!(proxy.heads().len(), count);
}

#[test]
fn the_policy_that_they_imply_is_printed() {
    let scratch = Scratch::new();
    let show = |arguments: &[&str]| finish(&mut longshore([&["policy", "show"], arguments].concat()), b"");
    let shown = show(&["--builtin", "dvcr"]).done().stdout;
    for line in ["total = \"17m\"  # dvcr:", "source-stall = \"10m\"  # dvcr:", "proxy = \"environment\"  # dvcr:"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    fs::write(scratch.path("shown.toml"), shown).unwrap();
    finish(&mut longshore(["policy", "check", &scratch.text("shown.toml")]), b"").done();
    assert_eq!(show(&["--builtin", "default"]).done().stdout, show(&[]).done().stdout);
    show(&["--builtin", "dvcr", "--policy", "x"]).failed(2, "usage", &["--policy"]);
    show(&["--builtin", "other"]).failed(2, "usage", &["dvcr"]);
}

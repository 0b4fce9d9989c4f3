//! Who may upload with `longshore serve`, over which TLS, and what hostile clients get: nothing.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use longshore_tests::layers::assert_layout_empty;
use longshore_tests::scratch::{Scratch, noise};
use longshore_tests::serving::{Serving, chunked, head};
use longshore_tests::tls::{Authority, Pair};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite as suites, default_provider};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const TOKEN: &str = "a-token-of-more-than-16-letters";

/// A service of a layout in the scratch folder.
fn serving(scratch: &Scratch, more: &[&str]) -> Serving {
    let destination = format!("oci:{}:1", scratch.text("layout"));
    Serving::start([&[destination.as_str()][..], more].concat())
}

fn plain(scratch: &Scratch, more: &[&str]) -> Serving {
    serving(scratch, &[&["--without-tls", "--anonymous"][..], more].concat())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A client of the authority's servers, perhaps with a certificate of its own.
fn client(
    authority: &Authority,
    own: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
    narrow: impl Fn(&mut CryptoProvider),
) -> Arc<ClientConfig> {
    let mut provider = default_provider();
    narrow(&mut provider);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider));
    let config = config.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    Arc::new(match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let certificate = CertificateDer::from_pem_file(&own.certificate).unwrap();
            let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    })
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// Whether a client like that gets an answer.
fn is_served(serving: &Serving, config: &Arc<ClientConfig>) -> bool {
    let Ok(mut speaking) = serving.connect_tls(config) else { return false };
    let said = speaking.stream.write_all(head("GET", "/healthz", &[]).as_bytes());
    said.and_then(|()| speaking.stream.flush()).is_ok()
        && speaking.try_answer().is_some_and(|answer| answer.status == 200)
}

#[test]
fn whoever_waits_for_nothing_keeps_nobody_out() {
    let scratch = Scratch::new();
    let text =
        "schema = \"longshore.policy/v1\"\n[flags]\nallow = [\"--without-tls\"]\n[limits]\nclient-head = \"10m\"\n";
    std::fs::write(scratch.path("policy.toml"), text).unwrap();
    let serving = plain(&scratch, &["--policy", &scratch.text("policy.toml")]);
    let disk = noise(100_000);
    // One that is being answered, and more than are let in that say nothing, or not enough.
    let mut upload = serving.connect();
    upload.say(head("PUT", "/upload", &[("Content-Length", "100000")]).as_bytes());
    upload.say(&disk[..50_000]);
    serving.wait_for("begun by");
    let mut idle = Vec::new();
    for number in 0..300 {
        let mut one = serving.connect();
        if number % 2 == 1 {
            // Those that were parted with may not even take that.
            let _ = one.stream.write_all(b"GET /healthz HTTP/1.1\r\n");
        }
        idle.push(one);
    }
    serving.ask(&head("GET", "/healthz", &[]), b"").is(200);
    upload.say(&disk[50_000..]);
    upload.answer().is(201);
    // The first have gone, the last are still there.
    assert!(idle[0].is_closed(), "the one that has waited longest");
    let last = idle.last_mut().unwrap();
    last.say(b"Host: uploads.example\r\n\r\n");
    last.answer().is(200);
}

#[test]
fn the_token_is_wanted_for_uploads_and_not_for_health() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("token"), format!("{TOKEN}\n")).unwrap();
    let serving = serving(&scratch, &["--without-tls", "--token-file", &scratch.text("token")]);
    let disk = noise(10_000);
    let ask = |method: &str, path: &str, fields: &[(&str, &str)]| {
        let fields = [&[("Content-Length", "10000"), ("Tus-Resumable", "1.0.0")][..], fields].concat();
        serving.ask(&head(method, path, &fields), &disk)
    };
    for (method, path) in [
        ("PUT", "/upload"),
        ("POST", "/upload"),
        ("GET", "/upload"),
        ("GET", "/metrics"),
        ("HEAD", "/upload/00112233445566778899aabbccddeeff"),
        ("PATCH", "/upload/00112233445566778899aabbccddeeff"),
        ("DELETE", "/upload/x"),
    ] {
        let none = ask(method, path, &[]);
        assert_eq!(none.status, 401, "{method} {path}");
        assert_eq!(none.field("www-authenticate"), Some("Bearer realm=\"longshore\""));
        if method != "HEAD" {
            none.refused(401, "token-missing");
            ask(method, path, &[("Authorization", "Bearer a-token-of-more-than-16-lette")]).refused(401, "token-wrong");
        }
    }
    let good = format!("Bearer {TOKEN}");
    let from_elsewhere = [("Authorization", good.as_str()), ("Origin", "https://evil.example")];
    ask("PUT", "/upload", &from_elsewhere).refused(403, "origin-denied");
    assert!(!scratch.path("layout").join("index.json").exists(), "nothing was imported");
    serving.ask(&head("GET", "/healthz", &[]), b"").is(200);
    ask("PUT", "/upload", &[("Authorization", &good)]).is(201);
    let ran = serving.stop().done();
    assert!(!ran.stderr.contains(TOKEN), "{}", ran.stderr);
}

#[test]
fn only_what_the_policy_offers_is_spoken() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let tls = ["--tls-cert", text(&authority.certificate), "--tls-key", text(&authority.key), "--anonymous"];
    let default = serving(&scratch, &tls);
    for version in BOTH {
        assert!(is_served(&default, &client(&authority, None, &[version], |_| {})), "{version:?}");
    }
    let chacha = |provider: &mut CryptoProvider| {
        provider.cipher_suites = vec![
            suites::TLS13_CHACHA20_POLY1305_SHA256,
            suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
    };
    assert!(!is_served(&default, &client(&authority, None, &BOTH, chacha)), "ChaCha20 is not in the policy");
    // What is older than TLS 1.2 only OpenSSL still speaks, and only where it is told to.
    let old = Command::new("openssl")
        .args(["s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", &default.address.to_string()])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl; run `./setup test`");
    let said = String::from_utf8_lossy(&old.stderr).into_owned() + &String::from_utf8_lossy(&old.stdout);
    assert!(said.contains("SSL alert number") && said.contains("Cipher is (NONE)"), "{said}");
    // Without TLS, nothing but an alert or an end.
    let mut unprotected = default.connect();
    unprotected.say(head("GET", "/healthz", &[]).as_bytes());
    assert!(unprotected.try_answer().is_none());
    // With HTTP/2 alone, nothing.
    let mut two = (*client(&authority, None, &BOTH, |_| {})).clone();
    two.alpn_protocols = vec![b"h2".to_vec()];
    assert!(!is_served(&default, &Arc::new(two)));
    drop(default);

    std::fs::write(
        scratch.path("policy.toml"),
        "schema = \"longshore.policy/v1\"\n[tls]\nprofile = \"aes-gcm-tls12\"\n",
    )
    .unwrap();
    let policy = scratch.text("policy.toml");
    let narrow = serving(&scratch, &[&tls[..], &["--policy", &policy]].concat());
    assert!(is_served(&narrow, &client(&authority, None, &[&version::TLS12], |_| {})));
    assert!(!is_served(&narrow, &client(&authority, None, &[&version::TLS13], |_| {})));
}

#[test]
fn clients_present_the_certificate_that_is_demanded() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let other = Authority::named(&scratch, "other");
    let serve = |more: &[&str]| {
        let tls = [
            "--tls-cert",
            text(&authority.certificate),
            "--tls-key",
            text(&authority.key),
            "--client-ca",
            text(&authority.ca),
        ];
        serving(&scratch, &[&tls[..], more].concat())
    };
    let (good, wrong, foreign) = (authority.client("uploader"), authority.client("somebody"), other.client("uploader"));
    let alternative = authority.client_called("somebody else", "uploader");
    let expired = authority.expired_client("uploader");
    let server = Pair { certificate: authority.certificate.clone(), key: authority.key.clone() };
    let with = |pair: Option<&Pair>| client(&authority, pair, &BOTH, |_| {});
    let with_12 = |pair: Option<&Pair>| client(&authority, pair, &[&version::TLS12], |_| {});

    let named = serve(&["--client-name", "uploader", "-v"]);
    assert!(is_served(&named, &with(Some(&good))) && is_served(&named, &with_12(Some(&good))), "by its common name");
    assert!(is_served(&named, &with(Some(&alternative))), "by its DNS name");
    for (what, pair) in [
        ("no certificate", None),
        ("another name", Some(&wrong)),
        ("another CA", Some(&foreign)),
        ("expired", Some(&expired)),
        ("a server's certificate", Some(&server)),
    ] {
        assert!(!is_served(&named, &with(pair)), "{what}");
        assert!(!is_served(&named, &with_12(pair)), "{what}, TLS 1.2");
    }
    let ran = named.stop().done();
    for why in ["presented no certificate", "none of the names that are wanted"] {
        assert!(ran.stderr.contains(why), "{why}: {}", ran.stderr);
    }
    let any = serve(&[]);
    assert!(is_served(&any, &with(Some(&wrong))) && !is_served(&any, &with(None)));
    let disk = noise(70_000);
    let config = with(Some(&wrong));
    let mut speaking = any.connect_tls(&config).unwrap();
    speaking.ask(&head("PUT", "/upload", &[("Content-Length", "70000")]), &disk).is(201);
    // Nothing is resumed: the certificate is looked at every time.
    let again = any.connect_tls(&config).unwrap();
    drop(again);
}

#[test]
fn requests_that_could_be_two_are_none() {
    let scratch = Scratch::new();
    let serving = plain(&scratch, &[]);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for (what, fields) in [
        ("two lengths", "Content-Length: 4\r\nContent-Length: 40\r\n"),
        ("a list of lengths", "Content-Length: 4, 40\r\n"),
        ("a signed length", "Content-Length: +4\r\n"),
        ("a length that is none", "Content-Length: 0x4\r\n"),
        ("an unknown coding", "Transfer-Encoding: gzip\r\n"),
        ("chunked is not the last coding", "Transfer-Encoding: chunked, gzip\r\n"),
        ("a hidden coding", "Transfer-Encoding : chunked\r\n"),
        ("a folded field", "X: a\r\n b\r\nContent-Length: 4\r\n"),
        ("a NUL", "X: a\0b\r\nContent-Length: 4\r\n"),
    ] {
        let mut client = serving.connect();
        client.say(format!("PUT /upload HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
        let _ = client.stream.write_all(format!("0\r\n\r\n{smuggled}").as_bytes());
        let answer = client.answer();
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert!(client.is_closed(), "{what}: nothing behind it is a request");
    }
    // Both: the chunks count, and what follows is no request of this connection.
    let mut client = serving.connect();
    client.say(b"PUT /upload?size=4 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n");
    let _ = client.stream.write_all(format!("0\r\n\r\n{smuggled}").as_bytes());
    client.answer().refused(400, "source-truncated");
    assert!(client.is_closed());
    // A body that is longer than its length begins another request, which is none.
    let mut client = serving.connect();
    client.say(b"PUT /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcdefgh");
    client.answer().refused(404, "not-found");
    if let Some(second) = client.try_answer() {
        assert_eq!(second.status, 400);
    }
    // Chunks that lie.
    for body in ["zz\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", "-1\r\n"] {
        let mut client = serving.connect();
        client.say(b"PUT /upload?size=3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        let _ = client.stream.write_all(body.as_bytes());
        let answer = client.try_answer();
        assert!(answer.is_none_or(|answer| answer.status == 400), "{body}");
    }
    let ran = serving.stop().done();
    assert_eq!(ran.stdout, "", "no image came of any of them");
}

#[test]
fn heads_are_bounded_in_length_number_and_time() {
    let scratch = Scratch::new();
    std::fs::write(
        scratch.path("policy.toml"),
        "schema = \"longshore.policy/v1\"\n[limits]\nclient-head = \"1s\"\n[flags]\nallow = [\"--without-tls\"]\n",
    )
    .unwrap();
    let serving = plain(&scratch, &["--policy", &scratch.text("policy.toml")]);
    let long = format!("GET /healthz HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(200_000));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: a\r\n".repeat(65));
    let path = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(200_000));
    for (what, request) in [("a long field", long), ("many fields", many), ("a long path", path)] {
        let mut client = serving.connect();
        let _ = client.stream.write_all(request.as_bytes());
        let answer = client.try_answer();
        assert!(answer.as_ref().is_none_or(|answer| matches!(answer.status, 414 | 431)), "{what}: {answer:?}");
        assert!(client.is_closed(), "{what}");
    }
    // A head that never ends, and a connection that asks nothing; also behind an answer.
    let (mut slow, mut silent, mut idle) = (serving.connect(), serving.connect(), serving.connect());
    slow.say(b"GET /healthz HTTP/1.1\r\nHos");
    idle.ask(&head("GET", "/healthz", &[]), b"").is(200);
    for (what, client) in [("slow", &mut slow), ("silent", &mut silent), ("idle", &mut idle)] {
        let answer = client.try_answer();
        assert!(answer.is_none_or(|answer| answer.status == 408), "{what}");
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest);
    }
    serving.ask(&head("GET", "/healthz", &[]), b"").is(200);
}

#[test]
fn paths_lead_nowhere_else() {
    let scratch = Scratch::new();
    let serving = plain(&scratch, &[]);
    for path in [
        "/upload/../../etc/passwd",
        "/upload/%2e%2e%2fetc%2fpasswd",
        "//upload",
        "/upload/",
        "/upload/.",
        "/uploads",
        "/UPLOAD",
        "/%75pload",
        "/metrics/",
        "/upload/00112233445566778899aabbccddeeff",
        "/upload/00112233445566778899aabbccddeeff/x",
        "/favicon.ico",
    ] {
        serving.ask(&head("GET", path, &[]), b"").refused(404, "not-found");
    }
    for (method, path) in [("DELETE", "/upload"), ("TRACE", "/upload"), ("CONNECT", "/upload"), ("POST", "/healthz")] {
        let answer = serving.ask(&head(method, path, &[]), b"");
        assert!(matches!(answer.status, 400 | 405), "{method} {path}: {answer:?}");
    }
    // A name is one of a file, whatever a client sends.
    let disk = noise(5000);
    let length = disk.len().to_string();
    let put = |name: &str| {
        let answer = serving.ask(&head("PUT", &format!("/upload?name={name}"), &[("Content-Length", &length)]), &disk);
        answer.is(201).json()["disk"]["name"].as_str().unwrap().to_owned()
    };
    for (sent, is) in [
        ("..%2F..%2Fetc%2Fpasswd", ".._.._etc_passwd"),
        ("..", "disk.img"),
        ("", "disk.img"),
        (".wh.disk", "_wh.disk"),
        ("a%0Ab%00c", "a_b_c"),
    ] {
        assert_eq!(put(sent), is);
    }
}

#[test]
fn who_sends_too_slowly_does_not_hold_the_place() {
    let scratch = Scratch::new();
    let limits = |text: &str| {
        let text =
            format!("schema = \"longshore.policy/v1\"\n[limits]\n{text}\n[flags]\nallow = [\"--without-tls\"]\n");
        std::fs::write(scratch.path("policy.toml"), text).unwrap();
        scratch.text("policy.toml")
    };
    // Nothing at all for a second.
    let stalls = plain(&scratch, &["--policy", &limits("client-stall = \"1s\"")]);
    let mut client = stalls.connect();
    client.say(head("PUT", "/upload", &[("Content-Length", "1000000")]).as_bytes());
    client.say(&noise(1000));
    let answer = client.answer().refused(408, "source-stalled");
    assert!(answer.text().contains("nothing for 1 s, behind 1000 bytes"), "{}", answer.text());
    assert_layout_empty(&scratch.path("layout"));
    drop(stalls);
    // Something all the time, but never enough of it.
    let slow = plain(&scratch, &["--policy", &limits("client-stall = \"1s\"\nclient-rate = \"1GiB\"")]);
    let mut client = slow.connect();
    client.say(head("PUT", "/upload", &[("Transfer-Encoding", "chunked")]).as_bytes());
    client.answer().refused(411, "length-required");
    let mut client = slow.connect();
    client.say(head("PUT", "/upload", &[("Content-Length", "1000000000")]).as_bytes());
    // Every byte comes in time; only all of them together come too slowly. The writer ends with the answer.
    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for _ in 0..10_000 {
            if writer.write_all(b"x").is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
    let answer = client.answer().refused(408, "source-stalled");
    assert!(answer.text().contains("expected at least 1073741824"), "{}", answer.text());
    drop(client);
    writing.join().unwrap();
    assert_layout_empty(&scratch.path("layout"));
    // Its place is free.
    slow.ask(&head("PUT", "/upload", &[("Content-Length", "5")]), b"12345").is(201);
}

#[test]
fn an_answer_is_read_while_the_body_is_still_sent() {
    let scratch = Scratch::new();
    let serving = plain(&scratch, &["--max-size", "1KiB"]);
    // Far more than any socket's buffer holds: whoever reads the answer only behind it still gets it.
    let body = noise(20 << 20);
    let fields = [("Content-Length", "20971520")];
    serving.ask(&head("PUT", "/upload", &fields), &body).refused(413, "source-too-large");
    let chunks = chunked(&body, 65_536);
    serving
        .ask(&head("PUT", "/upload?size=20971520", &[("Transfer-Encoding", "chunked")]), &chunks)
        .refused(413, "source-too-large");
}

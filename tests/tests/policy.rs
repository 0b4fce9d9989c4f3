//! The policy holds: for TLS, for client certificates, for where connections go, against flags, and against itself.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use longshore_tests::nginx::Nginx;
use longshore_tests::peer::Peer;
use longshore_tests::program::{Ran, finish, import, longshore};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, raw, run};
use longshore_tests::script::{Handler, Script, empty};
use longshore_tests::tls::{Authority, Flaw, Pair};

const DISK: usize = 300_000;

/// A disk behind nginx, a CA, and room for policies.
struct Stage {
    scratch: Scratch,
    authority: Authority,
    nginx: Nginx,
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let nginx = Nginx::start(&scratch, &authority);
        raw(&scratch.folder("www").join("disk.raw"), DISK);
        Self { scratch, authority, nginx }
    }

    fn disk(&self) -> String {
        self.scratch.path("www").join("disk.raw").display().to_string()
    }

    fn layout(&self) -> String {
        format!("oci:{}", self.scratch.text("layout"))
    }

    /// A policy document that trusts the CA, with more in `[tls]` and then whatever follows.
    fn policy(&self, more: &str) -> String {
        let path = self.scratch.path("policy.toml");
        fs::write(&path, format!("schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]\n{more}\n")).unwrap();
        path.display().to_string()
    }

    /// Imports the URL into a layout under a policy.
    fn under(&self, policy: &str, source: &str, more: &[&str]) -> Ran {
        let policy = self.policy(policy);
        import([&[source, &*self.layout(), "--policy", &*policy], more].concat())
    }

    /// OpenSSL's server with the folder `www`.
    fn openssl(&self, pair: &Pair, arguments: &[&str]) -> Peer {
        Peer::openssl(&self.scratch.path("www"), pair, arguments, None)
    }

    fn good(&self) -> Pair {
        self.authority.good()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The connection of one side in a report.
fn connection(ran: &Ran, side: &str) -> serde_json::Value {
    let report = ran.report();
    let connections = report["connections"].as_array().unwrap();
    connections.iter().find(|connection| connection["side"] == side).unwrap_or_else(|| panic!("{report}")).clone()
}

#[test]
fn a_peer_that_cannot_meet_the_policy() {
    let stage = Stage::new();
    let good = stage.good();
    let tls12 = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"];
    let rows: [(&[&str], &str, &[&str]); 5] = [
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"],
            "",
            &["HandshakeFailure", "`tls.profile` (built-in)", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
        ),
        (
            &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            "profile = \"aes-gcm\"",
            &["HandshakeFailure", "offered: TLSv1.3, TLSv1.2; TLS_AES_128_GCM_SHA256", "policy.toml:4)"],
        ),
        (&tls12, "versions = [\"TLSv1.3\"]", &["ProtocolVersion", "`tls.versions` (", "policy.toml:4)"]),
        (&["-tls1_3"], "profile = \"aes-gcm-tls12\"", &["ProtocolVersion", "`tls.profile` (", "policy.toml:4)"]),
        (&["-tls1_3", "-groups", "P-256"], "groups = [\"secp384r1\"]", &["HandshakeFailure", "`tls.groups` ("]),
    ];
    for (server, policy, says) in rows {
        let peer = stage.openssl(&good, server);
        let url = format!("https://127.0.0.1:{}/disk.raw", peer.port);
        stage.under(policy, &url, &[]).failed(15, "tls-handshake", says);
        let to = format!("docker://127.0.0.1:{}/vm", peer.port);
        let ran = import([&*stage.disk(), &to, "--policy", &stage.policy(policy)]);
        ran.failed(15, "tls-handshake", says);
    }
    let peer = stage.openssl(&good, &tls12);
    let url = format!("https://127.0.0.1:{}/disk.raw", peer.port);
    let size = DISK.to_string();
    for policy in ["profile = \"aes-gcm\"", "profile = \"aes-gcm-tls12\""] {
        let ran = stage.under(policy, &url, &["--size", &size, "--report", "-"]).done();
        let tls = &connection(&ran, "source")["tls"];
        assert_eq!((&tls["version"], &tls["verified"]), (&"TLSv1.2".into(), &true.into()));
        assert_eq!(tls["cipher_suite"], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(tls["client_certificate"], "not-asked");
    }
}

#[test]
fn sessions_are_resumed_where_the_policy_lets_them() {
    let stage = Stage::new();
    // Every request has a connection of its own.
    let nginx = Nginx::with(&stage.scratch, &stage.authority, "keepalive_timeout 0;");
    let url = nginx.url("disk.raw");
    for (profile, version) in [("aes-gcm", "TLSv1.3"), ("aes-gcm-tls12", "TLSv1.2")] {
        let sessions = |rule: &str| {
            let ran = stage.under(&format!("profile = \"{profile}\"\n{rule}"), &url, &["--report", "-"]).done();
            let sessions = ran.report()["connections"].as_array().unwrap().clone();
            assert!(sessions.len() > 1, "{sessions:?}");
            assert!(sessions.iter().all(|session| session["tls"]["version"] == version), "{sessions:?}");
            sessions.into_iter().map(|mut session| session["tls"].take()).collect::<Vec<_>>()
        };
        for rule in ["", "session-tickets = true"] {
            let resumed: Vec<_> = sessions(rule).into_iter().filter(|tls| tls["resumed"] == true).collect();
            assert!(!resumed.is_empty(), "{profile}, {rule}");
            for tls in resumed {
                // Nobody is asked again who is known, and TLS 1.2 exchanges no keys again.
                assert_eq!((&tls["client_certificate"], &tls["verified"]), (&serde_json::Value::Null, &true.into()));
                assert_eq!(tls["key_exchange_group"].is_null(), version == "TLSv1.2", "{tls}");
            }
        }
        let without = sessions("session-tickets = false");
        assert!(without.iter().all(|tls| tls["resumed"] == false), "{without:?}");
    }
}

#[test]
fn a_certificate_that_is_not_trusted() {
    let stage = Stage::new();
    let rows: [(Flaw, &[&str]); 5] = [
        (Flaw::Expired, &["it expired at 2000-12-31T00:00:00Z", "clock"]),
        (Flaw::NotYet, &["it is not valid before 2100-01-01T00:00:00Z"]),
        (Flaw::OtherName, &["it is for a.example, not for 127.0.0.1"]),
        (Flaw::SelfSigned, &["it is self-signed", "--ca FILE", "[[tls.host]]"]),
        (Flaw::OfAuthority, &["it is the certificate of a CA"]),
    ];
    for (flaw, says) in rows {
        let peer = stage.openssl(&stage.authority.flawed(flaw), &[]);
        let url = format!("https://127.0.0.1:{}/disk.raw", peer.port);
        stage.under("", &url, &[]).failed(15, "tls-certificate", says);
        let to = format!("docker://127.0.0.1:{}/vm", peer.port);
        let ran = import([&*stage.disk(), &to, "--ca", &stage.authority.ca()]);
        ran.failed(15, "tls-certificate", says).failed(15, "tls-certificate", &["left behind: nothing in 127.0.0.1"]);
    }
    // As the hint says: a self-signed certificate that is named is trusted.
    let own = stage.authority.flawed(Flaw::SelfSigned);
    let peer = stage.openssl(&own, &[]);
    let (url, size) = (format!("https://127.0.0.1:{}/disk.raw", peer.port), DISK.to_string());
    import([&*url, &stage.layout(), "--size", &size, "--ca", text(&own.certificate)]).done();
    let url = stage.nginx.url("disk.raw");
    import([&*url, &stage.layout()]).failed(15, "tls-certificate", &["its issuer is unknown", "--ca FILE"]);
    let plain = Registry::start(&stage.scratch, "plain", Setup::default());
    let to = plain.reference("vm");
    import([&*stage.disk(), &to]).failed(15, "tls-handshake", &["does not speak TLS"]);
}

#[test]
fn a_source_that_wants_a_client_certificate() {
    let stage = Stage::new();
    let demand = format!("ssl_client_certificate {}; ssl_verify_client on;", stage.authority.ca());
    let nginx = Nginx::with(&stage.scratch, &stage.authority, &demand);
    let (url, host) = (nginx.url("disk.raw"), nginx.host());
    let (to, ca) = (stage.layout(), stage.authority.ca());
    let ours = stage.authority.client("ours");
    let theirs = Authority::named(&stage.scratch, "other").client("theirs");
    let flags =
        |pair: &Pair, host: &str| [format!("{host}{}", text(&pair.certificate)), format!("{host}{}", text(&pair.key))];

    let ran = import([&*url, &to, "--ca", &ca]);
    ran.failed(
        10,
        "source-failed",
        &["answered 400", "asked for a client certificate and got none", "--cert [HOST=]FILE"],
    );

    let [cert, key] = flags(&ours, &format!("{host}="));
    let ran = import([&*url, &to, "--ca", &ca, "--cert", &cert, "--key", &key, "--report", "-"]).done();
    assert_eq!(connection(&ran, "source")["tls"]["client_certificate"], "presented");

    let [cert, key] = flags(&theirs, &format!("{host}="));
    let ran = import([&*url, &to, "--ca", &ca, "--cert", &cert, "--key", &key]);
    ran.failed(10, "source-failed", &["answered 400", "was shown one"]);

    let [cert, key] = flags(&ours, "");
    let ran = import([&*url, &to, "--ca", &ca, "--cert", &cert, "--key", &key]);
    ran.failed(2, "usage", &["expected `--cert HOST=FILE`"]);
    let to_registry = "docker://127.0.0.1:1/vm";
    let ran = import([&*url, to_registry, "--ca", &ca, "--cert", &cert, "--key", &key]);
    ran.failed(10, "source-failed", &["got none"]);

    let entry =
        format!("[[tls.host]]\nmatch = \"{host}\"\ncertificate = \"tls/ours.crt.pem\"\nkey = \"tls/ours.key.pem\"");
    let ran = stage.under(&entry, &url, &["--report", "-"]).done();
    assert_eq!(connection(&ran, "source")["tls"]["client_certificate"], "presented");
    let [cert, key] = flags(&theirs, &format!("{host}="));
    let ran = stage.under(&entry, &url, &["--cert", &cert, "--key", &key]);
    ran.failed(13, "flag-denied", &["`tls.host`", "policy.toml:5"]);
}

#[test]
fn a_registry_that_wants_a_client_certificate() {
    let stage = Stage::new();
    let more = format!("    clientcas:\n      - {}\n", stage.authority.ca());
    let setup = Setup { tls: Some(&stage.authority), more: &more, ..Setup::default() };
    let registry = Registry::start(&stage.scratch, "registry", setup);
    let plain = Registry::start(&stage.scratch, "behind", Setup::default());
    // Debian's distribution, and nginx in front of one, as many run it.
    let proxy = format!(
        "ssl_client_certificate {}; ssl_verify_client on; client_max_body_size 0;\n\
         location /v2/ {{ proxy_pass http://{}; proxy_request_buffering off; proxy_http_version 1.1;\n\
         proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https; }}",
        stage.authority.ca(),
        plain.host()
    );
    let front = Nginx::with(&stage.scratch, &stage.authority, &proxy);
    let ours = stage.authority.client("ours");
    let theirs = Authority::named(&stage.scratch, "other").client("theirs");
    let disk = stage.disk();
    let push = |to: &str, pair: Option<&Pair>| {
        // TLS 1.2 knows in the handshake whether the certificate was accepted; both versions are tried with ours.
        let policy = stage.policy("profile = \"aes-gcm-tls12\"");
        let mut arguments = vec![&*disk, to, "--report", "-", "--policy", &policy];
        if let Some(pair) = pair {
            arguments.extend(["--cert", text(&pair.certificate), "--key", text(&pair.key)]);
        }
        import(arguments)
    };
    let to = registry.reference("vm:1");
    push(&to, None).failed(15, "tls-handshake", &["BadCertificate", "asked for a client certificate and got none"]);
    push(&to, Some(&theirs)).failed(15, "tls-handshake", &["BadCertificate", "was shown one"]);
    registry.assert_empty();
    let ran = push(&to, Some(&ours)).done();
    assert_eq!(connection(&ran, "registry")["tls"]["client_certificate"], "presented");
    let (cert, key, ca) = (text(&ours.certificate), text(&ours.key), stage.authority.ca());
    let ran = import([&*disk, &to, "--ca", &ca, "--cert", cert, "--key", key, "--report", "-"]).done();
    let tls = &connection(&ran, "registry")["tls"];
    assert_eq!((&tls["version"], &tls["client_certificate"]), (&"TLSv1.3".into(), &"presented".into()));

    // Whatever speaks to a registry is under the same policy.
    let inspect = |more: &[&str]| finish(&mut longshore([&["inspect", &*to, "--ca", &*ca], more].concat()), b"");
    inspect(&["--cert", cert, "--key", key]).done();
    inspect(&[]).failed(15, "tls-handshake", &["the alert BadCertificate", "got none"]);
    // In TLS 1.3 the alert comes after the handshake.
    let ran = import([&*disk, &to, "--ca", &ca]);
    let says = ["ended the TLS session with the alert BadCertificate", "got none", "hint: if the peer needs"];
    ran.failed(15, "tls-handshake", &says);

    let to = format!("docker://{}/vm:1", front.host());
    let says = ["answered 400", "asked for a client certificate and got none"];
    push(&to, None).failed(12, "registry-failed", &says);
    push(&to, Some(&theirs)).failed(12, "registry-failed", &["answered 400", "was shown one"]);
    plain.assert_empty();
    push(&to, Some(&ours)).done();
}

#[test]
fn client_certificates_that_cannot_be_used() {
    let stage = Stage::new();
    let (ours, other) = (stage.authority.client("ours"), stage.authority.client("other"));
    let locked = stage.scratch.text("locked.pem");
    run(Command::new("openssl").args(["pkcs8", "-topk8", "-passout", "pass:x", "-out", &locked, "-in"]).arg(&ours.key));
    let url = stage.nginx.url("disk.raw");
    let host = format!("{}=", stage.nginx.host());
    let (cert, key) = (text(&ours.certificate), text(&ours.key));
    for (cert, key, says) in [
        (cert, text(&other.key), "does not fit the certificate"),
        (cert, &*locked, "is encrypted"),
        (cert, "/nonexistent", "cannot be read"),
        (cert, cert, "there is no private key"),
        (key, key, "there is no certificate"),
    ] {
        let (cert_flag, key_flag) = (format!("{host}{cert}"), format!("{host}{key}"));
        let ran = import([&*url, &stage.layout(), "--cert", &cert_flag, "--key", &key_flag]);
        ran.failed(16, "credentials-unreadable", &[says]);
        let entry = format!("[[tls.host]]\nmatch = \"a\"\ncertificate = \"{cert}\"\nkey = \"{key}\"");
        stage.under(&entry, &url, &[]).failed(13, "policy-invalid", &[says, "policy.toml:"]);
    }
    let ran = import([&*url, &stage.layout(), "--cert", cert]);
    ran.failed(2, "usage", &["has no `--key`"]);
}

#[test]
fn anchors_for_one_host_replace_the_others() {
    let stage = Stage::new();
    let other = Authority::named(&stage.scratch, "other");
    let setup = Setup { tls: Some(&other), ..Setup::default() };
    let registry = Registry::start(&stage.scratch, "registry", setup);
    let (url, to) = (stage.nginx.url("disk.raw"), registry.reference("vm:1"));
    let entry = |host: &str, ca: &str| format!("[[tls.host]]\nmatch = \"{host}\"\nca = [\"{ca}\"]\n");
    let push = |policy: &str| import([&*url, &to, "--policy", &stage.policy(policy), "--report", "-"]);
    push("").failed(15, "tls-certificate", &["its issuer is unknown"]);
    push(&entry(&registry.host(), "other/ca.crt")).done();
    // What every host is trusted to does not count for a host with anchors of its own.
    let wrong = entry(&stage.nginx.host(), "other/ca.crt");
    push(&wrong).failed(15, "tls-certificate", &[&stage.nginx.host(), "its issuer is unknown"]);
    let no_store = format!("system-store = false\n{}", entry(&registry.host(), "other/ca.crt"));
    push(&no_store).done();

    // Nor does a variable that whoever types the command can set.
    let mut command = longshore(["import", &*url, &*to, "--policy", &*stage.policy("system-store = false")]);
    let ran = finish(command.env("SSL_CERT_FILE", other.ca()), b"");
    ran.failed(15, "tls-certificate", &[&registry.host(), "its issuer is unknown"]);
    let mut command = longshore(["import", &*url, &*to, "--policy", &*stage.policy("")]);
    finish(command.env("SSL_CERT_FILE", other.ca()), b"").done();

    let insecure = format!("[[tls.host]]\nmatch = \"{}\"\ninsecure-skip-verification = true", registry.host());
    let ran = push(&insecure).done();
    assert_eq!(connection(&ran, "registry")["tls"]["verified"], false);
    assert_eq!(connection(&ran, "source")["tls"]["verified"], true);
    assert!(ran.stderr.contains("is NOT verified") && ran.stderr.contains("policy.toml:6"), "{}", ran.stderr);
}

#[test]
fn plain_http_is_where_the_policy_lists_it() {
    let stage = Stage::new();
    let registry = Registry::start(&stage.scratch, "registry", Setup::default());
    let to = registry.reference("vm:1");
    let listing = format!("[egress]\nplain-http = [\"{}\"]", registry.host());
    let push = |policy: &str, more: &[&str]| {
        import([&[&*stage.disk(), &*to, "--policy", &*stage.policy(policy)], more].concat())
    };
    push(&listing, &[]).done();
    push(&listing, &["--plain-http", &registry.host()]).done();
    let says = ["`--plain-http", "policy.toml", "`egress.plain-http`", "flags.allow"];
    push(&listing, &["--plain-http", "a.example"]).failed(13, "flag-denied", &says);
    push("", &["--plain-http", &registry.host()]).failed(13, "flag-denied", &says);
    push("[flags]\nallow = [\"--plain-http\"]", &["--plain-http", &registry.host()]).done();
    let http = format!("http://{}/disk.raw", stage.nginx.host());
    let says = ["plain HTTP to", "`egress.plain-http` of the policy", "policy.toml"];
    stage.under("", &http, &[]).failed(13, "plain-http-denied", &says);
    let ca = stage.authority.ca();
    stage.under("", &stage.nginx.url("disk.raw"), &["--ca", &ca]).failed(13, "flag-denied", &["`--ca", "`tls.ca`"]);
}

#[test]
fn where_connections_may_go() {
    let stage = Stage::new();
    let registry =
        Registry::start(&stage.scratch, "registry", Setup { tls: Some(&stage.authority), ..Setup::default() });
    let (url, host) = (stage.nginx.url("disk.raw"), stage.nginx.host());
    let port = host.rsplit_once(':').unwrap().1.to_owned();
    let by_name = url.replace("127.0.0.1", "localhost");
    let rows = [
        ("hosts = [\"a.example\"]", &url, "`egress.source.hosts` (", "policy.toml:5) does not list it"),
        ("hosts = [\"127.0.0.1:1\"]", &url, "`egress.source.hosts`", "does not list it"),
        ("denied-hosts = [\"127.0.0.1\"]", &url, "`egress.source.denied-hosts`", "denies `127.0.0.1`"),
        ("denied-hosts = [\"localhost\"]", &by_name, "`egress.source.denied-hosts`", "denies `localhost`"),
        ("denied-addresses = [\"127.0.0.0/8\"]", &url, "`egress.source.denied-addresses`", "denies `127.0.0.0/8`"),
        ("denied-addresses = [\"127.0.0.0/8\", \"::1\"]", &by_name, "at ", "`egress.source.denied-addresses`"),
        ("addresses = [\"10.0.0.0/8\"]", &url, "`egress.source.addresses`", "does not list it"),
        ("addresses = [\"10.0.0.0/8\"]", &by_name, "`egress.source.addresses`", "does not list it"),
    ];
    for (rule, url, one, other) in rows {
        let policy = format!("[egress.source]\n{rule}");
        stage.under(&policy, url, &[]).failed(13, "egress-denied", &["must not be connected to", one, other]);
    }
    let mapped = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let policy = "[egress.source]\ndenied-addresses = [\"127.0.0.0/8\"]";
    stage.under(policy, &mapped, &[]).failed(13, "egress-denied", &["denies `127.0.0.0/8`"]);
    let policy = "[egress.source]\ndenied-hosts = [\"127.0.0.1\"]";
    stage.under(policy, &mapped, &[]).failed(13, "egress-denied", &["denies `127.0.0.1`"]);
    for rule in [format!("hosts = [\"*:{port}\"]"), "addresses = [\"127.0.0.0/8\"]".to_owned()] {
        stage.under(&format!("[egress.source]\n{rule}"), &url, &[]).done();
    }
    // One side's rules are not the other's.
    let policy = "[egress.registry]\ndenied-addresses = [\"127.0.0.0/8\"]";
    let ran = import([&*url, &registry.reference("vm"), "--policy", &stage.policy(policy)]);
    ran.failed(13, "egress-denied", &["`egress.registry.denied-addresses`", "left behind: nothing"]);
    stage.under(policy, &url, &[]).done();
    registry.assert_empty();
}

#[test]
fn redirects_are_under_the_policy_too() {
    let stage = Stage::new();
    let elsewhere = stage.nginx.url("disk.raw").replace("127.0.0.1", "localhost");
    let away = format!("location /away/ {{ return 302 {elsewhere}; }}");
    let first = Nginx::with(&stage.scratch, &stage.authority, &away);
    let url = first.url("away/disk.raw");
    let under = |rules: &str| stage.under(&format!("[egress.source]\n{rules}"), &url, &[]);
    under("").failed(13, "egress-denied", &["it is not public and was named by a peer"]);
    under("addresses = [\"0.0.0.0/0\", \"::/0\"]").failed(13, "egress-denied", &["it is not public"]);
    under("addresses = [\"127.0.0.0/8\", \"::1\"]").done();
    under("hosts = [\"127.0.0.1\", \"localhost\"]").done();
    under("hosts = [\"127.0.0.1\"]").failed(13, "egress-denied", &["https://localhost", "does not list it"]);
    let open = "addresses = [\"127.0.0.0/8\", \"::1\"]\ndenied-hosts = [\"localhost\"]";
    under(open).failed(13, "egress-denied", &["https://localhost", "denies `localhost`"]);

    let moved = stage.nginx.url("moved/disk.raw");
    stage.under("[egress]\nredirects = 1", &moved, &[]).done();
    let says = ["more than the 0 times allowed", "`egress.redirects` (", "policy.toml:5)"];
    stage.under("[egress]\nredirects = 0", &moved, &[]).failed(10, "source-failed", &says);
}

#[test]
fn limits_are_those_of_the_document() {
    let stage = Stage::new();
    let handler: Handler = Arc::new(|_| {
        Box::pin(async {
            std::future::pending::<()>().await;
            empty(200)
        })
    });
    let silent = Script::start(Some(stage.authority.server_config()), handler);
    let ran = stage.under("[limits]\nanswer = \"1s\"", &silent.url("disk.raw"), &[]);
    ran.failed(10, "source-stalled", &["no answer within 1 s"]).golden("source-silent");
    let policy = stage.policy("[limits]\nanswer = \"1s\"");
    let ran = import([&*stage.disk(), &format!("docker://{}/vm", silent.host()), "--policy", &policy]);
    ran.failed(12, "registry-stalled", &["within 1 s"]).golden("registry-silent");
}

#[test]
fn which_document_is_in_force() {
    let stage = Stage::new();
    let url = stage.nginx.url("disk.raw");
    let denying = stage.policy("[egress.source]\nhosts = [\"a.example\"]");
    let from_environment = |policy: &str, more: &[&str]| {
        let mut command = longshore([&["import", &*url, &*stage.layout()], more].concat());
        finish(command.env("LONGSHORE_POLICY", policy), b"")
    };
    from_environment(&denying, &[]).failed(13, "egress-denied", &["policy.toml:5"]);
    for (unreadable, says) in [
        ("/nonexistent/policy.toml", "cannot be read"),
        ("", "cannot be read"),
        ("/", "cannot be read"),
        (&*stage.disk(), "cannot be read: it is not UTF-8"),
        ("/dev/zero", "cannot be read: more than 1048576 bytes"),
    ] {
        from_environment(unreadable, &[]).failed(13, "policy-invalid", &[says, "never passed over"]);
        let ran = import([&*url, &stage.layout(), &format!("--policy={unreadable}")]);
        // Here the parser of the command line knows already that a name is missing.
        if !unreadable.is_empty() {
            ran.failed(13, "policy-invalid", &[says]);
        }
    }
    // --policy goes first, and the other is not even looked at.
    let open = stage.scratch.text("open.toml");
    fs::write(&open, "schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]").unwrap();
    from_environment("/nonexistent", &["--policy", &open]).done();
    from_environment(&denying, &["--policy", &open]).done();
}

#[test]
fn policies_are_checked_and_shown() {
    let stage = Stage::new();
    let policy = |arguments: &[&str]| finish(&mut longshore([&["policy"], arguments].concat()), b"");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/policy.toml");
    let ran = policy(&["check", example]).done();
    assert_eq!(ran.stdout, "");
    let file = stage.policy("profile = \"modern\"");
    policy(&["check", &file]).failed(13, "policy-invalid", &["policy.toml:4:11: `modern` is no profile"]);
    // What nobody knows protects nobody, but may be another probe's.
    let file =
        stage.policy("[require]\nformats = [\"qcow3\", \"raw\"]\nrefused-hazards = [\"qcow2-dirty\", \"nonsense\"]");
    let ran = policy(&["check", &file]).done();
    let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 2, "{}", ran.stderr);
    assert!(
        warnings[0].contains("policy.toml:5) names `qcow3`, which the built-in probe does not know"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("policy.toml:6) names `nonsense`"), "{warnings:?}");
    // A policy that this program cannot meet is none.
    let file = stage.policy("fips = true");
    let says = ["`tls.fips` (", "policy.toml:4)", "is not that of a FIPS module", "--features fips"];
    policy(&["check", &file]).failed(13, "policy-invalid", &says);
    let file = stage.policy("fips = true\ngroups = [\"secp256r1\", \"x25519\"]");
    let says =
        ["policy.toml:5:24: `x25519` is not approved by FIPS 140-3, which `tls.fips` at", "policy.toml:4 demands"];
    policy(&["check", &file]).failed(13, "policy-invalid", &says);
    let file = stage.policy("[[tls.host]]\nmatch = \"a\"\nca = [\"policy.toml\"]");
    let says = ["policy.toml:6: ", "does not hold usable certificates"];
    policy(&["check", &file]).failed(13, "policy-invalid", &says);

    let shown = policy(&["show"]).done().stdout;
    assert!(shown.contains("versions = [\"TLSv1.3\", \"TLSv1.2\"]  # built-in"), "{shown}");
    let file = stage.policy("[egress]\nredirects = 3\n[flags]\nallow = [\"--plain-http\"]");
    let shown = policy(&["show", "--policy", &file, "--plain-http", "a:80"]).done().stdout;
    for line in
        [&format!("redirects = 3  # {file}:5"), "    \"a:80\",  # --plain-http", "connect = \"30s\"  # built-in"]
    {
        assert!(shown.lines().any(|shown| shown == line), "expected `{line}` in\n{shown}");
    }
    fs::write(stage.scratch.path("shown.toml"), shown).unwrap();
    policy(&["check", &stage.scratch.text("shown.toml")]).done();
}

#[test]
fn what_a_policy_says_of_listeners_and_of_looks_into_wrappers_is_explained() {
    let scratch = Scratch::new();
    let explain = |text: &str, more: &[&str]| {
        fs::write(scratch.path("policy.toml"), format!("schema = \"longshore.policy/v1\"\n{text}")).unwrap();
        let to = format!("oci:{}:1", scratch.text("layout"));
        let arguments = ["policy", "explain", "-", &*to, "--size", "1", "--policy", &*scratch.text("policy.toml")];
        finish(&mut longshore([&arguments, more].concat()), b"")
    };
    let said = explain("", &[]).done().stdout;
    assert!(!said.contains("listen") && !said.contains("filter-gzip"), "{said}");
    let said = explain("[limits]\nclient-away = \"1h\"\n[tls]\nversions = [\"TLSv1.3\"]\n", &["--listener", "tls"])
        .done()
        .stdout;
    assert!(
        said.contains("allowed  listen with TLSv1.3: `tls.versions` (") && said.contains("policy.toml:5)"),
        "{said}"
    );
    assert!(
        said.contains("open     wait 3600 s in all for a client that sends its disk in parts: `limits.client-away` ("),
        "{said}"
    );
    let denied = explain("", &["--listener", "without-tls"]).failed(13, "flag-denied", &["`--without-tls`"]);
    assert!(denied.stdout.contains("denied   listen without TLS: "), "{}", denied.stdout);
    let allowed = explain("[flags]\nallow = [\"--without-tls\"]\n", &["--listener", "without-tls"]).done().stdout;
    assert!(
        allowed.contains("allowed  listen without TLS: `flags.allow` (") && allowed.contains("policy.toml:3)"),
        "{allowed}"
    );
    for hazard in ["wrapped", "archive"] {
        let said = explain(&format!("[require]\naccepted-hazards = [\"{hazard}\"]\n"), &[]).done().stdout;
        for filter in ["gzip", "xz", "zstd", "bzip2", "archive"] {
            let line = said.lines().find(|line| line.contains(&format!("run `filter-{filter}` (")));
            let line = line.unwrap_or_else(|| panic!("{filter}: {said}"));
            assert!(line.starts_with("open") && line.contains("to look into what a disk is wrapped in"), "{line}");
        }
    }
}

#[test]
fn messages_as_a_user_reads_them() {
    let stage = Stage::new();
    let url = stage.nginx.url("disk.raw");
    let serve = |pair: &Pair, arguments: &[&str]| {
        let peer = stage.openssl(pair, arguments);
        let url = format!("https://127.0.0.1:{}/disk.raw", peer.port);
        stage.under("", &url, &[])
    };
    let flawed = |flaw| serve(&stage.authority.flawed(flaw), &[]);
    flawed(Flaw::Expired).golden("certificate-expired");
    flawed(Flaw::NotYet).golden("certificate-not-yet-valid");
    flawed(Flaw::OtherName).golden("certificate-for-another-name");
    flawed(Flaw::SelfSigned).golden("certificate-self-signed");
    flawed(Flaw::OfAuthority).golden("certificate-of-a-ca");
    import([&*url, &stage.layout()]).golden("certificate-issuer-unknown");
    serve(&stage.good(), &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"]).golden("tls-cipher-not-in-policy");
    let arguments = ["-Verify", "1", "-verify_return_error", "-CAfile", &stage.authority.ca()];
    serve(&stage.good(), &arguments).golden("client-certificate-missing");

    stage.under("[egress.source]\nhosts = [\"a.example\"]", &url, &[]).golden("egress-host-not-listed");
    let policy = "[egress.source]\ndenied-addresses = [\"127.0.0.0/8\"]";
    stage.under(policy, &url, &[]).golden("egress-address-denied");
    let http = format!("http://{}/disk.raw", stage.nginx.host());
    stage.under("", &http, &[]).golden("plain-http-not-in-policy");
    import([&*http, &stage.layout()]).golden("plain-http-not-named");
    stage.under("", &http, &["--plain-http", &stage.nginx.host()]).golden("flag-denied");
    import([&*url, &stage.layout(), "--policy", "/nonexistent/policy.toml"]).golden("policy-unreadable");
    stage.under("fips = true", &url, &[]).golden("policy-fips-without-module");
    stage.under("suites = [\"TLS_AES_128_CCM_SHA256\"]", &url, &[]).golden("policy-suite-unknown");
}

//! `doctor`: what it finds of peers that are known, under the policy and behind its back, and that it leaves nothing.

use longshore_tests::nginx::Nginx;
use longshore_tests::peer::Peer;
use longshore_tests::program::{Ran, finish, longshore};
use longshore_tests::registry::{Registry, Setup, VERSIONS};
use longshore_tests::scratch::Scratch;
use longshore_tests::tls::Authority;

fn doctor(arguments: &[&str]) -> Ran {
    finish(&mut longshore([&["doctor"], arguments].concat()), b"")
}

#[test]
fn the_machine_alone() {
    let found = doctor(&["--json"]).done().report();
    assert_eq!((&found["schema"], &found["peer"]), (&"longshore.doctor/v1".into(), &serde_json::Value::Null));
    let suites = found["machine"]["suites"].as_array().expect("suites");
    assert_eq!(suites.len(), 6, "those of the policy");
    assert!(suites.iter().all(|suite| suite["bytes_per_second"].as_f64().is_some_and(|rate| rate > 0.0)));
    let said = doctor(&[]).done().stdout;
    let verdict = said.lines().last().expect("a line");
    assert!(verdict.starts_with("verdict     ") && verdict.contains("SHA-256 at"), "{said}");
}

#[test]
fn a_source_under_the_policy_and_of_everything() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let nginx = Nginx::start(&scratch, &authority);
    let found = doctor(&[&nginx.url("disk.raw"), "--ca", &authority.ca(), "--json"]).done().report();
    let peer = &found["peer"];
    assert_eq!((&peer["tls"]["version"], &peer["of_everything"]["version"]), (&"TLSv1.3".into(), &"TLSv1.3".into()));
    assert!(peer["tls"]["cipher_suite"].as_str().is_some_and(|suite| suite.contains("_GCM_")), "{peer}");
    assert!(peer["of_everything"]["key_exchange_group"].is_string(), "{peer}");
    // Whoever is not trusted still shows what it would pick.
    let ran = doctor(&[&nginx.url("disk.raw"), "--json"]).failed(15, "tls-certificate", &[]);
    let found = ran.report();
    assert_eq!(found["error"]["code"], "tls-certificate");
    assert_eq!(found["peer"]["of_everything"]["version"], "TLSv1.3");
}

#[test]
fn a_peer_that_speaks_only_chacha20_is_seen_to() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    for (version, suite, protocol) in [
        ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256", ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"]),
        (
            "TLSv1.2",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
        ),
    ] {
        let peer = Peer::openssl(&scratch.path(""), &authority.good(), &protocol, None);
        let url = format!("https://127.0.0.1:{}/", peer.port);
        let found = doctor(&[&url, "--ca", &authority.ca(), "--json"]).failed(15, "tls-handshake", &[]).report();
        let everything = &found["peer"]["of_everything"];
        assert_eq!((&everything["version"], &everything["cipher_suite"]), (&version.into(), &suite.into()));
        assert!(found["verdict"].as_str().is_some_and(|verdict| verdict.contains(suite)), "{found}");
    }
}

#[test]
fn registries_are_asked_and_nothing_is_left_there() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    for version in VERSIONS {
        let setup = Setup { version, tls: Some(&authority), ..Setup::default() };
        let registry = Registry::start(&scratch, &format!("{version:?}"), setup);
        let found = doctor(&[&registry.reference("vm/disk"), "--ca", &authority.ca(), "--json"]).done().report();
        let peer = &found["peer"]["registry"];
        assert_eq!(peer["api_version"], "registry/2.0");
        assert_eq!((&peer["wants_credentials"], &peer["opens_sessions"]), (&false.into(), &true.into()));
        assert_eq!(peer["left"], serde_json::Value::Null);
        assert!(found["verdict"].as_str().is_some_and(|verdict| verdict.ends_with("it takes pushes")), "{found}");
        registry.assert_empty();
        let uploads = registry.storage().join("docker/registry/v2/repositories/vm/disk/_uploads");
        for upload in std::fs::read_dir(&uploads).into_iter().flatten().flatten() {
            // distribution 2.8 writes the hash state of an upload once more when it has removed it: 108 bytes.
            let is_there = |file: &str| upload.path().join(file).exists();
            assert!(!is_there("data") && !is_there("startedat"), "{version:?} has the upload {upload:?}");
        }
    }
}

#[test]
fn nothing_is_opened_where_nothing_may_be_written() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let (policy, host) = (scratch.text("policy.toml"), registry.host());
    let rules = format!("[[destinations.repository]]\nmatch = \"{host}/allowed/**\"\n");
    let text = format!("schema = \"longshore.policy/v1\"\n[egress]\nplain-http = [\"{host}\"]\n{rules}");
    std::fs::write(&policy, text).expect("a policy");
    let look = |to: &str| doctor(&[&registry.reference(to), "--policy", &policy, "--json"]);
    let ran = look("forbidden/vm").failed(13, "destination-denied", &["must not be written", "policy.toml:5"]);
    let found = ran.report();
    assert_eq!(
        (&found["error"]["code"], &found["peer"]["registry"]),
        (&"destination-denied".into(), &serde_json::Value::Null)
    );
    let uploads = registry.storage().join("docker/registry/v2/repositories");
    assert!(!uploads.join("forbidden").exists(), "an upload session was opened");
    look("allowed/vm").done();
    assert!(uploads.join("allowed").exists());
}

#[test]
fn a_registry_that_wants_credentials() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "basic", Setup { basic: Some(("porter", "hunter2")), ..Setup::default() });
    let (to, host) = (registry.reference("vm/disk"), registry.host());
    let found = doctor(&[&to, "--plain-http", &host, "--json"]).done().report();
    let peer = &found["peer"];
    assert_eq!((&peer["tls"], &peer["of_everything"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!(peer["registry"]["challenges"], serde_json::json!(["basic"]));
    assert_eq!(peer["registry"]["opens_sessions"], serde_json::Value::Null);
    let config = |password: &str| {
        let path = scratch.path("config.json");
        let config = format!(r#"{{"auths":{{"{host}":{{"username":"porter","password":"{password}"}}}}}}"#);
        std::fs::write(&path, config).expect("credentials");
        doctor(&[&to, "--plain-http", &host, "--json", "--auth-file", &path.display().to_string()])
    };
    assert_eq!(config("hunter2").done().report()["peer"]["registry"]["opens_sessions"], true);
    let ran = config("swordfish").failed(16, "registry-denied", &[]);
    assert_eq!(ran.report()["peer"]["registry"]["opens_sessions"], false);
    assert!(!ran.stdout.contains("swordfish") && !ran.stderr.contains("swordfish"));
}

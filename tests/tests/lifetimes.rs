//! Credentials while a transfer lasts: tokens that a real registry stops taking in the middle of it, and storage behind a
//! registry, which is shown none.

use std::fs;

use longshore_tests::nginx::Nginx;
use longshore_tests::program::{finish, import, longshore};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::signer::Signer;
use longshore_tests::tls::Authority;
use longshore_tests::wire::{Act, Wire};

const DISK: usize = 3_000_000;

/// A policy under which a registry may name other addresses of this machine.
fn policy(scratch: &Scratch, more: &str) -> String {
    let path = scratch.text("policy.toml");
    let text = format!("schema = \"longshore.policy/v1\"\n{more}\n[egress.registry]\naddresses = [\"127.0.0.0/8\"]\n");
    fs::write(&path, text).unwrap();
    path
}

/// A file with porter's password for that registry.
fn config(scratch: &Scratch, host: &str) -> String {
    let path = scratch.text("config.json");
    let text = format!(r#"{{"auths":{{"{host}":{{"username":"porter","password":"hunter2"}}}}}}"#);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_token_that_a_real_registry_stops_taking_in_the_middle() {
    std::thread::scope(|scope| {
        for version in VERSIONS {
            for in_chunks in [false, true] {
                scope.spawn(move || outlived(version, in_chunks));
            }
        }
    });
}

/// A transfer that takes longer than a token lives, whatever the token server says about that: in one request to the
/// registry, or in chunks to nginx before it, which takes 1 MiB of a body.
fn outlived(version: Version, in_chunks: bool) {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let signer = Signer::living(&scratch, &authority, 5);
    let more = format!("  relativeurls: true\n{}", signer.configuration());
    let tls = (!in_chunks).then_some(&authority);
    let registry = Registry::start(&scratch, "registry", Setup { version, tls, more: &more, ..Setup::default() });
    let proxy = format!("location /v2/ {{ proxy_pass http://{}; }}", registry.host());
    let nginx = in_chunks.then(|| Nginx::with(&scratch, &authority, &proxy));
    let host = nginx.as_ref().map_or_else(|| registry.host(), Nginx::host);
    raw(&scratch.path("disk.raw"), DISK);
    let to = format!("docker://{host}/vm:1");
    let policy = policy(&scratch, "[tls]\nca = [\"tls/ca.crt\"]");
    let auth = config(&scratch, &host);
    // Eight seconds.
    let flags = ["--policy", &*policy, "--auth-file", &*auth, "--limit-rate", "384KiB", "--report", "-"];
    let report = import([&[&*scratch.text("disk.raw"), &*to][..], &flags].concat()).done().report();
    assert!(registry.has_tag("vm", "1"));
    assert!(signer.scopes.lock().unwrap().len() > 1, "{version:?}: one token was enough");
    // A registry looks at a token when a request begins: what it takes in one request needs no other.
    let transfer = &report["transfer"];
    assert_eq!(transfer["attempts"] == 1, !in_chunks, "{version:?}: {transfer}");
}

#[test]
fn where_a_registry_keeps_its_blobs_gets_no_credentials() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let folder = scratch.path("registry/storage");
        let storage = Wire::start(move |head| {
            let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let bytes = fs::read(folder.join(path)).unwrap_or_default();
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len());
            vec![Act::Say([head.as_bytes(), &bytes].concat())]
        });
        let more = format!(
            "middleware:\n  storage:\n    - name: redirect\n      options:\n        baseurl: http://{}/\n",
            storage.host()
        );
        let setup = Setup { version, basic: Some(("porter", "hunter2")), more: &more, ..Setup::default() };
        let registry = Registry::start(&scratch, "registry", setup);
        raw(&scratch.path("disk.raw"), DISK);
        let plain = format!("[egress]\nplain-http = [\"{}\", \"{}\"]", registry.host(), storage.host());
        let (policy, auth) = (policy(&scratch, &plain), config(&scratch, &registry.host()));
        let with = ["--policy", &*policy, "--auth-file", &*auth];
        let to = registry.reference("vm:1");
        let digest = import([&[&*scratch.text("disk.raw"), &*to], &with[..]].concat()).done().digest();
        let inspected = finish(longshore(["inspect", &to, "--json"]).args(with), b"").done().report();
        assert_eq!(inspected["digest"], digest.as_str());
        let heads = storage.heads();
        assert!(heads.len() >= 2, "{version:?}: the config is read back and inspected: {heads:?}");
        assert!(heads.iter().all(|head| !head.to_lowercase().contains("authorization")), "{version:?}: {heads:?}");
    }
}

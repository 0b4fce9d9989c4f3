//! TLS as the policy has it, with whoever stands at the other end: what is offered, what comes of it, and what does not.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use longshore_tests::hello::{FAILURE, Greeter, Offered, server_hello};
use longshore_tests::peer::Peer;
use longshore_tests::program::{Ran, finish, import, longshore};
use longshore_tests::scratch::{Scratch, raw, run};
use longshore_tests::script::{Handler, Script, with};
use longshore_tests::tls::{Authority, Flaw, Pair};

const DISK: usize = 100_000;

/// IANA's codes.
const SUITES: [(&str, u16); 9] = [
    ("TLS_AES_128_GCM_SHA256", 0x1301),
    ("TLS_AES_256_GCM_SHA384", 0x1302),
    ("TLS_CHACHA20_POLY1305_SHA256", 0x1303),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xC02B),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xC02C),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xC02F),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xC030),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xCCA8),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xCCA9),
];
const GROUPS: [(&str, u16); 4] =
    [("X25519MLKEM768", 0x11EC), ("x25519", 0x001D), ("secp256r1", 0x0017), ("secp384r1", 0x0018)];
const VERSIONS: [(&str, u16); 2] = [("TLSv1.3", 0x0304), ("TLSv1.2", 0x0303)];

/// TLS_EMPTY_RENEGOTIATION_INFO_SCSV: not a suite but a way to say something (RFC 5746 §3.3).
const NO_SUITE: u16 = 0x00FF;

struct Stage {
    scratch: Scratch,
    authority: Authority,
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        raw(&scratch.folder("www").join("disk.raw"), DISK);
        Self { scratch, authority }
    }

    /// A policy that trusts the CA, names the hosts that peers may send us to, and has this in `[tls]`.
    fn policy(&self, tls: &str) -> String {
        let path = self.scratch.text("policy.toml");
        let hosts = "hosts = [\"127.0.0.1\", \"localhost\"]";
        let text = format!(
            "schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]\n{tls}\n[egress.source]\n{hosts}\n\
             [egress.registry]\n{hosts}\n[limits]\nattempts = 1\nsource-attempts = 1\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn disk(&self) -> String {
        self.scratch.path("www").join("disk.raw").display().to_string()
    }

    fn layout(&self) -> String {
        format!("oci:{}", self.scratch.text("layout"))
    }

    fn good(&self) -> Pair {
        self.authority.good()
    }

    /// OpenSSL's server with the folder `www`, and its configuration if it is to have another than none.
    fn openssl(&self, pair: &Pair, arguments: &[&str], configuration: Option<&str>) -> Peer {
        Peer::openssl(&self.scratch.path("www"), pair, arguments, configuration)
    }

    /// Imports the disk of such a server.
    fn from(&self, peer: &Peer, policy: &str) -> Ran {
        let url = format!("https://127.0.0.1:{}/disk.raw", peer.port);
        let (policy, size) = (self.policy(policy), DISK.to_string());
        import([&*url, &self.layout(), "--policy", &policy, "--size", &size, "--report", "-"])
    }

    /// A key of OpenSSL's, and a certificate of it that it has signed itself and that `--ca` can name.
    fn of_openssl(&self, name: &str, key: &[&str], more: &[&str], configuration: Option<&str>) -> Pair {
        let file = |ending: &str| self.scratch.path("tls").join(format!("{name}.{ending}"));
        let pair = Pair { certificate: file("crt"), key: file("key") };
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1", "-newkey"]).args(key);
        command.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]);
        command.args(more).arg("-keyout").arg(&pair.key).arg("-out").arg(&pair.certificate);
        if let Some(configuration) = configuration {
            command.env("OPENSSL_CONF", configuration);
        }
        run(&mut command);
        pair
    }
}

fn session(ran: &Ran) -> [String; 3] {
    let report = ran.report();
    let tls = report["connections"][0]["tls"].clone();
    let text = |key: &str| tls[key].as_str().unwrap_or_default().to_owned();
    [text("version"), text("cipher_suite"), text("key_exchange_group")]
}

fn codes(table: &[(&str, u16)], names: &[&str]) -> Vec<u16> {
    let code = |name: &&str| table.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}")).1;
    names.iter().map(code).collect()
}

/// What a policy says that it offers: versions, suites, groups.
fn said(shown: &str) -> [Vec<String>; 3] {
    ["versions", "suites", "groups"].map(|key| {
        let line = shown.lines().find_map(|line| line.strip_prefix(&format!("{key} = ["))).expect(key);
        let list = line.split_once(']').expect("a list").0;
        list.split(", ").map(|name| name.trim_matches('"').to_owned()).collect()
    })
}

/// Who may have to be spoken to, and how an import gets there.
fn every_way(stage: &Stage, greeter: &Greeter, policy: &str) -> Vec<(&'static str, Ran, Vec<Offered>)> {
    let (there, tls) = (format!("https://localhost:{}/x", greeter.port), || Some(stage.authority.server_config()));
    let (disk, layout) = (stage.disk(), stage.layout());
    let went = |way, source: &str, destination: &str| {
        let ran = import([source, destination, "--policy", policy]);
        (way, ran, greeter.take())
    };
    let source = went("source", &there, &layout);
    let registry = went("registry", &disk, &format!("docker://localhost:{}/vm", greeter.port));
    let away = there.clone();
    let redirect: Handler = Arc::new(move |_| {
        let away = away.clone();
        Box::pin(async move { with(302, "location", &away) })
    });
    let redirecting = Script::start(tls(), redirect);
    let target = went("target of a redirect", &redirecting.url("disk.raw"), &layout);
    let realm = format!("Bearer realm=\"{there}\",service=\"s\"");
    let challenge: Handler = Arc::new(move |_| {
        let realm = realm.clone();
        Box::pin(async move { with(401, "www-authenticate", &realm) })
    });
    let challenging = Script::start(tls(), challenge);
    let token = went("token server", &disk, &format!("docker://{}/vm", challenging.host()));
    let upload: Handler = Arc::new(move |request| {
        let there = there.clone();
        let (ping, opens) = (request.uri().path() == "/v2/", request.method() == "POST");
        Box::pin(async move {
            match (ping, opens) {
                (true, _) => with(200, "docker-distribution-api-version", "registry/2.0"),
                (_, true) => with(202, "location", &there),
                _ => with(404, "x-nothing", "there"),
            }
        })
    });
    let moving = Script::start(tls(), upload);
    let moved = went("upload that moved", &disk, &format!("docker://{}/vm", moving.host()));
    vec![source, registry, target, token, moved]
}

#[test]
fn nothing_is_ever_offered_but_what_the_policy_says() {
    let stage = Stage::new();
    let greeter = Greeter::start(FAILURE.to_vec());
    for tls in [
        "",
        "profile = \"aes-gcm\"",
        "profile = \"aes-gcm-tls12\"",
        "versions = [\"TLSv1.3\"]",
        "versions = [\"TLSv1.2\"]\ngroups = [\"secp384r1\"]",
        "suites = [\"TLS_AES_256_GCM_SHA384\"]\ngroups = [\"X25519MLKEM768\"]",
        "suites = [\"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\", \"TLS_CHACHA20_POLY1305_SHA256\"]",
        "suites = [\"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\"]\nsession-tickets = false",
    ] {
        let policy = stage.policy(tls);
        let shown = finish(&mut longshore(["policy", "show", "--policy", &policy]), b"").done().stdout;
        let [versions, suites, groups] = said(&shown);
        let names =
            |list: &[String]| list.iter().map(|name| -> &'static str { name.clone().leak() }).collect::<Vec<_>>();
        let expected = Offered {
            suites: codes(&SUITES, &names(&suites)),
            groups: codes(&GROUPS, &names(&groups)),
            versions: codes(&VERSIONS, &names(&versions)),
            ..Offered::default()
        };
        for (way, ran, heard) in every_way(&stage, &greeter, &policy) {
            ran.failed(15, "tls-handshake", &["alert HandshakeFailure", "offered: ", &versions.join(", ")]);
            assert!(!heard.is_empty(), "{way} under `{tls}`: nobody came");
            for offered in heard {
                let mut suites = offered.suites.clone();
                suites.retain(|code| *code != NO_SUITE);
                assert_eq!(suites, expected.suites, "{way} under `{tls}`");
                assert_eq!(offered.groups, expected.groups, "{way} under `{tls}`");
                let mut versions = offered.versions.clone();
                versions.sort_unstable_by_key(|code| std::cmp::Reverse(*code));
                // TLS 1.2 by itself is said in the old place, and may be repeated here.
                if !(expected.versions == [0x0303] && versions.is_empty()) {
                    assert_eq!(versions, expected.versions, "{way} under `{tls}`");
                }
                assert!(offered.shares.iter().all(|share| expected.groups.contains(share)), "{offered:?}");
                assert_eq!(offered.protocols, ["http/1.1"], "{way} under `{tls}`");
                // No early data, no compressed certificates, no heartbeat, no session of somebody else's.
                assert!([42, 27, 15, 41].iter().all(|kind| !offered.extensions.contains(kind)), "{offered:?}");
            }
        }
    }
}

#[test]
fn every_version_suite_and_group_that_a_peer_may_have() {
    let stage = Stage::new();
    let rsa = stage.of_openssl("rsa", &["rsa:2048"], &[], None);
    let rsa_trusted = format!("[[tls.host]]\nmatch = \"127.0.0.1\"\nca = [\"{}\"]\n", rsa.certificate.display());
    let ecdsa = stage.good();
    let groups = [("X25519", "X25519"), ("P-256", "secp256r1"), ("P-384", "secp384r1")];
    let of_13 =
        [("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"), ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384")];
    let of_12 = [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ];
    let mut met = BTreeMap::new();
    for (version, flag, list, suites) in
        [("TLSv1.3", "-tls1_3", "-ciphersuites", &of_13[..]), ("TLSv1.2", "-tls1_2", "-cipher", &of_12[..])]
    {
        for (theirs, ours) in suites {
            for (group, name) in groups {
                let pair = if ours.contains("_RSA_") { &rsa } else { &ecdsa };
                let peer = stage.openssl(pair, &[flag, list, theirs, "-groups", group], None);
                let policy = if ours.contains("_RSA_") { rsa_trusted.clone() } else { String::new() };
                let got = session(&stage.from(&peer, &policy).done());
                let wanted = [version, ours, name].map(str::to_lowercase);
                assert_eq!(got.clone().map(|text| text.to_lowercase()), wanted, "{theirs} with {group}");
                *met.entry(got[0].clone()).or_insert(0) += 1;
                // The same peer under a policy that has all of it but one of the three.
                for without in [
                    format!("versions = [\"{}\"]", if version == "TLSv1.3" { "TLSv1.2" } else { "TLSv1.3" }),
                    format!("groups = [\"{}\"]", if name == "secp384r1" { "secp256r1" } else { "secp384r1" }),
                ] {
                    let ran = stage.from(&peer, &format!("{without}\n{policy}"));
                    let ran = ran.failed(15, "tls-handshake", &["offered: ", "policy.toml:4"]);
                    assert_eq!(ran.report()["connections"][0]["failed"], "tls-handshake", "{without}");
                    assert_eq!(ran.report()["connections"][0]["tls"], serde_json::Value::Null);
                }
            }
        }
    }
    assert_eq!(met, BTreeMap::from([("TLSv1.2".to_owned(), 12), ("TLSv1.3".to_owned(), 6)]));
}

#[test]
fn the_hybrid_is_spoken_with_whoever_has_it() {
    let stage = Stage::new();
    let disk = fs::read(stage.disk()).unwrap();
    let handler: Handler = Arc::new(move |_| {
        let disk = disk.clone();
        Box::pin(async move { longshore_tests::script::full(200, disk) })
    });
    // The tests' own server has it, as the first of its groups.
    let script = Script::start(Some(stage.authority.server_config()), handler);
    let get = |policy: &str| {
        import([&*script.url("disk.raw"), &stage.layout(), "--policy", &stage.policy(policy), "--report", "-"]).done()
    };
    assert_eq!(session(&get(""))[2], "X25519MLKEM768");
    assert_eq!(session(&get("versions = [\"TLSv1.3\"]\ngroups = [\"X25519MLKEM768\"]"))[2], "X25519MLKEM768");
    assert_eq!(session(&get("groups = [\"secp256r1\"]"))[2], "secp256r1");
}

#[test]
fn who_prefers_a_cipher_in_software_gets_none() {
    let stage = Stage::new();
    let gost = stage.scratch.text("gost.cnf");
    let text = "openssl_conf = conf\n[conf]\nengines = engines\n[engines]\ngost = gost\n[gost]\nengine_id = gost\n\
                default_algorithms = ALL\n[req]\ndistinguished_name = dn\n[dn]\n";
    fs::write(&gost, text).unwrap();
    let own = stage.of_openssl("gost", &["gost2012_256", "-pkeyopt", "paramset:A"], &[], Some(&gost));
    let (cert, key) = (own.certificate.display().to_string(), own.key.display().to_string());
    let second = ["-dcert", &cert, "-dkey", &key, "-tls1_2", "-serverpref", "-cipher"];
    let kuznyechik = "GOST2012-KUZNYECHIK-KUZNYECHIKOMAC";
    let both = format!("{kuznyechik}:ECDHE-ECDSA-AES128-GCM-SHA256");
    let rows: [(&[&str], Option<&str>, &str, &str); 3] = [
        (
            &["-tls1_3", "-serverpref", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"],
            None,
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (
            &["-tls1_2", "-serverpref", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"],
            None,
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
        (
            &[&second[..], &[&*both]].concat(),
            Some(&gost),
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_GOSTR341112_256_WITH_KUZNYECHIK_CTR_OMAC",
        ),
    ];
    let doctor = |peer: &Peer| {
        let url = format!("https://127.0.0.1:{}/", peer.port);
        finish(&mut longshore(["doctor", &*url, "--ca", &stage.authority.ca(), "--json"]), b"")
    };
    for (arguments, configuration, spoken, preferred) in rows {
        let peer = stage.openssl(&stage.good(), arguments, configuration);
        assert_eq!(session(&stage.from(&peer, "").done())[1], spoken);
        let found = doctor(&peer).done().report();
        assert_eq!(found["peer"]["tls"]["cipher_suite"], spoken);
        assert_eq!(found["peer"]["of_everything"]["cipher_suite"], preferred);
        let verdict = found["verdict"].as_str().unwrap();
        assert!(verdict.contains(&format!("would pick {preferred}, the policy keeps it at")), "{verdict}");
    }
    // Who has nothing else is refused.
    let only = stage.openssl(&own, &["-tls1_2", "-cipher", kuznyechik], Some(&gost));
    stage.from(&only, "").failed(15, "tls-handshake", &["alert HandshakeFailure", "offered: TLSv1.3, TLSv1.2"]);
    let found = doctor(&only).failed(15, "tls-handshake", &[]).report();
    assert_eq!(found["peer"]["of_everything"]["cipher_suite"], "TLS_GOSTR341112_256_WITH_KUZNYECHIK_CTR_OMAC");
}

#[test]
fn who_chooses_what_was_not_offered_is_told_what_that_was() {
    let stage = Stage::new();
    let tls13 = [0, 43, 0, 2, 3, 4];
    for (answer, chose) in [
        (server_hello(0x0303, 0xC102, &[]), "TLSv1.2 TLS_GOSTR341112_256_WITH_28147_CNT_IMIT"),
        (server_hello(0x0303, 0xCCA9, &[]), "TLSv1.2 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
        (server_hello(0x0303, 0x1303, &tls13), "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256"),
        (server_hello(0x0302, 0xC013, &[]), "TLSv1.1 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
        (server_hello(0x0301, 0x002F, &[]), "TLSv1.0 TLS_RSA_WITH_AES_128_CBC_SHA"),
    ] {
        let greeter = Greeter::start(answer);
        let url = format!("https://127.0.0.1:{}/disk.raw", greeter.port);
        let ran = import([&*url, &stage.layout(), "--policy", &stage.policy("")]);
        ran.failed(
            15,
            "tls-handshake",
            &[&format!("it chose {chose}"), "offered: TLSv1.3", "`tls.profile` (built-in)"],
        );
    }
    let greeter = Greeter::start(FAILURE.to_vec());
    let url = format!("https://127.0.0.1:{}/disk.raw", greeter.port);
    let lists = "suites = [\"TLS_AES_128_GCM_SHA256\"]\ngroups = [\"secp384r1\"]";
    let ran = import([&*url, &stage.layout(), "--policy", &stage.policy(lists)]);
    // Either may be what to change.
    ran.failed(15, "tls-handshake", &["`tls.suites` (", "policy.toml:4) and `tls.groups` (", "policy.toml:5) decide"]);
    let greeter = Greeter::start(server_hello(0x0303, 0xC102, &[]));
    let url = format!("https://127.0.0.1:{}/disk.raw", greeter.port);
    import([&*url, &stage.layout()]).golden("tls-peer-chose-something-else");
}

#[test]
fn certificates_that_nobody_should_trust_in_either_version() {
    let stage = Stage::new();
    let sha1 = stage.of_openssl("sha1", &["rsa:2048"], &["-sha1"], None);
    let weak = stage.of_openssl("weak", &["rsa:1024"], &[], None);
    let of = |pair: &Pair| format!("[[tls.host]]\nmatch = \"127.0.0.1\"\nca = [\"{}\"]", pair.certificate.display());
    let (sha1_ca, weak_ca) = (of(&sha1), of(&weak));
    // A CA of the same name as the one that is trusted, with a key of another kind.
    let named = stage.of_openssl("named", &["rsa:2048"], &["-subj", "/CN=longshore test CA tls"], None);
    let rows: [(Pair, &str, &[&str]); 7] = [
        (stage.authority.flawed(Flaw::Expired), "", &["it expired at"]),
        (stage.authority.flawed(Flaw::NotYet), "", &["it is not valid before"]),
        (stage.authority.flawed(Flaw::OtherName), "", &["it is for a.example"]),
        (stage.authority.flawed(Flaw::SelfSigned), "", &["it is self-signed"]),
        (sha1, &sha1_ca, &["signed by an algorithm that is not accepted (1.2.840.113549.1.1.5)", "SHA-256"]),
        (weak, &weak_ca, &["its signature does not hold", "2048 bits"]),
        (named, "", &["another kind of key"]),
    ];
    for (pair, policy, says) in rows {
        for version in ["-tls1_2", "-tls1_3"] {
            // OpenSSL would not use some of them by itself.
            let peer = stage.openssl(&pair, &[version, "-cipher", "DEFAULT:@SECLEVEL=0"], None);
            let ran = stage.from(&peer, policy);
            let ran = ran.failed(15, "tls-certificate", says);
            assert!(!ran.stderr.contains("Context {") && !ran.stderr.contains("[6, "), "{}", ran.stderr);
        }
    }
}

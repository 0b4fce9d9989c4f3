//! Pinned keys: a certificate that is trusted is not enough, and what a server only presents does not count.

use std::fs;
use std::path::Path;
use std::process::Command;

use longshore_tests::peer::Peer;
use longshore_tests::program::{Ran, finish, import, longshore};
use longshore_tests::scratch::{Scratch, raw, run};
use longshore_tests::tls::{Authority, Flaw, Pair};

const DISK: usize = 100_000;

struct Stage {
    scratch: Scratch,
    authority: Authority,
}

/// The digest of a certificate's key, as docs/policy.md says to find it.
fn pin(certificate: &Path) -> String {
    let certificate = certificate.display();
    let pipe =
        format!("openssl x509 -in '{certificate}' -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum");
    let sum = run(Command::new("sh").args(["-c", &pipe]));
    format!("sha256:{}", sum.split_whitespace().next().unwrap())
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        raw(&scratch.folder("www").join("disk.raw"), DISK);
        Self { scratch, authority }
    }

    fn good(&self) -> Pair {
        Pair { certificate: self.authority.certificate.clone(), key: self.authority.key.clone() }
    }

    /// OpenSSL's server with the folder `www`.
    fn server(&self, pair: &Pair, arguments: &[&str]) -> Peer {
        Peer::openssl(&self.scratch.path("www"), pair, arguments, None)
    }

    /// A document that trusts the CA, with more in `[tls]`.
    fn policy(&self, tls: &str) -> String {
        let text = format!("schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]\n{tls}\n");
        fs::write(self.scratch.path("policy.toml"), text).unwrap();
        self.scratch.text("policy.toml")
    }

    fn import(&self, server: &Peer, tls: &str) -> Ran {
        let (url, size) = (format!("https://127.0.0.1:{}/disk.raw", server.port), DISK.to_string());
        let to = format!("oci:{}", self.scratch.text("layout"));
        import([&*url, &*to, "--policy", &*self.policy(tls), "--size", &*size])
    }

    fn refused(&self, ran: Ran, key: &str, line: usize) {
        let rule = format!("`{key}` ({}:{line})", self.scratch.text("policy.toml"));
        let own = pin(&self.authority.certificate);
        let says = format!("the policy's {rule} pins no key of its verified path, its own is {own}");
        ran.failed(15, "tls-certificate", &[&says, "has to pin the new one"]);
        assert!(!self.scratch.path("layout/index.json").exists(), "nothing is tagged");
    }
}

#[test]
fn a_key_of_the_verified_path_must_be_pinned() {
    let stage = Stage::new();
    let server = stage.server(&stage.good(), &[]);
    let other = Authority::named(&stage.scratch, "other");
    let [leaf, ca, elsewhere] =
        [&stage.authority.certificate, &stage.authority.ca, &other.certificate].map(|at| pin(at));
    let ran = stage.import(&server, &format!("pins = [\"{elsewhere}\"]")).golden("certificate-not-pinned");
    stage.refused(ran, "tls.pins", 4);
    let host = |pins: &str| format!("[[tls.host]]\nmatch = \"127.0.0.1\"\npins = {pins}");
    stage.refused(stage.import(&server, &host(&format!("[\"{elsewhere}\"]"))), "tls.host.pins", 6);
    // An entry's own pins count in the place of those for every host.
    let both = format!("pins = [\"{leaf}\"]\n{}", host(&format!("[\"{elsewhere}\"]")));
    stage.refused(stage.import(&server, &both), "tls.host.pins", 7);
    let elsewhere_first = format!("pins = [\"{elsewhere}\"]\n{}", host(&format!("[\"{ca}\"]")));
    for pins in [
        format!("pins = [\"{leaf}\"]"),
        format!("pins = [\"{elsewhere}\", \"{leaf}\"]"),
        format!("pins = [\"{ca}\"]"),
        host(&format!("[\"{leaf}\"]")),
        elsewhere_first,
    ] {
        stage.import(&server, &pins).done();
    }
}

#[test]
fn a_certificate_that_is_only_presented_does_not_count() {
    let stage = Stage::new();
    let other = Authority::named(&stage.scratch, "other");
    let (chain, pinned) = (other.ca(), pin(&other.ca));
    for version in ["-tls1_2", "-tls1_3"] {
        let server = stage.server(&stage.good(), &[version, "-cert_chain", &chain]);
        stage.refused(stage.import(&server, &format!("pins = [\"{pinned}\"]")), "tls.pins", 4);
    }
}

#[test]
fn a_pin_stands_in_for_no_trust() {
    let stage = Stage::new();
    for (flaw, says) in [(Flaw::SelfSigned, "it is self-signed"), (Flaw::Expired, "it expired at")] {
        let pair = stage.authority.flawed(flaw);
        let server = stage.server(&pair, &[]);
        let pins = format!("pins = [\"{}\"]", pin(&pair.certificate));
        stage.import(&server, &pins).failed(15, "tls-certificate", &[says]);
    }
}

#[test]
fn a_registry_is_held_to_its_pins_too() {
    let stage = Stage::new();
    let server = stage.server(&stage.good(), &[]);
    let other = Authority::named(&stage.scratch, "other");
    let disk = stage.scratch.path("www").join("disk.raw").display().to_string();
    let to = format!("docker://127.0.0.1:{}/vm", server.port);
    let policy = stage.policy(&format!("pins = [\"{}\"]", pin(&other.certificate)));
    stage.refused(import([&*disk, &*to, "--policy", &*policy]), "tls.pins", 4);
}

#[test]
fn pins_that_cannot_be_are_refused() {
    let stage = Stage::new();
    let key = format!("sha256:{}", "a".repeat(64));
    for (tls, says) in [
        ("pins = [\"sha1:x\"]".to_owned(), "policy.toml:4:9: `tls.pins`"),
        ("pins = []".to_owned(), "`tls.pins` is empty"),
        (
            format!("[[tls.host]]\nmatch = \"a\"\ninsecure-skip-verification = true\npins = [\"{key}\"]"),
            "policy.toml:6:30: `insecure-skip-verification` contradicts `pins`",
        ),
    ] {
        let policy = stage.policy(&tls);
        finish(&mut longshore(["policy", "check", &policy]), b"").failed(13, "policy-invalid", &[says]);
    }
    let policy = stage.policy(&format!("pins = [\"{key}\"]\n[[tls.host]]\nmatch = \"a\"\npins = [\"{key}\"]"));
    let shown = finish(&mut longshore(["policy", "show", "--policy", &policy]), b"").done().stdout;
    assert_eq!(shown.matches(&format!("    \"{key}\",  # {policy}:")).count(), 2, "{shown}");
}

//! What is wrong with a document, in the words that its writer reads: all of them in one golden file.

use std::fs;

use longshore_tests::program::{Ran, finish, longshore};
use longshore_tests::scratch::Scratch;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What stands behind the first line, `schema = "longshore.policy/v1"`.
fn wrong() -> Vec<String> {
    let component = format!("[[components.allow]]\ndigest = \"{DIGEST}\"\n");
    let pin = format!("\"{DIGEST}\"");
    let fixed = [
        "this is no TOML",
        "[tls]\nprofile = \"aes-gcm\"\nprofile = \"aes-gcm\"",
        "other = 1",
        "[tls]\nother = 1",
        "tls = 1",
        "[tls]\nprofile = 1",
        "[tls]\nprofile = \"modern\"",
        "[tls]\nprofile = \"aes-gcm\"\nversions = [\"TLSv1.3\"]",
        "[tls]\nversions = []",
        "[tls]\nversions = [\"TLSv1.1\"]",
        "[tls]\nversions = [\"TLSv1.3\", \"TLSv1.3\"]",
        "[tls]\nversions = [1]",
        "[tls]\nversions = [\"TLSv1.3\"]\nsuites = [\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]",
        "[tls]\nversions = [\"TLSv1.3\", \"TLSv1.2\"]\nsuites = [\"TLS_AES_128_GCM_SHA256\"]",
        "[tls]\nversions = [\"TLSv1.2\"]\ngroups = [\"X25519MLKEM768\"]",
        "[tls]\nversions = [\"TLSv1.2\"]\ngroups = [\"X25519MLKEM768\", \"x25519\"]",
        "[tls]\nfips = true\nsuites = [\"TLS_CHACHA20_POLY1305_SHA256\"]",
        "[tls]\nsystem-store = false",
        "[tls]\nca = [\"absent.pem\"]",
        "[tls]\nca = [\"policy.toml\"]",
        "[tls]\nca = [\"policy.toml\", \"policy.toml\"]",
        "[tls]\npins = [\"sha256:a\"]",
        "[[tls.host]]\nca = [\"policy.toml\"]",
        "[[tls.host]]\nmatch = \"a/b\"",
        "[[tls.host]]\nmatch = \"a\"",
        "[[tls.host]]\nmatch = \"docker.io\"\ninsecure-skip-verification = true",
        "[[tls.host]]\nmatch = \"a\"\ncertificate = \"policy.toml\"",
        "[[tls.host]]\nmatch = \"a\"\nkey = \"policy.toml\"",
        "[[tls.host]]\nmatch = \"*\"\ninsecure-skip-verification = true\n[[tls.host]]\nmatch = \"a\"\ninsecure-skip-verification = true",
        "[egress]\nplain-http = [\"http://a\"]",
        "[egress]\nplain-http = [\"a:80\"]\n[egress.source]\nhosts = [\"b\"]\n[egress.registry]\nhosts = [\"b\"]",
        "[egress]\nredirects = 51",
        "[egress]\nproxy = \"always\"",
        "[egress.source]\nhosts = [\"a\"]\ndenied-hosts = [\"*\"]",
        "[egress.source]\naddresses = [\"10.0.0.1/8\"]",
        "[egress.source]\naddresses = [\"::ffff:10.0.0.0/104\"]",
        "[egress.source]\naddresses = [\"10.0.0.0/8\"]\ndenied-addresses = [\"10.0.0.0/7\"]",
        "[egress.source]\naddresses = [\"10.0.0\"]",
        "[limits]\nconnect = \"5\"",
        "[limits]\nconnect = \"1h\"",
        "[limits]\ncomponent-memory = \"64MB\"",
        "[limits]\ncomponent-memory = \"1KiB\"",
        "[limits]\nattempts = 0",
        "[limits]\nback-off = \"30s\"\ntotal = \"1s\"",
        "[flags]\nallow = [\"--tag\"]",
        "[components]\nbuilt-in = false\nunlisted = false",
        "[[components.allow]]\nkinds = [\"source\"]",
        "[[components.allow]]\ndigest = \"sha256:a\"",
        "[[destinations.repository]]\ntags = [\"a\"]",
        "[[destinations.repository]]\nmatch = \"vm\"",
        "[[destinations.repository]]\nmatch = \"a.b/**\"\n[[destinations.repository]]\nmatch = \"a.b/c\"",
        "[[destinations.repository]]\nmatch = \"a.b/c\"\ntags = [\"a b\"]",
        "[egress.registry]\nhosts = [\"b.example\"]\n[[destinations.repository]]\nmatch = \"a.example/**\"",
        "[require]\nchecksum = [\"crc32\"]",
        "[require]\nformats = [\"QCOW2\"]",
        "[require]\nmax-size = \"0\"",
        "[require]\nrefused-hazards = [\"wrapped\"]\naccepted-hazards = [\"wrapped\"]",
        "extends = \"\"",
        "extends = \"absent.toml\"",
        "extends = \"policy.toml\"",
    ];
    let mut all: Vec<String> = fixed.map(str::to_owned).into();
    all.push(format!("[tls]\npins = [{pin}]\n[[tls.host]]\nmatch = \"*\"\ninsecure-skip-verification = true"));
    all.push(format!("[[tls.host]]\nmatch = \"a\"\npins = [{pin}]\ninsecure-skip-verification = true"));
    all.push(format!("{component}{component}"));
    all.push(format!("{component}kinds = [\"probe\"]\nhosts = [\"a\"]"));
    all.push(format!("{component}kinds = [\"probe\"]\noutput = \"1MiB\""));
    all.push(format!("{component}hosts = [\"a\"]\n[egress.source]\nhosts = [\"b\"]"));
    all
}

#[test]
fn messages_of_a_document_that_is_none() {
    let scratch = Scratch::new();
    let path = scratch.text("policy.toml");
    let mut said = String::new();
    let mut check = |document: &str| {
        fs::write(&path, document).unwrap();
        let ran = finish(&mut longshore(["policy", "check", &path]), b"").failed(13, "policy-invalid", &[]);
        for line in document.lines() {
            said.push_str(&format!("    {line}\n"));
        }
        said.push_str(&ran.stderr);
        said.push('\n');
    };
    ["", "schema = 1", "schema = \"longshore.policy/v2\""].into_iter().for_each(&mut check);
    for document in wrong() {
        // `extends` is a key of the root, and so is whatever stands in front of the first table.
        check(&format!("schema = \"longshore.policy/v1\"\n{document}"));
    }
    Ran { code: Some(13), stdout: String::new(), stderr: said }.golden("policy-messages");
}

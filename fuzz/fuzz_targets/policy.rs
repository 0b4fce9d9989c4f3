//! Whatever a policy document holds, reading it ends, and what is read is shown as a document that reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::policy::{Files, Policy, Site, TrustAnchor};

/// What a document may extend here, by its file: the last one extends itself.
const DOCUMENTS: [(&str, &str); 4] = [
    ("base.toml", "schema = \"longshore.policy/v1\"\n[limits]\nconnect = \"5s\"\n[tls]\nca = [\"a\"]\n"),
    (
        "middle.toml",
        "schema = \"longshore.policy/v1\"\nextends = \"base.toml\"\n[egress]\nredirects = 4\n\
         plain-http = [\"a\"]\n[destinations]\noverwrite = false\n",
    ),
    ("wrong.toml", "schema = \"longshore.policy/v1\"\n[limits]\nconnect = 5\n"),
    ("circle.toml", "schema = \"longshore.policy/v1\"\nextends = \"circle.toml\"\n"),
];

/// Certificates and keys that are always there, and the documents above.
struct Given;

impl Files for Given {
    fn document(&mut self, path: &str, _: &Site) -> Result<(String, String), String> {
        let found = DOCUMENTS.iter().find(|(name, _)| *name == path);
        let (name, text) = found.ok_or_else(|| format!("`{path}` cannot be read"))?;
        Ok(((*name).to_owned(), (*text).to_owned()))
    }

    fn anchors(&mut self, path: &str, site: &Site) -> Result<Vec<TrustAnchor>, String> {
        Ok(vec![TrustAnchor { file: path.to_owned(), pem: Vec::new(), site: site.clone(), side: None }])
    }

    fn file(&mut self, path: &str, _: &Site) -> Result<(String, Vec<u8>), String> {
        Ok((path.to_owned(), Vec::new()))
    }
}

fuzz_target!(|text: &str| {
    let Ok(policy) = Policy::parse(text, "policy.toml", &mut Given) else { return };
    let shown = policy.show();
    let again = Policy::parse(&shown, "shown.toml", &mut Given);
    let again = again.unwrap_or_else(|why| panic!("{why} in\n{shown}"));
    assert_eq!(bare(&again.show()), bare(&shown));
});

/// The document without its comments, which say where each value was set.
fn bare(shown: &str) -> Vec<&str> {
    shown.lines().map(|line| line.split("  # ").next().unwrap_or(line)).collect()
}

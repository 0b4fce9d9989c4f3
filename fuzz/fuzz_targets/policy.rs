//! Whatever a policy document holds, reading it ends, and what is read is shown as a document that reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::policy::{Files, Policy, Site, TrustAnchor};

/// Files that are always there.
struct Any;

impl Files for Any {
    fn anchors(&mut self, path: &str, site: &Site) -> Result<Vec<TrustAnchor>, String> {
        Ok(vec![TrustAnchor { file: path.to_owned(), pem: Vec::new(), site: site.clone() }])
    }

    fn file(&mut self, path: &str) -> Result<(String, Vec<u8>), String> {
        Ok((path.to_owned(), Vec::new()))
    }
}

fuzz_target!(|text: &str| {
    let Ok(policy) = Policy::parse(text, "policy.toml", &mut Any) else { return };
    let shown = policy.show();
    let again = Policy::parse(&shown, "shown.toml", &mut Any);
    let again = again.unwrap_or_else(|why| panic!("{why} in\n{shown}"));
    assert_eq!(bare(&again.show()), bare(&shown));
});

/// The document without its comments, which say where each value was set.
fn bare(shown: &str) -> Vec<&str> {
    shown.lines().map(|line| line.split("  # ").next().unwrap_or(line)).collect()
}

//! docs/report.md has every field of a report, and no other.

use std::collections::BTreeSet;
use std::fs;

use longshore_tests::nginx::Nginx;
use longshore_tests::program::{Ran, import};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, qcow2};
use longshore_tests::tls::Authority;
use serde_json::Value;

/// What the page describes as a whole.
const WHOLE: [&str; 6] = [
    "disk.hazards[]",
    "disk.details[]",
    "disk.content",
    "connections[].proxy",
    "stages[].component",
    "transfer.upload",
];

/// The names in the first column: `.name` stands beside the one in front of it.
fn on_the_page(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cell = line.trim_start_matches("| ").split(" | ").next().unwrap();
        let mut parent = String::new();
        for name in cell.split(", ").map(|name| name.trim_matches('`')) {
            let whole = match name.strip_prefix('.') {
                Some(name) => format!("{parent}.{name}"),
                None => name.to_owned(),
            };
            parent = whole.rsplit_once('.').map_or_else(String::new, |(parent, _)| parent.to_owned());
            names.insert(whole);
        }
    }
    names
}

fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    if !path.is_empty() {
        found.insert(path.to_owned());
    }
    if WHOLE.contains(&path) {
        return;
    }
    match value {
        Value::Object(fields_of) => {
            for (name, value) in fields_of {
                fields(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, found);
            }
        }
        Value::Array(values) => {
            let path = format!("{path}[]");
            found.remove(path.trim_end_matches("[]"));
            found.insert(path.clone());
            values.iter().for_each(|value| fields(value, &path, found));
        }
        _ => {}
    }
}

#[test]
fn the_page_has_every_field_and_no_other() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let nginx = Nginx::start(&scratch, &authority);
    qcow2(&scratch.folder("www").join("vm.qcow2"));
    let registry = Registry::start(&scratch, "registry", Setup { tls: Some(&authority), ..Setup::default() });
    let (url, to, ca) = (nginx.url("vm.qcow2"), registry.reference("vm:1"), authority.ca());
    let run = |more: &[&str]| import([&[&*url, &*to, "--ca", &*ca, "--report", "-"], more].concat());
    let copied = registry.reference("copied:1");
    let copy = || import([&*to, &*copied, "--ca", &*ca, "--report", "-"]);
    let runs: [Ran; 3] = [
        run(&["--limit-rate", "2MiB"]).done(),
        run(&["--checksum", "md5:00000000000000000000000000000000"]).failed(11, "checksum-mismatch", &[]),
        copy().done(),
    ];
    let mut found = BTreeSet::new();
    runs.iter().for_each(|ran| fields(&ran.report(), "", &mut found));
    // Said in words beside what they belong to.
    let in_words = ["waits[].for", "waits[].seconds", "source", "disk", "source.checksums", "disk.checksums"];
    let in_words = in_words.iter().chain(&["preflight", "image", "copy", "transfer", "process"]);
    in_words.for_each(|name| assert!(found.remove(*name), "{name} is not in a report"));
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.md")).unwrap();
    let page = on_the_page(&page);
    let missing: Vec<_> = found.difference(&page).collect();
    let unknown: Vec<_> = page.difference(&found).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not on the page: {missing:?}; in no report: {unknown:?}");
}

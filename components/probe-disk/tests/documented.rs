//! `docs/formats.md` names every format and every hazard, and nothing else.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what every test here needs stands in functions of its own"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use probe_disk::FORMATS;
use probe_disk::samples::{Access, drive, hostile, legal};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands in backquotes in the first column of the tables of a chapter.
fn first_column(chapter: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("../../docs/formats.md")).expect("the document");
    let chapter = text.split("\n## ").find(|part| part.starts_with(chapter)).expect("the chapter").to_owned();
    let table = chapter.split("\n\n").find(|part| part.starts_with('|')).expect("a table").to_owned();
    let cells = table.lines().skip(2).filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The codes that the sources give: the first argument of `refuse`, `warn` and `note`.
fn codes(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            codes(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        let text = text.split("#[cfg(test)]").next().expect("a part");
        for call in [".refuse(", ".warn(", ".note("] {
            for after in text.split(call).skip(1) {
                if let Some(code) = after.trim_start().strip_prefix('"').and_then(|code| code.split('"').next()) {
                    found.insert(code.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_format_is_documented() {
    let names: BTreeSet<_> = FORMATS.iter().map(|format| format.name.to_owned()).collect();
    assert_eq!(first_column("Formats"), names);
}

#[test]
fn every_format_stands_beside_what_others_say_of_it() {
    let text = fs::read_to_string(root().join("../../docs/formats.md")).expect("the document");
    let table = text.split("\n\n").find(|part| part.starts_with("| format |")).expect("a table");
    let mut rows = table.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let columns = rows.next().expect("a head");
    assert_eq!(columns[columns.len() - 2..], ["qemu-img", "oslo"]);
    for row in rows.skip(1) {
        assert_eq!(row.len(), columns.len(), "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

#[test]
fn every_hazard_is_documented() {
    let mut found = BTreeSet::new();
    codes(&root().join("src"), &mut found);
    assert!(found.len() > 50, "{found:?}");
    assert_eq!(first_column("Hazards"), found);
}

#[test]
fn every_hazard_comes_of_some_sample() {
    let mut found = BTreeSet::new();
    codes(&root().join("src"), &mut found);
    let images = legal().into_iter().map(|disk| disk.image).chain(hostile().into_iter().map(|disk| disk.image));
    let told: BTreeSet<String> = images
        .flat_map(|image| {
            [Access::Ranged, Access::Unknown, Access::Beginning(65_536)].map(|access| drive(&image[..], access).0)
        })
        .flatten()
        .flat_map(|verdict| verdict.hazards.into_iter().map(|hazard| hazard.code.to_owned()))
        .collect();
    assert_eq!(told, found);
}

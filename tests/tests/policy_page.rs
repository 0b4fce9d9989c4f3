//! The table of keys in docs/policy.md is made of the keys. With `LONGSHORE_GOLDEN=write` it is written instead of compared.

use std::fs;
use std::path::Path;

use longshore::policy::{FORMATS, HAZARDS, table_of_keys};

/// What stands around the table.
const BEGIN: &str = "--test policy_page. -->\n\n";
const END: &str = "\n<!-- The end of the table. -->";

#[test]
fn the_table_of_keys_is_the_one_that_the_keys_give() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the table's begin");
    let (table, after) = rest.split_once(END).expect("the table's end");
    let made = table_of_keys();
    if std::env::var_os("LONGSHORE_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    assert!(
        table == made,
        "docs/policy.md has another table than the keys give; LONGSHORE_GOLDEN=write writes this one\n{made}"
    );
}

/// The names in the first column of a section's table of docs/formats.md, which the probe's own tests compare with the probe.
fn first_column(section: &str) -> Vec<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats.md")).unwrap();
    let part = page.split(&format!("\n## {section}\n")).nth(1).expect(section);
    let rows = part.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let mut names: Vec<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_policy_knows_every_format_and_hazard_of_the_built_in_probe() {
    for (section, known, name) in [("Formats", FORMATS, "FORMATS"), ("Hazards", HAZARDS, "HAZARDS")] {
        let documented = first_column(section);
        let list: String = documented.iter().map(|name| format!("    \"{name}\",\n")).collect();
        assert_eq!(known, documented, "{name} of host/src/policy/known.rs is to be\n{list}");
    }
}

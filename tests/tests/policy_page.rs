//! The table of keys in docs/policy.md is made of the keys. With `LONGSHORE_GOLDEN=write` it is written instead of compared.

use std::fs;
use std::path::Path;

use longshore::policy::table_of_keys;

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

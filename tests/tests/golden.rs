//! The golden files and the tests that compare them belong together.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use longshore::error::Code;
use longshore_tests::golden::folder;

#[test]
fn every_golden_file_is_compared_by_exactly_one_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let sources = fs::read_dir(tests).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    // Not as one literal: it would find itself here.
    let in_a_table = format!("\"{}:", "golden");
    let mut named = BTreeSet::new();
    for source in sources {
        for rest in source.split(".golden(\"").skip(1).chain(source.split(&in_a_table).skip(1)) {
            let name = rest.split('"').next().unwrap().to_owned();
            assert!(named.insert(name.clone()), "`{name}` is compared twice");
        }
    }
    let files: BTreeSet<String> = fs::read_dir(folder())
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, named);
}

/// But for the one that says that the program itself is wrong.
#[test]
fn every_code_is_in_a_golden_file() {
    let mut missing: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    missing.remove("internal");
    for file in fs::read_dir(folder()).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for rest in text.split("error[").skip(1) {
            missing.remove(rest.split(']').next().unwrap());
        }
    }
    assert!(missing.is_empty(), "nobody reads the messages of {missing:?}");
}

//! Allocations of the hot functions are as few as they were. Instructions are for `just bench-counts`: they need an
//! optimised build.

use std::process::Command;

#[test]
fn the_hot_functions_allocate_no_more_than_their_baseline() {
    let baseline = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.json");
    let output = Command::new(env!("CARGO_BIN_EXE_bench-counts")).args(["check", baseline, "allocations"]).output();
    let output = output.expect("the program");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
}

//! `vpc`, see `format.rs`.

#![no_main]

#[path = "../format.rs"]
mod format;

libfuzzer_sys::fuzz_target!(|input: &[u8]| format::fuzz("vpc", input));

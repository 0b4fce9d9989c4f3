//! `filter-snappy` on whatever claims to be something for it.

#![no_main]

mod split;

use filter_snappy::Snappy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| split::split(|| Snappy::new(Some(data.len() as u64), None), data));

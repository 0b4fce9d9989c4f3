//! `filter-bzip2` on whatever claims to be something for it.

#![no_main]

mod split;

use filter_bzip2::Bzip2;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| split::split(|| Bzip2::new(Some(data.len() as u64), None), data));

//! `filter-gzip` on whatever claims to be something for it.

#![no_main]

mod split;

use filter_gzip::Gzip;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| split::split(|| Gzip::new(Some(data.len() as u64), None), data));

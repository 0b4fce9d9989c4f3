//! The bench: an import beside other ways of doing the same, on the same machine, with the same bytes and cipher suite.
//!
//! `just bench` and its sisters run it; `docs/bench/` has what it found.

pub mod bound;
pub mod competitors;
pub mod data;
pub mod link;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod peers;
pub mod plot;
pub mod quota;
pub mod report;
pub mod rounds;
pub mod stand;
pub mod start;
pub mod statistics;
pub mod tls;
pub mod tools;

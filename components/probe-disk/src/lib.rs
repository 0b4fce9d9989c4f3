//! What a disk is: format, virtual size, hazards.
//!
//! One module per format, each a pure function over the head of the disk; `detect` asks them in turn. This half is testable
//! without wasm; `component` is the glue to the `probe-component` world, which reads as much of the head as it is told to.

#[cfg(target_family = "wasm")]
mod component;
mod detect;
mod foreign;
mod iso9660;
mod qcow2;
mod raw;

pub use detect::{Answer, FIRST_READ, FORMATS, Hazard, MAX_HEAD, Malformed, Severity, Verdict, detect};

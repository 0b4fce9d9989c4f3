//! What a disk is: format, virtual size, hazards.
//!
//! One module per format, each a pure function over a [`View`] of the disk that ends early with the range it needs next;
//! [`detect()`] finds out which of them are candidates and holds the rules about more than one. This half is testable
//! without wasm; `component` is the glue to the `probe-component` world, which reads what it is told to.

mod archive;
mod bzip2;
#[cfg(target_family = "wasm")]
mod component;
mod crc;
mod detect;
mod dmg;
mod fields;
mod gpt;
mod gzip;
mod iso9660;
mod luks;
mod lz4;
mod mbr;
mod parallels;
mod qcow;
mod qcow2;
mod qed;
mod raw;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod table;
mod udf;
mod unsupported;
mod vdi;
mod verdict;
mod vhdx;
mod view;
mod vmdk;
mod vpc;
mod xz;
mod zstd;

pub use detect::{Answer, FORMATS, Format, TAIL, detect, inspect_as};
pub use verdict::{ContentSize, Hazard, MAX_HAZARDS, Malformed, Severity, Verdict};
pub use view::{MAX_BYTES, MAX_MEMORY, MAX_REQUESTS, Request, View};

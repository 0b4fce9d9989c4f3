//! The disk of a container disk in a registry, over the host's `fetch`.
//!
//! The reference leads to a manifest, over an index if there is one; the first file in `disk/` of the first layer that has
//! one is the disk. A layer that is stored uncompressed, where the registry has ranges, is never read as a whole: its
//! headers are, and what stands around the disk is told to the host, which verifies the layer's digest while the disk
//! flows past without entering this component. A compressed one is taken apart here, in order; the host verifies its digest as
//! it comes, this component the diffID. This half is plain logic, testable without wasm; `component` is the glue.

mod answer;
#[cfg(target_family = "wasm")]
mod component;
mod configuration;
mod digest;
mod location;
mod manifest;
mod pax;
mod unpacking;
mod walk;

pub use answer::{Head, Refusal, Verdict, check_part, judge, redirect_target};
pub use configuration::diff_ids;
pub use digest::{Digest, Hashing};
pub use location::Location;
pub use manifest::{ACCEPTED, Blob, Coding, Document, Image, Platform, document};
pub use unpacking::{MAX_EXPANSION, Unpacking};
pub use walk::{Disk, Seen, Walk};

/// The most redirects one request follows; the host enforces the same bound.
pub const MAX_HOPS: usize = 10;
/// The most bytes of a manifest: registries take them up to 4 MiB.
pub const MAX_MANIFEST: usize = 4 << 20;

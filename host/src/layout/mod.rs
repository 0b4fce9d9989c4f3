//! An OCI image layout directory (OCI image-spec, image-layout.md), with the guarantees of a registry: a blob has its name
//! only once all its bytes are verified and on disk, a tag is written last.

mod delete;
mod distribution;
mod folder;
mod gc;
mod index;
mod pull;
mod push;
mod stored_blob;

pub use delete::delete;
pub use distribution::{Cleared, Clearing, Storage};
pub use gc::{Garbage, collect};
pub use pull::Pull;
pub use push::Push;
pub use stored_blob::StoredBlob;

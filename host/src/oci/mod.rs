//! References, digests, manifests: the documents of the OCI image and distribution specifications. Pure: no I/O.

mod digest;
mod image;
mod reference;

pub use digest::{Digest, MalformedDigest};
pub use image::{Annotation, Descriptor, Image, ImageFacts, LAYER_TAR, MANIFEST, Platform, image};
pub use reference::{MalformedReference, Reference, Repository, Tag};

//! References, digests, manifests: the documents of the OCI image and distribution specifications. Pure: no I/O.

mod digest;
mod document;
mod image;
mod keys;
mod media_types;
mod reference;
mod typed;

pub use digest::{Digest, MalformedDigest};
pub use document::{Config, Document, Index, IndexEntry, MalformedDocument, Manifest};
pub use image::{Descriptor, Image, ImageFacts, Platform, Wording, image, label};
pub use keys::{lookalike, media_type};
pub use media_types::{
    DOCKER_LAYER_TAR, DOCKER_LIST, DOCKER_MANIFEST, INDEX, LAYER_TAR, MANIFEST, MalformedMediaTypes, MediaTypes,
    WASM_CONFIG, WASM_LAYER,
};
pub use reference::{MalformedReference, Reference, Repository, Tag};
pub use typed::as_typed;

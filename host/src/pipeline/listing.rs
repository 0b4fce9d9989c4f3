//! What `list` found, and what `gc` did: one JSON document each.

use serde::Serialize;

use super::inspection::{Blob, InspectedImage};

/// The version of the document.
pub const LISTING_SCHEMA: &str = "longshore.list/v1";

/// The version of the other document.
pub const COLLECTED_SCHEMA: &str = "longshore.gc/v1";

/// The version of the third.
pub const DELETED_SCHEMA: &str = "longshore.delete/v1";

/// Images that were deleted, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct Deleted {
    /// [`DELETED_SCHEMA`].
    pub schema: &'static str,
    /// The registry, repository or layout.
    pub name: String,
    /// Whether they were deleted.
    pub deleted: bool,
    /// The images, in the order in which they go.
    pub images: Vec<DeletedImage>,
    /// How many images stay.
    pub kept: usize,
    /// How many of them because nobody says how old they are.
    pub undated: usize,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct DeletedImage {
    /// The repository or layout.
    pub name: String,
    /// The digest of its manifest or index.
    pub digest: String,
    /// `image` or `index`.
    pub kind: &'static str,
    /// The tags that go with it.
    pub tags: Vec<String>,
    /// When it was made, or put into a layout; null if nobody says, or asked.
    pub created: Option<String>,
}

/// What nothing names in a layout, or in a registry's storage.
#[derive(Clone, Debug, Serialize)]
pub struct Collected {
    /// [`COLLECTED_SCHEMA`].
    pub schema: &'static str,
    /// The layout.
    pub name: String,
    /// Whether it was removed.
    pub removed: bool,
    /// What nothing names and is old enough.
    pub blobs: Vec<CollectedBlob>,
    /// Their bytes.
    pub bytes: u64,
    /// How many that nothing names are too young.
    pub young: usize,
    /// How many are named.
    pub named: usize,
    /// Manifests of a storage that no tag leads to.
    pub manifests: Vec<CollectedLink>,
    /// Blobs that repositories of a storage offer and that no manifest names.
    pub links: Vec<CollectedLink>,
    /// Repositories of a storage that have unfinished uploads.
    pub uploads: Vec<String>,
}

/// Something of a repository.
#[derive(Clone, Debug, Serialize)]
pub struct CollectedLink {
    /// The repository.
    pub repository: String,
    /// The digest.
    pub digest: String,
}

/// A blob that nothing names.
#[derive(Clone, Debug, Serialize)]
pub struct CollectedBlob {
    /// Its digest.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
}

/// What there is. Absent values are null.
#[derive(Clone, Debug, Serialize)]
pub struct Listing {
    /// [`LISTING_SCHEMA`].
    pub schema: &'static str,
    /// The registry, repository or layout.
    pub name: String,
    /// `registry`, `repository` or `layout`.
    pub kind: &'static str,
    /// The repositories of a registry, in order; null for anything else.
    pub repositories: Option<Vec<String>>,
    /// The images of a repository by their tags, in order, or of a layout; null for a registry.
    pub images: Option<Vec<ListedImage>>,
}

/// What stands under a tag.
#[derive(Clone, Debug, Serialize)]
pub struct ListedImage {
    /// The tag; null for what a layout lists without one.
    pub tag: Option<String>,
    /// The manifest or index; null where only names were wanted, or it could not be read.
    pub document: Option<Blob>,
    /// `image` or `index`.
    pub kind: Option<&'static str>,
    /// The image, or every one that the index lists; null where only names were wanted.
    pub images: Option<Vec<InspectedImage>>,
    /// Why it cannot be read as an image; the others are listed all the same.
    pub error: Option<String>,
}

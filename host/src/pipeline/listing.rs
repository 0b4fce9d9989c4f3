//! What `list` found: one JSON document.

use serde::Serialize;

use super::inspection::{Blob, InspectedImage};

/// The version of the document.
pub const LISTING_SCHEMA: &str = "longshore.list/v1";

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

//! What clients are told of an upload: one JSON document, the same fields whatever became of it.

use serde::Serialize;

use crate::pipeline::ErrorReport;

/// The version of the document.
pub(super) const SCHEMA: &str = "longshore.upload/v1";

/// An upload, or the refusal of one. Absent values are null.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct UploadReport {
    /// [`SCHEMA`].
    pub(super) schema: &'static str,
    /// The name of the upload.
    pub(super) id: Option<String>,
    /// `receiving`, `importing` (all of it is here), `done` or `failed`.
    pub(super) state: Option<&'static str>,
    /// Bytes that were taken: where the client goes on.
    pub(super) offset: Option<u64>,
    /// Bytes of the whole upload.
    pub(super) length: Option<u64>,
    /// What the import is doing.
    pub(super) phase: Option<&'static str>,
    /// `repository@digest`, once the image stands.
    pub(super) reference: Option<String>,
    /// The manifest's digest.
    pub(super) digest: Option<String>,
    /// The tags that point at it.
    pub(super) tags: Option<Vec<String>>,
    /// What the disk is.
    pub(super) disk: Option<DiskReport>,
    /// Why there is no image, or why the request was refused.
    pub(super) error: Option<ErrorReport>,
}

/// The disk of an image.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DiskReport {
    /// Its name in the layer.
    pub(super) name: Option<String>,
    /// Its format.
    pub(super) format: Option<String>,
    /// Bytes as a guest machine sees them.
    pub(super) virtual_size: Option<u64>,
    /// Stable names of what is dangerous about it.
    pub(super) hazards: Vec<String>,
}

//! What `inspect` found: one JSON document.

use std::collections::BTreeMap;

use serde::Serialize;

/// The version of the document.
pub const INSPECTION_SCHEMA: &str = "longshore.inspect/v1";

/// What a reference leads to. Absent values are null.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// [`INSPECTION_SCHEMA`].
    pub schema: &'static str,
    /// The repository or layout.
    pub name: String,
    /// `image` or `index`.
    pub kind: &'static str,
    /// The manifest or index itself.
    #[serde(flatten)]
    pub document: Blob,
    /// Annotations of the index; empty for an image, which has its own.
    pub annotations: BTreeMap<String, String>,
    /// The image, or every one that the index lists.
    pub images: Vec<InspectedImage>,
}

/// One image.
#[derive(Clone, Debug, Serialize)]
pub struct InspectedImage {
    /// What it is for, as its config or the index says.
    pub platform: Option<PlatformFound>,
    /// The manifest.
    #[serde(flatten)]
    pub manifest: Blob,
    /// When it was made, as its config says.
    pub created: Option<String>,
    /// The disk, as far as labels and the beginning of the layer tell.
    pub disk: DiskFound,
    /// The config; null for what an index lists that is no manifest.
    pub config: Option<Blob>,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
    /// Labels of the config.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// A disk in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskFound {
    /// Its name in the layer; null if the layer is compressed or has no disk. From the layer's first bytes, which its
    /// digest does not vouch for alone.
    pub name: Option<String>,
    /// Its bytes, from there too.
    pub size: Option<u64>,
    /// The format, as a label says.
    pub format: Option<String>,
    /// Bytes as a guest machine would see them, as a label says.
    pub virtual_size: Option<u64>,
}

/// A stored blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blob {
    /// The digest.
    pub digest: String,
    /// The media type.
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
}

/// Operating system and architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlatformFound {
    /// `linux`, …
    pub os: String,
    /// `amd64`, …
    pub architecture: String,
    /// `v8`, …
    pub variant: Option<String>,
}

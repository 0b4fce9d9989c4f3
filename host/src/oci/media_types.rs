//! The two families of media types that consumers understand (OCI image-spec, media-types.md; Docker's image manifest
//! version 2, schema 2).

use std::fmt;
use std::str::FromStr;

/// The media type of an OCI manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The media type of an uncompressed OCI tar layer.
pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// The media type of an uncompressed tar layer of Docker's.
pub const DOCKER_LAYER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// The media type of the config of a component as an artifact (CNCF TAG Runtime, "Wasm OCI Artifact layout").
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The media type of the component itself, the one layer of such an artifact.
pub const WASM_LAYER: &str = "application/wasm";

/// Whose media types an image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaTypes {
    /// The Open Container Initiative's.
    #[default]
    Oci,
    /// Docker's.
    Docker,
}

/// A text that names no family.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` names no media types: expected `oci` or `docker`")]
pub struct MalformedMediaTypes(String);

impl MediaTypes {
    /// Of a manifest.
    #[must_use]
    pub const fn manifest(self) -> &'static str {
        match self {
            Self::Oci => MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        }
    }

    /// Of a config.
    #[must_use]
    pub const fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    /// Of a layer that a stage gave an OCI media type, compressed or not; none if the family has none for it. Docker's
    /// schema has none for zstd: some readers made one up, others refuse the image.
    #[must_use]
    pub fn layer(self, oci: &str) -> Option<String> {
        let compression = oci.strip_prefix(LAYER_TAR)?;
        match (self, compression) {
            (Self::Oci, "" | "+gzip" | "+zstd") => Some(oci.to_owned()),
            (Self::Docker, "") => Some(DOCKER_LAYER_TAR.to_owned()),
            (Self::Docker, "+gzip") => Some(format!("{DOCKER_LAYER_TAR}.gzip")),
            _ => None,
        }
    }
}

impl FromStr for MediaTypes {
    type Err = MalformedMediaTypes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "oci" => Ok(Self::Oci),
            "docker" => Ok(Self::Docker),
            other => Err(MalformedMediaTypes(other.to_owned())),
        }
    }
}

impl fmt::Display for MediaTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oci => "oci",
            Self::Docker => "docker",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_reads_what_it_writes() {
        for family in [MediaTypes::Oci, MediaTypes::Docker] {
            assert_eq!(family.to_string().parse::<MediaTypes>().unwrap(), family);
        }
        assert!("OCI".parse::<MediaTypes>().is_err());
    }

    #[test]
    fn a_layer_has_the_families_own_type() {
        let layer = |family: MediaTypes, compression: &str| family.layer(&format!("{LAYER_TAR}{compression}"));
        assert_eq!(layer(MediaTypes::Oci, "+zstd").unwrap(), format!("{LAYER_TAR}+zstd"));
        assert_eq!(layer(MediaTypes::Docker, "").unwrap(), DOCKER_LAYER_TAR);
        assert_eq!(layer(MediaTypes::Docker, "+gzip").unwrap(), format!("{DOCKER_LAYER_TAR}.gzip"));
        assert_eq!(layer(MediaTypes::Oci, "").unwrap(), LAYER_TAR);
        assert_eq!(layer(MediaTypes::Oci, "+gzip").unwrap(), "application/vnd.oci.image.layer.v1.tar+gzip");
        assert_eq!(layer(MediaTypes::Oci, "+xz"), None);
        assert_eq!(layer(MediaTypes::Docker, "+zstd"), None);
        assert_eq!(MediaTypes::Oci.layer("application/x-tar"), None);
    }
}

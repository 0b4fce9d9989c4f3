//! Looks at an image: every document verified, of the layers only the beginning.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Credentials;
use super::destination::registry_at;
use super::disk_entry::disk_entry;
use super::inspection::{Blob, DiskFound, INSPECTION_SCHEMA, InspectedImage, Inspection, PlatformFound};
use crate::error::{Code, Error, Result, Stage};
use crate::layout;
use crate::net::Net;
use crate::oci::{
    Config, DOCKER_LAYER_TAR, DOCKER_LIST, Descriptor, Document, INDEX, IndexEntry, LAYER_TAR, MANIFEST, Manifest,
    MediaTypes, Platform, Reference, Tag, label,
};
use crate::policy::{Policy, Side};
use crate::registry;

/// The most images of an index that are looked at.
const MAX_IMAGES: usize = 64;
/// The most layers of an image whose beginning is looked at.
const MAX_LAYERS: usize = 4;
/// So much of a layer is enough for the headers of a disk and for what may stand before them.
const LAYER_START: usize = 16 * 1024;

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct InspectPlan {
    /// Where it is.
    pub image: ImageAt,
    /// What is allowed.
    pub policy: Policy,
}

/// Where an image is.
#[derive(Clone, Debug)]
pub enum ImageAt {
    /// In a registry.
    Registry {
        /// What; without tag and digest it is `latest`.
        reference: Reference,
        /// Credentials for its registry.
        credentials: Option<Credentials>,
    },
    /// In an OCI image layout directory, under a tag or alone.
    Layout(PathBuf, Option<Tag>),
}

/// Where images are looked at.
pub(super) enum Place {
    Registry(Box<registry::Pull>),
    Layout(layout::Pull),
}

/// Carries out a plan.
///
/// # Errors
/// `registry-not-found` if there is nothing, `registry-mismatch` if something has another digest than it should,
/// `registry-protocol` if it is no image, and what keeps it from being read.
pub async fn inspect(plan: &InspectPlan) -> Result<Inspection> {
    let net = Net::new(Arc::new(plan.policy.clone()));
    look(plan, &net).await.map_err(|error| net.advise(error))
}

async fn look(plan: &InspectPlan, net: &Net) -> Result<Inspection> {
    let (mut place, found, bytes, name) = open(plan, net).await?;
    let (kind, annotations, images) = place.found(&found, &bytes).await?;
    let annotations = if kind == "index" { annotations } else { Default::default() };
    Ok(Inspection { schema: INSPECTION_SCHEMA, name, kind, document: blob(&found), annotations, images })
}

async fn open(plan: &InspectPlan, net: &Net) -> Result<(Place, Descriptor, Vec<u8>, String)> {
    match &plan.image {
        ImageAt::Registry { reference, credentials } => {
            let (origin, url) = registry_at(&reference.repository, Side::Registry, &plan.policy)?;
            let client = net.client(Side::Registry, vec![origin]);
            let repository = reference.repository.clone();
            let mut pull = registry::Pull::new(client, &url, repository, credentials.clone())?;
            pull.open().await?;
            let found = match (&reference.digest, &reference.tag) {
                (Some(digest), _) => pull.digested(digest).await?,
                (None, Some(tag)) => pull.tagged(tag).await?,
                (None, None) => pull.tagged(&Tag::latest()).await?,
            };
            let name = reference.repository.to_string();
            Ok((Place::Registry(Box::new(pull)), found.descriptor, found.bytes, name))
        }
        ImageAt::Layout(path, tag) => {
            let pull = layout::Pull::new(path.clone());
            let found = pull.tagged(tag.as_ref())?;
            let bytes = pull.blob(&found)?;
            Ok((Place::Layout(pull), found, bytes, format!("oci:{}", path.display())))
        }
    }
}

impl Place {
    /// What a reference leads to: `image` or `index`, its annotations, and its images.
    pub(super) async fn found(
        &mut self,
        found: &Descriptor,
        bytes: &[u8],
    ) -> Result<(&'static str, BTreeMap<String, String>, Vec<InspectedImage>)> {
        match parse(bytes, found)? {
            Document::Manifest(manifest) => {
                Ok(("image", manifest.annotations.clone(), vec![self.image(found, manifest, None).await?]))
            }
            Document::Index(index) => {
                if index.entries.len() > MAX_IMAGES {
                    let message = format!("the index {} lists {} images", found.digest, index.entries.len());
                    return Err(protocol(format!("{message}, expected at most {MAX_IMAGES}")));
                }
                let mut images = Vec::new();
                for entry in index.entries {
                    images.push(self.entry(entry).await?);
                }
                Ok(("index", index.annotations, images))
            }
        }
    }

    /// One line of an index.
    async fn entry(&mut self, entry: IndexEntry) -> Result<InspectedImage> {
        let IndexEntry { manifest: descriptor, platform, annotations, .. } = entry;
        // Indexes within indexes are listed, not followed: they could lead anywhere, and back.
        if [INDEX, DOCKER_LIST].contains(&descriptor.media_type.as_str()) {
            return Ok(InspectedImage {
                platform: platform.map(shown),
                manifest: blob(&descriptor),
                created: None,
                disk: DiskFound::default(),
                config: None,
                layers: Vec::new(),
                labels: Default::default(),
                annotations,
            });
        }
        let bytes = match self {
            Self::Registry(pull) => pull.digested(&descriptor.digest).await?.bytes,
            Self::Layout(pull) => pull.blob(&descriptor)?,
        };
        match parse(&bytes, &descriptor)? {
            Document::Manifest(manifest) => self.image(&descriptor, manifest, platform).await,
            Document::Index(_) => Err(protocol(format!("{} is an index, and listed as none", descriptor.digest))),
        }
    }

    async fn image(
        &mut self,
        descriptor: &Descriptor,
        manifest: Manifest,
        platform: Option<Platform>,
    ) -> Result<InspectedImage> {
        // The config of an artifact that is no image may be anything.
        let is_image = [MediaTypes::Oci, MediaTypes::Docker].iter().any(|t| t.config() == manifest.config.media_type);
        let config = match is_image {
            true => {
                let bytes = self.blob(&manifest.config).await?;
                Config::parse(&bytes)
                    .map_err(|why| protocol(format!("the config {} cannot be read: {why}", manifest.config.digest)))?
            }
            false => Config::default(),
        };
        let entry = if is_image { self.disk_entry(&manifest.layers).await? } else { None };
        let label = |name: &str| config.labels.get(name).cloned();
        let (name, size) = entry.map_or((None, None), |(name, size)| (Some(name), Some(size)));
        let disk = DiskFound {
            name,
            size,
            format: label(label::FORMAT),
            virtual_size: label(label::VIRTUAL_SIZE).and_then(|size| size.parse().ok()),
        };
        Ok(InspectedImage {
            platform: config.platform.or(platform).map(shown),
            manifest: blob(descriptor),
            created: config.created,
            disk,
            config: Some(blob(&manifest.config)),
            layers: manifest.layers.iter().map(blob).collect(),
            labels: config.labels,
            annotations: manifest.annotations,
        })
    }

    /// Name and size of the disk, from the first layer that begins with one.
    async fn disk_entry(&mut self, layers: &[Descriptor]) -> Result<Option<(String, u64)>> {
        let plain = |layer: &&Descriptor| [LAYER_TAR, DOCKER_LAYER_TAR].contains(&layer.media_type.as_str());
        for layer in layers.iter().filter(plain).filter(|layer| layer.size > 0).take(MAX_LAYERS) {
            let start = match self {
                Self::Registry(pull) => pull.blob_start(layer, LAYER_START).await?,
                Self::Layout(pull) => pull.blob_start(layer, LAYER_START)?,
            };
            if let Some(entry) = disk_entry(&start) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// A small blob, verified.
    pub(super) async fn blob(&mut self, blob: &Descriptor) -> Result<Vec<u8>> {
        match self {
            Self::Registry(pull) => pull.blob(blob).await,
            Self::Layout(pull) => pull.blob(blob),
        }
    }
}

fn parse(bytes: &[u8], descriptor: &Descriptor) -> Result<Document> {
    Document::parse(bytes).map_err(|why| {
        let kind = if descriptor.media_type.is_empty() { MANIFEST } else { &descriptor.media_type };
        protocol(format!("{} cannot be read as {kind}: {why}", descriptor.digest))
    })
}

fn protocol(message: String) -> Error {
    Error::new(Code::RegistryProtocol, Stage::Upload, message)
}

pub(super) fn blob(descriptor: &Descriptor) -> Blob {
    Blob { digest: descriptor.digest.to_string(), media_type: descriptor.media_type.clone(), size: descriptor.size }
}

fn shown(platform: Platform) -> PlatformFound {
    PlatformFound { os: platform.os, architecture: platform.architecture, variant: platform.variant }
}

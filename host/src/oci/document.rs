//! Manifests, indexes and configs as others write them (OCI image-spec manifest.md, image-index.md, config.md; Docker's
//! manifest version 2, schema 2). Read leniently: what is not needed may be anything.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Descriptor, Platform};

/// What a reference leads to.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image, or an artifact of another kind.
    Manifest(Manifest),
    /// Several, by platform.
    Index(Index),
}

/// An image's manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The digest of what it is about, as it is written, if it is about another manifest.
    pub subject: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An index, or Docker's manifest list.
#[derive(Clone, Debug)]
pub struct Index {
    /// What it lists.
    pub entries: Vec<IndexEntry>,
    /// The digest of what it is about, as it is written, if it is about another manifest.
    pub subject: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// One manifest of an index.
#[derive(Clone, Debug)]
pub struct IndexEntry {
    /// The manifest.
    pub manifest: Descriptor,
    /// What it is for, if the index says so.
    pub platform: Option<Platform>,
    /// Whether the index says that it is for no platform (`unknown`), as it does of attestations.
    pub attached: bool,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An image's config.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What the image is for, if it says so.
    pub platform: Option<Platform>,
    /// When it was made, as it says.
    pub created: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What its layers are uncompressed, the lowest first, as it says.
    pub diff_ids: Vec<String>,
}

/// A document that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MalformedDocument(String);

#[derive(Deserialize)]
struct WireDocument {
    #[serde(default)]
    config: Option<WireDescriptor>,
    #[serde(default)]
    layers: Option<Vec<WireDescriptor>>,
    #[serde(default)]
    manifests: Option<Vec<WireDescriptor>>,
    #[serde(default)]
    subject: Option<serde_json::Value>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct WireDescriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<WirePlatform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
struct WirePlatform {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Deserialize)]
struct WireConfig {
    // Not flattened: what is unknown would be kept in memory.
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: Option<WireRuntime>,
    #[serde(default)]
    rootfs: Option<WireRootFs>,
}

#[derive(Deserialize)]
struct WireRootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct WireRuntime {
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Reads a manifest or an index.
    ///
    /// # Errors
    /// If it is neither, or both: what two readers would take for different things is nobody's image.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedDocument> {
        let document: WireDocument = serde_json::from_slice(bytes).map_err(malformed)?;
        let annotations = document.annotations.unwrap_or_default();
        let subject = document.subject.and_then(|subject| Some(subject.get("digest")?.as_str()?.to_owned()));
        match (document.config, document.layers, document.manifests) {
            (Some(config), layers, None) => {
                let layers = layers.unwrap_or_default().into_iter().map(descriptor).collect::<Result<_, _>>()?;
                Ok(Self::Manifest(Manifest { config: descriptor(config)?, layers, subject, annotations }))
            }
            (None, None, Some(manifests)) => {
                let entries = manifests.into_iter().map(entry).collect::<Result<_, _>>()?;
                Ok(Self::Index(Index { entries, subject, annotations }))
            }
            (None, None, None) => Err(MalformedDocument("it is neither a manifest nor an index".to_owned())),
            _ => Err(MalformedDocument("it is a manifest and an index at once".to_owned())),
        }
    }
}

impl Config {
    /// Reads a config.
    ///
    /// # Errors
    /// If it is no JSON object, or its fields have other types.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedDocument> {
        let config: WireConfig = serde_json::from_slice(bytes).map_err(malformed)?;
        let WireConfig { os, architecture, variant, .. } = config;
        Ok(Self {
            platform: platform(WirePlatform { os, architecture, variant }),
            created: config.created,
            labels: config.config.and_then(|runtime| runtime.labels).unwrap_or_default(),
            diff_ids: config.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default(),
        })
    }
}

pub(super) fn malformed(why: serde_json::Error) -> MalformedDocument {
    MalformedDocument(why.to_string())
}

fn entry(wire: WireDescriptor) -> Result<IndexEntry, MalformedDocument> {
    let mut wire = wire;
    let os = wire.platform.as_ref().and_then(|platform| platform.os.as_deref());
    Ok(IndexEntry {
        attached: os == Some("unknown"),
        platform: wire.platform.take().and_then(platform),
        annotations: wire.annotations.take().unwrap_or_default(),
        manifest: descriptor(wire)?,
    })
}

fn descriptor(wire: WireDescriptor) -> Result<Descriptor, MalformedDocument> {
    let digest = wire.digest.parse().map_err(|why: super::MalformedDigest| MalformedDocument(why.to_string()))?;
    Ok(Descriptor { media_type: wire.media_type, digest, size: wire.size })
}

/// A platform that says `unknown`, as attestations have it, is none.
fn platform(wire: WirePlatform) -> Option<Platform> {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (os, architecture) = (some(wire.os)?, some(wire.architecture)?);
    (os != "unknown").then(|| Platform { os, architecture, variant: some(wire.variant) })
}

#[cfg(test)]
mod tests {
    use super::super::{ImageFacts, LAYER_TAR, MediaTypes, Wording};
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn our_own_documents_are_read() {
        let layer = Descriptor { media_type: LAYER_TAR.to_owned(), digest: Digest::of(b"layer"), size: 5 };
        for media_types in [MediaTypes::Oci, MediaTypes::Docker] {
            let image = super::super::image(&ImageFacts {
                media_types,
                layer: layer.clone(),
                diff_id: layer.digest,
                platform: Platform::linux_amd64(),
                created: "1970-01-01T00:00:00Z".to_owned(),
                labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
                annotations: BTreeMap::new(),
                wording: Wording::default(),
            })
            .unwrap();
            let Document::Manifest(manifest) = Document::parse(&image.manifest_bytes).unwrap() else { panic!() };
            assert_eq!((&manifest.config, &manifest.layers[..]), (&image.config, &[layer.clone()][..]));
            let config = Config::parse(&image.config_bytes).unwrap();
            assert_eq!(config.platform, Some(Platform::linux_amd64()));
            assert_eq!(config.labels["a"], "b");
        }
    }

    #[test]
    fn an_index_lists_platforms() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[
                {{"mediaType":"m","digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}},
                {{"mediaType":"m","digest":"{digest}","size":1,"platform":{{"os":"unknown","architecture":"unknown"}}}},
                {{"mediaType":"m","digest":"{digest}","size":1,"annotations":{{"a":"b"}}}}]}}"#
        );
        let Document::Index(index) = Document::parse(text.as_bytes()).unwrap() else { panic!() };
        let platforms: Vec<_> = index.entries.iter().map(|entry| entry.platform.clone()).collect();
        let arm = Platform { os: "linux".to_owned(), architecture: "arm".to_owned(), variant: Some("v7".to_owned()) };
        assert_eq!(platforms, [Some(arm), None, None]);
        let attached: Vec<_> = index.entries.iter().map(|entry| entry.attached).collect();
        assert_eq!(attached, [false, true, false]);
        assert_eq!(index.entries[2].annotations["a"], "b");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let digest = Digest::of(b"x");
        let d = format!(r#"{{"digest":"{digest}","size":1}}"#);
        for text in [
            String::new(),
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"fsLayers":[]}"#.to_owned(),
            format!(r#"{{"config":{d},"layers":[],"manifests":[]}}"#),
            format!(r#"{{"manifests":[],"layers":[{d}]}}"#),
            r#"{"config":{"digest":"sha256:x","size":1}}"#.to_owned(),
            format!(r#"{{"config":{{"digest":"{digest}","size":-1}}}}"#),
        ] {
            assert!(Document::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Config::parse(b"{}").unwrap().platform.is_none());
        assert!(Config::parse(b"\"x\"").is_err());
        assert!(Config::parse(br#"{"config":null}"#).unwrap().labels.is_empty());
    }
}

//! Config and manifest of a container disk (OCI image-spec, config.md and manifest.md; Docker's image manifest version 2,
//! schema 2).

use std::collections::{BTreeMap, HashMap};

use oci_spec::OciSpecError;
use oci_spec::image::{
    ConfigBuilder, DescriptorBuilder, HistoryBuilder, ImageConfigurationBuilder, ImageManifestBuilder, MediaType,
    RootFsBuilder,
};
use serde::Serialize;
use serde_json::Value;

use super::{Digest, MediaTypes};

/// A stored blob: what it is, which, how long (OCI image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The digest of the stored bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
}

/// Operating system and architecture, as the image-spec names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`, …
    pub os: String,
    /// `amd64`, …
    pub architecture: String,
    /// `v8`, … where the architecture has some.
    pub variant: Option<String>,
}

/// Labels of the config that say what the disk is; nobody but longshore sets them.
pub mod label {
    /// Bytes of the disk.
    pub const SIZE: &str = "source-image-size";
    /// Bytes as a guest machine would see them.
    pub const VIRTUAL_SIZE: &str = "source-image-virtual-size";
    /// The format.
    pub const FORMAT: &str = "source-image-format";
    /// That the layers are fit for EROFS: one uncompressed tar, as its consumers look for.
    pub const EROFS: &str = "erofs-compatible-layers";
    /// All of them.
    pub const ALL: [&str; 4] = [SIZE, VIRTUAL_SIZE, FORMAT, EROFS];
}

/// Words of a config that say nothing of the disk, and that somebody's convention has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wording {
    /// Who made it, in the config and its history.
    pub author: Option<String>,
    /// The folder in which a container would start.
    pub working_dir: Option<String>,
    /// The comment of its one step, in the place of the program that took it.
    pub comment: Option<String>,
}

/// What goes into config and manifest.
#[derive(Clone, Debug)]
pub struct ImageFacts {
    /// Whose media types they have.
    pub media_types: MediaTypes,
    /// The one layer.
    pub layer: Descriptor,
    /// Its digest uncompressed; the same for an uncompressed layer.
    pub diff_id: Digest,
    /// What the config says the image is for.
    pub platform: Platform,
    /// RFC 3339; never the clock.
    pub created: String,
    /// Labels of the config.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the manifest; Docker's has none.
    pub annotations: BTreeMap<String, String>,
    /// Other words.
    pub wording: Wording,
}

/// A config and the manifest that names it: the same facts give the same bytes.
#[derive(Clone, Debug)]
pub struct Image {
    /// The config's descriptor.
    pub config: Descriptor,
    /// The config.
    pub config_bytes: Vec<u8>,
    /// The manifest's descriptor.
    pub manifest: Descriptor,
    /// The manifest.
    pub manifest_bytes: Vec<u8>,
}

impl Platform {
    /// What a container disk is for unless somebody says otherwise; never the machine that imports it.
    #[must_use]
    pub fn linux_amd64() -> Self {
        Self { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None }
    }
}

/// Makes config and manifest.
///
/// # Errors
/// If the facts do not fit the documents' types, which is a bug of the caller.
pub fn image(facts: &ImageFacts) -> Result<Image, OciSpecError> {
    let types = facts.media_types;
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(vec![facts.diff_id.to_string()]).build()?;
    let Wording { author, working_dir, comment } = &facts.wording;
    let mut history = HistoryBuilder::default().created(&*facts.created);
    history = match comment {
        Some(comment) => history.comment(&**comment),
        None => history.created_by("longshore import"),
    };
    if let Some(author) = author {
        history = history.author(&**author);
    }
    let mut container = ConfigBuilder::default().labels(facts.labels.clone().into_iter().collect::<HashMap<_, _>>());
    if let Some(working_dir) = working_dir {
        container = container.working_dir(&**working_dir);
    }
    let mut config = ImageConfigurationBuilder::default()
        .created(&*facts.created)
        .os(&*facts.platform.os)
        .architecture(&*facts.platform.architecture)
        .config(container.build()?)
        .rootfs(rootfs)
        .history(vec![history.build()?]);
    if let Some(author) = author {
        config = config.author(&**author);
    }
    if let Some(variant) = &facts.platform.variant {
        config = config.variant(&**variant);
    }
    let config = config.build()?;
    let config_bytes = canonical(&config)?;
    let config = Descriptor {
        media_type: types.config().to_owned(),
        digest: Digest::of(&config_bytes),
        size: config_bytes.len() as u64,
    };
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::from(types.manifest()))
        .config(descriptor(&config)?)
        .layers(vec![descriptor(&facts.layer)?]);
    if types == MediaTypes::Oci {
        manifest = manifest.annotations(facts.annotations.clone().into_iter().collect::<HashMap<_, _>>());
    }
    let manifest = manifest.build()?;
    let manifest_bytes = canonical(&manifest)?;
    let manifest = Descriptor {
        media_type: types.manifest().to_owned(),
        digest: Digest::of(&manifest_bytes),
        size: manifest_bytes.len() as u64,
    };
    Ok(Image { config, config_bytes, manifest, manifest_bytes })
}

fn descriptor(descriptor: &Descriptor) -> Result<oci_spec::image::Descriptor, OciSpecError> {
    let digest: oci_spec::image::Digest = descriptor.digest.to_string().parse()?;
    DescriptorBuilder::default()
        .media_type(MediaType::from(descriptor.media_type.as_str()))
        .digest(digest)
        .size(descriptor.size)
        .build()
}

/// JSON with sorted keys: the documents' maps have no order of their own, and a digest must not depend on chance.
fn canonical(document: &impl Serialize) -> Result<Vec<u8>, OciSpecError> {
    Ok(serde_json::to_vec(&sorted(serde_json::to_value(document)?))?)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<String, Value> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(map.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::LAYER_TAR;
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn facts() -> ImageFacts {
        let layer = Descriptor { media_type: LAYER_TAR.to_owned(), digest: Digest::of(b"layer"), size: 5 };
        ImageFacts {
            media_types: MediaTypes::Oci,
            diff_id: layer.digest,
            layer,
            platform: Platform::linux_amd64(),
            created: "1970-01-01T00:00:00Z".to_owned(),
            labels: map(&[("b", "2"), ("a", "1"), ("c", "3")]),
            annotations: map(&[("z", "26"), ("y", "25")]),
            wording: Wording::default(),
        }
    }

    #[test]
    fn the_same_facts_give_the_same_bytes() {
        let first = image(&facts()).unwrap();
        for _ in 0..20 {
            assert_eq!(image(&facts()).unwrap().manifest.digest, first.manifest.digest);
        }
    }

    #[test]
    fn the_documents_say_what_consumers_look_for() {
        let image = image(&facts()).unwrap();
        let config: Value = serde_json::from_slice(&image.config_bytes).unwrap();
        assert_eq!(config["os"], "linux");
        assert_eq!(config["architecture"], "amd64");
        assert_eq!(config["rootfs"]["type"], "layers");
        assert_eq!(config["rootfs"]["diff_ids"][0], Digest::of(b"layer").to_string());
        assert_eq!(config["config"]["Labels"]["a"], "1");
        let manifest: Value = serde_json::from_slice(&image.manifest_bytes).unwrap();
        assert_eq!(manifest["schemaVersion"], 2);
        assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
        assert_eq!(manifest["layers"][0]["mediaType"], LAYER_TAR);
        assert_eq!(manifest["annotations"]["y"], "25");
    }

    #[test]
    fn a_convention_may_have_words_of_its_own() {
        let config = |wording| -> Value {
            serde_json::from_slice(&image(&ImageFacts { wording, ..facts() }).unwrap().config_bytes).unwrap()
        };
        let plain = config(Wording::default());
        assert_eq!((&plain["author"], &plain["config"]["WorkingDir"]), (&Value::Null, &Value::Null));
        assert_eq!(plain["history"][0]["created_by"], "longshore import");
        let [author, working_dir, comment] = ["a", "/", "c"].map(|text| Some(text.to_owned()));
        let worded = config(Wording { author, working_dir, comment });
        assert_eq!((&worded["author"], &worded["config"]["WorkingDir"]), (&"a".into(), &"/".into()));
        let history = serde_json::json!([{"author": "a", "comment": "c", "created": "1970-01-01T00:00:00Z"}]);
        assert_eq!(worded["history"], history);
    }

    #[test]
    fn dockers_documents_have_dockers_media_types_and_no_annotations() {
        let platform = Platform { variant: Some("v8".to_owned()), ..Platform::linux_amd64() };
        let image = image(&ImageFacts { media_types: MediaTypes::Docker, platform, ..facts() }).unwrap();
        let manifest: Value = serde_json::from_slice(&image.manifest_bytes).unwrap();
        assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
        assert_eq!(image.manifest.media_type, manifest["mediaType"]);
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
        assert_eq!(manifest.get("annotations"), None);
        let config: Value = serde_json::from_slice(&image.config_bytes).unwrap();
        assert_eq!(config["variant"], "v8");
    }
}

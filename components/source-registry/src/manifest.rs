//! Manifests and indexes, OCI's (image-spec, manifest.md and image-index.md) and Docker's (image manifest version 2,
//! schema 2, and manifest list).

use serde::Deserialize;

use crate::Digest;

/// What is asked for.
pub const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";
/// The media types of configurations that list diffIDs.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// The most layers that are looked at, and images of an index.
const MAX_ENTRIES: usize = 128;

/// A document.
#[derive(Debug, PartialEq, Eq)]
pub enum Document {
    /// An image.
    Image(Image),
    /// An index: where the image of the wanted platform is.
    Index(Blob),
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its configuration, if it has one that says what its layers are.
    pub config: Option<Blob>,
    /// Its layers, the lowest first.
    pub layers: Vec<Blob>,
}

/// A blob, or a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// How a layer is stored; a document is as it is.
    pub coding: Coding,
}

/// How a tar layer is stored (image-spec, layer.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// A layer that cannot be read here: encrypted, or not in the registry.
    Unreadable,
}

/// What an image is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    media_type: Option<String>,
    config: Option<Described>,
    layers: Option<Vec<Described>>,
    manifests: Option<Vec<Described>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<WrittenPlatform>,
}

#[derive(Deserialize)]
struct WrittenPlatform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Reads `OS/ARCH[/VARIANT]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/').map(str::to_owned);
        let (os, architecture, variant) = (parts.next()?, parts.next()?, parts.next());
        let whole = parts.next().is_none() && !os.is_empty() && !architecture.is_empty();
        whole.then_some(Self { os, architecture, variant })
    }

    fn fits(&self, written: &WrittenPlatform) -> bool {
        let variant = self.variant.is_none() || self.variant == written.variant;
        self.os == written.os && self.architecture == written.architecture && variant
    }

    fn shown(&self) -> String {
        let variant = self.variant.as_ref().map_or_else(String::new, |variant| format!("/{variant}"));
        format!("{}/{}{variant}", self.os, self.architecture)
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None }
    }
}

/// Reads a document. An index has one image for the platform, or one image in all.
///
/// # Errors
/// Words for the user.
pub fn document(bytes: &[u8], platform: &Platform, chosen: bool) -> Result<Document, String> {
    let written: Written = serde_json::from_slice(bytes).map_err(|why| format!("the manifest is not one: {why}"))?;
    let kind = written.media_type.as_deref().unwrap_or("no media type");
    match (written.layers, written.manifests) {
        (Some(layers), None) => {
            if layers.len() > MAX_ENTRIES {
                return Err(format!("the manifest has {} layers, expected at most {MAX_ENTRIES}", layers.len()));
            }
            let config = written.config.filter(|config| CONFIGS.contains(&&*config.media_type));
            let config = config.as_ref().map(Described::blob).transpose()?;
            let layers = layers.iter().map(Described::blob).collect::<Result<_, _>>()?;
            Ok(Document::Image(Image { config, layers }))
        }
        (None, Some(images)) => image(&images, platform, chosen).and_then(Described::blob).map(Document::Index),
        // Who has both would be an image to one reader and an index to the next.
        (Some(_), Some(_)) => Err(format!("the manifest ({kind}) is an image and an index at once")),
        (None, None) => Err(format!("the document ({kind}) is neither an image nor an index")),
    }
}

/// The image for the platform. An image without a platform, or for another one that nobody chose, counts if it is alone.
fn image<'a>(images: &'a [Described], platform: &Platform, chosen: bool) -> Result<&'a Described, String> {
    if images.len() > MAX_ENTRIES {
        return Err(format!("the index lists {} images, expected at most {MAX_ENTRIES}", images.len()));
    }
    let real = |image: &&Described| image.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
    let images: Vec<&Described> = images.iter().filter(real).collect();
    let fits = |image: &&&Described| image.platform.as_ref().is_some_and(|written| platform.fits(written));
    match (images.iter().find(fits), images.as_slice()) {
        (Some(image), _) => Ok(image),
        (None, [alone]) if !chosen => Ok(alone),
        (None, _) => {
            let there: Vec<String> = images.iter().filter_map(|image| image.platform.as_ref()).map(shown).collect();
            let there = if there.is_empty() { "none with a platform".to_owned() } else { there.join(", ") };
            Err(format!("the index has no image for {}; it has {there}", platform.shown()))
        }
    }
}

fn shown(written: &WrittenPlatform) -> String {
    let clean = |text: &str| text.chars().filter(|c| c.is_ascii_graphic()).take(32).collect::<String>();
    let variant = written.variant.as_ref().map_or_else(String::new, |variant| format!("/{}", clean(variant)));
    format!("{}/{}{variant}", clean(&written.os), clean(&written.architecture))
}

impl Described {
    fn blob(&self) -> Result<Blob, String> {
        let digest = Digest::parse(&self.digest).ok_or("a digest in the manifest is not sha256 with 64 digits")?;
        Ok(Blob { digest, size: self.size, coding: coding(&self.media_type) })
    }
}

fn coding(media_type: &str) -> Coding {
    let oci = media_type
        .strip_prefix("application/vnd.oci.image.layer.v1.tar")
        .or_else(|| media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar"));
    let docker = media_type.strip_prefix("application/vnd.docker.image.rootfs.diff.tar");
    match (oci, docker) {
        (Some(""), _) | (_, Some("")) => Coding::Plain,
        (Some("+gzip"), _) | (_, Some(".gzip" | "+gzip")) => Coding::Gzip,
        (Some("+zstd"), _) | (_, Some(".zstd" | "+zstd")) => Coding::Zstd,
        _ => Coding::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OCI: &str = "application/vnd.oci.image.layer.v1.tar";

    fn described(media_type: &str, content: &[u8], platform: Option<&str>) -> serde_json::Value {
        let mut described =
            json!({"mediaType": media_type, "digest": Digest::of(content).to_string(), "size": content.len()});
        if let Some((os, architecture)) = platform.and_then(|platform| platform.split_once('/')) {
            described["platform"] = json!({"os": os, "architecture": architecture});
        }
        described
    }

    fn read(value: &serde_json::Value, platform: &str) -> Result<Document, String> {
        let chosen = !platform.is_empty();
        let platform = if chosen { Platform::parse(platform).unwrap() } else { Platform::default() };
        document(value.to_string().as_bytes(), &platform, chosen)
    }

    #[test]
    fn layers_are_stored_in_every_way() {
        let docker = "application/vnd.docker.image.rootfs.diff.tar";
        for (media_type, expected) in [
            (OCI.to_owned(), Coding::Plain),
            (format!("{OCI}+gzip"), Coding::Gzip),
            (format!("{OCI}+zstd"), Coding::Zstd),
            (format!("{OCI}+encrypted"), Coding::Unreadable),
            (docker.to_owned(), Coding::Plain),
            (format!("{docker}.gzip"), Coding::Gzip),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".to_owned(), Coding::Unreadable),
            ("text/plain".to_owned(), Coding::Unreadable),
        ] {
            let manifest = json!({"layers": [described(&media_type, b"x", None)]});
            let Ok(Document::Image(image)) = read(&manifest, "") else { panic!("{media_type}") };
            assert_eq!(
                (image.config, &*image.layers),
                (None, &[Blob { digest: Digest::of(b"x"), size: 1, coding: expected }][..]),
                "{media_type}"
            );
        }
    }

    #[test]
    fn a_configuration_that_lists_diff_ids_is_one() {
        for (media_type, is_one) in
            [(CONFIGS[0], true), (CONFIGS[1], true), ("application/vnd.oci.empty.v1+json", false)]
        {
            let manifest = json!({"config": described(media_type, b"{}", None), "layers": []});
            let Ok(Document::Image(image)) = read(&manifest, "") else { panic!("{media_type}") };
            assert_eq!(image.config.map(|config| config.digest), is_one.then(|| Digest::of(b"{}")), "{media_type}");
        }
    }

    #[test]
    fn an_index_has_an_image_for_the_platform() {
        let image = |content: &[u8], platform| described("m", content, platform);
        let index = json!({"manifests": [
            image(b"attestation", Some("unknown/unknown")), image(b"a", Some("linux/arm64")), image(b"b", Some("linux/amd64")),
        ]});
        let chosen = |index: &serde_json::Value, platform: &str| match read(index, platform) {
            Ok(Document::Index(blob)) => Ok(blob.digest),
            other => Err(format!("{other:?}")),
        };
        assert_eq!(chosen(&index, ""), Ok(Digest::of(b"b")));
        assert_eq!(chosen(&index, "linux/arm64"), Ok(Digest::of(b"a")));
        let refused = chosen(&index, "linux/s390x").unwrap_err();
        assert!(refused.contains("no image for linux/s390x; it has linux/arm64, linux/amd64"), "{refused}");
        let alone = json!({"manifests": [image(b"c", Some("linux/arm64"))]});
        assert_eq!(chosen(&alone, ""), Ok(Digest::of(b"c")));
        assert!(chosen(&alone, "linux/amd64").is_err());
        assert!(chosen(&json!({"manifests": []}), "").is_err());
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for manifest in [
            json!({}),
            json!([]),
            json!({"layers": [], "manifests": []}),
            json!({"layers": [{"mediaType": OCI, "digest": "sha256:1", "size": 1}]}),
            json!({"layers": [{"mediaType": OCI, "digest": Digest::of(b"").to_string(), "size": -1}]}),
            json!({"layers": vec![described(OCI, b"", None); MAX_ENTRIES + 1]}),
            json!({"manifests": vec![described("m", b"", None); MAX_ENTRIES + 1]}),
        ] {
            assert!(read(&manifest, "").is_err(), "{manifest}");
        }
        assert_eq!(Platform::parse("linux"), None);
        assert_eq!(Platform::parse("linux/arm/v7/x"), None);
    }
}

//! What is to be copied: the manifests and indexes that a reference leads to, each behind what it names.

use std::collections::BTreeSet;

use super::origin::Origin;
use super::{CopyPlan, unfit};
use crate::error::Result;
use crate::oci::{
    Config, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Digest, Document, INDEX, Index, IndexEntry, MANIFEST,
    MalformedDocument, Manifest, Platform, lookalike, media_type,
};

/// The most documents that are copied with one index.
const MAX_DOCUMENTS: usize = 64;
/// The most bytes of all of them: they are in memory until their images stand.
const MAX_BYTES: usize = 8 << 20;
/// The most bytes of one: what a reader makes of a hostile one is many times its size.
const MAX_DOCUMENT: usize = 1 << 20;
/// How deep indexes may stand in each other.
const MAX_DEPTH: usize = 3;
/// The most blobs of an attestation.
const MAX_ATTACHED: usize = 64;
/// The keys that decide what an image is.
const KEYS: [&str; 12] = [
    "mediaType",
    "config",
    "layers",
    "manifests",
    "digest",
    "size",
    "platform",
    "os",
    "architecture",
    "variant",
    "annotations",
    "urls",
];
/// What stands under them is whoever's.
const FREE: [&str; 1] = ["annotations"];
/// The keys of a config that decide what an image is.
const CONFIG_KEYS: [&str; 5] = ["rootfs", "diff_ids", "os", "architecture", "variant"];
/// What stands under these decides how a container runs, or nothing.
const CONFIG_FREE: [&str; 3] = ["config", "container_config", "history"];
/// What documents are called.
const TYPES: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST];
/// How media types of layers end that are stored as they are.
const PLAIN: &str = ".tar";
/// How media types of layers begin that container engines unpack.
const LAYERS: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];

/// All of them, what the reference leads to last.
pub(super) struct Documents {
    pub(super) all: Vec<Written>,
    root: Descriptor,
}

/// A document as it is written.
pub(super) struct Written {
    pub(super) descriptor: Descriptor,
    pub(super) bytes: Vec<u8>,
    pub(super) what: What,
}

/// What a document is.
pub(super) enum What {
    /// The manifest of a container disk.
    Image(Box<Made>),
    /// A manifest that an index lists for no platform, without a layer that anybody would unpack: an attestation.
    Attached(Manifest),
    /// An index, all of whose documents stand in front of it.
    Index,
}

/// A container disk.
pub(super) struct Made {
    pub(super) config: Descriptor,
    pub(super) config_bytes: Vec<u8>,
    /// What it is for, as the config says.
    pub(super) platform: Option<Platform>,
    /// The one layer.
    pub(super) layer: Descriptor,
}

impl Documents {
    /// What the reference leads to.
    pub(super) const fn root(&self) -> &Descriptor {
        &self.root
    }
}

/// Finds them, and verifies each. Of an index the image of the platform that the plan wants, or everything.
///
/// # Errors
/// The source's; `source-invalid` for what is no container disk, or more than is copied at once.
pub(super) async fn documents(origin: &mut Origin<'_>, plan: &CopyPlan) -> Result<Documents> {
    let (mut root, bytes) = origin.root().await?;
    let mut found = Finding { all: Vec::new(), seen: BTreeSet::new(), listed: 0, bytes: 0 };
    let root = match (parse(&mut root, &bytes)?, &plan.platform) {
        (Document::Index(index), Some(platform)) => {
            let mut entry = for_platform(&root, index, platform)?;
            let bytes = origin.manifest(&entry.manifest).await?;
            let Document::Manifest(manifest) = parse(&mut entry.manifest, &bytes)? else {
                return Err(unfit(format!("what {} has for {} is an index", root.digest, shown(platform))));
            };
            found.image(origin, entry.manifest.clone(), bytes, manifest).await?;
            entry.manifest
        }
        (Document::Manifest(manifest), wanted) => {
            found.image(origin, root.clone(), bytes, manifest).await?;
            if let (Some(wanted), Some(What::Image(made))) = (wanted, found.all.last().map(|written| &written.what)) {
                is_for(wanted, made.platform.as_ref(), &root)?;
            }
            root
        }
        (Document::Index(index), None) => {
            found.index(origin, (root.clone(), bytes, index)).await?;
            root
        }
    };
    if !found.all.iter().any(|written| matches!(written.what, What::Image(_))) {
        // Nothing would be looked at, and every demand be met.
        return Err(unfit(format!("the index {} has no image", root.digest)));
    }
    Ok(Documents { all: found.all, root })
}

struct Finding {
    all: Vec<Written>,
    seen: BTreeSet<Digest>,
    listed: usize,
    bytes: usize,
}

/// An index whose entries are being gone through.
struct Open {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    rest: std::vec::IntoIter<IndexEntry>,
}

impl Finding {
    /// An index with everything that it lists, which stands in front of it.
    async fn index(&mut self, origin: &mut Origin<'_>, root: (Descriptor, Vec<u8>, Index)) -> Result<()> {
        let mut open = vec![self.opened(root)?];
        while let Some(last) = open.last_mut() {
            let Some(entry) = last.rest.next() else {
                if let Some(Open { descriptor, bytes, .. }) = open.pop() {
                    self.push(descriptor, bytes, What::Index)?;
                }
                continue;
            };
            self.listed += 1;
            if self.listed > MAX_DOCUMENTS {
                return Err(unfit(format!(
                    "the index lists more than {MAX_DOCUMENTS} documents, which is too many to copy"
                )));
            }
            let IndexEntry { manifest: mut listed, attached, .. } = entry;
            if self.seen.contains(&listed.digest) {
                continue;
            }
            let bytes = origin.manifest(&listed).await?;
            match parse(&mut listed, &bytes)? {
                // None can name itself: its digest would have to be known before its bytes are.
                Document::Index(_) if open.len() == MAX_DEPTH => {
                    return Err(unfit(format!(
                        "more than {MAX_DEPTH} indexes stand within each other at {}",
                        listed.digest
                    )));
                }
                Document::Index(index) => open.push(self.opened((listed, bytes, index))?),
                Document::Manifest(manifest) if attached && !manifest.layers.iter().any(is_layer) => {
                    if manifest.layers.len() > MAX_ATTACHED {
                        return Err(unfit(format!("{} has more than {MAX_ATTACHED} blobs", listed.digest)));
                    }
                    self.push(listed, bytes, What::Attached(manifest))?;
                }
                Document::Manifest(manifest) => self.image(origin, listed, bytes, manifest).await?,
            }
        }
        Ok(())
    }

    fn opened(&mut self, (descriptor, bytes, index): (Descriptor, Vec<u8>, Index)) -> Result<Open> {
        self.counted(bytes.len())?;
        self.seen.insert(descriptor.digest);
        Ok(Open { descriptor, bytes, rest: index.entries.into_iter() })
    }

    async fn image(
        &mut self,
        origin: &mut Origin<'_>,
        descriptor: Descriptor,
        bytes: Vec<u8>,
        manifest: Manifest,
    ) -> Result<()> {
        let Manifest { config, mut layers, .. } = manifest;
        let (Some(layer), true) = (layers.pop(), layers.is_empty()) else {
            // What a second one adds to the first, or takes away from it, only unpacking both would tell.
            let count = layers.len() + usize::from(!layers.is_empty());
            let message =
                format!("the image {} has {count} layers, expected one with nothing but its disk", descriptor.digest);
            return Err(unfit(message));
        };
        let config_bytes = origin.blob(&config).await?;
        self.counted(config_bytes.len())?;
        let platform = platform_of(&config, &config_bytes, &layer)?;
        self.seen.insert(descriptor.digest);
        let made = Made { config, config_bytes, platform, layer };
        self.push(descriptor, bytes, What::Image(Box::new(made)))
    }

    fn push(&mut self, descriptor: Descriptor, bytes: Vec<u8>, what: What) -> Result<()> {
        if !matches!(what, What::Index) {
            self.counted(bytes.len())?;
        }
        self.seen.insert(descriptor.digest);
        self.all.push(Written { descriptor, bytes, what });
        Ok(())
    }

    fn counted(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes > MAX_BYTES {
            true => Err(unfit(format!("manifests and configs have more than {MAX_BYTES} bytes"))),
            false => Ok(()),
        }
    }
}

/// Reads a document that is what its media type says, to whoever reads it. Who does not say what it is leaves that to itself.
fn parse(descriptor: &mut Descriptor, bytes: &[u8]) -> Result<Document> {
    let digest = descriptor.digest;
    let unreadable = |why: MalformedDocument| unfit(format!("{digest} cannot be read: {why}"));
    alike(descriptor, bytes, (&KEYS, &FREE))?;
    let document = Document::parse(bytes).map_err(unreadable)?;
    let own = media_type(bytes).map_err(unreadable)?;
    let own = own.as_deref();
    let told = Some(descriptor.media_type.as_str()).filter(|told| TYPES.contains(told));
    let expected =
        if matches!(document, Document::Index(_)) { [INDEX, DOCKER_LIST] } else { [MANIFEST, DOCKER_MANIFEST] };
    match told.or(own) {
        Some(kind) if expected.contains(&kind) && own.is_none_or(|own| own == kind) => {
            descriptor.media_type = kind.to_owned();
            Ok(document)
        }
        kind => {
            let own = own.map_or_else(String::new, |own| format!(" and calls itself `{}`", clean(own)));
            let message = format!(
                "{digest} is called `{}`{own}, expected {}",
                clean(kind.unwrap_or(&descriptor.media_type)),
                expected.join(" or ")
            );
            Err(unfit(message))
        }
    }
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// Refuses a document that not every reader reads alike: with a key that is not one of those that decide what it is, and that some
/// take for one of them. What they would read is not what was looked at here.
fn alike(descriptor: &Descriptor, bytes: &[u8], (known, free): (&[&str], &[&str])) -> Result<()> {
    let digest = descriptor.digest;
    if bytes.len() > MAX_DOCUMENT {
        let message = format!("{digest} has {} bytes, expected at most {MAX_DOCUMENT} of a document", bytes.len());
        return Err(unfit(message));
    }
    match lookalike(bytes, known, free) {
        Ok(None) => Ok(()),
        Ok(Some(key)) => {
            Err(unfit(format!("{digest} has a key `{}`, which some readers take for another one", clean(&key))))
        }
        Err(why) => Err(unfit(format!("{digest} cannot be read: {why}"))),
    }
}

/// What an image is for, as its config says, if that also says what the one layer is.
///
/// Engines look for compression in a layer whatever its media type says, and unpack what they find only if it has the diffID. Of a
/// layer that is stored as it is that is its own digest, so that it is nothing else to them either; of others the source verifies
/// it as it decompresses them.
fn platform_of(config: &Descriptor, bytes: &[u8], layer: &Descriptor) -> Result<Option<Platform>> {
    alike(config, bytes, (&CONFIG_KEYS, &CONFIG_FREE))?;
    let parsed =
        Config::parse(bytes).map_err(|why| unfit(format!("the config {} cannot be read: {why}", config.digest)))?;
    let expected = Some(layer.digest).filter(|_| layer.media_type.ends_with(PLAIN));
    match &parsed.diff_ids[..] {
        [diff_id] if expected.is_none_or(|expected| *diff_id == expected.to_string()) => Ok(parsed.platform),
        [diff_id] => {
            let message = format!(
                "the config {} has the diffID {} for the layer {}, which is stored as it is",
                config.digest,
                clean(diff_id),
                layer.digest
            );
            Err(unfit(message))
        }
        others => {
            Err(unfit(format!("the config {} has diffIDs of {} layers, expected one", config.digest, others.len())))
        }
    }
}

fn is_layer(blob: &Descriptor) -> bool {
    LAYERS.iter().any(|begins| blob.media_type.starts_with(begins))
}

/// The entry of an index for a platform.
fn for_platform(root: &Descriptor, index: Index, wanted: &Platform) -> Result<IndexEntry> {
    let there: Vec<String> =
        index.entries.iter().filter_map(|entry| entry.platform.as_ref()).map(shown).take(MAX_DOCUMENTS).collect();
    let fits = |entry: &IndexEntry| entry.platform.as_ref().is_some_and(|platform| covers(wanted, platform));
    index.entries.into_iter().find(fits).ok_or_else(|| {
        let there = if there.is_empty() { "none with a platform".to_owned() } else { there.join(", ") };
        unfit(format!("the index {} has no image for {}; it has {there}", root.digest, shown(wanted)))
    })
}

/// Whether an image that is no part of an index is for that platform.
fn is_for(wanted: &Platform, got: Option<&Platform>, root: &Descriptor) -> Result<()> {
    match got {
        Some(got) if covers(wanted, got) => Ok(()),
        got => {
            let got = got.map_or_else(|| "no platform that it says".to_owned(), shown);
            Err(unfit(format!("the image {} is for {got}, expected {} as --platform says", root.digest, shown(wanted))))
        }
    }
}

fn covers(wanted: &Platform, got: &Platform) -> bool {
    let variant = wanted.variant.is_none() || wanted.variant == got.variant;
    wanted.os == got.os && wanted.architecture == got.architecture && variant
}

/// `os/architecture[/variant]`, fit to be shown.
pub(super) fn shown(platform: &Platform) -> String {
    let clean = |text: &str| text.chars().filter(char::is_ascii_graphic).take(32).collect::<String>();
    let variant = platform.variant.as_ref().map_or_else(String::new, |variant| format!("/{}", clean(variant)));
    format!("{}/{}{variant}", clean(&platform.os), clean(&platform.architecture))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_the_same_to_every_reader() {
        let digest = Digest::of(b"x");
        let entry = json!({"digest": digest.to_string(), "size": 1, "mediaType": "m"});
        let plain = json!({"config": entry, "layers": [entry], "annotations": {"Layers": "x"}, "other": {"x": 1}});
        let like = |document: &serde_json::Value| {
            lookalike(document.to_string().as_bytes(), &KEYS, &FREE).unwrap().unwrap_or_default()
        };
        assert_eq!(like(&plain), "");
        for key in ["Layers", "LAYERS", "layer\u{17f}", "Config", "mediatype", "manifestS"] {
            let mut document = plain.clone();
            document[key] = json!([entry]);
            assert_eq!(like(&document), key);
            assert_eq!(like(&json!({"layers": [{"x": {key: 1}}]})), key);
            let bytes = document.to_string().into_bytes();
            let mut descriptor = Descriptor { media_type: MANIFEST.to_owned(), digest: Digest::of(&bytes), size: 1 };
            assert!(parse(&mut descriptor, &bytes).unwrap_err().to_string().contains("some readers take"), "{key}");
        }
        let bytes = plain.to_string().into_bytes();
        let called = |media_type: &str| Descriptor { media_type: media_type.to_owned(), digest, size: 1 };
        assert!(parse(&mut called(MANIFEST), &bytes).is_ok());
        for other in [INDEX, DOCKER_LIST, "", "text/html"] {
            assert!(parse(&mut called(other), &bytes).unwrap_err().to_string().contains("is called"), "{other}");
        }
        let mut own = plain;
        own["mediaType"] = json!(DOCKER_MANIFEST);
        let bytes = own.to_string().into_bytes();
        let mut unsaid = called("application/json");
        assert!(parse(&mut unsaid, &bytes).is_ok());
        assert_eq!(unsaid.media_type, DOCKER_MANIFEST);
        assert!(parse(&mut called(MANIFEST), &bytes).unwrap_err().to_string().contains("calls itself"));
    }

    #[test]
    fn a_document_is_no_longer_than_one_that_somebody_wrote() {
        let entry = json!({"digest": Digest::of(b"x").to_string(), "size": 1, "mediaType": "m"});
        let long = json!({"config": entry, "layers": [entry], "x": "x".repeat(MAX_DOCUMENT)}).to_string().into_bytes();
        let mut called = Descriptor { media_type: MANIFEST.to_owned(), digest: Digest::of(b""), size: 1 };
        assert!(parse(&mut called, &long).unwrap_err().to_string().contains("expected at most 1048576"));
    }

    #[test]
    fn a_config_says_what_the_layer_is() {
        let described = |media_type: &str| Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(media_type.as_bytes()),
            size: 1,
        };
        let (own, config) = (|layer: &Descriptor| layer.digest.to_string(), described("config"));
        let platform = |bytes: &serde_json::Value, layer: &Descriptor| {
            platform_of(&config, bytes.to_string().as_bytes(), layer).map_err(|error| error.to_string())
        };
        let stated = |diff_ids: serde_json::Value| {
            json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids},
                "config": {"Labels": {"OS": "x"}, "Variant": 1}, "history": [{"Os": 1}]})
        };
        let gzip = described("application/vnd.oci.image.layer.v1.tar+gzip");
        assert_eq!(platform(&stated(json!(["sha256:other"])), &gzip), Ok(Some(Platform::linux_amd64())));
        for plain in ["application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"] {
            let plain = described(plain);
            assert!(platform(&stated(json!([own(&plain)])), &plain).is_ok());
            let other = platform(&stated(json!([own(&gzip)])), &plain).unwrap_err();
            assert!(other.contains("which is stored as it is"), "{other}");
        }
        for wrong in [json!([]), json!(["x", "y"]), json!(null)] {
            assert!(platform(&stated(wrong), &gzip).unwrap_err().contains("expected one"));
        }
        for wrong in [json!({}), json!({"rootfs": 1}), json!("x"), json!({"rootfs": {"diff_ids": [1]}})] {
            assert!(platform(&wrong, &gzip).is_err(), "{wrong}");
        }
        for key in ["Rootfs", "rootf\u{17f}", "OS"] {
            let mut config = stated(json!([own(&gzip)]));
            config[key] = json!(1);
            assert!(platform(&config, &gzip).unwrap_err().contains("some readers"), "{key}");
        }
        let nested = json!({"rootfs": {"diff_ids": ["x"], "Diff_ids": ["y"]}});
        assert!(platform(&nested, &gzip).unwrap_err().contains("`Diff_ids`"));
    }

    #[test]
    fn a_platform_covers_its_variants_unless_one_is_named() {
        let platform = |text: &str| {
            let mut parts = text.split('/').map(str::to_owned);
            let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
            Platform { os, architecture, variant: parts.next() }
        };
        for (wanted, got, covered) in [
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", false),
            ("linux/arm64", "linux/amd64", false),
        ] {
            assert_eq!(covers(&platform(wanted), &platform(got)), covered, "{wanted} {got}");
        }
        assert_eq!(shown(&platform("linux/arm/v7")), "linux/arm/v7");
    }
}

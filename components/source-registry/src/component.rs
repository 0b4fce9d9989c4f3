//! Glue to the `source-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

mod asking;
mod contents;
mod layer;

use crate::{
    ACCEPTED, Coding, Digest, Document, Image, Location, MAX_EXPANSION, MAX_MANIFEST, Platform, Refusal, diff_ids,
    document,
};

mod bindings {
    #![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({ world: "source-component", path: "../../wit" });
}

use asking::{Asking, Body, collected};
use bindings::exports::longshore::stage::describe::{Declaration, Description, Guest as Describe, SourceDeclaration};
use bindings::exports::longshore::stage::source::{
    Access, Disk, Enclosure, Facts, Failure, Guest as Source, GuestDisk,
};
use bindings::longshore::stage::log;
use contents::{Contents, Layer};
use layer::{Found, Over, Stands};

struct Component;

impl Describe for Component {
    fn describe() -> Description {
        std::panic::set_hook(Box::new(|panic| log::log(log::Level::Error, &panic.to_string())));
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            declares: Declaration::Source(SourceDeclaration { schemes: vec!["docker".to_owned()] }),
        }
    }
}

/// The disk of an image.
struct RegistryDisk {
    asking: Asking,
    layer: Layer,
    found: Found,
}

impl Source for Component {
    type Disk = RegistryDisk;

    async fn open(location: String, options: Vec<(String, String)>) -> Result<Disk, Failure> {
        let mut options = Options::parse(options)?;
        let location = Location::parse(&location).map_err(Failure::Invalid)?;
        let asking = Asking::new(&location);
        let manifest = get_manifest(&asking, &location.reference, location.digest).await?;
        let image = image(&asking, &manifest, options.platform.take()).await?;
        let (mut unreadable, mut stated) = (None, None);
        let (mut known, mut hidden): (Option<RegistryDisk>, _) = (None, None);
        for (at, blob) in image.layers.iter().enumerate() {
            let mut layer = Layer { blob: *blob, diff_id: None, expansion: options.expansion, sole: options.sole };
            if let Some(RegistryDisk { found, .. }) = &known {
                match layer::over(&asking, &layer, &found.disk).await? {
                    Over::Nothing => continue,
                    Over::Hides => {
                        (known, hidden) = (None, Some(found.disk.name.clone()));
                        continue;
                    }
                    Over::HasIt => {}
                }
            }
            layer.diff_id = match blob.coding {
                Coding::Unreadable => {
                    unreadable.get_or_insert(blob.digest);
                    continue;
                }
                // Its digest is its diffID.
                Coding::Plain => None,
                Coding::Gzip | Coding::Zstd => {
                    if stated.is_none() {
                        stated = Some(get_diff_ids(&asking, &image).await?);
                    }
                    stated.as_deref().and_then(|stated| stated.get(at).copied()).flatten()
                }
            };
            let found = layer::find(&asking, &layer).await?;
            known = found.map(|found| RegistryDisk { asking: asking.clone(), layer, found });
        }
        if let Some(disk) = known {
            return Ok(Disk::new(disk));
        }
        if let Some(name) = hidden {
            return Err(Failure::Invalid(format!(
                "the image has no file in `disk/`: a later layer deletes or replaces `{name}`"
            )));
        }
        Err(match unreadable {
            Some(digest) => Failure::Unsupported(format!(
                "the image has no disk in a layer that can be read: {digest} is no tar, plain or compressed with gzip or \
                 zstd, or it is encrypted"
            )),
            None => Failure::Invalid("the image has no file in `disk/`: it is no container disk".to_owned()),
        })
    }
}

/// The `--source-option`s.
#[derive(Default)]
struct Options {
    platform: Option<Platform>,
    expansion: Option<u64>,
    sole: bool,
}

impl Options {
    fn parse(options: Vec<(String, String)>) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        for (option, value) in options {
            let invalid = |what: &str| Failure::Invalid(format!("`{option}` is not {what}"));
            match &*option {
                "platform" => {
                    let platform = Platform::parse(&value).ok_or_else(|| invalid("OS/ARCH[/VARIANT]"))?;
                    parsed.platform = Some(platform);
                }
                "expansion" => {
                    let expansion = value.parse().ok().filter(|expansion| (1..=MAX_EXPANSION).contains(expansion));
                    let expansion = expansion.ok_or_else(|| invalid(&format!("a number from 1 to {MAX_EXPANSION}")))?;
                    parsed.expansion = Some(expansion);
                }
                "sole" => parsed.sole = value.parse().map_err(|_| invalid("true or false"))?,
                _ => return Err(Failure::Unsupported(format!("this source has no option `{option}`"))),
            }
        }
        Ok(parsed)
    }
}

impl GuestDisk for RegistryDisk {
    fn facts(&self) -> Facts {
        let Found { disk, stands } = &self.found;
        let (access, enclosure) = match stands {
            Stands::Ranged { before, after, .. } => {
                let digest = self.layer.blob.digest.to_string();
                let enclosure = Enclosure { before: before.clone(), after: after.clone(), digest };
                (Access::Ranged, Some(enclosure))
            }
            Stands::InOrder => (Access::Restart, None),
        };
        Facts {
            name: Some(disk.name.clone()),
            size: Some(disk.size),
            revision: Some(self.layer.blob.digest.to_string()),
            modified: None,
            access,
            enclosure,
        }
    }

    async fn read(&self, offset: u64, length: Option<u64>) -> Result<Body, Failure> {
        let Found { disk, stands } = &self.found;
        let left = disk.size.checked_sub(offset).filter(|left| *left > 0 || disk.size == 0);
        let Some(left) = left.filter(|_| length != Some(0)) else {
            return Err(Failure::Invalid(format!("a read at {offset} of a disk of {} bytes", disk.size)));
        };
        let length = length.map_or(left, |length| length.min(left));
        match stands {
            Stands::Ranged { at, .. } => self.asking.part(&self.layer.blob, at.saturating_add(offset), length).await,
            Stands::InOrder if length == disk.size => {
                layer::in_order(Contents::open(&self.asking, &self.layer).await?, disk.clone()).await
            }
            Stands::InOrder => Err(Failure::Gone(
                "this layer can only be read from its start: it is compressed, or the registry has no ranges of it"
                    .to_owned(),
            )),
        }
    }
}

/// A manifest or index, of that digest if there is one.
async fn get_manifest(asking: &Asking, reference: &str, digest: Option<Digest>) -> Result<Vec<u8>, Failure> {
    let what = format!("manifests/{reference}");
    let bytes = asking.document(&what, ACCEPTED, MAX_MANIFEST).await?;
    match digest {
        Some(digest) if digest != Digest::of(&bytes) => Err(other_digest("the manifest", Digest::of(&bytes), digest)),
        _ => Ok(bytes),
    }
}

/// The image, over an index if there is one.
async fn image(asking: &Asking, bytes: &[u8], platform: Option<Platform>) -> Result<Image, Failure> {
    let chosen = platform.is_some();
    let platform = platform.unwrap_or_default();
    let image = match document(bytes, &platform, chosen).map_err(Failure::Invalid)? {
        Document::Image(image) => return Ok(image),
        Document::Index(image) => image,
    };
    let bytes = get_manifest(asking, &image.digest.to_string(), Some(image.digest)).await?;
    match document(&bytes, &platform, chosen).map_err(Failure::Invalid)? {
        Document::Image(image) => Ok(image),
        Document::Index(_) => Err(Failure::Unsupported("an index in an index is not supported".to_owned())),
    }
}

/// What the image's configuration says that its layers are once they are decompressed.
async fn get_diff_ids(asking: &Asking, image: &Image) -> Result<Vec<Option<Digest>>, Failure> {
    let Some(config) = &image.config else { return Ok(vec![None; image.layers.len()]) };
    let (_, body) = asking.blob_verified(config, 0).await?;
    let bytes = collected(body, MAX_MANIFEST).await?;
    diff_ids(&bytes, image.layers.len()).map_err(Failure::Invalid)
}

fn other_digest(what: &str, got: Digest, expected: Digest) -> Failure {
    Failure::Invalid(format!("{what} that the registry sent has the digest {got}, expected {expected}"))
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::NotFound(words) => Failure::NotFound(words),
        Refusal::Denied(words) => Failure::Denied(words),
        Refusal::Invalid(words) => Failure::Invalid(words),
        Refusal::Unsupported(words) => Failure::Unsupported(words),
        Refusal::Limit(words) => Failure::Limit(words),
        Refusal::Io(words) => Failure::Io(words),
    }
}

bindings::export!(Component with_types_in bindings);

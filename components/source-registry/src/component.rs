//! Glue to the `source-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

mod asking;
mod layer;

use crate::{ACCEPTED, Blob, Coding, Digest, Document, Location, MAX_MANIFEST, Platform, Refusal, document};

mod bindings {
    #![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({ world: "source-component", path: "../../wit" });
}

use asking::{Asking, Body};
use bindings::exports::longshore::stage::describe::{Declaration, Description, Guest as Describe, SourceDeclaration};
use bindings::exports::longshore::stage::source::{
    Access, Disk, Enclosure, Facts, Failure, Guest as Source, GuestDisk,
};
use bindings::longshore::stage::log;
use layer::{Found, Stands};

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
    layer: Blob,
    found: Found,
}

impl Source for Component {
    type Disk = RegistryDisk;

    async fn open(location: String, options: Vec<(String, String)>) -> Result<Disk, Failure> {
        let mut platform = None;
        for (option, value) in options {
            if option != "platform" {
                return Err(Failure::Unsupported(format!("this source has no option `{option}`")));
            }
            let parsed = Platform::parse(&value);
            platform = Some(parsed.ok_or_else(|| Failure::Invalid("`platform` is not OS/ARCH[/VARIANT]".to_owned()))?);
        }
        let location = Location::parse(&location).map_err(Failure::Invalid)?;
        let asking = Asking::new(&location);
        let manifest = get_manifest(&asking, &location.reference, location.digest).await?;
        let layers = layers(&asking, &manifest, platform).await?;
        let mut unreadable = None;
        for layer in layers {
            if layer.coding != Coding::Plain {
                unreadable.get_or_insert(layer);
                continue;
            }
            if let Some(found) = layer::find(&asking, &layer).await? {
                return Ok(Disk::new(RegistryDisk { asking, layer, found }));
            }
        }
        Err(match unreadable {
            Some(layer) => Failure::Unsupported(format!(
                "the image has no disk in a layer that is a plain tar; its layer {} is compressed or encrypted",
                layer.digest
            )),
            None => Failure::Invalid("the image has no file in `disk/`: it is no container disk".to_owned()),
        })
    }
}

impl GuestDisk for RegistryDisk {
    fn facts(&self) -> Facts {
        let Found { disk, stands } = &self.found;
        let (access, enclosure) = match stands {
            Stands::Ranged { before, after, .. } => {
                let digest = self.layer.digest.to_string();
                let enclosure = Enclosure { before: before.clone(), after: after.clone(), digest };
                (Access::Ranged, Some(enclosure))
            }
            Stands::InOrder => (Access::Restart, None),
        };
        Facts {
            name: Some(disk.name.clone()),
            size: Some(disk.size),
            revision: Some(self.layer.digest.to_string()),
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
            Stands::Ranged { at, .. } => self.asking.part(&self.layer, at.saturating_add(offset), length).await,
            Stands::InOrder if length == disk.size => layer::in_order(&self.asking, &self.layer).await,
            Stands::InOrder => Err(Failure::Gone(
                "this layer can only be read from its start: the registry has no ranges of it".to_owned(),
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

/// The layers of the image, over an index if there is one.
async fn layers(asking: &Asking, bytes: &[u8], platform: Option<Platform>) -> Result<Vec<Blob>, Failure> {
    let chosen = platform.is_some();
    let platform = platform.unwrap_or_default();
    let image = match document(bytes, &platform, chosen).map_err(Failure::Invalid)? {
        Document::Image(layers) => return Ok(layers),
        Document::Index(image) => image,
    };
    let bytes = get_manifest(asking, &image.digest.to_string(), Some(image.digest)).await?;
    match document(&bytes, &platform, chosen).map_err(Failure::Invalid)? {
        Document::Image(layers) => Ok(layers),
        Document::Index(_) => Err(Failure::Unsupported("an index in an index is not supported".to_owned())),
    }
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

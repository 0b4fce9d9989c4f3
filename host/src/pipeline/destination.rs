//! Registry and layout behind one face: the same steps in the same order with the same guarantees.

use url::Url;

use crate::error::{Code, Error, Result, Stage};
use crate::layout;
use crate::net::Net;
use crate::oci::{Descriptor, Image, Repository, Tag};
use crate::policy::{Origin, Policy, Scheme, Side};
use crate::registry;
use crate::stream::Flow;

use super::Target;

/// Where one image is being put.
pub(super) struct Destination {
    place: Place,
    /// Blobs that stand there for good.
    committed: Vec<Descriptor>,
    manifest: Option<Descriptor>,
    tagged: Vec<Tag>,
    shown: String,
}

enum Place {
    Registry(Box<registry::Push>),
    Layout(layout::Push),
}

impl Destination {
    /// Opens the destination up to the point where it takes the layer's first byte.
    pub(super) async fn open(target: &Target, policy: &Policy, net: &Net) -> Result<Self> {
        let place = match target {
            Target::Registry { repository, credentials } => {
                let (origin, url) = registry_at(repository, policy)?;
                let client = net.client(Side::Registry, vec![origin]);
                let mut push = registry::Push::new(client, &url, repository.clone(), credentials.clone())?;
                push.open().await?;
                Place::Registry(Box::new(push))
            }
            Target::Layout(path) => {
                let mut push = layout::Push::new(path.clone());
                push.open()?;
                Place::Layout(push)
            }
        };
        Ok(Self { place, committed: Vec::new(), manifest: None, tagged: Vec::new(), shown: target.shown() })
    }

    /// Sends the layer. It is not committed.
    pub(super) async fn send(&mut self, layer: Flow, total_bytes: u64) -> Result<()> {
        match &mut self.place {
            Place::Registry(push) => push.send(layer, total_bytes).await,
            Place::Layout(push) => push.send(layer).await,
        }
    }

    /// Commits the layer by its digest.
    pub(super) async fn commit(&mut self, layer: &Descriptor) -> Result<()> {
        match &mut self.place {
            Place::Registry(push) => push.commit(layer).await?,
            Place::Layout(push) => push.commit(layer)?,
        }
        self.committed.push(layer.clone());
        Ok(())
    }

    /// Puts config, manifest by digest, and each tag, in this order.
    pub(super) async fn publish(&mut self, image: &Image, tags: &[Tag]) -> Result<()> {
        match &mut self.place {
            Place::Registry(push) => push.put_blob(&image.config, &image.config_bytes).await?,
            Place::Layout(push) => push.put_blob(&image.config, &image.config_bytes)?,
        }
        self.committed.push(image.config.clone());
        match &mut self.place {
            Place::Registry(push) => push.put_manifest(&image.manifest, &image.manifest_bytes).await?,
            Place::Layout(push) => push.put_blob(&image.manifest, &image.manifest_bytes)?,
        }
        self.manifest = Some(image.manifest.clone());
        for tag in tags {
            match &mut self.place {
                Place::Registry(push) => push.tag(tag, &image.manifest, &image.manifest_bytes).await?,
                Place::Layout(push) => push.tag(tag, &image.manifest)?,
            }
            self.tagged.push(tag.clone());
        }
        Ok(())
    }

    /// Ends a run that failed: gives the upload up and says in the error what is left.
    pub(super) async fn abandon(mut self, error: Error) -> Error {
        let unfinished = match &mut self.place {
            Place::Registry(push) => push.cancel().await,
            Place::Layout(push) => push.cancel(),
        };
        let mut left: Vec<String> = unfinished.into_iter().collect();
        left.extend(self.committed.iter().map(|blob| format!("the blob {} in {}", blob.digest, self.shown)));
        left.extend(self.manifest.iter().map(|manifest| format!("the manifest {}@{}", self.shown, manifest.digest)));
        left.extend(self.tagged.iter().map(|tag| format!("the tag {}:{tag}", self.shown)));
        if left.is_empty() {
            left.push(format!("nothing in {}", self.shown));
        }
        left.into_iter().fold(error, Error::left)
    }
}

/// Where a repository's registry is reached: over TLS unless the policy allows plain HTTP for it.
fn registry_at(repository: &Repository, policy: &Policy) -> Result<(Origin, Url)> {
    let at = |scheme: Scheme| {
        let url = Url::parse(&format!("{}://{}/", scheme.as_str(), repository.registry())).ok();
        url.and_then(|url| Some((Origin::of(&url).ok()?, url))).ok_or_else(|| {
            let message = format!("`{}` is not a host that can be connected to", repository.registry());
            Error::new(Code::Usage, Stage::Plan, message)
        })
    };
    let plain = at(Scheme::Http)?;
    if policy.egress.allows_scheme(&plain.0) { Ok(plain) } else { at(Scheme::Https) }
}

//! Registry and layout behind one face: the same steps in the same order with the same guarantees.

use std::sync::Arc;

use url::Url;

use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::layout;
use crate::net::Net;
use crate::observe::Repeats;
use crate::oci::{Descriptor, Image, Repository, Tag};
use crate::policy::{Origin, Policy, Scheme, Side};
use crate::registry;
use crate::stream::{Flow, Replay};

use super::Target;

/// Where one image is being put.
pub(super) struct Destination {
    place: Place,
    /// Blobs that stand there for good.
    committed: Vec<Descriptor>,
    manifest: Option<Descriptor>,
    tagged: Vec<Tag>,
    /// What was asked for last, as long as nobody knows whether it was done.
    in_doubt: Option<String>,
    shown: String,
}

enum Place {
    Registry(Box<registry::Push>),
    Layout(layout::Push),
}

impl Destination {
    /// The destination of a plan. Nothing is touched yet.
    pub(super) fn new(target: &Target, policy: &Policy, net: &Net) -> Result<Self> {
        let place = match target {
            Target::Registry { repository, credentials } => {
                let (origin, url) = registry_at(repository, policy)?;
                let client = net.client(Side::Registry, vec![origin]);
                let push = registry::Push::new(client, &url, repository.clone(), credentials.clone())?;
                Place::Registry(Box::new(push))
            }
            Target::Layout(path) => Place::Layout(layout::Push::new(path.clone())),
        };
        Ok(Self {
            place,
            committed: Vec::new(),
            manifest: None,
            tagged: Vec::new(),
            in_doubt: None,
            shown: target.shown(),
        })
    }

    /// Opens it up to the point where it takes the layer's first byte.
    pub(super) async fn open(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Registry(push) => push.open().await,
            Place::Layout(push) => push.open().await,
        }
    }

    /// What the open destination takes.
    pub(super) fn terms(&self) -> registry::Terms {
        match &self.place {
            Place::Registry(push) => push.terms(),
            Place::Layout(_) => registry::Terms::default(),
        }
    }

    /// Ends what was only opened. Says what is left of it.
    pub(super) async fn give_up(mut self) -> Option<String> {
        match &mut self.place {
            Place::Registry(push) => push.cancel().await,
            Place::Layout(push) => push.cancel(),
        }
    }

    /// Sends the layer, of `total_bytes` if that is known before its end. It is not committed. What `replay` can bring again
    /// is sent again where it has to be.
    pub(super) async fn send(
        &mut self,
        layer: Flow,
        total_bytes: Option<u64>,
        replay: Option<Arc<dyn Replay>>,
        repeats: &Arc<Repeats>,
    ) -> Result<()> {
        match &mut self.place {
            Place::Registry(push) => push.send(layer, total_bytes, replay, repeats).await,
            Place::Layout(push) => push.send(layer).await,
        }
    }

    /// Commits the layer by its digest.
    pub(super) async fn commit(&mut self, layer: &Descriptor) -> Result<()> {
        self.in_doubt = Some(self.blob_shown(layer));
        let committed = match &mut self.place {
            Place::Registry(push) => push.commit(layer).await,
            Place::Layout(push) => push.commit(layer),
        };
        self.answered(committed)?;
        self.committed.push(layer.clone());
        Ok(())
    }

    /// Puts config, manifest by digest, and each tag, in this order.
    pub(super) async fn publish(&mut self, image: &Image, tags: &[Tag]) -> Result<()> {
        self.in_doubt = Some(self.blob_shown(&image.config));
        let put = match &mut self.place {
            Place::Registry(push) => push.put_blob(&image.config, &image.config_bytes).await,
            Place::Layout(push) => push.put_blob(&image.config, &image.config_bytes).await,
        };
        self.answered(put)?;
        self.committed.push(image.config.clone());
        self.in_doubt = Some(self.manifest_shown(&image.manifest));
        let put = match &mut self.place {
            Place::Registry(push) => push.put_manifest(&image.manifest, &image.manifest_bytes).await,
            Place::Layout(push) => push.put_blob(&image.manifest, &image.manifest_bytes).await,
        };
        self.answered(put)?;
        self.manifest = Some(image.manifest.clone());
        for tag in tags {
            self.in_doubt = Some(self.tag_shown(tag));
            let tagged = match &mut self.place {
                Place::Registry(push) => push.tag(tag, &image.manifest, &image.manifest_bytes).await,
                Place::Layout(push) => push.tag(tag, &image.manifest).await,
            };
            self.answered(tagged)?;
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
        left.extend(self.committed.iter().map(|blob| self.blob_shown(blob)));
        left.extend(self.manifest.iter().map(|manifest| self.manifest_shown(manifest)));
        left.extend(self.tagged.iter().map(|tag| self.tag_shown(tag)));
        left.extend(self.in_doubt.iter().map(|what| format!("perhaps {what}")));
        if left.is_empty() {
            left.push(format!("nothing in {}", self.shown));
        }
        left.into_iter().fold(error, Error::left)
    }

    /// What was in doubt is settled if it was done, or if it was refused.
    fn answered(&mut self, result: Result<()>) -> Result<()> {
        let settled = match (&result, &self.place) {
            (Ok(()), _) => true,
            (Err(_), Place::Registry(push)) => !push.is_in_doubt(),
            (Err(error), Place::Layout(_)) => {
                error.retryable() == Retryable::No && error.code() != Code::RegistryMismatch
            }
        };
        if settled {
            self.in_doubt = None;
        }
        result
    }

    fn blob_shown(&self, blob: &Descriptor) -> String {
        format!("the blob {} in {}", blob.digest, self.shown)
    }

    fn manifest_shown(&self, manifest: &Descriptor) -> String {
        format!("the manifest {}@{}", self.shown, manifest.digest)
    }

    fn tag_shown(&self, tag: &Tag) -> String {
        format!("the tag {}:{tag}", self.shown)
    }
}

/// Where a repository's registry is reached: over TLS unless the policy allows plain HTTP for it.
pub(super) fn registry_at(repository: &Repository, policy: &Policy) -> Result<(Origin, Url)> {
    let at = |scheme: Scheme| {
        let url = Url::parse(&format!("{}://{}/", scheme.as_str(), repository.api())).ok();
        url.and_then(|url| Some((Origin::of(&url).ok()?, url))).ok_or_else(|| {
            let message = format!("`{}` is not a host that can be connected to", repository.registry());
            Error::new(Code::Usage, Stage::Plan, message)
        })
    };
    let plain = at(Scheme::Http)?;
    if policy.egress.allows_scheme(&plain.0) { Ok(plain) } else { at(Scheme::Https) }
}

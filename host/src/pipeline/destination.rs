//! Registry and layout behind one face: the same steps in the same order with the same guarantees.

use std::sync::Arc;

use url::Url;

use crate::error::{Blame, Code, Error, Result, Retryable, Stage};
use crate::layout;
use crate::net::Net;
use crate::observe::Repeats;
use crate::oci::{Descriptor, Digest, Image, Repository, Tag};
use crate::policy::{Origin, Policy, Rule, Scheme, Side};
use crate::registry::{self, Travelling};

use super::Target;
use super::checkpoint::Checkpoint;
use super::layer::SentLayer;

/// Where one image is being put.
pub(super) struct Destination {
    place: Place,
    /// Blobs that stand there for good.
    committed: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
    tagged: Vec<Tag>,
    /// What was asked for last, as long as nobody knows whether it was done.
    in_doubt: Option<String>,
    /// What the policy says about tags that are there already, if it keeps them.
    keeps_tags: Option<Rule>,
    /// What a later run goes on with, if the user wants that.
    checkpoint: Option<Checkpoint>,
    /// Whether the open upload is that of a checkpoint that is not kept by this run yet.
    resumed: bool,
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
                let (origin, url) = registry_at(repository, Side::Registry, policy)?;
                let client = net.client(Side::Registry, vec![origin]);
                let push = registry::Push::new(client, &url, repository.clone(), credentials.clone())?;
                Place::Registry(Box::new(push))
            }
            Target::Layout(path) => Place::Layout(layout::Push::new(path.clone())),
        };
        Ok(Self {
            place,
            committed: Vec::new(),
            manifests: Vec::new(),
            tagged: Vec::new(),
            in_doubt: None,
            keeps_tags: match target {
                Target::Registry { repository, .. } => policy.destinations.keeps_tags(Some(repository)),
                Target::Layout(_) => policy.destinations.keeps_tags(None),
            },
            checkpoint: None,
            resumed: false,
            shown: target.shown(),
        })
    }

    /// Opens it up to the point where it takes the layer's first byte, for an image with these tags.
    pub(super) async fn open(&mut self, tags: &[Tag]) -> Result<()> {
        self.free(tags, None, Stage::Upload).await?;
        match &mut self.place {
            Place::Registry(push) => push.open().await,
            Place::Layout(push) => push.open().await,
        }
    }

    /// Whether an image of that digest may get these tags.
    pub(super) async fn may_tag(&mut self, tags: &[Tag], digest: &Digest) -> Result<()> {
        self.free(tags, Some(digest), Stage::Upload).await
    }

    /// Whether a blob stands there that this run did not put there. An image layout is given everything anew: of what others wrote
    /// there nobody knows that it is whole.
    pub(super) async fn stands(&mut self, blob: &Descriptor) -> Result<bool> {
        match &mut self.place {
            Place::Registry(push) => push.has(blob).await,
            Place::Layout(_) => Ok(false),
        }
    }

    /// Has it take a blob over from another repository of the same registry, where it stands for good then.
    pub(super) async fn mount(&mut self, blob: &Descriptor, from: &Repository) -> Result<bool> {
        let mounted = match &mut self.place {
            Place::Registry(push) => push.mount(blob, from).await?,
            Place::Layout(_) => false,
        };
        if mounted {
            self.committed.push(blob.clone());
        }
        Ok(mounted)
    }

    /// Opens it for a layer, unless it offered that already where it would not mount one.
    pub(super) async fn open_for_one(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Registry(push) if push.is_open() => Ok(()),
            Place::Registry(push) => push.open().await,
            Place::Layout(push) => push.open().await,
        }
    }

    /// Goes on with the upload that an earlier run left at `location`, if it is still there.
    pub(super) async fn resume(&mut self, location: &Url) -> Result<registry::Standing> {
        match &mut self.place {
            Place::Registry(push) => {
                let standing = push.resume(location).await?;
                self.resumed = matches!(standing, registry::Standing::Has(_));
                Ok(standing)
            }
            Place::Layout(_) => Ok(registry::Standing::Lost),
        }
    }

    /// Gives up the upload that is open, whoever opened it: it is of no use to this run.
    pub(super) async fn drop_session(&mut self) {
        if let Place::Registry(push) = &mut self.place {
            push.drop_session().await;
        }
        self.resumed = false;
    }

    /// Opens it and gives it up again: whoever must wait for the disk first knows that it will be taken.
    pub(super) async fn try_out(&mut self, tags: &[Tag]) -> Result<()> {
        if let Place::Layout(_) = self.place {
            return self.free(tags, None, Stage::Upload).await;
        }
        self.open(tags).await?;
        self.drop_session().await;
        Ok(())
    }

    /// Whether it has a blob that an earlier run may have committed.
    pub(super) async fn has(&mut self, blob: &Descriptor) -> Result<bool> {
        let there = self.stands(blob).await?;
        if there {
            self.committed.push(blob.clone());
        }
        Ok(there)
    }

    /// Has the checkpoint follow what happens here, until the image stands or cannot stand any more.
    pub(super) fn keep(&mut self, checkpoint: Checkpoint) {
        if let Place::Registry(push) = &mut self.place {
            push.on_location(checkpoint.on_location());
        }
        self.checkpoint = Some(checkpoint);
        self.resumed = false;
    }

    /// The image stands: there is nothing to continue.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.checkpoint.take().map_or(Ok(()), Checkpoint::done)
    }

    /// What the open destination takes of a layer that can be brought again from any offset, or of another one.
    pub(super) fn terms(&self, brought_again: bool) -> registry::Terms {
        match &self.place {
            Place::Registry(push) => push.terms(brought_again),
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

    /// Sends the layer. It is not committed.
    pub(super) async fn send(&mut self, layer: Travelling, repeats: &Arc<Repeats>) -> Result<()> {
        match &mut self.place {
            Place::Registry(push) => push.send(layer, repeats).await,
            Place::Layout(push) => push.send(layer.flow).await,
        }
    }

    /// Commits the layer by its digest.
    pub(super) async fn commit(&mut self, layer: &SentLayer) -> Result<()> {
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.sent(layer)?;
        }
        let layer = &layer.blob;
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
        self.put_blob(&image.config, &image.config_bytes).await?;
        self.put_manifest(&image.manifest, &image.manifest_bytes).await?;
        self.tag(&image.manifest, &image.manifest_bytes, tags).await
    }

    /// Puts a small blob, which is read back.
    pub(super) async fn put_blob(&mut self, blob: &Descriptor, bytes: &[u8]) -> Result<()> {
        self.in_doubt = Some(self.blob_shown(blob));
        let put = match &mut self.place {
            Place::Registry(push) => push.put_blob(blob, bytes).await,
            Place::Layout(push) => push.put_blob(blob, bytes).await,
        };
        self.answered(put)?;
        self.committed.push(blob.clone());
        Ok(())
    }

    /// Puts a manifest or an index by its digest, which is read back.
    pub(super) async fn put_manifest(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        self.in_doubt = Some(self.manifest_shown(manifest));
        let put = match &mut self.place {
            Place::Registry(push) => push.put_manifest(manifest, bytes).await,
            Place::Layout(push) => push.put_blob(manifest, bytes).await,
        };
        self.answered(put)?;
        self.manifests.push(manifest.clone());
        Ok(())
    }

    /// Puts a manifest that stands there under each tag.
    pub(super) async fn tag(&mut self, manifest: &Descriptor, bytes: &[u8], tags: &[Tag]) -> Result<()> {
        self.free(tags, Some(&manifest.digest), Stage::Publish).await?;
        for tag in tags {
            self.in_doubt = Some(self.tag_shown(tag));
            let tagged = match &mut self.place {
                Place::Registry(push) => push.tag(tag, manifest, bytes).await,
                Place::Layout(push) => match push.tag(tag, manifest, self.keeps_tags.is_some()).await {
                    Ok(None) => Ok(()),
                    Ok(Some(other)) => Err(self.taken(tag, &other, Stage::Publish)),
                    Err(error) => Err(error),
                },
            };
            self.answered(tagged)?;
            self.tagged.push(tag.clone());
        }
        Ok(())
    }

    /// Ends a run that failed: gives the upload up and says in the error what is left.
    pub(super) async fn abandon(mut self, error: Error) -> Error {
        let (kept, dropped) = match self.checkpoint.take() {
            // What the disk is, or may be, does not change by trying again.
            Some(checkpoint)
                if matches!(error.blame(), Blame::Content | Blame::Policy)
                    || error.code() == Code::RegistryMismatch =>
            {
                (None, Some(checkpoint))
            }
            kept => (kept, None),
        };
        let unfinished = match (&mut self.place, kept) {
            (Place::Registry(push), Some(checkpoint)) => {
                push.leave();
                Some(checkpoint.leave())
            }
            (Place::Registry(push), None) if self.resumed => {
                push.leave();
                Some(format!("the upload in {} as the checkpoint has it", self.shown))
            }
            (Place::Registry(push), None) => push.cancel().await,
            (Place::Layout(push), _) => push.cancel(),
        };
        let mut left: Vec<String> = unfinished.into_iter().collect();
        left.extend(dropped.and_then(|checkpoint| checkpoint.done().err()).map(|error| error.to_string()));
        left.extend(self.committed.iter().map(|blob| self.blob_shown(blob)));
        left.extend(self.manifests.iter().map(|manifest| self.manifest_shown(manifest)));
        left.extend(self.tagged.iter().map(|tag| self.tag_shown(tag)));
        left.extend(self.in_doubt.iter().map(|what| format!("perhaps {what}")));
        if left.is_empty() {
            left.push(format!("nothing in {}", self.shown));
        }
        left.into_iter().fold(error, Error::left)
    }

    /// Whether the policy lets these tags be put: where it keeps those that are there, none may lead to anything but `ours`.
    async fn free(&mut self, tags: &[Tag], ours: Option<&Digest>, stage: Stage) -> Result<()> {
        if self.keeps_tags.is_none() {
            return Ok(());
        }
        for tag in tags {
            let stands = match &mut self.place {
                Place::Registry(push) => push.tagged(tag, stage).await?,
                Place::Layout(push) => push.tagged(tag, stage)?,
            };
            if let Some(stands) = stands.filter(|stands| ours != Some(stands)) {
                return Err(self.taken(tag, &stands, stage));
            }
        }
        Ok(())
    }

    fn taken(&self, tag: &Tag, stands: &Digest, stage: Stage) -> Error {
        let rule = self.keeps_tags.as_ref().map_or_else(String::new, |rule| format!(": the policy's {rule} keeps it"));
        let message = format!("{} leads to {stands} already{rule}", self.tag_shown(tag));
        Error::new(Code::TagExists, stage, message).hint("import under a tag that is not there yet")
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

/// Whether the policy allows to put the image there, under these tags.
///
/// # Errors
/// `destination-denied`.
pub(super) fn allowed(target: &Target, tags: &[Tag], policy: &Policy) -> Result<()> {
    let checked = match target {
        Target::Registry { repository, .. } => policy.destinations.check(repository, tags),
        Target::Layout(_) => policy.destinations.check_layout(),
    };
    checked.map_err(|why| {
        Error::new(Code::DestinationDenied, Stage::Plan, format!("{} must not be written: {why}", target.shown()))
    })
}

/// Where a repository's registry is reached on that side: over TLS unless the policy allows plain HTTP for it there.
pub(super) fn registry_at(repository: &Repository, side: Side, policy: &Policy) -> Result<(Origin, Url)> {
    let at = |scheme: Scheme| {
        let url = Url::parse(&format!("{}://{}/", scheme.as_str(), repository.api())).ok();
        url.and_then(|url| Some((Origin::of(&url).ok()?, url))).ok_or_else(|| {
            let message = format!("`{}` is not a host that can be connected to", repository.registry());
            Error::new(Code::Usage, Stage::Plan, message)
        })
    };
    let plain = at(Scheme::Http)?;
    if policy.egress.allows_scheme(side, &plain.0) { Ok(plain) } else { at(Scheme::Https) }
}

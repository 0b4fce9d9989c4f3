//! Where an image is that is copied: documents verified, blobs from any offset.

use std::sync::Arc;

use super::super::destination::registry_at;
use super::super::disk::attempts;
use super::super::import::Run;
use super::super::inspect::{ImageAt, Place};
use super::super::{Credentials, Input, Location, Source};
use super::{CopyPlan, unfit};
use crate::error::{Error, Result, Stage};
use crate::layout;
use crate::net::Net;
use crate::oci::{Descriptor, Digest, Repository, Tag};
use crate::policy::Side;
use crate::registry::{self, StoredBlob, of_the_source};
use crate::stages::StoredImages;
use crate::stream::{Ranges, Resumable};

/// An image's registry or layout.
pub(super) struct Origin<'a> {
    run: &'a Run<'a>,
    image: &'a ImageAt,
    place: Place,
    opened: bool,
}

impl<'a> Origin<'a> {
    /// That of a plan. Nothing is asked yet.
    pub(super) fn new(run: &'a Run<'a>, plan: &'a CopyPlan) -> Result<Self> {
        let place = match &plan.image {
            ImageAt::Registry { reference, credentials } => {
                Place::Registry(Box::new(pull(run.net, &reference.repository, credentials.clone())?))
            }
            ImageAt::Layout(folder, _) => Place::Layout(layout::Pull::new(folder.clone())),
        };
        Ok(Self { run, image: &plan.image, place, opened: false })
    }

    /// What the reference leads to.
    pub(super) async fn root(&mut self) -> Result<(Descriptor, Vec<u8>)> {
        match (&mut self.place, self.image) {
            (Place::Registry(pull), ImageAt::Registry { reference, .. }) => {
                let found = async {
                    if !self.opened {
                        pull.open().await?;
                        self.opened = true;
                    }
                    match (&reference.digest, &reference.tag) {
                        (Some(digest), _) => pull.digested(digest).await,
                        (None, Some(tag)) => pull.tagged(tag).await,
                        (None, None) => pull.tagged(&Tag::latest()).await,
                    }
                };
                let found = found.await.map_err(of_the_source)?;
                Ok((found.descriptor, found.bytes))
            }
            (Place::Layout(pull), ImageAt::Layout(_, tag)) => {
                let found = pull.tagged(tag.as_ref())?;
                let bytes = sized(&found, pull.blob(&found)?)?;
                Ok((found, bytes))
            }
            _ => Err(Error::internal(Stage::Source, "an image is somewhere else than its plan says")),
        }
    }

    /// A manifest or index that an index lists, verified.
    pub(super) async fn manifest(&mut self, listed: &Descriptor) -> Result<Vec<u8>> {
        let bytes = match &mut self.place {
            Place::Registry(pull) => pull.digested(&listed.digest).await.map_err(of_the_source)?.bytes,
            Place::Layout(pull) => pull.blob(listed)?,
        };
        sized(listed, bytes)
    }

    /// A small blob, verified.
    pub(super) async fn blob(&mut self, blob: &Descriptor) -> Result<Vec<u8>> {
        sized(blob, self.place.blob(blob).await.map_err(of_the_source)?)
    }

    /// A large one, going on where it breaks. It is not verified.
    pub(super) fn large(&self, blob: &Descriptor) -> Result<Resumable> {
        let ranges: Arc<dyn Ranges> = match self.image {
            ImageAt::Registry { reference, credentials } => {
                let pull = pull(self.run.net, &reference.repository, credentials.clone())?;
                Arc::new(StoredBlob::new(pull, blob.clone()))
            }
            ImageAt::Layout(folder, _) => Arc::new(layout::StoredBlob::new(folder.clone(), blob.digest)),
        };
        let (attempts, repeats) = (attempts(&self.run.plan.input, self.run.net), &self.run.progress.repeats);
        Ok(Resumable::new(ranges, attempts, Arc::clone(repeats)))
    }

    /// It as it may be shown.
    pub(super) fn shown(&self) -> String {
        self.run.plan.input.shown()
    }

    /// The image of that digest, as the source component is told.
    pub(super) fn input(&self, digest: &Digest) -> Result<Input> {
        let location = match self.image {
            ImageAt::Registry { reference, .. } => {
                format!("docker://{}/{}@{digest}", reference.repository.api(), reference.repository.path())
            }
            ImageAt::Layout(..) => StoredImages::location(digest),
        };
        let location = Location::parse(&location)
            .map_err(|why| Error::internal(Stage::Plan, format!("no location can be made of a digest: {why}")))?;
        Ok(Input { source: Source::Other(location), ..self.run.plan.input.clone() })
    }

    /// Its repository, if that is in the same registry as `other`.
    pub(super) fn beside(&self, other: &Repository) -> Option<&'a Repository> {
        match self.image {
            ImageAt::Registry { reference, .. } => {
                Some(&reference.repository).filter(|own| own.registry() == other.registry() && *own != other)
            }
            ImageAt::Layout(..) => None,
        }
    }
}

/// A document, if it is as long as what lists it says, which is written on.
fn sized(listed: &Descriptor, bytes: Vec<u8>) -> Result<Vec<u8>> {
    match bytes.len() as u64 == listed.size {
        true => Ok(bytes),
        false => {
            let (digest, got, expected) = (listed.digest, bytes.len(), listed.size);
            Err(unfit(format!("{digest} has {got} bytes, expected {expected} as what lists it says")))
        }
    }
}

fn pull(net: &Net, repository: &Repository, credentials: Option<Credentials>) -> Result<registry::Pull> {
    let (origin, url) = registry_at(repository, Side::Source, net.policy())?;
    registry::Pull::new(net.client(Side::Source, vec![origin]), &url, repository.clone(), credentials)
}

//! What there is: the repositories of a registry, the images of a repository or a layout.

use std::path::PathBuf;
use std::sync::Arc;

use super::Credentials;
use super::destination::registry_at;
use super::inspect::{Place, blob};
use super::listing::{LISTING_SCHEMA, ListedImage, Listing};
use crate::error::{Code, Error, Result};
use crate::layout;
use crate::net::Net;
use crate::oci::{Descriptor, Repository, Tag};
use crate::policy::{Policy, Side};
use crate::registry;

/// What is to be listed.
#[derive(Clone, Debug)]
pub struct ListPlan {
    /// Where.
    pub at: ListAt,
    /// Whether names are enough: images are then not looked at.
    pub names: bool,
    /// The side on which a registry is spoken to.
    pub side: Side,
    /// What is allowed.
    pub policy: Policy,
}

/// Where something is listed.
#[derive(Clone, Debug)]
pub enum ListAt {
    /// A registry; any repository of it says which.
    Registry(Repository, Option<Credentials>),
    /// A repository.
    Repository(Repository, Option<Credentials>),
    /// An image layout directory.
    Layout(PathBuf),
}

/// Carries out a plan.
///
/// # Errors
/// `registry-not-found` if there is nothing, or the registry does not tell; `registry-protocol` for lists without end; what
/// keeps it from being read.
pub async fn list(plan: &ListPlan) -> Result<Listing> {
    let net = Net::new(Arc::new(plan.policy.clone()));
    look(plan, &net).await.map_err(|error| net.advise(error))
}

async fn look(plan: &ListPlan, net: &Net) -> Result<Listing> {
    let listing = |name: String, kind| Listing { schema: LISTING_SCHEMA, name, kind, repositories: None, images: None };
    match &plan.at {
        ListAt::Registry(host, credentials) => {
            let (origin, url) = registry_at(host, plan.side, &plan.policy)?;
            let client = net.client(plan.side, vec![origin]);
            let repositories = registry::repositories(client, &url, host, credentials.clone()).await?;
            Ok(Listing { repositories: Some(repositories), ..listing(host.registry(), "registry") })
        }
        ListAt::Repository(repository, credentials) => {
            let (origin, url) = registry_at(repository, plan.side, &plan.policy)?;
            let client = net.client(plan.side, vec![origin]);
            let mut pull = registry::Pull::new(client, &url, repository.clone(), credentials.clone())?;
            pull.open().await?;
            let tags = pull.tags().await?;
            let mut place = Place::Registry(Box::new(pull));
            let mut images = Vec::new();
            for tag in tags {
                images.push(if plan.names { named(Some(tag)) } else { place.listed(Some(tag), None).await? });
            }
            Ok(Listing { images: Some(images), ..listing(repository.to_string(), "repository") })
        }
        ListAt::Layout(folder) => {
            let pull = layout::Pull::new(folder.clone());
            let listed = pull.listed()?;
            let mut place = Place::Layout(pull);
            let mut images = Vec::new();
            for (found, tag) in listed {
                images.push(if plan.names { named(tag) } else { place.listed(tag, Some(found)).await? });
            }
            Ok(Listing { images: Some(images), ..listing(format!("oci:{}", folder.display()), "layout") })
        }
    }
}

fn named(tag: Option<Tag>) -> ListedImage {
    ListedImage { tag: tag.map(|tag| tag.to_string()), document: None, kind: None, images: None, error: None }
}

impl Place {
    /// What stands under a tag. One image that cannot be read as one does not hide the others.
    async fn listed(&mut self, tag: Option<Tag>, known: Option<Descriptor>) -> Result<ListedImage> {
        let mut listed = named(tag.clone());
        match self.looked_at(tag.as_ref(), known, &mut listed).await {
            Ok(()) => Ok(listed),
            Err(error) if is_the_images(&error) => Ok(ListedImage { error: Some(error.to_string()), ..listed }),
            Err(error) => Err(error),
        }
    }

    async fn looked_at(
        &mut self,
        tag: Option<&Tag>,
        known: Option<Descriptor>,
        listed: &mut ListedImage,
    ) -> Result<()> {
        let (found, bytes) = match (&mut *self, tag, known) {
            (Self::Layout(pull), _, Some(found)) => {
                let bytes = pull.blob(&found)?;
                (found, bytes)
            }
            (Self::Registry(pull), Some(tag), _) => {
                let found = pull.tagged(tag).await?;
                (found.descriptor, found.bytes)
            }
            _ => return Ok(()),
        };
        listed.document = Some(blob(&found));
        let (kind, _, images) = self.found(&found, &bytes).await?;
        (listed.kind, listed.images) = (Some(kind), Some(images));
        Ok(())
    }
}

/// Whether an error is about one image, not about where it is.
fn is_the_images(error: &Error) -> bool {
    matches!(error.code(), Code::RegistryNotFound | Code::RegistryProtocol | Code::RegistryMismatch | Code::LocalFile)
}

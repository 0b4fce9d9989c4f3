//! Deleting images of a repository, a registry or a layout: by reference, or by a rule.

mod found;
mod select;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::destination::{allowed, registry_at};
use super::listing::{DELETED_SCHEMA, Deleted, DeletedImage};
use super::{Credentials, Target};
use crate::error::{Code, Error, Result, Stage};
use crate::layout;
use crate::net::Net;
use crate::oci::{Repository, Tag};
use crate::policy::{Policy, RepositoryPattern, Side};
use crate::registry;
use found::{Held, Images};
pub use select::{Companions, Rule, Selection};
use select::{Selected, select};

/// What is to be deleted.
#[derive(Clone, Debug)]
pub struct DeletePlan {
    /// Where.
    pub at: DeleteAt,
    /// Which images.
    pub which: Selection,
    /// Whether anything is deleted; else it is only said what would be.
    pub remove: bool,
    /// What is allowed.
    pub policy: Policy,
}

/// Where something is deleted.
#[derive(Clone, Debug)]
pub enum DeleteAt {
    /// The repositories of a registry that the pattern covers; any repository of it says which registry.
    Registry(Repository, RepositoryPattern, Option<Credentials>),
    /// A repository.
    Repository(Repository, Option<Credentials>),
    /// An image layout directory.
    Layout(PathBuf),
}

/// Carries out a plan.
///
/// # Errors
/// `destination-denied` and `tag-exists` if the policy does not let it be deleted, also where nothing would be; `usage` if more
/// would go than was named; `registry-not-found` if there is nothing of that name; what keeps it from being read or deleted. An
/// error says what was deleted by then.
pub async fn delete(plan: &DeletePlan) -> Result<Deleted> {
    let net = Net::new(Arc::new(plan.policy.clone()));
    let mut done = Deleted {
        schema: DELETED_SCHEMA,
        name: plan.at.shown(),
        deleted: plan.remove,
        images: Vec::new(),
        kept: 0,
        undated: 0,
    };
    let outcome = all(plan, &net, &mut done).await;
    match outcome {
        Ok(()) => Ok(done),
        Err(error) => {
            let error = net.advise(error);
            let gone = done.images.iter().filter(|_| plan.remove);
            Err(gone.fold(error, |error, image| error.left(format!("deleted: {}@{}", image.name, image.digest))))
        }
    }
}

async fn all(plan: &DeletePlan, net: &Net, done: &mut Deleted) -> Result<()> {
    match &plan.at {
        DeleteAt::Layout(folder) => {
            let target = Target::Layout(folder.clone());
            let pull = layout::Pull::new(folder.clone());
            let images = Images::of_layout(&pull)?;
            let selected = select(&plan.which, images)?;
            permitted(&target, &plan.policy, &selected)?;
            let left = match plan.remove {
                true => layout::delete(folder, &selected.entries()).await?,
                false => BTreeSet::new(),
            };
            note(done, &target.shown(), &selected);
            if !selected.alone {
                // Somebody else gave it another name meanwhile: under that it stays.
                let before = done.images.len();
                done.images.retain(|image| !left.contains(&image.digest));
                done.kept += before - done.images.len();
            }
            Ok(())
        }
        DeleteAt::Repository(repository, credentials) => {
            let chosen = chosen(plan, net, repository, credentials.as_ref()).await?;
            let chosen = chosen.ok_or_else(|| unknown(repository))?;
            gone(plan, chosen, done).await
        }
        DeleteAt::Registry(host, pattern, credentials) => {
            let (origin, url) = registry_at(host, Side::Registry, &plan.policy)?;
            let client = net.client(Side::Registry, vec![origin]);
            let mut all = Vec::new();
            for name in registry::repositories(client, &url, host, credentials.clone()).await? {
                let repository = host.sibling(&name).ok_or_else(|| {
                    let message = format!("{} lists a repository with a name that is none", host.registry());
                    Error::new(Code::RegistryProtocol, Stage::Publish, message)
                })?;
                if pattern.covers(&repository) {
                    // A registry may list a repository that has no tags, and that it does not know when asked.
                    all.extend(chosen(plan, net, &repository, credentials.as_ref()).await?);
                }
            }
            // What keeps one from being deleted from keeps all.
            for chosen in all {
                gone(plan, chosen, done).await?;
            }
            Ok(())
        }
    }
}

/// What goes of a repository.
struct Chosen {
    repository: Repository,
    pull: registry::Pull,
    selected: Selected,
}

/// Looks at a repository. None if the registry does not know it.
async fn chosen(
    plan: &DeletePlan,
    net: &Net,
    repository: &Repository,
    credentials: Option<&Credentials>,
) -> Result<Option<Chosen>> {
    let target = Target::Registry { repository: repository.clone(), credentials: credentials.cloned() };
    // Before anybody is asked.
    allowed(&target, &[], &plan.policy)?;
    let (origin, url) = registry_at(repository, Side::Registry, &plan.policy)?;
    let client = net.client(Side::Registry, vec![origin]);
    let mut pull = registry::Pull::new(client, &url, repository.clone(), credentials.cloned())?;
    pull.open().await?;
    let Some(images) = Images::of_repository(&mut pull, &plan.which).await? else { return Ok(None) };
    let selected = select(&plan.which, images)?;
    permitted(&target, &plan.policy, &selected)?;
    Ok(Some(Chosen { repository: repository.clone(), pull, selected }))
}

async fn gone(plan: &DeletePlan, chosen: Chosen, done: &mut Deleted) -> Result<()> {
    let Chosen { repository, mut pull, selected } = chosen;
    if !plan.remove {
        note(done, &repository.to_string(), &selected);
        return Ok(());
    }
    done.kept += selected.kept;
    done.undated += selected.undated;
    let alone = matches!(plan.which, Selection::Tag(_, Companions::Untouched));
    for image in &selected.images {
        // An index before what it lists, so that none ever lists what is not there.
        let was_there = match image.tags.first().filter(|_| alone) {
            Some(tag) => pull.delete_tag(tag, &image.digest).await?,
            None => pull.delete_manifest(&image.digest).await?,
        };
        if was_there {
            done.images.push(shown(&repository.to_string(), image));
        }
    }
    Ok(())
}

fn unknown(repository: &Repository) -> Error {
    Error::new(
        Code::RegistryNotFound,
        Stage::Publish,
        format!("the registry does not know the repository {repository}"),
    )
}

/// Whether the policy lets these images be deleted: only where they may be put, and no tag that it keeps.
fn permitted(target: &Target, policy: &Policy, selected: &Selected) -> Result<()> {
    let tags: Vec<Tag> = selected.images.iter().flat_map(|image| image.tags.iter().cloned()).collect();
    allowed(target, &tags, policy)?;
    let keeps = match target {
        Target::Registry { repository, .. } => policy.destinations.keeps_tags(Some(repository)),
        Target::Layout(_) => policy.destinations.keeps_tags(None),
    };
    match (keeps, selected.images.iter().find_map(|image| image.called().next())) {
        (Some(rule), Some(tag)) => {
            let message = format!("the tag {}:{tag} must not be deleted: the policy's {rule} keeps it", target.shown());
            Err(Error::new(Code::TagExists, Stage::Plan, message))
        }
        _ => Ok(()),
    }
}

fn note(done: &mut Deleted, name: &str, selected: &Selected) {
    done.kept += selected.kept;
    done.undated += selected.undated;
    done.images.extend(selected.images.iter().map(|image| shown(name, image)));
}

fn shown(name: &str, image: &Held) -> DeletedImage {
    DeletedImage {
        name: name.to_owned(),
        digest: image.digest.to_string(),
        kind: if image.is_index { "index" } else { "image" },
        tags: image.tags.iter().map(ToString::to_string).collect(),
        created: image.dated.map(|date| humantime::format_rfc3339_seconds(date).to_string()),
    }
}

impl DeleteAt {
    /// It as it may be shown.
    fn shown(&self) -> String {
        match self {
            Self::Registry(host, ..) => host.registry(),
            Self::Repository(repository, _) => repository.to_string(),
            Self::Layout(folder) => format!("oci:{}", folder.display()),
        }
    }
}

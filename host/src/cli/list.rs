//! `list`: what there is, one line each for people, or as JSON.

use indicatif::HumanBytes;

use super::alone::alone;
use super::args::List;
use super::locate::{self, Destination};
use super::{auth, messages, policy};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Reference;
use crate::pipeline::{self, InspectedImage, ListAt, ListPlan, ListedImage, Listing};
use crate::policy::Side;

/// Digits of a digest that people are shown.
const DIGITS: usize = 12;

/// Looks and tells.
pub(super) fn run(list: &List) -> Result<()> {
    let plan = planned(list)?;
    let listing = alone(pipeline::list(&plan))??;
    if list.json {
        return messages::document(serde_json::to_string_pretty(&listing));
    }
    shown(&listing).iter().try_for_each(|line| messages::data(&messages::harmless(line)))
}

fn planned(list: &List) -> Result<ListPlan> {
    let at = if let Some(host) = registry(&list.at) {
        // Any repository says which registry it is.
        let reference: Reference = format!("{host}/repository").parse().map_err(|why| usage(&format!("{why}")))?;
        let credentials = auth::credentials(list.auth_file.as_deref(), &reference.repository)?;
        ListAt::Registry(reference.repository, credentials)
    } else {
        match locate::image(&list.at)? {
            Destination::Layout(_, Some(_)) => return Err(tagged()),
            Destination::Layout(folder, None) => ListAt::Layout(folder),
            Destination::Registry(Reference { tag: None, digest: None, repository }) => {
                let credentials = auth::credentials(list.auth_file.as_deref(), &repository)?;
                ListAt::Repository(repository, credentials)
            }
            Destination::Registry(_) => return Err(tagged()),
        }
    };
    let repository = match &at {
        ListAt::Registry(repository, _) | ListAt::Repository(repository, _) => Some(repository),
        ListAt::Layout(_) => None,
    };
    Ok(ListPlan { policy: policy::effective(&list.policy, repository)?, names: list.names, side: Side::Registry, at })
}

/// The host, if nothing else is named.
pub(super) fn registry(text: &str) -> Option<&str> {
    let host = text.strip_prefix("docker://")?;
    let host = host.strip_suffix('/').unwrap_or(host);
    (!host.contains('/')).then_some(host)
}

fn tagged() -> Error {
    usage("one image is named, and there is nothing to list of it").hint("longshore inspect says what it has")
}

fn usage(message: &str) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

fn shown(listing: &Listing) -> Vec<String> {
    let repositories = listing.repositories.iter().flatten().map(|name| format!("{}/{name}", listing.name));
    repositories.chain(listing.images.iter().flatten().flat_map(lines)).collect()
}

/// A tag, and what stands under it.
fn lines(listed: &ListedImage) -> Vec<String> {
    let tag = listed.tag.as_deref().unwrap_or("(no tag)");
    let Some(document) = &listed.document else {
        let why = listed.error.as_ref().map_or_else(String::new, |why| format!("  cannot be read: {why}"));
        return vec![format!("{tag}{why}")];
    };
    let digits =
        |digest: &str| digest.split(':').next_back().and_then(|hex| hex.get(..DIGITS)).unwrap_or_default().to_owned();
    if let Some(why) = &listed.error {
        return vec![format!("{tag}  {}  cannot be read: {why}", digits(&document.digest))];
    }
    listed
        .images
        .iter()
        .flatten()
        .map(|image| format!("{tag}  {}  {}", digits(&image.manifest.digest), facts(image)))
        .collect()
}

fn facts(image: &InspectedImage) -> String {
    let platform = image.platform.as_ref().map(|platform| format!("{}/{}", platform.os, platform.architecture));
    let stored: u64 = image.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    let disk = &image.disk;
    let facts = [
        disk.name.clone(),
        disk.format.clone(),
        disk.virtual_size.map(|bytes| format!("{} virtual", HumanBytes(bytes))),
        Some(format!("{} stored", HumanBytes(stored))),
        platform,
    ];
    facts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_named_without_a_repository() {
        assert_eq!(registry("docker://r.example:5000"), Some("r.example:5000"));
        assert_eq!(registry("docker://r.example/"), Some("r.example"));
        for other in ["docker://r.example/vm", "r.example", "oci:x"] {
            assert_eq!(registry(other), None, "{other}");
        }
    }
}
